"""Questions to a graph, as plain data, and their answers: the same code asks dicts and views."""

import random
from collections.abc import Callable, Iterable, Sequence
from typing import Any

# (kind, argument); travels to readers as it is.
Question = tuple[str, Any]

# Of a hundred questions to the Unicode database: the rest ask for names.
CATEGORY_SHARE = 2
NUMERIC_SHARE = 1
# Where numeric values are summed: decimal digits, letter numbers, other numbers.
NUMERIC_CATEGORIES = ["Nd", "Nl", "No"]
DEPTH_MAX = 64


def name_of(graph: Any, point: int) -> Any:
    """Say what a character is called."""
    return graph["characters"][point]["name"]


def category_sum(graph: Any, category: str) -> Any:
    """Say how many characters a category has, and the sum of their numbers."""
    points = graph["categories"][category]
    return len(points), sum(points)


def numeric_sum(graph: Any, category: str) -> Any:
    """Sum the numeric values of all characters of a category."""
    characters = graph["characters"]
    values = [characters[point]["numeric"] for point in graph["categories"][category]]
    return sum(value for value in values if value is not None)


def at_path(graph: Any, path: Sequence[Any]) -> Any:
    """Say what a path of keys and positions leads to: a leaf, or the length of a container."""
    for step in path:
        graph = graph[step]
    if isinstance(graph, str) or not hasattr(graph, "__len__"):
        return graph
    return len(graph)


KINDS: dict[str, Callable[[Any, Any], Any]] = {
    "name": name_of,
    "category": category_sum,
    "numeric": numeric_sum,
    "path": at_path,
}


def answer(graph: Any, question: Question) -> Any:
    """Answer one question."""
    kind, argument = question
    return KINDS[kind](graph, argument)


def answers(graph: Any, questions: Iterable[Question]) -> list[Any]:
    """Answer them all."""
    return [answer(graph, question) for question in questions]


def about_unicode(graph: dict[str, Any], count: int, seed: int) -> list[Question]:
    """Make questions about the Unicode database; the first asks for a name."""
    chance = random.Random(seed)  # noqa: S311 - repeatable, not secret
    points = list(graph["characters"])
    categories = list(graph["categories"])
    numeric = [name for name in NUMERIC_CATEGORIES if name in graph["categories"]]
    asked: list[Question] = []
    for number in range(count):
        draw = chance.randrange(100) if number else 99
        if draw < CATEGORY_SHARE:
            asked.append(("category", chance.choice(categories)))
        elif draw < CATEGORY_SHARE + NUMERIC_SHARE and numeric:
            asked.append(("numeric", chance.choice(numeric)))
        else:
            asked.append(("name", chance.choice(points)))
    return asked


def about_document(document: Any, count: int, seed: int) -> list[Question]:
    """Make questions about any JSON document: random paths into it."""
    chance = random.Random(seed)  # noqa: S311 - repeatable, not secret
    # The keys of a dict as a list, made once a dict, so that choosing one costs no scan.
    keys: dict[int, list[str]] = {}
    asked: list[Question] = []
    for _ in range(count):
        node: Any = document
        path: list[Any] = []
        while node and isinstance(node, dict | list) and len(path) < DEPTH_MAX:
            step: Any
            if isinstance(node, dict):
                step = chance.choice(keys.setdefault(id(node), list(node)))
            else:
                step = chance.randrange(len(node))
            path.append(step)
            node = node[step]
        asked.append(("path", path))
    return asked


def alike(ours: Any, theirs: Any) -> bool:
    """Whether two answers are the same; NaN, which a JSON document may hold, is like itself."""
    return bool(ours == theirs) or repr(ours) == repr(theirs)
