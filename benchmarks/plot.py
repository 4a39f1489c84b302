"""The picture of the README: how many times faster than pickle, how near to native objects.

    python benchmarks/plot.py bench.json docs/benchmarks.svg

It has no background, and its colours are readable on white and on black. Needs matplotlib.
"""

import json
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

INK = "#808a94"
OURS = "#2f81f7"
LIMIT = "#d2802a"
NAMES = {"citm_catalog": "citm"}

Result = dict[str, Any]

# One point of the picture: label, median, quartiles.
Point = tuple[str, float, float, float]


def points(results: Iterable[Result], case: str, against: str, *, inverse: bool) -> list[Point]:
    """The ratios of a case to one other side; inverse: how many times faster."""
    found = []
    for result in results:
        ratio = result["ratios"].get(against)
        if result["case"] != case or ratio is None:
            continue
        name = result["corpus"]
        for long, short in NAMES.items():
            name = name.replace(long, short)
        values = [ratio["median"], ratio["q1"], ratio["q3"]]
        if inverse:
            values = [1 / values[0], 1 / values[2], 1 / values[1]]
        found.append((f"{case}  {name}", *values))
    return found


def draw(axes: Axes, told: Sequence[Point], title: str) -> None:
    """Points with their quartiles, the first on top."""
    for row, (_, median, q1, q3) in enumerate(told):
        axes.plot([q1, q3], [row, row], color=OURS, linewidth=2.5, alpha=0.5)
        axes.plot([median], [row], "o", color=OURS, markersize=6)
        text = f"{median:.2g}" if median < 10 else f"{median:.0f}"
        axes.annotate(
            text, (max(median, q3), row), (6, -3), textcoords="offset points", color=INK, fontsize=8
        )
    axes.axvline(1, color=LIMIT, linewidth=1.2)
    axes.set_yticks(range(len(told)), [label for label, *_ in told])
    axes.invert_yaxis()
    axes.set_xscale("log")
    axes.margins(x=0.15, y=0.04)
    axes.set_title(title, color=INK, fontsize=10, loc="left")
    axes.tick_params(colors=INK, labelsize=8, which="both")
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}x")
    axes.xaxis.set_minor_formatter(lambda value, _: f"{value:g}x" if value in (2, 5) else "")
    axes.grid(visible=True, axis="x", color=INK, alpha=0.25, which="both")
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(INK)


def picture(report: dict[str, Any]) -> Figure:
    """Both comparisons side by side."""
    results = report["results"]
    faster = [
        *points(results, "freeze", "pickle", inverse=True),
        *points(results, "thaw", "pickle", inverse=True),
        *points(results, "walk", "pickle", inverse=True),
        *points(results, "put", "pickle", inverse=True),
        *points(results, "get", "pickle", inverse=True),
    ]
    slower = [
        *points(results, 'view["key"]', "native", inverse=False),
        *points(results, "view[i]", "native", inverse=False),
        *points(results, "walk", "native", inverse=False),
    ]
    figure = Figure(figsize=(11, 5.2), layout="constrained")
    figure.patch.set_alpha(0)
    left, right = figure.subplots(1, 2)
    for axes in (left, right):
        axes.patch.set_alpha(0)
    draw(left, faster, "Times faster than pickle 5 (walk: than loading, then walking)")
    draw(right, slower, "Reading a view: its time / that of the native object")
    machine = report["machine"]
    figure.supxlabel(
        f"Medians and quartiles. Python {machine['python']}, {machine['processor']},"
        f" {machine['system']}, {machine['date']}",
        color=INK,
        fontsize=8,
    )
    return figure


def main(source: str, target: str) -> None:
    # Text stays text, and the same data gives the same file.
    mpl.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "icehouse"})
    report = json.loads(Path(source).read_text())
    picture(report).savefig(target, format="svg", metadata={"Date": None})
    # matplotlib ends some lines with blanks.
    lines = Path(target).read_text().splitlines()
    Path(target).write_text("".join(f"{line.rstrip()}\n" for line in lines))


if __name__ == "__main__":
    main(*sys.argv[1:])
