"""Running the cases: which, on what, in which order."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import icehouse
from icehouse.client.bench.cases import CASES, Subject
from icehouse.client.bench.corpora import Corpus, all_corpora, data_folder
from icehouse.client.bench.facts import machine
from icehouse.client.bench.fixed import FIXED as WITH_DATA
from icehouse.client.bench.fixed import Bench
from icehouse.client.bench.frames import frames
from icehouse.client.bench.harness import Rounds
from icehouse.client.bench.instances import instances
from icehouse.client.bench.result import Result

FIXED = {**WITH_DATA, "instances": instances, "frames": frames}
CASE_NAMES = [*CASES, *FIXED]
Progress = Callable[[str], None]

METHOD = (
    "Every round runs each side once, in rotating order, on the same data; ratios are within a"
    " round. Median and quartiles of the rounds. Warm-up rounds are thrown away. Python's cyclic"
    " collector is off while the clock runs. Work of milliseconds is timed call by call and what it"
    " made is dropped off the clock; short statements run in compiled loops and drop it on the"
    " clock."
)


class NothingToRunError(LookupError):
    """No case or corpus has that name; the message lists those that there are."""


@dataclass(frozen=True)
class Choice:
    """What to run; an empty selection means everything."""

    cases: Sequence[str] = ()
    corpora: Sequence[str] = ()
    only: frozenset[str] = frozenset()
    data: Path | None = None
    quick: bool = False
    seconds: float = 2.0
    processor_time: bool = False

    @property
    def plan(self) -> Rounds:
        """How long each comparison is measured, and by which clock."""
        if self.quick:
            return Rounds.quick(processor_time=self.processor_time)
        return Rounds(seconds=self.seconds, processor_time=self.processor_time)


def chosen_corpora(choice: Choice) -> list[Corpus]:
    """Find the corpora of the choice, or NothingToRunError."""
    there = all_corpora(data_folder(choice.data), quick=choice.quick)
    names = [corpus.name for corpus in there]
    refuse_unknown("corpus", choice.corpora, names)
    return [corpus for corpus in there if not choice.corpora or corpus.name in choice.corpora]


def refuse_unknown(what: str, asked: Sequence[str], there: Sequence[str]) -> None:
    """NothingToRunError for a name that is not there."""
    for name in asked:
        if name not in there:
            raise NothingToRunError(f"no {what} {name!r}: there are {', '.join(there)}")


def run(choice: Choice, progress: Progress) -> Iterator[Result]:
    """Run the chosen cases, corpus by corpus, then those with data of their own."""
    refuse_unknown("case", choice.cases, CASE_NAMES)
    corpora = chosen_corpora(choice)
    wanted = choice.cases or CASE_NAMES
    cases = [name for name in CASES if name in wanted]
    with icehouse.Store() as store:
        for corpus in corpora if cases else []:
            progress(f"loading {corpus.about}")
            yield from run_corpus(corpus, cases, store, choice, progress)
        # A corpus was asked for: the cases that have their own data are not meant.
        if choice.corpora and not choice.cases:
            return
        bench = Bench(store, choice.plan, choice.quick, choice.only)
        for name in FIXED:
            if name in wanted:
                progress(name)
                yield from FIXED[name](bench)


def run_corpus(
    corpus: Corpus, cases: Sequence[str], store: icehouse.Store, choice: Choice, progress: Progress
) -> Iterator[Result]:
    """Run the cases on one corpus, which is loaded once and dropped at the end."""
    subject = Subject(corpus.name, corpus.load(), store, choice.plan, choice.only)
    try:
        for name in cases:
            progress(f"{name}, {corpus.about}")
            for case in CASES[name]:
                yield from case(subject)
    finally:
        subject.close()


def report(results: Sequence[Result], choice: Choice) -> dict[str, Any]:
    """Everything as one JSON document."""
    plan = choice.plan
    return {
        "schema": 1,
        "machine": machine(),
        "method": METHOD,
        "quick": choice.quick,
        "clock": "processor time of the thread" if plan.processor_time else "wall",
        "rounds": {
            "seconds": plan.seconds,
            "least": plan.rounds_min,
            "most": plan.rounds_max,
            "warmups": plan.warmups,
        },
        "results": [result.as_json() for result in results],
    }
