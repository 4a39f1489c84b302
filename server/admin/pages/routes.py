"""The pages: each asks the daemon, and is whole without any script."""

from fastapi import APIRouter, Request, Response
from starlette.exceptions import HTTPException

from icehouse.server.admin import lists
from icehouse.server.admin.pages import overview
from icehouse.server.admin.pages.rendering import link_of, render, samples_of, told_page
from icehouse.server.admin.problems import ProblemError
from icehouse.store.handle import Handle
from icehouse.store.wire import messages

PAGE_ITEMS = 50
LIMITS = (50, 100, 250)
STATES = ("live", "orphan", "deleted", "spilled")

router = APIRouter(include_in_schema=False)


def one_of(value: str, allowed: tuple[str, ...]) -> str:
    """Take a value that is allowed, else none: forms of ours send no other."""
    return value if value in allowed else ""


def limit_of(request: Request) -> int:
    """Read how many items a page has."""
    text = request.query_params.get("limit", "")
    return int(text) if text in map(str, LIMITS) else PAGE_ITEMS


def cursor_of(request: Request) -> str:
    """Read where a page begins."""
    return request.query_params.get("cursor", "")[:2048]


@router.get("/")
@told_page
async def show_overview(request: Request) -> Response:
    """Show how the store is."""
    link = link_of(request)
    status = await lists.status(link)
    told = await link.ask(messages.AskMetrics(), messages.Metrics)
    known = overview.everything(status, told, samples_of(request))
    return render(request, "overview.html", refresh=1, **known)


@router.get("/objects")
@told_page
async def show_objects(request: Request) -> Response:
    """Show images, page by page."""
    asked = request.query_params
    filters = lists.Filters(state=one_of(asked.get("state", ""), STATES) or None)
    found = await lists.objects(link_of(request), filters, cursor_of(request), limit_of(request))
    return render(
        request,
        "objects.html",
        found=found,
        filters=filters,
        limit=limit_of(request),
        is_first=not cursor_of(request),
        states=STATES,
        limits=LIMITS,
    )


@router.get("/objects/{handle}")
@told_page
async def show_object(request: Request, handle: str) -> Response:
    """Show one image."""
    try:
        Handle.from_text(handle)
    except ValueError:
        raise ProblemError("handle-unknown", "This is not a handle.") from None
    found = await lists.one_object(link_of(request), handle)
    return render(request, "object.html", found=found, refresh=3)


@router.get("/memory")
@told_page
async def show_memory(request: Request) -> Response:
    """Show the segments and what is in them."""
    link = link_of(request)
    told = await link.ask(messages.AskMetrics(), messages.Metrics)
    found = await lists.segments(link, cursor_of(request), PAGE_ITEMS)
    return render(
        request,
        "memory.html",
        found=found,
        is_first=not cursor_of(request),
        refresh=5,
        **overview.memory(told),
    )


@router.get("/clients")
@told_page
async def show_clients(request: Request) -> Response:
    """Show who uses the store."""
    found = await lists.clients(link_of(request), cursor_of(request), limit_of(request))
    return render(request, "clients.html", found=found, is_first=not cursor_of(request), refresh=2)


@router.get("/names")
@told_page
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
        refresh=3,
    )


# Behind every other route: what a person looks for in vain is told on a page.
last = APIRouter(include_in_schema=False)


@last.get("/{rest:path}")
@told_page
async def show_nothing(request: Request, rest: str) -> Response:
    """Say that there is nothing here; to programs as a problem."""
    if rest.startswith("api/") or "text/html" not in request.headers.get("accept", ""):
        raise HTTPException(404)
    raise ProblemError("not-found", f"/{rest[:200]} is no page of the dashboard.")
