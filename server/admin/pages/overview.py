"""What the overview and the memory page show, made of what the daemon measures."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from icehouse.server.admin import distributions, schemas
from icehouse.server.admin.pages import charts, wording
from icehouse.server.admin.pages.alerts import alerts
from icehouse.server.admin.samples import NOW_SECONDS, Point, Samples, recent
from icehouse.store.wire import messages

# What memory is, in the order of the bar: kind (a CSS class), label, what it means.
KINDS = {
    "live": ("Live", "of producers that run, or pinned or named by them"),
    "unowned": ("Unowned", "their producer has ended"),
    "deleted": ("Deleted, held", "readers still have views of them"),
    "other": ("Overhead", "headers, tables and alignment"),
    "free": ("Free in segments", "for the next puts of their producers"),
    "warm": ("Warm", "freed segments, kept for their producers"),
    "untaken": ("Not taken", "the system has it until it is needed"),
}
MINUTE = 60.0


@dataclass(frozen=True)
class Share:
    """A row of the table beside the bar."""

    kind: str
    label: str
    about: str
    objects: int | None
    amount: float
    share: float


@dataclass(frozen=True)
class Series:
    """A row of the table of rates."""

    label: str
    about: str
    now: str
    minute: str
    average: str
    peak: str
    line: charts.Line
    kind: str = ""


def amounts(told: messages.Metrics) -> dict[str, float]:
    """Divide the capacity into its kinds."""
    gauges, sizes = told.gauges, told.labelled.get("object_bytes", {})
    capacity = gauges.get("capacity_bytes", 0.0)
    committed = gauges.get("committed_bytes", 0.0)
    found = {kind: max(0.0, sizes.get(kind, 0.0)) for kind in ("live", "unowned", "deleted")}
    found["free"] = gauges.get("free_bytes", 0.0)
    found["warm"] = gauges.get("warm_bytes", 0.0)
    found["other"] = max(0.0, committed - sum(found.values()))
    found["untaken"] = max(0.0, capacity - committed)
    return {kind: found[kind] for kind in KINDS}


def memory(told: messages.Metrics) -> dict[str, Any]:
    """Give the bar of memory and the table beside it."""
    divided = amounts(told)
    capacity = told.gauges.get("capacity_bytes", 0.0)
    whole = max(capacity, sum(divided.values()))
    objects = told.labelled.get("objects", {})
    rows = [
        Share(
            kind,
            *KINDS[kind],
            int(objects[kind]) if kind in objects else None,
            amount,
            amount / whole if whole else 0.0,
        )
        for kind, amount in divided.items()
    ]
    return {
        "bar": charts.bar(list(divided.items()), whole),
        "bar_width": charts.BAR_WIDTH,
        "shares": rows,
        "capacity": capacity,
        "used": told.gauges.get("used_bytes", 0.0),
        "spilled_bytes": told.gauges.get("spilled_bytes", 0.0),
        "spilled_objects": int(objects.get("spilled", 0)),
        "gauges": told.gauges,
        "segments": told.labelled.get("segments", {}),
    }


def series(
    label: str,
    about: str,
    points: list[Point],
    ends: tuple[float, float],
    write: Callable[[float], str],
    kind: str = "",
    top: float | None = None,
) -> Series:
    """Make a row of rates: the last seconds, the last minute, all of it, and the most.

    `ends`: the time now, and how many seconds before it the line begins.
    """
    now, span = ends

    def mean(values: list[float]) -> str:
        return write(sum(values) / len(values)) if values else wording.NONE

    known = [value for _, value in points if value is not None]
    return Series(
        label,
        about,
        mean(recent(points, now, NOW_SECONDS)),
        mean(recent(points, now, MINUTE)),
        mean(known),
        write(max(known)) if known else wording.NONE,
        charts.line(points, now, span, top),
        kind,
    )


def traffic(samples: Samples) -> list[Series]:
    """Give the table of rates."""
    ends = samples.now(), charts.window(samples.seconds())
    return [
        series("Puts", "objects put", samples.rates("puts"), ends, wording.rate),
        series("Gets", "objects opened", samples.rates("gets"), ends, wording.rate),
        series("Bytes put", "", samples.rates("put_bytes"), ends, wording.size_rate),
        series(
            "Hits",
            "of gets, those that found their object",
            samples.shares("gets", "gets", "gone"),
            ends,
            wording.share,
            top=1.0,
        ),
        series(
            "Full",
            "puts that found no room",
            samples.rates("fulls"),
            ends,
            wording.rate,
            kind="bad" if samples.grown("fulls") else "",
        ),
        series(
            "Daemon answers in",
            "a control round trip",
            samples.values(lambda sample: sample.seconds),
            ends,
            wording.seconds,
        ),
        series(
            "Requests take",
            "99 of 100 at most, by everybody",
            samples.quantiles(0.99),
            ends,
            wording.seconds,
        ),
        series(
            "Memory in use",
            "by objects",
            samples.values(lambda sample: sample.gauges["used_bytes"]),
            ends,
            wording.size,
        ),
    ]


def everything(status: schemas.Status, told: messages.Metrics, samples: Samples) -> dict[str, Any]:
    """Give all that the overview shows."""
    found = alerts(told, samples)
    urgent = [alert for alert in found if alert.level != "note"]
    return {
        "status": status,
        "alerts": found,
        "urgent": len(urgent),
        "rows": traffic(samples),
        "distributions": distributions.distributions(told),
        "row_width": distributions.ROW_WIDTH,
        "watched": samples.seconds(),
        "shown_seconds": charts.window(samples.seconds()),
        "line_width": charts.LINE_WIDTH,
        "line_height": charts.LINE_HEIGHT,
        "objects": told.labelled.get("objects", {}),
        **memory(told),
    }
