"""Members of frozen enumerations: nothing of them can be set or deleted (HAZARDS H25)."""

import copy
import enum
import functools
import pickle
from collections.abc import Callable
from typing import Any
from weakref import WeakValueDictionary

import pytest

import icehouse
from icehouse import FrozenError
from icehouse.native import _image
from icehouse.store.declarations import identity
from icehouse.store.freezing import trust as trusting


class Point:
    """Mixed into an enumeration, whose members it gives attributes."""

    def __init__(self, x: int) -> None:
        self.x = x

    def __setattr__(self, name: str, value: object) -> None:
        log.get().append(name)
        super().__setattr__(name, value)


log = icehouse.InterpreterLocal(list)


def color() -> Any:
    class Color(enum.Enum):
        R = 1
        G = [2]  # noqa: RUF012 - values need not be hashable
        RED = 1  # noqa: PIE796 - an alias

    return Color


def access(boundary: enum.FlagBoundary = enum.STRICT) -> Any:
    class Access(enum.Flag, boundary=boundary):
        READ = 1
        WRITE = 2
        RUN = 4

    return Access


def changes(member: Any) -> list[Callable[[], object]]:
    return [
        lambda: setattr(member, "_value_", 9),
        lambda: setattr(member, "_name_", "X"),
        lambda: setattr(member, "extra", 9),
        lambda: setattr(member, "name", "X"),
        lambda: setattr(member, "__class__", enum.Enum),
        lambda: setattr(member, "_inverted_", member),
        lambda: delattr(member, "_value_"),
        lambda: delattr(member, "_name_"),
        lambda: delattr(member, "missing"),
    ]


def refuses(member: Any) -> None:
    before = dict(vars(member))
    for change in changes(member):
        with pytest.raises(FrozenError, match=r"is immutable: (setting|deleting) attribute"):
            change()
    assert vars(member) == before


def again(cls: type) -> Any:
    """Make a class again from its definition, as another interpreter does."""
    data = _image._image_bytes(cls)
    known, identity._known = identity._known, (WeakValueDictionary(), WeakValueDictionary())
    try:
        return _image._open_buffer(data, False, trusting.Trust(True, None, True))  # noqa: FBT003
    finally:
        identity._known = known


def twice(cls: type) -> list[Any]:
    """Freeze a class; it, and the same made again."""
    frozen: Any = icehouse.freeze(cls)
    made = again(frozen)
    assert made is not frozen
    return [frozen, made]


def test_h25_members_of_frozen_enumerations_do_not_change() -> None:
    for cls in twice(color()):
        refuses(cls.R)
        refuses(cls.G)
        assert (cls.R.value, cls.R.name, cls.RED is cls.R, cls(1) is cls.R) == (1, "R", True, True)
        assert cls([2]) is cls.G
        assert copy.deepcopy(cls.G) is cls.G
    assert hash(cls.R) == hash("R")


@pytest.mark.parametrize("kind", [enum.IntEnum, enum.StrEnum])
def test_h25_members_that_are_values_do_not_change(kind: Any) -> None:
    value = 3 if kind is enum.IntEnum else "3"
    for cls in twice(kind("Level", {"LOW": value}, module=__name__, qualname="level.<locals>.L")):
        refuses(cls.LOW)
        assert value == cls.LOW


def test_h25_flags_make_combinations_and_inverses_still() -> None:
    for boundary in (enum.STRICT, enum.CONFORM, enum.KEEP):
        for cls in twice(access(boundary)):
            refuses(cls.READ)
            both = cls.READ | cls.WRITE
            assert (both.value, both is cls(3)) == (3, True)
            refuses(both)
            refuses(cls(0))
            assert ~cls.READ is ~cls.READ
            assert (~cls.READ).value & 7 == 6
            assert ~~cls.READ is cls.READ
            assert list(both) == [cls.READ, cls.WRITE]
            assert both.name == "READ|WRITE"


def test_h25_a_frozen_enumeration_keeps_its_own_setattr() -> None:
    class Marked(Point, enum.Enum):
        A = 1
        B = 2

        def __delattr__(self, name: str) -> None:
            raise KeyError(name)

    icehouse.freeze(Point, Marked)
    refuses(Marked.A)
    log.get().clear()
    made = again(Marked)
    assert log.get() == []  # no code of a class runs when it is made again
    refuses(made.A)
    for cls in (Marked, made):
        stray = object.__new__(cls)
        stray.y = 5
        assert (stray.y, log.get().pop()) == (5, "y")
        with pytest.raises(KeyError):
            del stray.y


def test_what_is_no_member_can_be_made_and_changed() -> None:
    @icehouse.frozen
    class Open(enum.Enum):
        A = 1

        @classmethod
        def _missing_(cls, value: object) -> Any:
            made = object.__new__(cls)
            made._name_ = f"OTHER_{value}"
            made._value_ = value
            return made

    other = Open(7)
    assert (other.name, other.value) == ("OTHER_7", 7)
    other.extra = 1  # type: ignore[attr-defined]
    del other.extra  # type: ignore[attr-defined]


def test_cached_properties_of_members_work_still() -> None:
    @icehouse.frozen
    class Color(enum.Enum):
        R = 1

        @functools.cached_property
        def twice(self) -> int:
            return int(self.value) * 2

    assert Color.R.twice == 2
    assert Color.R.twice == 2


def test_members_of_others_change_as_before() -> None:
    @icehouse.frozen
    class Base(enum.Enum):
        def shout(self) -> str:
            return self.name + "!"

    class Color(Base):
        R = 1

    Color.R.extra = 5  # type: ignore[attr-defined]
    del Color.R.extra  # type: ignore[attr-defined]
    assert Color.R.shout() == "R!"
    assert "__setattr__" not in vars(Base)
    icehouse.freeze(Color)
    refuses(Color.R)


def test_nothing_is_left_where_freezing_fails() -> None:
    cls = color()

    def fails() -> Any:
        return lock

    import _thread

    lock = _thread.allocate_lock()
    with pytest.raises(icehouse.NotFreezableError):
        icehouse.freeze(cls, fails)
    cls.R.extra = 5
    assert "__setattr__" not in vars(cls)
    assert "__delattr__" not in vars(cls)


def test_a_guard_goes_with_its_class_alone() -> None:
    cls = icehouse.freeze(color())
    with pytest.raises(icehouse.NotFreezableError, match="a part of its class"):
        pickle.dumps(vars(cls)["__setattr__"])
    with pytest.raises(FrozenError):
        vars(cls)["__setattr__"].__code__ = refuses.__code__
