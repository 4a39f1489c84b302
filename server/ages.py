"""How old leases are, by looking at the lease tables a few slots at a time.

A slot says what is leased, not since when: so the daemon remembers when it first saw it there. The
look goes on for a moment at each tick, and once more when somebody asks.
"""

import time
from typing import TYPE_CHECKING

from icehouse.server.catalog import Catalog

if TYPE_CHECKING:
    from icehouse.server.sessions import Sessions

# By the order of ih_lease_ages: leases that are at least so old, in words.
LABELS = ("1m", "10m", "1h", "1d")
# Blocks of 512 slots between two looks at the clock: some 50 microseconds.
BLOCKS = 32
TURN_SECONDS = 0.001


class LeaseAges:
    """The sums of the last look at each lease table."""

    def __init__(self, catalog: Catalog, sessions: "Sessions") -> None:
        self._catalog = catalog
        self._sessions = sessions
        self._began = time.monotonic()
        self._last: dict[int, tuple[list[int], int]] = {}
        self._left: list[int] = []

    def go_on(self, seconds: float = TURN_SECONDS) -> bool:
        """Look for so long at most; True: every table has been looked at since the round began."""
        families = self._sessions.families
        if not self._left:
            self._left = list(families)
            self._last = {number: at for number, at in self._last.items() if number in families}
        deadline = time.monotonic() + seconds
        while self._left:
            number = self._left[-1]
            now = int(time.monotonic() - self._began)
            found = self._catalog.lease_ages(number, now, BLOCKS)
            if found is not None:
                self._left.pop()
                self._last[number] = found
            if time.monotonic() >= deadline:
                break
        return not self._left

    def told(self) -> tuple[int, dict[str, float], int]:
        """Give how many leases there are, how many of them are so old, and the oldest's seconds."""
        rows = [ages for ages, _ in self._last.values()]
        sums = [sum(column) for column in zip(*rows, strict=True)]
        sums = sums or [0] * (len(LABELS) + 1)
        old = {label: float(sum(sums[at:])) for at, label in enumerate(LABELS, start=1)}
        return sum(sums), old, max((oldest for _, oldest in self._last.values()), default=0)
