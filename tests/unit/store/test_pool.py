"""icehouse.interpreters.pool: an Executor as others, with workers of two kinds."""

import concurrent.futures as futures
import functools
import gc
import itertools
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import icehouse
from icehouse import interpreters
from icehouse.interpreters import BrokenPool, InterpreterError
from icehouse.store import pool_check
from icehouse.store.pool import Pool

HERE = str(Path(__file__).parent)
sys.path.insert(0, HERE)
import pool_work as work  # noqa: E402

sys.path.remove(HERE)

MakePool = Callable[..., Pool]
INTERPRETERS = pytest.param(
    "interpreters",
    marks=pytest.mark.skipif(not interpreters.supported(), reason="no interpreters here"),
)


@pytest.fixture(autouse=True)
def importable_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(HERE)


@pytest.fixture(params=[INTERPRETERS, "processes"])
def kind(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture
def make(kind: str) -> Iterator[MakePool]:
    """Makes pools of one kind, and ends them."""
    made: list[Pool] = []

    def one(count: int = 1, **options: Any) -> Pool:
        pool = interpreters.pool(count, processes=kind == "processes", **options)
        made.append(pool)
        return pool

    yield one
    for pool in made:
        pool.shutdown(cancel_futures=True)


@pytest.fixture
def pool(make: MakePool) -> Pool:
    return make(2)


def until(done: Callable[[], bool]) -> None:
    while not done():
        time.sleep(0.005)


def hold(pool: Pool, folder: Path, count: int = 1) -> tuple[Path, list[futures.Future[None]]]:
    """Keep workers busy until the path is made."""
    end = folder / "end"
    begun = [folder / f"begun {number}" for number in range(count)]
    held = [pool.submit(work.touch_and_wait, str(path), str(end)) for path in begun]
    until(lambda: all(path.exists() for path in begun))
    return end, held


# --- calls ----------------------------------------------------------------------------------------


def test_calls_and_results(pool: Pool) -> None:
    assert isinstance(pool, futures.Executor)
    assert pool.submit(work.add, 1, b=2).result() == 3
    assert pool.submit(work.add, 1, 2).result() == 3
    assert pool.submit(pow, 2, 5).result() == 32
    assert pool.submit(functools.partial(work.add, 1), b=4).result() == 5
    assert pool.submit(work.Counter(3).plus, 4).result() == 7
    data = {"a": [1, (2.5, None)], "b": {3, 4}}
    assert pool.submit(work.identity, data).result() == data
    assert pool.submit(work.types_of, *data.values(), b"x").result() == ["list", "set", "bytes"]
    big = bytes(range(256)) * 4096
    assert pool.submit(work.identity, big).result() == big


def test_results_come_in_any_order_and_futures_as_usual(pool: Pool) -> None:
    calls = {pool.submit(work.add, number): number for number in range(20)}
    assert {call.result() for call in futures.as_completed(calls)} == set(range(20))
    assert all(call.result() == number for call, number in calls.items())
    seen: list[Any] = []
    calls[last := pool.submit(work.add, 5)] = 5
    last.add_done_callback(lambda done: seen.append(done.result()))
    last.result()
    until(lambda: seen == [5])


def test_frozen_arguments_and_results_go_by_reference(make: MakePool, kind: str) -> None:
    pool = make(1)
    view = icehouse.freeze({"a": [1, 2, 3], "b": {"c": "d"}})
    assert pool.submit(work.types_of, view, view["a"], view["a"][1:]).result() == [
        "FrozenDict",
        "FrozenList",
        "FrozenList",
    ]
    answers = [
        pool.submit(work.identity, view).result(),
        pool.submit(work.identity, value=view).result(),
        pool.submit(work.both, view).result()["views"][1],
        pool.submit(work.identity, view["b"]).result(),
        next(pool.map(work.identity, [view])),
    ]
    assert answers == [view, view, view, view["b"], view]
    if kind == "interpreters":
        assert icehouse.same(answers[0], view)
        assert icehouse.same(answers[2], view)
        assert icehouse.same(answers[3], view["b"])
    made = pool.submit(work.fresh, 100_000).result()
    assert type(made) is icehouse.FrozenDict
    assert made["made"][-1] == 99_999


def test_plain_results_stay_plain_or_are_frozen_if_asked_for(make: MakePool) -> None:
    for size in (3, 100_000):
        result = make(1).submit(work.plain, size).result()
        assert type(result) is dict
        assert type(result["made"]) is list
        frozen = make(1, freeze_results=True).submit(work.plain, size).result()
        assert type(frozen) is icehouse.FrozenDict
        assert frozen == result
    pool = make(1, freeze_results=True)
    assert pool.submit(work.add, 1, 2).result() == 3
    # It refers to the lock, so it can't be pickled.
    with pytest.raises(InterpreterError, match=r"NotFreezableError: .*lock"):
        pool.submit(work.lock).result()
    assert [list(each["made"]) for each in pool.map(work.plain, [0, 1])] == [[], [0]]


def test_what_workers_answered_is_not_kept(make: MakePool, kind: str) -> None:
    if kind == "processes":
        pytest.skip("the stores of worker processes can't be seen from here")
    pool = make(1)
    handles = []
    for function in (work.fresh, work.both):
        argument = 3 if function is work.fresh else icehouse.freeze([function.__name__])
        result = pool.submit(function, argument).result()
        handles.append((result if function is work.fresh else result["views"][0]).handle)
        del argument, result
    gc.collect()
    for handle in handles:
        with pytest.raises(icehouse.HandleGone):
            icehouse.get(handle)


def test_a_store_is_the_same_store(make: MakePool, kind: str) -> None:
    if kind == "processes":
        pytest.skip("an embedded store does not leave its process")
    with icehouse.Store("16MiB") as store:
        same = make(1).submit(work.identity, store).result()
        assert same.token == store.token


def test_modules_and_state_stay_in_a_worker(make: MakePool, kind: str) -> None:
    pool = make(1)
    pool.submit(work.begin, 1).result()
    pool.submit(work.begin, "b").result()
    assert pool.submit(work.begun).result() == [1, "b"]
    assert work.begun() == []
    # 3.11 has no threads there.
    if kind == "processes" or interpreters.own_gil():
        assert pool.submit(work.thread_there).result() == [5]


# --- map ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("chunksize", [1, 3, 100])
@pytest.mark.parametrize("buffersize", [None, 1, 4])
def test_map_keeps_the_order(pool: Pool, chunksize: int, buffersize: int | None) -> None:
    options: dict[str, Any] = {"chunksize": chunksize, "buffersize": buffersize}
    assert list(pool.map(work.add, range(10), range(10, 20), **options)) == list(range(10, 30, 2))
    assert list(pool.map(work.add, [], **options)) == []
    assert list(pool.map(work.add, range(5), range(3), **options)) == [0, 2, 4]


def test_map_takes_only_so_much_ahead(pool: Pool) -> None:
    taken = itertools.count()
    results = pool.map(work.add, taken, buffersize=3)
    assert next(taken) == 3
    assert [next(results) for _ in range(4)] == [0, 1, 2, 4]
    assert next(taken) == 8
    del results


def test_map_refuses_what_makes_no_sense(pool: Pool) -> None:
    with pytest.raises(ValueError, match="chunksize"):
        pool.map(work.add, [1], chunksize=0)
    with pytest.raises(ValueError, match="buffersize"):
        pool.map(work.add, [1], buffersize=0)
    with pytest.raises(TypeError, match="buffersize"):
        pool.map(work.add, [1], buffersize=1.5)  # type: ignore[arg-type]


def test_map_raises_where_the_failure_is(pool: Pool) -> None:
    results = pool.map(divmod, [1, 1, 1], [1, 0, 1])
    assert next(results) == (1, 0)
    with pytest.raises(ZeroDivisionError):
        next(results)
    with pytest.raises(StopIteration):
        next(results)


def test_map_times_out_and_cancels_the_rest(make: MakePool, tmp_path: Path) -> None:
    pool = make(1)
    end = tmp_path / "end"
    arguments = [str(tmp_path / str(number)) for number in range(3)]
    results = pool.map(work.touch_and_wait, arguments, [str(end)] * 3, timeout=0.05)
    with pytest.raises(futures.TimeoutError):
        next(results)
    end.touch()
    pool.shutdown()
    assert not Path(arguments[2]).exists()


# --- failures of calls ----------------------------------------------------------------------------


def test_exceptions_carry_the_other_sides_traceback(pool: Pool, kind: str) -> None:
    with pytest.raises(ValueError, match="bad value") as caught:
        pool.submit(work.raising, "value").result()
    assert caught.value.args == ("bad value", 3)
    assert type(caught.value.__cause__) is InterpreterError
    text = str(caught.value.__cause__)
    assert "pool_work.py" in text
    assert ("worker process" if kind == "processes" else "other interpreter") in text
    with pytest.raises(LookupError) as chained:
        pool.submit(work.raising, "chain").result()
    assert "below" in str(chained.value.__cause__)
    with pytest.raises(InterpreterError, match="Odd"):
        pool.submit(work.raising, "odd").result()
    # As the executors of concurrent.futures have it: it ends no worker.
    exited = pool.submit(work.raising, "exit").exception()
    assert isinstance(exited, SystemExit)
    assert exited.code == 3
    assert pool.submit(work.add, 1).result() == 1


def test_what_does_not_pickle_fails_its_call_alone(pool: Pool) -> None:
    with pytest.raises(TypeError, match="pickle"):
        pool.submit(work.identity, threading.Lock()).result()
    with pytest.raises(TypeError, match="pickle"):
        pool.submit(work.lock).result()
    with pytest.raises(RuntimeError, match="not to be read") as caught:
        pool.submit(work.identity, work.Unreadable()).result()
    assert "could not be opened in the worker" in str(caught.value.__cause__)
    with pytest.raises(RuntimeError, match="not to be read"):
        pool.submit(work.unreadable).result()
    with pytest.raises(TypeError):
        pool.submit(work.add).result()
    assert pool.submit(work.add, 1).result() == 1


def test_failures_keep_no_arguments(pool: Pool) -> None:
    """A Future with an exception refers to no frame, so to nothing that they hold."""
    store = icehouse.Store("16MiB")
    view = store.freeze([1, 2, 3])
    failed = pool.submit(divmod, view, 0)
    assert isinstance(failed.exception(), TypeError)
    assert store.usage().leases == 1
    del view
    until(lambda: store.usage().images == 0)


def test_functions_without_a_name_are_refused_at_once(pool: Pool) -> None:
    def inner() -> None: ...

    for function in (inner, lambda: None, functools.partial(inner)):
        with pytest.raises(TypeError, match="top level of a module"):
            pool.submit(function)


def test_functions_of_the_script_need_freezing(pool: Pool) -> None:
    source = "def of_script():\n    return 1\n"
    names: dict[str, Any] = {"__name__": "__main__"}
    exec(source, names)
    of_script = names["of_script"]
    said = r"the script itself \(__main__\).*pass icehouse\.freeze\(function\)"
    if "processes" not in repr(pool):  # those find it as multiprocessing does
        with pytest.raises(TypeError, match=said):
            pool.submit(of_script)
    with pytest.raises(TypeError, match=said):
        interpreters.run(of_script)
    assert pool.submit(icehouse.freeze(of_script)).result() == 1


# --- cancelling, waiting, ending ------------------------------------------------------------------


def test_waiting_with_a_timeout(make: MakePool, tmp_path: Path) -> None:
    pool = make(1)
    end, (held,) = hold(pool, tmp_path)
    assert held.running()
    assert not held.cancel()
    with pytest.raises(futures.TimeoutError):
        held.result(timeout=0.01)
    done, waiting = futures.wait([held, pool.submit(work.add, 1)], timeout=0.01)
    assert (len(done), len(waiting)) == (0, 2)
    end.touch()
    assert held.result() is None


def test_queued_calls_can_be_cancelled(make: MakePool, tmp_path: Path) -> None:
    pool = make(1)
    end, _ = hold(pool, tmp_path)
    touched = tmp_path / "touched"
    waiting = pool.submit(work.touch_and_wait, str(touched), str(end))
    last = pool.submit(work.add, 1)
    assert waiting.cancel()
    assert waiting.cancelled()
    end.touch()
    assert last.result() == 1
    with pytest.raises(futures.CancelledError):
        waiting.result()
    assert not touched.exists()


def test_shutdown_finishes_what_was_submitted(make: MakePool) -> None:
    pool = make(2)
    calls = [pool.submit(work.add, number) for number in range(20)]
    pool.shutdown()
    assert [call.result(0) for call in calls] == list(range(20))
    pool.shutdown()
    with pytest.raises(RuntimeError, match="after shutdown"):
        pool.submit(work.add, 1)
    with pytest.raises(RuntimeError, match="after shutdown"):
        pool.map(work.add, [1])
    assert "shut down" in repr(pool)


def test_shutdown_can_cancel_what_waits(make: MakePool, tmp_path: Path) -> None:
    pool = make(1)
    end, (held,) = hold(pool, tmp_path)
    waiting = [pool.submit(work.add, number) for number in range(5)]
    pool.shutdown(wait=False, cancel_futures=True)
    assert all(call.cancelled() for call in waiting)
    assert futures.wait(waiting, timeout=0).not_done == set()
    assert not held.done()
    end.touch()
    pool.shutdown()
    assert held.result(0) is None


def test_shutdown_without_waiting_and_by_a_callback(make: MakePool) -> None:
    pool = make(2)
    calls = [pool.submit(work.add, number) for number in range(8)]
    pool.shutdown(wait=False)
    assert [call.result() for call in calls] == list(range(8))
    other = make(1)
    ended = threading.Event()

    def end(done: futures.Future[int]) -> None:
        other.shutdown()
        ended.set()

    other.submit(work.add, 1).add_done_callback(end)
    assert ended.wait(100)


def test_a_with_block_waits(make: MakePool) -> None:
    with make(1) as pool:
        call = pool.submit(work.sleep, 0.05)
    assert call.result(0) == 0.05


def test_workers_are_made_when_needed_and_none_is_left(make: MakePool) -> None:
    before = threading.active_count()
    pool = make(3)
    assert threading.active_count() == before
    for number in range(5):
        assert pool.submit(work.add, number).result() == number
    assert threading.active_count() <= before + 3
    pool.shutdown()
    assert threading.active_count() == before


def test_a_pool_that_is_dropped_finishes_and_ends(make: MakePool, kind: str) -> None:
    before = threading.active_count()
    pool = interpreters.pool(2, processes=kind == "processes")
    calls = [pool.submit(work.add, number) for number in range(10)]
    del pool
    gc.collect()
    assert [call.result() for call in calls] == list(range(10))
    until(lambda: threading.active_count() == before)


# --- initializers and workers that end ------------------------------------------------------------


def test_every_worker_is_initialized(make: MakePool, tmp_path: Path) -> None:
    view = icehouse.freeze([1])
    pool = make(2, initializer=work.begin, initargs=(view,))
    end, _ = hold(pool, tmp_path, 2)
    end.touch()
    for begun in [pool.submit(work.begun) for _ in range(6)]:
        assert begun.result() == [view]


@pytest.mark.parametrize("how", ["value", "exit", "odd"])
def test_an_initializer_that_fails_breaks_the_pool(make: MakePool, how: str) -> None:
    pool = make(2, initializer=work.fail_to_begin, initargs=(how,))
    calls = [pool.submit(work.add, 1)]
    assert calls[0].exception() is not None
    with pytest.raises(futures.BrokenExecutor, match=r"initializer pool_work\.fail_to_begin"):
        pool.submit(work.add, 1)
    for call in calls:
        error = call.exception()
        assert isinstance(error, BrokenPool)
        assert isinstance(error, icehouse.IcehouseError)
        assert error.__cause__ is not None
    assert "broken" in repr(pool)
    with pytest.raises(TypeError, match="top level"):
        make(1, initializer=lambda: None)


@pytest.mark.parametrize(("how", "said"), [("kill", "SIGKILL"), ("exit", "exit code 7")])
def test_a_process_that_ends_breaks_the_pool(how: str, said: str, tmp_path: Path) -> None:
    with interpreters.pool(2, processes=True) as pool:
        end, (other,) = hold(pool, tmp_path)
        ending = pool.submit(work.end, how)
        error = ending.exception()
        assert isinstance(error, BrokenPool)
        assert said in str(error)
        assert "pool_work.end" in str(error)
        with pytest.raises(BrokenPool, match=said):
            pool.submit(work.add, 1)
        # What the others do goes on.
        end.touch()
        assert other.result() is None


def test_a_worker_that_can_not_start_breaks_the_pool(
    make: MakePool, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: Any, **kwargs: Any) -> None:
        raise OSError("nothing left")

    pool = make(1)
    if kind == "interpreters":
        monkeypatch.setattr("icehouse.store.pool_workers.Interpreter", fail)
    else:
        monkeypatch.setattr("multiprocessing.get_context", fail)
    with pytest.raises(BrokenPool, match="could not start: nothing left") as caught:
        pool.submit(work.add, 1).result()
    assert isinstance(caught.value.__cause__, OSError)


def test_an_interpreter_that_can_not_be_entered_breaks_the_pool() -> None:
    from icehouse.native import _image
    from icehouse.store import pool_workers

    worker = pool_workers.InterpreterWorker(frozen=False)
    with pytest.raises(pool_workers.WorkerLost, match="can't be used"):
        worker.call((0, None, work.add, (1,), {}))
    assert _image._door_close(1 << 40) is None


# --- what can't run there -------------------------------------------------------------------------


def refused_there(module: str) -> bool:
    code = f"import {module}"
    try:
        interpreters.run(code)
    except InterpreterError:
        return True
    return False


@pytest.mark.skipif(not interpreters.own_gil(), reason="such modules load where there is one GIL")
def test_a_module_that_does_not_load_there_is_named_at_submit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("_cffi_backend")
    (tmp_path / "needs_cffi.py").write_text("import _cffi_backend\ndef f(): return 1\n")
    (tmp_path / "needs_it.py").write_text("import needs_cffi\ndef g(): return needs_cffi.f()\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    import needs_it  # type: ignore[import-not-found]

    with interpreters.pool(1) as pool:
        with pytest.raises(InterpreterError, match=r"needs_it\.g .* needs_it.*processes=True"):
            pool.submit(needs_it.g)
        with pytest.raises(InterpreterError, match="processes=True"):
            pool.submit(functools.partial(needs_it.g))
        assert pool.submit(work.add, 1).result() == 1
    with interpreters.pool(1, processes=True) as pool:
        assert pool.submit(needs_it.g).result() == 1


def test_a_module_is_tried_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not interpreters.own_gil():
        pytest.skip("modules are tried out where each interpreter has a GIL")
    (tmp_path / "counts_itself.py").write_text(
        "import pathlib\n"
        "with pathlib.Path(__file__).with_name('count').open('a') as f: f.write('x')\n"
        "def f(): return 1\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    import counts_itself  # type: ignore[import-not-found]

    for _ in range(3):
        pool_check.check_for_interpreters(counts_itself.f)
    assert (tmp_path / "count").read_text() == "xx"
    assert pool_check.modules_of(counts_itself.f) == ("counts_itself",)
    assert pool_check.modules_of(functools.partial(work.add, 1)) == ("pool_work",)
    assert pool_check.modules_of(work.Counter(1).plus) == ("pool_work",)


# --- numbers, forks, the end of the program -------------------------------------------------------


def test_numbers_of_workers() -> None:
    for count in (0, -1):
        with pytest.raises(ValueError, match="greater than 0"):
            interpreters.pool(count)
    assert f"of {len(os.sched_getaffinity(0))} " in repr(interpreters.pool(processes=True))
    assert repr(interpreters.pool(2, processes=True)) == "<Pool of 2 processes>"


def run_program(code: str, folder: Path) -> str:
    script = folder / "program.py"
    script.write_text(f"import sys; sys.path.insert(0, {HERE!r})\n{code}")
    command = [sys.executable, "-X", "dev", "-W", "ignore::DeprecationWarning", str(script)]
    done: Any = subprocess.run(command, capture_output=True, text=True, check=False, timeout=100)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    text: str = done.stdout
    return text


def test_a_program_that_ends_with_a_pool_finishes_its_calls(kind: str, tmp_path: Path) -> None:
    code = f"""
import icehouse, pool_work
if __name__ == "__main__":
    pool = icehouse.interpreters.pool(2, processes={kind == "processes"})
    calls = [pool.submit(pool_work.add, number) for number in range(5)]
    calls[-1].add_done_callback(lambda done: print(done.result(), flush=True))
"""
    assert run_program("import icehouse.interpreters" + code, tmp_path) == "4\n"


def test_a_forked_child_is_told_and_a_pool_of_its_own_works(tmp_path: Path) -> None:
    """With processes: while interpreters live, no forked child does, whoever made them."""
    code = """
import multiprocessing, os, icehouse.interpreters, pool_work
if __name__ == "__main__":
    # A forked child can't use its parent's fork server, which is not its child.
    multiprocessing.set_start_method("spawn")
    pool = icehouse.interpreters.pool(1, processes=True)
    pool.submit(pool_work.add, 1).result()
    child = os.fork()
    if not child:
        try:
            pool.submit(pool_work.add, 1)
        except icehouse.IcehouseError as error:
            assert "forked" in str(error), error
        pool.shutdown()
        with icehouse.interpreters.pool(1, processes=True) as own:
            assert own.submit(pool_work.add, 2).result() == 2
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    print(pool.submit(pool_work.add, 3).result())
"""
    assert run_program(code, tmp_path) == "3\n"


def test_importing_interpreters_does_not_import_the_pool() -> None:
    code = "import sys, icehouse; print([m for m in sys.modules if 'pool' in m or 'futures' in m])"
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
