"""The third item of a CLASS: how definitions are written, passed on and asked for."""

from collections.abc import Iterator
from typing import Any

import pytest

import icehouse
from icehouse.native import _image
from icehouse.store.errors import NotFreezableError
from icehouse.store.freezing import hooks, registry, trust
from tests.unit.native import rules

MODULE = __name__


def make_class(name: str = "Local", **namespace: Any) -> Any:
    """A frozen class that no name leads to."""
    cls = type(
        name, (), {"__module__": MODULE, "__qualname__": f"here.<locals>.{name}", **namespace}
    )
    _image._freeze_class(cls)
    return cls


class World:
    """Definitions of classes, and the classes that are made of them: by a number in them."""

    def __init__(self) -> None:
        self.definitions: dict[type, Any] = {}
        self.made: dict[int, type] = {}
        self.rebuilt: list[tuple[str, str, Any]] = []
        self.asked: list[type] = []

    def payload(self, cls: type) -> Any:
        self.asked.append(cls)
        definition = self.definitions.get(cls)
        name = (trust.module_of(cls), trust.qualname_of(cls))
        return name if definition is None else (*name, definition)

    def rebuild(self, module: str, qualname: str, definition: Any, trust: Any) -> Any:
        assert type(definition) is icehouse.FrozenDict
        assert trust.code
        self.rebuilt.append((module, qualname, definition))
        return self.made[definition["number"]]

    def define(self, cls: type, **definition: Any) -> None:
        number = len(self.made)
        self.made[number] = cls
        self.definitions[cls] = {"number": number, **definition}


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    world = World()
    monkeypatch.setattr(hooks, "class_payload", world.payload)
    monkeypatch.setitem(registry._loaded, ("declarations.rebuild", "rebuild"), world.rebuild)
    return world


def trusting(data: Any, *, own: bool = True, code: bool = True) -> Any:
    return _image._open_buffer(data, False, trust.Trust(own, None, code))  # noqa: FBT003


def foreign(data: Any, *classes: type) -> Any:
    return _image._open_buffer(data, False, trust.trust_of(False, classes, False))  # noqa: FBT003


# --- there and back ------------------------------------------------------------------------------


def test_a_class_with_a_definition_is_the_one_that_it_defines(world: World) -> None:
    cls, other = make_class(), make_class("Other")
    world.define(cls, state=[1, 2])
    world.made[0] = other
    assert icehouse.freeze([cls, cls]) == [other, other]
    assert world.rebuilt[0][:2] == (MODULE, "here.<locals>.Local")
    assert world.rebuilt[0][2]["state"] == [1, 2]
    assert icehouse.thaw(icehouse.freeze([cls, {"x": cls}])) == [other, {"x": other}]


def test_instances_have_the_class_that_is_defined(world: World) -> None:
    cls = make_class()
    world.define(cls)
    instance = cls()
    instance.x = [1, 2]
    view = icehouse.freeze(instance)
    assert isinstance(view, cls)
    assert view.x == [1, 2]
    assert type(icehouse.thaw(view)) is cls
    views = icehouse.freeze([cls(), cls(), cls])
    assert views[2] is cls
    assert isinstance(views[1], cls)


def test_the_definition_leads_back_to_the_class(world: World) -> None:
    cls, other = make_class(), make_class("Other")
    instance = cls()
    world.define(cls, itself=cls, instance=instance, other=other, many=[cls(), cls()])
    world.define(other, first=cls, itself=[other])
    for graph in (cls, [other, cls], [instance], {"a": instance, "b": cls}):
        data = _image._image_bytes([graph])
        _image._validate(data)
        assert trusting(data)[0] is not None
    world.rebuilt.clear()
    assert icehouse.freeze([cls])[0] is cls
    definition = world.rebuilt[0][2]
    assert definition["itself"] is cls
    assert isinstance(definition["instance"], cls)
    assert definition["other"] is other
    assert isinstance(definition["many"][1], cls)


def test_h24_many_classes_that_lead_to_the_next(world: World) -> None:
    last = None
    for number in range(3000):
        cls = make_class(f"C{number}")
        world.define(cls, next=last)
        last = cls
    data = _image._image_bytes([last])
    _image._validate(data)
    assert trusting(data)[0] is last
    instance = last()
    assert isinstance(icehouse.freeze(instance), last)


def test_a_definition_may_be_a_view_and_a_link(world: World) -> None:
    cls = make_class()
    with icehouse.Store() as store:
        definition = store.freeze({"number": 0, "text": ["x" * 100, list(range(5000))]})
        world.made[0] = cls
        world.definitions[cls] = definition
        handle = store.put([cls(), cls])
        got = store.get(handle)
        assert got[1] is cls
        assert isinstance(got[0], cls)
        assert icehouse.same(world.rebuilt[0][2], definition)
        assert store.get(store.put(got))[1] is cls
    assert trusting(_image._image_bytes([cls()]))[0].__class__ is cls


def test_a_class_is_asked_about_once_where_its_name_is_enough(world: World) -> None:
    cls = make_class()
    for _ in range(3):
        view = icehouse.freeze([cls(), cls()])
    assert world.asked == [cls]
    assert icehouse.type_name(view[0]) == f"{MODULE}.here.<locals>.Local"


def test_classes_that_are_not_frozen_are_not_asked_about(world: World) -> None:
    icehouse.freeze([World(), int, World])
    assert world.asked == []


def test_a_class_that_is_frozen_later_is_asked_about(world: World) -> None:
    cls = type("Later", (), {"__module__": MODULE})
    icehouse.freeze(cls())
    assert world.asked == []
    _image._freeze_class(cls)
    world.define(cls)
    assert isinstance(icehouse.freeze([cls()])[0], cls)
    assert world.asked


def test_classes_of_real_instances_have_definitions_too(world: World) -> None:
    class Pair(tuple):
        __slots__ = ()

    class Text(str):
        pass

    class Items(list):
        pass

    for cls, content in ((Pair, (1, 2)), (Text, "text"), (Items, [1, 2])):
        _image._freeze_class(cls)
        world.define(cls)
        [made] = trusting(_image._image_bytes([cls(content)]))
        assert made.__class__ is cls
        assert made == content


# --- refusals ------------------------------------------------------------------------------------


def test_what_the_hook_refuses_has_a_path(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(cls: type) -> Any:
        raise hooks.Refusal("it holds a lock")

    cls = make_class()
    monkeypatch.setattr(hooks, "class_payload", refuse)
    with pytest.raises(NotFreezableError, match=r"root\['a'\].*it holds a lock"):
        icehouse.freeze({"a": cls()})
    with pytest.raises(NotFreezableError, match=r"root\['a'\].*it holds a lock"):
        icehouse.freeze({"a": cls})


@pytest.mark.parametrize(
    "payload", [None, (), ("m",), ("m", 5), ("m", "q", []), ("m", "q", {}, 1), ["m", "q"]]
)
def test_payloads_are_checked(payload: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hooks, "class_payload", lambda cls: payload)
    for frozen in (make_class(), make_class()()):
        with pytest.raises(TypeError, match="which is no payload"):
            icehouse.freeze([frozen])


def test_other_exceptions_of_the_hook_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(cls: type) -> Any:
        raise LookupError(cls)

    monkeypatch.setattr(hooks, "class_payload", fail)
    for frozen in (make_class(), make_class()()):
        with pytest.raises(LookupError):
            icehouse.freeze([frozen])


# --- trust ---------------------------------------------------------------------------------------


def test_h21_a_definition_is_opened_with_trust_in_code_alone(world: World) -> None:
    cls = make_class()
    world.define(cls)
    data = _image._image_bytes([cls, cls()])
    assert trusting(data, own=False)[0] is cls
    world.rebuilt.clear()
    for unbelieved in (_image._open_buffer(data), foreign(data, cls), foreign(data)):
        assert type(unbelieved[0]) is icehouse.Record or unbelieved[0] is cls
        assert icehouse.type_name(unbelieved[1]) == f"{MODULE}.here.<locals>.Local"
        repr(unbelieved)
        icehouse.thaw(unbelieved)
    assert isinstance(foreign(data, cls)[1], cls)
    assert world.rebuilt == []


def test_h21_an_image_that_nobody_believes_does_not_pass_a_definition_on(world: World) -> None:
    """A copy of it in our own store would be believed."""
    cls = make_class()
    world.define(cls)
    data = _image._image_bytes([cls, cls()])
    with pytest.raises(NotFreezableError, match="of another user or from a file"):
        icehouse.freeze([foreign(data)])
    world.rebuilt.clear()
    copied = icehouse.freeze([foreign(data, cls)])
    assert icehouse.type_name(copied[0][1]) == f"{MODULE}.here.<locals>.Local"
    assert type(copied[0][0]) is icehouse.Record
    assert world.rebuilt == []
    believed = icehouse.freeze([trusting(data, own=False)])
    assert believed[0][0] is cls


# --- which store ---------------------------------------------------------------------------------


class Placed:
    """Notes where it is frozen into; opened, it is where that was."""


@pytest.fixture
def placed(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Any]]:
    targets: list[Any] = []

    def payload(obj: Placed) -> Any:
        targets.append(_image._target())
        icehouse.freeze([1])  # another one meanwhile changes nothing
        assert _image._target() == targets[-1]
        return ("there",)

    monkeypatch.setitem(registry._loaded, ("placed", "opened"), lambda payload, trust: trust.store)
    monkeypatch.setitem(registry.OPENERS, 61, ("placed", "opened"))
    with rules.ruling(lambda cls: ("value", 61, payload) if cls is Placed else None):
        yield targets


def test_rules_are_told_the_store_and_readers_too(placed: list[Any]) -> None:
    assert icehouse.freeze([Placed()])[0] is None
    assert _image._open_buffer(_image._image_bytes([Placed()]))[0] is None
    assert placed == [None, None]
    placed.clear()
    with icehouse.Store() as store, icehouse.Store() as other:
        name = f"token:{store.token}"
        handle = store.put([Placed()])
        assert store.freeze([Placed()])[0] == name
        assert placed == [name, name]
        for _ in range(2):
            assert store.get(handle)[0] == name
            assert icehouse.get(handle)[0] == name
            assert store.get(handle, trust=True)[0] == name
            assert store.get(handle, allow_classes=[int])[0] == name
        assert icehouse.thaw(store.get(handle))[0] == name
        moved = other.put([store.get(handle)])
        assert other.get(moved)[0][0] == f"token:{other.token}"
        assert icehouse.Store.attach(name.partition(":")[2]).token == store.token
        view = store.get(handle)
    assert view[0] is None  # a store that is closed can be found by nobody
    assert _image._target() is None


def test_what_fails_leaves_no_target(placed: list[Any]) -> None:
    with icehouse.Store() as store, pytest.raises(NotFreezableError):
        store.put([Placed(), iter([])])
    assert _image._target() is None


def test_a_connected_store_is_named_by_its_socket(placed: list[Any], daemon: Any) -> None:
    with icehouse.connect(daemon.socket) as store:
        name = f"socket:{daemon.socket}"
        assert store.get(store.put([Placed()]))[0] == name
        assert placed == [name]


def test_many_stores_come_and_go(placed: list[Any]) -> None:
    for _ in range(100):
        with icehouse.Store(capacity=1 << 20) as store:
            assert store.get(store.put([Placed()]))[0] == f"token:{store.token}"
