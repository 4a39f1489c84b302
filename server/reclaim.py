"""When reclaim runs: soon after a delete, and then ever more seldom while nothing comes of it.

What is deleted waits for leases to go and for producers to return blocks; neither sends a message.
"""

import asyncio
import contextlib
import time

from icehouse.server.catalog import FREED_BATCH, Catalog
from icehouse.server.lifetimes import Lifetimes
from icehouse.server.segments import Segments

SOON = 0.001
SELDOM = 0.25
# A look at a million leases takes milliseconds of the loop: others have it most of the time.
REST = 9


class Reclaimer:
    """Runs on the loop; step() may be called at any time besides."""

    def __init__(self, catalog: Catalog, lifetimes: Lifetimes, segments: Segments) -> None:
        self.catalog = catalog
        self.lifetimes = lifetimes
        self.segments = segments
        self._timer: asyncio.TimerHandle | None = None
        self._delay = SOON
        self._rested = 0.0

    def step(self, *, force: bool, keep_warm: bool = True) -> int:
        """Take one step; how many images it freed."""
        freed = self.catalog.reclaim(force=force)
        if freed:
            self.lifetimes.freed(freed)
        self.segments.empties(keep_warm=keep_warm)
        return len(freed)

    def all(self, *, keep_warm: bool = True) -> int:
        """Take steps until one frees nothing; how many images they freed."""
        total = 0
        while True:
            # The second look finds what the first has made free: a range cleared, a link dropped.
            freed = self.step(force=True, keep_warm=keep_warm)
            total += freed
            if not freed:
                return total

    def kick(self) -> None:
        """There is work: look soon."""
        if self._timer is not None and self._delay == SOON:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._delay = SOON
        with contextlib.suppress(RuntimeError):
            # Before the loop runs nothing waits; the first tick looks again.
            self._timer = asyncio.get_running_loop().call_later(SOON, self._run)

    def wake(self) -> None:
        """There may be work: look soon, unless a look is due anyway."""
        if self._timer is None and self.catalog.is_busy():
            self.kick()

    def _run(self) -> None:
        self._timer = None
        # At once only if much is queued: one scan serves all that comes in within a few steps.
        begin = time.monotonic()
        force = self._delay > SOON and begin >= self._rested
        freed = self.step(force=force)
        if force:
            end = time.monotonic()
            self._rested = end + REST * (end - begin)
        if not self.catalog.is_busy():
            self._delay = SOON
            return
        if freed == FREED_BATCH:
            self._delay = 0.0
        else:
            self._delay = SOON if freed else min(max(2 * self._delay, SOON), SELDOM)
        self._timer = asyncio.get_running_loop().call_later(self._delay, self._run)

    def stop(self) -> None:
        """Run no more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
