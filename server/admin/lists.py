"""What the daemon tells, as schema models: what the JSON routes and the pages both show.

Plain functions over the connection to the daemon. Each raises what Link.ask() does, and
ProblemError for a parameter that is wrong. The daemon gives few items at a time, so that nobody
waits for long; here they are collected into pages.
"""

import base64
import binascii
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import BaseModel

from icehouse.server.admin import schemas
from icehouse.server.admin.link import Link, RefusedError
from icehouse.server.admin.problems import ProblemError
from icehouse.store.handle import Handle
from icehouse.store.wire import messages

__all__ = [
    "Filters",
    "blocks",
    "clients",
    "history",
    "names",
    "objects",
    "one_client",
    "one_object",
    "segments",
    "status",
]

LIMIT_MAX = 1000
# How long a page is collected where few items are wanted ones; the rest is for the next page.
PAGE_SECONDS = 1.0
# Runs of a segment are told together below this part of it.
BLOCKS_OF_SEGMENT = 2000

Reply = TypeVar(
    "Reply",
    messages.Objects,
    messages.Clients,
    messages.Segments,
    messages.Names,
    messages.Blocks,
)
Item = TypeVar("Item", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Filters:
    """Which images are wanted; None and "": any.

    Ages are seconds since an image was put, sizes are bytes. `type` may end with `*`. `q` is free
    text: a handle, the beginning of a name, or a type.
    """

    state: str | None = None
    type: str | None = None
    name: str | None = None
    pid: int | None = None
    uid: int | None = None
    session: int | None = None
    min_size: int | None = None
    max_size: int | None = None
    min_age: float | None = None
    max_age: float | None = None
    q: str | None = None
    sort: str = "place"


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
) -> tuple[list[Item], str | None]:
    """Collect a page: its items and the cursor of the next one. `least`: what can be asked for."""
    place = opened_cursor(cursor)
    items: list[Item] = []
    until = time.monotonic() + PAGE_SECONDS
    while True:
        reply = await link.ask(ask(place, limit - len(items)), answer)
        items += [make(item) for item in reply.items]
        place = reply.cursor
        if not place or limit - len(items) < least or time.monotonic() >= until:
            return items, sealed_cursor(place) if place else None


# --- the lists ---


async def status(link: Link) -> schemas.Status:
    """Tell about the daemon and the store as a whole."""
    return schemas.Status.of(await link.ask(messages.AskStatus(), messages.Status))


async def objects(
    link: Link, filters: Filters, cursor: str = "", limit: int = 100
) -> schemas.Page[schemas.ObjectSummary]:
    """List images; in the order of their places what is put meanwhile may be missed."""
    items, following = await collect(
        link,
        cursor,
        limit,
        lambda at, room: messages.AskObjects(cursor=at, limit=room, state=filters.state or ""),
        messages.Objects,
        schemas.ObjectSummary.of,
    )
    return schemas.Page[schemas.ObjectSummary](items=items, next=following)


async def one_object(link: Link, handle: str) -> schemas.ObjectDetail:
    """Tell about one image and the processes that have it."""
    packed = bytes(Handle.from_text(handle))
    told = await link.ask(messages.AskObject(handle=packed), messages.OneObject)
    why = await link.ask(messages.Explain(handle=packed), messages.Text)
    return schemas.ObjectDetail.with_all(told.item, why.text)


async def clients(link: Link, cursor: str = "", limit: int = 100) -> schemas.Page[schemas.Client]:
    """List processes with a session, in the order in which they came."""
    items, following = await collect(
        link,
        cursor,
        limit,
        lambda at, room: messages.AskClients(cursor=at, limit=room),
        messages.Clients,
        schemas.Client.of,
    )
    return schemas.Page[schemas.Client](items=items, next=following)


async def one_client(link: Link, session: int) -> schemas.ClientDetail:
    """Tell about one process, its segments and what it leases."""
    with known("client-unknown"):
        told = await link.ask(messages.AskClient(session=session), messages.OneClient)
    return schemas.ClientDetail.of(
        told.item,
        granted=told.granted,
        leased=[schemas.text_of(handle) for handle in told.leased],
    )


async def segments(link: Link, cursor: str = "", limit: int = 100) -> schemas.Page[schemas.Segment]:
    """List segments and what is in them."""
    items, following = await collect(
        link,
        cursor,
        limit,
        lambda at, room: messages.AskSegments(cursor=at, limit=room),
        messages.Segments,
        schemas.Segment.of,
    )
    return schemas.Page[schemas.Segment](items=items, next=following)


async def blocks(
    link: Link, segment: int, cursor: str = "", limit: int = BLOCKS_OF_SEGMENT
) -> schemas.Blocks:
    """Tell what is where in a segment: at most about 4,000 runs in all."""
    with known("segment-unknown"):
        told = await link.ask(messages.AskSegment(segment=segment), messages.Segments)
    about = schemas.Segment.of(told.items[0])
    spilled = about.state == "spilled"
    items, following = await collect(
        link,
        cursor,
        limit,
        lambda at, room: messages.AskBlocks(
            segment=segment, grain=about.bytes // BLOCKS_OF_SEGMENT, cursor=at, limit=room
        ),
        messages.Blocks,
        lambda item: schemas.Block.of(item, spilled=spilled),
        least=4,
    )
    return schemas.Blocks(items=items, next=following, segment=about)


async def names(
    link: Link, prefix: str = "", cursor: str = "", limit: int = 100
) -> schemas.Page[schemas.Name]:
    """List bound names in their order."""
    items, following = await collect(
        link,
        cursor,
        limit,
        lambda at, room: messages.AskNames(prefix=prefix, cursor=at, limit=room),
        messages.Names,
        schemas.Name.of,
    )
    return schemas.Page[schemas.Name](items=items, next=following)


async def history(link: Link, name: str) -> schemas.History:
    """Tell the last versions of a name."""
    with known("name-unknown"):
        told = await link.ask(messages.AskHistory(name=name), messages.History)
    return schemas.History.of(told)
