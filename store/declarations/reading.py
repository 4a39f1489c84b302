"""Reading what objects hold, past what their classes say, as the freezer does."""

from collections.abc import Callable, Iterator
from typing import Any

from icehouse.store.declarations.report import INDEX, ITEM, KEY, VALUE, Node, Step
from icehouse.store.freezing import anatomy
from icehouse.store.freezing.trust import name_of, qualname_of

# By address: a metaclass may say what it likes about hash and equality of its classes.
ATOMS = frozenset(
    map(id, (str, int, float, bool, complex, bytes, type(None), type(...), type(NotImplemented)))
)
CONTAINERS = frozenset(map(id, (list, dict, set, frozenset)))
SIZED = (bytes, bytearray, str)
NDARRAY = "numpy.ndarray"
Items = Iterator[tuple[Step, Any]]

_type_module = type.__dict__["__module__"].__get__


class Frame:
    """A container or an instance, some of whose children are still to be visited."""

    __slots__ = ("depth", "items", "leave", "node")

    def __init__(self, node: Node, items: Items, depth: int) -> None:
        self.node = node
        self.items = items
        self.depth = depth
        self.leave: Callable[[], None] | None = None


class Part:
    """What the builtin part of an object holds: nobody finds it again by an address."""

    __slots__ = ("base", "items")

    def __init__(self, base: type, items: Items) -> None:
        self.base = base
        self.items = items


def items_of(obj: Any, base: type) -> Items:
    """Give what a builtin container holds, as it is now, past what a subclass may define."""
    if base is dict:
        return _pairs([*dict.items(obj)])
    past: Any = base
    held = [*past.__iter__(obj)]
    if base in (set, frozenset):
        return iter([((ITEM, None), item) for item in held])
    return (((INDEX, at), item) for at, item in enumerate(held))


def _pairs(pairs: list[tuple[Any, Any]]) -> Items:
    for key, value in pairs:
        if type(key) is not str:
            yield (KEY, key), key
        yield (VALUE, key), value


def is_buffer(cls: type) -> bool:
    """Whether the freezer asks objects of a class for their buffer, without its rule."""
    if cls is memoryview:
        return True
    return anatomy.is_immutable(cls) and name_of(cls) in ("array.array", NDARRAY)


def class_names(cls: type) -> None:
    """Raise as the freezer does where a class has no usable name."""
    module = _type_module(cls)
    if type(module) is not str:
        raise TypeError(
            f"cannot freeze: the __module__ of class {qualname_of(cls)} is {module!r}, not text"
        )


def slots_and_dict(obj: Any, slots: Any) -> list[tuple[Any, Any]]:
    """Read the slots that are set and the `__dict__`, without the object's own code."""
    found: list[tuple[Any, Any]] = []
    for name, member in slots:
        try:
            found.append((name, member.__get__(obj, type(obj))))
        except AttributeError:
            continue
    attributes = anatomy.dict_descriptor(type(obj))
    if attributes is not None:
        found += dict.items(attributes.__get__(obj))
    return found


def size_of(kind: type, values: list[Any], before: int | None = 0) -> int | None:
    """Add up how long bytes and texts are; None for other types."""
    return sum(map(len, values)) + (before or 0) if kind in SIZED else None
