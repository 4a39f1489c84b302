"""/api/v1/objects/{handle}/tree and /preview: what is in an image, read without trusting it."""

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from icehouse.server.admin import content
from icehouse.server.admin.problems import documented
from icehouse.server.admin.routes_api import NOT_MODIFIED, HandleText, tagged
from icehouse.store.showing.tree import WAY_MAX

Path = Annotated[
    str,
    Query(
        max_length=WAY_MAX,
        description="what to open: empty, or the `path` of an item; like a JSON pointer",
    ),
]

router = APIRouter(
    prefix="/api/v1/objects/{handle}",
    tags=["api"],
    responses={
        **NOT_MODIFIED,
        **documented(
            *("invalid-request", "not-permitted", "path-unknown", "handle-gone", "wrong-host"),
            *("corrupt-image", "too-slow"),
        ),
    },
)


@router.get("/tree", response_model=content.ContentTree)
async def tree(
    request: Request,
    handle: HandleText,
    path: Path = "",
    limit: Annotated[int, Query(ge=1, le=content.LIMIT_MAX, description="children at most")] = 100,
    cursor: Annotated[str, Query(max_length=32, description="the `next` of the page before")] = "",
) -> Response:
    """Tell one value of an image and a page of its children. Nothing of it is made or run."""
    images = await content.images_of(request)
    return tagged(request, await content.tree(images, handle, path, cursor, limit))


@router.get("/preview", response_model=content.ContentPreview)
async def preview(request: Request, handle: HandleText, path: Path = "") -> Response:
    """Tell one value of an image as bounded JSON. Nothing of it is made or run."""
    images = await content.images_of(request)
    return tagged(request, await content.preview(images, handle, path))
