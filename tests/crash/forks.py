"""Programs of test_forks.py. What a child finds wrong it says on stderr, and ends with 1."""

import gc
import multiprocessing
import os
import random
import signal
import sys
import threading
import time
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import icehouse
from icehouse import Store, interpreters

# Forking beside threads is what is tested.
warnings.simplefilter("ignore", DeprecationWarning)
MIB = 1 << 20


def make(seed: int) -> dict[str, Any]:
    dice = random.Random(seed)
    body: Any = [
        [dice.random() for _ in range(dice.randrange(50))],
        {f"key {i}": dice.randrange(1 << 40) for i in range(dice.randrange(60))},
        dice.randbytes(dice.choice([10, 1000, 100_000, 700_000])),
        [{"id": i, "tags": ["x" * dice.randrange(9)]} for i in range(dice.randrange(30))],
    ][seed % 4]
    return {"seed": seed, "body": body}


def verify(view: Any, seed: int) -> None:
    assert view["seed"] == seed
    assert view == make(seed), seed


def forked(work: Callable[..., None], *args: Any, leave: Callable[[int], Any] = os._exit) -> int:
    """Run work in a forked child."""
    pid = os.fork()
    if pid:
        return pid
    try:
        work(*args)
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(1)
    leave(0)
    os._exit(2)


def ended(pid: int, status: int = 0) -> None:
    """Wait for a child, and see how it ended: an exit status, or minus a signal."""
    _, found = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(found) == status, (pid, found)


def filled(store: Store, count: int) -> list[icehouse.Handle]:
    return [store.put(make(i), name=f"name {i}" if i % 10 == 0 else None) for i in range(count)]


def read_all(store: Store, handles: list[icehouse.Handle]) -> None:
    for i, handle in enumerate(handles):
        verify(icehouse.get(str(handle)) if i % 2 else store.get(handle), i)
        if i % 10 == 0:
            verify(store.get(f"name {i}"), i)


# --- what a child reads, and what it may not ------------------------------------------------------


def children_read(ways: int) -> None:
    with Store("256MiB", segment_size="1MiB") as store:
        handles = filled(store, 120)
        held = [store.get(handle) for handle in handles[::3]]
        private = icehouse.freeze(make(7))
        part = store.get(handles[3])["body"]

        def child(depth: int) -> None:
            read_all(store, handles)
            for i, view in enumerate(held):
                verify(view, i * 3)
            verify(private, 7)
            assert part == make(3)["body"]
            assert icehouse.thaw(held[0]) == make(0)
            verify(icehouse.freeze(make(99)), 99)
            with Store("16MiB") as own:
                verify(own.get(own.put(make(5))), 5)
                verify(own.get(own.put(held[1])), 3)
                own.check()
            if depth:
                ended(forked(child, depth - 1))
                read_all(store, handles)

        for leave in (os._exit, sys.exit)[:ways]:
            pid = os.fork()
            if pid == 0:
                status = 1
                try:
                    child(3)
                    status = 0
                except BaseException:
                    traceback.print_exc()
                    sys.stderr.flush()
                leave(status)
            ended(pid)
        read_all(store, handles)
        store.check()


def children_may_not_write() -> None:
    with Store("64MiB") as store:
        handle = store.put(make(1), name="n")
        view = store.get(handle)

        def child() -> None:
            calls: dict[str, Callable[[], Any]] = {
                "put": lambda: store.put([1]),
                "put a view of it": lambda: store.put(icehouse.freeze([1])),
                "freeze": lambda: store.freeze([1]),
                "delete": lambda: store.delete(handle, force=True),
                "bind": lambda: store.bind("m", handle),
                "unbind": lambda: store.bind("n", None),
                "usage": store.usage,
                "trim": store.trim,
            }
            for name, call in calls.items():
                try:
                    call()
                except icehouse.StoreUnavailable as error:
                    assert "icehouse.connect()" in str(error), (name, error)
                else:
                    raise AssertionError(f"{name} worked in a child")
            verify(view, 1)
            verify(store.get("n"), 1)
            assert store.stat(handle).names == ("n",)
            store.check()
            store.close()
            verify(view, 1)

        ended(forked(child))
        verify(store.get("n"), 1)
        assert store.version("n") == 1
        store.put([2], name="m")
        store.check()


inherited: tuple[Store, list[icehouse.Handle]] | None = None


def task(i: int) -> int:
    assert inherited is not None
    store, handles = inherited
    verify(store.get(handles[i % len(handles)]), i % len(handles))
    verify(icehouse.get(handles[i % len(handles)]), i % len(handles))
    return i


def pool_of_forks() -> None:
    global inherited
    with Store("128MiB") as store:
        inherited = (store, filled(store, 60))
        context = multiprocessing.get_context("fork")
        with context.Pool(4, maxtasksperchild=40) as pool:
            assert pool.map(task, range(400), chunksize=10) == list(range(400))
        # A view in an argument or a result arrives with what it holds.
        with context.Pool(2) as pool:
            view = store.get(inherited[1][3])
            assert pool.map(icehouse.thaw, [view] * 4) == [make(3)] * 4
            for i, result in enumerate(pool.map(make_frozen, range(8))):
                verify(result, i)
        store.check()


def make_frozen(i: int) -> Any:
    return icehouse.freeze(make(i))


# --- children that die ----------------------------------------------------------------------------


def settled(store: Store) -> Any:
    store.trim()
    store.check()
    return store.usage()


def leases_of_the_dead_go(how: str) -> None:
    """A child keeps what it reads from being reused; once it is dead nothing does."""
    with Store("256MiB", segment_size="1MiB") as store:
        start = store.usage()
        for _ in range(3):
            # More than one block of the lease table.
            handles = [store.put(make(i)) for i in range(700)]
            full = store.usage().used
            before = [store.get(handle) for handle in handles[:300]]
            ready, go = os.pipe(), os.pipe()

            def child() -> None:
                views = [*before, *(store.get(handle) for handle in handles[300:])]
                os.write(ready[1], b"1")
                os.read(go[0], 1)
                for i, view in enumerate(views):
                    verify(view, i)
                os.write(ready[1], b"2")
                if how == "exception":
                    raise SystemExit(0)
                if how == "grandchild":
                    forked(signal.pause)
                    os.write(ready[1], b"3")
                    os._exit(0)
                signal.pause() if how == "kill" else os._exit(0)

            if how == "exception":
                pid = os.fork()
                if pid == 0:
                    child()
            else:
                pid = forked(child)
            assert os.read(ready[0], 1) == b"1"
            before.clear()
            for handle in handles:
                store.delete(handle)
                assert store.get(handle, None) is None
            usage = settled(store)
            assert usage.used == full, (usage, full)
            assert usage.images == usage.deleted == 700
            # What is put now takes no place that the child still reads.
            new = [store.put(make(1000 + i)) for i in range(200)]
            os.write(go[1], b"1")
            assert os.read(ready[0], 1) == b"2"
            if how == "kill":
                os.kill(pid, signal.SIGKILL)
            if how == "grandchild":
                assert os.read(ready[0], 1) == b"3"
            ended(pid, -signal.SIGKILL if how == "kill" else 0)
            if how == "grandchild":
                assert settled(store).images == 900
                end_group(ready[1], ready[0])
            for fd in (*ready, *go):
                if how != "grandchild" or fd != ready[1]:
                    os.close(fd)
            for i, handle in enumerate(new):
                verify(store.get(handle), 1000 + i)
                store.delete(handle)
            usage = settled(store)
            assert (usage.used, usage.images, usage.deleted) == (start.used, 0, 0), usage


def end_group(write: int, read: int) -> None:
    """Kill the grandchild, which nobody can wait for: its end of the pipe tells."""
    os.close(write)
    found = [
        int(folder.name)
        for folder in Path("/proc").iterdir()
        if folder.name.isdigit() and int(folder.name) != os.getpid() and in_my_session(folder)
    ]
    assert len(found) == 1, found
    os.kill(found[0], signal.SIGKILL)
    assert os.read(read, 1) == b""


def in_my_session(folder: Path) -> bool:
    try:
        fields = (folder / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return False
    return int(fields[3]) == os.getsid(0) and fields[0] != "Z"


def killed_at_any_moment(times: int) -> None:
    """SIGKILL while a child opens and lets go; the store is whole and gets everything back."""
    dice = random.Random(5)
    with Store("64MiB", segment_size="1MiB") as store:
        start = store.usage()
        handles = [store.put(make(i)) for i in range(100)]

        def child() -> None:
            kept: list[Any] = []
            for i in range(1 << 30):
                seed = i * 7 % len(handles)
                view = store.get(handles[seed], None)
                if view is not None:
                    assert view["seed"] == seed
                    kept.append(view)
                if len(kept) > 50:
                    del kept[::2]
                if i % 1000 == 999:
                    pid = forked(verify, kept[0], kept[0]["seed"])
                    ended(pid)

        pids = [forked(child) for _ in range(4)]
        for n in range(times):
            time.sleep(dice.random() / 50)
            victim = pids.pop(0)
            os.kill(victim, signal.SIGKILL)
            if n % 3 == 0:
                seed = dice.randrange(len(handles))
                store.delete(handles[seed])
                handles[seed] = store.put(make(seed))
            ended(victim, -signal.SIGKILL)
            pids.append(forked(child))
            store.check()
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
            ended(pid, -signal.SIGKILL)
        for i, handle in enumerate(handles):
            verify(store.get(handle), i)
            store.delete(handle)
        # A grandchild may have a moment left.
        deadline = time.monotonic() + 20
        while settled(store).used != start.used and time.monotonic() < deadline:
            time.sleep(0.05)
        usage = settled(store)
        assert (usage.used, usage.images, usage.leases) == (start.used, 0, 0), usage


def owner_dies() -> None:
    """The process whose store it is gets killed; its children read on."""
    told = os.pipe()
    middle = os.fork()
    if middle == 0:
        os.setpgid(0, 0)
        store = Store("64MiB")
        handles = filled(store, 60)
        held = [store.get(handle) for handle in handles[:20]]

        def child() -> None:
            me = os.getppid()
            while os.getppid() == me:
                time.sleep(0.005)
            for i, view in enumerate(held):
                verify(view, i)
            read_all(store, handles)
            os.write(told[1], b"well")

        forked(child)
        forked(child)
        time.sleep(0.1)
        os.kill(os.getpid(), signal.SIGKILL)
    ended(middle, -signal.SIGKILL)
    os.close(told[1])
    said = b""
    while part := os.read(told[0], 100):
        said += part
    assert said == b"wellwell", said


# --- forks beside threads -------------------------------------------------------------------------


def churn(store: Store, number: int, stop: threading.Event, failures: list[str]) -> None:
    try:
        seed = number << 20
        mine: list[tuple[icehouse.Handle, int]] = []
        while not stop.is_set():
            seed += 1
            mine.append((store.put(make(seed), seal=seed % 30 == 0), seed))
            handle, wanted = mine[seed % len(mine)]
            verify(store.get(handle), wanted)
            name = f"thread {number}"
            store.bind(name, mine[-1][0])
            view = icehouse.freeze({"seed": seed})
            assert view["seed"] == seed
            if len(mine) > 30:
                handle, wanted = mine.pop(seed % 30)
                view = store.get(handle)
                store.delete(handle)
                verify(view, wanted)
        store.bind(name, None)
        for handle, _ in mine:
            store.delete(handle)
    except BaseException:
        failures.append(traceback.format_exc())
        stop.set()


def storm(store: Store, children: int, stop: threading.Event, failures: list[str]) -> None:
    """Fork again and again; children read what stays, and what comes and goes."""
    stable = [store.put(make(i)) for i in range(40)]
    held = store.get(stable[5])

    def child(number: int) -> None:
        dice = random.Random(number)
        verify(held, 5)
        for _ in range(5):
            seed = dice.randrange(len(stable))
            verify(store.get(stable[seed]), seed)
        for thread in range(4):
            # Bound at the fork perhaps, and deleted since.
            view = store.get(f"thread {thread}", None)
            if view is not None:
                verify(view, view["seed"])
        verify(icehouse.freeze(make(number)), number)
        with Store("8MiB") as own:
            verify(own.get(own.put(make(3))), 3)
        if number % 5 == 0:
            ended(forked(verify, held, 5))

    pids: list[int] = []
    for number in range(children):
        if failures:
            break
        pids.append(forked(child, number))
        if len(pids) > 6:
            ended(pids.pop(0))
        if number % 20 == 0:
            store.check()
    for pid in pids:
        ended(pid)
    stop.set()
    for handle in stable:
        store.delete(handle)


def storm_beside_threads(children: int) -> None:
    sys.setswitchinterval(0.0002)
    with Store("256MiB", segment_size="1MiB") as store:
        start = store.usage()
        stop = threading.Event()
        failures: list[str] = []
        threads = [
            threading.Thread(target=churn, args=(store, i, stop, failures)) for i in range(4)
        ]
        for thread in threads:
            thread.start()
        try:
            storm(store, children, stop, failures)
        finally:
            stop.set()
            for thread in threads:
                thread.join()
        assert not failures, failures[0]
        gc.collect()
        usage = settled(store)
        assert (usage.used, usage.images, usage.leases) == (start.used, 0, 0), usage


def churn_there(token: str, number: int, path: str) -> None:
    """In another interpreter, until a file appears."""

    class Appears:
        def is_set(self) -> bool:
            return os.path.exists(path)  # noqa: PTH110 - pathlib loads slowly

        def set(self) -> None:
            raise AssertionError("a worker failed")

    failures: list[str] = []
    churn(Store.attach(token), number, Appears(), failures)  # type: ignore[arg-type]
    if failures:
        raise AssertionError(failures[0])


def try_to_fork() -> str:
    try:
        pid = os.fork()
    except RuntimeError as error:
        return str(error)
    if pid == 0:
        os._exit(0)
    ended(pid)
    return "forked"


def read_there(token: str, text: str, seed: int) -> None:
    verify(Store.attach(token).get(text), seed)
    verify(icehouse.get(text), seed)


def forks_after_interpreters() -> None:
    """Other interpreters were used and have ended; the child makes its own."""
    with Store("64MiB") as store:
        handles = [store.put(make(i)) for i in range(8)]
        texts = [str(handle) for handle in handles]
        interpreters.run(read_there, store.token, texts[3], 3)
        said = interpreters.run(try_to_fork)
        assert "isolated" in said or said == "forked", said

        def child() -> None:
            for i, text in enumerate(texts):
                verify(icehouse.get(text), i)
                interpreters.run(read_there, store.token, text, i)
            interpreters.run_in(2, read_there, store.token, texts[1], 1)
            view = interpreters.run(make_frozen, 6)
            verify(view, 6)

        for _ in range(3):
            ended(forked(child))
        store.check()
        assert store.usage().leases == 0


def storm_beside_interpreters(children: int, path: str) -> None:
    with Store("256MiB", segment_size="1MiB") as store:
        start = store.usage()
        stop = threading.Event()
        failures: list[str] = []

        def there(number: int) -> None:
            try:
                interpreters.run(churn_there, store.token, number, path)
            except BaseException:
                failures.append(traceback.format_exc())

        threads = [threading.Thread(target=there, args=(i,)) for i in range(2)]
        for thread in threads:
            thread.start()
        time.sleep(0.3)
        try:
            storm(store, children, stop, failures)
        finally:
            Path(path).touch()
            for thread in threads:
                thread.join()
        assert not failures, failures[0]
        gc.collect()
        usage = settled(store)
        assert (usage.used, usage.images, usage.leases) == (start.used, 0, 0), usage
