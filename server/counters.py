"""What the daemon counts, for metrics: plain integers that only grow, since this daemon started."""

from collections import Counter
from dataclasses import dataclass, field

from icehouse.server.frames import PAGE_COUNTERS
from icehouse.server.timing import Timing

COUNT_MAX = 2**63 - 1
"""What clients count is told up to here: they may have written anything."""


@dataclass(slots=True)
class Counters:
    """One of these in a daemon; the control family gives it to whoever asks."""

    requests: Counter[str] = field(default_factory=Counter)
    """Of both families, by operation."""
    refusals: Counter[str] = field(default_factory=Counter)
    """Requests that were not done, by result."""
    connections: int = 0
    refused_connections: Counter[str] = field(default_factory=Counter)
    """By reason: uid, limit, half_open, stalled."""
    protocol_errors: int = 0
    denied: int = 0
    errors: int = 0
    """Faults of our own while a request was served."""
    sessions: int = 0
    resumed: int = 0
    dead_clients: int = 0
    reclaimed_images: int = 0
    reclaimed_bytes_of_dead: int = 0
    """At once, and later, as what they left in their segments goes."""
    grants: int = 0
    granted_bytes: int = 0
    reused_segments: int = 0
    allocation_failures: Counter[str] = field(default_factory=Counter)
    """By result: full, memory, system."""
    deletes: Counter[str] = field(default_factory=Counter)
    """By reason: deleted, expired, evicted, orphaned, dropped."""
    binds: int = 0
    publishes: int = 0
    maps: int = 0
    spills: int = 0
    spilled_bytes: int = 0
    spill_failures: Counter[str] = field(default_factory=Counter)
    corruptions: int = 0
    recovered_segments: int = 0
    request_times: Timing = field(default_factory=Timing)
    """Of both families, from the frame to the reply."""
    loop_delays: Timing = field(default_factory=Timing)
    """How late the loop came to its tick: what a request waits at the worst."""
    reclaim_times: Timing = field(default_factory=Timing)
    """Of taking back what a dead process had."""
    dead_puts: list[int] = field(default_factory=lambda: [0] * PAGE_COUNTERS)
    """puts, put_bytes, opens, maps, fulls of sessions that have gone."""
