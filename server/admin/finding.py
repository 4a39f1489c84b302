"""Finding images: by what they are, and in an order, among a million of them.

The daemon has no index and must not be held up: it looks at some thousands of images for each
request, and says where to go on (server/scanning.py). For a list in an order this process drives
the scan from one end of the memory to the other, keeps the best of what comes back, and tells the
daemon what is good enough by now, so that little crosses. One such scan runs at a time, and its
page is kept for a second: many who look at the same list cost as much as one. All that looks costs
the daemon little in the long run (pace.py): then pages are shorter, and orders older.
"""

import asyncio
import heapq
import struct
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from icehouse.server.admin import schemas
from icehouse.server.admin.link import Link
from icehouse.server.admin.paging import collect, opened_cursor, sealed_cursor
from icehouse.server.admin.problems import ProblemError
from icehouse.store.handle import Handle
from icehouse.store.wire import messages

__all__ = ["SORTS", "TYPES", "Filters", "objects"]

KEY = struct.Struct("<QQQ")
SORTS = ("place", "size", "-size", "created", "-created")
# What `type` of an image may be; instances of classes have none that is known without decoding.
TYPES = (
    *("NoneType", "array", "bool", "bytearray", "bytes", "complex", "dict", "ellipsis", "float"),
    *("frozenset", "int", "list", "NotImplementedType", "set", "str", "tuple"),
)
NUMBER_MAX = 2**64 - 1
# Images that the daemon is asked for at a time: it takes some 40 us for each.
PIECE_MAX = messages.LIMIT_MAX // 4
# A scan of a million images takes a part of this. One scan runs at a time: others wait as long.
SCAN_SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class Filters:
    """Which images are wanted; None and "": any.

    Ages are seconds since an image was put, sizes are bytes. `type` may end with `*`. `q` is free
    text: a handle, a type, or else the beginning of a name.
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


def created_at(age: float | None, within: int = 0) -> int:
    """Give the time, in ns since the epoch, that was so many seconds ago; None: 0.

    The present is the second that runs, of whose ns `within` are over: a page that is kept is for
    the same bounds.
    """
    if age is None:
        return 0
    now = int(time.time()) * 10**9 + within
    return min(max(now - int(min(age, 1e11) * 1e9), 1), NUMBER_MAX)


def selection(filters: Filters) -> dict[str, Any]:
    """Give the keys of a request to the daemon."""
    return {
        "state": filters.state or "",
        "type": filters.type or "",
        "name": filters.name or "",
        "pid": filters.pid or 0,
        "uid": filters.uid,
        "session": filters.session or 0,
        "min_size": filters.min_size or 0,
        "max_size": filters.max_size or 0,
        "min_created_ns": created_at(filters.max_age),
        # What is as old by the end of this second is told: nothing is too young for 0.
        "max_created_ns": created_at(filters.min_age, 10**9 - 1),
    }


def understood(filters: Filters) -> Filters | Handle | None:
    """Take free text for what it is; None: nothing can be so."""
    if filters.max_size == 0 or filters.pid == 0 or filters.session == 0:
        return None
    text = (filters.q or "").strip()
    if not text:
        return filters
    try:
        return Handle.from_text(text)
    except ValueError:
        pass
    if text.startswith("ih1_"):
        return None
    if text in TYPES and not filters.type:
        return replace(filters, type=text, q=None)
    if filters.name and not text.startswith(filters.name):
        return None if not filters.name.startswith(text) else replace(filters, q=None)
    return replace(filters, name=text, q=None)


def empty() -> schemas.Page[schemas.ObjectSummary]:
    """Give a page without anything."""
    return schemas.Page[schemas.ObjectSummary](items=[], next=None)


async def by_handle(
    link: Link, handle: Handle, filters: Filters
) -> schemas.Page[schemas.ObjectSummary]:
    """Find the image of a handle, if it is one of those that are wanted."""
    told = await link.ask(messages.AskSome(handles=[bytes(handle)]), messages.Objects)
    items = [schemas.ObjectSummary.of(item) for item in told.items if fits(item, filters)]
    return schemas.Page[schemas.ObjectSummary](items=items, next=None)


def fits(item: messages.Object, filters: Filters) -> bool:
    """Whether an image that was asked for by its handle passes the other filters."""
    wanted = selection(filters)
    pattern = wanted["type"]
    prefix = pattern.removesuffix("*")
    kind = item.type or ""
    return (
        wanted["state"] in ("", item.state)
        and (kind.startswith(prefix) if pattern.endswith("*") else pattern in ("", kind))
        and (not wanted["name"] or any(name.startswith(wanted["name"]) for name in item.names))
        and wanted["pid"] in (0, item.pid)
        and wanted["uid"] in (None, item.uid)
        and wanted["session"] in (0, item.session)
        and wanted["min_size"] <= item.size <= (wanted["max_size"] or NUMBER_MAX)
        and wanted["min_created_ns"] <= item.created_ns
        and item.created_ns <= (wanted["max_created_ns"] or NUMBER_MAX)
    )


async def objects(
    link: Link, filters: Filters, cursor: str = "", limit: int = 100
) -> schemas.Page[schemas.ObjectSummary]:
    """List images. In the order of their places what is put meanwhile may be missed.

    A page may be short, or empty, and yet not the last. ProblemError for what can't be asked.
    """
    wanted = understood(filters)
    if wanted is None:
        opened_cursor(cursor)
        return empty()
    if isinstance(wanted, Handle):
        return await by_handle(link, wanted, filters)
    if wanted.sort != "place":
        return await in_order(link, wanted, cursor, limit)
    keys = selection(wanted)
    items, following = await collect(
        link,
        cursor,
        limit,
        lambda at, room: messages.AskObjects(cursor=at, limit=min(room, PIECE_MAX), **keys),
        messages.Objects,
        schemas.ObjectSummary.of,
        pace=None if wanted == Filters() else link.pace,
    )
    return schemas.Page[schemas.ObjectSummary](items=items, next=following)


# --- in an order ---

Key = tuple[int, int, int]
"""Of one image: what it is sorted by, its locator, its nonce."""


async def scan(
    link: Link, keys: Mapping[str, Any], sort: str, after: tuple[int, int], limit: int
) -> list[Key]:
    """Drive a scan from one end to the other."""
    await link.pace.turn()
    best: list[Key] = []
    before: tuple[int, int] | None = None
    cursor = ""
    while True:
        asked = messages.AskKeys(
            cursor=cursor, limit=limit, sort=sort, after=after, before=before, **keys
        )
        told = await link.ask(asked, messages.Keys)
        link.pace.note(told)
        if told.keys:
            best = list(heapq.merge(best, KEY.iter_unpack(told.keys)))[:limit]
            if len(best) == limit:
                before = best[-1][:2]
        cursor = told.cursor
        if not cursor:
            return best


def place_of(cursor: str) -> tuple[int, int]:
    """Read the cursor of a list in an order."""
    text = opened_cursor(cursor)
    if not text:
        return 0, 0
    key, _, place = text.partition(".")
    try:
        numbers = int(key, 16), int(place, 16)
    except ValueError:
        numbers = -1, -1
    if not all(0 <= number <= NUMBER_MAX for number in numbers):
        raise ProblemError("invalid-request", "cursor: not one that a page of this list gave")
    return numbers


async def in_order(
    link: Link, filters: Filters, cursor: str, limit: int
) -> schemas.Page[schemas.ObjectSummary]:
    """List images in an order; those that go while they are looked up are left out."""
    if filters.sort not in SORTS:
        raise ProblemError("invalid-request", f"sort: one of {', '.join(SORTS)}")
    after = place_of(cursor)
    keys = selection(filters)
    try:
        async with asyncio.timeout(SCAN_SECONDS):
            found = await link.scans.get(
                (*keys.values(), filters.sort, after, limit),
                lambda: scan(link, keys, filters.sort, after, limit),
            )
    except TimeoutError:
        raise ProblemError(
            "too-slow",
            f"sorting, and waiting for those who sort, took more than {SCAN_SECONDS:g} s: give more"
            " filters, or sort by place",
        ) from None
    items: list[schemas.ObjectSummary] = []
    for start in range(0, len(found), PIECE_MAX):
        part = found[start : start + PIECE_MAX]
        handles = [struct.pack("<QQ", *key[1:]) for key in part]
        told = await link.ask(messages.AskSome(handles=handles), messages.Objects)
        items += map(schemas.ObjectSummary.of, told.items)
    following = None
    if len(found) == limit:
        key, place, _ = found[-1]
        following = sealed_cursor(f"{key:x}.{place:x}")
    return schemas.Page[schemas.ObjectSummary](items=items, next=following)
