"""What the tests of pools run, in fresh processes and in the workers that these start."""

import gc
import multiprocessing
import os
import signal
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import icehouse
from icehouse import Store, StoreUnavailable

MIB = 1 << 20
PATIENCE = 60.0
VALUE = {"a": [1, 2, 3], "deep": {"b": ["x", "y"]}, "text": "a text"}


def eventually(happened: Any, what: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while not happened():
        assert time.monotonic() < deadline, what
        time.sleep(0.005)


# --- in workers -----------------------------------------------------------------------------------


def echo(x: Any) -> Any:
    return x


def look(view: Any) -> tuple[str, str, Any]:
    return type(view).__name__, str(view.handle), icehouse.thaw(view)


def last_of(view: Any) -> Any:
    return view["data"][-1]


def growth(view: Any) -> tuple[int, str]:
    """How much private memory reading all of it takes, and which image it was."""
    before = anonymous_bytes()
    assert sum(memoryview(view["data"])[::4096]) > 0
    return anonymous_bytes() - before, str(view.handle)


def anonymous_bytes() -> int:
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Anonymous:")) * 1024


def freeze_here(size: int) -> Any:
    return icehouse.freeze({"data": bytearray(b"w" * size)})


def put_into(store: Any, _: int) -> str:
    try:
        store.put(VALUE)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return "it was put"


def connected(socket: str, i: int) -> str:
    store = icehouse.connect(socket)
    return str(store.put({"from": i}))


def take_and_stop(queue: Any, taken: Any) -> None:
    view = queue.get()
    taken.send(look(view)[2])
    time.sleep(PATIENCE)


def answer(queue: Any, results: Any) -> None:
    for view in iter(queue.get, None):
        results.put((look(view), view))


def send_and_end(queue: Any, size: int) -> None:
    queue.put(freeze_here(size))


def segments_mapped() -> int:
    return Path("/proc/self/maps").read_text().count("memfd:icehouse-segment")


def count_maps(views: Any) -> tuple[int, int]:
    return len(views), segments_mapped()


# --- tests: with an embedded store ----------------------------------------------------------------


def settled(store: Store) -> Any:
    gc.collect()
    store.trim()
    store.check()
    return store.usage()


def pool(way: str) -> None:
    """Root views, parts, results of freeze(), and back again."""
    with Store("64MiB") as store:
        view, frozen = store.get(store.put(VALUE)), icehouse.freeze(VALUE)
        views = [view, frozen, view["deep"], view["deep"]["b"]]
        with multiprocessing.get_context(way).Pool(2) as workers:
            found = workers.map(look, views[:2])
            assert [one[2] for one in found] == [VALUE, VALUE]
            assert [one[1] for one in found] == [str(view.handle), str(frozen.handle)]
            back = workers.map(echo, views)
            assert all(icehouse.same(a, b) for a, b in zip(views, back, strict=True))
            # What was made after the workers were started.
            late = store.get(store.put({"late": [1, 2]}))
            assert icehouse.same(workers.apply(echo, (late,)), late)
            own = icehouse.freeze({"data": bytearray(b"z" * (40 * MIB))})
            assert icehouse.same(workers.apply(echo, (own,)), own)
            # A slice is no place in an image: by value.
            assert workers.apply(echo, (view["a"][1:],)) == [2, 3]
            workers.close()
            workers.join()
        del view, late, found, back
        assert settled(store).images == 2


def queues(way: str) -> None:
    context = multiprocessing.get_context(way)
    with Store("64MiB") as store:
        queue, results = context.Queue(), context.Queue()
        process = context.Process(target=answer, args=(queue, results))
        process.start()
        view = store.get(store.put(VALUE))
        queue.put(view)
        (_, handle, value), back = results.get(timeout=PATIENCE)
        assert (handle, value) == (str(view.handle), VALUE)
        assert icehouse.same(back, view)
        queue.put(None)
        process.join(PATIENCE)
        assert process.exitcode == 0


def pipes_and_arguments(way: str) -> None:
    context = multiprocessing.get_context(way)
    view = icehouse.freeze(VALUE)
    queue, results = context.Queue(), context.Queue()
    here, there = context.Pipe()
    process = context.Process(target=pass_on, args=(view, there, results))
    process.start()
    here.send(view["deep"])
    assert results.get(timeout=PATIENCE) == (VALUE, VALUE["deep"])
    assert icehouse.same(here.recv(), view)
    process.join(PATIENCE)
    assert process.exitcode == 0
    queue.close()


def pass_on(view: Any, pipe: Any, results: Any) -> None:
    part = pipe.recv()
    results.put((icehouse.thaw(view), icehouse.thaw(part)))
    pipe.send(view)


def executor(way: str) -> None:
    view = icehouse.freeze(VALUE)
    context = multiprocessing.get_context(way)
    with ProcessPoolExecutor(2, mp_context=context) as workers:
        assert list(workers.map(look, [view, view])) == [look(view)] * 2
        assert icehouse.same(workers.submit(echo, view).result(PATIENCE), view)


def links(way: str) -> None:
    """What a view links to lies in other segments, which come with it."""
    with Store("256MiB", segment_size="1MiB") as store:
        large = store.get(store.put({"data": bytearray(b"l" * MIB)}))
        outer = store.get(store.put({"inner": large, "data": [7]}))
        with multiprocessing.get_context(way).Pool(1) as workers:
            assert workers.apply(last_of, (outer,)) == 7
            assert workers.apply(inner_length, (outer,)) == MIB


def inner_length(view: Any) -> int:
    return len(view["inner"]["data"])


def dropped_at_once(way: str) -> None:
    """The sender lets go of the view before the receiver has looked."""
    context = multiprocessing.get_context(way)
    with Store("64MiB") as store:
        queue, results = context.Queue(), context.Queue()
        for i in range(50):
            queue.put(store.freeze({"i": i}))
        handle = store.put({"i": 50})
        queue.put(store.get(handle))
        # The feeder of the queue has pickled it once the receiver's end is readable; what is
        # deleted then is deleted on the way.
        queue.put(None)
        eventually(lambda: len(offices()) == 51, "the views are not on their way")
        store.delete(handle)
        gc.collect()
        store.trim()
        process = context.Process(target=answer, args=(queue, results))
        process.start()
        for i in range(51):
            (_, _, value), back = results.get(timeout=PATIENCE)
            assert value == {"i": i}, value
            assert back == {"i": i}
        process.join(PATIENCE)
        assert process.exitcode == 0
        del back
        assert offices() == []
        assert settled(store).images == 0


def offices() -> list[Any]:
    """The views of this process that are on their way."""
    from icehouse.store import travel

    return travel._office.waiting() if travel._office is not None else []


def one_descriptor(way: str) -> None:
    """A thousand views of one segment bring one descriptor, and one mapping of each kind."""
    from icehouse.native import _image
    from icehouse.store import couriers

    shown = []

    def share(store: bytes, segment: int, join: bool) -> Any:
        shown.append((segment, join))
        return _image._share(store, segment, join)

    couriers._share = share  # type: ignore[assignment]
    with Store("64MiB") as store:
        views = [store.get(store.put({"i": i})) for i in range(1000)]
        with multiprocessing.get_context(way).Pool(1) as workers:
            count, maps = workers.apply(count_maps, (views,))
            assert (count, maps) == (1000, 2), maps
            assert workers.map(echo, views) == views
        # Once to hear of which lease table it is, once to join it.
        assert [join for _, join in shown] == [False, True]


def no_copy(way: str) -> None:
    view = icehouse.freeze({"data": bytearray(os.urandom(64 * MIB))})
    with multiprocessing.get_context(way).Pool(1) as workers:
        grown, handle = workers.apply(growth, (view,))
    assert handle == str(view.handle)
    assert grown < 4 * MIB


def receiver_killed(way: str, moment: str) -> None:
    """What it held, or was about to hold, is free again."""
    context = multiprocessing.get_context(way)
    with Store("64MiB") as store:
        empty = settled(store)
        for _ in range(3):
            queue = context.Queue()
            here, there = context.Pipe()
            target = take_and_stop if moment == "holding" else stop_on_the_way
            process = context.Process(target=target, args=(queue, there))
            process.start()
            queue.put(store.freeze(VALUE))
            assert here.poll(PATIENCE)
            here.recv()
            if moment == "holding":
                eventually(lambda: not offices(), "the receiver did not confirm")
                assert settled(store).images == 1
            assert process.pid is not None
            os.kill(process.pid, signal.SIGKILL)
            process.join()
            eventually(lambda: not offices(), "the ticket of the dead stays")
            assert settled(store).images == 0
        after = settled(store)
        assert (after.used, after.leases) == (empty.used, empty.leases)


def stop_on_the_way(queue: Any, taken: Any) -> None:
    """Receive a view as far as its image being open, and stop before the sender hears of it."""
    from icehouse.store import couriers

    def done(_: Any, __: int) -> None:
        taken.send(None)
        time.sleep(PATIENCE)

    couriers.Line.done = done  # type: ignore[method-assign]
    queue.get()


def worker_owns(way: str) -> None:
    """Results that a worker froze: small ones by value, large ones in place."""
    context = multiprocessing.get_context(way)
    for size in (100, 4 * MIB):
        with context.Pool(1) as workers:
            view = workers.apply(freeze_here, (size,))
            workers.close()
            workers.join()
        assert bytes(view["data"]) == b"w" * size
        queue = context.Queue()
        process = context.Process(target=send_and_end, args=(queue, size))
        process.start()
        view = queue.get(timeout=PATIENCE)
        process.join(PATIENCE)
        assert process.exitcode == 0
        assert bytes(view["data"]) == b"w" * size


def sender_gone() -> None:
    """Its store went with it: an error that says so."""
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    process = context.Process(target=send_and_die, args=(queue,))
    process.start()
    process.join(PATIENCE)
    said = ""
    try:
        queue.get(timeout=PATIENCE)
    except icehouse.HandleGone as error:
        said = str(error)
    assert f"process {process.pid}" in said, said
    assert "icehouse.connect()" in said


def send_and_die(queue: Any) -> None:
    queue.put(freeze_here(4 * MIB))
    queue.close()
    queue.join_thread()
    os._exit(0)


def put_in_worker(way: str) -> None:
    """The store itself does not travel; a forked one says what to do."""
    global inherited
    with Store("64MiB") as store:
        inherited = store
        with multiprocessing.get_context(way).Pool(1) as workers:
            if way == "fork":
                said = workers.apply(put_inherited)
            else:
                try:
                    said = workers.apply(put_into, (store, 1))
                except TypeError as error:
                    said = str(error)
            assert "icehouse.connect()" in said, said


inherited: Any = None


def put_inherited() -> str:
    return put_into(inherited, 0)


def to_itself() -> None:
    """A process that sends to itself."""
    view = icehouse.freeze(VALUE)
    queue = multiprocessing.get_context("spawn").SimpleQueue()
    for _ in range(2):
        queue.put(view)
        assert icehouse.same(queue.get(), view)
    assert offices() == []


def many_descriptors() -> None:
    """Segments beyond the share of descriptors travel by value."""
    import resource

    resource.setrlimit(resource.RLIMIT_NOFILE, (128, 128))
    with Store("256MiB", segment_size="64KiB") as store:
        views = [store.get(store.put({"data": bytearray(20_000), "i": i})) for i in range(64)]
        assert len(list(Path("/proc/self/fd").iterdir())) < 64
        with multiprocessing.get_context("spawn").Pool(1) as workers:
            back = workers.map(echo, views, chunksize=8)
        same = [icehouse.same(a, b) for a, b in zip(views, back, strict=True)]
        assert back == views
        assert 0 < sum(same) < 64


def joblib_pool() -> None:
    """Workers of loky get views by value: its pickles may go anywhere."""
    import joblib

    with Store("64MiB") as store:
        view = store.get(store.put(VALUE))
        calls = (joblib.delayed(echo)(one) for one in [view, view["deep"], icehouse.freeze(VALUE)])
        back = joblib.Parallel(n_jobs=2)(calls)
        assert back == [VALUE, VALUE["deep"], VALUE]
        assert all(icehouse.is_frozen(one) for one in back)
        threads = joblib.Parallel(n_jobs=2, backend="threading")(
            joblib.delayed(echo)(view) for _ in range(2)
        )
        assert all(one is view for one in threads)
        calls = (joblib.delayed(echo)(view) for _ in range(4))
        assert joblib.Parallel(n_jobs=2, backend="multiprocessing")(calls) == [VALUE] * 4


# --- tests: with the daemon's store ---------------------------------------------------------------


def daemon_pool(way: str, socket: str) -> None:
    store = icehouse.connect(socket)
    view = store.get(store.put(VALUE))
    with multiprocessing.get_context(way).Pool(2) as workers:
        assert workers.map(look, [view, view]) == [look(view)] * 2
        back = workers.map(echo, [view, view["deep"], store.freeze(VALUE)])
        assert icehouse.same(back[0], view)
        assert icehouse.same(back[1], view["deep"])
        assert back[2] == VALUE
        handles = workers.starmap(connected, [(socket, i) for i in range(4)])
        assert [store.get(handle)["from"] for handle in handles] == [0, 1, 2, 3]
    try:
        store.put(VALUE, name="x")
    except StoreUnavailable as error:
        raise AssertionError("the connection is lost") from error
