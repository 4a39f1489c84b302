"""Classes of all kinds, local to a function: no name leads to them, so they travel by value."""

import abc
import dataclasses
import enum
import functools
import typing
from typing import Any, ClassVar, Generic, NamedTuple, Protocol, TypeVar, runtime_checkable

import icehouse


@icehouse.frozen
class Top:
    """One that can be imported."""

    def __init__(self, a: int) -> None:
        self.a = a


def classes() -> dict[str, Any]:
    """Make them all, and freeze them together."""
    found = {**animals(), **described(), **data_classes(), **enumerations()}
    found |= {**typed(), **others()}
    icehouse.freeze(*found.values())
    return found


def made_in(variables: dict[str, Any]) -> dict[str, Any]:
    """Pick the classes out of a function's variables."""
    return {name: value for name, value in variables.items() if isinstance(value, type)}


def animals() -> dict[str, Any]:
    """Classes that know each other."""

    class Animal:
        """An animal."""

        legs = 4

        def __init__(self, name: str) -> None:
            self.name = name

        def __init_subclass__(cls, *, sound: str, **rest: Any) -> None:
            super().__init_subclass__(**rest)
            cls.sound = sound

        def __eq__(self, other: object) -> bool:
            return isinstance(other, Animal) and self.name == other.name

        def __hash__(self) -> int:
            return hash(self.name)

        def same(self) -> Any:
            return Animal

        @property
        def label(self) -> str:
            """The label."""
            return f"<{self.name}>"

        @label.setter
        def label(self, value: str) -> None:
            self.name = value.strip("<>")

        @classmethod
        def named(cls, name: str) -> Any:
            return cls(name)

        @staticmethod
        def twice(value: int) -> int:
            return value * 2

        class Tag:
            def animal(self) -> Any:
                return Animal

    class Dog(Animal, sound="wuff"):
        def label_of(self) -> str:
            return super().label + self.sound

        def keeper(self) -> Any:
            return Keeper(self)

    class Keeper:
        def __init__(self, dog: Any) -> None:
            self.dog = dog

        def is_right(self) -> bool:
            return isinstance(self.dog, Dog)

    return made_in(locals())


def described() -> dict[str, Any]:
    """Other descriptors than properties."""

    class Calculator:
        def __init__(self, name: str) -> None:
            self.name = name

        @functools.cached_property
        def length(self) -> int:
            return len(self.name)

        def add(self, a: int, b: int) -> int:
            return a + b

        increment = functools.partialmethod(add, 1)

        @functools.singledispatchmethod
        def show(self, value: Any) -> str:
            return "object"

        @show.register
        def _(self, value: int) -> str:
            return "int"

    return made_in(locals())


def data_classes() -> dict[str, Any]:
    """Dataclasses."""

    @dataclasses.dataclass(order=True)
    class Point:
        x: int
        y: int = 2
        tags: list[str] = dataclasses.field(default_factory=list)
        extra: dict[str, int] = dataclasses.field(default_factory=lambda: {"a": 1}, compare=False)
        kind: ClassVar[str] = "point"

        def norm(self) -> int:
            return self.x + self.y

    @dataclasses.dataclass
    class Space(Point):
        z: int = 3

    @dataclasses.dataclass(frozen=True, slots=True)
    class Fixed:
        a: int
        b: tuple[int, ...] = ()

    return made_in(locals())


def enumerations() -> dict[str, Any]:
    """Enumerations."""

    class Color(enum.Enum):
        RED = 1
        GREEN = "g"
        CRIMSON = 1  # noqa: PIE796 - an alias

        def shout(self) -> str:
            return self.name + "!"

        @classmethod
        def _missing_(cls, value: object) -> Any:
            return cls.GREEN if value == "green" else None

    class Planet(enum.Enum):
        EARTH = (1, 2)
        MARS = (3, 4)

        def __new__(cls, mass: int, radius: int) -> Any:
            made = object.__new__(cls)
            made._value_ = mass
            return made

        def __init__(self, mass: int, radius: int) -> None:
            self.radius = radius

    class Access(enum.Flag):
        READ = 1
        WRITE = 2
        RUN = 4

    class Level(enum.IntEnum):
        LOW = enum.auto()
        HIGH = enum.auto()

    return made_in(locals())


def typed() -> dict[str, Any]:
    """Abstract and generic classes, protocols, named tuples."""

    class Shape(abc.ABC):
        @abc.abstractmethod
        def area(self) -> int: ...

    class Square(Shape):
        def area(self) -> int:
            return 4

    @runtime_checkable
    class Named(Protocol):
        name: str

        def named(self, name: str) -> Any: ...

    item = TypeVar("item")

    class Box(Generic[item]):
        def __init__(self, content: item) -> None:
            self.content = content

        def get(self) -> item:
            return self.content

    class IntBox(Box[int]):
        pass

    class Place(NamedTuple):
        name: str
        number: int = 7

        def text(self) -> str:
            return f"{self.name} {self.number}"

    return made_in(locals())


def others() -> dict[str, Any]:
    """Slots and metaclasses."""

    class Slotted:
        __slots__ = ("__hidden", "a")

        def hide(self, value: int) -> int:
            self.__hidden = value
            return self.__hidden

    class Meta(type):
        def hello(cls) -> str:
            return f"hello {cls.__name__}"

    class Thing(metaclass=Meta):
        table = icehouse.freeze({"a": [1, 2]})

    return made_in(locals())


def look(given: Any) -> str:
    """Use all of them."""
    zoo = dict(given)
    dog = zoo["Dog"].named("rex")
    assert (dog.label_of(), dog.sound, dog.legs) == ("<rex>wuff", "wuff", 4)
    assert isinstance(dog, zoo["Animal"])
    assert zoo["Animal"].__doc__ == "An animal."
    assert zoo["Animal"].label.__doc__ == "The label."
    assert dog.same() is zoo["Animal"]
    assert zoo["Animal"].Tag().animal() is zoo["Animal"]
    dog.label = "<max>"
    assert dog.name == "max"
    assert dog == zoo["Dog"]("max")
    assert len({dog, zoo["Dog"]("max")}) == 1
    assert dog.keeper().is_right()
    assert type(dog.keeper()) is zoo["Keeper"]
    assert dog.twice(4) == 8
    calculator = zoo["Calculator"]("rex")
    assert (calculator.length, calculator.increment(2)) == (3, 3)
    assert (calculator.show(1), calculator.show("")) == ("int", "object")
    look_at_dataclasses(zoo)
    look_at_enumerations(zoo)
    look_at_typing(zoo)
    assert zoo["Slotted"]().hide(3) == 3
    assert zoo["Thing"].hello() == "hello Thing"
    assert zoo["Thing"].table["a"] == [1, 2]
    assert type(zoo["Thing"]) is zoo["Meta"]
    for cls in zoo.values():
        assert icehouse.is_frozen(cls), cls
        try:
            cls.name = 1
        except TypeError:
            continue
        raise AssertionError(cls)
    return "all there"


def look_at_dataclasses(zoo: dict[str, Any]) -> None:
    """Use the dataclasses."""
    point = zoo["Point"](1)
    assert repr(point).endswith("Point(x=1, y=2, tags=[], extra={'a': 1})")
    assert point == zoo["Point"](1, 2) < zoo["Point"](2)
    assert dataclasses.replace(point, x=5).norm() == 7
    assert dataclasses.asdict(point) == {"x": 1, "y": 2, "tags": [], "extra": {"a": 1}}
    assert [field.name for field in dataclasses.fields(point)] == ["x", "y", "tags", "extra"]
    assert typing.get_type_hints(zoo["Point"])["tags"] == list[str]
    assert zoo["Space"](1).z == 3

    @dataclasses.dataclass
    class More(zoo["Space"]):  # type: ignore[misc]
        w: int = 4

    assert (More(1).norm(), More(1).w) == (3, 4)
    fixed = zoo["Fixed"](1)
    assert hash(fixed) == hash(zoo["Fixed"](1, ()))
    try:
        fixed.a = 2
    except dataclasses.FrozenInstanceError:
        return
    raise AssertionError


def look_at_enumerations(zoo: dict[str, Any]) -> None:
    """Use the enumerations."""
    color = zoo["Color"]
    assert [member.name for member in color] == ["RED", "GREEN"]
    assert color(1) is color["CRIMSON"] is color.RED
    assert color("green") is color.GREEN
    assert color.RED.shout() == "RED!"
    planet = zoo["Planet"]
    assert (planet(3).name, planet.EARTH.radius, planet.EARTH.value) == ("MARS", 2, 1)
    access = zoo["Access"]
    assert access.READ | access.WRITE is access(3)
    assert access(6) == ~access.READ
    level = zoo["Level"]
    assert level.LOW + 1 == level.HIGH == 2


def look_at_typing(zoo: dict[str, Any]) -> None:
    """Use abstract classes, protocols, generics and named tuples."""
    try:
        zoo["Shape"]()
    except TypeError:
        pass
    else:
        raise AssertionError
    assert isinstance(zoo["Square"](), zoo["Shape"])
    assert zoo["Square"]().area() == 4
    assert isinstance(zoo["Dog"]("rex"), zoo["Named"])
    assert not isinstance(3, zoo["Named"])
    assert zoo["IntBox"](3).get() == 3
    assert zoo["Box"][int]("s").get() == "s"
    place = zoo["Place"]("p")
    assert place == ("p", 7)
    assert place._replace(number=8).text() == "p 8"


def instances(zoo: dict[str, Any]) -> dict[str, Any]:
    """Make some of their instances."""
    return {
        "dogs": [zoo["Dog"]("rex"), zoo["Dog"]("max")],
        "point": zoo["Point"](1, tags=["t"]),
        "fixed": zoo["Fixed"](1),
        "color": zoo["Color"].RED,
        "access": zoo["Access"](3),
        "place": zoo["Place"]("p"),
    }


def look_at_instances(view: Any) -> str:
    """Read what `instances` made."""
    first, second = view["dogs"]
    assert first.__class__ is second.__class__
    assert type(first) is type(second)
    assert isinstance(first, icehouse.FrozenObject)
    assert isinstance(first, first.__class__)
    assert first.label_of() == "<rex>wuff"
    assert first == first.__class__("rex")
    assert icehouse.thaw(second).label_of() == "<max>wuff"
    try:
        first.label = "<x>"
    except icehouse.FrozenError:
        pass
    else:
        raise AssertionError
    assert view["point"].norm() == 3
    assert view["point"].tags == ["t"]
    assert dataclasses.asdict(view["point"])["x"] == 1
    assert view["fixed"].b == ()
    assert view["color"] is view["color"].__class__.RED
    assert view["access"] == view["access"].__class__(3)
    assert view["place"].text() == "p 7"
    return "all there"
