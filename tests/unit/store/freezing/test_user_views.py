"""Instances of plain classes as views: attributes, methods, operators, writes."""

import collections.abc
import copy
import functools
import inspect
import json
import operator
import pickle
import pprint
import threading
import types
import typing
import weakref
from typing import Any

import pytest
import user_classes as uc

import icehouse


@pytest.fixture(autouse=True)
def nothing_ran() -> None:
    uc.RAN.clear()


def test_fields_are_read_as_attributes() -> None:
    view = icehouse.freeze(uc.Plain("ada", age=36, tags=["x"]))
    assert isinstance(view, icehouse.FrozenObject)
    assert isinstance(view, uc.Plain)
    assert view.__class__ is uc.Plain
    assert (view.name, view.age, view.tags) == ("ada", 36, ["x"])
    assert dict(view.__dict__) == {"name": "ada", "age": 36, "tags": ["x"]}
    assert vars(view) == {"name": "ada", "age": 36, "tags": ["x"]}
    assert isinstance(view.tags, icehouse.FrozenList)
    assert {"name", "age", "greet", "shout"} <= set(dir(view))
    with pytest.raises(AttributeError, match=r"Plain.*nothing"):
        _ = view.nothing
    assert not hasattr(view, "nothing")
    assert getattr(view, "nothing", 5) == 5
    assert operator.attrgetter("name")(view) == "ada"


def test_methods_properties_and_class_attributes_work() -> None:
    view = icehouse.freeze(uc.Plain("ada"))
    assert view.greet("bob") == "ada greets bob"
    assert view.shout == "ADA"
    assert view.kind == "plain"
    assert view.double(4) == 8
    assert type(view.make("x")) is uc.Plain
    assert view.greet.__self__ is view
    assert uc.Plain.greet(view) == "ada greets you"


def test_a_cached_property_is_computed_once_for_a_view() -> None:
    view = icehouse.freeze(uc.Plain("ada"))
    assert (view.length, view.length) == (3, 3)
    assert uc.RAN == ["Plain.length"]
    computed = uc.Plain("ada")
    assert computed.length == 3
    uc.RAN.clear()
    assert icehouse.freeze(computed).length == 3
    assert uc.RAN == []


def test_slots_are_fields_the_hidden_ones_too() -> None:
    view = icehouse.freeze(uc.SlottedChild([1], "r", None))
    assert (view.left, view.right, view.more, view.hidden()) == ([1], "r", None, 7)
    assert not hasattr(view, "__dict__")
    unset = uc.Slotted(1, 2)
    del unset.left
    view = icehouse.freeze(unset)
    assert view.right == 2
    assert not hasattr(view, "left")


def test_slots_and_a_dict_together() -> None:
    view = icehouse.freeze(uc.Mixed(1, 2, 3))
    assert (view.left, view.extra, view.hidden()) == (1, 3, 7)
    assert vars(view) == {"extra": 3}


def test_an_instance_without_fields() -> None:
    view = icehouse.freeze(uc.Empty())
    assert isinstance(view, uc.Empty)
    assert vars(view) == {}
    assert view != icehouse.freeze(uc.Empty())


@pytest.mark.parametrize(
    "write",
    [
        lambda view: setattr(view, "name", "x"),
        lambda view: setattr(view, "fresh", 1),
        lambda view: delattr(view, "name"),
        lambda view: setattr(view, "shout", "X"),
        lambda view: setattr(view, "__class__", uc.Empty),
        lambda view: object.__setattr__(view, "name", "x"),
        lambda view: view.__dict__.__setitem__("name", "x"),
        lambda view: view.__dict__.update(name="x"),
        lambda view: view.__init__("other"),
    ],
)
def test_h29_writes_raise_and_change_nothing(write: Any) -> None:
    view = icehouse.freeze(uc.Plain("ada"))
    with pytest.raises((TypeError, AttributeError)):
        write(view)
    assert vars(view) == {"name": "ada"}


def test_h29_the_message_names_the_class_and_the_attribute() -> None:
    view = icehouse.freeze(uc.Plain("ada"))
    with pytest.raises(icehouse.FrozenError, match=r"Plain.*name.*thaw"):
        view.name = "x"
    with pytest.raises(AttributeError):
        view.name = "x"
    with pytest.raises(TypeError):
        del view.name


def test_eq_and_hash_of_the_class() -> None:
    equal, other = uc.Equal((1, "a"), noise=[1]), uc.Equal((1, "b"))
    view = icehouse.freeze(equal)
    assert view == equal
    assert equal == view
    assert view == icehouse.freeze(uc.Equal((1, "a"), noise=[2]))
    assert view != other
    assert hash(view) == hash(equal)
    assert {view: 1}[equal] == 1
    assert {equal: 1}[view] == 1
    assert sorted([icehouse.freeze(other), view])[0] == equal


def test_without_eq_a_view_equals_views_of_the_same_object() -> None:
    plain = uc.Plain("ada")
    first, second = icehouse.freeze([plain, plain])
    assert first == second
    assert hash(first) == hash(second)
    assert first != icehouse.freeze(plain)
    assert first != plain
    assert first in {second}


def test_operators_len_iteration_calls_format() -> None:
    view = icehouse.freeze(uc.Vector(1.0, 2.0))
    other = uc.Vector(3.0, 4.0)
    assert len(view) == 2
    assert view[1] == 2.0
    assert list(view) == [1.0, 2.0]
    assert 2.0 in view
    assert 5.0 not in view
    assert bool(view)
    assert not icehouse.freeze(uc.Vector(0.0))
    assert list(view + other) == [4.0, 6.0]
    assert list(other + view) == [4.0, 6.0]
    assert list(1 + view) == [2.0, 3.0]
    assert view @ other == 11.0
    assert list(-view) == [-1.0, -2.0]
    assert float(view) == 3.0
    assert operator.index(view) == 2
    assert list(view(2)) == [2.0, 4.0]
    assert f"{view:.1f}" == "1.0|2.0"
    assert repr(view) == "Vector(1.0, 2.0)"
    assert str(view) == "<2>"
    with view as entered:
        assert entered is view
    with pytest.raises(IndexError):
        view[2]
    with pytest.raises(TypeError):
        view - other
    with pytest.raises(TypeError):
        assert view < other


def test_what_a_class_does_not_define_its_view_does_not_do() -> None:
    view = icehouse.freeze(uc.Plain("ada"))
    for broken in (len, iter, next, int, operator.index, operator.neg, list):
        with pytest.raises(TypeError):
            broken(view)  # type: ignore[operator]
    assert not callable(view)
    assert not isinstance(view, collections.abc.Iterable)
    assert not isinstance(view, collections.abc.Sized)
    assert bool(view)


def test_isinstance_of_abstract_classes_goes_by_the_class() -> None:
    view = icehouse.freeze(uc.Vector(1.0))
    assert isinstance(view, collections.abc.Iterable)
    assert isinstance(view, collections.abc.Sized)
    assert callable(view)
    square = icehouse.freeze(uc.Square(2.0))
    assert isinstance(square, uc.Shape)
    assert square.area() == 4.0

    @typing.runtime_checkable
    class HasArea(typing.Protocol):
        def area(self) -> float: ...

    assert isinstance(square, HasArea)


def test_getattr_of_the_class_answers_for_what_is_not_there() -> None:
    view = icehouse.freeze(uc.Dynamic(color="red", parts=[1]))
    assert view.color == "red"
    assert view.parts == [1]
    with pytest.raises(AttributeError, match="no shape here"):
        _ = view.shape


def test_descriptors_work() -> None:
    view = icehouse.freeze(uc.Described(5))
    assert view.size == 5
    with pytest.raises(icehouse.FrozenError):
        view.size = 6
    assert view.size == 5


class Overriding:
    def __init__(self) -> None:
        self.a = 1

    def __getattribute__(self, name: str) -> Any:
        if name == "b":
            return "computed"
        return object.__getattribute__(self, name)


def test_getattribute_of_the_class_is_honoured() -> None:
    view = icehouse.freeze(Overriding())
    assert (view.a, view.b) == (1, "computed")


def test_super_and_class_cells_work() -> None:
    class_of = uc.SlottedChild

    class Base:
        def name(self) -> str:
            return "base"

    assert icehouse.freeze(class_of(1, 2, 3)).hidden() == 7
    view = icehouse.freeze(Deep("x"))
    assert view.name() == "deep of base of x"
    del Base


class Shallow:
    def __init__(self, of: str) -> None:
        self.of = of

    def name(self) -> str:
        return f"base of {self.of}"


class Deep(Shallow):
    def name(self) -> str:
        return f"deep of {super().name()}"


def test_generics() -> None:
    view = icehouse.freeze(uc.Box[int](3))
    assert view.content == 3
    assert isinstance(view, uc.Box)
    assert view.__orig_class__ == uc.Box[int]
    assert icehouse.thaw(view).__orig_class__ == uc.Box[int]


def test_nested_classes_and_shared_children() -> None:
    inner = uc.Outer.Inner([1])
    view = icehouse.freeze({"a": inner, "b": [inner, uc.Outer.Inner(inner)]})
    assert isinstance(view["a"], uc.Outer.Inner)
    assert icehouse.same(view["a"], view["b"][0])
    assert icehouse.same(view["b"][1].value, view["a"])
    thawed = icehouse.thaw(view)
    assert thawed["a"] is thawed["b"][0]
    assert thawed["b"][1].value is thawed["a"]


def test_cycles() -> None:
    root = uc.Node("root")
    leaf = root.add(uc.Node("child")).add(uc.Node("leaf"))
    view = icehouse.freeze(root)
    assert icehouse.same(view.children[0].children[0].parent.parent, view)
    thawed = icehouse.thaw(view)
    assert thawed.children[0].children[0].parent.parent is thawed
    assert icehouse.freeze(leaf).parent.parent.name == "root"


def test_thaw_makes_an_instance_that_can_be_changed() -> None:
    view = icehouse.freeze(uc.Plain("ada", tags=["x"]))
    thawed = icehouse.thaw(view)
    assert type(thawed) is uc.Plain
    thawed.name = "bob"
    thawed.tags.append("y")
    assert vars(thawed) == {"name": "bob", "tags": ["x", "y"]}
    assert view.tags == ["x"]
    child = icehouse.thaw(icehouse.freeze(uc.SlottedChild([1], 2, 3)))
    assert type(child) is uc.SlottedChild
    assert (child.left, child.hidden()) == ([1], 7)


def test_what_can_not_be_frozen_is_named_with_its_path() -> None:
    with pytest.raises(icehouse.NotFreezableError, match=r"\.parts\['lock'\].*lock"):
        icehouse.freeze(uc.Locked())
    with pytest.raises(icehouse.NotFreezableError, match=r"\[1\]\.left"):
        icehouse.freeze([1, uc.Slotted(threading.Lock(), 1)])
    with pytest.raises(icehouse.NotFreezableError, match=r"_lock|_cond|lock"):
        icehouse.freeze(threading.Condition())


def test_copies_are_the_view_and_weak_references_work() -> None:
    view = icehouse.freeze(uc.Plain("ada"))
    assert copy.copy(view) is view
    assert copy.deepcopy(view) is view
    assert copy.deepcopy([view])[0] is view
    reference = weakref.ref(view)
    assert reference() is view
    del view
    assert reference() is None


def test_types_say_what_they_are() -> None:
    view = icehouse.freeze(uc.Plain("ada"))
    assert icehouse.type_name(view) == "user_classes.Plain"
    assert issubclass(type(view), icehouse.FrozenObject)
    assert not issubclass(type(view), uc.Plain)
    assert icehouse.is_frozen(view)
    assert type(icehouse.freeze(uc.Plain("bob"))) is type(view)


def test_a_class_that_is_local_or_gone_gives_a_record_of_fields() -> None:
    class Local:
        def __init__(self) -> None:
            self.a = [1]

        def method(self) -> int:
            return 5

    view = icehouse.freeze(Local())
    assert isinstance(view, icehouse.FrozenObject)
    assert view.a == [1]
    assert not hasattr(view, "method")
    assert "Local" in icehouse.type_name(view)
    assert "Local" in repr(view)


def test_libraries_look_at_views() -> None:
    view = icehouse.freeze(uc.Plain("ada", tags=["x"]))
    assert "Plain" in pprint.pformat(view)
    assert inspect.getattr_static(view, "nothing", 5) == 5
    assert inspect.ismethod(view.greet)

    @functools.singledispatch
    def kind(obj: object) -> str:
        return "object"

    @kind.register
    def _(obj: uc.Plain) -> str:
        return "plain"

    assert kind(view) == "plain"
    with pytest.raises(TypeError):
        json.dumps(view)
    assert json.loads(
        json.dumps(
            view,
            default=lambda v: (
                dict(vars(v)) if isinstance(v, uc.Plain) else icehouse.json_default(v)
            ),
        )
    ) == {"name": "ada", "tags": ["x"]}


def test_match_on_class_patterns() -> None:
    match icehouse.freeze(uc.Plain("ada", age=3)):
        case uc.Plain(name=name, age=int(age)):
            assert (name, age) == ("ada", 3)
        case _:
            pytest.fail("no match")


def test_repr_is_the_default_s_or_the_class_s() -> None:
    view = icehouse.freeze(uc.Plain("ada"))
    assert "Plain" in repr(view)
    root = uc.Node("root")
    root.add(uc.Node("leaf"))
    assert len(repr(icehouse.freeze(root))) < 2000


def test_h24_repr_of_a_cyclic_view_ends() -> None:
    team = uc.Team("t")
    team.members.append(team)  # type: ignore[arg-type]
    assert len(repr(icehouse.freeze(team))) < 20_000


def test_simple_namespaces() -> None:
    space = types.SimpleNamespace(a=1, b=[types.SimpleNamespace(c=2)])
    view = icehouse.freeze(space)
    assert isinstance(view, types.SimpleNamespace)
    assert (view.a, view.b[0].c) == (1, 2)
    assert view == space
    assert space == view
    assert view != types.SimpleNamespace(a=1)
    assert repr(view) == repr(space).replace("[namespace(c=2)]", repr(view.b))
    thawed = icehouse.thaw(view)
    assert type(thawed) is types.SimpleNamespace
    assert thawed == space


def test_pickle_is_by_value() -> None:
    view = icehouse.freeze({"p": uc.Plain("ada")})
    again = pickle.loads(pickle.dumps(view))
    assert again["p"].name == "ada"
    assert icehouse.type_name(again["p"]) == "user_classes.Plain"


def test_getnewargs_is_not_asked_and_new_not_called() -> None:
    original = uc.NewArgs([1])
    uc.RAN.clear()
    view = icehouse.freeze(original)
    assert view.value == [1]
    assert icehouse.thaw(view).value == [1]
    assert uc.RAN == []
