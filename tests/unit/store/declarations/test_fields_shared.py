"""Fields in several interpreters and processes, and in the daemon's store."""

import gc
import multiprocessing
import os
import pickle
import random
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from daemons import wait_until

import icehouse
from icehouse import interpreters

sys.path.insert(0, str(Path(__file__).parent))
import fields_work as work

needs_interpreters = pytest.mark.skipif(
    not interpreters.supported(), reason="this Python makes no interpreters"
)
SPAWN = multiprocessing.get_context("spawn")
FORK = multiprocessing.get_context("fork")


@pytest.fixture
def shared(daemon: Any) -> Iterator[icehouse.Store]:
    """A store of the daemon, which is whole at the end."""
    with icehouse.connect(daemon.socket) as store:
        yield store
        store.check()


def run_all(processes: list[Any]) -> None:
    for process in processes:
        process.start()
    for process in processes:
        process.join(100)
    assert [process.exitcode for process in processes] == [0] * len(processes)


# --- interpreters --------------------------------------------------------------------------------


@needs_interpreters
@pytest.mark.parametrize("where", ["never put", "embedded"])
def test_interpreters_count_to_an_exact_total(where: str) -> None:
    field = icehouse.SharedField(0)
    with icehouse.Store("64MiB") as store:
        if where == "embedded":
            store.put({"count": field}, name="counts")
            interpreters.run_in(4, work.count_in_store, store, "counts", 300)
        else:
            interpreters.run_in(4, work.count_in_view, icehouse.freeze({"count": field}), 300)
        assert field.get() == 1200
        store.check()


@needs_interpreters
def test_interpreters_of_a_daemon_s_store_count(daemon: Any, shared: icehouse.Store) -> None:
    field = icehouse.SharedField(0)
    shared.put({"count": field}, name="counts")
    interpreters.run_in(4, work.count_in, daemon.socket, "counts", 100)
    assert field.get() == 400


@needs_interpreters
def test_a_field_goes_along_by_itself() -> None:
    field = icehouse.SharedField("here")
    with interpreters.Interpreter() as other:
        assert other.call(work.value_of, field) == "here"
        other.call(work.set_field, field, "there")
        assert field.get() == "there"


@needs_interpreters
@pytest.mark.parametrize("put", ["here", "there"])
def test_a_field_that_moves_is_followed_by_all(put: str) -> None:
    field = icehouse.SharedField(1)
    view = icehouse.freeze({"field": field})
    with interpreters.Interpreter() as other, icehouse.Store("1MiB") as store:
        assert other.call(work.set_in, view, "field", 2) == 2
        if put == "here":
            work.put_field(store, field, "moved")
        else:
            other.call(work.put_field, store, field, "moved")
        assert other.call(work.set_in, view, "field", 3) == 3
        assert field.get() == 3
        assert store.get("moved")["field"].get() == 3
        field.set(4)
        assert other.call(work.get_in, view, "field") == 4
        assert other.call(work.get_in, store.get("moved"), "field") == 4
        assert store.usage().names == 2


@needs_interpreters
def test_each_interpreter_has_its_own_local() -> None:
    local: icehouse.InterpreterLocal[list[int]] = icehouse.InterpreterLocal(list)
    view = icehouse.freeze({"local": local})
    with interpreters.Interpreter() as one, interpreters.Interpreter() as two:
        assert one.call(work.local_value, view) == [0]
        assert one.call(work.local_value, view) == [0, 1]
        assert two.call(work.local_value, view) == [0]
        assert local.get() == []
        assert one.call(work.local_value, view) == [0, 1, 2]


@needs_interpreters
def test_an_interpreter_that_ends_leaves_the_value(shared: icehouse.Store) -> None:
    field = icehouse.SharedField(0)
    shared.put({"count": field}, name="counts")
    with interpreters.Interpreter() as other:
        other.call(work.count_in_store, shared, "counts", 5)
    assert field.get() == 5


# --- processes of the daemon ---------------------------------------------------------------------


def test_processes_count_to_an_exact_total(daemon: Any, shared: icehouse.Store) -> None:
    field = icehouse.SharedField(0)
    shared.put({"count": field}, name="counts")
    used = shared.usage()
    run_all(
        [SPAWN.Process(target=work.count_in, args=(daemon.socket, "counts", 150)) for _ in range(2)]
        + [
            FORK.Process(target=work.count_in, args=(daemon.socket, "counts", 150))
            for _ in range(2)
        ]
    )
    assert field.get() == 600
    assert (shared.usage().images, shared.usage().names) == (used.images + 1, used.names + 1)


def test_fields_travel_to_processes(shared: icehouse.Store) -> None:
    field = icehouse.SharedField("first")
    view = shared.get(shared.put({"field": field}))
    with SPAWN.Pool(1) as pool:
        assert pool.apply(work.value_of, (field,)) == "first"
        pool.apply(work.set_field, (field, "second"))
        assert field.get() == "second"
        assert pool.apply(work.set_in, (view, "field", "third")) == "third"
        assert field.get() == "third"


def test_what_was_never_put_is_another_cell_in_another_process() -> None:
    field = icehouse.SharedField(1)
    field.set(2)
    with SPAWN.Pool(1) as pool:
        assert pool.apply(work.value_of, (field,)) == 2
        pool.apply(work.hold, (field,))
        pool.apply(work.set_field, (field, 3))
        assert pool.apply(work.value_of, (field,)) == 3
    assert field.get() == 2


def test_a_forked_child_shares_the_fields_of_a_daemon(shared: icehouse.Store) -> None:
    field, other = icehouse.SharedField(1), icehouse.SharedField(0)
    view = shared.get(shared.put({"field": field}))
    run_all([FORK.Process(target=work.set_in, args=(view, "field", 2))])
    assert field.get() == 2
    run_all([FORK.Process(target=work.put_field, args=(shared, other, "copied"))])
    copied = shared.get("copied")["field"]
    copied.set(5)
    assert (other.get(), copied.get()) == (0, 5)


def test_the_first_who_puts_it_decides(daemon: Any, shared: icehouse.Store) -> None:
    """A value that was set before is the one that the store's field begins with."""
    field: icehouse.SharedField[Any] = icehouse.SharedField(icehouse.freeze({"a": 1}))
    field.set((1, icehouse.freeze([2])))
    shared.put({"field": field}, name="put")
    with SPAWN.Pool(1) as pool:
        before, after = pool.apply(work.set_fields, (daemon.socket, "put", "new"))
    assert before == (1, [2])
    assert field.get() == after == "new"


def test_thousands_of_swaps_leave_nothing(shared: icehouse.Store) -> None:
    field: icehouse.SharedField[Any] = icehouse.SharedField(0)
    shared.put(field)
    field.set(1)
    shared.trim()
    before = shared.usage()
    for number in range(3000):
        assert field.swap((number, "x" * (number % 3000))) is not None
    shared.trim()
    after = shared.usage()
    assert (after.images, after.names, after.deleted) == (before.images, before.names, 0)
    assert after.used <= before.used + 4096
    field.reset()
    assert shared.usage().names == before.names - 1


def test_nobody_is_told_of_cells(daemon: Any, shared: icehouse.Store) -> None:
    field = icehouse.SharedField(0)
    shared.put(field, name="shown")
    field.set(1)
    assert list(shared.names()) == ["shown"]
    [held] = [stat for stat in shared.ls() if stat.type == "tuple"]
    assert held.names == ()
    assert "shared field" in shared.explain(held.handle)
    assert "ih1_cell" not in shared.explain(held.handle)
    with pytest.raises(icehouse.Conflict, match="shared field"):
        shared.delete(held.handle)
    assert told_by_control(daemon.socket, field) == (["shown"], [], "invalid")
    shared.delete(held.handle, force=True)
    assert field.get() == 0, "then it has its first value again"


def told_by_control(socket: str, field: Any) -> tuple[list[str], list[str], str]:
    """What the control family lists of names and of objects' names, and says to a bind."""
    import asyncio

    name = f"ih1_cell_{field._id.hex()}"

    async def ask() -> tuple[list[str], list[str], str]:
        async with await icehouse.aio.connect(socket) as store:
            names = list(await store.names())
            objects = [name for stat in await store.ls() for name in stat.names]
            try:
                await store.bind(name, None)
            except ValueError:
                return names, [one for one in objects if one not in names], "invalid"
            return names, objects, "bound"

    return asyncio.run(ask())


def test_a_full_store_refuses_and_keeps_the_value(shared: icehouse.Store) -> None:
    field: icehouse.SharedField[Any] = icehouse.SharedField(0)
    shared.put(field)
    field.set("kept")
    with pytest.raises(icehouse.StoreFull):
        field.set(icehouse.freeze([b"x" * (100 << 20)]))
    assert field.get() == "kept"
    field.set("new")
    assert field.get() == "new"


# --- deaths --------------------------------------------------------------------------------------


@pytest.mark.slow
def test_writers_that_are_killed(daemon: Any, shared: icehouse.Store, soak_factor: int) -> None:
    field: icehouse.SharedField[Any] = icehouse.SharedField((0, 0, b""))
    shared.put({"last": field}, name="fields")
    seed = random.randrange(2**32)
    dice = random.Random(seed)
    reader = SPAWN.Process(target=work.read_many, args=(daemon.socket, "fields", 4.0 * soak_factor))
    reader.start()
    for _ in range(6 * soak_factor):
        writers = [
            FORK.Process(target=work.write_for_ever, args=(daemon.socket, "fields", size))
            for size in (10, 3000)
        ]
        for writer in writers:
            writer.start()
        seen = field.get()
        wait_until(lambda seen=seen: field.get() != seen, "a write")
        time.sleep(dice.random() * 0.05)
        for writer in writers:
            os.kill(writer.pid or 0, signal.SIGKILL)
            writer.join()
        last = field.get()
        assert last[2] == b"x" * len(last[2]), f"seed {seed}"
        assert field.compare_and_swap(last, (0, 0, b"")), f"seed {seed}"
        shared.check()
    reader.join(60)
    assert reader.exitcode == 0, f"seed {seed}"
    # Of each that was killed one image at most is left, which nobody bound: an orphan.
    shared.trim()
    assert shared.usage().images <= 2 + 12 * soak_factor + 1, f"seed {seed}"


def test_the_daemon_s_death_keeps_the_value(daemon: Any, shared: icehouse.Store) -> None:
    field = icehouse.SharedField(0)
    shared.put({"count": field}, name="counts")
    field.set(5)
    counting = SPAWN.Process(target=work.count_in, args=(daemon.socket, "counts", 400))
    counting.start()
    wait_until(lambda: field.get() > 20, "some counting")
    for _ in range(2):
        daemon.wait_for_another(daemon.kill())
        work.count(field, 10)
    counting.join(100)
    assert counting.exitcode == 0
    assert field.get() == 5 + 400 + 20
    shared.check()


def test_another_store_behind_the_socket_has_other_fields(daemon: Any) -> None:
    field = icehouse.SharedField("first")
    with icehouse.connect(daemon.socket) as store:
        view = store.get(store.put({"field": field}))
        field.set("second")
        data = pickle.dumps((field, view))
    del field, view, store
    gc.collect()
    daemon.stop()
    daemon.start()
    back, copied = pickle.loads(data)
    assert back.get() == copied["field"].get() == "second", "it came along by value (H16)"
    back.set("third")
    assert copied["field"].get() == "third"
    with icehouse.connect(daemon.socket) as other:
        assert other.usage().names == 0
