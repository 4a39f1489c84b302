"""What happens in the store, told to those who follow it: the admin process, once for all its own.

Nothing is noted while nobody follows. Events are gathered for a moment; of one kind only so many
are told one by one, the rest as a count, so that a hundred thousand deletes a second cost no more
than a few. A follower that does not read is told what it missed as a number (H14).
"""

import asyncio
import contextlib
import itertools
import time
from collections import Counter, deque
from typing import TYPE_CHECKING

from icehouse.server.frames import HANDLE, Handle
from icehouse.store.wire import messages

if TYPE_CHECKING:
    from collections.abc import Callable

RING_MAX = 1024
GATHER_SECONDS = 0.1
# Of one kind within that time; what is more is counted.
SINGLE_MAX = 32
# Of one frame.
BATCH_MAX = 128


class Events:
    """Those of one daemon; numbered from 1."""

    def __init__(self) -> None:
        self.ring: deque[messages.Event] = deque(maxlen=RING_MAX)
        self.last = 0
        self.followers: dict[object, Callable[[], None]] = {}
        self._waiting: list[messages.Event] = []
        self._counts: Counter[str] = Counter()
        self._more: dict[str, messages.Event] = {}
        self._timer: asyncio.TimerHandle | None = None

    def note(
        self,
        kind: str,
        *,
        handle: Handle | None = None,
        name: str = "",
        pid: int = 0,
        session: int = 0,
        size: int = 0,
        why: str = "",
    ) -> None:
        """Take note of what happened, if anybody wants to know."""
        if not self.followers:
            return
        self._counts[kind] += 1
        if self._counts[kind] > SINGLE_MAX:
            more = self._more.setdefault(kind, messages.Event(kind=kind, count=0))
            more.count += 1
            more.size += size
            return
        packed = b"" if handle is None else HANDLE.pack(*handle)
        self._waiting.append(
            messages.Event(
                kind=kind,
                at=time.time(),
                handle=packed,
                name=name,
                pid=pid,
                session=session,
                size=size,
                why=why,
            )
        )
        if self._timer is None:
            # Before the loop runs nobody follows.
            with contextlib.suppress(RuntimeError):
                loop = asyncio.get_running_loop()
                self._timer = loop.call_later(GATHER_SECONDS, self._tell)

    def _tell(self) -> None:
        self._timer = None
        for event in itertools.chain(self._waiting, self._more.values()):
            self.last += 1
            event.number = self.last
            event.at = event.at or time.time()
            self.ring.append(event)
        self._waiting.clear()
        self._more.clear()
        self._counts.clear()
        for tell in tuple(self.followers.values()):
            tell()

    def after(self, number: int) -> messages.Events:
        """Give the events after one, some at least, and how many of them are lost."""
        first = self.ring[0].number if self.ring else self.last + 1
        lost = max(first - number - 1, 0)
        skipped = max(number + 1 - first, 0)
        items = list(itertools.islice(self.ring, skipped, skipped + BATCH_MAX))
        return messages.Events(items=items, lost=lost)

    def stop(self) -> None:
        """Tell nobody any more."""
        self.followers.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
