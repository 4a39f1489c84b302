"""Turns what was asked into a page: the templates, what they know, and pages about failures."""

import asyncio
import functools
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from fastapi import Request, Response
from fastapi.responses import HTMLResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from icehouse.server.admin.link import AwayError, Link, RefusedError
from icehouse.server.admin.pages import assets, wording
from icehouse.server.admin.problems import KINDS, ProblemError, of_refusal
from icehouse.server.admin.samples import Samples

Page = Callable[..., Coroutine[Any, Any, Response]]

# How long somebody looks at nothing before they are told that nothing comes.
PAGE_SECONDS = 4.0

TABS = (
    ("/", "Overview"),
    ("/objects", "Objects"),
    ("/memory", "Memory"),
    ("/clients", "Clients"),
    ("/names", "Names"),
    ("/events", "Events"),
)


def with_query(path: str, /, **values: object) -> str:
    """Add what is not empty as a query."""
    kept = {key: value for key, value in values.items() if value not in (None, "")}
    return f"{path}?{urlencode(kept)}" if kept else path


def make_environment() -> Environment:
    """Make the environment of all templates: what they show is escaped, what is missing fails."""
    made = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    made.filters.update(
        age=wording.age,
        count=wording.count,
        cut=wording.cut,
        lasting=wording.lasting,
        moment=wording.moment,
        part=functools.partial(quote, safe=""),
        rate=wording.rate,
        share=wording.share,
        sentence=wording.sentence,
        size=wording.size,
        until=wording.until,
        visible=wording.visible,
    )
    made.globals.update(asset=assets.address, counted=wording.counted, query=with_query, tabs=TABS)
    return made


ENVIRONMENT = make_environment()


def compile_all() -> None:
    """Compile every template, so that nobody waits for it who looks at a page first: 0.1 s."""
    for name in ENVIRONMENT.list_templates():
        ENVIRONMENT.get_template(name)


# What is on a page changes, and belongs to nobody's cache.
HEADERS = {"Cache-Control": "no-store"}


def link_of(request: Request) -> Link:
    """Give the connection to the daemon."""
    link = request.app.state.link
    assert isinstance(link, Link)
    return link


def samples_of(request: Request) -> Samples:
    """Give the samples, and have them go on: somebody looks."""
    samples = request.app.state.samples
    assert isinstance(samples, Samples)
    samples.wanted()
    return samples


def render(request: Request, template: str, *, code: int = 200, **known: Any) -> Response:
    """Make a page. `known` is what the template needs; those of base.html have defaults here."""
    given = {"path": request.url.path, "is_away": False, "refresh": 0, "upon": "", **known}
    text = ENVIRONMENT.get_template(template).render(given)
    return HTMLResponse(text, code, HEADERS)


def failure(request: Request, code: int, title: str, text: str, hint: str = "") -> Response:
    """Make a page that says what went wrong."""
    return render(request, "failure.html", code=code, title=title, text=text, hint=hint)


HINTS = {
    "handle-unknown": "A handle begins with ih1_ and has 30 characters. It may be of another store:"
    " one that ended has taken its objects with it.",
    "handle-gone": "Whoever still has a view of it can read on; nobody can open it anew.",
    "invalid-request": "Go back and choose anew, or begin at the first page of the list.",
    "not-found": "The pages are those above.",
}


def told_page(seconds: float = PAGE_SECONDS) -> Callable[[Page], Page]:
    """Have a route tell its failures as pages for people, and that it takes longer than this."""

    def wrap(page: Page) -> Page:
        @functools.wraps(page)
        async def telling(request: Request, **given: Any) -> Response:
            try:
                samples_of(request)
                async with asyncio.timeout(seconds):
                    return await page(request, **given)
            except TimeoutError:
                return away(request, f"the daemon has not answered for {seconds:g} s")
            except AwayError as error:
                return away(request, str(error))
            except RefusedError as error:
                found = of_refusal(error)
            except ProblemError as error:
                found = error
            code, title = KINDS[found.kind]
            return failure(request, code, title, found.detail, HINTS.get(found.kind, ""))

        return telling

    return wrap


def away(request: Request, reason: str) -> Response:
    """Make the page that says that the daemon is away, and looks for it."""
    response = render(request, "away.html", code=503, is_away=True, refresh=1, reason=reason)
    response.headers["Retry-After"] = "1"
    return response
