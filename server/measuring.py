"""The metrics of the daemon: gauges that are measured when somebody asks, and its counters.

Here are plain numbers by plain names; the admin process gives them the names that Prometheus sees.
"""

import time
from typing import TYPE_CHECKING

from icehouse.server import telling
from icehouse.server.config import default_capacity
from icehouse.server.frames import PUT_SIZES
from icehouse.store.wire import messages

if TYPE_CHECKING:
    from icehouse.server.daemon import Daemon

# Everything is walked for it, so one answer serves everybody who asks within this time.
FRESH_SECONDS = 1.0
SUMS = ("puts", "put_bytes", "opens", "maps", "fulls")
# Sizes of images that clients put; the last count is of all that are larger.
SIZE_BOUNDS = [128 << 2 * i for i in range(PUT_SIZES - 1)]

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
        histograms={"put_size_bytes": sizes},
    )
