"""What looking for things may cost the daemon: much at once, but little in the long run.

Finding images by what they are takes a look at all of them, in steps of a millisecond, and the
daemon has no other processor for those who put and bind. Whoever looks now and then waits for
nothing; many who look all the time wait for each other.
"""

import asyncio
import time
from collections.abc import Callable

from icehouse.store.wire import messages

# Seconds of the daemon's that may be spent at once, and the share of its time in the long run.
BURST_SECONDS = 2.0
SHARE = 0.05
# What is overdrawn beyond this is forgiven: nobody waits for minutes, however much is stored.
DEBT_SECONDS_MAX = 0.25


class Pace:
    """A purse of the daemon's seconds, which fills as time passes."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """`clock`: seconds."""
        self._clock = clock
        self._left = BURST_SECONDS
        self._at = clock()

    def _fill(self) -> None:
        now = self._clock()
        self._left = min(BURST_SECONDS, self._left + (now - self._at) * SHARE)
        self._at = now

    def note(self, told: messages.Objects | messages.Keys) -> None:
        """Note what an answer took."""
        self.spend(told.took_ns / 1e9)

    def spend(self, seconds: float) -> None:
        """Note what a step took; the purse may be overdrawn."""
        self._fill()
        self._left = max(self._left - seconds, -DEBT_SECONDS_MAX)

    @property
    def is_short(self) -> bool:
        """Whether what was spent lately is more than should be: who has an old answer takes it."""
        self._fill()
        return self._left < BURST_SECONDS / 2

    @property
    def wait_seconds(self) -> float:
        """How long until something may be spent again."""
        self._fill()
        return max(0.0, -self._left / SHARE)

    async def turn(self) -> None:
        """Wait until something may be spent."""
        while (seconds := self.wait_seconds) > 0:
            await asyncio.sleep(seconds)
