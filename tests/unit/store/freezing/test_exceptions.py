"""Exceptions: type, arguments, attributes, notes and causes come back; no code of theirs runs."""

import contextlib
import json
import pickle
import socket
import sqlite3
import sys
from typing import Any

import pytest
from pairs import opened, taken

import icehouse
from icehouse import Record
from icehouse.store.freezing import exceptions, hooks
from icehouse.store.freezing.trust import OWN


class Refused(Exception):
    """One whose constructor takes other arguments than the message, as many do."""

    def __init__(self, what: str, code: int) -> None:
        super().__init__(f"{what} was refused")
        self.what, self.code = what, code


class Slotted(ValueError):
    __slots__ = ("extra",)


class Picky(OSError):
    def __init__(self, path: str) -> None:
        super().__init__(2, "gone", path)
        self.path = path


class Reducing(Exception):
    def __init__(self, a: int, b: int) -> None:
        super().__init__(a, b)

    def __reduce__(self) -> Any:
        return Reducing, self.args


class Codec(UnicodeDecodeError):
    def __init__(self) -> None:
        super().__init__("ascii", b"\xff", 0, 1, "because")


def back(exc: BaseException) -> Any:
    made = opened(taken(exc), OWN)
    assert type(made) is type(exc)
    assert made.args == exc.args
    assert str(made) == str(exc)
    assert vars(made) == vars(exc)
    return made


def raised(call: Any, *args: Any) -> BaseException:
    with pytest.raises(BaseException) as caught:
        call(*args)
    return caught.value


def test_plain_ones() -> None:
    for exc in (ValueError(), KeyError("x"), RuntimeError(1, [2]), KeyboardInterrupt()):
        back(exc)


def test_fields_beside_the_arguments() -> None:
    gone = back(raised(open, "/no/such/file"))
    assert (gone.errno, gone.filename) == (2, "/no/such/file")
    assert back(raised(compile, "a b", "f.py", "exec")).lineno == 1
    missing = back(ModuleNotFoundError("no x", name="x", path="/y"))
    assert (missing.name, missing.path) == ("x", "/y")
    assert back(StopIteration(5)).value == 5
    assert back(SystemExit(3)).code == 3
    wrong = back(raised("é".encode, "ascii"))
    assert (wrong.object, wrong.start, wrong.encoding) == ("é", 0, "ascii")
    assert back(BlockingIOError(1, "x", 7)).characters_written == 7
    named = back(raised(lambda: [].nothing))  # type: ignore[attr-defined]
    assert named.name == "nothing"
    assert named.obj is None


def test_those_of_modules_written_in_c() -> None:
    back(socket.gaierror(-2, "unknown"))
    with contextlib.closing(sqlite3.connect(":memory:")) as database:
        back(raised(database.execute, "nonsense"))
    assert back(raised(json.loads, "{")).pos == 1


def test_users_own() -> None:
    made = back(Refused("x", 5))
    assert (made.what, made.code) == ("x", 5)
    slotted = Slotted("a")
    slotted.extra = [1]
    assert back(slotted).extra == [1]
    picky = back(Picky("/x"))
    assert (picky.path, picky.filename, picky.errno) == ("/x", "/x", 2)
    back(Reducing(1, 2))
    assert back(Codec()).reason == "because"


def test_groups() -> None:
    group = ExceptionGroup("many", [ValueError(1), ExceptionGroup("in", [OSError(2, "x")])])
    made = opened(taken(group), OWN)
    assert type(made) is ExceptionGroup
    assert made.message == "many"
    assert [type(exc) for exc in made.exceptions] == [ValueError, ExceptionGroup]
    assert made.exceptions[1].exceptions[0].errno == 2
    assert made.split(OSError)[0] is not None


def test_notes_and_causes() -> None:
    def fail() -> None:
        try:
            try:
                raise KeyError("first")
            except KeyError as first:
                first.add_note("a note")
                raise ValueError("second") from first
        except ValueError:
            raise RuntimeError("third")  # noqa: B904 - the context is the point

    made = back(raised(fail))
    assert (type(made.__context__), made.__cause__) == (ValueError, None)
    assert not made.__suppress_context__
    second = made.__context__
    assert type(second.__cause__) is KeyError
    assert second.__suppress_context__
    assert second.__cause__.__notes__ == ["a note"]
    assert made.__traceback__ is None


def test_chains_end() -> None:
    exc: BaseException = ValueError(0)
    for number in range(1, 100):
        later = ValueError(number)
        later.__cause__ = exc
        exc = later
    made, count = opened(taken(exc), OWN), 0
    while made is not None:
        made, count = made.__cause__, count + 1
    assert count == exceptions.LINKS_MAX
    first, second = ValueError(1), ValueError(2)
    first.__context__, second.__cause__ = second, first
    made = opened(taken(first), OWN)
    assert made.__context__.args == (2,)
    assert made.__context__.__cause__ is None


def test_a_class_that_became_another_gives_what_can_be_had() -> None:
    payload = list(taken(Picky("/x")).payload)
    payload[4] = {"filename": "/y", "errno": "no number", "unknown": 1}
    made = hooks.make_value(23, tuple(payload), OWN)
    assert type(made) is Picky
    payload[1] = "Gone"
    record = hooks.make_value(23, tuple(payload), OWN)
    assert record.args == (2, "gone")
    payload[0], payload[1] = "builtins", "int"
    assert hooks.make_value(23, tuple(payload), OWN).type_name == "builtins.int"


def test_they_travel_on_by_pickle() -> None:
    made = opened(taken(ValueError(1)), OWN)
    assert pickle.loads(pickle.dumps(made)).args == (1,)


@pytest.mark.parametrize("added", [{"__reduce__": Reducing.__reduce__}, {"__del__": print}])
def test_a_class_that_says_otherwise_by_now_gives_a_record(
    added: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = taken(Refused("x", 5))
    now = type("Refused", (Exception,), {**added, "__module__": __name__})
    monkeypatch.setattr(sys.modules[__name__], "Refused", now)
    record = opened(kept, OWN)
    assert type(record) is Record
    assert (record.type_name, record.args, record.code) == (
        f"{__name__}.Refused",
        ("x was refused",),
        5,
    )


def test_a_cause_without_a_name_is_left_out() -> None:
    lost = type("Lost", (Exception,), {"__module__": __name__})
    local = type("f.<locals>.Local", (Exception,), {"__module__": __name__})
    for cls in (lost, local):
        exc = ValueError(1)
        exc.__cause__ = cls()
        made = icehouse.freeze([exc])[0]
        assert (made.args, made.__cause__) == ((1,), None)
        with pytest.raises(icehouse.NotFreezableError):
            icehouse.freeze([cls()])


def test_a_cause_of_a_frozen_local_class_goes_along() -> None:
    @icehouse.frozen
    class Local(Exception):
        pass

    exc = ValueError(1)
    exc.__cause__ = Local(2)
    made = icehouse.freeze([exc])[0]
    assert (type(made.__cause__), made.__cause__.args) == (Local, (2,))
