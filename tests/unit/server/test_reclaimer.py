"""When reclaim looks: however long a look takes, the daemon's loop is free most of the time."""

import asyncio
from itertools import pairwise

import pytest

from icehouse.server import reclaim
from icehouse.server.reclaim import REST, Reclaimer


class Clock:
    """What time.monotonic() says."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now


class Catalog:
    """One with a million leases: a look takes a second and frees nothing."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.looks: list[float] = []

    def reclaim(self, *, force: bool) -> list[tuple[int, int]]:
        if force:
            self.looks.append(self.clock.now)
            self.clock.now += 1.0
        return []

    def is_busy(self) -> bool:
        return True


class Segments:
    def empties(self, *, keep_warm: bool) -> None:
        assert keep_warm


def test_a_long_look_is_followed_by_a_longer_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    catalog = Catalog(clock)
    monkeypatch.setattr(reclaim, "time", clock)

    async def deletes() -> None:
        reclaimer = Reclaimer(catalog, None, Segments())  # type: ignore[arg-type]
        for _ in range(1000):
            # A delete, and then the two looks that follow it.
            reclaimer.kick()
            for _ in range(2):
                reclaimer._run()
                clock.now += 0.02
        reclaimer.stop()

    asyncio.run(deletes())
    pauses = [after - before - 1.0 for before, after in pairwise(catalog.looks)]
    assert len(pauses) > 1
    assert min(pauses) > REST - 0.001
