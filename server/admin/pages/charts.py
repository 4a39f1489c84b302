"""The geometry of what is drawn: plain numbers for the templates' SVG, which has no style in it."""

from collections.abc import Sequence
from typing import NamedTuple

from icehouse.server.admin.samples import EVERY_SECONDS, KEPT, Point

# Of a line's own coordinates; the page stretches it.
LINE_WIDTH = 300.0
LINE_HEIGHT = 32.0
BAR_WIDTH = 1000.0
WINDOWS = (60.0, 120.0, 300.0, KEPT * EVERY_SECONDS)
# What is there is seen, however little it is.
PART_MIN = 3.0


class Line(NamedTuple):
    """A line: runs of points, each for one polyline, and areas below them."""

    runs: list[str]
    areas: list[str]
    dots: list[tuple[float, float]]
    """Points alone between gaps."""
    top: float


def window(seconds: float) -> float:
    """Choose how much a line shows: little at first, so that there is something to see."""
    return next((span for span in WINDOWS if seconds <= span), WINDOWS[-1])


def line(points: Sequence[Point], now: float, span: float, top: float | None = None) -> Line:
    """Draw the last `span` seconds; the highest point is at the top unless `top` says what is."""
    known = [value for _, value in points if value is not None]
    highest = top if top is not None else max(known, default=0.0)
    scale = (LINE_HEIGHT - 3) / highest if highest > 0 else 0.0
    runs: list[list[tuple[float, float]]] = [[]]
    for at, value in points:
        if value is None:
            if runs[-1]:
                runs.append([])
            continue
        x = LINE_WIDTH * (1 - (now - at) / span)
        if x >= 0:
            runs[-1].append((x, LINE_HEIGHT - 1.5 - min(value, highest) * scale))
    long = [run for run in runs if len(run) > 1]
    return Line(
        [" ".join(f"{x:.1f},{y:.1f}" for x, y in run) for run in long],
        [area(run) for run in long],
        [(round(run[0][0], 1), round(run[0][1], 1)) for run in runs if len(run) == 1],
        highest,
    )


def area(run: list[tuple[float, float]]) -> str:
    """Close a run of points along the base."""
    corners = [(run[0][0], LINE_HEIGHT), *run, (run[-1][0], LINE_HEIGHT)]
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in corners)


class Part(NamedTuple):
    """A part of a bar."""

    kind: str
    x: float
    width: float
    value: float


def bar(amounts: Sequence[tuple[str, float]], total: float) -> list[Part]:
    """Lay parts of a whole side by side. What is there at all gets a width that can be seen."""
    if total <= 0:
        return []
    widths = {
        kind: max(PART_MIN, BAR_WIDTH * amount / total) if amount > 0 else 0.0
        for kind, amount in amounts
    }
    # What the small ones got beyond their share, the largest gives.
    excess = sum(widths.values()) - BAR_WIDTH
    if excess > 0:
        largest = max(widths, key=lambda kind: widths[kind])
        widths[largest] -= excess
    parts, x = [], 0.0
    for kind, amount in amounts:
        if widths[kind] > 0:
            parts.append(Part(kind, round(x, 2), round(widths[kind], 2), amount))
            x += widths[kind]
    return parts
