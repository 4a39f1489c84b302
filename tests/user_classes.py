"""Classes such as users write, of the standard library alone: every interpreter can import them.

They lie in a module of their own, so that spawned processes and other interpreters find them.
Longer than 600 lines: tests compare the names of types, so that they are in one module.
"""

import abc
import collections
import dataclasses
import functools
import threading
from typing import Any, ClassVar, Generic, NamedTuple, TypeVar

T = TypeVar("T")

# What ran that must not: the name of the method and its class.
RAN: list[str] = []


def ran(what: str) -> None:
    RAN.append(what)


# --- plain classes ---


class Plain:
    """A class as they are written most."""

    kind = "plain"

    def __init__(self, name: str, **more: Any) -> None:
        self.name = name
        self.__dict__.update(more)

    @property
    def shout(self) -> str:
        return self.name.upper()

    @shout.setter
    def shout(self, value: str) -> None:
        self.name = value.lower()

    @functools.cached_property
    def length(self) -> int:
        ran("Plain.length")
        return len(self.name)

    @classmethod
    def make(cls, name: str) -> "Plain":
        return cls(name)

    @staticmethod
    def double(value: int) -> int:
        return 2 * value

    def greet(self, other: str = "you") -> str:
        return f"{self.name} greets {other}"


class Slotted:
    __slots__ = ("__hidden", "__weakref__", "left", "right")

    def __init__(self, left: Any, right: Any) -> None:
        self.left = left
        self.right = right
        self.__hidden = 7

    def hidden(self) -> int:
        return self.__hidden


class SlottedChild(Slotted):
    __slots__ = ("more",)

    def __init__(self, left: Any, right: Any, more: Any) -> None:
        super().__init__(left, right)
        self.more = more


class Mixed(Slotted):
    """Slots of a base and a `__dict__` of its own."""

    def __init__(self, left: Any, right: Any, extra: Any) -> None:
        super().__init__(left, right)
        self.extra = extra


class Empty:
    pass


class Equal:
    """`__eq__`, `__hash__` and order of its own."""

    def __init__(self, key: Any, noise: Any = None) -> None:
        self.key = key
        self.noise = noise

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Equal) and self.key == other.key

    def __hash__(self) -> int:
        return hash(("Equal", self.key))

    def __lt__(self, other: "Equal") -> bool:
        return bool(self.key < other.key)


class Vector:
    """Operators, `len`, iteration, calls, context."""

    def __init__(self, *items: float) -> None:
        self.items = list(items)

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> float:
        return self.items[index]

    def __iter__(self) -> Any:
        return iter(self.items)

    def __contains__(self, item: object) -> bool:
        return item in self.items

    def __bool__(self) -> bool:
        return any(self.items)

    def __add__(self, other: "Vector") -> "Vector":
        return Vector(*(a + b for a, b in zip(self, other, strict=True)))

    def __radd__(self, other: int) -> "Vector":
        return Vector(*(other + a for a in self))

    def __matmul__(self, other: "Vector") -> float:
        return sum(a * b for a, b in zip(self, other, strict=True))

    def __neg__(self) -> "Vector":
        return Vector(*(-a for a in self))

    def __float__(self) -> float:
        return float(sum(self.items))

    def __index__(self) -> int:
        return len(self.items)

    def __call__(self, scale: float) -> "Vector":
        return Vector(*(scale * a for a in self))

    def __enter__(self) -> "Vector":
        return self

    def __exit__(self, *error: object) -> None:
        return None

    def __format__(self, spec: str) -> str:
        return "|".join(format(a, spec) for a in self)

    def __repr__(self) -> str:
        return f"Vector({', '.join(map(repr, self.items))})"

    def __str__(self) -> str:
        return f"<{len(self)}>"


class Dynamic:
    """`__getattr__` answers for what is not there."""

    def __init__(self, **known: Any) -> None:
        self.known = known

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name == "known":
            raise AttributeError(name)
        try:
            return self.known[name]
        except KeyError:
            raise AttributeError(f"no {name} here") from None


class Positive:
    """A descriptor that keeps its value in the `__dict__` under another name."""

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = "_" + name

    def __get__(self, obj: Any, owner: type | None = None) -> Any:
        return self if obj is None else getattr(obj, self.name)

    def __set__(self, obj: Any, value: int) -> None:
        if value <= 0:
            raise ValueError("not positive")
        setattr(obj, self.name, value)


class Described:
    size = Positive()

    def __init__(self, size: int) -> None:
        self.size = size


class Shape(abc.ABC):
    @abc.abstractmethod
    def area(self) -> float: ...


class Square(Shape):
    def __init__(self, side: float) -> None:
        self.side = side

    def area(self) -> float:
        return self.side * self.side


class Box(Generic[T]):
    def __init__(self, content: T) -> None:
        self.content = content


class Outer:
    class Inner:
        def __init__(self, value: Any) -> None:
            self.value = value


class Node:
    """A tree with parents: cycles through lists and fields."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.parent: Node | None = None
        self.children: list[Node] = []

    def add(self, child: "Node") -> "Node":
        child.parent = self
        self.children.append(child)
        return child


class Locked:
    def __init__(self) -> None:
        self.name = "locked"
        self.parts = {"lock": threading.Lock()}


# --- what must never run when images are opened ---


class Watching(type):
    """A metaclass that tells of everything that is asked of it."""

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        ran("Watching.__call__")
        return super().__call__(*args, **kwargs)

    def __instancecheck__(cls, obj: object) -> bool:
        ran("Watching.__instancecheck__")
        return super().__instancecheck__(obj)

    def __subclasscheck__(cls, other: type) -> bool:
        ran("Watching.__subclasscheck__")
        return super().__subclasscheck__(other)

    def __getattribute__(cls, name: str) -> Any:
        ran(f"Watching.__getattribute__ {name}")
        return super().__getattribute__(name)

    def mro(cls) -> Any:
        ran("Watching.mro")
        return super().mro()


class Watched(metaclass=Watching):
    def __new__(cls, *args: Any) -> "Watched":
        ran("Watched.__new__")
        return super().__new__(cls)

    def __init__(self, value: Any) -> None:
        ran("Watched.__init__")
        self.value = value

    def __init_subclass__(cls) -> None:
        ran("Watched.__init_subclass__")

    def __del__(self) -> None:
        ran("Watched.__del__")

    def __setattr__(self, name: str, value: Any) -> None:
        ran("Watched.__setattr__")
        object.__setattr__(self, name, value)


class WatchedList(list):  # type: ignore[type-arg]
    """Every method that a careless copy would call."""

    def __new__(cls, *args: Any) -> "WatchedList":
        ran("WatchedList.__new__")
        return super().__new__(cls)

    def __init__(self, *args: Any) -> None:
        ran("WatchedList.__init__")
        super().__init__(*args)

    def __iter__(self) -> Any:
        ran("WatchedList.__iter__")
        return iter(())

    def __len__(self) -> int:
        ran("WatchedList.__len__")
        return 2

    def append(self, item: Any) -> None:
        ran("WatchedList.append")
        super().append(item)

    def __del__(self) -> None:
        ran("WatchedList.__del__")


# --- dataclasses ---


@dataclasses.dataclass
class Point:
    x: int
    y: int = 0
    tags: list[str] = dataclasses.field(default_factory=list)
    origin: ClassVar[str] = "here"

    @property
    def sum(self) -> int:
        return self.x + self.y


@dataclasses.dataclass(frozen=True, order=True)
class Version:
    major: int
    minor: int = 0


@dataclasses.dataclass(frozen=True, slots=True)
class Sealed:
    name: str
    values: tuple[int, ...] = ()


@dataclasses.dataclass(slots=True, weakref_slot=True, kw_only=True)
class Keyed:
    key: str
    value: Any = None


@dataclasses.dataclass
class Point3(Point):
    z: int = 0


@dataclasses.dataclass
class Derived:
    """InitVar and `__post_init__`."""

    side: float
    scale: dataclasses.InitVar[float] = 1.0
    area: float = dataclasses.field(init=False, default=0.0)

    def __post_init__(self, scale: float) -> None:
        ran("Derived.__post_init__")
        self.area = self.side * self.side * scale


@dataclasses.dataclass
class Pair(Generic[T]):
    left: T
    right: T


@dataclasses.dataclass
class Team:
    name: str
    members: list[Point] = dataclasses.field(default_factory=list)
    lead: Point | None = None


@dataclasses.dataclass(eq=False)
class ById:
    value: int


# --- containers ---


class Stack(list[Any]):
    label = "stack"

    def top(self) -> Any:
        return self[-1]


class Registry(dict[str, Any]):
    def __missing__(self, key: str) -> str:
        return f"no {key}"

    def first(self) -> Any:
        return next(iter(self))


class Loud(dict[str, Any]):
    """Its own `__getitem__` and attributes."""

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args)
        self.more = more

    def __getitem__(self, key: str) -> Any:
        return ("loud", super().__getitem__(key))


class Careful(dict[str, Any]):
    """Goes on to its base only to write."""

    def __setitem__(self, key: str, value: Any) -> None:
        super().__setitem__(key.lower(), value)

    def names(self) -> list[str]:
        return sorted(self)


class Named(dict[str, Any]):
    """As people write it, with a method of dict."""

    __getattr__ = dict.__getitem__
    find = dict.get


class Numbers(list[int]):
    def __getitem__(self, index: Any) -> Any:
        return list.__getitem__(self, index) * 2

    def __repr__(self) -> str:
        return f"Numbers({super().__repr__()})"


class Tags(set[str]):
    def joined(self) -> str:
        return ",".join(sorted(self))


class FrozenTags(frozenset[str]):
    def joined(self) -> str:
        return ",".join(sorted(self))


class Chunk(bytearray):
    pass


class Cache(collections.OrderedDict[str, Any]):
    limit = 3


class Names(collections.UserDict[str, Any]):
    pass


class Words(collections.UserList[str]):
    pass


class Title(collections.UserString):
    pass


# --- values ---


class Celsius(float):
    unit = "C"

    @property
    def fahrenheit(self) -> float:
        return self * 9 / 5 + 32


class Count(int):
    pass


class Label(str):
    """A str with attributes."""

    color: str

    def __new__(cls, text: str, color: str = "red") -> "Label":
        ran("Label.__new__")
        made = super().__new__(cls, text)
        made.color = color
        return made


class Word(str):
    __slots__ = ()


class Blob(bytes):
    pass


class Phase(complex):
    pass


class Triple(tuple[Any, ...]):
    """A subclass of tuple with a `__dict__`."""


class Bare(tuple[Any, ...]):
    __slots__ = ()

    def total(self) -> Any:
        return sum(self)


class Place(NamedTuple):
    name: str
    position: tuple[int, int] = (0, 0)

    def __str__(self) -> str:
        return f"{self.name} at {self.position}"


Old = collections.namedtuple("Old", "a b")


# --- classes that say how they pickle ---


class Reduced:
    def __init__(self, *values: Any) -> None:
        self.values = values
        self.lock = threading.Lock()

    def __reduce__(self) -> Any:
        return Reduced, self.values

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Reduced) and self.values == other.values

    def __hash__(self) -> int:
        return hash(self.values)


class ReducedEx:
    def __init__(self, value: Any) -> None:
        self.value = value

    def __reduce_ex__(self, protocol: Any) -> Any:
        return ReducedEx, (protocol,)


class Stateful:
    """`__getstate__` leaves the lock out; without `__setstate__` the state is what a view shows."""

    def __init__(self, value: Any) -> None:
        self.value = value
        self.lock = threading.Lock()

    def __getstate__(self) -> dict[str, Any]:
        return {"value": self.value}


class Restored(Stateful):
    """With `__setstate__`, which makes the lock again."""

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self.lock = threading.Lock()


class SlotState:
    __slots__ = ("kept", "left")

    def __init__(self, kept: Any) -> None:
        self.kept = kept
        self.left = threading.Lock()

    def __getstate__(self) -> Any:
        return None, {"kept": self.kept}


class OddState:
    def __getstate__(self) -> Any:
        return 5


class NewArgs:
    """`__getnewargs__` matters where nothing else can make the object: never for a view."""

    def __new__(cls, value: Any) -> "NewArgs":
        ran("NewArgs.__new__")
        made = super().__new__(cls)
        made.value = value
        return made

    value: Any

    def __getnewargs__(self) -> tuple[Any, ...]:
        ran("NewArgs.__getnewargs__")
        return (self.value,)


class Registered:
    def __init__(self, value: Any) -> None:
        self.value = value


class Singleton:
    def __reduce__(self) -> str:
        return "SINGLETON"


SINGLETON = Singleton()


class Refuses:
    def __reduce_ex__(self, protocol: Any) -> Any:
        raise TypeError("can't pickle this")


class Ring:
    """`__setstate__`, and it refers to another that refers to it."""

    def __init__(self) -> None:
        self.other: Any = None

    def __getstate__(self) -> dict[str, Any]:
        return dict(self.__dict__)

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
