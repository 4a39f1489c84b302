"""InterpreterLocal in one process, and what forks do to fields."""

import gc
import os
import pickle
import subprocess
import sys
import threading
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import icehouse
from icehouse.store.declarations import fields

sys.path.insert(0, str(Path(__file__).parent))
import fields_work as work


@pytest.fixture
def store() -> Iterator[icehouse.Store]:
    with icehouse.Store("64MiB") as made:
        yield made
        made.check()


def test_a_local_has_a_value_or_makes_one() -> None:
    local: icehouse.InterpreterLocal[Any] = icehouse.InterpreterLocal(5)
    assert local.get() == 5
    local.set([1])
    assert local.get() == [1]
    cache: icehouse.InterpreterLocal[dict[str, int]] = icehouse.InterpreterLocal(dict)
    cache.get()["a"] = 1
    assert cache.get() == {"a": 1}
    view = icehouse.freeze({"cache": cache})
    assert view["cache"] is cache


@pytest.mark.parametrize("value", [[1], {}, bytearray(), ([],)])
def test_a_mutable_default_is_refused(value: Any) -> None:
    with pytest.raises(TypeError, match=r"mutable.*a factory such as"):
        icehouse.InterpreterLocal(value)


def test_a_value_outlives_the_object_only_if_it_can_be_opened_again() -> None:
    class Big:
        pass

    alone: icehouse.InterpreterLocal[Any] = icehouse.InterpreterLocal(None)
    kept: icehouse.InterpreterLocal[Any] = icehouse.InterpreterLocal(None)
    alone.set(Big())
    kept.set(Big())
    lost, stays = weakref.ref(alone.get()), weakref.ref(kept.get())
    view = icehouse.freeze([kept])
    del alone, kept
    gc.collect()
    assert lost() is None
    assert view[0].get() is stays()


def test_a_factory_is_called_once_whatever_the_threads() -> None:
    work.CALLS.clear()
    local: icehouse.InterpreterLocal[Any] = icehouse.InterpreterLocal(Factory)
    found: list[Any] = []
    barrier = threading.Barrier(8)

    def ask() -> None:
        barrier.wait()
        found.append(local.get())

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(work.CALLS) == 1
    assert all(one is found[0] for one in found)


class Factory:
    """Counts how often it is made."""

    def __init__(self) -> None:
        self.items = work.make_list()


class Asks:
    """Asks for the value that it is to make."""

    local: Any

    def __init__(self) -> None:
        type(self).local.get()


class Sets:
    local: Any

    def __init__(self) -> None:
        type(self).local.set("set meanwhile")


class Fails:
    ready = False

    def __init__(self) -> None:
        if not self.ready:
            raise LookupError("not yet")


def test_a_factory_that_asks_sets_or_fails() -> None:
    Asks.local = icehouse.InterpreterLocal(Asks)
    with pytest.raises(RuntimeError, match="asks for the value"):
        Asks.local.get()
    Sets.local = icehouse.InterpreterLocal(Sets)
    assert Sets.local.get() == "set meanwhile"
    fails = icehouse.InterpreterLocal(Fails)
    with pytest.raises(LookupError, match="not yet"):
        fails.get()
    Fails.ready = True
    assert type(fails.get()) is Fails


def test_a_local_pickles_as_itself() -> None:
    local: icehouse.InterpreterLocal[Any] = icehouse.InterpreterLocal(dict)
    local.get()["a"] = 1
    assert pickle.loads(pickle.dumps(local)) is local
    assert local == local
    assert len({local, icehouse.InterpreterLocal(dict)}) == 2


def test_the_module_is_loaded_when_it_is_used() -> None:
    code = (
        "import sys, icehouse\n"
        "icehouse.freeze([1, {2: 3}])\n"
        "assert 'icehouse.store.declarations.fields' not in sys.modules\n"
        "icehouse.SharedField\n"
        "assert 'icehouse.store.declarations.fields' in sys.modules\n"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# --- forks ---------------------------------------------------------------------------------------


def in_child(function: Any) -> None:
    """Run in a forked child; what it raises fails the test."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            function()
            code = 0
        except BaseException:
            import traceback

            traceback.print_exc()
        finally:
            os._exit(code)
    assert os.waitpid(pid, 0)[1] == 0


def test_h28_a_forked_child_reads_and_is_told_where_to_write(store: icehouse.Store) -> None:
    never_put, put = icehouse.SharedField(1), icehouse.SharedField(2)
    shared = icehouse.SharedField("process")
    icehouse.freeze([shared])
    store.put(put)
    put.set(3)
    local: icehouse.InterpreterLocal[list[int]] = icehouse.InterpreterLocal(list)
    local.get().append(1)
    reader, writer = os.pipe()

    def inside() -> None:
        os.read(reader, 1)
        assert (never_put.get(), put.get(), shared.get()) == (1, 3, "process")
        for field in (never_put, put, shared):
            with pytest.raises(icehouse.StoreUnavailable, match=r"connect\(\)"):
                field.set(4)
            with pytest.raises(icehouse.StoreUnavailable, match=r"connect\(\)"):
                field.compare_and_swap(field.get(), 4)
        assert local.get() == [1], "a copy, as fork makes them"
        local.get().append(2)
        own = icehouse.SharedField(0)
        own.set(1)
        assert icehouse.freeze([own])[0].get() == 1
        assert icehouse.freeze([put])[0].get() == 3, "by value"

    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            inside()
            code = 0
        except BaseException:
            import traceback

            traceback.print_exc()
        finally:
            os._exit(code)
    # It reads after this, what it had when it began.
    put.set(30)
    os.write(writer, b"x")
    assert os.waitpid(pid, 0)[1] == 0
    os.close(reader)
    os.close(writer)
    assert local.get() == [1]
    assert put.get() == 30


def test_a_fork_while_another_thread_writes(store: icehouse.Store) -> None:
    field = icehouse.SharedField(0)
    store.put(field)
    done = threading.Event()

    def write() -> None:
        while not done.is_set():
            field.set(field.get() + 1)

    thread = threading.Thread(target=write)
    thread.start()
    try:
        for _ in range(20):
            in_child(lambda: fields.SharedField(field.get()).get())
    finally:
        done.set()
        thread.join()


def test_h28_a_forked_child_that_opens_a_field_itself(store: icehouse.Store) -> None:
    for written in (False, True):
        field = icehouse.SharedField("first")
        handle = store.put({"field": field})
        field.set("second")
        del field
        gc.collect()
        reader, writer = os.pipe()
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                os.read(reader, 1)
                found = store.get(handle)["field"]
                if written:
                    with pytest.raises(icehouse.StoreUnavailable, match=r"connect\(\)"):
                        found.get()
                else:
                    assert found.get() == "second"
                with pytest.raises(icehouse.StoreUnavailable, match=r"connect\(\)"):
                    found.set("third")
                code = 0
            except BaseException:
                import traceback

                traceback.print_exc()
            finally:
                os._exit(code)
        if written:
            store.get(handle)["field"].set("since the fork")
        os.write(writer, b"x")
        assert os.waitpid(pid, 0)[1] == 0
        os.close(reader)
        os.close(writer)
