"""Frozen functions in images: identity, trust in code (H21), damage, versions of Python."""

import copy
import functools
import marshal
import pickle
import re
import sys
import types
from pathlib import Path
from typing import Any

import forged
import pytest

import icehouse
from icehouse.native import _image
from icehouse.native._image import FrozenFunction
from icehouse.store.declarations import declared, identity
from icehouse.store.freezing import codes
from icehouse.store.freezing.trust import trust_of

FACTOR = 3


def triple(x: int) -> int:
    """Three times."""
    return x * FACTOR


def twice_tripled(x: int) -> int:
    return triple(x) + triple(x)


@pytest.fixture
def strange(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if this interpreter had not frozen anything: what it opens, it makes."""
    from weakref import WeakValueDictionary

    monkeypatch.setattr(identity, "_known", (WeakValueDictionary(), WeakValueDictionary()))


def own(stored: bytes) -> Any:
    return _image._load_image(stored)


def foreign(stored: bytes) -> Any:
    return _image._open_buffer(stored)


# --- identity ------------------------------------------------------------------------------------


def test_what_comes_back_is_the_same_function() -> None:
    frozen = icehouse.freeze(twice_tripled)
    with icehouse.Store("16MiB") as store:
        handle = store.put(frozen, name="f")
        assert store.get(handle) is frozen
        assert store.get("f") is frozen
        both = store.get(store.put({"a": frozen, "b": [frozen]}))
        assert both["a"] is both["b"][0] is frozen
    assert pickle.loads(pickle.dumps(frozen)) is frozen
    assert copy.deepcopy({"f": frozen})["f"] is frozen
    assert icehouse.thaw(icehouse.freeze([frozen]))[0] is frozen


@pytest.mark.usefixtures("strange")
def test_a_stranger_makes_it_once() -> None:
    frozen = icehouse.freeze(twice_tripled)
    view = own(_image._image_bytes([frozen, {"again": frozen}, icehouse.freeze(triple)]))
    identity._known[True].clear()
    f = view[0]
    assert f is not frozen
    assert type(f) is FrozenFunction
    assert f is view[1]["again"]
    assert f(2) == 12
    assert (f.__name__, f.__module__) == ("twice_tripled", __name__)
    assert f.__globals__["triple"](2) == 6
    assert f.__globals__["triple"].__doc__ == "Three times."


def test_a_function_is_put_as_it_is_frozen() -> None:
    with icehouse.Store("16MiB") as store:
        opened = store.get(store.put(triple))
        assert type(opened) is FrozenFunction
        assert opened(2) == 6
        assert store.get(store.put(functools.partial(triple, 4)))() == 12


@pytest.mark.usefixtures("strange")
def test_what_was_opened_is_put_again() -> None:
    state = {"numbers": list(range(1000))}

    @icehouse.frozen("state")
    def f(i: int) -> Any:
        return state["numbers"][i], triple(i)

    stored = _image._image_bytes(f)
    identity._known[True].clear()
    opened = own(stored)
    with icehouse.Store("16MiB") as store:
        handle = store.put({"f": opened})
        identity._known[True].clear()
        again = store.get(handle)["f"]
        assert again is not opened
        assert again(5) == (5, 15)


def test_captured_views_are_linked_not_copied() -> None:
    with icehouse.Store("64MiB") as store:
        big = store.get(store.put(list(range(100_000))))

        def f(i: int) -> Any:
            return big[i]

        handle = store.put(icehouse.freeze(f))
        assert store.stat(handle).size < 10_000
        assert store.get(handle)(5) == 5


# --- H21 -----------------------------------------------------------------------------------------


@pytest.mark.usefixtures("strange")
def test_h21_without_trust_a_record_comes_back(tmp_path: Path) -> None:
    stored = _image._image_bytes(
        [icehouse.freeze(f) for f in (twice_tripled, functools.partial(triple, 1))]
    )
    function, partial = foreign(stored)
    assert type(function) is type(partial) is icehouse.Record
    assert icehouse.type_name(function) == "builtins.function"
    assert function["__qualname__"] == "twice_tripled"
    assert function["__module__"] == __name__
    assert icehouse.type_name(partial) == "functools.partial"
    assert icehouse.type_name(partial.func) == "builtins.function"
    assert len(identity._known[False]) == 0
    assert "twice_tripled" in repr(foreign(stored))

    icehouse.save(icehouse.freeze([icehouse.freeze(twice_tripled)]), tmp_path / "f.ih")
    assert type(icehouse.open_image(tmp_path / "f.ih")[0]) is icehouse.Record
    trusted = icehouse.open_image(tmp_path / "f.ih", trust=True)[0]
    assert type(trusted) is FrozenFunction
    assert trusted(2) == 12


@pytest.mark.usefixtures("strange")
def test_h21_the_id_of_a_strangers_function_is_not_ours() -> None:
    frozen = icehouse.freeze(triple)
    stored = _image._image_bytes([frozen])
    some = trust_of(own=False, allow_classes=None, code=True)
    theirs = _image._open_buffer(stored, *(False, some))[0]
    assert theirs is not frozen
    assert theirs(2) == 6
    assert theirs is _image._open_buffer(stored, *(False, some))[0]
    assert own(stored)[0] is frozen


def payload(**changes: Any) -> bytes:
    """An image of the payload of a function, with something else in it."""
    names = "id magic version name qualname module doc code digest facts".split()
    known = dict(zip(names, declared.payload_of(icehouse.freeze(triple)), strict=True))
    known |= changes
    if "digest" not in changes:
        known["digest"] = declared._digest(known["code"])

    class Forged:
        names = ("triple", "triple", None, None)

        def payload(self) -> Any:
            return tuple(known[name] for name in names)

    return _image._image_bytes([_image._frozen_function(Forged(), triple)])


@pytest.mark.usefixtures("strange")
@pytest.mark.parametrize(
    "changes",
    [
        {"id": b"short"},
        {"id": "text"},
        {"magic": 5},
        {"version": None},
        {"name": b"x"},
        {"qualname": 1},
        {"module": ["x"]},
        {"doc": 7},
        {"code": 5, "digest": b""},
        {"code": "text", "digest": b""},
        {"code": [1], "digest": b""},
        {"digest": b"0" * 32},
        {"digest": None},
        {"facts": None},
        {"facts": [1]},
        {"facts": {"refused": 5}},
    ],
    ids=str,
)
def test_h21_damaged_payloads_are_damage(changes: dict[str, Any]) -> None:
    view = own(payload(**changes))
    with pytest.raises(icehouse.CorruptImage):
        view[0]
    assert type(view) is icehouse.FrozenList


@pytest.mark.usefixtures("strange")
@pytest.mark.parametrize(
    "changes",
    [
        {"code": b""},
        {"code": b"garbage"},
        {"code": marshal.dumps(5)},
        {"code": marshal.dumps((1, 2))[:-2]},
        {"facts": {"globals": 5}},
        {"facts": {"globals": {1: 2}}},
        {"facts": {"closure": [1]}},
        {"facts": {"modules": {"x": 5}}},
        {"facts": {"named": {"x": "y"}}},
        {"facts": {"named": {"x": (1, 2)}}},
        {"facts": {"defaults": 5}},
        {"facts": {"kwdefaults": [1]}},
        {"facts": {"attributes": 5}},
        {"facts": {"annotations": 5}},
        {"facts": {"type_params": 5}},
        {"facts": {"unbound": 5}},
        {"facts": {"itself": {"x"}}},
        {"facts": {"guarded": ("exit",)}},
    ],
    ids=str,
)
def test_h21_damage_found_when_it_is_called(changes: dict[str, Any]) -> None:
    function = own(payload(**changes))[0]
    assert type(function) is FrozenFunction
    with pytest.raises(icehouse.CorruptImage, match="triple"):
        function(1)
    with pytest.raises(icehouse.CorruptImage):
        function(1)


@pytest.mark.usefixtures("strange")
def test_h21_flipped_bits_of_code_are_found() -> None:
    stored = bytearray(_image._image_bytes([icehouse.freeze(triple)]))
    code = marshal.dumps(triple.__code__)
    at = stored.index(code)
    identity._known[True].clear()
    for where in range(at, at + len(code), 7):
        stored[where] ^= 4
        with pytest.raises(icehouse.CorruptImage, match="digest"):
            own(bytes(stored))[0]
        stored[where] ^= 4
    assert own(bytes(stored))[0](2) == 6


# --- versions ------------------------------------------------------------------------------------


@pytest.mark.usefixtures("strange")
def test_another_version_of_python_says_so() -> None:
    function = own(payload(magic=b"\x01\x02\r\n", version="3.99"))[0]
    here = re.escape(declared.version())
    assert function.__name__ == "triple"
    assert "triple" in repr(function)
    for _ in range(2):
        with pytest.raises(ImportError, match=rf"triple was frozen by Python 3\.99 and.*{here}"):
            function(1)
    # Passed on, it is what it was.
    again = own(_image._image_bytes([function]))[0]
    assert again is function


@pytest.mark.usefixtures("strange")
def test_what_is_missing_is_named_and_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    absent = types.ModuleType("absent_here")
    monkeypatch.setitem(sys.modules, "absent_here", absent)
    space: dict[str, Any] = {"absent_here": absent, "__name__": __name__}
    exec("def f():\n    return absent_here.x", space)
    stored = _image._image_bytes(icehouse.freeze(space["f"]))
    identity._known[True].clear()
    monkeypatch.delitem(sys.modules, "absent_here")
    opened = own(stored)
    with pytest.raises(ImportError, match="the frozen function f needs the module absent_here"):
        opened()
    absent.x = 7  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "absent_here", absent)
    assert opened() == 7


class Main:
    pass


@pytest.mark.usefixtures("strange")
def test_a_class_that_is_not_here_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def f() -> Any:
        return Main()

    stored = _image._image_bytes(icehouse.freeze(f))
    identity._known[True].clear()
    monkeypatch.delattr(sys.modules[__name__], "Main")
    with pytest.raises(ImportError, match=r"needs the class .*\.Main as 'Main'.*freeze\(f, C\)"):
        own(stored)()


@pytest.mark.usefixtures("strange")
def test_large_code_is_copied_too() -> None:
    space: dict[str, Any] = {"__name__": __name__}
    lines = "\n".join(f"    x += {n}" for n in range(20_000))
    exec(f"def f(x):\n{lines}\n    return x", space)
    stored = _image._image_bytes([icehouse.freeze(space["f"])])
    identity._known[True].clear()
    assert own(stored)[0](1) == 1 + sum(range(20_000))


def test_uncallable_functions_say_why() -> None:
    made = declared.uncallable(triple, "it holds a lock")
    with pytest.raises(icehouse.NotFreezableError, match="it holds a lock"):
        made(1)
    stored = _image._image_bytes([made])
    identity._known[True].clear()
    opened = own(stored)[0]
    with pytest.raises(icehouse.NotFreezableError, match="it holds a lock"):
        opened(1)
    assert opened.__name__ == "triple"


@pytest.mark.usefixtures("strange")
def test_a_call_imports_nothing_for_annotations(monkeypatch: pytest.MonkeyPatch) -> None:
    def f(x: Main) -> Any:
        return x

    stored = _image._image_bytes([icehouse.freeze(f)])
    identity._known[True].clear()
    kept = sys.modules.pop(__name__)
    asked: list[str] = []
    monkeypatch.setattr(sys, "meta_path", [Finder(asked), *sys.meta_path])
    try:
        opened = own(stored)[0]
        assert opened(1) == 1
        assert asked == []
        assert opened.__annotations__["x"] == f"{__name__}.Main"
        assert asked
    finally:
        sys.modules[__name__] = kept
    identity._known[True].clear()
    assert own(stored)[0].__annotations__ == {"x": Main, "return": Any}


class Finder:
    """Notes which modules are looked for, and lets none be found."""

    def __init__(self, asked: list[str]) -> None:
        self.asked = asked

    def find_spec(self, name: str, path: object = None, target: object = None) -> None:
        self.asked.append(name)
        raise ImportError(name)


@pytest.mark.parametrize(
    "payload",
    [
        (),
        (5, (), {}, {}),
        (None, (), {}, {}),
        ("text", (), {}, {}),
        (dict, 5, {}, {}),
        (dict, (), [1], {}),
        (dict, (), {}, 7),
        (dict, (), {}),
        ([1], (), {}, {}),
        {"a": 1},
    ],
    ids=str,
)
def test_h21_damaged_partials_are_damage(payload: Any) -> None:
    with pytest.raises(icehouse.CorruptImage):
        own(forged_value(codes.PARTIAL, payload))[0]


def forged_value(code: int, payload: Any) -> bytes:
    """An image of a list that holds a VALUE with any payload."""
    writer = forged.Writer()
    parts = (
        writer.put(payload)
        if not isinstance(payload, tuple) or payload[:1] != (dict,)
        else writer.words(
            forged.TUPLE, writer.class_of("builtins", "dict"), *map(writer.put, payload[1:])
        )
    )
    return writer.image(writer.words(forged.LIST, writer.value(code, parts)))
