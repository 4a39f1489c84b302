"""How long things take, as histograms that cost next to nothing to keep."""

from bisect import bisect_left
from typing import Any

# Seconds. A request takes some 30 microseconds, a commit of memory up to seconds.
BOUNDS = (
    *(1e-5, 2.5e-5, 5e-5, 1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 5e-3),
    *(1e-2, 2.5e-2, 5e-2, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0),
)


class Timing:
    """Counts by bucket, each without those before; the last is of all that took longer."""

    __slots__ = ("counts", "sum")

    def __init__(self) -> None:
        self.counts = [0] * (len(BOUNDS) + 1)
        self.sum = 0.0

    def note(self, seconds: float) -> None:
        """Count one that took so long."""
        self.counts[bisect_left(BOUNDS, seconds)] += 1
        self.sum += seconds

    def told(self) -> dict[str, Any]:
        """Give it as the control family has histograms."""
        return {"bounds": list(BOUNDS), "counts": list(self.counts), "sum": self.sum}
