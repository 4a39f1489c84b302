"""Store: its life, its arguments, and who may use it from where."""

import gc
import os
import pickle
import subprocess
import sys
import threading
import weakref
from pathlib import Path
from typing import Any

import pytest

import icehouse
from icehouse import Store, interpreters


def test_sizes_as_people_write_them() -> None:
    for text, size in {
        "65536": 1 << 16,
        "64KiB": 1 << 16,
        "64 kib": 1 << 16,
        "1MiB": 1 << 20,
        "1GiB": 1 << 30,
        "2TiB": 1 << 41,
        "1MB": 10**6,
        "100 kB": 10**5,
        "131072B": 1 << 17,
    }.items():
        with Store(text) as store:
            assert store.capacity == size
    for wrong in [
        "",
        "x",
        "MiB",
        "1 XiB",
        "-1MiB",
        "1.5MiB",
        "0",
        "0MiB",
        "1" * 30,
        "1MiB\0",
        0,
        -1,
    ]:
        with pytest.raises(ValueError, match="size"):
            Store(wrong)
    for wrong_type in (1.5, True, b"1MiB", [1]):
        with pytest.raises(TypeError, match="number of bytes"):
            Store(wrong_type)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="power of two"):
        Store("64MiB", segment_size="3MiB")
    with pytest.raises(TypeError):
        Store("64MiB", "1MiB")  # type: ignore[call-arg, misc]
    with Store() as store:
        assert store.capacity > 1 << 20
    with Store("64MiB", segment_size="1MiB") as store:
        store.put([1])


def test_arguments() -> None:
    with Store("1MiB") as store:
        calls: list[Any] = [
            lambda: store.put(),  # type: ignore[call-arg]
            lambda: store.put(1, 2),  # type: ignore[call-arg, misc]
            lambda: store.put(1, nme="x"),  # type: ignore[call-arg]
            lambda: store.get(),  # type: ignore[call-overload]
            lambda: store.get("a", 1, 2),  # type: ignore[call-overload]
            lambda: store.bind("a"),  # type: ignore[call-arg]
            lambda: store.bind("a", None, 1),  # type: ignore[call-arg, misc]
            lambda: store.bind("a", None, expected="1"),  # type: ignore[arg-type]
            lambda: store.bind("a", [1]),
            lambda: store.names(1),  # type: ignore[arg-type]
            lambda: store.delete(1),
            lambda: store.stat([1]),
            lambda: store.lookup(b"a"),  # type: ignore[arg-type]
            lambda: store.version(None),  # type: ignore[arg-type]
        ]
        for call in calls:
            with pytest.raises(TypeError):
                call()
        with pytest.raises(OverflowError):
            store.bind("a", None, expected=-1)
        with pytest.raises(ValueError):
            store.put([1], name="\udc80")
        foreign = icehouse.freeze([1])
        with pytest.raises(TypeError, match="this store"):
            store.bind("a", foreign)


@pytest.mark.parametrize("parameter", ["ttl", "pin", "evictable"])
def test_what_needs_the_daemon_says_so(parameter: str) -> None:
    with Store("1MiB") as store:
        with pytest.raises(icehouse.StoreUnavailable, match=rf"{parameter}.*icehouse.connect\(\)"):
            store.put([1], **{parameter: 5})
        assert store.ls() == []
    with Store("1MiB") as store:
        store.put([1], ttl=None, pin=False, evictable=False, seal=False, name=None)


def test_after_close() -> None:
    store = Store("1MiB")
    assert not store.closed
    handle = store.put({"a": [1, "text"]}, name="n")
    view = store.get(handle)
    part = store.freeze({"b": [2]})["b"]
    store.close()
    store.close()
    assert store.closed
    assert view == {"a": [1, "text"]}
    assert view["a"][1] == "text"
    assert part == [2]
    calls: list[Any] = [
        lambda: store.put([1]),
        lambda: store.put(view),
        lambda: store.freeze([1]),
        lambda: store.get(handle),
        lambda: store.get("n"),
        lambda: store.get("n", None),
        lambda: store.delete(handle),
        lambda: store.bind("n", None),
        lambda: store.stat(handle),
        store.ls,
        store.names,
        store.usage,
        store.check,
        store.trim,
        lambda: store.lookup("n"),
        lambda: store.version("n"),
        store.__enter__,
    ]
    for call in calls:
        with pytest.raises(icehouse.StoreClosed, match="closed"):
            call()
    with pytest.raises(icehouse.StoreClosed, match="token"):
        Store.attach(store.token)
    calls.clear()
    view = None
    with pytest.raises((icehouse.HandleGone, icehouse.StoreClosed)):
        icehouse.get(handle)


def test_a_store_closes_with_its_last_object() -> None:
    store = Store("1MiB")
    token, view = store.token, store.get(store.put([1, "x"]))
    other = Store.attach(token)
    handle = view.handle
    gone = weakref.ref(store)
    del store
    assert gone() is None
    assert other.get(handle) == [1, "x"]
    other.put([2])
    del other
    with pytest.raises(icehouse.StoreClosed):
        Store.attach(token)
    assert view == [1, "x"]


def test_an_attached_store_only_lets_go() -> None:
    with Store("1MiB") as store:
        with Store.attach(store.token) as other:
            assert other.capacity == store.capacity
            assert other.token == store.token
            handle = other.put([1], name="a")
        assert other.closed
        with pytest.raises(icehouse.StoreClosed):
            other.get("a")
        assert not store.closed
        assert store.lookup("a") == (handle, 1)
        third = Store.attach(store.token)
    assert third.closed
    with pytest.raises(icehouse.StoreClosed):
        third.put([1])


@pytest.mark.parametrize(
    "token",
    ["", "x", "ihs1_", "ihs1_" + "0" * 16, "ihs1_" + "g" * 16, "ihs1_" + "0" * 17, "é" * 21],
)
def test_other_tokens_are_refused(token: str) -> None:
    with pytest.raises(icehouse.StoreClosed):
        Store.attach(token)


def test_it_does_not_pickle() -> None:
    with Store("1MiB") as store:
        with pytest.raises(TypeError, match=r"handles.*store\.token"):
            pickle.dumps(store)
        with pytest.raises(TypeError):
            Store.attach(1)  # type: ignore[arg-type]


def test_a_subclass_is_a_store() -> None:
    class Mine(Store):
        extra = 1

    with Mine("1MiB") as store:
        store.note = "attributes too"  # type: ignore[attr-defined]
        assert store.get(store.put([1])) == [1]
        assert type(Mine.attach(store.token)) is Mine
    store.loop = store  # type: ignore[attr-defined]
    gone = weakref.ref(store)
    del store
    gc.collect()
    assert gone() is None


def test_stores_are_apart() -> None:
    with Store("1MiB") as first, Store("1MiB") as second:
        handle = first.put([1], name="a")
        assert second.get("a", None) is None
        assert second.get(handle) == [1]
        for call in (lambda: second.delete(handle), lambda: second.stat(handle)):
            with pytest.raises(icehouse.HandleGone):
                call()
        with pytest.raises(icehouse.HandleGone):
            second.bind("a", handle)
        copy = second.put(first.get(handle))
        assert copy != handle


def test_results_pickle_and_have_names() -> None:
    with Store("1MiB") as store:
        handle = store.put([1], name="a")
        stat = store.stat(handle)
        assert pickle.loads(pickle.dumps(stat)) == stat
        assert stat.names == ("a",)
        assert "handle=Handle(" in repr(stat)
        usage = store.usage()
        assert pickle.loads(pickle.dumps(usage)) == usage
        assert 0.0 <= usage.fragmentation <= 1.0


def test_threads_share_a_store() -> None:
    failures: list[BaseException] = []

    def work(number: int) -> None:
        try:
            for i in range(300):
                handle = store.put({"n": number, "i": i}, name=f"t{number}")
                assert store.get(handle) == {"n": number, "i": i}
                store.delete(handle, force=True)
        except BaseException as error:
            failures.append(error)

    with Store("16MiB") as store:
        threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert failures == []
        assert store.usage().images == 0
        store.check()


@pytest.mark.slow
def test_a_million_open_root_views() -> None:
    count = 1_000_000
    with Store("1GiB") as store:
        handles = [store.put([i]) for i in range(count)]
        views = [store.get(handle) for handle in handles]
        assert store.usage().leases == count
        assert sum(view[0] for view in views) == count * (count - 1) // 2
        views = [store.get(handles[0]) for _ in range(count)]
        assert store.usage().leases == 1
        views.clear()
        assert store.usage().leases == 0
        for handle in handles:
            store.delete(handle)
        assert store.usage().used == 0
        store.check()


FORKED = """
import os, sys, icehouse

store = icehouse.Store("1MiB")
handle = store.put({"a": [1]}, name="n")
temporary = store.freeze([5])
private = icehouse.freeze({"p": [2]})
if os.fork() == 0:
    for call in (lambda: store.put([1]), lambda: store.put([1], name="x"),
                 lambda: store.freeze([1]), lambda: store.delete(handle),
                 lambda: store.bind("n", None)):
        try:
            call()
        except icehouse.StoreUnavailable as error:
            assert "icehouse.connect()" in str(error), error
        else:
            os._exit(1)
    assert store.get("n") == {"a": [1]}
    assert store.put(store.get("n")) == handle
    assert private == {"p": [2]} and private["p"][0] == 2
    again = icehouse.freeze({"child": private})
    assert again["child"]["p"] == [2]
    with icehouse.Store("1MiB") as own:
        assert own.get(own.put(store.get("n"), name="n")) == {"a": [1]}
    del temporary, private, again
    os._exit(7)
assert os.waitstatus_to_exitcode(os.wait()[1]) == 7
assert temporary == [5] and private == {"p": [2]}
assert icehouse.get(temporary.handle) == [5] and icehouse.get(private.handle) == {"p": [2]}
assert store.get("n") == {"a": [1]}
store.put([3])
store.check()
"""


def test_h28_a_forked_child_reads_and_is_told_how_to_write() -> None:
    command = [sys.executable, "-W", "error", "-c", FORKED]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.skipif(not hasattr(os, "memfd_create"), reason="needs memfd")
def test_descriptors_are_given_back() -> None:
    def count() -> int:
        return len(list(Path("/proc/self/fd").iterdir()))

    Store("1MiB").put([1])
    gc.collect()
    before = count()
    for _ in range(20):
        with Store("1MiB") as store:
            view = store.get(store.put({"a": [1] * 1000}))
        del view
    assert count() <= before


@pytest.mark.skipif(not interpreters.supported(), reason="this Python has no interpreters")
def test_what_another_interpreter_puts_outlives_the_view_that_it_was_frozen_for() -> None:
    with Store() as store:
        view = store.freeze({"kept": [1]})
        handle = view.handle
        with interpreters.Interpreter() as other:
            other.run(
                f"""
                import icehouse
                store = icehouse.Store.attach({store.token!r})
                assert str(store.put(store.get({str(handle)!r}))) == {str(handle)!r}
                """
            )
        del view
        assert store.get(handle) == {"kept": [1]}
        store.check()


def test_a_bind_that_lost_keeps_nothing() -> None:
    """What was frozen and bound stays; what could not be bound goes with its view, as before."""
    with icehouse.Store() as store:
        store.put([1], name="a")
        view = store.freeze(["x" * 1000])
        with pytest.raises(icehouse.Conflict):
            store.bind("a", view, expected=77)
        del view
        assert store.usage().images == 1
        view = store.freeze(["x" * 1000])
        store.bind("a", view)
        handle = view.handle
        del view
        assert store.get("a") == ["x" * 1000]
        store.bind("a", None)
        assert store.get(handle) == ["x" * 1000]
