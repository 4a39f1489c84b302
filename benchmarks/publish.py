"""Writes a saved run into the documentation: the table of docs/benchmarks.md, and the picture.

    python benchmarks/publish.py bench.json

Takes what `python -m benchmarks --json` prints, and what `python -m benchmarks.service --json` and
`python -m benchmarks.service.admin --json` do, whose tables have sections and marks of their own,
and no picture.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from icehouse.client.bench.report import caption, markdown

DOCS = Path(__file__).resolve().parent.parent / "docs"
BEGIN = "<!-- written by benchmarks/publish.py -->"
# Of those that have no picture.
BEGINS = {
    "service": "<!-- the daemon's, written by benchmarks/publish.py -->",
    "admin": "<!-- the admin side's, written by benchmarks/publish.py -->",
}
END = "<!-- until here -->"


def page(text: str, report: dict[str, Any]) -> str:
    """The page with a new table between the marks."""
    begin = BEGINS.get(report.get("benchmark", ""), BEGIN)
    before, _, rest = text.partition(begin)
    _, found, after = rest.partition(END)
    if not found:
        raise SystemExit(f"docs/benchmarks.md lacks its marks: {begin} and {END}")
    parts = [caption(report), markdown(report)]
    if begin != BEGIN:
        parts.append("\n".join(notes(report)))
    return "\n\n".join([f"{before}{begin}", *parts, f"{END}{after}"])


def notes(report: dict[str, Any]) -> list[str]:
    """What is to be known of single lines of the table, as a list."""
    told = [result for result in report["results"] if result.get("note")]
    return [f"- {result['case']}, {result['corpus']}: {result['note']}." for result in told]


def main(source: str) -> None:
    report = json.loads(Path(source).read_text())
    if report["quick"]:
        raise SystemExit("a quick run says nothing: run without --quick")
    path = DOCS / "benchmarks.md"
    path.write_text(page(path.read_text(), report))
    if report.get("benchmark") in BEGINS:
        return
    plot = Path(__file__).with_name("plot.py")
    subprocess.run([sys.executable, plot, source, DOCS / "benchmarks.svg"], check=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
