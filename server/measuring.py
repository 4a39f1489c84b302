"""The metrics of the daemon: gauges that are measured when somebody asks, and its counters.

Here are plain numbers by plain names; the admin process gives them the names that Prometheus sees.
"""

import time
from typing import TYPE_CHECKING

from icehouse.server import telling
from icehouse.server.catalog import Measured
from icehouse.server.config import default_capacity
from icehouse.server.frames import PUT_SIZES
from icehouse.store.wire import messages

if TYPE_CHECKING:
    from icehouse.server.daemon import Daemon

# One answer serves everybody who asks within this time.
FRESH_SECONDS = 1.0
# How long what the kernel said of its limit is good for.
LIMIT_SECONDS = 10.0
SUMS = ("puts", "put_bytes", "opens", "maps", "fulls")
# Sizes of images that clients put; the last count is of all that are larger.
SIZE_BOUNDS = [128 << 2 * i for i in range(PUT_SIZES - 1)]

# In the order of catalog.h.
STATES = ("live", "unowned", "spilled", "deleted")
SEGMENT_STATES = ("granted", "warm", "spilled", "retired")

Labelled = dict[str, dict[str, float]]


class Measures:
    """Keeps the last answer for a while."""

    def __init__(self, daemon: "Daemon") -> None:
        self._daemon = daemon
        self._at = float("-inf")
        self._last = messages.Metrics()
        self._limit = 0
        self._limit_at = float("-inf")

    def memory_limit(self) -> int:
        """Give what the cgroup, or else the machine, allows for everything.

        The kernel may take milliseconds to tell: so a thread asks it, and what it said last counts.
        """
        now = time.monotonic()
        if now - self._limit_at >= LIMIT_SECONDS:
            self._limit_at = now
            if self._daemon.loop is None or not self._limit:
                self._note_limit()
            else:
                self._daemon.loop.run_in_executor(None, self._note_limit)
        return self._limit

    def _note_limit(self) -> None:
        # The default is half of it.
        self._limit = 2 * default_capacity()

    def take(self) -> messages.Metrics:
        """Measure, unless that was done just now."""
        if time.monotonic() - self._at >= FRESH_SECONDS:
            daemon = self._daemon
            # What producers have given back meanwhile is free.
            daemon.reclaimer.step(force=False)
            daemon.lease_ages.go_on()
            self._last = measure(daemon)
            self._at = time.monotonic()
        return self._last


def gauges(daemon: "Daemon") -> tuple[dict[str, float], Labelled]:
    """Measure what goes up and down. O(segments)."""
    found = daemon.catalog.measure()
    kept = daemon.segments
    open_now, open_most = telling.descriptors()
    leases, old, oldest = daemon.lease_ages.told()
    names, sizes = daemon.names.namespaces.told()
    sizes_by_state: dict[str, float] = dict(zip(STATES, found.object_bytes, strict=True))
    plain: dict[str, float] = {
        "capacity_bytes": daemon.config.capacity,
        "committed_bytes": kept.committed,
        # What lies on disk takes none of the capacity.
        "used_bytes": sum(found.object_bytes) - sizes_by_state["spilled"],
        "free_bytes": found.free_bytes,
        "free_runs": found.free_runs,
        "largest_free_bytes": found.largest_free,
        "fragmentation": fragmentation(found),
        "warm_bytes": kept.warm_bytes,
        "spilled_bytes": kept.spilled_bytes,
        "waiting_bytes": sum(map(daemon.catalog.waiting, daemon.sessions.by_id))
        + found.returning_bytes,
        "leases": leases,
        "oldest_lease": oldest,
        "names": daemon.names.bound,
        "clients": len(daemon.sessions.by_id),
        "connections": len(daemon.connections),
        "reclaim_queue": found.queued + found.ring,
        "descriptors": open_now,
        "descriptors_limit": open_most,
        "memory_bytes": telling.memory(),
        "memory_limit_bytes": daemon.measures.memory_limit(),
    }
    labelled: Labelled = {
        "objects": dict(zip(STATES, found.objects, strict=True)),
        "object_bytes": sizes_by_state,
        "segments": dict(zip(SEGMENT_STATES, found.segments, strict=True)),
        "old_leases": old,
        "namespace_names": names,
        "namespace_bytes": sizes,
    }
    return plain, labelled


def fragmentation(found: Measured) -> float:
    """Give how much of the free memory lies outside the longest free run of its segment, 0 to 1."""
    return 1.0 - found.longest_runs_bytes / found.free_bytes if found.free_bytes else 0.0


def counters(daemon: "Daemon", clients: list[int]) -> dict[str, dict[str, int]]:
    """Give what only grows, by label; "" where there is none. `clients`: what those counted."""
    counted, sums = daemon.counters, dict(zip(SUMS, clients, strict=False))
    deletes = dict(counted.deletes)
    return {
        "puts": {"ok": sums["puts"], "full": sums["fulls"]},
        "put_bytes": {"": sums["put_bytes"]},
        "gets": {"ok": sums["opens"], "gone": counted.refusals["gone"]},
        "maps": {"": sums["maps"]},
        "requests": dict(counted.requests),
        "refusals": dict(counted.refusals),
        "deletes": deletes,
        "evictions": {"capacity": deletes.get("evicted", 0)},
        "spills": {"capacity": counted.spills},
        "spilled_bytes": {"": counted.spilled_bytes},
        "spill_failures": dict(counted.spill_failures),
        "allocation_failures": dict(counted.allocation_failures),
        "dead_clients": {"": counted.dead_clients},
        "dead_client_bytes": {"": counted.reclaimed_bytes_of_dead},
        "recovered_segments": {"": counted.recovered_segments},
        "resumed_sessions": {"": counted.resumed},
        "reclaimed_images": {"": counted.reclaimed_images},
        "refused_connections": dict(counted.refused_connections),
        "connections": {"": counted.connections},
        "protocol_errors": {"": counted.protocol_errors},
        "denied": {"": counted.denied},
        "errors": {"": counted.errors},
        "corruptions": {"": counted.corruptions},
        "grants": {"": counted.grants},
        "granted_bytes": {"": counted.granted_bytes},
        "binds": {"": counted.binds},
    }


def measure(daemon: "Daemon") -> messages.Metrics:
    """Measure and count everything."""
    plain, labelled = gauges(daemon)
    clients = daemon.client_counters()
    sizes = {"bounds": SIZE_BOUNDS, "counts": clients[-PUT_SIZES:], "sum": clients[1]}
    return messages.Metrics(
        started=daemon.started,
        gauges=plain,
        labelled=labelled,
        counters=counters(daemon, clients),
        histograms={
            "put_size_bytes": sizes,
            "request_seconds": daemon.counters.request_times.told(),
            "loop_delay_seconds": daemon.counters.loop_delays.told(),
            "reclaim_seconds": daemon.counters.reclaim_times.told(),
        },
    )
