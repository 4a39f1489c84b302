"""Results as a table: for people, in a terminal (Rich) or in a page (Markdown).

Both take results as they are in the JSON document, so that a page can be made from a saved run.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from icehouse.client.bench.targets import bytes_text, seconds_text

VERDICT = ""
COLUMNS = ["case", "on", "icehouse", "against", "ratio", "quartiles", "must", "aim", VERDICT]
# Left out where a terminal has fewer columns of text than this.
LESS_IMPORTANT = ["quartiles", "aim"]
WIDE = 150
MARKS = {"aim": "aim", "must": "ok", "missed": "MISSED", "": ""}


def amount_text(result: Mapping[str, Any], side: str) -> str:
    """Tell a side's median with its unit, or a dash."""
    spread = result["sides"].get(side)
    if spread is None:
        return "-"
    text = seconds_text if result["unit"] == "seconds" else bytes_text
    return text(spread["median"])


def ratio_text(value: float) -> str:
    """Tell a ratio to three digits."""
    return f"{value:.3g}" if value < 1000 else f"{value:.0f}"


def row(result: Mapping[str, Any], against: str, *, first: bool) -> list[str]:
    """One line of the table: ours against one other side."""
    target = result.get("target")
    ratio = result["ratios"].get(against)
    must = aim = mark = ""
    if target and first:
        must, aim = target["must"]["text"], target["aim"]["text"]
        mark = MARKS[result["verdict"]]
    other = f"{against} {amount_text(result, against)}" if against else ""
    return [
        result["case"] if first else "",
        result["corpus"] if first else "",
        amount_text(result, "icehouse") if first else "",
        other,
        ratio_text(ratio["median"]) if ratio else "",
        f"{ratio_text(ratio['q1'])} to {ratio_text(ratio['q3'])}" if spread_told(ratio) else "",
        must,
        aim,
        mark,
    ]


def spread_told(ratio: Mapping[str, Any] | None) -> bool:
    """Whether a ratio comes from several rounds."""
    return ratio is not None and ratio["rounds"] > 1


def rows(results: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    """All lines, case by case in the order in which the cases first appear."""
    order = list(dict.fromkeys(result["case"] for result in results))
    lines = []
    for result in sorted(results, key=lambda result: order.index(result["case"])):
        others = [name for name in result["sides"] if name != "icehouse"] or [""]
        lines += [row(result, name, first=name == others[0]) for name in others]
    return lines


def table(report: Mapping[str, Any], columns: int = WIDE) -> Any:
    """Make a Rich table of a report; with few columns of text only what matters most."""
    from rich.table import Table
    from rich.text import Text

    made = Table(title="icehouse bench", caption=caption(report), caption_justify="left")
    shown = [name for name in COLUMNS if columns >= WIDE or name not in LESS_IMPORTANT]
    for name in shown:
        right = name in ("icehouse", "against", "ratio")
        made.add_column(name, justify="right" if right else "left", overflow="fold")
    colours = {"aim": "green", "ok": "green", "MISSED": "bold red", "": ""}
    for line in rows(report["results"]):
        # As Text, since `view[i]` would be read as markup.
        cells = dict(zip(COLUMNS, map(Text, line), strict=True))
        cells[VERDICT].stylize(colours[line[-1]])
        made.add_row(*[cells[name] for name in shown])
    return made


def markdown(report: Mapping[str, Any]) -> str:
    """Make the same a table of a page."""
    lines = [COLUMNS, ["---"] * len(COLUMNS), *rows(report["results"])]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def caption(report: Mapping[str, Any]) -> str:
    """Where it was measured, and what the columns mean."""
    machine = report["machine"]
    memory = machine["memory_bytes"] / (1 << 30)
    gil = "" if machine["gil"] else ", free-threaded"
    quick = " A quick run: the figures mean nothing." if report["quick"] else ""
    where = (
        f"Python {machine['python']}{gil}, {machine['processor']}, {machine['cores']} cores,"
        f" {memory:.0f} GiB, {machine['system']}.{quick}"
    )
    how = (
        f"Medians of interleaved rounds, clock: {report['clock']}."
        " Ratio = icehouse / the other (below 1 is better), within a round."
        " The collector is off while the clock runs, for all sides alike."
    )
    return f"{where}\n{how}"
