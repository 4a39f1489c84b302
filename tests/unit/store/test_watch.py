"""watch(): a name's state now, and each change, without polling."""

import signal
import threading
import time
from collections.abc import Iterator

import pytest

import icehouse
from icehouse import Store


@pytest.fixture
def store() -> Iterator[Store]:
    with Store("4MiB") as opened:
        yield opened
        opened.check()


def test_the_state_now_comes_first(store: Store) -> None:
    first = store.put([1], name="a")
    steps = store.watch("a", timeout=60)
    assert next(steps) == (first, store.version("a"))
    second = store.put([2], name="a")
    assert next(steps) == (second, store.version("a"))
    store.bind("a", None)
    handle, version = next(steps)
    assert handle is None
    assert version == store.version("a") == 0


def test_an_unbound_name_is_waited_for(store: Store) -> None:
    steps = store.watch("later", timeout=60)
    handle = store.put([1], name="later")
    assert next(steps) == (handle, 1)
    store.bind("later", None)
    # What was unbound before has a version that must not look like news.
    assert list(store.watch("later", timeout=0)) == []


def test_fast_changes_are_one(store: Store) -> None:
    steps = store.watch("a", timeout=0)
    handles = [store.put([n], name="a") for n in range(100)]
    assert list(steps) == [(handles[-1], 100)]


def test_it_ends_when_nothing_changes(store: Store) -> None:
    store.put([1], name="a")
    assert len(list(store.watch("a", timeout=0.01))) == 1
    assert list(store.watch("b", timeout=0.01)) == []


def test_the_same_handle_again_is_a_change(store: Store) -> None:
    handle = store.put([1], name="a")
    steps = store.watch("a", timeout=60)
    assert next(steps) == (handle, 1)
    store.bind("a", handle)
    assert next(steps) == (handle, 2)


def test_threads_run_meanwhile_and_are_woken(store: Store) -> None:
    seen: list[int] = []
    ready = threading.Barrier(5)

    def watch() -> None:
        steps = store.watch("a", timeout=60)
        ready.wait()
        for handle, version in steps:
            assert handle is not None
            if version == 50:
                seen.append(version)
                return

    threads = [threading.Thread(target=watch) for _ in range(4)]
    for thread in threads:
        thread.start()
    ready.wait()
    for n in range(50):
        store.put([n], name="a")
    for thread in threads:
        thread.join()
    assert seen == [50] * 4


def test_arguments(store: Store) -> None:
    for wrong in ("", "ih1_x", "x" * 513):
        with pytest.raises(ValueError, match="not a name"):
            store.watch(wrong)
    with pytest.raises(TypeError):
        store.watch(1)  # type: ignore[arg-type]
    for number in (-1, float("nan"), float("inf"), 1e300):
        with pytest.raises(ValueError, match="timeout"):
            store.watch("a", timeout=number)
    with pytest.raises(TypeError, match="timedelta"):
        store.watch("a", timeout="1")  # type: ignore[arg-type]
    with Store("1MiB") as other:
        other.put([1], name="a")
        steps = other.watch("a")
        next(steps)
    with pytest.raises(icehouse.StoreClosed):
        next(steps)
    with pytest.raises(icehouse.StoreClosed):
        other.watch("a")


class StopHere(Exception):
    pass


def test_a_signal_is_handled_meanwhile(store: Store) -> None:
    """One whose handler raises ends the wait, others do not."""
    main = threading.main_thread().ident
    assert main is not None
    handled: list[int] = []

    def handle(signum: int, frame: object) -> None:
        handled.append(signum)
        if len(handled) == 3:
            raise StopHere

    def send() -> None:
        for count in range(3):
            signal.pthread_kill(main, signal.SIGUSR1)
            while len(handled) <= count:
                time.sleep(0.001)

    before = signal.signal(signal.SIGUSR1, handle)
    sender = threading.Thread(target=send)
    steps = store.watch("never")
    sender.start()
    try:
        with pytest.raises(StopHere):
            next(steps)
    finally:
        sender.join()
        signal.signal(signal.SIGUSR1, before)


def test_a_wait_of_a_closed_store_ends(store: Store) -> None:
    other = Store("1MiB")
    failures: list[BaseException] = []

    def watch() -> None:
        try:
            list(other.watch("a", timeout=60))
        except icehouse.StoreClosed as error:
            failures.append(error)

    thread = threading.Thread(target=watch)
    thread.start()
    other.close()
    thread.join()
    assert len(failures) == 1
