"""`icehouse demo`: what is shared, and the table that tells how it went."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from icehouse.client.bench.corpora import unicode_database
from icehouse.client.bench.run import Progress
from icehouse.client.bench.targets import bytes_text, seconds_text
from icehouse.client.cli.output import (
    CommandError,
    print_json,
    print_table,
    progress,
)
from icehouse.client.demo.questions import about_document, about_unicode
from icehouse.client.demo.readers import ReaderFailed
from icehouse.client.demo.run import Material, Outcome, Plan, WrongAnswer, run
from icehouse.client.demo.sending import Sent

FOOTNOTES = """
Every answer was compared with that of the native Python object: all are the same.
First answer: from having the handle, or the pickled bytes, to the first answer. Readers do it one
  after the other, so that none waits for another.
Memory: growth of Private_Clean + Private_Dirty in /proc/self/smaps_rollup of the reader's process
  while it opens or loads the graph and answers all its questions, one reader at a time.
  Subinterpreters live in this process; the others are idle meanwhile.
Pickled bytes lie in shared memory and are loaded from there: nothing goes through a pipe. Once
  loaded, a reader answers from a native copy of its own, at native speed.
"""


def document(path: str) -> Any:
    """Read a JSON document from a file, or from stdin for `-`; CommandError if it is none."""
    try:
        data = sys.stdin.buffer.read() if path == "-" else Path(path).read_bytes()
    except IsADirectoryError:
        raise CommandError(f"{path} is a folder, not a JSON document") from None
    try:
        return json.loads(data)
    except RecursionError:
        raise CommandError(f"{path} is nested too deeply to be read") from None
    except ValueError as error:
        raise CommandError(f"{path} is not valid JSON: {error}") from None


def material(file: str | None, plan: Plan, tell: Progress) -> Material:
    """Make or read what is shared."""
    if file is not None:
        tell(f"reading {file}")
        name = "stdin" if file == "-" else Path(file).name
        return Material(name, document(file), about_document)
    tell("building the Unicode character database")
    graph = unicode_database(limit=plan.characters)
    count = len(graph["characters"])
    about = f"Unicode {graph['version']}: {count:,} characters as nested dicts"
    return Material(about, graph, about_unicode)


def times(ours: float, theirs: float) -> str:
    """Say how many times more the other side takes."""
    if ours <= 0:
        return ""
    ratio = theirs / ours
    return f"{ratio:,.0f}x" if ratio >= 10 else f"{ratio:.2g}x"


def rows(outcome: Outcome) -> list[Sequence[str]]:
    """Make the lines of the table."""
    ours, theirs = outcome.icehouse, outcome.pickle

    def line(label: str, a: float, b: float, *, memory: bool = False) -> Sequence[str]:
        text = bytes_text if memory else seconds_text
        return label, text(a), text(b), times(a, b)

    lines = [
        line("freeze / pickle, once", ours.share_seconds, theirs.share_seconds),
        line("size of what is shared", ours.size_bytes, theirs.size_bytes, memory=True),
    ]
    for mine, other in zip(ours.readers, theirs.readers, strict=True):
        label = f"first answer in {mine.name}"
        lines.append(line(label, mine.first_seconds, other.first_seconds))
    if ours.readers:
        label = f"{ours.together_answers:,} more answers, all readers at once"
        lines.append(line(label, ours.together_seconds, theirs.together_seconds))
    for kind, label in (("interpreter", "a subinterpreter"), ("process", "a forked process")):
        if any(told.kind == kind for told in ours.readers):
            words = f"extra private memory of {label}"
            lines.append(line(words, ours.memory_of(kind), theirs.memory_of(kind), memory=True))
    label = "extra private memory of all readers"
    lines.append(line(label, ours.memory_bytes, theirs.memory_bytes, memory=True))
    return lines


def code_text(sent: Sent) -> str:
    """Say what the last step showed."""
    return (
        f"Then code went to the data: a frozen function that no other interpreter could import, "
        f"with the frozen class and the frozen dict that it uses, gave {sent.answers:,} answers in "
        f"{sent.interpreters} interpreters of a pool in {seconds_text(sent.seconds)}, the same."
    )


def table(outcome: Outcome) -> Any:
    """Make the table that a stranger understands."""
    from rich.table import Table

    gil = "own" if outcome.own_gil else "one shared"
    readers = [
        f"{outcome.interpreters} subinterpreters ({gil} GIL)" if outcome.interpreters else "",
        f"{outcome.processes} forked processes" if outcome.processes else "",
    ]
    made = Table(title=f"{outcome.about}, read by {' and '.join(filter(None, readers))}")
    made.add_column("")
    made.add_column("icehouse", justify="right")
    made.add_column("pickle", justify="right")
    made.add_column("pickle / icehouse", justify="right")
    for line in rows(outcome):
        made.add_row(*line)
    return made


def command(file: str | None, plan: Plan, *, as_json: bool) -> None:
    """Run the demo on the Unicode database or on a JSON document."""
    try:
        with progress() as tell:
            outcome = run(material(file, plan, tell), plan, tell)
    except (ReaderFailed, WrongAnswer) as error:
        raise CommandError(str(error)) from None
    if as_json:
        print_json(outcome.as_json())
    else:
        notes = FOOTNOTES.replace("\n  ", " ").strip()
        sent = [] if outcome.sent is None else [code_text(outcome.sent)]
        print_table(table(outcome), *outcome.remarks, *sent, notes)
