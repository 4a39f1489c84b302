"""Iterators of the interpreter: they say how they pickle, and are refused all the same."""

from icehouse.store.freezing import anatomy
from icehouse.store.freezing.trust import module_of

_MODULES = frozenset({"builtins", "itertools", "_collections", "_struct", "_json", "_csv", "_io"})


def rule(cls: type) -> str | None:
    """Refuse iterators written in C; a user's own class is a class like others."""
    in_c = not anatomy.is_heap(cls) or module_of(cls) in _MODULES
    if in_c and "__next__" in anatomy.namespace(cls):
        return "an iterator is used up by reading it: freeze a list of what it gives"
    return None
