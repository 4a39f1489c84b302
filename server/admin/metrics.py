"""The metrics as Prometheus sees them: base units, one prefix, and no label with a handle or a pid.

The daemon gives plain numbers (server/measuring.py); this table gives them their names.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

from prometheus_client import CollectorRegistry, Gauge, Histogram, disable_created_metrics
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from icehouse.server.version import VERSION
from icehouse.store.wire import messages


class Named(NamedTuple):
    """A number of the daemon: its key, its name here, what it is, its label and known values."""

    key: str
    name: str
    text: str
    label: str = ""
    values: tuple[str, ...] = ()


GAUGES = (
    Named("capacity_bytes", "capacity_bytes", "Bytes that all segments may take."),
    Named("committed_bytes", "committed_bytes", "Bytes that segments take from the system."),
    Named("used_bytes", "used_bytes", "Bytes of memory in images, deleted and held ones too."),
    Named("free_bytes", "free_bytes", "Bytes in segments and in no image."),
    Named("free_runs", "free_runs", "Free runs in segments that are written."),
    Named("largest_free_bytes", "largest_free_bytes", "Longest free run in a segment."),
    Named(
        "fragmentation",
        "fragmentation_ratio",
        "Free memory outside the longest free run of its segment, 0 to 1.",
    ),
    Named("warm_bytes", "warm_bytes", "Bytes of freed segments kept for their producers."),
    Named("spilled_bytes", "spilled_bytes", "Bytes of segments in the spill folder."),
    Named("waiting_bytes", "waiting_bytes", "Freed, and not given back by its producer yet."),
    Named("leases", "leases", "Leases that processes hold."),
    Named("oldest_lease", "oldest_lease_seconds", "Age of the oldest lease."),
    Named("names", "names", "Names that are bound."),
    Named("clients", "clients", "Processes with a session."),
    Named("connections", "connections", "Connections of both families, the admin's included."),
    Named("reclaim_queue", "reclaim_queue_objects", "Deleted objects whose memory is not free."),
    Named("descriptors", "open_descriptors", "File descriptors that the daemon has open."),
    Named("descriptors_limit", "max_descriptors", "File descriptors that it may have."),
    Named("memory_bytes", "daemon_private_memory_bytes", "Memory of the daemon's own."),
    Named(
        "memory_limit_bytes",
        "memory_limit_bytes",
        "What the cgroup, or else the machine, allows for everything.",
    ),
)
STATES = ("live", "unowned", "spilled", "deleted")
LABELLED = (
    Named(
        "objects",
        "objects",
        "Objects; unowned: their producer has ended.",
        "state",
        STATES,
    ),
    Named("object_bytes", "object_bytes", "Bytes in objects.", "state", STATES),
    Named(
        "segments",
        "segments",
        "Segments; retired: their producer has ended.",
        "state",
        ("granted", "warm", "spilled", "retired"),
    ),
    Named(
        "old_leases",
        "old_leases",
        "Leases that are held for so long at least.",
        "older_than",
        ("1m", "10m", "1h", "1d"),
    ),
    Named(
        "namespace_names",
        "namespace_names",
        "Names by what stands before their first / or dot.",
        "namespace",
        ("none", "other"),
    ),
    Named(
        "namespace_bytes",
        "namespace_bytes",
        "Bytes of named objects by namespace.",
        "namespace",
        ("none", "other"),
    ),
)
RESULTS = (
    *("full", "memory", "system", "gone", "unknown", "conflict", "corrupt"),
    *("invalid", "unavailable", "denied", "protocol"),
)
COUNTERS = (
    Named("puts", "puts", "Objects put, and puts that found no room.", "result", ("ok", "full")),
    Named("put_bytes", "put_bytes", "Bytes of the objects put."),
    Named(
        "gets",
        "gets",
        "Objects opened, and handles the daemon was asked for that were gone.",
        "result",
        ("ok", "gone"),
    ),
    Named("maps", "maps", "Segments that clients mapped to read."),
    Named("requests", "requests", "Requests to the daemon.", "operation", ("hello", "ping")),
    Named("refusals", "refusals", "Requests that were refused.", "result", RESULTS),
    Named(
        "deletes",
        "deletes",
        "Objects deleted.",
        "reason",
        ("deleted", "expired", "evicted", "orphaned"),
    ),
    Named("evictions", "evictions", "Objects evicted to make room.", "reason", ("capacity",)),
    Named("spills", "spills", "Segments moved to the spill folder.", "reason", ("capacity",)),
    Named("spilled_bytes", "spill_written_bytes", "Bytes written to the spill folder."),
    Named(
        "spill_failures",
        "spill_failures",
        "Spills that failed.",
        "reason",
        ("write", "hold", "contents"),
    ),
    Named(
        "allocation_failures",
        "allocation_failures",
        "Segments that could not be granted.",
        "reason",
        ("full", "memory", "system"),
    ),
    Named("dead_clients", "dead_clients", "Processes that died: killed, crashed, os._exit()."),
    Named(
        "dead_client_bytes",
        "dead_client_reclaimed_bytes",
        "Bytes taken back from all that ended.",
    ),
    Named("recovered_segments", "recovered_segments", "Segments taken over from a dead daemon."),
    Named("resumed_sessions", "resumed_sessions", "Sessions that went on with this daemon."),
    Named("reclaimed_images", "reclaimed_objects", "Deleted objects whose memory was freed."),
    Named(
        "refused_connections",
        "refused_connections",
        "Connections that were refused or ended by the daemon.",
        "reason",
        ("uid", "limit", "half_open", "stalled", "system"),
    ),
    Named("connections", "accepted_connections", "Connections that were accepted."),
    Named("protocol_errors", "protocol_errors", "Violations of the protocol by clients."),
    Named("denied", "denied", "Attempts that a client's role does not allow."),
    Named("errors", "daemon_errors", "Faults of the daemon's own."),
    Named("corruptions", "corruptions", "Damage found in shared memory."),
    Named("grants", "grants", "Requests for segments to write."),
    Named("granted_bytes", "granted_bytes", "Bytes of segments that were granted."),
    Named("binds", "binds", "Names bound or unbound."),
)
HISTOGRAMS = (
    Named("put_size_bytes", "put_size_bytes", "Sizes of the objects put."),
    Named("request_seconds", "request_seconds", "Requests served by the daemon."),
    Named(
        "loop_delay_seconds",
        "loop_delay_seconds",
        "How late the daemon's loop came to its tick, once a second.",
    ),
    Named(
        "reclaim_seconds",
        "dead_client_reclaim_seconds",
        "Taking back what a process had that ended.",
    ),
)
# A control round trip takes some 30 microseconds on a quiet machine.
ROUND_TRIP_BUCKETS = (
    *(2.5e-5, 5e-5, 1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 5e-3, 1e-2, 2.5e-2, 5e-2),
    *(0.1, 0.25, 0.5, 1.0, 2.5),
)
PREFIX = "icehouse_"


class Snapshot(Collector):
    """What the daemon told last."""

    def __init__(self) -> None:
        self.told: messages.Metrics | None = None

    def describe(self) -> list[Metric]:
        """Nothing beforehand: what there is depends on the daemon."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Give every metric of the daemon."""
        told = self.told
        if told is None:
            return
        start = "Start time of the daemon since the epoch."
        yield GaugeMetricFamily(PREFIX + "start_time_seconds", start, told.started)
        for named in GAUGES:
            if named.key in told.gauges:
                value = told.gauges[named.key]
                yield GaugeMetricFamily(PREFIX + named.name, named.text, value)
        for named in LABELLED:
            family: Any = GaugeMetricFamily(PREFIX + named.name, named.text, None, [named.label])
            yield with_labels(family, named, told.labelled.get(named.key, {}))
        for named in COUNTERS:
            values = told.counters.get(named.key, {})
            if named.label:
                family = CounterMetricFamily(PREFIX + named.name, named.text, None, [named.label])
                yield with_labels(family, named, values)
            else:
                value = values.get("", 0)
                yield CounterMetricFamily(PREFIX + named.name, named.text, value)
        for named in HISTOGRAMS:
            if named.key in told.histograms:
                yield histogram(named, told.histograms[named.key])


def with_labels(family: Any, named: Named, values: dict[str, Any]) -> Metric:
    """Add a sample for each label; known ones are there from the start, so that rates can be."""
    for label in dict.fromkeys((*named.values, *sorted(values))):
        family.add_metric([label], values.get(label, 0))
    assert isinstance(family, Metric)
    return family


def histogram(named: Named, told: dict[str, Any]) -> Metric:
    """Make a histogram of counts by bucket, each without the ones before."""
    total, buckets = 0, []
    for bound, count in zip([*told["bounds"], "+Inf"], told["counts"], strict=True):
        total += count
        buckets.append((str(float(bound)) if bound != "+Inf" else "+Inf", total))
    return HistogramMetricFamily(
        PREFIX + named.name, named.text, buckets=buckets, sum_value=told["sum"]
    )


class Metrics:
    """The registry of this process: what it measures itself, and the daemon's."""

    def __init__(self) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = CollectorRegistry(auto_describe=False)
        self._up = Gauge(PREFIX + "up", "1 if the daemon answers.", registry=self.registry)
        info = Gauge(PREFIX + "build_info", "1.", ["version"], registry=self.registry)
        info.labels(VERSION).set(1)
        self._round_trip = Histogram(
            PREFIX + "control_round_trip_seconds",
            "Requests of the admin process to the daemon.",
            buckets=ROUND_TRIP_BUCKETS,
            registry=self.registry,
        )
        self._snapshot = Snapshot()
        self.registry.register(self._snapshot)

    def observe(self, seconds: float) -> None:
        """Note how long a round trip took."""
        self._round_trip.observe(seconds)

    def text(self, told: messages.Metrics | None, accept: str) -> tuple[bytes, str]:
        """Write everything in the format that is accepted; the body and its media type."""
        self._up.set(0 if told is None else 1)
        self._snapshot.told = told
        try:
            encode, media_type = choose_encoder(accept)
        except (TypeError, ValueError):
            # What the library can't read: a version that is none.
            encode, media_type = choose_encoder("")
        return encode(self.registry), media_type
