"""freeze and its kin, the tree of errors, and the module in several interpreters."""

import contextlib
import gc
import os
import pickle
import subprocess
import sys
import weakref
from typing import Any

import pytest

import icehouse
from icehouse.native import _image
from icehouse.store import errors

FROZEN = [
    None,
    True,
    1,
    2**100,
    1.5,
    1j,
    "text",
    b"bytes",
    b"x" * 100_000,
    (),
    (1, "a", (2.5, None)),
    frozenset({1, (2, frozenset({3}))}),
    range(3),
    slice(1, (2, 3), None),
    ...,
    NotImplemented,
    icehouse.Handle(bytes(16)),
    len,
    int,
]


class Text(str):
    __slots__ = ()


MUTABLE = [
    [],
    {},
    set(),
    bytearray(),
    object(),
    (1, []),
    (1, (2, (3, {}))),
    frozenset({(1, Text())}),
    Text("x"),
    slice([], None),
]


@pytest.mark.parametrize("value", FROZEN, ids=lambda value: repr(value)[:20])
def test_what_is_frozen_by_nature_comes_back_as_it_is(value: Any) -> None:
    assert icehouse.is_frozen(value)
    assert icehouse.freeze(value) is value
    assert icehouse.is_frozen((value, [value]) if False else (value, value))


@pytest.mark.parametrize("value", MUTABLE, ids=lambda value: repr(value)[:20])
def test_what_is_not(value: Any) -> None:
    assert not icehouse.is_frozen(value)
    assert not icehouse.is_frozen((1, value))


def test_views_are_frozen() -> None:
    for value in ([1, "a"], {"a": 1}, {1, 2}, bytearray(b"abc"), tuple(range(10_000))):
        mutable = value if not isinstance(value, tuple) else [value]
        view = icehouse.freeze(mutable)
        assert view is not mutable
        assert icehouse.is_frozen(view)
        assert icehouse.freeze(view) is view
        assert icehouse.is_frozen((view, 1))
        together = (view, "x")
        assert icehouse.freeze(together) is together


def test_h24_shared_and_deep_tuples_are_looked_at_once() -> None:
    shared: Any = (1,)
    for _ in range(200):
        shared = (shared, shared)
    assert icehouse.is_frozen(shared)
    deep: Any = ()
    for _ in range(200_000):
        deep = (deep,)
    assert icehouse.is_frozen(deep)
    mutable: Any = []
    for _ in range(200):
        mutable = (mutable, mutable, 1)
    assert not icehouse.is_frozen(mutable)
    while deep:
        (deep,) = deep


def test_a_tuple_that_contains_itself_is_looked_at_once() -> None:
    box: list[Any] = []
    cycle = (1, box)
    box.append(cycle)
    assert not icehouse.is_frozen(cycle)
    box.clear()


def test_freeze_leaves_its_argument_alone() -> None:
    data = {"a": [1, 2]}
    view = icehouse.freeze(data)
    data["a"].append(3)
    assert view == {"a": [1, 2]}
    assert type(data) is dict


def test_freezing_several_together() -> None:
    shared = [1, 2]
    a, b = {"s": shared, "other": None}, {"s": shared}
    a["other"] = b  # type: ignore[assignment]
    view = icehouse.freeze(a, b)
    assert view == {"s": [1, 2], "other": {"s": [1, 2]}}
    assert icehouse.same(view["s"], view["other"]["s"])
    assert icehouse.freeze(1, [2]) == 1
    assert icehouse.freeze(1, 2) == 1
    with pytest.raises(icehouse.NotFreezableError):
        icehouse.freeze([1], iter(""))
    with pytest.raises(TypeError, match="at least one"):
        icehouse.freeze()  # type: ignore[call-overload]


def test_same() -> None:
    view = icehouse.freeze({"a": [1, [2]], "b": (1, 2)})
    assert icehouse.same(view, view)
    assert icehouse.same(view["a"], view["a"])
    assert not icehouse.same(view["a"], view["a"][1])
    assert not icehouse.same(view["a"], icehouse.freeze([1, [2]]))
    assert icehouse.same(view["a"][1:], view["a"][1:])
    assert not icehouse.same(view["a"][1:], view["a"])
    assert not icehouse.same(view["a"], [1, [2]])
    with icehouse.Store("1MiB") as store:
        handle = store.put({"x": [1]})
        assert icehouse.same(store.get(handle)["x"], store.get(handle)["x"])
    one = object()
    assert icehouse.same(one, one)
    with pytest.raises(TypeError):
        icehouse.same(1)  # type: ignore[call-arg]


def test_get_says_what_it_wants() -> None:
    handle = icehouse.Handle(bytes(16))
    with pytest.raises(icehouse.HandleGone, match=r"put the object again"):
        icehouse.get(handle)
    assert icehouse.get(handle, 3) == 3
    assert icehouse.get(str(handle), default=3) == 3
    with pytest.raises(TypeError, match=r"store.get\(name\)"):
        icehouse.get("config")
    for call in (lambda: icehouse.get(), lambda: icehouse.get(handle, 1, 2)):
        with pytest.raises(TypeError, match="get"):
            call()
    with pytest.raises(TypeError, match="no parameter 'x'"):
        icehouse.get(handle, x=1)  # type: ignore[call-overload]
    with pytest.raises(TypeError, match="two values"):
        icehouse.get(handle, handle=handle)  # type: ignore[call-overload]


def test_a_snapshot_goes_with_its_last_view() -> None:
    view = icehouse.freeze({"a": [1]})
    handle, part = view.handle, view["a"]
    assert handle is not None
    assert part.handle is None
    assert icehouse.get(handle) == {"a": [1]}
    del view
    assert icehouse.get(handle) == {"a": [1]}
    del part
    with pytest.raises(icehouse.HandleGone):
        icehouse.get(handle)


def test_images_as_bytes() -> None:
    data = {"a": [1, 2, "x"], "b": (1.5, None)}
    image = _image._image_bytes(data)
    _image._validate(image)
    for shift in (0, 1, 4, 63):
        moved = memoryview(bytes(shift) + image)[shift:]
        view = _image._open_buffer(moved)
        assert view == data
        assert view.handle is None
        assert _image._locate(view) is None
        _image._validate(moved)
    with pytest.raises(icehouse.CorruptImage) as caught:
        _image._open_buffer(b"x" * 64)
    assert (caught.value.offset, caught.value.reason[:12]) == (48, "not an image")
    for short in (b"", b"x" * 63):
        with pytest.raises(icehouse.CorruptImage):
            _image._open_buffer(short)
        with pytest.raises(icehouse.CorruptImage):
            _image._validate(short)
    with pytest.raises(BufferError):
        _image._open_buffer(memoryview(image)[::2])
    with pytest.raises(TypeError):
        _image._open_buffer(1)  # type: ignore[arg-type]


def test_places_in_images() -> None:
    view = icehouse.freeze({"a": {"b": [1, "x"]}})
    for part in (view, view["a"], view["a"]["b"]):
        place = _image._locate(part)
        assert place is not None
        assert icehouse.same(_image._reopen(*place), part)
    assert _image._locate(view["a"]["b"][1:]) is None
    assert _image._locate([]) is None
    handle = view.handle
    assert handle is not None
    for word in [*range(400), 2**31, 2**32 - 2, 2**32 - 1]:
        with contextlib.suppress(icehouse.CorruptImage):
            _image._reopen(handle, word)
    with pytest.raises(ValueError):
        _image._reopen(handle, 2**32)


def test_the_tree_of_errors() -> None:
    kinds = {
        errors.NotFreezableError: [TypeError],
        errors.FrozenError: [TypeError, AttributeError],
        errors.HandleGone: [LookupError],
        errors.UnknownName: [KeyError],
        errors.StoreFull: [MemoryError],
        errors.CorruptImage: [ValueError],
        errors.StoreUnavailable: [ConnectionError],
        errors.NotPermitted: [PermissionError],
        errors.ProtocolError: [],
        errors.StoreClosed: [ValueError],
        errors.Conflict: [],
        errors.InterpreterError: [],
    }
    assert {kind.__name__ for kind in kinds} | {"IcehouseError"} == set(errors.__all__)
    for kind, bases in kinds.items():
        assert issubclass(kind, errors.IcehouseError)
        assert kind.__module__ == "icehouse"
        assert kind.__doc__
        for base in bases:
            assert issubclass(kind, base)
        error = kind("what happened")
        assert str(error) == "what happened"
        again = pickle.loads(pickle.dumps(error))
        assert (type(again), str(again)) == (kind, "what happened")


def test_frozen_errors_name_type_and_remedy() -> None:
    view = icehouse.freeze({"a": [1]})
    with pytest.raises(icehouse.FrozenError, match=r"FrozenDict is immutable.*thaw"):
        view["a"] = 1  # type: ignore[index]
    with pytest.raises(icehouse.FrozenError, match=r"FrozenList is immutable.*thaw"):
        view["a"][0] = 2


def test_h29_a_list_has_no_append() -> None:
    view = icehouse.freeze([1])
    assert not hasattr(view, "append")


def test_functions_and_types_name_the_package() -> None:
    for name in icehouse.__all__:
        value = getattr(icehouse, name)
        assert value.__module__.startswith("icehouse"), name
        assert "native" not in value.__module__, name


def test_views_pickle_by_value() -> None:
    data = {"a": [1, 2.5, "x"], "b": {1, 2}}
    view = icehouse.freeze(data)
    for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1):
        again = pickle.loads(pickle.dumps(view, protocol))
        assert again == data
        assert type(again) is type(view)
        assert again.handle != view.handle


def test_the_module_can_be_thrown_away() -> None:
    """A second copy of the module, as an interpreter that ends leaves it."""
    import importlib.util

    spec = importlib.util.find_spec("icehouse.native._image")
    assert spec is not None
    for _ in range(3):
        module = importlib.util.module_from_spec(spec)
        assert spec.loader is not None
        spec.loader.exec_module(module)
        assert module.freeze is not icehouse.freeze
        view = module.freeze({"a": [1, "text"]})
        assert view == {"a": [1, "text"]}
        assert not isinstance(view, icehouse.FrozenDict)
        gone = weakref.ref(module)
        del module
        gc.collect()
        assert view["a"][1] == "text"
        del view
        gc.collect()
        gc.collect()
        assert gone() is None


def test_views_may_outlive_everything() -> None:
    code = """
import icehouse, sys
store = icehouse.Store("1MiB")
view = store.get(store.put({"a": [1]}))
sys.kept = [icehouse.freeze({"b": view}), view, store]
class AtTheEnd:
    def __del__(self):
        print(sys.kept[0]["b"]["a"] if sys and getattr(sys, "kept", None) else "gone")
sys.last = AtTheEnd()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_descriptors_of_a_visit_that_is_none_are_closed() -> None:
    files = (*os.pipe(), os.open(os.devnull, os.O_RDONLY))
    with pytest.raises(ValueError, match="a visit has"):
        _image._admit(b"short", files)
    for file in files:
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(file)
