"""/api/v1: what the store holds and who uses it, page by page. Nothing here changes anything."""

import hashlib
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Path, Query, Request, Response
from pydantic import BaseModel
from starlette.convertors import PathConvertor, register_url_convertor

from icehouse.server.admin import lists, schemas
from icehouse.server.admin.link import Link
from icehouse.server.admin.lists import LIMIT_MAX
from icehouse.server.admin.problems import documented

router = APIRouter(
    prefix="/api/v1",
    tags=["api"],
    responses=documented("invalid-request", "wrong-host", "daemon-unavailable"),
)

Limit = Annotated[int, Query(ge=1, le=LIMIT_MAX, description="items of a page, at most")]
Cursor = Annotated[str, Query(max_length=2048, description="the `next` of the page before")]
HandleText = Annotated[
    str, Path(pattern="^ih1_[0-7][0-9a-hjkmnp-tv-z]{25}$", description="as `put` returned it")
]
BlockLimit = Annotated[int, Query(ge=4, le=2000, description="runs of a page, at most")]


class NameConvertor(PathConvertor):
    """Of a name in a path, which may have any character, an end of a line too."""

    regex = "(?s:.*)"


register_url_convertor("name", NameConvertor())

Number = Annotated[int, Path(ge=1, lt=2**63)]
NameText = Annotated[str, Path(min_length=1, max_length=512)]
Sort = Literal["place", "size", "-size", "created", "-created"]
State = Literal["live", "deleted", "spilled", "orphan"]


def link_of(request: Request) -> Link:
    """Give the connection to the daemon."""
    link = request.app.state.link
    assert isinstance(link, Link)
    return link


# --- filters ---

Size = Annotated[int | None, Query(ge=0, lt=2**63, description="of an image, in bytes")]
Age = Annotated[
    float | None, Query(ge=0, le=1e11, allow_inf_nan=False, description="seconds since its put")
]
Text = Annotated[str | None, Query(max_length=512)]


def filters_of(
    state: Annotated[State | None, Query(description="only those")] = None,
    type_: Annotated[
        str | None, Query(alias="type", max_length=64, description="exact, or its beginning and *")
    ] = None,
    name: Annotated[Text, Query(description="the beginning of one of its names")] = None,
    pid: Annotated[int | None, Query(ge=0, lt=2**32, description="of its producer")] = None,
    uid: Annotated[int | None, Query(ge=0, lt=2**32, description="of its producer")] = None,
    session: Annotated[int | None, Query(ge=0, lt=2**63, description="of its producer")] = None,
    min_size: Size = None,
    max_size: Size = None,
    min_age: Age = None,
    max_age: Age = None,
    q: Annotated[Text, Query(description="a handle, a type, or the beginning of a name")] = None,
    sort: Annotated[Sort, Query(description="`-`: the largest, the newest first")] = "place",
) -> lists.Filters:
    """Collect the filters of a request."""
    return lists.Filters(
        state, type_, name, pid, uid, session, min_size, max_size, min_age, max_age, q, sort
    )


# --- tags ---


def tagged(request: Request, model: BaseModel) -> Response:
    """Give a model with a strong ETag, or 304 to who has it already."""
    body = model.model_dump_json().encode()
    tag = f'"{hashlib.blake2b(body, digest_size=16).hexdigest()}"'
    headers = {"ETag": tag, "Cache-Control": "no-cache"}
    wanted = ",".join(request.headers.getlist("if-none-match"))
    known = {item.strip().removeprefix("W/") for item in wanted.split(",")}
    if tag in known or known == {"*"}:
        return Response(status_code=304, headers=headers)
    return Response(body, headers=headers, media_type="application/json")


NOT_MODIFIED: dict[int | str, dict[str, Any]] = {
    304: {"description": "What If-None-Match names is still so"}
}


# --- routes ---


@router.get("/status", response_model=schemas.Status, responses=NOT_MODIFIED)
async def status(request: Request) -> Response:
    """Tell about the daemon and the store as a whole."""
    return tagged(request, await lists.status(link_of(request)))


@router.get("/objects", response_model=schemas.Page[schemas.ObjectSummary], responses=NOT_MODIFIED)
async def objects(
    request: Request,
    filters: Annotated[lists.Filters, Depends(filters_of)],
    cursor: Cursor = "",
    limit: Limit = 100,
) -> Response:
    """List images. In the order of their places in memory what is put meanwhile may be missed."""
    return tagged(request, await lists.objects(link_of(request), filters, cursor, limit))


@router.get(
    "/objects/{handle}",
    response_model=schemas.ObjectDetail,
    responses={**NOT_MODIFIED, **documented("handle-unknown", "handle-gone")},
)
async def one_object(request: Request, handle: HandleText) -> Response:
    """Tell about one image; 410 says how it went."""
    return tagged(request, await lists.one_object(link_of(request), handle))


@router.get("/clients", response_model=schemas.Page[schemas.Client], responses=NOT_MODIFIED)
async def clients(request: Request, cursor: Cursor = "", limit: Limit = 100) -> Response:
    """List processes with a session, in the order in which they came."""
    return tagged(request, await lists.clients(link_of(request), cursor, limit))


@router.get(
    "/clients/{session}",
    response_model=schemas.ClientDetail,
    responses={**NOT_MODIFIED, **documented("client-unknown")},
)
async def one_client(request: Request, session: Number) -> Response:
    """Tell about one process, its segments and the images that it leases."""
    return tagged(request, await lists.one_client(link_of(request), session))


@router.get("/segments", response_model=schemas.Page[schemas.Segment], responses=NOT_MODIFIED)
async def segments(request: Request, cursor: Cursor = "", limit: Limit = 100) -> Response:
    """List segments and what is in them."""
    return tagged(request, await lists.segments(link_of(request), cursor, limit))


@router.get(
    "/segments/{segment}/blocks",
    response_model=schemas.Blocks,
    responses={**NOT_MODIFIED, **documented("segment-unknown")},
)
async def blocks(
    request: Request, segment: Number, cursor: Cursor = "", limit: BlockLimit = 2000
) -> Response:
    """Tell what is where in a segment. Of a large one, small neighbours are told as one run."""
    return tagged(request, await lists.blocks(link_of(request), segment, cursor, limit))


@router.get("/names", response_model=schemas.Page[schemas.Name], responses=NOT_MODIFIED)
async def names(
    request: Request,
    prefix: Annotated[str, Query(max_length=512, description="only those that begin so")] = "",
    cursor: Cursor = "",
    limit: Limit = 100,
) -> Response:
    """List bound names in their order."""
    return tagged(request, await lists.names(link_of(request), prefix, cursor, limit))


@router.get(
    "/names/{name:name}/history",
    response_model=schemas.History,
    responses={**NOT_MODIFIED, **documented("name-unknown")},
)
async def history(request: Request, name: NameText) -> Response:
    """Tell what a name was bound to lately, as far as the daemon that runs has seen it."""
    return tagged(request, await lists.history(link_of(request), name))
