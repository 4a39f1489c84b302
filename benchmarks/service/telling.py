"""How the benchmarks of the service print what they found."""

import argparse
import json
from collections.abc import Sequence

from icehouse.client.bench.facts import machine
from icehouse.client.bench.report import markdown, table
from icehouse.client.bench.result import Result


def tell(benchmark: str, results: Sequence[Result], chosen: argparse.Namespace, width: int) -> None:
    """Print results as `--json` or `--markdown` ask for, or as a table `width` columns wide.

    `benchmark` is what publish.py knows the report by.
    """
    report = {
        "schema": 1,
        "benchmark": benchmark,
        "machine": machine(),
        "quick": chosen.quick,
        "clock": "wall",
        "results": [result.as_json() for result in results],
    }
    if chosen.json:
        print(json.dumps(report, indent=1))
    elif chosen.markdown:
        print(markdown(report))
    else:
        from rich.console import Console

        Console(width=width).print(table(report, width))
