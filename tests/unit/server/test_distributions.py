"""Histograms of the overview: what they say is what was measured."""

import asyncio
import importlib.util
import random
from typing import Any, cast

import pytest

from icehouse.server.timing import BOUNDS, Timing
from icehouse.store.wire import messages

for needed in ("fastapi", "jinja2", "uvicorn", "prometheus_client"):
    if importlib.util.find_spec(needed) is None:
        pytest.skip(f"{needed} is not installed: icehouse[service]", allow_module_level=True)
else:
    from icehouse.server.admin import distributions, samples
    from icehouse.server.admin.pages import wording

N = "\N{NARROW NO-BREAK SPACE}"


def test_quantiles_are_within_a_bucket_of_the_truth() -> None:
    chosen, timing = random.Random(6), Timing()
    taken = sorted(chosen.lognormvariate(-9, 1.5) for _ in range(5000))
    for seconds in taken:
        timing.note(seconds)
    for share in (0.01, 0.5, 0.9, 0.99):
        true = taken[round(share * len(taken)) - 1]
        found = distributions.quantile(BOUNDS, timing.counts, share)
        assert found is not None
        above = next(at for at, bound in enumerate(BOUNDS) if true <= bound)
        assert (BOUNDS[above - 1] if above else 0) <= found <= BOUNDS[above]


def test_quantiles_at_the_edges() -> None:
    assert distributions.quantile([1, 2], [0, 0, 0], 0.5) is None
    assert distributions.quantile([], [], 0.5) is None
    assert distributions.quantile([1, 2], [4, 0, 0], 0.5) == 0.5
    assert distributions.quantile([1, 2], [0, 4, 0], 1.0) == 2
    # What is beyond the last bound has no upper end.
    assert distributions.quantile([1, 2], [1, 0, 9], 0.99) == 2


def test_rows_begin_and_end_with_what_is_there() -> None:
    told = {"bounds": [128, 512, 2048, 8192], "counts": [0, 30, 0, 9, 1], "sum": 40_000}
    found = distributions.distribution(told, "Title", "Objects", "", wording.size)
    assert [row.label for row in found.rows] == [
        f"512{N}B",
        f"2{N}KiB",
        f"8{N}KiB",
        f"over 8{N}KiB",
    ]
    assert [row.count for row in found.rows] == [30, 0, 9, 1]
    assert sum(row.share for row in found.rows) == pytest.approx(1)
    assert [row.length for row in found.rows][:2] == [distributions.ROW_WIDTH, 0]
    assert min(row.length for row in found.rows if row.count) >= distributions.ROW_MIN
    assert found.total == 40
    assert f"{1000}{N}B on average" in found.about


def test_nothing_is_said_of_nothing() -> None:
    for told in ({}, {"bounds": [1, 2], "counts": [0, 0, 0], "sum": 0}):
        found = distributions.distribution(told, "Title", "Objects", "None yet.", wording.size)
        assert (found.rows, found.about, found.nothing) == ([], "", "None yet.")
    assert [len(one.rows) for one in distributions.distributions(messages.Metrics())] == [0, 0]


class FakeLink:
    """A daemon that answers ever more slowly."""

    def __init__(self) -> None:
        self.timing = Timing()
        self.seconds = 3e-5
        self.many = 100
        self.bounds = list(BOUNDS)

    async def ask(self, request: object, answer: object) -> object:
        if isinstance(request, messages.Ping):
            return messages.Done()
        for _ in range(self.many):
            self.timing.note(self.seconds)
        told = {**self.timing.told(), "bounds": self.bounds}
        return messages.Metrics(started=1.0, histograms={"request_seconds": told})


def test_the_line_of_requests_follows_what_is_so_now() -> None:
    link, now = FakeLink(), [1000.0]
    taken = samples.Samples(cast("Any", link), lambda: now[0])

    async def watch(seconds: int) -> None:
        for _ in range(seconds):
            now[0] += 1
            await taken.take()

    asyncio.run(watch(40))
    early = [value for _, value in taken.quantiles(0.99)]
    assert early
    assert all(value is not None and 2.5e-5 < value <= 5e-5 for value in early)
    link.seconds = 0.3
    asyncio.run(watch(40))
    late = taken.quantiles(0.99)[-1][1]
    assert late is not None
    assert 0.25 < late <= 0.5
    # Where nobody asks there is a gap; histograms of another shape can't be compared.
    link.many = 0
    asyncio.run(watch(12))
    assert taken.quantiles(0.99)[-1][1] is None
    link.bounds = link.bounds[:-1]
    asyncio.run(watch(1))
    assert {value for _, value in taken.quantiles(0.99)} == {None}
