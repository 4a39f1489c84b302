"""The pages: each asks the daemon, and is whole without any script."""

from typing import Any

from fastapi import APIRouter, FastAPI, Request, Response
from starlette.exceptions import HTTPException

from icehouse.server.admin import content, finding, lists, schemas
from icehouse.server.admin.pages import charts, filtering, happenings, memory, overview
from icehouse.server.admin.pages.rendering import link_of, render, samples_of, told_page
from icehouse.server.admin.problems import ProblemError
from icehouse.server.admin.routes_events import feed_of
from icehouse.store.handle import Handle
from icehouse.store.wire import messages

PAGE_ITEMS = 50
LIMITS = (50, 100, 250)
SEGMENT_ITEMS = 24
TREE_ITEMS = 100
WAY_MAX = 4000

router = APIRouter(include_in_schema=False)


def limit_of(request: Request) -> int:
    """Read how many items a page has."""
    text = request.query_params.get("limit", "")
    return int(text) if text in map(str, LIMITS) else PAGE_ITEMS


def cursor_of(request: Request) -> str:
    """Read where a page begins."""
    return request.query_params.get("cursor", "")[:2048]


@router.get("/")
@told_page()
async def show_overview(request: Request) -> Response:
    """Show how the store is."""
    link = link_of(request)
    status = await lists.status(link)
    told = await link.ask(messages.AskMetrics(), messages.Metrics)
    known = overview.everything(status, told, samples_of(request))
    return render(request, "overview.html", refresh=1, **known)


# --- objects ---


@router.get("/objects")
# Finding some among millions takes longer than asking.
@told_page(25)
async def show_objects(request: Request) -> Response:
    """Show images, page by page."""
    form = filtering.read(request.query_params)
    found = schemas.Page[schemas.ObjectSummary](items=[], next=None)
    if not form.errors:
        cursor, limit = cursor_of(request), limit_of(request)
        found = await lists.objects(link_of(request), form.filters, cursor, limit)
    return render(
        request,
        "objects.html",
        code=400 if form.errors else 200,
        found=found,
        form=form,
        limit=limit_of(request),
        is_first=not cursor_of(request),
        limits=LIMITS,
        sorts=filtering.SORTS,
        types=finding.TYPES,
        states=filtering.STATES,
    )


def checked(handle: str) -> str:
    """Give a handle; ProblemError if it is none."""
    try:
        return str(Handle.from_text(handle))
    except ValueError:
        raise ProblemError("handle-unknown", "This is not a handle.") from None


async def content_of(request: Request, handle: str) -> dict[str, Any]:
    """Give a level of an image's tree, or say why it can't be shown."""
    asked = request.query_params
    path, cursor = asked.get("path", "")[:WAY_MAX], asked.get("cursor", "")[:64]
    known: dict[str, Any] = {"handle": handle, "way": path, "tree": None, "trouble": ""}
    try:
        images = await content.images_of(request)
        known["tree"] = await content.tree(images, handle, path, cursor, TREE_ITEMS)
    except ProblemError as error:
        if error.kind in ("handle-gone", "handle-unknown"):
            raise
        known["trouble"] = error.detail
    return known


@router.get("/objects/{handle}")
@told_page(12)
async def show_object(request: Request, handle: str) -> Response:
    """Show one image."""
    found = await lists.one_object(link_of(request), checked(handle))
    known = dict[str, Any](tree=None)
    if found.state != "deleted":
        known = await content_of(request, handle)
    return render(request, "object.html", found=found, refresh=3, **known)


@router.get("/objects/{handle}/tree")
@told_page(12)
async def show_tree(request: Request, handle: str) -> Response:
    """Give one level of an image's tree, for a script that opens it within its page."""
    return render(request, "tree_level.html", **await content_of(request, checked(handle)))


# --- memory ---


@router.get("/memory")
@told_page()
async def show_memory(request: Request) -> Response:
    """Show the segments and what is in them."""
    link = link_of(request)
    told = await link.ask(messages.AskMetrics(), messages.Metrics)
    found = await lists.segments(link, cursor_of(request), SEGMENT_ITEMS)
    bars = {item.id: charts.bar(memory.parts_of(item), max(1, item.bytes)) for item in found.items}
    return render(
        request,
        "memory.html",
        found=found,
        bars=bars,
        broken=memory.broken,
        is_first=not cursor_of(request),
        refresh=5,
        upon="put delete evict spill client_left client_died",
        **overview.memory(told),
    )


@router.get("/memory/{segment}")
@told_page()
async def show_segment(request: Request, segment: str) -> Response:
    """Show a segment block by block."""
    if not segment.isdecimal() or len(segment) > 19:
        raise ProblemError("segment-unknown", "A segment has a number.")
    found = await lists.blocks(link_of(request), int(segment))
    return render(request, "segment.html", refresh=5, **memory.everything(found))


# --- clients and names ---


@router.get("/clients")
@told_page()
async def show_clients(request: Request) -> Response:
    """Show who uses the store."""
    found = await lists.clients(link_of(request), cursor_of(request), limit_of(request))
    return render(request, "clients.html", found=found, is_first=not cursor_of(request), refresh=2)


@router.get("/clients/{session}")
@told_page()
async def show_client(request: Request, session: str) -> Response:
    """Show one process, and what it has."""
    if not session.isdecimal() or len(session) > 19:
        raise ProblemError("client-unknown", "A session has a number.")
    found = await lists.one_client(link_of(request), int(session))
    return render(request, "client.html", found=found, refresh=2)


@router.get("/names")
@told_page()
async def show_names(request: Request) -> Response:
    """Show what is bound."""
    prefix = request.query_params.get("prefix", "")[:512]
    found = await lists.names(link_of(request), prefix, cursor_of(request), limit_of(request))
    return render(
        request,
        "names.html",
        found=found,
        prefix=prefix,
        is_first=not cursor_of(request),
        refresh=1,
        upon="bind delete evict",
    )


@router.get("/names/history")
@told_page()
async def show_history(request: Request) -> Response:
    """Show what a name was bound to. It is in the query: in a path `..` would lead elsewhere."""
    name = request.query_params.get("name", "")[:512]
    found = await lists.history(link_of(request), name)
    return render(request, "history.html", found=found, refresh=1, upon="bind delete evict")


# --- events ---


@router.get("/events")
@told_page()
async def show_events(request: Request) -> Response:
    """Show what happened lately, and go on with it."""
    feed = feed_of(request)
    feed.wanted()
    group = request.query_params.get("show", "")
    group = group if group in happenings.GROUPS else ""
    return render(
        request,
        "events.html",
        group=group,
        happenings=happenings.shown(feed.ring, group),
        refresh=1,
        upon=" ".join(happenings.LABELS),
    )


# --- failures ---


@told_page()
async def show_nothing(request: Request) -> Response:
    """Say that there is nothing here."""
    raise ProblemError("not-found", f"{request.url.path[:200]} is no page of the dashboard.")


def install(app: FastAPI) -> None:
    """Add the pages; a person who looks for one in vain is told so on a page, a program as ever."""
    app.include_router(router)
    told = app.exception_handlers[HTTPException]

    async def failed(request: Request, error: Exception) -> Response:
        is_for_people = "text/html" in request.headers.get("accept", "")
        if isinstance(error, HTTPException) and error.status_code == 404 and is_for_people:
            return await show_nothing(request)
        response = await told(request, error)  # type: ignore[misc] # ours are all coroutines
        assert isinstance(response, Response)
        return response

    app.add_exception_handler(HTTPException, failed)
