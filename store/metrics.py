"""Metrics of this process for Prometheus, on request: `icehouse.metrics.register(registry)`.

Purpose.   What this process puts, opens, maps and leases, in all its stores, embedded and
           connected. The daemon's own metrics are at its `/metrics`; these are an application's,
           beside its others, under the prefix `icehouse_client_`.
Cost.      Nothing until it is scraped: the numbers are counted anyway. A scrape copies 25 words.
Processes. Counts are of one process; a forked child begins at 0. Where prometheus-client is in its
           multiprocess mode (PROMETHEUS_MULTIPROC_DIR), collectors of one process are not asked, so
           the numbers are written to its files instead, once a second, by a thread that each
           process has. docs/operations.md has the gunicorn recipe.
"""

import os
import threading
from collections.abc import Iterator

from icehouse.native._image import _activity

try:
    import prometheus_client
    from prometheus_client.core import (
        CounterMetricFamily,
        GaugeMetricFamily,
        HistogramMetricFamily,
        Metric,
    )
    from prometheus_client.registry import Collector, CollectorRegistry
except ImportError as error:
    raise ImportError(
        "icehouse.metrics needs prometheus-client: pip install 'icehouse[metrics]'"
    ) from error

__all__ = ["register"]

PREFIX = "icehouse_client_"
COUNTERS = (
    ("puts", "Objects that this process put."),
    ("put_bytes", "Bytes of these."),
    ("gets", "Objects that it opened."),
    ("maps", "Segments of other processes that it mapped to read."),
    ("fulls", "Puts that found no room: each raised StoreFull."),
)
GAUGES = (
    ("leases", "Images that this process leases."),
    ("segments", "Segments that it has mapped."),
)
SIZES = ("put_size_bytes", "Sizes of the objects that it put.")
BOUNDS = tuple(float(128 << 2 * i) for i in range(15))
WRITE_SECONDS = 1.0
# Either puts prometheus-client into its multiprocess mode.
MULTIPROCESS = {"PROMETHEUS_MULTIPROC_DIR", "prometheus_multiproc_dir"}


class Activity(Collector):
    """What this process does, told when it is asked."""

    def describe(self) -> list[Metric]:
        """Give the names, so that no other collector of a registry takes them."""
        return list(self.collect())

    def collect(self) -> Iterator[Metric]:
        """Give the numbers of now. Cost: some microseconds, whatever is stored."""
        *numbers, sizes = _activity()
        assert isinstance(sizes, tuple)
        counts = iter(numbers)
        put_bytes = numbers[1]
        for name, text in COUNTERS:
            yield CounterMetricFamily(PREFIX + name, text, next(counts))
        for name, text in GAUGES:
            yield GaugeMetricFamily(PREFIX + name, text, next(counts))
        total, buckets = 0, []
        for bound, count in zip((*map(str, BOUNDS), "+Inf"), sizes, strict=True):
            total += count
            buckets.append((bound, total))
        name, text = SIZES
        yield HistogramMetricFamily(PREFIX + name, text, buckets=buckets, sum_value=put_bytes)


class Written:
    """The same as ordinary metrics, whose values prometheus-client shares between processes."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._lock = threading.Lock()
        self._told: tuple[int, ...] = (0,) * (len(COUNTERS) + len(BOUNDS) + 1)
        self._counters = [
            prometheus_client.Counter(PREFIX + name, text, registry=registry)
            for name, text in COUNTERS
        ]
        self._gauges = [
            prometheus_client.Gauge(
                PREFIX + name, text, registry=registry, multiprocess_mode="livesum"
            )
            for name, text in GAUGES
        ]
        name, text = SIZES
        self._sizes = prometheus_client.Histogram(
            PREFIX + name, text, buckets=BOUNDS, registry=registry
        )
        # prometheus-client has one lock for all values of a process: a fork while our thread holds
        # it would leave the child with one that nobody opens.
        os.register_at_fork(
            before=lambda: self._lock.acquire(),
            after_in_parent=lambda: self._lock.release(),
            after_in_child=self._forked,
        )
        self._start()

    def _start(self) -> None:
        threading.Thread(target=self._run, name="icehouse-metrics", daemon=True).start()

    def _forked(self) -> None:
        """Begin anew: this process counts from 0, and the parent's thread is not here."""
        self._lock = threading.Lock()
        self._told = (0,) * len(self._told)
        self._start()

    def _run(self) -> None:
        rest = threading.Event()
        while True:
            self.write()
            rest.wait(WRITE_SECONDS)

    def write(self) -> None:
        """Write what has changed."""
        with self._lock:
            *numbers, sizes = _activity()
            assert isinstance(sizes, tuple)
            now = (*numbers[: len(COUNTERS)], *sizes)
            more = [after - before for after, before in zip(now, self._told, strict=True)]
            self._told = now
            for counter, count in zip(self._counters, more, strict=False):
                if count:
                    counter.inc(count)
            for gauge, value in zip(self._gauges, numbers[len(COUNTERS) :], strict=True):
                gauge.set(value)
            # A histogram can only be told of one value after the other; here are thousands at once.
            buckets = self._sizes._buckets  # noqa: SLF001 - nothing public takes many at once
            for bucket, count in zip(buckets, more[len(COUNTERS) :], strict=True):
                if count:
                    bucket.inc(count)
            if more[1]:
                self._sizes._sum.inc(more[1])  # noqa: SLF001 - as above


def register(registry: CollectorRegistry | None = None) -> None:
    """Add the metrics of this process to a registry of prometheus-client, once.

    `registry` is by default prometheus_client.REGISTRY. ValueError if it has such metrics already.

    `icehouse_client_puts_total`, `_put_bytes_total`, `_gets_total`, `_maps_total`, `_fulls_total`;
    `icehouse_client_leases`, `_segments`; `icehouse_client_put_size_bytes` (a histogram).
    """
    chosen = prometheus_client.REGISTRY if registry is None else registry
    if MULTIPROCESS & os.environ.keys():
        Written(chosen)
    else:
        chosen.register(Activity())
