"""Writes a saved run into the documentation: the table of docs/benchmarks.md, and the picture.

python benchmarks/publish.py bench.json
"""

import json
import subprocess
import sys
from pathlib import Path

from icehouse.client.bench.report import caption, markdown

DOCS = Path(__file__).resolve().parent.parent / "docs"
BEGIN = "<!-- written by benchmarks/publish.py -->"
END = "<!-- until here -->"


def page(text: str, report: dict[str, object]) -> str:
    """The page with a new table between the marks."""
    before, _, rest = text.partition(BEGIN)
    _, found, after = rest.partition(END)
    if not found:
        raise SystemExit(f"docs/benchmarks.md lacks its marks: {BEGIN} and {END}")
    table = f"{caption(report)}\n\n{markdown(report)}"
    return f"{before}{BEGIN}\n\n{table}\n\n{END}{after}"


def main(source: str) -> None:
    report = json.loads(Path(source).read_text())
    if report["quick"]:
        raise SystemExit("a quick run says nothing: run without --quick")
    path = DOCS / "benchmarks.md"
    path.write_text(page(path.read_text(), report))
    plot = Path(__file__).with_name("plot.py")
    subprocess.run([sys.executable, plot, source, DOCS / "benchmarks.svg"], check=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
