"""freeze: no code of others runs while a graph is walked; what is refused has a path."""

import array
import os
import signal
import subprocess
import sys
import textwrap
from typing import Any

import pytest

import icehouse
from icehouse.native import _image
from tests.unit.native.rules import ruling


def test_handler_of_a_signal_waits_until_the_walk_is_done() -> None:
    """A handler that empties the list being walked, while a view in it is thawed."""
    view = icehouse.freeze({"set": set(range(300_000))})
    items = [view, *([i, str(i)] for i in range(20_000))]
    found = []

    def empty(*_: object) -> None:
        found.append(len(items))
        items.clear()

    before = signal.signal(signal.SIGALRM, empty)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.003)
        frozen = icehouse.freeze(items)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert len(frozen) in (0, 20_001)


@pytest.mark.skipif(sys.version_info < (3, 12), reason="needs __buffer__")
@pytest.mark.parametrize("name", ["numpy.ndarray", "array.array"])
def test_class_with_the_name_of_an_array_is_no_array(name: str) -> None:
    def exported(_self: object, _flags: int) -> memoryview:
        items.clear()
        return memoryview(b"abc")

    impostor = type(name, (), {"__buffer__": exported})
    items: list[Any] = [impostor(), *([i] for i in range(1000))]
    assert isinstance(icehouse.freeze(items)[0], _image.FrozenObject)
    assert len(items) == 1001


def test_numpy_is_not_imported_by_freezing_a_view() -> None:
    """The import is Python code, and lets other threads run."""
    pytest.importorskip("numpy")
    code = """
        import pickle, sys, icehouse
        from icehouse.native import _image
        view = _image._open_buffer(bytes.fromhex(sys.stdin.read()))
        again = icehouse.freeze([view, {1: view}])
        assert "numpy" not in sys.modules
        assert again[0][0].tolist() == list(range(5000))
        assert "numpy" in sys.modules
    """
    import numpy

    image = _image._image_bytes([numpy.arange(5000)])
    subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], input=image.hex(), text=True, check=True
    )


def test_views_of_arrays_are_frozen_again() -> None:
    source: list[Any] = [array.array("i", [1, 2]), memoryview(bytes(range(12))).cast("h", (2, 3))]
    view = icehouse.freeze(source)
    first = view[0]
    again = icehouse.freeze([view, first, view[1], view[1][::-1], first])
    assert list(again[0][0]) == list(again[1]) == [1, 2]
    assert again[0][1].tolist() == again[2].tolist() == source[1].tolist()
    assert again[3].tolist() == source[1].tolist()[::-1]
    assert icehouse.same(again[1], again[4])
    assert isinstance(icehouse.thaw(again)[1], array.array)


class Unhelpful:
    def __repr__(self) -> str:
        raise ZeroDivisionError

    def __hash__(self) -> int:
        return 1


def test_keys_whose_repr_raises_do_not_hide_the_offender() -> None:
    with (
        ruling(lambda cls: "no" if cls is Unhelpful else None),
        pytest.raises(icehouse.NotFreezableError, match="Unhelpful") as caught,
    ):
        icehouse.freeze([{Unhelpful(): 1}])
    error: Any = caught.value
    assert isinstance(error.object, Unhelpful)
    with pytest.raises(icehouse.NotFreezableError, match="<int object>"):
        icehouse.freeze({10**5000: {1: iter("")}})


def test_foreign_object_beside_a_view_in_a_key() -> None:
    """Its hash is not asked: that would be Python code in the middle of the walk."""
    asked = []

    class Foreign:
        def __hash__(self) -> int:
            asked.append(1)
            return 1

    view = icehouse.freeze([frozenset([1, 2])])[0]
    key = frozenset([view, Foreign()])
    holder = {key: 1}
    asked.clear()
    frozen = icehouse.freeze(holder)
    assert not asked
    assert len(next(iter(frozen))) == 2
    assert icehouse.freeze({(view, 1): 2})[(frozenset([1, 2]), 1)] == 2


def test_bytes_are_looked_up_among_text_without_a_warning() -> None:
    code = """
        import icehouse
        view = icehouse.freeze({"a": 1, b"b": 2, 1: 3})
        assert view[b"b"] == 2 and b"c" not in view and view[1] == 3 and 5 not in view
        large = icehouse.freeze({**{str(i): i for i in range(2000)}, b"x": 1})
        assert not any(str(i).encode() in large for i in range(100_000))
    """
    subprocess.run([sys.executable, "-bb", "-c", textwrap.dedent(code)], check=True)


@pytest.mark.skipif("asan" in os.environ.get("LD_PRELOAD", ""), reason="its frames are larger")
def test_threads_of_little_stack() -> None:
    code = """
        import threading, icehouse
        deep = 1
        for i in range(1000):
            deep = {"a": deep} if i % 2 else {i: deep}
        threading.stack_size(256 * 1024)
        thread = threading.Thread(target=icehouse.freeze, args=(deep,))
        thread.start()
        thread.join()
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(code)], check=True)
