"""Freezing under attack: by threads at once, from inside itself, and past what is shown."""

import collections.abc
import functools
import os
import sys
import threading
import typing
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import icehouse
from icehouse import FrozenError
from icehouse.store import interpreters
from icehouse.store.declarations import definition, identity, rebuild


@pytest.fixture
def hasty() -> Iterator[None]:
    """Switch between threads as often as can be."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@pytest.mark.usefixtures("hasty")
def test_threads_that_freeze_the_same_declarations_all_succeed() -> None:
    for number in range(20):
        shared = [number]

        @icehouse.freezable("shared")
        def f(shared: Any = shared) -> Any:
            return shared

        @icehouse.freezable
        class C:
            state = [1]  # noqa: RUF012 - mutable, that is the point

            def m(self, f: Callable[[], Any] = f) -> Any:
                return f(), self.state

        together = threading.Barrier(4)
        failures: list[Exception] = []

        def work(
            turn: int,
            f: Any = f,
            c: Any = C,
            together: Any = together,
            failures: list[Exception] = failures,
        ) -> None:
            together.wait()
            try:
                icehouse.freeze(f) if turn % 2 else icehouse.freeze(c, f)
            except Exception as error:
                failures.append(error)

        threads = [threading.Thread(target=work, args=(turn,)) for turn in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert failures == []
        assert icehouse.is_frozen(f)
        assert icehouse.is_frozen(C)
        assert C().m() == ([number], [1])


def test_what_is_frozen_while_it_is_planned_is_taken_as_it_is() -> None:
    calls = []

    @icehouse.freezable
    def f() -> int:
        return 1

    def pre_freeze() -> None:
        calls.append(1)
        icehouse.freeze(f)

    f.__pre_freeze__ = pre_freeze  # type: ignore[attr-defined]
    assert icehouse.freeze(f) is f
    assert icehouse.is_frozen(f)
    assert calls == [1]


def test_a_veto_stays_one_though_the_hook_froze_what_was_planned() -> None:
    @icehouse.freezable
    def f() -> int:
        return 1

    def veto() -> None:
        icehouse.freeze(f)
        raise LookupError("no")

    f.__pre_freeze__ = veto  # type: ignore[attr-defined]

    @icehouse.freezable
    def g() -> int:
        return 1

    g.__pre_freeze__ = veto  # type: ignore[attr-defined]
    for _ in range(2):
        with pytest.raises(LookupError, match="no"):
            icehouse.freeze(f, g)
        assert not icehouse.is_frozen(g)


def test_an_object_whose_hook_freezes_it_is_read_once_that_is_done() -> None:
    class Account:
        def __pre_freeze__(self) -> None:
            self.seen = icehouse.freeze(self)
            self.total = 3

    view = icehouse.freeze([Account()])[0]
    assert view.total == 3
    assert not hasattr(view.seen, "total")


def test_nothing_is_frozen_if_it_can_not_be_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    @icehouse.freezable
    def f() -> int:
        return 1

    def fail(*arguments: object) -> None:
        raise MemoryError

    monkeypatch.setattr(identity, "remember", fail)
    with pytest.raises(MemoryError):
        icehouse.freeze(f)
    assert not icehouse.is_frozen(f)
    monkeypatch.undo()
    assert icehouse.freeze(f) is f


# --- what names hold -----------------------------------------------------------------------------


def plus_hundred(function: Any) -> Any:
    @functools.wraps(function)
    def wrapper(n: int) -> Any:
        return function(n) + 100

    return wrapper


@icehouse.frozen
@plus_hundred
def factorial(n: int) -> int:
    return 1 if n < 2 else n * factorial(n - 1)  # type: ignore[no-any-return]


def test_h26_a_function_below_other_decorators_calls_what_these_made() -> None:
    @plus_hundred
    def plain(n: int) -> int:
        return 1 if n < 2 else n * plain(n - 1)  # type: ignore[no-any-return]

    @icehouse.frozen
    @plus_hundred
    def local(n: int) -> int:
        return 1 if n < 2 else n * local(n - 1)  # type: ignore[no-any-return]

    assert factorial(3) == local(3) == icehouse.freeze(plain)(3) == plain(3) == 1006


def test_h26_decorators_that_keep_no_name_are_called_again_too() -> None:
    def logged(function: Any) -> Any:
        def wrapper(n: int) -> Any:
            return "log", function(n)

        return wrapper

    @icehouse.frozen
    @logged
    def f(n: int) -> Any:
        return n if n == 0 else f(n - 1)

    assert f(1) == ("log", ("log", 0))


def test_h26_a_name_that_holds_the_function_itself_still_does() -> None:
    def f(n: int) -> int:
        return 1 if n < 2 else n * f(n - 1)

    assert icehouse.frozen(plus_hundred(f))(3) == 106


# --- what is shown -------------------------------------------------------------------------------


@icehouse.frozen
class Shown:
    @property
    def p(self) -> int:
        return 1

    @functools.cached_property
    def cp(self) -> int:
        return 1

    @classmethod
    def cm(cls) -> int:
        return 1

    @staticmethod
    def sm() -> int:
        return 1

    @functools.singledispatchmethod
    def sd(self, value: object) -> int:
        return 1

    pm = functools.partialmethod(sd, 2)


@pytest.mark.parametrize("name", ["p", "cp", "cm", "sm", "sd", "pm"])
def test_h25_the_dicts_of_descriptors_can_not_be_written(name: str) -> None:
    entry = Shown.__dict__[name]
    shown = vars(entry)
    before = dict(shown)
    for key in (*shown, "new"):
        with pytest.raises(TypeError):
            shown[key] = 5
        with pytest.raises(TypeError):
            del shown[key]
        with pytest.raises(FrozenError):
            setattr(entry, key, 5)
    with pytest.raises(AttributeError):
        entry.__dict__ = {}
    assert dict(vars(entry)) == before
    made: Any = Shown()
    assert (made.p, made.cp, made.cm(), made.sm(), made.sd(2), made.pm()) == (1,) * 6


# --- ids, places and names -----------------------------------------------------------------------


def test_classes_of_one_name_whose_code_differs_are_told_apart() -> None:
    def made(source: str) -> type:
        space: dict[str, Any] = {"__name__": "__main__"}
        exec(f"class C:\n def f(self, a): return {source}", space)
        cls: type = space["C"]
        return cls

    sources = (
        *("self.x + a", "self.x - a", "self.y + a", "[a + i for i in a]", "[a - i for i in a]"),
        *("a in (1, (2, 3))", "a in (1, (2, 4))", "a in {1, 2}", "a in {1, 3}", "a + 1j", "a + 2j"),
    )
    prints = [definition.fingerprint(made(source)) for source in sources]
    assert len(set(prints)) == len(sources)
    again = [icehouse.freeze(made(source)) for source in sources]
    assert [definition.fingerprint(cls) for cls in again] == prints


def test_a_function_has_one_box_however_many_threads_send_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    function = icehouse.freeze(lambda: 1)
    made = []

    def freeze_slowly(obj: Any) -> Any:
        if not made:
            made.append(None)  # as if another thread were quicker
            made.append(interpreters._box_of(function))
        return icehouse.freeze(obj)

    monkeypatch.setattr(interpreters, "freeze", freeze_slowly)
    assert interpreters._box_of(function) is made[1]


@pytest.mark.parametrize(
    "alias",
    [
        collections.abc.Callable[[], int],
        collections.abc.Callable[[int, str], list[int]],
        collections.abc.Callable[..., int],
        collections.abc.Callable[[collections.abc.Callable[[int], str]], int],
        typing.Callable[[], int],
        typing.Callable[[int, str], None],
        typing.Callable[..., int | None],
    ],
    ids=str,
)
def test_types_of_callables_freeze(alias: Any) -> None:
    def f(a: Any = None) -> Any:
        return alias, a

    f.__annotations__ = {"a": alias}  # as a whole: from 3.14 on writing an entry is not seen
    frozen = icehouse.freeze(f)
    assert frozen()[0] == alias
    assert frozen.__annotations__["a"] == alias
    with icehouse.Store("1MiB") as store:
        opened = store.get(store.put([alias]))[0]
        assert opened == alias
        assert type(opened) is type(alias)
    assert icehouse.thaw(icehouse.freeze([alias])) == [alias]


def test_an_annotation_is_no_reason_to_fail() -> None:
    class Odd:
        def __pre_freeze__(self) -> None:
            raise KeyError("no")

        def __repr__(self) -> str:
            return "odd"

    def f(a: Any) -> Any:
        return a

    f.__annotations__ = {"a": Odd()}
    assert icehouse.freeze(f).__annotations__["a"] == "odd"


def test_h26_a_wrapper_has_what_it_wraps_by_its_own_name() -> None:
    def twice(plain: Any) -> Any:
        @functools.wraps(plain)
        def wrapper() -> int:
            return 2 * plain()  # type: ignore[no-any-return]  # of whatever it is

        return wrapper

    @icehouse.frozen
    @twice
    def plain() -> int:
        return 21

    assert plain() == 42


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_child_need_not_wait_for_a_thread_that_makes_classes() -> None:
    held, ended = threading.Event(), threading.Event()

    def hold() -> None:
        with rebuild._building():
            held.set()
            ended.wait()

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait()
    pid = os.fork()
    if pid == 0:
        os._exit(0 if rebuild._lock.acquire(blocking=False) else 1)
    ended.set()
    thread.join()
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
