"""create(): arrays that are built in the store; cow(): private copies of arrays in it."""

import contextlib
import gc
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from daemons import Daemon, wait_until

import icehouse
import icehouse.interpreters
from icehouse import Store, cow

HERE = str(Path(__file__).parent)
sys.path.insert(0, HERE)
import interpreter_work  # noqa: E402

sys.path.remove(HERE)

np = pytest.importorskip("numpy")

LARGE = 1 << 17  # items of 8 bytes: built in a segment of its own
SMALL = 100


@pytest.fixture(params=["embedded", "connected"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    if request.param == "embedded":
        with Store("64MiB") as opened:
            yield opened
            if not opened.closed:
                opened.check()
        return
    with (
        Daemon(tmp_path / "daemon", capacity="64MiB") as daemon,
        icehouse.connect(daemon.socket) as connected,
    ):
        yield connected
        if not connected.closed:
            connected.check()


def address(array: Any) -> int:
    found: int = array.__array_interface__["data"][0]
    return found


# --- create ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [SMALL, LARGE])
def test_an_array_is_built_and_found_by_its_handle(store: Store, count: int) -> None:
    with (made := store.create((count, 1), "f8")) as array:
        assert array.shape == (count, 1)
        assert not array.any()
        with pytest.raises(ValueError, match="not sealed yet"):
            made.handle  # noqa: B018
        array[:, 0] = np.arange(count)
    found = store.get(made.handle)
    assert found.dtype == "f8"
    assert (found[:, 0] == np.arange(count)).all()
    assert not found.flags.writeable
    assert not array.flags.writeable
    stat = store.stat(made.handle)
    assert stat.type == "array"
    assert stat.sealed == stat.dedicated == (count == LARGE)


@pytest.mark.parametrize("dtype", ["?", "i1", ">i4", "f2", "c16", "S7", "U3", "f4,i8"])
def test_dtypes_and_orders_stay(store: Store, dtype: str) -> None:
    for order in "CF":
        with (made := store.create([300, 1000], dtype, order=order)) as array:
            array[7] = array.dtype.type(1) if dtype != "f4,i8" else (1, 2)
        found = store.get(made.handle)
        assert found.dtype == np.dtype(dtype)
        assert found.flags["C_CONTIGUOUS" if order == "C" else "F_CONTIGUOUS"]
        assert (found == array).all()
        store.delete(made.handle)


def test_h01_writes_through_forgotten_views_reach_nobody(store: Store) -> None:
    with (made := store.create(LARGE)) as array:
        array[:] = 1
        forgotten, raw = array[10:20], memoryview(array)
    found = store.get(made.handle)
    forgotten[:] = 2
    raw[0] = 3.0
    assert (found == 1).all()
    assert (store.get(made.handle) == 1).all()
    assert forgotten[0] == array[10] == 2, "the forgotten view has its own copy of the page"
    assert address(found) != address(array)
    with pytest.raises(ValueError, match="read-only"):
        array[0] = 1


def test_a_thread_that_goes_on_writing_never_reaches_what_is_sealed(store: Store) -> None:
    for _ in range(5):
        stop = threading.Event()
        with (made := store.create(LARGE, "i8")) as array:
            view = array[:]

            def write(view: Any = view, stop: threading.Event = stop) -> None:
                value = 1
                while not stop.is_set():
                    view[:] = value
                    value += 1

            thread = threading.Thread(target=write)
            thread.start()
        found = store.get(made.handle)
        before = found.copy()
        try:
            for _ in range(20):
                assert (found == before).all()
        finally:
            stop.set()
            thread.join()
        assert (found == before).all()
        del array, view, write, thread
        store.delete(made.handle)


@pytest.mark.parametrize("count", [SMALL, LARGE])
def test_an_exception_takes_it_back(store: Store, count: int) -> None:
    made = store.create(count)
    with contextlib.suppress(KeyError), made as array:
        array[:] = 5
        raise KeyError("no")
    with pytest.raises(ValueError, match="taken back"):
        made.handle  # noqa: B018
    with pytest.raises(ValueError, match="taken back"), made:
        pass
    assert not array.flags.writeable
    if count == LARGE:
        assert not array.any(), "the memory was given back"
    assert store.usage().images == 0
    store.check()


def test_what_is_dropped_is_taken_back(store: Store) -> None:
    for _ in range(3):
        made = store.create(LARGE)
        made.array[:] = 1
        del made
        gc.collect()
    with (made := store.create(LARGE)) as array:
        assert not array.any()
        array[:] = 4
    assert (store.get(made.handle) == 4).all()
    assert store.usage().images == 1


def test_it_may_be_sealed_by_hand_once(store: Store) -> None:
    made = store.create(LARGE)
    made.array[:] = 2
    handle = made.seal()
    assert handle == made.handle
    with pytest.raises(ValueError, match="sealed"):
        made.seal()
    assert (store.get(handle) == 2).all()


@pytest.mark.parametrize("count", [SMALL, LARGE])
def test_it_gets_a_name_and_belongs_to_a_scope(store: Store, count: int) -> None:
    with store.create(count, name="made") as array:
        array[:] = 1
    assert (store.get("made") == 1).all()
    with store.scope() as scope:
        with (inner := store.create(count, name="inner")) as array:
            array[:] = 2
        assert scope.handles == (inner.handle,)
    assert store.get(inner.handle, None) is None
    assert set(store.names()) == {"made"}


def test_the_image_goes_as_any_other(store: Store) -> None:
    with (made := store.create(LARGE)) as array:
        array[:] = 1
    found = store.get(made.handle)
    store.delete(made.handle)
    assert (found == 1).all()
    with pytest.raises(icehouse.HandleGone):
        store.get(made.handle)
    del found, array, made
    gc.collect()
    assert store.usage().images == 0


def test_what_it_refuses(store: Store) -> None:
    for dtype in ("O", "M8[s]", [("a", "M8[s]")]):
        with pytest.raises(TypeError, match="can't be made in a store"):
            store.create(LARGE, dtype)
    with pytest.raises(ValueError, match="below 0"):
        store.create((3, -1))
    with pytest.raises(ValueError, match="order"):
        store.create(3, order="K")
    with pytest.raises(TypeError):
        store.create("abc")
    with pytest.raises(icehouse.StoreFull):
        store.create(1 << 40)
    nameless = store.create(SMALL, name="")
    with pytest.raises(ValueError, match="name"):
        nameless.seal()
    store.close()
    with pytest.raises(icehouse.StoreClosed):
        store.create(LARGE)


def test_a_store_that_closes_meanwhile_takes_it_back() -> None:
    store = Store("16MiB")
    made = store.create(LARGE)
    made.array[:] = 1
    store.close()
    with pytest.raises(icehouse.StoreClosed):
        made.seal()
    assert made.array.shape == (LARGE,)


def test_a_connected_store_takes_a_time_to_live_and_a_pin(tmp_path: Path) -> None:
    with (
        Daemon(tmp_path / "daemon", capacity="64MiB") as daemon,
        icehouse.connect(daemon.socket) as store,
    ):
        for count in (SMALL, LARGE):
            with (made := store.create(count, ttl=1000, pin=True)) as array:
                array[:] = 1
            stat = store.stat(made.handle)
            assert stat.pinned
            assert stat.expires is not None
            with (made := store.create(count, evictable=True)) as array:
                array[:] = 1
            assert store.stat(made.handle).evictable
    with Store("16MiB") as embedded, pytest.raises(icehouse.StoreUnavailable):
        embedded.create(LARGE, evictable=True)


def test_a_time_to_live_of_nothing_is_refused_as_by_put(store: Store) -> None:
    for ttl in (0, 0.0):
        with pytest.raises((ValueError, icehouse.StoreUnavailable)) as of_put:
            store.put([1], ttl=ttl)
        with pytest.raises(of_put.type), store.create(5, ttl=ttl) as array:
            array[:] = 1


def test_a_producer_that_is_killed_meanwhile_leaves_nothing(tmp_path: Path) -> None:
    work = """
import os, signal, sys, icehouse
made = icehouse.connect(sys.argv[1]).create(1 << 20)
made.array[:] = 1
os.kill(os.getpid(), signal.SIGKILL)
"""
    with (
        Daemon(tmp_path / "daemon", capacity="64MiB") as daemon,
        icehouse.connect(daemon.socket) as store,
    ):
        done = subprocess.run([sys.executable, "-c", work, daemon.socket], check=False)
        assert done.returncode == -signal.SIGKILL
        wait_until(lambda: store.usage().used == 0, "its memory")
        assert store.ls() == []
        store.check()


def test_h08_a_forked_child_has_no_writable_memory_and_lets_go_of_it_well() -> None:
    with Store("64MiB") as store:
        made = store.create(LARGE)
        made.array[:] = 1
        child = os.fork()
        if child == 0:
            status = 1
            try:
                made.seal()
            except icehouse.StoreUnavailable:
                del made
                gc.collect()
                status = 0
            finally:
                os._exit(status)
        assert os.waitpid(child, 0)[1] == 0
        made.array[:] = 2
        assert (store.get(made.seal()) == 2).all()


@pytest.mark.skipif(not icehouse.interpreters.own_gil(), reason="numpy loads in interpreters here")
def test_an_interpreter_without_numpy_gets_a_memoryview(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(HERE)
    with Store("64MiB") as store:
        handle = icehouse.interpreters.run(interpreter_work.build_without_numpy, store.token)
        found = store.get(handle)
        assert found[5] == 7
        assert found.sum() == 7


# --- cow ------------------------------------------------------------------------------------------


def test_a_copy_on_write_array_is_private(store: Store) -> None:
    handle = store.put({"a": np.arange(LARGE), "small": np.arange(10.0)})
    view = store.get(handle)
    for key in view:
        private = cow(view[key])
        assert private.flags.writeable
        assert (private == view[key]).all()
        private[3] = -1
        assert view[key][3] == 3
        assert cow(view[key])[3] == 3
        assert private[3] == -1
        assert (private[4:] == view[key][4:]).all()


def test_parts_and_orders_are_laid_out_as_they_were() -> None:
    with Store("64MiB") as store:
        original = np.asfortranarray(np.arange(600_000).reshape(600, 1000))
        found = store.get(store.put(original))
        for part in (found, found[10:20], found[::2, ::3], found.T, found[5], found.view("f8")):
            private = cow(part)
            assert private.strides == part.strides
            assert private.dtype == part.dtype
            assert np.array_equal(private, part, equal_nan=True)
            private[0] = 0
        assert (found == original).all()


def test_it_costs_a_page_when_a_page_is_written() -> None:
    with Store("256MiB") as store:
        found = store.get(store.put(np.ones(1 << 23)))
        private = cow(found)
        total = private_kilobytes(address(private))
        private[0] = 2
        private[-1] = 2
        assert private_kilobytes(address(private)) - total <= 16
        assert (private[1:-1] == 1).all()


def private_kilobytes(at: int) -> int:
    """Private dirty memory of the mapping that begins at the page of an address."""
    inside = False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        head = line.split()[0]
        if "-" in head:
            start, _, end = head.partition("-")
            inside = int(start, 16) <= at < int(end, 16)
        elif inside and head == "Private_Dirty:":
            return int(line.split()[1])
    raise AssertionError("no mapping has this address")


def test_it_keeps_the_image_open(store: Store) -> None:
    handle = store.put(np.arange(LARGE))
    private = cow(store.get(handle))
    store.delete(handle)
    gc.collect()
    filler = [store.put(np.zeros(LARGE)) for _ in range(8)]
    assert (private == np.arange(LARGE)).all()
    for each in filler:
        store.delete(each)
    store.close()
    assert (private == np.arange(LARGE)).all()


def test_other_faces_of_arrays_stay_what_they_are() -> None:
    plain = np.arange(60_000.0).reshape(200, 300)
    records = np.zeros(40_000, [("a", "i4"), ("b", "f8")])
    kept = {
        "masked": np.ma.array(plain, mask=plain % 3 == 0, fill_value=-1),
        "hard": np.ma.array(plain, mask=plain % 3 == 0, hard_mask=True),
        "open": np.ma.array(plain),
        "matrix": plain.view(np.matrix),
        "records": records.view(np.recarray),
    }
    view = icehouse.freeze(kept)
    for name, original in kept.items():
        made = cow(view[name])
        assert type(made) is type(original), name
        assert (made.dtype, made.shape) == (original.dtype, original.shape)
        assert np.asarray(made).tobytes() == np.asarray(original).tobytes()
        assert made.flags.writeable
    masked = cow(view["masked"])
    assert (masked.mask == kept["masked"].mask).all()
    assert masked.fill_value == -1
    masked[0, :2] = 5
    assert masked[0, 0] == 5
    assert view["masked"][0, 0] is np.ma.masked
    assert cow(view["hard"]).hardmask
    assert cow(view["open"]).mask is np.ma.nomask
    cow(view["records"]).a[0] = 7
    assert view["records"].a[0] == 0


def test_what_is_no_array_of_a_store_is_copied_or_refused() -> None:
    plain = np.arange(5)
    private = cow(plain)
    private[0] = 9
    assert plain[0] == 0
    for other in ([1], "x", None, icehouse.freeze([1.5])):
        with pytest.raises(TypeError, match="takes an array"):
            cow(other)


def test_a_frozen_array_of_other_origin_has_copies_too() -> None:
    import array

    view = icehouse.freeze(array.array("d", range(10_000)))
    private = cow(view)
    private[0] = -1.0
    assert view[0] == 0.0
    assert private[1] == 1.0


# --- DLPack ---------------------------------------------------------------------------------------


def test_dlpack_says_read_only() -> None:
    import array

    view = icehouse.freeze(array.array("d", range(10_000)))
    assert view.__dlpack_device__() == (1, 0)
    if np.lib.NumpyVersion(np.__version__) < "2.1.0":
        pytest.skip(f"numpy {np.__version__} knows no read-only DLPack")
    got = np.from_dlpack(view)
    assert not got.flags.writeable
    assert address(got) == address(np.asarray(view))
    with pytest.raises(BufferError):
        view.__dlpack__()
    copied = np.from_dlpack(view, copy=True)
    assert address(copied) != address(got)
    assert (copied == got).all()
