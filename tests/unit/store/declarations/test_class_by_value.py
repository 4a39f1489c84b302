"""Frozen classes that go by value: other interpreters and processes make them again, once."""

import multiprocessing
import os
import pickle
import subprocess
import sys
import textwrap
import threading
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

import pytest

import icehouse
from icehouse import interpreters
from icehouse.native import _image
from icehouse.store.declarations import definition, identity
from icehouse.store.freezing import trust as trusting

HERE = str(Path(__file__).parent)
TESTS = str(Path(__file__).parents[3])
sys.path[:0] = [HERE, TESTS]
import class_zoo as zoo  # noqa: E402
from daemons import Daemon  # noqa: E402

del sys.path[:2]

own_gil = pytest.mark.skipif(not interpreters.supported(), reason="no interpreters here")


@pytest.fixture(scope="module")
def made() -> dict[str, Any]:
    return zoo.classes()


@pytest.fixture
def other(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.syspath_prepend(HERE)
    with interpreters.Interpreter() as interpreter:
        yield interpreter


def opened(data: Any, *, own: bool = True, code: bool = True) -> Any:
    return _image._open_buffer(data, False, trusting.Trust(own, None, code))  # noqa: FBT003


@pytest.fixture(autouse=True)
def known_again() -> Iterator[None]:
    known = identity._known
    yield
    identity._known = known


def elsewhere() -> None:
    """Know no class and no function any more, as in another interpreter."""
    identity._known = (WeakValueDictionary(), WeakValueDictionary())


# --- here ----------------------------------------------------------------------------------------


def test_they_are_themselves_where_they_were_frozen(made: dict[str, Any]) -> None:
    assert zoo.look(made) == "all there"
    store = icehouse.Store()
    there = store.get(store.put(made))
    assert all(there[name] is cls for name, cls in made.items())
    assert zoo.look_at_instances(icehouse.freeze(zoo.instances(made))) == "all there"
    view = store.get(store.put(zoo.instances(made)))
    assert zoo.look_at_instances(view) == "all there"
    assert view["dogs"][0].__class__ is made["Dog"]


def test_they_are_made_again_once() -> None:
    made = zoo.classes()
    data = _image._image_bytes([made, zoo.instances(made)])
    elsewhere()
    again = opened(data)
    there = dict(again[0])
    assert all(there[name] is not cls for name, cls in made.items())
    assert zoo.look(there) == "all there"
    assert zoo.look_at_instances(again[1]) == "all there"
    assert again[1]["dogs"][0].__class__ is there["Dog"]
    third = opened(bytes(data))
    assert dict(third[0]) == there


def test_what_was_made_again_can_be_sent_on() -> None:
    made = zoo.classes()
    data = _image._image_bytes(made)
    elsewhere()
    again = dict(opened(data))
    copied = _image._image_bytes(again)
    elsewhere()
    third = dict(opened(copied))
    assert third["Dog"] is not again["Dog"]
    assert zoo.look(third) == "all there"


def test_no_code_of_a_class_runs_when_it_is_made_again() -> None:
    ran = icehouse.InterpreterLocal(list)

    class Meta(type):
        def __new__(cls, *args: Any, **rest: Any) -> Any:
            ran.get().append("Meta.__new__")
            return super().__new__(cls, *args, **rest)

        def __init__(cls, *args: Any, **rest: Any) -> None:
            ran.get().append("Meta.__init__")

        def __setattr__(cls, name: str, value: object) -> None:
            ran.get().append("Meta.__setattr__")

        def __call__(cls) -> Any:
            ran.get().append("Meta.__call__")
            return super().__call__()

    class Base(metaclass=Meta):
        def __init_subclass__(cls) -> None:
            ran.get().append("Base.__init_subclass__")

        def __del__(self) -> None:
            ran.get().append("Base.__del__")

    class Child(Base):
        pass

    icehouse.freeze(Meta, Base, Child)
    data = _image._image_bytes([Child])
    elsewhere()
    ran.get().clear()
    again = opened(data)[0]
    assert again is not Child
    assert again.__base__.__name__ == "Base"
    assert type(again).__name__ == "Meta"
    assert ran.get() == []

    class Grandchild(again):  # type: ignore[misc,valid-type]
        pass

    # Code of a class runs when it is used, as it always does.
    assert "Base.__init_subclass__" in ran.get()
    del Grandchild


def test_classes_and_functions_travel_together() -> None:
    class Number:
        def __init__(self, value: int) -> None:
            self.value = value

        def double(self) -> Any:
            return doubled(self)

    def doubled(number: Any) -> Any:
        return Number(number.value * 2)

    frozen = icehouse.freeze(doubled, Number)
    data = _image._image_bytes({"f": frozen, "C": Number})
    elsewhere()
    view = opened(data)
    cls, function = view["C"], view["f"]
    assert cls is not Number
    assert type(function(cls(4))) is cls
    assert cls(4).double().value == 8


def test_class_state_that_leads_back_to_the_class() -> None:
    class Node:
        pass

    class Other:
        node = Node

    Node.other = Other  # type: ignore[attr-defined]
    Node.itself = Node  # type: ignore[attr-defined]
    icehouse.freeze(Node, Other)
    data = _image._image_bytes([Node])
    elsewhere()
    node = opened(data)[0]
    assert node.other.node is node.itself is node
    assert node is not Node


def test_threads_make_one_class() -> None:
    made = zoo.classes()
    data = _image._image_bytes(made)
    elsewhere()
    found: list[Any] = []
    ready = threading.Barrier(4)

    def work() -> None:
        view = opened(data)
        ready.wait()
        found.append(dict(view))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4
    assert all(there == found[0] for there in found)


def test_exceptions_and_classes_with_thaw_travel_with_their_class() -> None:
    class Failed(ValueError):
        def text(self) -> str:
            return f"failed: {self.args[0]}"

    class Pair:
        def __init__(self, a: int) -> None:
            self.a = a

        def __freeze__(self) -> Any:
            return [self.a]

        @classmethod
        def __thaw__(cls, state: Any) -> Any:
            return cls(state[0])

    icehouse.freeze(Failed, Pair)
    data = _image._image_bytes([Failed("x"), Pair(3)])
    elsewhere()
    failed, pair = opened(data)
    assert failed.text() == "failed: x"
    assert isinstance(failed, ValueError)
    assert pair.a == 3
    assert type(pair) is not Pair


# --- by name or by value -------------------------------------------------------------------------


def test_a_class_that_can_be_imported_is_found_by_its_name() -> None:
    data = _image._image_bytes([zoo.Top, zoo.Top(1)])
    elsewhere()
    view = opened(data)
    assert view[0] is zoo.Top
    assert view[1].__class__ is zoo.Top


def test_instances_of_importable_classes_are_no_larger_when_the_class_is_frozen() -> None:
    assert len(_image._image_bytes([zoo.Top(1)])) < 400
    assert len(_image._image_bytes([zoo.Top])) > 400


@pytest.fixture
def module() -> Iterator[types.ModuleType]:
    name = "icehouse_test_module_that_others_lack"
    made = types.ModuleType(name)
    sys.modules[name] = made
    source = """
    class Point:
        def __init__(self, x):
            self.x = x

        def moved(self, by):
            return Point(self.x + by)
    """
    exec(textwrap.dedent(source), vars(made))
    yield made
    sys.modules.pop(name, None)


def test_a_class_of_a_module_that_the_reader_lacks_is_made_again(module: Any) -> None:
    icehouse.freeze(module.Point)
    data = _image._image_bytes([module.Point])
    elsewhere()
    assert opened(data)[0] is module.Point
    del sys.modules[module.__name__]
    again = opened(data)[0]
    assert again is not module.Point
    assert again(1).moved(2).x == 3


def test_in_the_main_module_a_class_counts_that_says_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    source = "class C:\n    def f(self):\n        return {}\n"
    mains = []
    for answer in (1, 1, 2):
        main = types.ModuleType("__main__")
        exec(source.format(answer), vars(main))
        mains.append(main)
    monkeypatch.setitem(sys.modules, "__main__", mains[0])
    cls = icehouse.freeze(mains[0].C)
    data = _image._image_bytes([cls, cls()])
    elsewhere()
    monkeypatch.setitem(sys.modules, "__main__", mains[1])
    view = opened(data)
    assert view[0] is mains[1].C
    assert view[1].f() == 1
    monkeypatch.setitem(sys.modules, "__main__", mains[2])
    view = opened(bytes(data))
    assert view[0] not in (cls, mains[1].C, mains[2].C)
    assert view[0]().f() == view[1].f() == 1


# --- in other interpreters and processes ---------------------------------------------------------


@own_gil
def test_in_an_interpreter_with_its_own_gil(other: Any, made: dict[str, Any]) -> None:
    store = icehouse.Store()
    classes_ = store.get(store.put(made))
    assert other.call(zoo.look, classes_) == "all there"
    instances = store.get(store.put(zoo.instances(made)))
    assert other.call(zoo.look_at_instances, instances) == "all there"
    assert other.call(zoo.look_at_instances, instances) == "all there"


@own_gil
def test_instances_made_there_are_of_the_class_here(other: Any, made: dict[str, Any]) -> None:
    store = icehouse.Store()
    view = other.call(there_and_back, store.get(store.put(made)))
    assert view["dogs"][0].__class__ is made["Dog"]
    assert zoo.look_at_instances(view) == "all there"


def there_and_back(classes_: Any) -> Any:
    import class_zoo

    return icehouse.freeze(class_zoo.instances(dict(classes_)))


def look_at_both(view: Any) -> str:
    assert zoo.look(view["classes"]) == "all there"
    assert view["instances"]["dogs"][0].__class__ is view["classes"]["Dog"]
    return zoo.look_at_instances(view["instances"])


@pytest.mark.slow
@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_in_another_process(method: str, made: dict[str, Any]) -> None:
    store = icehouse.Store()
    view = store.get(store.put({"classes": made, "instances": zoo.instances(made)}))
    with multiprocessing.get_context(method).Pool(1) as pool:
        assert pool.apply(look_at_both, (view,)) == "all there"


@pytest.mark.slow
def test_through_the_daemon(tmp_path: Path) -> None:
    script = tmp_path / "makes.py"
    script.write_text(
        textwrap.dedent(f"""
        import sys
        sys.path.insert(0, {HERE!r})
        import icehouse, class_zoo as zoo

        @icehouse.frozen
        class Main:
            def __init__(self, a):
                self.a = a

            def twice(self):
                return Main(self.a * 2)

        made = zoo.classes()
        store = icehouse.connect(sys.argv[1])
        view = {{"classes": made, "instances": zoo.instances(made), "main": [Main, Main(2)]}}
        store.put(view, name="zoo", pin=True)
        store.close()
        """)
    )
    with Daemon(tmp_path / "d", capacity="64MiB") as daemon:
        subprocess.run([sys.executable, str(script), daemon.socket], check=True, timeout=60)
        store = icehouse.connect(daemon.socket)
        view = store.get("zoo")
        assert look_at_both(view) == "all there"
        main, instance = view["main"]
        assert instance.__class__ is main
        assert instance.twice().a == main(2).twice().a == 4
        assert main.__module__ == "__main__"
        store.close()


# --- versions, trust and damage ------------------------------------------------------------------


def test_another_version_of_python_says_so() -> None:
    class Local:
        def __init__(self) -> None:
            self.a = 1

    icehouse.freeze(Local)
    told = {**(definition.definition_of(Local) or {}), "magic": b"older", "version": "3.9"}
    told["id"] = b"n" * 16
    module, qualname = Local.__module__, Local.__qualname__
    cls = icehouse.freeze({"definition": told})["definition"]
    with pytest.raises(ImportError, match=r"frozen by Python 3\.9 .*Freeze it with Python"):
        trusting.resolve_defined(module, qualname, trusting.OWN, cls)
    assert trusting.resolve_class(module, qualname, trusting.OWN, cls) is None


def test_h20_h21_the_classes_of_strangers_are_records() -> None:
    made = zoo.classes()
    data = _image._image_bytes([made["Dog"], made["Dog"]("rex"), made["Color"].RED])
    elsewhere()
    cls, dog, red = opened(data, own=False, code=False)
    assert type(cls) is type(red) is icehouse.Record
    assert icehouse.type_name(dog).endswith("Dog")
    assert dog.name == "rex"
    assert not hasattr(dog, "label_of")
    assert red["name"] == "RED"
    trusted = opened(data, own=False, code=True)
    assert trusted[1].label_of() == "<rex>wuff"
    # What a stranger says of ids is not believed of ours.
    ours = opened(data)
    assert ours[0] is not trusted[0]
    assert opened(bytes(data), own=False, code=True)[0] is trusted[0]


BROKEN: list[dict[str, Any]] = [
    {"id": b"short"},
    {"id": 5},
    {"name": 5},
    {"module": None},
    {"bases": 5},
    {"bases": [3]},
    {"bases": [("value", 3)]},
    {"metaclass": 3},
    {"metaclass": ("value", int)},
    {"space": None},
    {"space": {"a": 5}},
    {"space": {"a": ()}},
    {"space": {"a": ("nothing", 1)}},
    {"space": {"a": ("property", 1)}},
    {"space": {"a": ("property", 1, 2, 3, 4, 5)}},
    {"space": {"a": (["property"],)}},
    {"space": {"a": ("fields", 3)}},
    {"space": {"a": ("fields", {"x": ("x", int, "nothing", {})})}},
    {"space": {"a": ("params", {"q": 1})}},
    {"space": {"a": ("tuplegetter", "x", 1)}},
    {"space": {"a": ("singledispatchmethod", ("value", 1), [(1, 2)])}},
    {"space": {"__slots__": ("value", 5)}},
    {"space": {5: ("value", 5)}},
    {"members": 5},
    {"members": [("A", ("value", 1), {})], "enum": {}},
    {"members": [("A", ("value", 1), {})], "enum": 5},
]


@pytest.mark.parametrize("change", BROKEN, ids=repr)
def test_h20_damaged_definitions_are_corrupt_images(change: dict[str, Any]) -> None:
    class Local:
        a = 1

    icehouse.freeze(Local)
    told = dict(definition.definition_of(Local) or {}) | {"id": os.urandom(16)} | change
    payload = ("somewhere", "Local", told)
    with pytest.MonkeyPatch.context() as patch:
        from icehouse.store.freezing import hooks

        patch.setattr(hooks, "class_payload", lambda cls: payload)
        data = _image._image_bytes([Local])
    with pytest.raises(icehouse.CorruptImage):
        opened(data)[0]
    # Nothing half-made is found later.
    assert told["id"] not in identity._known[True]


def test_a_definition_that_lacks_a_key_is_damage() -> None:
    class Local:
        pass

    icehouse.freeze(Local)
    whole = dict(definition.definition_of(Local) or {}) | {"id": os.urandom(16)}
    from icehouse.store.freezing import hooks

    for key in set(whole) - {"print"}:  # which is asked for in the main module alone
        told = {name: value for name, value in whole.items() if name != key}
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(hooks, "class_payload", lambda cls, told=told: ("no", "Local", told))
            data = _image._image_bytes([Local])
        with pytest.raises(icehouse.CorruptImage):
            opened(data)[0]


def test_classes_that_can_not_be_made_again_say_so() -> None:
    msgspec = pytest.importorskip("msgspec")

    class Struct(msgspec.Struct):  # type: ignore[misc,name-defined]
        a: int

    icehouse.freeze(Struct)
    with pytest.raises(icehouse.NotFreezableError, match=r"msgspec Struct.*module"):
        icehouse.freeze([Struct])


def test_views_of_instances_pickle_with_their_class() -> None:
    made = zoo.classes()
    view = icehouse.freeze(zoo.instances(made))
    data = pickle.dumps(view)
    elsewhere()
    again = pickle.loads(data)
    assert zoo.look_at_instances(again) == "all there"
    assert again["dogs"][0].__class__ is not made["Dog"]
