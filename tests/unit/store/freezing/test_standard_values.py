"""Values of the standard library through freeze, put, get and thaw: in every place of a graph."""

import copy
import datetime as dt
import json
import pickle
import subprocess
import sys
import types
from pathlib import Path
from typing import Any

import freezing_samples as samples
import pytest

import icehouse
from icehouse import Record, interpreters

TESTS = Path(__file__).parents[3]


def name(obj: Any) -> str:
    return f"{type(obj).__name__} {obj!r}"[:60]


every_sample = pytest.mark.parametrize("obj", samples.COMPARABLE, ids=name)


def hashes(obj: Any) -> bool:
    try:
        hash(obj)
    except TypeError:
        return False
    return True


@every_sample
def test_as_the_root(obj: Any) -> None:
    view = icehouse.freeze(obj)
    assert type(view) is type(obj)
    assert view == obj
    assert obj == view
    if not isinstance(obj, types.MappingProxyType):
        assert repr(view) == repr(obj)
    if hashes(obj):
        assert hash(view) == hash(obj)


@every_sample
def test_in_containers(obj: Any) -> None:
    original = {"list": [obj, obj], "tuple": (1, (obj,)), "dict": {"x": obj}}
    view = icehouse.freeze(original)
    assert view == original
    assert original == view
    for found in (view["list"][0], view["list"][1], view["tuple"][1][0], view["dict"]["x"]):
        assert type(found) is type(obj)
    assert type(view["tuple"][1]) is tuple
    assert icehouse.thaw(view) == original
    assert icehouse.freeze(view) == original


@every_sample
def test_as_keys_and_in_sets(obj: Any) -> None:
    if not hashes(obj):
        with pytest.raises(TypeError):
            hash(icehouse.freeze(obj))
        return
    view = icehouse.freeze({obj: "plain", (obj, 1): "in a tuple", "text": None})
    assert view[obj] == "plain"
    assert view[obj, 1] == "in a tuple"
    assert view["text"] is None
    assert object() not in view
    assert type(next(iter(view))) is type(obj)
    for kind in (set, frozenset):
        items = icehouse.freeze(kind([obj, 5]))
        assert obj in items
        assert items == {obj, 5}
        assert items | {7} == {obj, 5, 7}
    assert dict.fromkeys(view, 1)[obj] == 1


@every_sample
def test_thaw_gives_the_same_value(obj: Any) -> None:
    back = icehouse.thaw(icehouse.freeze([obj]))[0]
    assert type(back) is type(obj)
    assert back == obj
    assert getattr(back, "__dict__", None) == getattr(obj, "__dict__", None)


@every_sample
def test_in_a_store(obj: Any) -> None:
    with icehouse.Store(capacity=1 << 24) as store:
        handle = store.put({"x": obj}, name="it")
        view = store.get(handle)["x"]
        assert type(view) is type(obj)
        assert view == obj
        assert store.get("it") == {"x": obj}
        assert store.get(store.put(obj), type=type(obj)) == obj


@every_sample
def test_what_comes_back_is_copied_and_pickled_as_the_original(obj: Any) -> None:
    found = icehouse.freeze([obj])[0]
    for travel in (copy.copy, copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))):
        try:
            expected = travel(obj)
        except Exception as error:
            with pytest.raises(type(error)):
                travel(found)
        else:
            assert travel(found) == expected


@pytest.mark.parametrize("obj", samples.NANS, ids=name)
def test_nans(obj: Any) -> None:
    view = icehouse.freeze([obj])
    assert view[0].as_tuple() == obj.as_tuple()


def test_an_object_reached_twice_is_stored_once() -> None:
    moment = dt.datetime(2020, 1, 1, tzinfo=samples.BERLIN)
    once = len(pickle.dumps(icehouse.freeze([moment] * 2)))
    many = len(pickle.dumps(icehouse.freeze([moment] * 1002)))
    assert many - once < 1000 * 8


def test_shared_values_are_one_object_when_thawed() -> None:
    shared = samples.with_attributes(samples.Money("1"), tag=[1])
    thawed = icehouse.thaw(icehouse.freeze([shared, {"x": shared}]))
    assert thawed[0] is thawed[1]["x"]
    thawed[0].tag.append(2)
    assert shared.tag == [1]


def test_h24_a_proxy_in_a_circle_freezes_again() -> None:
    circle: dict[str, Any] = {"a": 1}
    circle["proxy"] = types.MappingProxyType(circle)
    proxy = icehouse.freeze(circle)["proxy"]
    again = icehouse.freeze([proxy])
    assert again[0]["proxy"]["proxy"]["a"] == 1


def test_a_proxy_of_a_dict_is_one_of_a_frozen_dict() -> None:
    view = icehouse.freeze(types.MappingProxyType({"a": [1]}))
    assert icehouse.is_frozen(view)
    assert isinstance(view["a"], icehouse.FrozenList)
    thawed = icehouse.thaw(icehouse.freeze([types.MappingProxyType({"a": [1]})]))[0]
    assert thawed["a"] == [1]
    assert type(thawed["a"]) is list


def test_slices_of_anything() -> None:
    view = icehouse.freeze(slice([1], {"x": 2}, None))
    assert view == slice([1], {"x": 2}, None)
    assert isinstance(view.start, icehouse.FrozenList)


@pytest.mark.parametrize(
    "obj",
    [*samples.DATES[:5], *samples.NUMBERS, *samples.NETS, *samples.PATHS, *samples.ENUMS, range(3)],
    ids=name,
)
def test_values_and_tuples_of_them_are_frozen_by_nature(obj: Any) -> None:
    assert icehouse.is_frozen(obj)
    assert icehouse.is_frozen((1, (obj,)))
    assert not icehouse.is_frozen([obj])


class Ring(Exception):
    pass


def test_rings_through_lists_are_kept_and_others_refused() -> None:
    items: list[Any] = []
    items.append(slice(items, None))
    view = icehouse.freeze(items)
    assert view[0].start[0].start[0].stop is None
    exc = Ring()
    exc.args = (exc,)
    with pytest.raises(icehouse.NotFreezableError, match="refers to itself"):
        icehouse.freeze(exc)


def test_errors_name_the_path_and_the_reason() -> None:
    import threading

    with pytest.raises(icehouse.NotFreezableError) as caught:
        icehouse.freeze({"a": [1, ValueError(threading.Lock())]})
    message = str(caught.value)
    assert "'a'" in message
    assert "lock" in message
    assert "make one where it is needed" in message
    with pytest.raises(icehouse.NotFreezableError, match=r"root\[0\].*local to a function"):
        icehouse.freeze([type("X", (), {"__qualname__": "f.<locals>.X"})])


def test_exceptions_through_a_store() -> None:
    try:
        try:
            open("/no/such/file")  # noqa: PTH123, SIM115
        except OSError as first:
            first.add_note("a note")
            raise ValueError("second", [1]) from first
    except ValueError as error:
        exc = error
    view = icehouse.freeze({"error": exc})["error"]
    assert type(view) is ValueError
    assert view.args == ("second", [1])
    assert type(view.__cause__) is FileNotFoundError
    assert (view.__cause__.filename, view.__cause__.__notes__) == ("/no/such/file", ["a note"])
    with pytest.raises(ValueError, match="second"):
        raise view


def test_json_has_what_json_default_makes_of_plain_data_alone() -> None:
    view = icehouse.freeze({"when": dt.date(2020, 1, 1)})
    with pytest.raises(TypeError):
        json.dumps(view, default=icehouse.json_default)


# --- trust ---


def test_h20_of_a_file_only_allowed_classes_come_back(tmp_path: Path) -> None:
    file = tmp_path / "image"
    original = [samples.Color.RED, dt.date(2020, 1, 1), len, ValueError(1), samples.Perm(5)]
    icehouse.save(icehouse.freeze(original), file)
    view = icehouse.open_image(file)
    assert [type(found) for found in view] == [Record, dt.date, Record, Record, Record]
    assert (view[0].name, view[0].value) == ("RED", 1)
    assert icehouse.type_name(view[3]) == "builtins.ValueError"
    view = icehouse.open_image(file, allow_classes=[samples.Color])
    assert view[0] is samples.Color.RED
    assert type(view[4]) is Record
    view = icehouse.open_image(file, trust=True)
    assert view[2] is len
    assert type(view[3]) is ValueError


def test_h20_records_can_be_stored_again(tmp_path: Path) -> None:
    file = tmp_path / "image"
    icehouse.save(icehouse.freeze([samples.Color.RED, {"x": samples.Money("1")}]), file)
    view = icehouse.open_image(file)
    again = icehouse.freeze([view[0], view[1]["x"]])
    assert again == [view[0], view[1]["x"]]
    assert icehouse.thaw(view)[0] == view[0]
    assert icehouse.type_name(again[1]) == f"{samples.__name__}.Money"


OPEN = """
import sys
sys.path.insert(0, sys.argv[1])
import icehouse
view = icehouse.open_image(sys.argv[2])
print(type(view[0]).__name__, view[0].name, "freezing_samples" in sys.modules)
"""


def test_h20_nothing_is_imported_for_it(tmp_path: Path) -> None:
    file = tmp_path / "image"
    icehouse.save(icehouse.freeze([samples.Color.RED]), file)
    command = [sys.executable, "-c", OPEN, str(TESTS), str(file)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["Record", "RED", "False"]


# --- registrations ---


class Point:
    def __init__(self, x: Any) -> None:
        self.x = x


def test_registered_types() -> None:
    from icehouse.store.freezing import registrations

    assert icehouse.freeze([Point([1])])[0].x == [1]
    icehouse.register_freezable(Point, freeze=lambda p: {"x": p.x}, thaw=lambda d: Point(d["x"]))
    try:
        view = icehouse.freeze([Point([1])])
        assert type(view[0]) is Point
        assert isinstance(view[0].x, icehouse.FrozenList)
        thawed = icehouse.thaw(view)[0]
        assert type(thawed.x) is list
    finally:
        registrations.forget(Point)
    assert view[0] == Record(f"{__name__}.Point", ("frozen",), ({"x": [1]},))
    icehouse.register_freezable(Point, freeze=lambda p: (p.x, "as a tuple"))
    try:
        assert icehouse.freeze([Point(1)])[0] == (1, "as a tuple")
    finally:
        registrations.forget(Point)


def test_what_a_registered_function_raises_is_raised() -> None:
    from icehouse.store.freezing import registrations

    def fail(point: Point) -> Any:
        raise KeyError("mine")

    icehouse.register_freezable(Point, freeze=fail)
    try:
        with pytest.raises(KeyError, match="mine"):
            icehouse.freeze([Point(1)])
    finally:
        registrations.forget(Point)


# --- other interpreters ---


def freeze_all_here() -> Any:
    return icehouse.freeze(samples.COMPARABLE)


def compare_here(view: Any) -> int:
    for found, obj in zip(view, samples.COMPARABLE, strict=True):
        assert type(found) is type(obj), obj
        assert found == obj, obj
    return len(view)


@pytest.mark.skipif(not interpreters.supported(), reason="this Python has no interpreters")
def test_between_interpreters(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    import test_standard_values as importable

    with interpreters.Interpreter() as other:
        assert other.call(importable.compare_here, freeze_all_here()) == len(samples.COMPARABLE)
        assert compare_here(other.call(importable.freeze_all_here)) == len(samples.COMPARABLE)
