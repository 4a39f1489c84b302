"""Classes that are frozen: what keeps working."""

import abc
import copy
import dataclasses
import enum
import functools
import gc
import pickle
import sys
import threading
import typing
import weakref
from typing import Any, ClassVar, Generic, NamedTuple, Protocol, TypeVar, runtime_checkable

import pytest

import icehouse
from icehouse import FrozenError, freeze, is_frozen

T = TypeVar("T")
LOCK = threading.Lock()


# --- what keeps working --------------------------------------------------------------------------


class Animal:
    """An animal."""

    legs = 4

    def __init__(self, name: str) -> None:
        self.name = name

    def speak(self) -> str:
        return f"{self.name} on {self.legs}"

    @property
    def label(self) -> str:
        """The label."""
        return f"<{self.name}>"

    @label.setter
    def label(self, value: str) -> None:
        self.name = value.strip("<>")

    @classmethod
    def named(cls, name: str) -> "Animal":
        return cls(name)

    @staticmethod
    def twice(value: int) -> int:
        return value * 2

    @functools.cached_property
    def length(self) -> int:
        return len(self.name)

    class Tag:
        def text(self) -> str:
            return "tag"


class Dog(Animal):
    def speak(self) -> str:
        return super().speak() + "!"

    def explicit(self) -> str:
        return super(Dog, self).speak()  # noqa: UP008 - the explicit form is what is tested


icehouse.freeze(Animal, Dog)


def test_methods_properties_and_super_work() -> None:
    dog = Dog.named("rex")
    assert type(dog) is Dog
    assert dog.speak() == "rex on 4!"
    assert dog.explicit() == "rex on 4"
    assert Dog.twice(4) == dog.twice(4) == 8
    assert isinstance(dog, Animal)
    assert issubclass(Dog, Animal)
    assert Animal.label.__doc__ == "The label."
    assert Animal.Tag().text() == "tag"


def test_instances_stay_mutable() -> None:
    dog = Dog("rex")
    dog.label = "<max>"
    assert dog.name == "max"
    assert dog.length == 3
    assert "length" in dog.__dict__
    dog.__dict__["legs"] = 3
    assert dog.speak() == "max on 3!"
    del dog.legs
    assert dog.legs == 4


def test_a_frozen_instance_runs_methods_and_refuses_writes() -> None:
    dog = freeze(Dog("rex"))
    assert isinstance(dog, Dog)
    assert dog.speak() == "rex on 4!"
    assert dog.explicit() == "rex on 4"
    assert dog.label == "<rex>"
    assert dog.length == 3
    assert dog.named("max").name == "max"
    with pytest.raises(FrozenError):
        dog.label = "<max>"
    with pytest.raises(FrozenError):
        dog.name = "max"
    assert icehouse.thaw(dog).speak() == "rex on 4!"


def test_the_class_is_frozen_and_freezing_it_again_does_nothing() -> None:
    assert is_frozen(Animal)
    assert is_frozen(Animal.Tag)
    assert is_frozen(Animal.speak)
    speak = Animal.__dict__["speak"]
    assert freeze(Animal) is Animal
    assert Animal.__dict__["speak"] is speak


def test_instances_pickle_and_copy() -> None:
    dog = Dog("rex")
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        assert pickle.loads(pickle.dumps(dog, protocol)).__dict__ == {"name": "rex"}
    assert copy.copy(dog).name == "rex"
    assert copy.deepcopy([dog])[0].name == "rex"
    assert pickle.loads(pickle.dumps(Dog)) is Dog


def test_subclasses_can_be_made_and_override() -> None:
    class Cat(Animal):
        legs = 3

        def speak(self) -> str:
            return "cat: " + super().speak()

        @Animal.label.getter
        def label(self) -> str:
            return "cat"

    cat = Cat("tom")
    assert cat.speak() == "cat: tom on 3"
    assert cat.label == "cat"
    cat.label = "<tim>"
    assert cat.name == "tim"
    Cat.legs = 5
    assert cat.legs == 5
    assert not is_frozen(Cat)


def test_classes_and_instances_can_be_referred_to_weakly_and_collected() -> None:
    def made() -> tuple[Any, Any]:
        class Local:
            def me(self) -> Any:
                return Local

        freeze(Local)
        instance = Local()
        assert instance.me() is Local
        return weakref.ref(Local), weakref.ref(instance)

    cls, instance = made()
    gc.collect()
    assert cls() is None
    assert instance() is None


def test_a_method_finds_its_class_before_the_name_is_bound() -> None:
    space: dict[str, Any] = {"icehouse": icehouse, "__name__": __name__}
    code = "@icehouse.frozen\nclass Late:\n    def me(self):\n        return Late\n"
    exec(code, space)
    first = space["Late"]
    assert first().me() is first
    exec(code, space)
    assert space["Late"] is not first
    assert space["Late"]().me() is space["Late"]
    assert first().me() is first


# --- the kinds of classes ------------------------------------------------------------------------


@dataclasses.dataclass(order=True)
class Point:
    x: int
    y: int = 2
    tags: list[str] = dataclasses.field(default_factory=list)
    extra: dict[str, int] = dataclasses.field(default_factory=lambda: {"a": 1}, compare=False)
    kind: ClassVar[str] = "point"

    def norm(self) -> int:
        return self.x + self.y


@dataclasses.dataclass(frozen=True, slots=True)
class Fixed:
    a: int
    b: tuple[int, ...] = ()


freeze(Point, Fixed)


def test_dataclasses() -> None:
    point = Point(1)
    assert point == Point(1, 2, [], {"a": 1})
    assert point < Point(2)
    assert repr(point) == "Point(x=1, y=2, tags=[], extra={'a': 1})"
    point.tags.append("t")
    assert Point(1).tags == []
    assert dataclasses.asdict(point) == {"x": 1, "y": 2, "tags": ["t"], "extra": {"a": 1}}
    assert dataclasses.replace(point, x=5).x == 5
    assert [field.name for field in dataclasses.fields(Point)] == ["x", "y", "tags", "extra"]
    assert dataclasses.is_dataclass(Point)
    assert typing.get_type_hints(Point)["tags"] == list[str]
    assert point.norm() == 3
    match point:
        case Point(x, y):
            assert (x, y) == (1, 2)
    assert icehouse.freeze(point).norm() == 3


def test_a_recursive_repr_ends() -> None:
    point = Point(1)
    point.tags.append(point)  # type: ignore[arg-type]
    assert repr(point) == "Point(x=1, y=2, tags=[...], extra={'a': 1})"


def test_dataclasses_that_inherit_from_a_frozen_one() -> None:
    @dataclasses.dataclass
    class Space(Point):
        z: int = 3

    assert Space(1) == Space(1, 2, [], {"a": 1}, 3)
    assert repr(Space(1)).endswith("Space(x=1, y=2, tags=[], extra={'a': 1}, z=3)")
    freeze(Space)
    assert Space(1, z=5).z == 5


def test_frozen_dataclasses_with_slots() -> None:
    fixed = Fixed(1)
    assert hash(fixed) == hash(Fixed(1, ()))
    with pytest.raises(dataclasses.FrozenInstanceError):
        fixed.a = 2  # type: ignore[misc]
    assert pickle.loads(pickle.dumps(fixed)) == fixed
    assert not hasattr(fixed, "__dict__")


class Color(enum.Enum):
    RED = 1
    GREEN = "g"
    CRIMSON = 1  # noqa: PIE796 - an alias

    def shout(self) -> str:
        return self.name + "!"

    @property
    def short(self) -> str:
        return self.name[0]

    @classmethod
    def _missing_(cls, value: object) -> Any:
        return cls.GREEN if value == "green" else None


class Access(enum.Flag):
    READ = 1
    WRITE = 2
    RUN = 4


class Level(enum.IntEnum):
    LOW = enum.auto()
    HIGH = enum.auto()


freeze(Color, Access, Level)


def test_enumerations() -> None:
    assert Color(1) is Color.RED
    assert Color["CRIMSON"] is Color.RED
    assert list(Color) == [Color.RED, Color.GREEN]
    assert Color("green") is Color.GREEN
    assert Color.RED.shout() == "RED!"
    assert Color.RED.short == "R"
    assert Level.LOW + 1 == Level.HIGH
    assert pickle.loads(pickle.dumps(Color.RED)) is Color.RED
    assert icehouse.freeze([Color.RED, Level.HIGH]) == [Color.RED, Level.HIGH]
    assert "RED" in dir(Color)
    with pytest.raises(ValueError, match="is not a valid Color"):
        Color(9)


def test_h25_combinations_of_flags_are_still_made() -> None:
    both = Access.READ | Access.WRITE
    assert both is Access(3)
    assert Access(6) == Access.WRITE | Access.RUN
    assert ~Access.READ == Access.WRITE | Access.RUN


class Shape(abc.ABC):
    @abc.abstractmethod
    def area(self) -> int: ...

    @property
    @abc.abstractmethod
    def name(self) -> str: ...


class Square(Shape):
    def area(self) -> int:
        return 4

    name = "square"  # type: ignore[assignment]


freeze(Shape, Square)


def test_abstract_classes_and_their_registration() -> None:
    with pytest.raises(TypeError, match="abstract"):
        Shape()  # type: ignore[abstract]
    assert Shape.__abstractmethods__ == {"area", "name"}
    assert Square().area() == 4

    class Other:
        pass

    Shape.register(Other)
    assert isinstance(Other(), Shape)


@runtime_checkable
class Named(Protocol):
    name: str

    def speak(self) -> str: ...


class Implementer(Named):
    name = "i"

    def speak(self) -> str:
        return "s"


class Base:
    def __init__(self) -> None:
        self.made = True


class Both(Named, Base):
    name = "b"

    def speak(self) -> str:
        return "b"


freeze(Named, Base, Implementer, Both)


def test_protocols() -> None:
    assert isinstance(Dog("rex"), Named)
    assert not isinstance(3, Named)
    assert isinstance(Implementer(), Named)
    assert Both().made
    with pytest.raises(TypeError):
        Named()  # type: ignore[misc]


class Box(Generic[T]):
    content: T

    def __init__(self, content: T) -> None:
        self.content = content

    def get(self) -> T:
        return self.content


class IntBox(Box[int]):
    pass


freeze(Box, IntBox)


def test_generics() -> None:
    assert Box[int](3).get() == 3
    assert IntBox(4).get() == 4
    assert typing.get_args(Box[int]) == (int,)
    assert Box.__parameters__ == (T,)  # type: ignore[attr-defined]

    class StrBox(Box[str]):
        pass

    assert StrBox("s").get() == "s"


@pytest.mark.skipif(sys.version_info < (3, 12), reason="class C[T] needs Python 3.12")
def test_classes_with_type_parameters() -> None:
    space: dict[str, Any] = {"__name__": __name__}
    exec("class Pair[A, B]:\n    def first(self, a: A, b: B) -> A:\n        return a\n", space)
    pair = freeze(space["Pair"])
    assert pair[int, str]().first(1, "b") == 1
    assert [str(param) for param in pair.__type_params__] == ["A", "B"]


class Place(NamedTuple):
    name: str
    number: int = 7

    def label(self) -> str:
        return f"{self.name} {self.number}"


freeze(Place)


def test_named_tuples() -> None:
    place = Place("p")
    assert place == ("p", 7)
    assert place.label() == "p 7"
    assert place._replace(number=8).number == 8
    assert Place._make(["q", 1])._asdict() == {"name": "q", "number": 1}
    assert repr(place) == "Place(name='p', number=7)"
    assert pickle.loads(pickle.dumps(place)) == place
    with pytest.raises(FrozenError):
        Place._field_defaults["name"] = "x"


def test_a_subclass_of_a_named_tuple_takes_it_along() -> None:
    from collections import namedtuple

    class Pair(namedtuple("Pair", "a b")):
        def total(self) -> int:
            return int(self.a + self.b)

    freeze(Pair)
    assert Pair(1, 2).total() == 3
    assert is_frozen(Pair.__mro__[1])


class Slotted:
    __slots__ = ["__hidden", "a"]

    def hide(self, value: int) -> int:
        self.__hidden = value
        return self.__hidden


freeze(Slotted)


def test_slots() -> None:
    slotted = Slotted()
    slotted.a = 1
    assert slotted.hide(3) == 3
    assert slotted.a == 1
    assert not hasattr(slotted, "__dict__")
    with pytest.raises(FrozenError):
        Slotted.__slots__.append("b")


def test_init_subclass_and_set_name_run_for_subclasses() -> None:
    seen: list[Any] = []

    class Plugin:
        def __init_subclass__(cls, *, tag: str, **rest: Any) -> None:
            super().__init_subclass__(**rest)
            cls.tag = tag  # type: ignore[attr-defined]

        def __class_getitem__(cls, item: Any) -> Any:
            return cls, item

    freeze(Plugin)

    class Named2:
        def __set_name__(self, owner: type, name: str) -> None:
            seen.append(name)

    class One(Plugin, tag="one"):
        field = Named2()

    assert One.tag == "one"  # type: ignore[attr-defined]
    assert Plugin[3] == (Plugin, 3)
    assert seen == ["field"]


def test_partial_and_single_dispatch_methods() -> None:
    class Calculator:
        def add(self, a: int, b: int) -> int:
            return a + b

        increment = functools.partialmethod(add, 1)

        @functools.singledispatchmethod
        def show(self, value: Any) -> str:
            return "object"

        @show.register
        def _(self, value: int) -> str:
            return "int"

    freeze(Calculator)
    assert Calculator().increment(2) == 3
    assert Calculator().show(1) == "int"
    assert Calculator().show("x") == "object"
    with pytest.raises(FrozenError):
        Calculator.__dict__["show"].register(str, lambda self, value: "str")


def test_total_ordering_and_decorated_methods() -> None:
    def twice(function: Any) -> Any:
        @functools.wraps(function)
        def inner(*args: Any) -> Any:
            return function(*args) * 2

        return inner

    @functools.total_ordering
    class Version:
        def __init__(self, number: int) -> None:
            self.number = number

        def __eq__(self, other: object) -> bool:
            return isinstance(other, Version) and self.number == other.number

        def __lt__(self, other: "Version") -> bool:
            return self.number < other.number

        __hash__ = None  # type: ignore[assignment]

        @twice
        def doubled(self) -> int:
            return self.number

    freeze(Version)
    assert Version(1) >= Version(0)
    assert Version(3).doubled() == 6


def test_generators_coroutines_and_special_methods() -> None:
    class Bag:
        def __init__(self, *items: int) -> None:
            self.items = list(items)

        def __len__(self) -> int:
            return len(self.items)

        def __iter__(self) -> Any:
            yield from self.items

        def __contains__(self, item: object) -> bool:
            return item in self.items

        def __getitem__(self, at: int) -> int:
            return self.items[at]

        def __call__(self) -> str:
            return "called"

        def __enter__(self) -> "Bag":
            return self

        def __exit__(self, *error: object) -> None:
            self.items.clear()

        async def later(self) -> int:
            return len(self)

        def __del__(self) -> None:
            gone.get().append(len(self.items))

        def __getattr__(self, name: str) -> str:
            return f"no {name}"

    gone = icehouse.InterpreterLocal(list)
    assert freeze(Bag) is Bag
    bag = Bag(1, 2)
    assert (len(bag), list(bag), 2 in bag, bag[1], bag(), bag.nothing) == (
        *(2, [1, 2], True, 2, "called", "no nothing"),
    )
    with bag as same:
        assert same is bag
    assert len(bag) == 0
    coroutine = bag.later()
    with pytest.raises(StopIteration) as result:
        coroutine.send(None)
    assert result.value.value == 0
    del bag, same, coroutine, result
    gc.collect()
    assert gone.get() == [0]
