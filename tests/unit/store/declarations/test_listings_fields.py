"""PEP 795's listings 8 to 17, 26 and 27: fields, from all interpreters and processes."""

import multiprocessing
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import icehouse
from icehouse import interpreters

sys.path.insert(0, str(Path(__file__).parent))
import listings_work as work

SPAWN = multiprocessing.get_context("spawn")

needs_interpreters = pytest.mark.skipif(
    not interpreters.supported(), reason="this Python makes no interpreters"
)


@pytest.fixture
def store() -> Iterator[icehouse.Store]:
    with icehouse.Store("16MiB") as made:
        yield made
        made.check()


def test_listing_8_an_instance_counter() -> None:
    before = work.Counted.instances.get()
    threads = [threading.Thread(target=work.make, args=(50, work.Counted)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert work.Counted.instances.get() == before + 200
    assert icehouse.is_frozen(work.Counted)
    with pytest.raises(TypeError):
        work.Counted.instances = icehouse.SharedField(0)  # type: ignore[misc]
    assert icehouse.freeze(work.Counted()).instances.get() == before + 201


@needs_interpreters
def test_listing_8_from_all_interpreters(store: icehouse.Store) -> None:
    count = icehouse.SharedField(0)

    @icehouse.frozen
    def made() -> int:
        while True:
            seen = count.get()
            if count.compare_and_swap(seen, seen + 1):
                return seen + 1

    store.put(made, name="made")
    with interpreters.Interpreter() as one, interpreters.Interpreter() as two:
        assert one.call(work.get, store, "made") == 1
        assert two.call(work.get, store, "made") == 2
    assert made() == 3
    assert count.get() == 3


@needs_interpreters
def test_listings_9_and_10_a_cache(store: icehouse.Store) -> None:
    store.put(work.square, name="square")
    before = work.computed.get()
    assert work.square(7) == work.square(7) == 49
    assert work.computed.get() == before + 1
    with interpreters.Interpreter() as other:
        assert other.call(work.get, store, "square", 7) == 49
        assert other.call(work.get, store, "square", 7) == 49
    assert work.computed.get() == before + 2, "it was filled there once more, and once only"


def test_listings_11_to_13_a_logger_without_state() -> None:
    assert work.log_stateless("a") == "log: a"
    messages: list[str] = []
    work.log_passed(messages, "a")
    assert messages == ["a"]


@needs_interpreters
def test_listing_14_a_logger_with_shared_state(store: icehouse.Store) -> None:
    work.shared.set(())
    store.put({"log": work.log_shared, "messages": work.messages_shared}, name="logger")
    store.put(work.log_shared, name="log")
    work.log_shared("here")
    with interpreters.Interpreter() as other:
        other.call(work.get, store, "log", "there")
    assert work.messages_shared() == ("here", "there")
    assert store.get("logger")["messages"]() == ("here", "there")


def test_listing_14_from_all_processes(daemon: Any) -> None:
    seen: icehouse.SharedField[tuple[str, ...]] = icehouse.SharedField(())

    @icehouse.frozen
    def log(line: str) -> int:
        while True:
            before = seen.get()
            if seen.compare_and_swap(before, (*before, line)):
                return len(before) + 1

    with icehouse.connect(daemon.socket) as store:
        store.put(log, name="log")
        assert log("main") == 1
        with SPAWN.Pool(1) as pool:
            assert pool.apply(work.get_from, (daemon.socket, "log", "worker")) == 2
            assert pool.apply(work.call, (log, "sent")) == 3
        assert seen.get() == ("main", "worker", "sent")
        store.check()


@needs_interpreters
def test_listing_15_a_logger_for_each_interpreter(store: icehouse.Store) -> None:
    store.put(work.log_local, name="log")
    here = list(work.log_local("here"))
    with interpreters.Interpreter() as other:
        assert other.call(work.get, store, "log", "there") == ["there"]
        assert other.call(work.get, store, "log", "again") == ["there", "again"]
    assert work.log_local("more") == [*here, "more"]


@needs_interpreters
def test_listings_16_and_17_a_logger_in_a_module(store: icehouse.Store) -> None:
    store.put(work.log_module, name="log")
    here = list(work.log_module("here"))
    assert here == work.lines
    with interpreters.Interpreter() as other:
        assert other.call(work.get, store, "log", "there") == ["there"]
    assert work.log_module("more") == [*here, "more"]


def test_listing_26_what_a_shared_field_means() -> None:
    class Model:
        """The listing: a lock and a value."""

        def __init__(self, value: Any) -> None:
            self.value, self.lock = value, threading.Lock()

        def swap(self, new: Any) -> Any:
            with self.lock:
                old, self.value = self.value, new
                return old

        def compare_and_swap(self, old: Any, new: Any) -> bool:
            with self.lock:
                if self.value != old:
                    return False
                self.value = new
                return True

    model, field = Model(0), icehouse.SharedField(0)
    for number in range(50):
        assert field.swap(number) == model.swap(number)
        old = number if number % 3 else -1
        assert field.compare_and_swap(old, -number) == model.compare_and_swap(old, -number)
        assert field.get() == model.value


@needs_interpreters
def test_listing_27_what_a_local_means(store: icehouse.Store) -> None:
    calls = icehouse.SharedField(0)

    def make() -> list[int]:
        calls.set(calls.get() + 1)
        return []

    local: icehouse.InterpreterLocal[list[int]] = icehouse.InterpreterLocal(make)

    @icehouse.frozen
    def use(number: int) -> list[int]:
        local.get().append(number)
        return local.get()

    store.put(use, name="use")
    assert use(1) is use(2)
    with interpreters.Interpreter() as other:
        assert other.call(work.get, store, "use", 3) == [3]
        assert other.call(work.get, store, "use", 4) == [3, 4]
    assert use(5) == [1, 2, 5]
    assert calls.get() == 2
