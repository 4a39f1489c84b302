"""H25: what is tried to change a frozen class all the same."""

import dataclasses
import enum
import functools
import gc
import inspect
import sys
import typing
from collections.abc import Callable
from typing import Any, Generic, NamedTuple, Protocol, TypeVar, runtime_checkable

import pytest

import icehouse
from icehouse import FrozenError, NotFreezableError, freeze

T = TypeVar("T")


@icehouse.frozen
class Base:
    pass


@icehouse.frozen
class Target(Base):
    """The target."""

    state = [1]  # noqa: RUF012 - mutable, that is the point
    size: int

    def __init__(self, a: int = 1) -> None:
        self.a = a

    def m(self, b: int = 2, *, c: int = 3) -> int:
        return self.a + b + c

    @property
    def p(self) -> int:
        return self.a

    @classmethod
    def cm(cls) -> int:
        return 1

    @staticmethod
    def sm() -> int:
        return 1

    @functools.cached_property
    def cp(self) -> int:
        return self.a


@icehouse.frozen
@dataclasses.dataclass
class Data:
    x: int = 1
    y: list[int] = dataclasses.field(default_factory=list)


def evil(*args: Any, **keywords: Any) -> Any:
    return "evil"


ATTACKS: dict[str, Callable[[], object]] = {
    "set an attribute": lambda: setattr(Target, "new", 1),
    "set a method": lambda: setattr(Target, "m", evil),
    "set a special method": lambda: setattr(Target, "__init__", evil),
    "set __call__": lambda: setattr(Target, "__call__", evil),
    "delete a method": lambda: delattr(Target, "m"),
    "delete state": lambda: delattr(Target, "state"),
    "type.__setattr__": lambda: type.__setattr__(Target, "m", evil),
    "type.__delattr__": lambda: type.__delattr__(Target, "m"),
    "bases": lambda: setattr(Target, "__bases__", (object,)),
    "name": lambda: setattr(Target, "__name__", "Other"),
    "qualname": lambda: setattr(Target, "__qualname__", "Other"),
    "module": lambda: setattr(Target, "__module__", "other"),
    "doc": lambda: setattr(Target, "__doc__", "other"),
    "abstract methods": lambda: setattr(Target, "__abstractmethods__", frozenset({"m"})),
    "class": lambda: setattr(Target, "__class__", type("M", (type,), {})),
    "class of an instance": lambda: setattr(Target(), "__class__", Base),
    "annotations": lambda: setattr(Target, "__annotations__", {}),
    "an annotation": lambda: Target.__annotations__.update(size=str),
    "an annotation by its class": lambda: (
        vars(Target).get("__annotations__") or vars(Target)["__annotations_cache__"]
    ).clear(),
    "a base": lambda: setattr(Base, "m", evil),
    "the namespace": lambda: Target.__dict__.update(m=evil),  # type: ignore[attr-defined]
    "code": lambda: setattr(Target.m, "__code__", evil.__code__),
    "code of __init__": lambda: setattr(Target.__init__, "__code__", evil.__code__),
    "code of a bound method": lambda: setattr(Target().m.__func__, "__code__", evil.__code__),
    "defaults": lambda: setattr(Target.m, "__defaults__", (5,)),
    "keyword defaults": lambda: setattr(Target.m, "__kwdefaults__", {"c": 5}),
    "attributes of a method": lambda: setattr(Target.m, "new", 1),
    "type parameters": lambda: setattr(Target.m, "__annotations__", {}),
    "state": lambda: Target.state.append(2),
    "a property's function": lambda: setattr(Target.p.fget, "__code__", evil.__code__),
    "a property": lambda: setattr(Target.p, "fget", evil),
    "a property again": lambda: Target.__dict__["p"].__init__(evil),
    "a property's doc": lambda: setattr(Target.__dict__["p"], "__doc__", "x"),
    "a class method": lambda: setattr(Target.cm.__func__, "__code__", evil.__code__),
    "a class method again": lambda: Target.__dict__["cm"].__init__(evil),
    "a static method": lambda: setattr(Target.sm, "__code__", evil.__code__),
    "a static method again": lambda: Target.__dict__["sm"].__init__(evil),
    "a static method's attribute": lambda: setattr(Target.__dict__["sm"], "__wrapped__", evil),
    "a cached property": lambda: setattr(Target.cp, "func", evil),
    "a cached property again": lambda: Target.cp.__init__(evil, "cp", ""),  # type: ignore[misc]
    "a field": lambda: setattr(dataclasses.fields(Data)[0], "default", 5),
    "a field's factory": lambda: setattr(dataclasses.fields(Data)[1], "default_factory", evil),
    "delete of a field": lambda: delattr(dataclasses.fields(Data)[0], "default"),
    "fields of the namespace": lambda: Data.__dict__["__dataclass_fields__"].clear(),
    "dataclass parameters": lambda: setattr(vars(Data)["__dataclass_params__"], "frozen", 1),
    "dataclass __init__": lambda: setattr(Data.__init__, "__code__", evil.__code__),
    "dataclass __repr__": lambda: setattr(Data.__repr__, "__code__", evil.__code__),
    "dataclass __eq__": lambda: setattr(Data.__eq__, "__defaults__", (1,)),
    "dataclass again": lambda: dataclasses.dataclass(order=True)(Data),
}


def picture(cls: type) -> Any:
    """All that can be seen of a class."""
    return (
        dict(cls.__dict__),
        cls.__bases__,
        cls.__name__,
        cls.__module__,
        type(cls),
        {
            name: (value.__code__, value.__defaults__, value.__kwdefaults__, dict(value.__dict__))
            for name, value in cls.__dict__.items()
            if type(value) is icehouse.FrozenFunction
        },
    )


@pytest.mark.parametrize("name", ATTACKS)
def test_h25_attacks_are_refused_and_change_nothing(name: str) -> None:
    before = [picture(cls) for cls in (Base, Target, Data)]
    with pytest.raises((TypeError, AttributeError)):
        ATTACKS[name]()
    assert [picture(cls) for cls in (Base, Target, Data)] == before
    assert Target().m() == 6
    assert Target().p == Target().cp == Target.cm() == Target.sm() == 1
    assert Data() == Data(1, [])
    assert repr(Data()) == "Data(x=1, y=[])"


def test_h25_copies_that_are_handed_out_change_nothing() -> None:
    Data.__dataclass_fields__.clear()
    Data.__dataclass_fields__["x"] = None  # type: ignore[assignment]
    assert [field.name for field in dataclasses.fields(Data)] == ["x", "y"]
    dict.clear(Target.__annotations__)
    assert list(Target.__annotations__) == ["size"]
    Target.m.__annotations__.clear()
    assert "b" in Target.m.__annotations__
    cells = Target.m.__closure__ or ()
    for cell in cells:
        cell.cell_contents = None
    Target.sm.__globals__["ANSWER"] = 2
    assert "ANSWER" not in Target.sm.__globals__
    assert Target().m() == 6


def test_h25_cells_of_methods_are_out_of_reach() -> None:
    def made() -> Any:
        step = 1

        def change(value: int) -> None:
            nonlocal step
            step = value

        class Counter:
            def next(self, n: int) -> int:
                return n + step

        return Counter, change

    cls, change = made()
    freeze(cls)
    change(100)
    assert cls().next(1) == 2
    cls.next.__closure__[0].cell_contents = 100
    assert cls().next(1) == 2


def test_h25_a_mutable_base_is_refused() -> None:
    class Mutable:
        pass

    class Child(Mutable):
        pass

    with pytest.raises(NotFreezableError, match=r"base .*Mutable"):
        freeze(Child)
    assert not icehouse.is_frozen(Child)


def test_h25_the_gc_door_is_open_and_documented(root: Any) -> None:
    class Victim:
        def m(self) -> int:
            return 1

    freeze(Victim)
    (namespace,) = (each for each in gc.get_referents(Victim.__dict__) if type(each) is dict)
    assert "m" in namespace
    text = (root / "docs" / "classes.md").read_text(encoding="utf-8")
    assert "gc.get_referents" in text


# --- caches that must stay writable --------------------------------------------------------------


def test_h25_flags_write_their_combinations() -> None:
    @icehouse.frozen
    class Access(enum.Flag):
        READ = 1
        WRITE = 2
        RUN = 4

    assert len(Access._value2member_map_) == 3
    assert (Access.READ | Access.RUN) is Access(5)
    assert 5 in Access._value2member_map_
    with pytest.raises(FrozenError):
        Access._member_map_["X"] = Access.READ
    with pytest.raises(FrozenError):
        Access._member_names_.append("X")
    with pytest.raises((TypeError, AttributeError)):
        Access.READ = 3  # type: ignore[misc,assignment]


def test_h25_enumerations_fix_what_they_keep() -> None:
    @icehouse.frozen
    class Color(enum.Enum):
        RED = 1
        BLUE = [2]  # noqa: RUF012 - values need not be hashable

    assert Color([2]) is Color.BLUE
    for change in (
        lambda: Color._value2member_map_.update({3: Color.RED}),
        lambda: Color._member_map_.pop("RED"),
        lambda: setattr(Color, "GREEN", 3),
        lambda: delattr(Color, "RED"),
    ):
        with pytest.raises((TypeError, AttributeError)):
            change()
    assert list(Color) == [Color.RED, Color.BLUE]


def test_h25_abc_and_protocol_caches_work() -> None:
    @icehouse.frozen
    @runtime_checkable
    class Closes(Protocol):
        def close(self) -> None: ...

    class Door:
        def close(self) -> None: ...

    for _ in range(3):
        assert isinstance(Door(), Closes)
        assert issubclass(Door, Closes)
        assert not isinstance(3, Closes)
    assert isinstance(Target, typing.Hashable)

    @runtime_checkable
    class Opens(Closes, Protocol):
        def open(self) -> None: ...

    class Gate(Door):
        def open(self) -> None: ...

    assert isinstance(Gate(), Opens)
    assert not isinstance(Door(), Opens)


def test_h25_generic_caches_work() -> None:
    @icehouse.frozen
    class Box(Generic[T]):
        def __init__(self, content: T) -> None:
            self.content = content

    assert Box[int] is Box[int]
    assert Box[int](3).__orig_class__ == Box[int]  # type: ignore[attr-defined]


def test_h25_cached_properties_fill_instances() -> None:
    target = Target(4)
    assert target.cp == 4
    assert target.__dict__["cp"] == 4
    target.a = 5
    assert target.cp == 4


def test_h25_inspection_works_as_on_other_classes() -> None:
    assert str(inspect.signature(Target)) == "(a: int = 1) -> None"
    assert str(inspect.signature(Target.m)) == "(self, b: int = 2, *, c: int = 3) -> int"
    assert inspect.get_annotations(Target) == {"size": int}
    assert typing.get_type_hints(Target) == {"size": int}
    assert inspect.getdoc(Target) == "The target."
    assert inspect.isfunction(Target.m) or callable(Target.m)
    assert isinstance(Target.__dict__["p"], property)
    assert isinstance(Target.__dict__["cm"], classmethod)
    assert isinstance(Target.__dict__["sm"], staticmethod)
    kinds = {each.name: each.kind for each in inspect.classify_class_attrs(Target)}
    assert (kinds["p"], kinds["cm"], kinds["sm"]) == ("property", "class method", "static method")
    assert "m" in dir(Target)


# --- the order of decorators ---------------------------------------------------------------------


def test_h25_frozen_below_dataclass_names_the_right_order() -> None:
    with pytest.raises(NotFreezableError, match=r"@dataclasses.dataclass stands above") as error:

        @dataclasses.dataclass
        @icehouse.frozen
        class Wrong:
            x: int

    assert "put the one that freezes above @dataclasses.dataclass" in str(error.value)
    with pytest.raises(NotFreezableError, match="dataclass stands above"):

        @dataclasses.dataclass(order=True, slots=True)
        @icehouse.frozen("x")
        class Wrong2:
            x: int

    with pytest.raises(NotFreezableError, match="total_ordering stands above"):

        @functools.total_ordering
        @icehouse.frozen
        class Wrong3:
            def __lt__(self, other: object) -> bool:
                return True


def test_h25_other_orders_are_fine() -> None:
    @icehouse.frozen
    @dataclasses.dataclass
    class Right:
        x: int

    assert Right(1).x == 1

    @typing.final
    @icehouse.frozen
    class Final:
        pass

    assert icehouse.is_frozen(Final)
    assert dataclasses.dataclass(type("Plain", (), {"__annotations__": {}}))()


def test_h25_dataclass_on_a_frozen_class_is_refused_by_python() -> None:
    @icehouse.frozen
    class Plain:
        pass

    with pytest.raises(TypeError, match="immutable type"):
        dataclasses.dataclass(Plain)


# --- packages ------------------------------------------------------------------------------------


def test_pydantic_models() -> None:
    pydantic = pytest.importorskip("pydantic")

    class Model(pydantic.BaseModel):  # type: ignore[misc,name-defined]
        a: int = 1
        b: list[int] = []  # noqa: RUF012 - a field

        @pydantic.field_validator("a")  # type: ignore[untyped-decorator]
        @classmethod
        def positive(cls, value: int) -> int:
            if value < 0:
                raise ValueError("negative")
            return value

        @property
        def double(self) -> int:
            return self.a * 2

    freeze(Model)
    model = Model(a=2)
    assert model.double == 4
    model.a = 3
    assert model.model_dump() == {"a": 3, "b": []}
    assert Model.model_validate_json('{"a": 5}').a == 5
    with pytest.raises(pydantic.ValidationError):
        Model(a=-1)
    with pytest.raises(TypeError):
        Model.double = 1  # type: ignore[method-assign,assignment]

    class Child(Model):
        c: str = "c"

    assert Child(a=1).c == "c"


def test_h25_incomplete_pydantic_models_are_refused() -> None:
    pydantic = pytest.importorskip("pydantic")

    class Model(pydantic.BaseModel):  # type: ignore[misc,name-defined]
        other: "NotYetThere"  # type: ignore[name-defined] # noqa: F821 - that is the point

    with pytest.raises(NotFreezableError, match=r"not complete.*model_rebuild\(\)"):
        freeze(Model)


def test_msgspec_structs() -> None:
    msgspec = pytest.importorskip("msgspec")

    class Struct(msgspec.Struct):  # type: ignore[misc,name-defined]
        a: int
        b: list[int] = []  # noqa: RUF012 - a field

        def total(self) -> int:
            return self.a + sum(self.b)

    freeze(Struct)
    made = Struct(1, [2])
    assert made.total() == 3
    made.a = 2
    assert msgspec.json.encode(made) == b'{"a":2,"b":[2]}'
    assert msgspec.json.decode(b'{"a":1}', type=Struct) == Struct(1, [])
    with pytest.raises(TypeError):
        Struct.total = None  # type: ignore[method-assign,assignment]


def test_attrs_classes() -> None:
    attrs = pytest.importorskip("attrs")

    @icehouse.frozen
    @attrs.define
    class Slots:
        a: int = attrs.field()
        b: list[int] = attrs.field(factory=list)

        @a.validator  # type: ignore[attr-defined,untyped-decorator]
        def _positive(self, attribute: Any, value: int) -> None:
            if value < 0:
                raise ValueError("negative")

    assert repr(Slots(1)).endswith("Slots(a=1, b=[])")
    assert Slots(1) == Slots(1)
    assert attrs.evolve(Slots(1), a=2).a == 2
    assert attrs.asdict(Slots(1)) == {"a": 1, "b": []}
    with pytest.raises(ValueError, match="negative"):
        Slots(-1)

    @icehouse.frozen
    @attrs.define(slots=False)
    class Plain:
        a: int = 3

    assert Plain().a == 3


@pytest.mark.parametrize("name", ["msgspec", "orjson"])
def test_encoders_in_c_take_instances_of_frozen_dataclasses(name: str) -> None:
    package = pytest.importorskip(name)
    encode = package.dumps if name == "orjson" else package.json.encode
    assert encode(Data(1, [2])) == b'{"x":1,"y":[2]}'

    @icehouse.frozen
    @dataclasses.dataclass(slots=True)
    class Slots:
        x: int

    for _ in range(100):
        assert encode(Slots(1)) == b'{"x":1}'
    gc.collect()
    assert sys.getrefcount(Slots.__dataclass_fields__) >= 2  # type: ignore[attr-defined]


class Place(NamedTuple):
    a: int = 1


def test_h25_named_tuples() -> None:
    freeze(Place)
    for change in (
        lambda: Place._field_defaults.clear(),
        lambda: setattr(Place, "a", 1),
        lambda: setattr(Place.__new__, "__defaults__", (5,)),
        lambda: setattr(vars(Place)["_make"].__func__, "__code__", evil.__code__),
    ):
        with pytest.raises((TypeError, AttributeError)):
            change()
    assert Place() == (1,)


def test_properties_and_methods_freeze_by_themselves() -> None:
    made = freeze(property(lambda self: 4))
    assert made.fget(None) == 4
    assert icehouse.is_frozen(made.fget)
    static = freeze(staticmethod(lambda: 5))
    assert static() == 5
    assert icehouse.is_frozen(static.__func__)
    method = freeze(classmethod(lambda cls: cls))
    assert icehouse.is_frozen(method.__func__)
    with pytest.raises(NotFreezableError, match="lock"):
        freeze(staticmethod(lambda: LOCK))


LOCK = __import__("threading").Lock()


def test_h25_a_class_without_annotations_gets_none() -> None:
    @icehouse.frozen
    class Bare:
        pass

    with pytest.raises(TypeError):
        Bare.__annotations__["size"] = int
    assert Bare.__annotations__ == {}
