"""register_freezable and the `__freeze__` protocol: whose word counts, and when."""

import abc
import collections.abc
import datetime as dt
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from pairs import opened, taken

import icehouse
from icehouse import Record
from icehouse.store.freezing import hooks, registrations, registry
from icehouse.store.freezing.trust import NONE, OWN, trust_of


class Point:
    def __init__(self, x: int, y: int) -> None:
        self.x, self.y = x, y


class Point3(Point):
    pass


class Shape(abc.ABC):  # noqa: B024 - others are registered as its subclasses
    pass


class Round(Shape):
    pass


class Circle:
    radius = 2


class Temperature:
    """The protocol, both ways."""

    def __init__(self, kelvin: float) -> None:
        self.kelvin = kelvin

    def __freeze__(self) -> dict[str, float]:
        return {"kelvin": self.kelvin}

    @classmethod
    def __thaw__(cls, frozen: Any) -> "Temperature":
        return cls(frozen["kelvin"])


class Warm(Temperature):
    pass


class Flat:
    """One way: it comes back as what it froze as."""

    def __freeze__(self) -> list[int]:
        return [1, 2]


class Plain(Flat):
    __freeze__ = None  # type: ignore[assignment]


Register = Callable[..., None]


@pytest.fixture
def register() -> Iterator[Register]:
    done: list[type] = []

    def call(cls: type, *args: Any, **kwargs: Any) -> None:
        icehouse.register_freezable(cls, *args, **kwargs)
        done.append(cls)

    yield call
    for cls in done:
        registrations.forget(cls)


def to_pair(point: Point) -> tuple[int, int]:
    return point.x, point.y


def from_pair(pair: Any) -> Point:
    return Point(*pair)


def test_freeze_and_thaw(register: Register) -> None:
    register(Point, freeze=to_pair, thaw=from_pair)
    back = opened(taken(Point(1, 2)), OWN)
    assert (type(back), back.x, back.y) == (Point, 1, 2)


def test_freeze_alone_is_what_comes_back(register: Register) -> None:
    register(Point, freeze=to_pair)
    assert taken(Point(1, 2)) == (1, 2)


def test_neither_is_by_its_reduction(register: Register) -> None:
    register(Point)
    rule = registry.plain_rule_of(Point)
    assert rule[:2] == ("value", 20)
    back = hooks.make_value(20, rule[2](Point(1, 2)), OWN)
    assert (type(back), vars(back)) == (Point, {"x": 1, "y": 2})


def test_a_registration_counts_from_the_next_object_on(register: Register) -> None:
    before = hooks.generation
    assert registry.plain_rule_of(Point)[0] == "view"
    register(Point, freeze=to_pair)
    assert hooks.generation > before
    assert registry.plain_rule_of(Point)[0] == "as"
    registrations.forget(Point)
    assert hooks.generation > before + 1
    assert registry.plain_rule_of(Point)[0] == "view"


def test_the_nearest_in_the_mro_counts(register: Register) -> None:
    register(Point, freeze=to_pair)
    assert taken(Point3(1, 2)) == (1, 2)
    register(Point3, freeze=lambda point: "three")
    assert taken(Point3(1, 2)) == "three"
    assert taken(Point(1, 2)) == (1, 2)


def test_abstract_classes_count_for_what_is_registered_with_them(register: Register) -> None:
    Shape.register(Circle)
    register(Shape, freeze=lambda shape: "a shape")
    assert taken(Circle()) == "a shape"
    Round.register(Circle)
    register(Round, freeze=lambda shape: "round")
    assert taken(Circle()) == "round"


def test_of_two_unrelated_abstract_classes_none_counts(register: Register) -> None:
    class Odd:
        def __len__(self) -> int:
            return 0

        def __hash__(self) -> int:
            return 0

    register(collections.abc.Sized, freeze=len)
    register(collections.abc.Hashable, freeze=hash)
    assert "ambiguous" in registry.plain_rule_of(Odd)
    assert registry.plain_rule_of(dt.date)[1] == 4


def test_a_registration_comes_before_what_we_know_of_a_type(register: Register) -> None:
    register(dt.date, freeze=dt.date.isoformat)
    assert taken(dt.date(2020, 1, 1)) == "2020-01-01"
    assert registry.plain_rule_of(dt.datetime)[1] == 6


def test_the_protocol() -> None:
    back = opened(taken(Temperature(300.0)), OWN)
    assert (type(back), back.kelvin) == (Temperature, 300.0)
    assert type(opened(taken(Warm(1.0)), OWN)) is Warm
    assert taken(Flat()) == [1, 2]
    assert registry.plain_rule_of(Plain) == ("view", ())


def test_a_registration_of_a_base_yields_to_a_protocol_that_is_nearer(register: Register) -> None:
    class Own(Point):
        def __freeze__(self) -> str:
            return "own"

    register(Point, freeze=to_pair)
    assert taken(Own(1, 2)) == "own"


def test_freezing_as_itself_is_refused(register: Register) -> None:
    register(Point, freeze=lambda point: point)
    with pytest.raises(hooks.Refusal, match="returned the object itself"):
        taken(Point(1, 2))


def test_what_freeze_raises_is_raised(register: Register) -> None:
    def fail(point: Point) -> Any:
        raise KeyError("mine")

    register(Point, freeze=fail)
    with pytest.raises(KeyError, match="mine"):
        taken(Point(1, 2))


def test_h20_thaw_is_called_for_ones_own_images_and_allowed_classes_alone(
    register: Register,
) -> None:
    register(Point, freeze=to_pair, thaw=from_pair)
    for obj, frozen in ((Point(1, 2), (1, 2)), (Temperature(3.0), {"kelvin": 3.0})):
        parts = taken(obj)
        record = opened(parts, NONE)
        assert type(record) is Record
        assert record.frozen == frozen
        assert icehouse.type_name(record) == f"{__name__}.{type(obj).__name__}"
        assert type(
            opened(parts, trust_of(own=False, allow_classes=[type(obj)], code=False))
        ) is type(obj)


def test_where_nobody_registered_it_a_record_comes_back(register: Register) -> None:
    register(Point, freeze=to_pair, thaw=from_pair)
    parts = taken(Point(1, 2))
    registrations.forget(Point)
    assert opened(parts, OWN) == Record(f"{__name__}.Point", ("frozen",), ((1, 2),))


def test_as_a_decorator() -> None:
    @icehouse.register_freezable
    class Bare:
        pass

    @icehouse.register_freezable(freeze=lambda obj: "full")
    class Full:
        pass

    try:
        assert isinstance(Bare, type)
        assert registry.plain_rule_of(Bare)[:2] == ("value", 20)
        assert taken(Full()) == "full"
    finally:
        registrations.forget(Bare)
        registrations.forget(Full)


@pytest.mark.parametrize("cls", [dict, list, str, int, object, type, type(None)])
def test_what_freezes_as_it_is_can_not_be_registered(cls: type) -> None:
    with pytest.raises(ValueError, match="can't be registered"):
        icehouse.register_freezable(cls, freeze=str)


def test_wrong_arguments() -> None:
    with pytest.raises(TypeError, match="takes a class, not 5"):
        icehouse.register_freezable(5)  # type: ignore[type-var]
    with pytest.raises(TypeError, match="needs freeze="):
        icehouse.register_freezable(Point, thaw=from_pair)
    with pytest.raises(TypeError, match="freeze= takes a callable"):
        icehouse.register_freezable(Point, freeze=5)  # type: ignore[call-overload]
