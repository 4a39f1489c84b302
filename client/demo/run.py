"""The demo itself: one graph, many readers, answers compared; the same once more with pickle."""

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from typing import Any

import icehouse
from icehouse import interpreters
from icehouse.client.bench.facts import machine
from icehouse.client.demo import reader
from icehouse.client.demo.questions import Question, alike, answers
from icehouse.client.demo.readers import Reader, pickled, started
from icehouse.client.demo.sending import Sent, send

Tell = Callable[[str], None]

# What every reader does before anything is measured.
WARM_UP = {"characters": {65: {"name": "A"}}, "categories": {"Lu": [65]}}
WARM_UP_QUESTIONS: list[Question] = [("name", 65), ("category", "Lu"), ("path", ["categories"])]


class WrongAnswer(RuntimeError):
    """A reader's answer differs from that of the native object."""


@dataclass(frozen=True)
class Plan:
    """How many readers, and how many questions each is asked."""

    interpreters: int = 4
    processes: int = 2
    questions: int = 2000
    characters: int | None = None


@dataclass(frozen=True)
class Material:
    """A graph, what it is, and a way to make questions about it: (graph, count, seed)."""

    about: str
    graph: Any
    ask: Callable[[Any, int, int], list[Question]]


@dataclass
class Told:
    """One reader: seconds to its first answer, and the private memory that its answers took."""

    name: str
    kind: str
    first_seconds: float
    memory_bytes: int


@dataclass
class Way:
    """What one way of sharing cost."""

    share_seconds: float
    size_bytes: int
    readers: list[Told] = field(default_factory=list)
    # All readers at once, from the first question to the last answer.
    together_seconds: float = 0.0
    together_answers: int = 0

    def memory_of(self, kind: str) -> float:
        """Median private memory of a reader of one kind."""
        return statistics.median(told.memory_bytes for told in self.readers if told.kind == kind)

    @property
    def memory_bytes(self) -> int:
        """Private memory of all readers."""
        return sum(told.memory_bytes for told in self.readers)


@dataclass
class Outcome:
    """Everything that was measured."""

    about: str
    questions: int
    own_gil: bool
    interpreters: int
    processes: int
    icehouse: Way
    pickle: Way
    sent: Sent | None
    remarks: list[str]

    def as_json(self) -> dict[str, Any]:
        """For `--json`."""
        return {"schema": 1, "machine": machine(), **asdict(self)}


@dataclass
class Round:
    """Questions for one reader, and the answers of the native object."""

    first: list[Question]
    first_expected: list[Any]
    more: list[Question]
    more_expected: list[Any]

    @classmethod
    def of(cls, material: Material, count: int, number: int) -> "Round":
        """Make the questions of reader `number` and answer them natively."""
        first = material.ask(material.graph, count, 2 * number)
        more = material.ask(material.graph, count, 2 * number + 1)
        graph = material.graph
        return cls(first, answers(graph, first), more, answers(graph, more))


def check(who: str, given: Sequence[Any], expected: Sequence[Any]) -> None:
    """WrongAnswer unless all answers are those of the native object."""
    if len(given) != len(expected) or not all(map(alike, given, expected)):
        raise WrongAnswer(f"{who} answered something else than the native object")


def ask_all(
    way: Way, readers: Sequence[Reader], rounds: Sequence[Round], source: reader.Source, tell: Tell
) -> None:
    """Let each reader answer alone, so that its memory can be told, then all at once."""
    for who, asked in zip(readers, rounds, strict=True):
        tell(f"{who.name}: first answers")
        told = who.call(reader.first, source, asked.first)
        check(who.name, told.answers, asked.first_expected)
        way.readers.append(Told(who.name, who.kind, told.seconds, told.memory))

    tell("all readers at once")
    with ThreadPoolExecutor(max(1, len(readers))) as pool:
        begin = time.perf_counter()
        batches = list(
            pool.map(lambda who, asked: who.call(reader.more, asked.more), readers, rounds)
        )
        way.together_seconds = time.perf_counter() - begin
    for who, asked, batch in zip(readers, rounds, batches, strict=True):
        check(who.name, batch.answers, asked.more_expected)
        way.together_answers += len(batch.answers)
    for who in readers:
        who.call(reader.forget)


def send_code(graph: Any, rounds: Sequence[Round], tell: Tell) -> Sent | None:
    """Let a frozen function ask the graph from a pool of interpreters; None without any."""
    if not rounds:
        return None
    tell("a frozen function in a pool")
    sent, given = send(graph, [asked.more for asked in rounds])
    for told, asked in zip(given, rounds, strict=True):
        check("a frozen function", told, asked.more_expected)
    return sent


def remarks(plan: Plan) -> Iterator[str]:
    """Say what a reader of the table should know about this Python."""
    if plan.interpreters and not interpreters.own_gil():
        yield "On Python 3.11 subinterpreters share one GIL: they take turns."


def run(material: Material, plan: Plan, tell: Tell) -> Outcome:
    """Share the graph both ways and let all readers answer; WrongAnswer if they get it wrong."""
    noted = list(remarks(plan))
    if plan.interpreters and not interpreters.supported():
        noted = ["This Python has no subinterpreters: processes only."]
        plan = Plan(0, plan.processes, plan.questions, plan.characters)

    tell("native answers")
    count = plan.interpreters + plan.processes
    rounds = [Round.of(material, plan.questions, number) for number in range(count)]
    with ExitStack() as stack:
        store = stack.enter_context(icehouse.Store())
        tell("freezing")
        begin = time.perf_counter()
        handle = store.put(material.graph, name="demo")
        ours = Way(time.perf_counter() - begin, store.stat(handle).size)
        # This process is the first reader: pages that it maps count as shared from here on.
        answers(store.get(handle), [question for asked in rounds for question in asked.first])
        tell("pickling")
        small = stack.enter_context(pickled(WARM_UP))
        large = stack.enter_context(pickled(material.graph))
        theirs = Way(large.seconds, large.length)
        small_handle = str(store.put(WARM_UP))

        tell("starting readers")
        readers = stack.enter_context(started(plan.interpreters, plan.processes))
        for who in readers:
            for source in (reader.Source(small_handle), small.source):
                who.call(reader.warm_up, source, WARM_UP_QUESTIONS)
        ask_all(ours, readers, rounds, reader.Source(str(handle)), tell)
        ask_all(theirs, readers, rounds, large.source, tell)
        sent = send_code(store.get(handle), rounds[: plan.interpreters], tell)
    return Outcome(
        material.about,
        plan.questions,
        interpreters.own_gil(),
        plan.interpreters,
        plan.processes,
        ours,
        theirs,
        sent,
        noted,
    )
