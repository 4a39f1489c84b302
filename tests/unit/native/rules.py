"""Rules for classes that the tests define, whatever the real rules say."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

from icehouse.store.freezing import hooks

Rule = tuple[Any, ...] | str


def slots_of(cls: type) -> tuple[tuple[str, Any], ...]:
    """Names and descriptors of the slots of a class, base classes last."""
    found = []
    for base in cls.__mro__:
        names = base.__dict__.get("__slots__", ())
        for name in (names,) if isinstance(names, str) else names:
            if name in ("__dict__", "__weakref__"):
                continue
            mangled = name
            if name.startswith("__") and not name.endswith("__"):
                mangled = f"_{base.__name__.lstrip('_')}{name}"
            found.append((mangled, base.__dict__[mangled]))
    return tuple(found)


def view(cls: type) -> Rule:
    """The rule of a plain class."""
    return ("view", slots_of(cls))


@contextlib.contextmanager
def ruling(rule_of: Callable[[type], Rule | None]) -> Iterator[list[type]]:
    """Let these rules decide, and where they give None the real ones.

    Yields the classes that were asked about, each as often as it was.
    """
    asked: list[type] = []
    real = hooks.rule_of

    def ask(cls: type) -> Rule:
        asked.append(cls)
        rule = rule_of(cls)
        return real(cls) if rule is None else rule

    hooks.rule_of = ask
    hooks.generation += 1
    try:
        yield asked
    finally:
        hooks.rule_of = real
        hooks.generation += 1
