"""What runs in each reader, a subinterpreter or a forked process. Imports nothing heavy."""

import mmap
import pickle
import time
from typing import Any, NamedTuple

import icehouse
from icehouse.client.bench.facts import private_bytes
from icehouse.client.demo.questions import Question, answer, answers


class Source(NamedTuple):
    """Where a graph comes from: a handle, or pickled bytes in shared memory."""

    handle: str = ""
    descriptor: int = -1
    length: int = 0


class First(NamedTuple):
    """How a reader began: seconds until its first answer, and what memory all its answers cost."""

    seconds: float
    memory: int
    answers: list[Any]


class Batch(NamedTuple):
    """A run of answers and how long it took."""

    seconds: float
    answers: list[Any]


# What this reader has open: one reader an interpreter or process, so it can be the module's.
graph: Any = None


def obtain(source: Source) -> Any:
    """Open the image, or load the pickled bytes."""
    if source.handle:
        return icehouse.get(source.handle)
    with mmap.mmap(source.descriptor, source.length, prot=mmap.PROT_READ) as data:
        return pickle.loads(data)  # noqa: S301 - our own bytes


def warm_up(source: Source, questions: list[Question]) -> None:
    """Run the code once on something small, so that neither side pays for pages of Python's own."""
    answers(obtain(source), questions)
    private_bytes()


def first(source: Source, questions: list[Question]) -> First:
    """Obtain the graph and answer; the clock stops at the first answer, memory counts them all."""
    global graph
    graph = None
    before = private_bytes()
    begin = time.perf_counter()
    graph = obtain(source)
    opening = answer(graph, questions[0])
    seconds = time.perf_counter() - begin
    rest = answers(graph, questions[1:])
    return First(seconds, private_bytes() - before, [opening, *rest])


def more(questions: list[Question]) -> Batch:
    """Answer from the graph that is open."""
    begin = time.perf_counter()
    given = answers(graph, questions)
    return Batch(time.perf_counter() - begin, given)


def forget() -> None:
    """Let the graph go."""
    global graph
    graph = None
