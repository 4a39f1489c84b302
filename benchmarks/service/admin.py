"""The admin side where much is stored: what its visitors wait for, and what they cost others.

    python -m benchmarks.service.admin [--quick] [--json | --markdown] [--rounds N] [CASE ...]

By default a million objects, put by 200 processes that lease 2,000 of them each. Needs the extra
`service`; the case `paint` also the extra `browser` and chromium, and is left out without them.
`python benchmarks/publish.py FILE` writes what --json printed into docs/benchmarks.md.
"""

import argparse
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from benchmarks.service import pages, rates, visitors
from benchmarks.service.crowd import Site, crowd
from benchmarks.service.telling import tell
from icehouse.client.bench.result import Result


@dataclass(frozen=True)
class Asked:
    """How thoroughly."""

    site: Site
    rounds: int
    quick: bool

    @property
    def rest(self) -> float:
        """Seconds between two requests for the same."""
        return 0.0 if self.quick else pages.REST_SECONDS


def hammer(asked: Asked) -> Iterator[Result]:
    """Memory of the admin process."""
    with rates.processes(visitors.main, 1) as (pipe,):
        yield from pages.hammered(asked.site, pipe, 0.3 if asked.quick else 20.0)


CASES: dict[str, Callable[[Asked], Iterator[Result]]] = {
    "scrape": lambda asked: pages.scraped(asked.site, asked.rounds, asked.rest),
    "page": lambda asked: pages.served(asked.site, asked.rounds, asked.rest),
    "paint": lambda asked: pages.painted(asked.site, asked.rounds, asked.rest),
    "list": lambda asked: pages.listed(asked.site, asked.rounds, asked.rest),
    "memory": hammer,
    "rates": lambda asked: rates.rates(asked.site, asked.rounds, 0.01 if asked.quick else 0.2),
}


def arguments() -> argparse.Namespace:
    """What was asked for."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.service.admin",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("cases", nargs="*", metavar="CASE", help=f"of {', '.join(CASES)}")
    parser.add_argument("--quick", action="store_true", help="just see that everything runs")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--markdown", action="store_true")
    parser.add_argument("--objects", type=int, default=1_000_000)
    parser.add_argument("--clients", type=int, default=200)
    parser.add_argument("--leases", type=int, default=2000, help="of each client")
    parser.add_argument("--rounds", type=int, default=11)
    chosen = parser.parse_args()
    for name in chosen.cases:
        if name not in CASES:
            parser.error(f"no case {name!r}: there are {', '.join(CASES)}")
    if chosen.quick:
        chosen.objects, chosen.clients, chosen.leases, chosen.rounds = 2000, 4, 100, 1
    return chosen


def main() -> int:
    """Run and tell."""
    chosen = arguments()
    results: list[Result] = []
    with crowd(chosen.objects, chosen.clients, chosen.leases) as site:
        for name in chosen.cases or CASES:
            print(name, file=sys.stderr)
            results += CASES[name](Asked(site, chosen.rounds, chosen.quick))
    tell("admin", results, chosen, 190)
    if not (chosen.json or chosen.markdown):
        for result in results:
            if result.note:
                print(f"{result.case}, {result.corpus}: {result.note}.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
