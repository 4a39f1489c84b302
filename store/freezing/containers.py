"""Subclasses of list, dict, set, frozenset, bytearray, and the containers of `collections`.

They are lazy views of a frozen list, dict, ... that carry their other fields, pass `isinstance` and
run the methods that their class defines in Python. What it inherits from a type written in C is
answered by the frozen container inside (native/module/object.c).
"""

from collections import OrderedDict, defaultdict, deque
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

from icehouse.store.freezing import anatomy
from icehouse.store.freezing.trust import name_of

Rule = tuple[Any, ...] | str | None


def rule(cls: type, base: type) -> Rule:
    """Copy the content through the builtin type: no method of the class is asked."""
    if base is SimpleNamespace:
        return None if declares(cls) else ("view", anatomy.slots(cls))
    if declares(cls):
        return None
    if anatomy.holds_more(cls, base):
        return f"a {name_of(cls)} keeps more in C than a {base.__name__} does"
    if base is OrderedDict:
        return ("container", dict, (), _ordered)
    if base is defaultdict:
        return ("container", dict, (), _default)
    if base is deque:
        return ("container", list, (), _deque)
    return ("container", base, anatomy.slots(cls), None)


def declares(cls: type) -> bool:
    """Whether a class says itself how it pickles: then that counts, and not what it inherits."""
    return any(
        anatomy.own(cls, name) is not None
        for name in ("__reduce_ex__", "__reduce__", "__getstate__", "__setstate__")
    )


def _ordered(obj: Any) -> tuple[dict[Any, Any], dict[str, Any]]:
    # The order of an OrderedDict is not that of the dict that it is built upon.
    return dict(OrderedDict.items(obj)), anatomy.fields(obj, type(obj))


def _default(obj: Any) -> tuple[dict[Any, Any], dict[str, Any]]:
    factory = _factory.__get__(obj)
    return dict.copy(obj), {"default_factory": factory, **anatomy.fields(obj, type(obj))}


def _deque(obj: Any) -> tuple[list[Any], dict[str, Any]]:
    length = _maxlen.__get__(obj)
    return list(deque.__iter__(obj)), {"maxlen": length, **anatomy.fields(obj, type(obj))}


_factory = defaultdict.__dict__["default_factory"]
_maxlen = deque.__dict__["maxlen"]


def thaw_container(cls: type, container: Any, fields: Mapping[str, Any]) -> Any:
    """Make the mutable original through the types written in C, with no method of the class."""
    rest = dict(fields)
    made: Any
    if issubclass(cls, OrderedDict):
        made = OrderedDict.__new__(cls)
        for key, value in container.items():
            OrderedDict.__setitem__(made, key, value)
    elif issubclass(cls, defaultdict):
        made = defaultdict.__new__(cls)
        defaultdict.__init__(made, rest.pop("default_factory", None))
        dict.update(made, container)
    elif issubclass(cls, deque):
        made = deque.__new__(cls)
        deque.__init__(made, container, rest.pop("maxlen", None))
    elif issubclass(cls, dict):
        made = dict.__new__(cls)
        dict.update(made, container)
    elif issubclass(cls, list):
        made = list.__new__(cls)
        list.extend(made, container)
    elif issubclass(cls, set):
        made = set.__new__(cls)
        set.update(made, container)
    elif issubclass(cls, frozenset):
        made = frozenset.__new__(cls, container)
    elif issubclass(cls, bytearray):
        made = bytearray.__new__(cls)
        bytearray.extend(made, container)
    else:
        raise TypeError(f"{name_of(cls)} is no container")
    anatomy.fill(made, cls, rest)
    return made
