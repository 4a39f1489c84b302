"""Store objects of a daemon's store: one connection for all, and what only they can."""

import datetime
import gc
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from daemons import Daemon, wait_until

import icehouse
import icehouse.interpreters
from icehouse import Store
from icehouse.native._image import _patience

if TYPE_CHECKING:
    from collections.abc import Callable


def elsewhere(daemon: Daemon, code: str) -> str:
    """Run code in another process, with `store` connected; what it prints."""
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            f"import icehouse\nstore = icehouse.connect({daemon.socket!r})\n{code}",
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


# --- one store, many objects ----------------------------------------------------------------------


def test_it_says_where_it_is(daemon: Daemon, store: Store) -> None:
    assert store.remote is not None
    assert store.remote.socket == daemon.socket
    assert store.remote.role == "admin"
    assert store.remote.connected
    assert store.remote.session > 0
    assert len(store.remote.identity) == 32
    assert daemon.socket in repr(store)
    assert store.capacity == 64 << 20
    assert "connected" in repr(store.remote)
    told = elsewhere(daemon, "print(store.remote.identity, store.remote.session)").split()
    assert told[0] == store.remote.identity
    assert int(told[1]) != store.remote.session


def test_objects_share_a_connection(daemon: Daemon, store: Store) -> None:
    other = icehouse.connect(Path(daemon.socket))
    assert store.remote is not None
    assert other.remote == store.remote
    assert other.token == store.token
    handle = other.put([1])
    other.close()
    other.close()
    assert other.closed
    assert not store.closed
    with pytest.raises(icehouse.StoreClosed):
        other.get(handle)
    assert store.get(handle) == [1]


def test_a_view_that_is_open_is_not_in_the_way_of_connecting_again(daemon: Daemon) -> None:
    with icehouse.connect(daemon.socket) as store:
        view = store.get(store.put({"a": 1}, name="kept"))
    with icehouse.connect(daemon.socket) as again:
        assert again.get("kept") == view == {"a": 1}


def test_the_last_close_ends_it_and_nothing_is_lost(daemon: Daemon) -> None:
    first = icehouse.connect(daemon.socket)
    second = icehouse.connect(daemon.socket)
    attached = Store.attach(second.token)
    handle = first.put({"a": 1}, name="kept")
    view = first.get(handle)
    token = first.token
    for closing in (first, second):
        closing.close()
    assert attached.get("kept") == {"a": 1}
    attached.close()
    with pytest.raises(icehouse.StoreClosed):
        Store.attach(token)
    assert view == {"a": 1}
    del view
    with icehouse.connect(daemon.socket) as again:
        assert again.get("kept") == {"a": 1}
        assert again.get(handle) == {"a": 1}


def test_a_store_that_is_dropped_stays_connected(daemon: Daemon) -> None:
    """One-liners: what a view leads to is opened long after the Store object has gone."""
    base = icehouse.connect(daemon.socket).put({"rows": list(range(10_000))}, seal=True)
    linked = icehouse.connect(daemon.socket).get(base)
    handle = icehouse.connect(daemon.socket).put({"base": linked})
    session = icehouse.connect(daemon.socket).remote.session
    del linked
    gc.collect()
    assert icehouse.get(handle)["base"]["rows"][9_999] == 9_999
    with icehouse.connect(daemon.socket) as store:
        assert store.remote
        assert store.remote.session == session
        assert store.usage().leases == 0


def test_threads_connect_and_close_at_once(daemon: Daemon, store: Store) -> None:
    handle = store.put([1], name="a")
    store.close()
    failures: list[BaseException] = []

    def churn() -> None:
        try:
            for _ in range(20):
                with icehouse.connect(daemon.socket) as mine:
                    assert mine.get("a") == [1]
                    assert mine.get(handle) == [1]
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=churn) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


def test_it_pickles_as_its_socket(daemon: Daemon, store: Store) -> None:
    handle = store.put([1])
    copy = pickle.loads(pickle.dumps(store))
    assert copy.remote == store.remote
    assert copy.get(pickle.loads(pickle.dumps(handle))) == [1]
    text = pickle.dumps((store, handle)).hex()
    told = elsewhere(
        daemon, f"import pickle; s, h = pickle.loads(bytes.fromhex({text!r})); print(s.get(h))"
    )
    assert told == "FrozenList([1])"


def test_handles_open_without_their_store(daemon: Daemon, store: Store) -> None:
    handle = store.put({"a": [1, 2]})
    assert icehouse.get(handle) == {"a": [1, 2]}
    assert elsewhere(daemon, f"print(icehouse.get({str(handle)!r})['a'][1])") == "2"


def test_an_interpreter_attaches_or_connects(daemon: Daemon, store: Store) -> None:
    if not icehouse.interpreters.supported():
        pytest.skip("this Python has no interpreters")
    store.put([1], name="a")
    with icehouse.interpreters.Interpreter() as other:
        other.run(
            f"""
            import icehouse
            store = icehouse.connect({daemon.socket!r})
            assert store.token == {store.token!r}
            store.put([2], name="b", ttl=60)
            attached = icehouse.Store.attach({store.token!r})
            assert attached.get("a") == [1]
            assert attached.remote.socket == {daemon.socket!r}
            """
        )
    assert store.get("b") == [2]


# --- lifetimes ------------------------------------------------------------------------------------


def reason(store: Store, handle: icehouse.Handle) -> str:
    with pytest.raises(icehouse.HandleGone) as caught:
        store.get(handle)
    assert caught.value.reason in str(caught.value)
    return caught.value.reason


def test_h15_times_to_live(store: Store) -> None:
    soon = store.put([1], ttl=datetime.timedelta(milliseconds=50), name="soon")
    late = store.put([2], ttl=1000)
    expires = store.stat(late).expires
    assert expires is not None
    assert 900 < expires - time.time() <= 1000
    store.expire(late, None)
    assert store.stat(late).expires is None
    wait_until(lambda: store.get(soon, None) is None, "the end of a time to live")
    assert reason(store, soon) == "expired"
    assert store.names() == {}
    store.expire(late, 0.05)
    wait_until(lambda: store.get(late, None) is None, "the end of a time to live")
    for wrong in (0, -1, float("nan"), datetime.timedelta(0)):
        with pytest.raises(ValueError, match="ttl"):
            store.put([1], ttl=wrong)
        with pytest.raises(ValueError, match="ttl"):
            store.expire(late, wrong)
    for wrong_type in ("1", [1]):
        with pytest.raises(TypeError, match="timedelta"):
            store.put([1], ttl=wrong_type)  # type: ignore[arg-type]
    # Their memory is this producer's to give back, at its next put.
    assert {found.state for found in store.ls()} <= {"deleted"}


def test_h15_pins_names_and_explanations(store: Store) -> None:
    handle = store.put([1], pin=True)
    assert store.stat(handle).pinned
    assert "pin" in store.explain(handle)
    store.unpin(handle)
    store.unpin(handle)
    assert not store.stat(handle).pinned
    store.pin(handle)
    store.bind("name", handle)
    assert "name" in store.explain("name")
    with pytest.raises(icehouse.Conflict):
        store.delete(handle)
    store.delete(handle, force=True)
    assert reason(store, handle) == "deleted"
    with pytest.raises(icehouse.HandleGone):
        store.pin(handle)
    with pytest.raises(icehouse.UnknownName):
        store.explain("name")


def test_h15_a_snapshot_goes_with_its_view_unless_it_is_put(store: Store) -> None:
    view = store.freeze([1, 2])
    handle = view.handle
    assert handle is not None
    assert store.get(handle) == [1, 2]
    del view
    wait_until(lambda: store.get(handle, None) is None, "a snapshot to go with its view")
    view = store.freeze([3])
    handle = view.handle
    assert handle is not None
    assert store.put(view) == handle
    del view
    assert store.get(handle) == [3]


def test_a_sealed_image_is_the_kernels(store: Store) -> None:
    handle = store.put([1, 2], seal=True, name="sealed")
    assert store.stat(handle).sealed
    assert store.get("sealed") == [1, 2]
    assert store.put(store.get(handle), seal=True) == handle


def test_a_scope_of_a_connected_store(daemon: Daemon, store: Store) -> None:
    with store.scope():
        handle = store.put([1], name="a")
        assert elsewhere(daemon, "print(store.get('a')[0])") == "1"
    assert reason(store, handle) == "deleted"
    assert store.names() == {}


def test_a_bad_name_leaves_nothing(store: Store) -> None:
    with pytest.raises(ValueError, match="not a name"):
        store.put([1], name="")
    assert store.ls() == []


# --- waiting --------------------------------------------------------------------------------------


def test_changes_by_others_are_pushed(daemon: Daemon, store: Store) -> None:
    steps = store.watch("a", timeout=60)
    elsewhere(daemon, "store.put([1], name='a')")
    handle, version = next(steps)
    assert handle is not None
    assert version == store.version("a")
    elsewhere(daemon, "store.bind('a', None)")
    assert next(steps)[0] is None


def test_a_watch_outlives_the_daemon(daemon: Daemon, store: Store) -> None:
    steps = store.watch("a", timeout=60)
    daemon.wait_for_another(daemon.kill())
    handle = store.put([1], name="a")
    assert next(steps)[0] == handle


def test_a_wait_is_interrupted(store: Store) -> None:
    class StopHere(Exception):
        pass

    def handle(signum: int, frame: object) -> None:
        raise StopHere

    main = threading.main_thread().ident
    assert main is not None
    before = signal.signal(signal.SIGUSR1, handle)
    sender = threading.Thread(target=signal.pthread_kill, args=(main, signal.SIGUSR1))
    steps = store.watch("never")
    try:
        with pytest.raises(StopHere):
            sender.start() or next(steps)
    finally:
        sender.join()
        signal.signal(signal.SIGUSR1, before)


def test_without_patience_nothing_waits(daemon: Daemon, store: Store) -> None:
    """What asyncio needs: at once, or BlockingIOError."""
    near = store.put([1], name="near")
    far = icehouse.Handle(elsewhere(daemon, "print(store.put([2], name='far'))"))
    _patience(False)  # noqa: FBT003
    try:
        assert store.get(near) == [1]
        assert store.get("near") == [1]
        again = store.put([3])
        assert store.get(again) == [3]
        calls: list[Callable[[], Any]] = [
            lambda: store.get(far),
            lambda: icehouse.get(far),
            lambda: store.put([4], name="x"),
            lambda: store.put([4], ttl=1),
            lambda: store.put([4], seal=True),
            lambda: store.put(bytes(8 << 20)),
            lambda: store.delete(near),
            lambda: store.bind("y", near),
            lambda: store.usage(),
        ]
        for call in calls:
            with pytest.raises(BlockingIOError):
                call()
    finally:
        _patience(True)  # noqa: FBT003
    assert store.get(far) == [2]
    assert sorted(store.names()) == ["far", "near"]
    assert len(store.ls()) == 3


def test_other_threads_run_while_one_waits(daemon: Daemon, store: Store) -> None:
    """A stopped daemon holds up the call that needs it, not the interpreter."""
    handle = store.put([1])
    pid = daemon.daemon_pid()
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    thread = threading.Thread(target=store.put, args=([2],), kwargs={"name": "late"})
    try:
        thread.start()
        # As many as there is room for in what was granted.
        for _ in range(100):
            assert store.get(handle) == [1]
            store.put([3])
        assert thread.is_alive()
    finally:
        os.kill(pid, signal.SIGCONT)
        thread.join()
    assert store.get("late") == [2]


# --- who is not there -----------------------------------------------------------------------------


def test_another_daemon_is_another_store(folder: Path) -> None:
    daemon = Daemon(folder, capacity="64MiB").start()
    try:
        store = icehouse.connect(daemon.socket)
        handle = store.put({"a": 1})
        view = store.get(handle)
        assert daemon.stop() == 0
        daemon.start()
        with pytest.raises(icehouse.StoreUnavailable) as caught:
            store.put([1], name="a")
        assert caught.value.socket == daemon.socket
        assert view == {"a": 1}
        again = icehouse.connect(daemon.socket)
        assert again.remote is not None
        assert store.remote is not None
        assert again.remote.identity != store.remote.identity
        assert again.get(again.put([2], name="a")) == [2]
        again.close()
        store.close()
    finally:
        daemon.destroy()
