"""Type variables: by their name, or one for each id."""

import sys
from pathlib import Path
from typing import Any, Generic, ParamSpec, TypeVar
from weakref import WeakValueDictionary

import pytest

import icehouse
from icehouse.store.declarations import identity
from icehouse.store.freezing import codes, hooks
from icehouse.store.freezing.records import Record
from icehouse.store.freezing.trust import NONE, OWN

T = TypeVar("T", bound=int)
P = ParamSpec("P")


@pytest.fixture(autouse=True)
def known_again() -> Any:
    known = identity._known
    yield
    identity._known = known


def elsewhere() -> None:
    identity._known = (WeakValueDictionary(), WeakValueDictionary())


def test_they_are_themselves_here() -> None:
    local = TypeVar("local")
    view = icehouse.freeze([T, P, local, {"a": T}])
    assert view[0] is view[3]["a"] is T
    assert view[1] is P
    assert view[2] is local


def test_one_of_a_module_is_found_by_its_name() -> None:
    view = icehouse.freeze([T, P])
    elsewhere()
    assert view[0] is T
    assert view[1] is P


def test_others_are_made_once() -> None:
    kinds = [
        TypeVar("plain"),
        TypeVar("bound", bound=dict[str, int]),
        TypeVar("two", int, str),
        TypeVar("co", covariant=True),
        TypeVar("contra", contravariant=True),
        ParamSpec("params"),
    ]
    view = icehouse.freeze([kinds, kinds])
    elsewhere()
    first, second = view
    for at, kind in enumerate(kinds):
        made = first[at]
        assert made is not kind
        assert made is second[at]
        assert type(made) is type(kind)
        assert repr(made) == repr(kind)
        assert made.__bound__ == kind.__bound__
        assert getattr(made, "__constraints__", ()) == getattr(kind, "__constraints__", ())


def test_generic_aliases_refer_to_the_same_variable() -> None:
    local = TypeVar("local")
    view = icehouse.freeze([Generic[local], list[local], local])  # type: ignore[valid-type]
    elsewhere()
    generic, alias, made = view
    assert generic.__parameters__ == alias.__parameters__ == (made,)


@pytest.mark.skipif(sys.version_info < (3, 13), reason="defaults need Python 3.13")
def test_defaults() -> None:
    local = TypeVar("local", default=int)  # type: ignore[call-arg]
    view = icehouse.freeze([local])
    elsewhere()
    assert view[0].__default__ is int


@pytest.mark.skipif(sys.version_info < (3, 12), reason="class C[T] needs Python 3.12")
def test_bounds_are_computed_when_asked_for() -> None:
    space: dict[str, Any] = {"__name__": "nowhere"}
    exec("class C[A: (int, str), B: Missing]: pass", space)
    a, b = space["C"].__type_params__
    view = icehouse.freeze([a, b])
    elsewhere()
    assert view[0].__constraints__ == (int, str)
    assert view[1].__bound__ is None


def test_h21_without_trust_in_code_it_is_a_record(tmp_path: Path) -> None:
    icehouse.save([T], tmp_path / "image")
    found = icehouse.open_image(tmp_path / "image")[0]
    assert type(found) is Record
    assert icehouse.type_name(found) == "typing.TypeVar"
    assert found["__name__"] == "T"


WHOLE = (b"i" * 16, "TypeVar", "T", "nowhere", (False, False, False), None, (), ())


@pytest.mark.parametrize(
    "payload",
    [
        5,
        (),
        WHOLE[:-1],
        (*WHOLE, 1),
        (b"short", *WHOLE[1:]),
        (*WHOLE[:1], "int", *WHOLE[2:]),
        (*WHOLE[:2], 5, *WHOLE[3:]),
        (*WHOLE[:3], None, *WHOLE[4:]),
        (*WHOLE[:4], 5, *WHOLE[5:]),
        (*WHOLE[:4], (True,), *WHOLE[5:]),
        (*WHOLE[:4], (True, True, False), *WHOLE[5:]),
        (*WHOLE[:6], (int,), ()),
        (*WHOLE[:6], 5, ()),
    ],
    ids=repr,
)
def test_damaged_payloads(payload: Any) -> None:
    elsewhere()
    with pytest.raises((ValueError, TypeError)):
        hooks.make_value(codes.TYPE_VAR, payload, OWN)
    if payload in (5, ()):
        with pytest.raises((ValueError, TypeError)):
            hooks.make_value(codes.TYPE_VAR, payload, NONE)
