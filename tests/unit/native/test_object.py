"""FrozenObject: attributes, methods, writes, copies and types of views of instances."""

import abc
import copy
import dataclasses
import functools
import gc
import pickle
import sys
import types
import typing
import weakref
from collections.abc import Callable, Iterator, Sequence, Sized
from typing import Any, ClassVar, Generic, TypeVar

import pytest
from forged import distrusted_view_of, view_of

import icehouse

T = TypeVar("T")


@dataclasses.dataclass
class Point:
    x: int
    y: int = 0
    unit: ClassVar[str] = "m"

    def norm(self) -> int:
        return self.x * self.x + self.y * self.y

    @property
    def double(self) -> int:
        return self.x * 2

    @classmethod
    def origin(cls) -> "Point":
        return cls(0)

    @staticmethod
    def plus(a: int, b: int) -> int:
        return a + b

    def moved(self, by: int) -> "Point":
        return type(self)(self.x + by, self.y)


@dataclasses.dataclass(frozen=True)
class Fixed:
    a: int
    b: tuple[int, ...] = ()


@dataclasses.dataclass(slots=True)
class Slotted:
    a: int
    b: list[int] = dataclasses.field(default_factory=list)


class Base:
    __slots__ = ("_Base__hidden", "shown")

    def __init__(self) -> None:
        self.__hidden = "hidden"
        self.shown = "shown"

    def hidden(self) -> str:
        return self.__hidden


class Mixed(Base):
    """Slots of a base, and a __dict__."""

    def __init__(self) -> None:
        super().__init__()
        self.free = [1, 2]

    def hidden(self) -> str:
        return super().hidden().upper()


class Lazy:
    calls = 0

    def __init__(self) -> None:
        self.n = 3

    @functools.cached_property
    def squares(self) -> list[int]:
        Lazy.calls += 1
        return [i * i for i in range(self.n)]

    @functools.cached_property
    def early(self) -> int:
        return 7


class Celsius:
    def __get__(self, instance: Any, owner: type) -> Any:
        return self if instance is None else (instance.fahrenheit - 32) / 1.8

    def __set__(self, instance: Any, value: float) -> None:
        instance.fahrenheit = value * 1.8 + 32


class Temperature:
    celsius = Celsius()

    def __init__(self, fahrenheit: float) -> None:
        self.fahrenheit = fahrenheit


class Dynamic:
    def __init__(self) -> None:
        self.known = 1

    def __getattr__(self, name: str) -> str:
        if name.startswith("made_"):
            return name[5:]
        raise AttributeError(name)


class Watched:
    seen: ClassVar[list[str]] = []

    def __init__(self) -> None:
        self.a = 1
        self.b = 2

    def method(self) -> int:
        return self.a + self.b

    def __getattribute__(self, name: str) -> Any:
        if name == "virtual":
            return "made up"
        Watched.seen.append(name)
        return object.__getattribute__(self, name)


class Box(Generic[T]):
    def __init__(self, content: T) -> None:
        self.content = content


class Plain:
    pass


class Handled:
    def __init__(self) -> None:
        self.handle = "mine"
        self.layout = "too"


@typing.runtime_checkable
class HasNorm(typing.Protocol):
    def norm(self) -> int: ...


@typing.runtime_checkable
class HasX(typing.Protocol):
    x: int


def test_fields_methods_and_properties() -> None:
    view = view_of(Point(3, 4))
    assert (view.x, view.y, view.unit) == (3, 4, "m")
    assert (view.norm(), view.double, view.plus(1, 2)) == (25, 6, 3)
    assert view.origin() == Point(0)
    assert isinstance(view.norm, types.MethodType)
    assert view.norm.__self__ is view
    assert getattr(view, "".join(["x"])) == 3
    with pytest.raises(AttributeError, match="'Point' object has no attribute 'z'"):
        _ = view.z
    assert getattr(view, "z", "none") == "none"
    with pytest.raises(TypeError, match="attribute name must be string"):
        getattr(view, typing.cast("str", 1))


def test_what_it_says_it_is() -> None:
    view = view_of(Point(3))
    assert isinstance(view, Point)
    assert isinstance(view, icehouse.FrozenObject)
    assert view.__class__ is Point
    assert type(view) is not Point
    assert not issubclass(type(view), Point)
    assert type(view).__name__ == "Point"
    assert icehouse.type_name(view) == f"{__name__}.Point"
    assert icehouse.is_frozen(view)
    assert view.__module__ == __name__
    assert view.__doc__ == Point.__doc__
    assert isinstance(view, HasNorm)
    assert isinstance(view, HasX)
    assert type(view) is type(view_of(Point(5, 6)))


def test_h20_the_type_is_no_subclass_and_nothing_of_the_class_runs() -> None:
    events: list[str] = []

    class Meta(type):
        def __call__(cls, *args: object, **kwargs: object) -> object:
            events.append("call")
            return super().__call__(*args, **kwargs)

        def __instancecheck__(cls, instance: object) -> bool:
            events.append("check")
            return super().__instancecheck__(instance)

    class Gadget(metaclass=Meta):
        def __init_subclass__(cls) -> None:
            events.append("subclass")

        def __new__(cls) -> "Gadget":
            events.append("new")
            return object.__new__(cls)

        def __init__(self) -> None:
            events.append("init")
            self.path = "/etc"

        def __del__(self) -> None:
            events.append("del")

        def __setattr__(self, name: str, value: object) -> None:
            events.append("set")
            object.__setattr__(self, name, value)

    Gadget.__qualname__ = "Gadget"
    original = Gadget()
    globals()["Gadget"] = Gadget
    try:
        view = view_of(original)
        events.clear()
        assert view.path == "/etc"
        with pytest.raises(icehouse.FrozenError):
            view.path = "/"
        del view
        gc.collect()
        assert events == []
        assert type.__subclasses__(Gadget) == []
    finally:
        del globals()["Gadget"]
        original.__class__ = Plain


def test_slots_and_dicts() -> None:
    view = view_of(Mixed())
    assert view.shown == "shown"
    assert view.hidden() == "HIDDEN"
    assert view.free == [1, 2]
    assert view.__dict__ == {"free": [1, 2]}
    assert isinstance(view.__dict__, types.MappingProxyType)
    slotted = view_of(Slotted(1))
    assert (slotted.a, slotted.b) == (1, [])
    assert not hasattr(slotted, "__dict__")
    assert vars(view_of(Point(1))) == {"x": 1, "y": 0}
    assert view_of(Plain()).__dict__ == {}
    with pytest.raises(TypeError):
        view.__dict__["free"] = 1


def test_unset_slots_are_missing() -> None:
    half = Slotted.__new__(Slotted)
    half.a = 1
    view = view_of(half)
    assert view.a == 1
    with pytest.raises(AttributeError):
        _ = view.b


def test_cached_property_is_computed_once_a_view() -> None:
    original = Lazy()
    assert original.early == 7
    view = view_of(original)
    Lazy.calls = 0
    assert view.squares == [0, 1, 4]
    assert view.squares is view.squares
    assert Lazy.calls == 1
    assert view.early == 7  # stored by then: a field
    assert "squares" not in view.__dict__


def test_descriptors_of_users() -> None:
    view = view_of(Temperature(212.0))
    assert view.celsius == 100.0
    with pytest.raises(icehouse.FrozenError):
        view.celsius = 0.0


def test_getattr_of_the_class() -> None:
    view = view_of(Dynamic())
    assert (view.known, view.made_up) == (1, "up")
    assert not hasattr(view, "unknown")


def test_getattribute_of_the_class() -> None:
    view = view_of(Watched())
    Watched.seen.clear()
    assert (view.a, view.virtual, view.method()) == (1, "made up", 3)
    assert Watched.seen == ["a", "method", "a", "b"]
    assert not hasattr(view, "nothing")
    with pytest.raises(icehouse.FrozenError):
        view.a = 2


@pytest.mark.parametrize("value", [Point(1), Fixed(1), Slotted(1), Plain(), Lazy()])
def test_h29_writes_are_refused(value: object) -> None:
    view = view_of(value)
    name = type(value).__name__
    for error in (TypeError, AttributeError, icehouse.FrozenError):
        with pytest.raises(error, match=f"{name} is immutable: setting attribute 'a'"):
            view.a = 2
    with pytest.raises(icehouse.FrozenError, match=f"{name} is immutable: deleting attribute 'a'"):
        del view.a
    with pytest.raises(icehouse.FrozenError):
        view.__class__ = Plain
    with pytest.raises(icehouse.FrozenError):
        view.__dict__ = {}
    with pytest.raises((TypeError, AttributeError)):
        object.__setattr__(view, "a", 2)
    with pytest.raises((TypeError, AttributeError)):
        object.__delattr__(view, "a")
    with pytest.raises((TypeError, AttributeError)):
        type(view).a = 3


def test_methods_that_write_are_refused_where_they_write() -> None:
    class Counter:
        def __init__(self) -> None:
            self.n = 0

        def count(self) -> None:
            self.n += 1

    Counter.__qualname__ = "Counter"
    globals()["Counter"] = Counter
    view = view_of(Counter())
    with pytest.raises(icehouse.FrozenError, match="setting attribute 'n'"):
        view.count()
    assert view.n == 0
    del globals()["Counter"]


def test_h22_dataclass_functions() -> None:
    view = view_of(Point(3, 4))
    assert dataclasses.is_dataclass(view)
    assert [field.name for field in dataclasses.fields(view)] == ["x", "y"]
    assert dataclasses.asdict(view) == {"x": 3, "y": 4}
    assert dataclasses.astuple(view) == (3, 4)
    replaced = dataclasses.replace(view, x=9)
    assert type(replaced) is Point
    assert replaced == Point(9, 4)
    nested = view_of(Box([Point(1), Point(2)]))
    assert [dataclasses.asdict(point) for point in nested.content] == [
        {"x": 1, "y": 0},
        {"x": 2, "y": 0},
    ]
    if sys.version_info >= (3, 13):
        assert copy.replace(view, y=0) == Point(3)


def test_class_patterns() -> None:
    match view_of(Point(3, 4)):
        case Point(x, y):
            assert (x, y) == (3, 4)
        case _:
            pytest.fail("no match")
    match view_of(Slotted(1)):
        case Point():
            pytest.fail("a wrong match")
        case Slotted(a=1, b=[]):
            pass
        case _:
            pytest.fail("no match")


def test_type_of_self_stands_for_the_class() -> None:
    view = view_of(Point(3, 4))
    assert type(view.moved(2)) is Point
    assert view.moved(2) == Point(5, 4)
    assert type(view).origin() == Point(0)
    assert type(view).unit == "m"
    with pytest.raises(TypeError):
        type(view)()
    with pytest.raises(TypeError):
        icehouse.FrozenObject()


def test_copies_are_the_view_itself() -> None:
    class Copied:
        def __deepcopy__(self, memo: object) -> str:
            return "a copy"

        __copy__ = __deepcopy__

    Copied.__qualname__ = "Copied"
    globals()["Copied"] = Copied
    for value in (Point(1), Copied()):
        view = view_of(value)
        assert copy.copy(view) is view
        assert copy.deepcopy(view) is view
    del globals()["Copied"]


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_pickles_by_value(protocol: int) -> None:
    view = view_of(Mixed())
    again = pickle.loads(pickle.dumps(view, protocol))
    assert isinstance(again, icehouse.FrozenObject)
    assert isinstance(again, Mixed)
    assert (again.hidden(), again.free) == ("HIDDEN", [1, 2])


def test_handle_and_fields_of_that_name() -> None:
    view = view_of(Point(1))
    assert isinstance(view.handle, icehouse.Handle)
    assert icehouse.same(icehouse.get(view.handle), view)
    mine = view_of(Handled())
    assert (mine.handle, mine.layout) == ("mine", "too")
    assert view_of([Point(1)])[0].handle is None
    for name in ("layout", "inner", "kept", "image", "fields", "type_name"):
        assert not hasattr(view, name)


def test_same() -> None:
    shared = Point(1)
    view = view_of([shared, shared, Point(1)])
    assert icehouse.same(view[0], view[1])
    assert not icehouse.same(view[0], view[2])


def test_weak_references() -> None:
    view = view_of(Point(1))
    reference = weakref.ref(view)
    assert reference() is view
    assert view.__weakref__ is None
    mapping = weakref.WeakKeyDictionary({view_of(Plain()): 1})
    gc.collect()
    assert len(mapping) == 0
    del view
    assert reference() is None


def test_cycles_through_kept_values_and_classes_are_collected() -> None:
    view = view_of(Lazy())
    view.squares.append(view)
    reference = weakref.ref(view)
    del view
    gc.collect()
    assert reference() is None


def test_classes_of_views_are_collected() -> None:
    class Passing:
        pass

    Passing.__qualname__ = "Passing"
    globals()["Passing"] = Passing
    Passing.instance = view_of(Passing())  # type: ignore[attr-defined]
    reference = weakref.ref(type(Passing.instance))  # type: ignore[attr-defined]
    assert reference() is not None
    del globals()["Passing"], Passing
    # The layouts that an interpreter remembers are bounded: others drive this one out.
    kept = [view_of(type_of(i)()) for i in range(1500)]
    gc.collect()
    assert len(kept) == 1500
    assert reference() is None


def type_of(i: int) -> type:
    cls = type(f"Made{i}", (), {"__module__": __name__, "__qualname__": f"Made{i}"})
    globals()[f"Made{i}"] = cls
    return cls


def test_a_class_that_is_defined_again_is_the_new_one() -> None:
    first = type_of(0)
    view = view_of(first())
    handle = view.handle
    assert isinstance(view, first)
    second = type_of(0)
    assert isinstance(icehouse.get(handle), second)
    assert isinstance(view, first)
    del globals()["Made0"]
    assert type(icehouse.get(handle)) is icehouse.FrozenObject


def test_dir_has_fields_and_attributes_of_the_class() -> None:
    names = dir(view_of(Mixed()))
    assert {"free", "shown", "hidden", "__class__"} <= set(names)


def test_h20_records_where_the_class_may_not_be_had() -> None:
    view = distrusted_view_of(Point(3, 4))
    assert type(view) is icehouse.FrozenObject
    assert not isinstance(view, Point)
    assert (view.x, view.y) == (3, 4)
    assert view.__dict__ == {"x": 3, "y": 4}
    assert icehouse.type_name(view) == f"{__name__}.Point"
    assert repr(view) == f"<{__name__}.Point x=3, y=4>"
    assert not hasattr(view, "norm")
    assert hash(view) == hash(view)
    assert view == copy.copy(view)
    assert view != Point(3, 4)
    with pytest.raises(icehouse.FrozenError):
        view.x = 1
    assert {"x", "y"} <= set(dir(view))


def test_names_are_found_however_many() -> None:
    wide = Plain()
    for i in range(300):
        setattr(wide, f"field_{i}", i)
    view = view_of(wide)
    assert [getattr(view, f"field_{i}") for i in range(300)] == list(range(300))
    assert len(view.__dict__) == 300
    assert not hasattr(view, "field_300")


def test_fields_see_later_changes_of_the_class() -> None:
    cls = type_of(1)
    instance = cls()
    instance.value = 1
    view = view_of(instance)
    assert view.value == 1
    cls.value = property(lambda self: "computed")  # type: ignore[attr-defined]
    assert view.value == "computed"
    cls.value = "of the class"  # type: ignore[attr-defined]
    assert view.value == 1
    del cls.value  # type: ignore[attr-defined]
    assert view.value == 1
    del globals()["Made1"]


def test_the_type_says_which_abstract_classes_fit() -> None:
    class Sizes(abc.ABC):
        @abc.abstractmethod
        def __len__(self) -> int: ...

    assert issubclass(Sizes, Sized)
    assert not isinstance(view_of(Point(1)), Sized)
    assert not callable(view_of(Point(1)))
    for kind in (Sequence, Iterator, Callable):
        assert not isinstance(view_of(Point(1)), kind)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["\u985e" * 45, "\xe9" * 70, "n" * 300, "\U00020000" * 32 + "ab"])
def test_long_names_of_classes(name: str) -> None:
    """A type in C has room for some bytes of its name, which may end inside a character."""
    cls = type(name, (), {"__module__": __name__})
    globals()[name] = cls
    try:
        obj = cls()
        obj.x = 1
        view = icehouse.freeze([obj])[0]
        assert view.x == 1
        assert view.__class__ is cls
        assert name.startswith(type(view).__name__[:25])
    finally:
        del globals()[name]
