"""Choosing among images: what `icehouse ls` shows, in which order, and how much of it."""

import heapq
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from icehouse.store.wire import messages

Item = TypeVar("Item")

# What a list may be sorted by; those that are numbers come largest first.
SORTS: dict[str, Callable[["messages.Object"], Any]] = {
    "size": lambda item: item.size,
    "block": lambda item: item.block,
    # The youngest has the smallest age.
    "age": lambda item: -item.created_ns,
    "created": lambda item: item.created_ns,
    "leases": lambda item: item.leases,
    "links": lambda item: item.links,
    "linked": lambda item: item.linked,
    "pid": lambda item: item.pid,
    "name": lambda item: item.names[0] if item.names else "\U0010ffff",
    "type": lambda item: item.type or "",
    "state": lambda item: item.state,
    "handle": lambda item: item.handle,
}
ASCENDING = ("name", "type", "state", "handle", "created", "pid")


@dataclass(frozen=True)
class Choice:
    """Which images are wanted; None and False: whatever."""

    types: tuple[str, ...] = ()
    handles: frozenset[bytes] | None = None
    pid: int | None = None
    uid: int | None = None
    size_min: int | None = None
    size_max: int | None = None
    older: float | None = None
    newer: float | None = None
    named: bool | None = None
    pinned: bool | None = None
    read: bool | None = None

    def tests(self) -> Iterator[Callable[["messages.Object"], bool]]:
        """Give what each wanted image must pass."""
        now = time.time()
        if self.types:
            yield lambda item: item.type in self.types
        if self.handles is not None:
            among = self.handles
            yield lambda item: item.handle in among
        for key, wanted in (("pid", self.pid), ("uid", self.uid), ("pinned", self.pinned)):
            if wanted is not None:
                yield _equals(key, wanted)
        if self.size_min is not None:
            least = self.size_min
            yield lambda item: item.size >= least
        if self.size_max is not None:
            most = self.size_max
            yield lambda item: item.size <= most
        if self.older is not None:
            before = now - self.older
            yield lambda item: item.created_ns / 1e9 <= before
        if self.newer is not None:
            after = now - self.newer
            yield lambda item: item.created_ns / 1e9 >= after
        if self.named is not None:
            yield lambda item: bool(item.names) == self.named
        if self.read is not None:
            yield lambda item: bool(item.leases) == self.read

    def filter(self, items: Iterable["messages.Object"]) -> Iterator["messages.Object"]:
        """Give those that are wanted."""
        tests = list(self.tests())
        return (item for item in items if all(test(item) for test in tests))


def _equals(key: str, wanted: object) -> Callable[["messages.Object"], bool]:
    return lambda item: bool(getattr(item, key) == wanted)


def ordered(
    items: Iterable[Item],
    key: Callable[[Item], Any],
    *,
    descending: bool,
    limit: int,
) -> Iterable[Item]:
    """Sort; with a limit no more than that is ever held. 0: no limit."""
    if not limit:
        return sorted(items, key=key, reverse=descending)
    if descending:
        return heapq.nlargest(limit, items, key=key)
    return heapq.nsmallest(limit, items, key=key)
