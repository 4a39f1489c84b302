"""Pages: cursors that say nothing to others; collecting what the daemon gives piece by piece."""

import base64
import binascii
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from pydantic import BaseModel

from icehouse.server.admin.link import Link, RefusedError
from icehouse.server.admin.pace import Pace
from icehouse.server.admin.problems import ProblemError
from icehouse.store.wire import messages

# How long a page is collected where few items are wanted ones; the rest is for the next page.
PAGE_SECONDS = 1.0

Reply = TypeVar(
    "Reply",
    messages.Objects,
    messages.Clients,
    messages.Segments,
    messages.Names,
    messages.Blocks,
)
Item = TypeVar("Item", bound=BaseModel)


# --- cursors ---


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


@contextmanager
def known(kind: str) -> Iterator[None]:
    """Have a refusal of what the daemon does not know told as a problem of its own."""
    try:
        yield
    except RefusedError as error:
        if error.failure.code != "unknown":
            raise
        raise ProblemError(kind, error.failure.text) from None


async def collect(
    link: Link,
    cursor: str,
    limit: int,
    ask: Callable[[str, int], messages.REQUESTS],
    answer: type[Reply],
    make: Callable[[Any], Item],
    least: int = 1,
    pace: Pace | None = None,
) -> tuple[list[Item], str | None]:
    """Collect a page: its items and the cursor of the next one. `least`: what can be asked for.

    `pace`: the daemon looks at many images for few, and is asked as often as it should be.
    """
    place = opened_cursor(cursor)
    items: list[Item] = []
    until = time.monotonic() + PAGE_SECONDS
    while True:
        if pace is not None:
            await pace.turn()
        reply = await link.ask(ask(place, limit - len(items)), answer)
        if pace is not None and isinstance(reply, messages.Objects):
            pace.note(reply)
        items += [make(item) for item in reply.items]
        place = reply.cursor
        if not place or limit - len(items) < least or time.monotonic() >= until:
            return items, sealed_cursor(place) if place else None
