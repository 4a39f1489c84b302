"""What the daemon told during the last ten minutes, second by second: for the overview's lines.

Purpose.   Prometheus keeps history for those who run one; this is for who just looks.
Lifecycle. wanted() starts the sampling; it ends by itself a minute after the last call, and a gap
           in the series shows where it slept or the daemon was away.
Cost.      Two requests a second, and KEPT samples of a few numbers.
"""

import asyncio
import contextlib
import itertools
import time
from collections import deque
from collections.abc import Callable, Iterable
from operator import sub
from typing import NamedTuple

from icehouse.server.admin.distributions import quantile
from icehouse.server.admin.link import AwayError, Link, RefusedError
from icehouse.store.wire import messages

KEPT = 600
EVERY_SECONDS = 1.0
AWAKE_SECONDS = 60.0
# Rates are taken between the last samples of such spans: the daemon measures once a second, so
# that from one sample to the next a counter may stand still and then go twice as far.
SPAN_SECONDS = 4.0
SHORT_SECONDS = 0.7 * SPAN_SECONDS
NOW_SECONDS = 8.0
# Samples further apart than this have a gap between them.
GAP_SECONDS = 3.5 * EVERY_SECONDS

Point = tuple[float, float | None]


class Sample(NamedTuple):
    """What was so at a time. `at` is of the monotonic clock; counters begin anew with a daemon."""

    at: float
    started: float
    seconds: float
    """How long the daemon took to answer."""
    gauges: dict[str, float]
    counters: dict[str, float]
    requests: tuple[int, ...] = ()
    """Requests by how long they took, of the histogram with the bounds of Samples."""


# Counters whose rates are shown, or told of in words: its own key, the daemon's key and label.
COUNTED = {
    "puts": ("puts", "ok"),
    "fulls": ("puts", "full"),
    "put_bytes": ("put_bytes", ""),
    "gets": ("gets", "ok"),
    "gone": ("gets", "gone"),
    "dead": ("dead_clients", ""),
    "evicted": ("evictions", "capacity"),
    "spilled": ("spills", "capacity"),
}
TIMED = "request_seconds"
GAUGED = ("used_bytes", "committed_bytes", "clients", "leases")


def sample_of(told: messages.Metrics, at: float, seconds: float) -> Sample:
    """Keep of an answer what is shown later."""
    return Sample(
        at,
        told.started,
        seconds,
        {key: told.gauges.get(key, 0.0) for key in GAUGED},
        {
            ours: float(told.counters.get(key, {}).get(label, 0))
            for ours, (key, label) in COUNTED.items()
        },
        tuple(told.histograms.get(TIMED, {}).get("counts", ())),
    )


class Samples:
    """A ring of samples, and the task that fills it while somebody looks."""

    def __init__(self, link: Link, clock: Callable[[], float] = time.monotonic) -> None:
        self._link = link
        self._clock = clock
        self._asked = float("-inf")
        self._task: asyncio.Task[None] | None = None
        self.ring: deque[Sample] = deque(maxlen=KEPT)
        self.bounds: tuple[float, ...] = ()

    def wanted(self) -> None:
        """Note that somebody looks; starts the sampling if it sleeps. Needs a running loop."""
        self._asked = self._clock()
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._run())

    @property
    def is_awake(self) -> bool:
        """Whether samples are being taken."""
        return self._task is not None and not self._task.done()

    async def _run(self) -> None:
        while self._clock() - self._asked < AWAKE_SECONDS:
            began = self._clock()
            # While the daemon is away there is a gap; the next second asks again.
            with contextlib.suppress(AwayError, RefusedError):
                await self.take()
            await asyncio.sleep(max(0.05, EVERY_SECONDS - (self._clock() - began)))

    async def take(self) -> Sample:
        """Take a sample now; AwayError, RefusedError."""
        began = time.perf_counter()
        await self._link.ask(messages.Ping(), messages.Done)
        seconds = time.perf_counter() - began
        told = await self._link.ask(messages.AskMetrics(), messages.Metrics)
        sample = sample_of(told, self._clock(), seconds)
        self.bounds = tuple(told.histograms.get(TIMED, {}).get("bounds", ()))
        self.ring.append(sample)
        return sample

    # --- what is shown of them ---

    def now(self) -> float:
        """Give the time at which every series ends."""
        return self._clock()

    def spans(self) -> list[Sample]:
        """Give the last sample of each span."""
        last: dict[int, Sample] = {}
        for sample in self.ring:
            last[int(sample.at // SPAN_SECONDS)] = sample
        return list(last.values())

    def between(self, tell: Callable[[Sample, Sample], float | None]) -> list[Point]:
        """Give what is told of each span and the one before; None in a gap."""
        points: list[Point] = []
        for before, after in pairs(self.spans()):
            if not joined(before, after):
                points.append((after.at, None))
            elif after.at - before.at >= SHORT_SECONDS:
                points.append((after.at, tell(before, after)))
            # Else the last span has only begun.
        return points

    def rates(self, *keys: str) -> list[Point]:
        """Give how fast counters grew in sum, a second; None in a gap."""

        def rate(before: Sample, after: Sample) -> float:
            grown = sum(after.counters[key] - before.counters[key] for key in keys)
            return max(0.0, grown) / (after.at - before.at)

        return self.between(rate)

    def quantiles(self, share: float) -> list[Point]:
        """Give how long that share of the requests took at most; None where there was none."""

        def took(before: Sample, after: Sample) -> float | None:
            if not len(before.requests) == len(after.requests) == len(self.bounds) + 1:
                return None
            return quantile(self.bounds, list(map(sub, after.requests, before.requests)), share)

        return self.between(took)

    def shares(self, part: str, *whole: str) -> list[Point]:
        """Give which share of several counters' growth was that of one; None where none grew."""
        points: list[Point] = []
        for (at, some), (_, every) in zip(self.rates(part), self.rates(*whole), strict=True):
            points.append((at, some / every if some is not None and every else None))
        return points

    def values(self, read: Callable[[Sample], float]) -> list[Point]:
        """Give what is read of each span, with None in gaps."""
        points: list[Point] = []
        previous: Sample | None = None
        for sample in self.spans():
            if previous is not None and sample.at - previous.at > SPAN_SECONDS + GAP_SECONDS:
                points.append((sample.at, None))
            points.append((sample.at, read(sample)))
            previous = sample
        return points

    def grown(self, key: str) -> float:
        """Give by how much a counter grew while there were samples."""
        total = 0.0
        for before, after in pairs(list(self.ring)):
            if after.started == before.started:
                total += max(0.0, after.counters[key] - before.counters[key])
        return total

    def seconds(self) -> float:
        """Give how long ago the first sample was."""
        return self._clock() - self.ring[0].at if self.ring else 0.0


def pairs(samples: list[Sample]) -> Iterable[tuple[Sample, Sample]]:
    """Give each with the one before."""
    return itertools.pairwise(samples)


def joined(before: Sample, after: Sample) -> bool:
    """Whether the same daemon was watched from one to the other."""
    near = after.at - before.at <= SPAN_SECONDS + GAP_SECONDS
    return near and after.started == before.started and after.at > before.at


def recent(points: list[Point], now: float, seconds: float) -> list[float]:
    """Give what is known of the last seconds."""
    return [value for at, value in points if value is not None and at > now - seconds]
