"""Classes whose instances are in the golden images: their names and fields stay as they are."""

import collections
import dataclasses
import datetime
import enum
from typing import Any, TypeVar

import icehouse

Element = TypeVar("Element", bound=int)


@dataclasses.dataclass
class Point:
    x: int
    y: Any = None

    def total(self) -> Any:
        return self.x + len(self.y)


class Plain:
    def __init__(self, **fields: Any) -> None:
        self.__dict__.update(fields)

    def __eq__(self, other: object) -> bool:
        return dict(vars(self)) == dict(vars(other))

    def __hash__(self) -> int:
        return 1


class Slotted:
    __slots__ = ("a", "b", "never")

    def __init__(self) -> None:
        self.a, self.b = 1, ["two"]

    def __eq__(self, other: Any) -> bool:
        return bool((self.a, self.b) == (other.a, other.b))

    def __hash__(self) -> int:
        return 1


class Shouting(list[Any]):
    def shout(self) -> str:
        return "".join(self).upper()


class Attributed(dict[str, Any]):
    def __init__(self, *args: Any, note: str = "") -> None:
        super().__init__(*args)
        self.note = note


Pair = collections.namedtuple("Pair", "first second")


class Colour(enum.Enum):
    RED = 1
    BLUE = "blue"


class Rights(enum.IntFlag):
    READ = 4
    WRITE = 2


class Label(str):
    """A str with an attribute."""

    colour: Any


class Holiday(datetime.date):
    """A date by another name."""


class Lowered(dict[str, Any]):
    """A dict whose methods go on to those of dict, so it needs to be one."""

    def __init__(self, *args: Any, **items: Any) -> None:
        super().__init__(*args, **items)

    def __getitem__(self, key: str) -> Any:
        return super().__getitem__(key.upper())


class Sealed:
    """Freezes and thaws by its own methods."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def __freeze__(self) -> Any:
        return {"value": self.value}

    @classmethod
    def __thaw__(cls, frozen: Any) -> "Sealed":
        return cls(frozen["value"])

    def __eq__(self, other: Any) -> bool:
        return bool(self.value == other.value)

    def __hash__(self) -> int:
        return 1


class Reduced:
    """Pickles by calling itself."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def __reduce__(self) -> Any:
        return Reduced, (self.value,)

    def __eq__(self, other: Any) -> bool:
        return bool(self.value == other.value)

    def __hash__(self) -> int:
        return 1


class Money:
    """Of a package that knows nothing of icehouse."""

    def __init__(self, amount: Any) -> None:
        self.amount = amount

    def __eq__(self, other: Any) -> bool:
        return bool(self.amount == other.amount)

    def __hash__(self) -> int:
        return 1


class Oops(Exception):
    pass


icehouse.register_freezable(
    Money,
    freeze=lambda money: {"amount": money.amount},
    thaw=lambda frozen: Money(frozen["amount"]),
)


WEIGHT = 5


def lighter(x: int) -> int:
    return x - 1


def weighed(x: int, more: Any = (1, 2), *, label: str = "kg") -> Any:
    """What is in an image is how it was when that was made."""

    def inner(y: int) -> int:
        return y * WEIGHT

    return [inner(lighter(x)), len(more), label, weighed if x == 0 else None]
