"""Subclasses of list, dict, set, frozenset, bytearray, and the containers of `collections`.

They are lazy views of a frozen list, dict, ... that carry their other fields, pass `isinstance` and
run the methods that their class defines in Python. What it inherits from a type written in C is
answered by the frozen container inside, or by the functions below (`METHODS`), which go first.

A method of the class that goes on to the type written in C itself, by `super().__getitem__(key)` or
`dict.__getitem__(self, key)`, can't have a view as self: CPython checks the layout in memory. A
class with such methods, other than those that write, comes back as a real instance with frozen
children, family CONTENT of MADE: the name "" has the keys and values, or the items, as tuples, the
others are its fields. Tuples, since a list or dict would look lazy to the freezer.
"""

import sys
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterator, Mapping
from types import FunctionType, SimpleNamespace
from typing import Any

from icehouse.store.freezing import anatomy, codes
from icehouse.store.freezing.records import Record
from icehouse.store.freezing.trust import Trust, name_of

Rule = tuple[Any, ...] | str | None


def rule(cls: type, base: type) -> Rule:
    """Copy the content through the builtin type: no method of the class is asked."""
    if base is SimpleNamespace:
        return None if declares(cls) else ("view", anatomy.slots(cls))
    if declares(cls):
        return None
    if anatomy.holds_more(cls, base):
        return f"a {name_of(cls)} keeps more in C than a {base.__name__} does"
    if calls_base(cls):
        if anatomy.has_finalizer(cls):
            return (
                f"methods of {name_of(cls)} go on to {base.__name__}, so that it would come back "
                "as a real instance, whose __del__ would run: take __del__ away, or say how it "
                "freezes: icehouse.register_freezable"
            )
        return ("made", codes.CONTENT, _content_getter(base))
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


# Methods that a view refuses or never runs, whatever they call.
NOT_READING = frozenset(
    (
        "__class_getitem__ __delattr__ __delitem__ __iadd__ __iand__ __imul__ __init__ "
        "__init_subclass__ __ior__ __isub__ __ixor__ __new__ __set_name__ __setattr__ __setitem__ "
        "add append appendleft clear discard extend extendleft fromkeys insert move_to_end pop "
        "popitem popleft remove reverse rotate setdefault sort subtract update"
    ).split()
)
CONTAINERS = (
    *(bytearray, dict, frozenset, list, set),
    *(Counter, OrderedDict, defaultdict, deque),
)


def _is_container(cls: type) -> bool:
    return any(cls is kind for kind in CONTAINERS)


def calls_base(cls: type) -> bool:
    """Whether a method that reads goes on to the builtin base by `super()` or by its name."""
    bases = anatomy.mro(cls)
    names = {"super", *(base.__name__ for base in bases if _is_container(base))}
    for base in bases:
        if _is_container(base):
            break
        for name, value in anatomy.namespace(base).items():
            code = _code(value)
            if code is not None and name not in NOT_READING and not names.isdisjoint(code.co_names):
                return True
    return False


def _code(value: Any) -> Any:
    """Find the code of a method, property or class method."""
    for attribute in ("fget", "func", "__func__", "__wrapped__"):
        value = getattr(value, attribute, value)
    return value.__code__ if type(value) is FunctionType else None


def _content_getter(base: type) -> Callable[[Any], Any]:
    takes: dict[type, Callable[[Any], Any]] = {
        OrderedDict: _ordered,
        defaultdict: _default,
        deque: _deque,
    }
    take: Callable[[Any], Any] = takes.get(base) or _plain(base)

    def getter(obj: Any) -> tuple[tuple[str, ...], tuple[Any, ...]]:
        content, fields = take(obj)
        whole = (tuple(content), tuple(content.values())) if type(content) is dict else content
        parts = whole if type(whole) in (tuple, bytes) else tuple(whole)
        return ("", *fields), (parts, *fields.values())

    return getter


def _plain(base: type) -> Callable[[Any], tuple[Any, dict[str, Any]]]:
    copies: dict[type, Callable[[Any], Any]] = {
        bytearray: lambda obj: bytes(memoryview(obj)),
        dict: dict.copy,
        frozenset: lambda obj: tuple(frozenset.__iter__(obj)),
        list: list.copy,
        set: lambda obj: tuple(set.__iter__(obj)),
    }
    copy = copies.get(base, list.copy)
    return lambda obj: (copy(obj), anatomy.fields(obj, type(obj)))


def make(cls: type, names: tuple[str, ...], values: tuple[Any, ...], trust: Trust) -> Any:
    """Make a real instance of a class of family CONTENT; no method of it runs."""
    del trust
    if not names or names[0] != "":
        raise ValueError("a container without its content")
    if anatomy.has_finalizer(cls):
        return Record(name_of(cls), names, values)
    content = values[0]
    try:
        if issubclass(cls, dict):
            keys, items = content
            content = dict(zip(keys, items, strict=True))
        return thaw_container(cls, content, dict(zip(names[1:], values[1:], strict=True)))
    except (LookupError, TypeError):  # The class is no container of this kind any more.
        return Record(name_of(cls), names, values)


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


# --- methods of types written in C, for their views ---


def _same_items(left: Any, right: Any) -> bool:
    return all(a is b or a == b for a, b in zip(left, right, strict=True))


def _ordered_eq(self: Any, other: Any) -> Any:
    if not isinstance(other, Mapping):
        return NotImplemented
    if len(self) != len(other):
        return False
    if isinstance(other, OrderedDict) and not _same_items(iter(self), iter(other)):
        return False
    return all(key in other and _same_items([value], [other[key]]) for key, value in self.items())


def _ordered_reversed(self: Any) -> Iterator[Any]:
    return iter(list(self)[::-1])


def _deque_eq(self: Any, other: Any) -> Any:
    if not isinstance(other, deque):
        return NotImplemented
    return len(self) == len(other) and _same_items(self, other)


def _ne_of(eq: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    def __ne__(self: Any, other: Any) -> Any:  # noqa: N807 - what it is for its views
        equal = eq(self, other)
        return equal if equal is NotImplemented else not equal

    return __ne__


def _deque_order(name: str) -> Callable[[Any, Any], Any]:
    compare = list.__dict__[name]

    def order(self: Any, other: Any) -> Any:
        if not isinstance(other, deque):
            return NotImplemented
        return compare(list(self), list(other))

    order.__name__ = name
    return order


def _repr_of(kind: str) -> Callable[[Any], str]:
    def __repr__(self: Any) -> str:  # noqa: N807 - what it is for its views
        name = self.__class__.__name__
        if kind == "OrderedDict":
            # As the running Python shows it: pairs before 3.12.
            shown = dict if sys.version_info >= (3, 12) else list
            return f"{name}({shown(self.items())!r})" if len(self) else f"{name}()"
        if kind == "defaultdict":
            return f"{name}({self.default_factory!r}, {dict(self.items())!r})"
        length = f", maxlen={self.maxlen}" if self.maxlen is not None else ""
        return f"{name}({list(self)!r}{length})"

    return __repr__


def _namespace_eq(self: Any, other: Any) -> Any:
    if not isinstance(other, SimpleNamespace):
        return NotImplemented
    return dict(vars(self)) == dict(vars(other))


def _namespace_repr(self: Any) -> str:
    cls = self.__class__
    name = "namespace" if cls is SimpleNamespace else cls.__name__
    return f"{name}({', '.join(f'{key}={value!r}' for key, value in vars(self).items())})"


# None would say that there is no hash, as Python does.
METHODS: dict[type, dict[str, Any]] = {
    OrderedDict: {
        "__eq__": _ordered_eq,
        "__ne__": _ne_of(_ordered_eq),
        "__hash__": None,
        "__repr__": _repr_of("OrderedDict"),
        "__reversed__": _ordered_reversed,
    },
    defaultdict: {"__repr__": _repr_of("defaultdict")},
    deque: {
        "__eq__": _deque_eq,
        "__ne__": _ne_of(_deque_eq),
        "__hash__": None,
        "__repr__": _repr_of("deque"),
        **{name: _deque_order(name) for name in ("__lt__", "__le__", "__gt__", "__ge__")},
    },
    SimpleNamespace: {
        "__eq__": _namespace_eq,
        "__ne__": _ne_of(_namespace_eq),
        "__hash__": None,
        "__repr__": _namespace_repr,
    },
}


def methods(cls: type) -> dict[str, Any]:
    """Find the methods that the view of a class needs in place of those written in C."""
    bases = anatomy.mro(cls)
    for at, base in enumerate(bases):
        # By identity: a metaclass may say what it likes about hash and equality.
        found = next((METHODS[kind] for kind in METHODS if kind is base), None)
        if found is not None:
            # What the class itself or another base before it defines comes first.
            before = bases[:at]
            return {
                name: function
                for name, function in found.items()
                if not any(name in anatomy.namespace(derived) for derived in before)
            }
    return {}
