"""The metrics of the daemon: gauges that are measured when somebody asks, and its counters.

Here are plain numbers by plain names; the admin process gives them the names that Prometheus sees.
"""

import time
from typing import TYPE_CHECKING

from icehouse.server import telling
from icehouse.server.config import default_capacity
from icehouse.store.wire import messages

if TYPE_CHECKING:
    from icehouse.server.daemon import Daemon

# Everything is walked for it, so one answer serves everybody who asks within this time.
FRESH_SECONDS = 1.0
SUMS = ("puts", "put_bytes", "opens", "maps", "fulls")

Labelled = dict[str, dict[str, float]]


class Measures:
    """Keeps the last answer for a while."""

    def __init__(self, daemon: "Daemon") -> None:
        self._daemon = daemon
        self._at = float("-inf")
        self._last = messages.Metrics()

    def take(self) -> messages.Metrics:
        """Measure, unless that was done just now."""
        if time.monotonic() - self._at >= FRESH_SECONDS:
            self._last = measure(self._daemon)
            self._at = time.monotonic()
        return self._last


def by_state(
    daemon: "Daemon", live: int, live_bytes: int, dying: int, dying_bytes: int
) -> Labelled:
    """Count images and their bytes by state: those that nobody produces any more by segments."""
    counts: dict[str, float] = {"live": live, "spilled": 0, "unowned": 0, "deleted": dying}
    sizes: dict[str, float] = {
        "live": live_bytes,
        "spilled": 0,
        "unowned": 0,
        "deleted": dying_bytes,
    }
    for number, segment in daemon.segments.by_id.items():
        state = telling.segment_state(daemon, segment)
        if state not in ("spilled", "retired"):
            continue
        content = daemon.catalog.content(number)
        label = "spilled" if state == "spilled" else "unowned"
        counts[label] += content.images
        sizes[label] += content.image_bytes
        counts["live"] -= content.images
        sizes["live"] -= content.image_bytes
    return {"objects": counts, "object_bytes": sizes}


def client_sums(daemon: "Daemon") -> dict[str, int]:
    """Add up what all processes counted for themselves, those that have gone too."""
    sums = list(daemon.counters.dead_puts)
    for number in daemon.sessions.by_id:
        for at, count in enumerate(daemon.catalog.page_counters(number)[: len(SUMS)]):
            sums[at] += count
    return dict(zip(SUMS, sums, strict=False))


def gauges(daemon: "Daemon") -> tuple[dict[str, float], Labelled]:
    """Measure what goes up and down."""
    totals = daemon.catalog.total()
    kept = daemon.segments
    open_now, open_most = telling.descriptors()
    states: dict[str, float] = {"granted": 0, "warm": 0, "spilled": 0, "retired": 0}
    for segment in kept.by_id.values():
        states[telling.segment_state(daemon, segment)] += 1
    plain: dict[str, float] = {
        "capacity_bytes": daemon.config.capacity,
        "committed_bytes": kept.committed,
        "used_bytes": totals.image_bytes + totals.dying_bytes,
        "free_bytes": totals.free_bytes,
        "largest_free_bytes": totals.largest_free,
        "warm_bytes": kept.warm_bytes,
        "spilled_bytes": kept.spilled_bytes,
        "leases": totals.leases,
        "names": daemon.names.bound,
        "clients": len(daemon.sessions.by_id),
        "connections": len(daemon.connections),
        "reclaim_queue": totals.queued + totals.ring,
        "descriptors": open_now,
        "descriptors_limit": open_most,
        "memory_bytes": telling.memory(),
        # The default is half of what the cgroup or the machine allows.
        "memory_limit_bytes": 2 * default_capacity(),
    }
    labelled = by_state(daemon, totals.images, totals.image_bytes, totals.dying, totals.dying_bytes)
    labelled["segments"] = states
    return plain, labelled


def counters(daemon: "Daemon") -> dict[str, dict[str, int]]:
    """Give what only grows, by label; "" where there is none."""
    counted, sums = daemon.counters, client_sums(daemon)
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
    return messages.Metrics(
        started=daemon.started, gauges=plain, labelled=labelled, counters=counters(daemon)
    )
