"""Dataclasses and attrs classes as views, and what their libraries do with them."""

import copy
import dataclasses
import inspect
import json
import sys
from typing import Any

import attrs
import msgspec
import pytest
import user_classes as uc
import user_models as um

import icehouse


@pytest.fixture(autouse=True)
def nothing_ran() -> None:
    uc.RAN.clear()


def test_fields_and_is_dataclass() -> None:
    point = uc.Point(1, 2, ["a"])
    view = icehouse.freeze(point)
    assert dataclasses.is_dataclass(view)
    assert [field.name for field in dataclasses.fields(view)] == ["x", "y", "tags"]
    assert view.sum == 3
    assert view.origin == "here"
    assert view == point
    assert point == view
    assert view != uc.Point(1, 2, ["b"])
    assert repr(view) == "Point(x=1, y=2, tags=" + repr(view.tags) + ")"


def test_asdict_astuple_replace() -> None:
    view = icehouse.freeze(uc.Team("t", [uc.Point(1)], uc.Point(2, 3)))
    assert dataclasses.asdict(view)["lead"] == {"x": 2, "y": 3, "tags": []}
    assert dataclasses.astuple(view.lead) == (2, 3, [])
    replaced = dataclasses.replace(view, name="u")
    assert type(replaced) is uc.Team
    assert (replaced.name, replaced.lead) == ("u", uc.Point(2, 3))
    assert dataclasses.asdict(icehouse.thaw(view)) == {
        "name": "t",
        "members": [{"x": 1, "y": 0, "tags": []}],
        "lead": {"x": 2, "y": 3, "tags": []},
    }


@pytest.mark.skipif(sys.version_info < (3, 13), reason="copy.replace came with 3.13")
def test_copy_replace() -> None:
    view = icehouse.freeze(uc.Version(1, 2))
    assert copy.replace(view, minor=5) == uc.Version(1, 5)  # type: ignore[attr-defined]
    stone = icehouse.freeze(um.Stone(1, "b"))
    if hasattr(um.Stone, "__replace__"):
        assert copy.replace(stone, a=5) == um.Stone(5, "b")  # type: ignore[attr-defined]


def test_frozen_and_ordered() -> None:
    first, second = icehouse.freeze([uc.Version(1, 2), uc.Version(1, 10)])
    assert first < second
    assert first < uc.Version(1, 10)
    assert uc.Version(1, 1) < first
    assert hash(first) == hash(uc.Version(1, 2))
    assert {uc.Version(1, 2): "x"}[first] == "x"
    assert max(icehouse.freeze([uc.Version(0, 1), uc.Version(2)])).major == 2


def test_h29_except_attribute_error_around_a_frozen_dataclass_works() -> None:
    view = icehouse.freeze(uc.Version(1, 2))
    with pytest.raises(AttributeError) as caught:
        view.major = 5
    assert isinstance(caught.value, icehouse.FrozenError)
    with pytest.raises(AttributeError):
        del view.minor


def test_slots_and_keywords() -> None:
    view = icehouse.freeze([uc.Sealed("s", (1, 2)), uc.Keyed(key="k", value=[1])])
    assert (view[0].name, view[0].values) == ("s", (1, 2))
    assert view[0] == uc.Sealed("s", (1, 2))
    assert view[1].value == [1]
    assert dataclasses.asdict(view[1]) == {"key": "k", "value": [1]}
    thawed = icehouse.thaw(view)
    assert thawed == [uc.Sealed("s", (1, 2)), uc.Keyed(key="k", value=[1])]
    assert type(thawed[0]) is uc.Sealed


def test_inheritance_and_generics() -> None:
    view = icehouse.freeze(uc.Point3(1, 2, [], 3))
    assert isinstance(view, uc.Point)
    assert (view.x, view.z, view.sum) == (1, 3, 3)
    assert view == uc.Point3(1, 2, [], 3)
    assert view != uc.Point(1, 2, [])
    pair = icehouse.freeze(uc.Pair[int](1, 2))
    assert dataclasses.asdict(pair) == {"left": 1, "right": 2}
    assert pair.__orig_class__ == uc.Pair[int]


def test_init_var_and_post_init_do_not_run_again() -> None:
    derived = uc.Derived(2.0, scale=3.0)
    uc.RAN.clear()
    view = icehouse.freeze(derived)
    assert (view.side, view.area) == (2.0, 12.0)
    thawed = icehouse.thaw(view)
    assert thawed == derived
    assert uc.RAN == []


def test_match_on_positions_and_names() -> None:
    match icehouse.freeze([uc.Point(1, 2), um.Stone(5, "b")]):
        case [uc.Point(1, y), um.Stone(a, b=b)]:
            assert (y, a, b) == (2, 5, "b")
        case _:
            pytest.fail("no match")


def test_by_identity_where_eq_is_off() -> None:
    one = uc.ById(1)
    first, second, third = icehouse.freeze([one, one, uc.ById(1)])
    assert first == second
    assert first != third


def test_a_million_like_instances_share_their_layout() -> None:
    points = [uc.Version(i, i + 1) for i in range(20_000)]
    with icehouse.Store() as store:
        handle = store.put(points)
        size = store.stat(handle).size
        assert size < 20_000 * 22
        view = store.get(handle)
        assert view[19_999].minor == 20_000
        assert icehouse.thaw(view) == points
        del view


# --- encoders ---


def test_orjson_never_takes_a_view_for_a_dataclass() -> None:
    orjson = pytest.importorskip("orjson")
    view = icehouse.freeze(uc.Team("t", [uc.Point(1)], uc.Point(2, 3)))
    encoded = orjson.dumps(view, default=icehouse.json_default)
    assert json.loads(encoded) == dataclasses.asdict(icehouse.thaw(view))
    version = icehouse.freeze(uc.Version(1, 2))
    with pytest.raises(TypeError):
        orjson.dumps(version)
    assert orjson.loads(orjson.dumps(version, default=dataclasses.asdict)) == {
        "major": 1,
        "minor": 2,
    }


def test_msgspec_encodes_dataclass_views() -> None:
    view = icehouse.freeze(uc.Team("t", [uc.Point(1)], uc.Point(2, 3)))
    encoded = msgspec.json.encode(view, enc_hook=icehouse.enc_hook)
    assert json.loads(encoded) == dataclasses.asdict(icehouse.thaw(view))


# --- attrs ---


def test_attrs_with_and_without_slots() -> None:
    slim, wide = um.Slim(1, [2]), um.Wide(1, {"k": 2})
    view = icehouse.freeze([slim, wide])
    assert view[0] == slim
    assert view[1] == wide
    assert wide == view[1]
    assert attrs.has(type(view[0]))
    assert [field.name for field in attrs.fields(view[0].__class__)] == ["a", "b"]
    assert attrs.asdict(view[1])["a"] == 1
    assert attrs.evolve(view[0], a=5) == um.Slim(5, [2])
    assert icehouse.thaw(view) == [slim, wide]
    assert repr(view[0]).startswith("Slim(a=1, b=")


def test_frozen_attrs_without_validators() -> None:
    stone = um.Stone(5, "b")
    uc.RAN.clear()
    view = icehouse.freeze(stone)
    assert view == stone
    assert hash(view) == hash(stone)
    assert icehouse.thaw(view) == stone
    assert attrs.fields(um.Stone).b.metadata["unit"] == "m"
    assert uc.RAN == []
    with pytest.raises(AttributeError):
        view.a = 1


def test_cached_properties_of_slotted_attrs() -> None:
    slim = um.Slim(4)
    assert icehouse.freeze(slim).doubled == 8
    assert slim.doubled == 8
    assert icehouse.freeze(slim).doubled == 8
    child = icehouse.freeze(um.SlimChild(3, [1], "z"))
    assert (child.doubled, child.c) == (6, "z")


def test_pydantic_dataclasses_are_views() -> None:
    view = icehouse.freeze(um.Checked(1))
    assert isinstance(view, um.Checked)
    assert view == um.Checked(1)
    assert dataclasses.asdict(view) == {"a": 1, "b": "b"}


def test_views_have_the_signature_of_their_class() -> None:
    view: Any = icehouse.freeze(uc.Point(1))
    assert inspect.signature(view.__class__) == inspect.signature(uc.Point)
    assert type(view).__doc__ == uc.Point.__doc__
