"""H20: images name classes; nothing of a class runs because an image is read or goes."""

import gc
import os
import pickle
import tempfile
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest
import user_classes as uc

import icehouse


@pytest.fixture(autouse=True)
def nothing_ran() -> None:
    uc.RAN.clear()


def watched() -> Any:
    made = object.__new__(uc.Watched)
    object.__setattr__(made, "value", [1])
    uc.RAN.clear()
    return made


def test_h20_reading_and_collecting_a_view_runs_nothing_of_its_class() -> None:
    keep = watched()
    view = icehouse.freeze([keep])
    uc.RAN.clear()
    child = view[0]
    assert child.value == [1]
    assert uc.RAN == []
    del child, view
    gc.collect()
    assert uc.RAN == []


def test_h20_a_view_type_is_no_subclass_of_the_class() -> None:
    keep = watched()
    view = icehouse.freeze([keep])[0]
    uc.RAN.clear()
    assert type(view).__mro__[1:] == (icehouse.FrozenObject, object)
    assert type(type(view)) is type
    assert type.__subclasses__(uc.Watched) == []
    assert "Watched.__init_subclass__" not in uc.RAN
    assert "Watching.mro" not in uc.RAN
    assert "Watching.__call__" not in uc.RAN
    with pytest.raises(icehouse.FrozenError):
        view.value = 5
    assert "Watched.__setattr__" not in uc.RAN


def test_h20_thaw_calls_neither_new_nor_init_nor_setattr() -> None:
    keep = watched()
    view = icehouse.freeze([keep])[0]
    uc.RAN.clear()
    thawed = icehouse.thaw(view)
    assert type(thawed) is uc.Watched
    assert [name for name in uc.RAN if "__getattribute__" not in name] == []
    assert thawed.value == [1]
    del thawed
    assert "Watched.__del__" in uc.RAN


def test_h20_temporary_file_closers_delete_nothing(tmp_path: Path) -> None:
    path = tmp_path / "precious"
    path.write_text("content")
    gadget = object.__new__(tempfile._TemporaryFileCloser)  # type: ignore[attr-defined]
    gadget.__dict__.update(
        name=str(path), delete=True, delete_on_close=True, close_called=False, cleanup_called=False
    )
    gadget.file = 5
    view = icehouse.freeze([gadget])
    gadget.__dict__.update(close_called=True, cleanup_called=True, delete=False)
    read = view[0]
    assert isinstance(read, tempfile._TemporaryFileCloser)  # type: ignore[attr-defined]
    assert read.name == str(path)
    del read, view
    gc.collect()
    assert path.read_text() == "content"


def test_h20_connections_close_nothing() -> None:
    """An honest producer refuses a connection; a forged image may name its class all the same."""
    reading, writing = os.pipe()
    try:
        forged = type("Connection", (), {"__module__": Connection.__module__})()
        forged.__dict__.update(_handle=writing, _readable=True, _writable=True)
        view = icehouse.freeze([forged])
        read = view[0]
        assert isinstance(read, Connection)
        assert read.fileno() == writing
        with pytest.raises((AttributeError, TypeError)):
            read._handle = None
        del read, view
        gc.collect()
        assert os.write(writing, b"x") == 1
    finally:
        os.close(reading)
        os.close(writing)


@pytest.mark.parametrize(
    "build",
    [
        lambda: uc.Plain("a"),
        lambda: uc.Sealed("a"),
        lambda: uc.Stack([1]),
        lambda: uc.Label("a"),
        lambda: uc.Place("a"),
        lambda: uc.Reduced(1),
        lambda: uc.Restored(1),
    ],
)
def test_h20_h21_what_another_made_comes_back_as_records(build: Any) -> None:
    """Unpickled bytes are nobody's: only `allow_classes=` resolves."""
    original = build()
    name = f"user_classes.{type(original).__name__}"
    stored = icehouse.native._image._image_bytes([original])
    uc.RAN.clear()
    view = icehouse.native._image._open_buffer(stored)
    record = view[0]
    assert not isinstance(record, type(original))
    assert icehouse.type_name(record) == name
    assert uc.RAN == []


def test_h20_a_class_that_is_something_else_now_gives_a_record(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stored = icehouse.freeze([uc.Plain("a"), uc.Sealed("s", (1,)), uc.Place("p"), uc.Word("w")])
    for name in ("Plain", "Sealed", "Place", "Word"):
        monkeypatch.setattr(uc, name, lambda *args: pytest.fail("called"))
    text = icehouse.native._image._image_bytes(stored)
    assert text
    fresh = icehouse.freeze({"x": stored})["x"]
    for record in fresh:
        assert icehouse.type_name(record).startswith("user_classes.")


class Unhashable(type):
    """A metaclass whose classes can't be looked up in a dict, and are equal to anything."""

    def __hash__(cls) -> int:
        pytest.fail("the hash of a class was asked for")

    def __eq__(cls, other: object) -> bool:
        pytest.fail("classes were compared")


class Odd(metaclass=Unhashable):
    def __init__(self) -> None:
        self.value = [1]

    def first(self) -> int:
        return int(self.value[0])


class OddList(list[int], metaclass=Unhashable):
    pass


class OddReduced(metaclass=Unhashable):
    def __reduce__(self) -> Any:
        return (OddReduced, ())


def test_h20_metaclasses_are_not_asked_about_hash_and_equality() -> None:
    view = icehouse.freeze([Odd(), OddList([1]), OddReduced()])
    assert view[0].first() == 1
    kinds = (Odd, OddList, OddReduced)
    assert all(type(part) is kind for part, kind in zip(icehouse.thaw(view), kinds, strict=True))
    assert icehouse.type_name(view[1]) == f"{__name__}.OddList"
    assert type(view[2]) is OddReduced


def test_h20_a_pickle_of_what_is_not_trusted_is_not_trusted() -> None:
    """Or passing a view on to a worker would make what a stranger wrote in its image."""
    uc.RAN.clear()
    stored = icehouse.native._image._image_bytes([uc.Plain("a"), uc.Reduced(1)])
    names = ["user_classes.Plain", "user_classes.Reduced"]
    for protocol in (2, 4, 5):
        uc.RAN.clear()
        view = icehouse.native._image._open_buffer(stored)
        for passed in (pickle.loads(pickle.dumps(view, protocol)), view):
            assert [icehouse.type_name(part) for part in passed] == names
            assert not isinstance(passed[0], uc.Plain)
            assert not isinstance(passed[1], uc.Reduced)
            assert uc.RAN == []
        with pytest.raises(icehouse.NotFreezableError):
            icehouse.freeze(pickle.loads(pickle.dumps([view], protocol)))


def test_h20_a_pickle_keeps_what_its_reader_allowed(tmp_path: Path) -> None:
    icehouse.save(icehouse.freeze([uc.Plain("a"), uc.Sealed("b"), uc.Reduced(1)]), tmp_path / "x")
    view = icehouse.open_image(tmp_path / "x", allow_classes=[uc.Plain])
    plain, sealed, reduced = pickle.loads(pickle.dumps(view))
    assert isinstance(plain, uc.Plain)
    assert not isinstance(sealed, uc.Sealed)
    assert not isinstance(reduced, uc.Reduced)
    trusted = pickle.loads(pickle.dumps(icehouse.open_image(tmp_path / "x", trust=True)))
    assert isinstance(trusted[2], uc.Reduced)


def test_h20_a_pickle_of_our_own_image_is_our_own() -> None:
    plain, reduced = pickle.loads(pickle.dumps(icehouse.freeze([uc.Plain("a"), uc.Reduced(1)])))
    assert isinstance(plain, uc.Plain)
    assert isinstance(reduced, uc.Reduced)
