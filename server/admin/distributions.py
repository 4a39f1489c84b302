"""Histograms: how long and how large things are, as rows of a table that are drawn as well."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from icehouse.server.admin.pages import wording
from icehouse.store.wire import messages

# Of a row's own coordinates; the page stretches it.
ROW_WIDTH = 100.0
# What is there is seen, however little it is.
ROW_MIN = 0.6


@dataclass(frozen=True)
class Row:
    """A bucket: what is in it and in no bucket before, as a number, a share and a drawn length."""

    label: str
    count: int
    share: float
    length: float


@dataclass(frozen=True)
class Distribution:
    """A histogram as the page shows it. `about` says it in words; empty where nothing is counted.

    `rows` begin with the first bucket that has something, and end with the last.
    """

    title: str
    of: str
    nothing: str
    about: str
    total: int
    rows: list[Row]


def quantile(bounds: Sequence[float], counts: Sequence[float], share: float) -> float | None:
    """Give what that share of all is at most; None if nothing was counted.

    Within a bucket all is taken to lie evenly, as Prometheus does it; what is beyond the last bound
    counts as that.
    """
    total = sum(counts)
    if total <= 0:
        return None
    wanted, before = share * total, 0.0
    for at, count in enumerate(counts[: len(bounds)]):
        if count > 0 and before + count >= wanted:
            below = bounds[at - 1] if at else 0.0
            return below + (bounds[at] - below) * (wanted - before) / count
        before += count
    return bounds[-1]


def rows_of(
    bounds: Sequence[float], counts: Sequence[int], write: Callable[[float], str]
) -> list[Row]:
    """Make the rows."""
    filled = [at for at, count in enumerate(counts) if count]
    if not filled:
        return []
    total, most = sum(counts), max(counts)
    labels = [*map(write, bounds), f"over {write(bounds[-1])}"]
    return [
        Row(
            labels[at],
            counts[at],
            counts[at] / total,
            round(max(ROW_MIN, ROW_WIDTH * counts[at] / most), 2) if counts[at] else 0.0,
        )
        for at in range(filled[0], filled[-1] + 1)
    ]


def distribution(
    told: dict[str, Any], title: str, of: str, nothing: str, write: Callable[[float], str]
) -> Distribution:
    """Make one of what the daemon told."""
    bounds, counts = told.get("bounds", []), told.get("counts", [])
    total = sum(counts)
    about = ""
    if total:
        half, nearly = (quantile(bounds, counts, share) or 0.0 for share in (0.5, 0.99))
        mean = write(told["sum"] / total)
        about = f"half up to {write(half)}, 99 of 100 up to {write(nearly)}; {mean} on average"
    rows = rows_of(bounds, counts, write) if total else []
    return Distribution(title, of, nothing, about, total, rows)


def distributions(told: messages.Metrics) -> list[Distribution]:
    """Give those of the overview."""
    found = told.histograms
    return [
        distribution(
            found.get("request_seconds", {}),
            "How long requests take",
            "Requests",
            "Nobody has asked the daemon anything yet.",
            wording.seconds,
        ),
        distribution(
            found.get("put_size_bytes", {}),
            "How large objects are",
            "Objects",
            "Nothing has been put since the daemon started.",
            wording.size,
        ),
    ]
