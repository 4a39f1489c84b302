"""/api/v1: what the store holds and who uses it, page by page. Nothing here changes anything."""

import base64
import binascii
import hashlib
from collections.abc import Callable
from typing import Annotated, Any, Literal, TypeVar

from fastapi import APIRouter, Path, Query, Request, Response
from pydantic import BaseModel

from icehouse.server.admin import schemas
from icehouse.server.admin.link import Link
from icehouse.server.admin.problems import ProblemError, documented
from icehouse.store.handle import Handle
from icehouse.store.wire import messages

LIMIT_MAX = 1000
# Requests to the daemon for one page of the API, where few items are of the wanted state.
ASKS_MAX = 16

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
State = Literal["live", "deleted", "spilled", "orphan"]
Reply = TypeVar("Reply", messages.Objects, messages.Clients, messages.Segments, messages.Names)


def link_of(request: Request) -> Link:
    """Give the connection to the daemon."""
    link = request.app.state.link
    assert isinstance(link, Link)
    return link


# --- cursors and tags ---


def sealed_cursor(place: str) -> str:
    """Make an opaque cursor."""
    return base64.urlsafe_b64encode(place.encode()).decode().rstrip("=")


def opened_cursor(cursor: str) -> str:
    """Read a cursor; ProblemError if it is none of ours."""
    try:
        padded = cursor + "=" * (-len(cursor) % 4)
        return base64.b64decode(padded, altchars=b"-_", validate=True).decode()
    except (binascii.Error, UnicodeError, ValueError):
        raise ProblemError(
            "invalid-request", "cursor: not one that a page of this list gave as `next`"
        ) from None


def tagged(request: Request, model: BaseModel) -> Response:
    """Give a model with a strong ETag, or 304 to who has it already."""
    body = model.model_dump_json().encode()
    tag = f'"{hashlib.blake2b(body, digest_size=16).hexdigest()}"'
    headers = {"ETag": tag, "Cache-Control": "no-cache"}
    wanted = request.headers.get("if-none-match", "")
    known = {item.strip().removeprefix("W/") for item in wanted.split(",")}
    if tag in known or known == {"*"}:
        return Response(status_code=304, headers=headers)
    return Response(body, headers=headers, media_type="application/json")


NOT_MODIFIED: dict[int | str, dict[str, Any]] = {
    304: {"description": "What If-None-Match names is still so"}
}


async def page(
    request: Request,
    cursor: str,
    limit: int,
    ask: Callable[[str, int], messages.REQUESTS],
    answer: type[Reply],
    make: Callable[[Any], BaseModel],
    model: Any,
) -> Response:
    """Collect a page: the daemon gives fewer items at a time, so that nobody waits for long."""
    link = link_of(request)
    place = opened_cursor(cursor)
    items: list[BaseModel] = []
    for _ in range(ASKS_MAX):
        reply = await link.ask(ask(place, limit - len(items)), answer)
        items += [make(item) for item in reply.items]
        place = reply.cursor
        if not place or len(items) >= limit:
            break
    found = model(items=items, next=sealed_cursor(place) if place else None)
    return tagged(request, found)


# --- routes ---


@router.get("/status", response_model=schemas.Status, responses=NOT_MODIFIED)
async def status(request: Request) -> Response:
    """Tell about the daemon and the store as a whole."""
    told = await link_of(request).ask(messages.AskStatus(), messages.Status)
    return tagged(request, schemas.Status.of(told))


@router.get("/objects", response_model=schemas.Page[schemas.ObjectSummary], responses=NOT_MODIFIED)
async def objects(
    request: Request,
    cursor: Cursor = "",
    limit: Limit = 100,
    state: Annotated[State | None, Query(description="only those")] = None,
) -> Response:
    """List images, in the order of their places in memory. What is put meanwhile may be missed."""
    return await page(
        request,
        cursor,
        limit,
        lambda at, room: messages.AskObjects(cursor=at, limit=room, state=state or ""),
        messages.Objects,
        schemas.ObjectSummary.of,
        schemas.Page[schemas.ObjectSummary],
    )


@router.get(
    "/objects/{handle}",
    response_model=schemas.ObjectDetail,
    responses={**NOT_MODIFIED, **documented("handle-unknown", "handle-gone")},
)
async def one_object(request: Request, handle: HandleText) -> Response:
    """Tell about one image; 410 says how it went."""
    packed = bytes(Handle.from_text(handle))
    link = link_of(request)
    told = await link.ask(messages.AskObject(handle=packed), messages.OneObject)
    why = await link.ask(messages.Explain(handle=packed), messages.Text)
    detail = schemas.ObjectDetail.of(
        told.item, readers=list(told.item.readers), explanation=why.text
    )
    return tagged(request, detail)


@router.get("/clients", response_model=schemas.Page[schemas.Client], responses=NOT_MODIFIED)
async def clients(request: Request, cursor: Cursor = "", limit: Limit = 100) -> Response:
    """List processes with a session, in the order in which they came."""
    return await page(
        request,
        cursor,
        limit,
        lambda at, room: messages.AskClients(cursor=at, limit=room),
        messages.Clients,
        schemas.Client.of,
        schemas.Page[schemas.Client],
    )


@router.get("/segments", response_model=schemas.Page[schemas.Segment], responses=NOT_MODIFIED)
async def segments(request: Request, cursor: Cursor = "", limit: Limit = 100) -> Response:
    """List segments; each is walked for it."""
    return await page(
        request,
        cursor,
        limit,
        lambda at, room: messages.AskSegments(cursor=at, limit=room),
        messages.Segments,
        schemas.Segment.of,
        schemas.Page[schemas.Segment],
    )


@router.get("/names", response_model=schemas.Page[schemas.Name], responses=NOT_MODIFIED)
async def names(
    request: Request,
    prefix: Annotated[str, Query(max_length=512, description="only those that begin so")] = "",
    cursor: Cursor = "",
    limit: Limit = 100,
) -> Response:
    """List bound names in their order."""
    return await page(
        request,
        cursor,
        limit,
        lambda at, room: messages.AskNames(prefix=prefix, cursor=at, limit=room),
        messages.Names,
        schemas.Name.of,
        schemas.Page[schemas.Name],
    )
