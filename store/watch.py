"""Following a name: what it is bound to now, and each change."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from icehouse.native._image import Handle, Store

__all__ = ["watch"]


def watch(self: "Store", name: str, *, timeout: float | None = None) -> "Iterator[State]":
    """Follow a name: yields (handle, version), first as it is if it is bound, then at each change.

    The handle is None while nothing is bound. Changes that come faster than they are asked for
    are one: the last state is always seen, not every state. It waits without polling and lets
    other threads run; Ctrl-C ends it. With `timeout`, in seconds, it ends when nothing has changed
    for so long; else never. ValueError for a bad name or timeout, StoreClosed, StoreUnavailable.
    """
    # Refuses what it can't do now, not at the first step.
    first = self._wait(name, None, timeout)
    return _follow(self, name, first, timeout)


def _follow(
    store: "Store", name: str, state: "State | None", timeout: float | None
) -> "Iterator[State]":
    seen = 0
    if state is not None:
        seen = state[1]
        if state[0] is not None:
            yield state
    while (state := store._wait(name, seen, timeout)) is not None:  # noqa: SLF001 - our own
        seen = state[1]
        yield state


if TYPE_CHECKING:
    State = tuple[Handle | None, int]
