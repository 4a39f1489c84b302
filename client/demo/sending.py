"""The demo's last step: code goes where the data is, and brings along what it needs."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import icehouse
from icehouse import interpreters
from icehouse.client.demo import questions
from icehouse.client.demo.questions import Question


@dataclass
class Sent:
    """How a frozen function did in a pool: workers, answers, seconds until all were there."""

    interpreters: int
    answers: int
    seconds: float


def quiz(parts: Sequence[list[Question]]) -> Callable[[Any, int], list[Any]]:
    """Make a function that answers questions, which no name leads to, nor to the class it uses."""

    @icehouse.frozen
    class Quiz:
        asked: ClassVar = dict(enumerate(parts))

        def __init__(self, graph: Any) -> None:
            self.graph = graph

        def take(self, number: int) -> list[Any]:
            return questions.answers(self.graph, self.asked[number])

    @icehouse.frozen
    def take(graph: Any, number: int) -> list[Any]:
        return Quiz(graph).take(number)

    return take


def send(graph: Any, asked: Sequence[list[Question]]) -> tuple[Sent, list[list[Any]]]:
    """Call it in a pool with a frozen graph, a worker for each part; what it took, and answers."""
    take = quiz(asked)
    count = len(asked)
    with interpreters.pool(count) as pool:
        # Workers are made, and make the function and its class, before anything is measured.
        list(pool.map(take, [graph] * count, range(count)))
        begin = time.perf_counter()
        given = list(pool.map(take, [graph] * count, range(count)))
        seconds = time.perf_counter() - begin
    return Sent(count, sum(map(len, given)), seconds), given
