"""scope(): what is put inside is deleted at its end, in whose context it was entered."""

import asyncio
import contextlib
import threading
from collections.abc import Iterator

import pytest

import icehouse
import icehouse.interpreters
from icehouse import Handle, Store


@pytest.fixture
def store() -> Iterator[Store]:
    with Store("4MiB") as opened:
        yield opened
        opened.check()


def alive(store: Store, *handles: Handle) -> list[bool]:
    return [store.get(handle, None) is not None for handle in handles]


def test_what_is_put_inside_goes_with_its_names(store: Store) -> None:
    before = store.put([0])
    with store.scope() as scope:
        first, second = store.put([1]), store.put([2], name="second")
        assert scope.handles == (first, second)
        assert alive(store, first, second) == [True, True]
    assert alive(store, before, first, second) == [True, False, False]
    assert store.names() == {}
    assert scope.handles == ()


def test_views_stay_readable(store: Store) -> None:
    with store.scope():
        view = store.get(store.put({"a": [1, 2]}))
    assert view == {"a": [1, 2]}


def test_what_was_there_before_stays(store: Store) -> None:
    view = store.get(store.put([1]))
    snapshot = store.freeze([2])
    with store.scope() as scope:
        assert store.put(view) == view.handle
        assert scope.handles == ()
        assert store.put(snapshot) == snapshot.handle
        assert scope.handles == (snapshot.handle,)
    assert alive(store, view.handle, snapshot.handle) == [True, False]


def test_keep_and_delete_inside(store: Store) -> None:
    with store.scope() as scope:
        kept = scope.keep(store.put([1]))
        gone = store.put([2])
        store.delete(gone)
    assert alive(store, kept, gone) == [True, False]


def test_scopes_nest(store: Store) -> None:
    with store.scope():
        outer = store.put([1])
        with store.scope():
            inner = store.put([2])
        assert alive(store, outer, inner) == [True, False]
        later = store.put([3])
    assert alive(store, outer, later) == [False, False]
    assert alive(store, store.put([4])) == [True]


def test_stores_have_scopes_of_their_own(store: Store) -> None:
    with Store("1MiB") as other:
        with store.scope():
            theirs = other.put([1])
            with other.scope():
                inner = other.put([2])
                ours = store.put([3])
            assert alive(other, theirs, inner) == [True, False]
            assert alive(store, ours) == [True]
        assert alive(other, theirs) == [True]
        assert alive(store, ours) == [False]


def test_an_attached_store_is_the_same(store: Store) -> None:
    with store.scope():
        handle = Store.attach(store.token).put([1])
    assert alive(store, handle) == [False]


def test_other_threads_put_as_ever(store: Store) -> None:
    handles = []
    with store.scope():
        thread = threading.Thread(target=lambda: handles.append(store.put([1])))
        thread.start()
        thread.join()
    # A thread inherits the context only where Python says so.
    assert alive(store, *handles) == [not _threads_inherit()]


def _threads_inherit() -> bool:
    import sys

    return bool(getattr(sys.flags, "thread_inherit_context", 0))


def test_tasks_belong_to_the_scope_that_started_them(store: Store) -> None:
    async def put(value: int) -> Handle:
        await asyncio.sleep(0)
        return store.put([value])

    async def scoped(value: int) -> list[Handle]:
        with store.scope():
            handles = [await put(value), await asyncio.create_task(put(value + 1))]
            assert alive(store, *handles) == [True, True]
            return handles

    async def several() -> None:
        free = asyncio.create_task(put(100))
        for handles in await asyncio.gather(*(scoped(n) for n in range(0, 20, 2))):
            assert alive(store, *handles) == [False, False]
        assert alive(store, await free) == [True]

    asyncio.run(several())


def test_an_ended_scope_takes_nothing(store: Store) -> None:
    async def late(over: asyncio.Event) -> Handle:
        await over.wait()
        return store.put([1])

    async def run() -> None:
        over = asyncio.Event()
        with store.scope():
            task = asyncio.create_task(late(over))
            await asyncio.sleep(0)
        over.set()
        assert alive(store, await task) == [True]

    asyncio.run(run())


def test_it_ends_in_another_context(store: Store) -> None:
    scope = store.scope()
    scope.__enter__()
    handle = store.put([1])
    thread = threading.Thread(target=scope.__exit__, args=(None, None, None))
    thread.start()
    thread.join()
    assert alive(store, handle, store.put([2])) == [False, True]


def test_its_own_errors(store: Store) -> None:
    scope = store.scope()
    with scope, pytest.raises(RuntimeError, match="entered already"):
        scope.__enter__()
    with scope:
        again = store.put([1])
    assert alive(store, again) == [False]
    handles = []
    with contextlib.suppress(KeyError), store.scope():
        handles.append(store.put([1]))
        raise KeyError
    assert alive(store, *handles) == [False]
    closing = Store("1MiB")
    with closing.scope():
        closing.put([1])
        closing.close()
    with pytest.raises(icehouse.StoreClosed):
        closing.scope().__enter__()


def test_a_failed_put_leaves_nothing(store: Store) -> None:
    with store.scope() as scope:
        with pytest.raises(icehouse.NotFreezableError):
            store.put(object())
        with pytest.raises(ValueError, match="not a name"):
            store.put([1], name="")
        assert scope.handles == ()
    assert store.ls() == []


def test_scopes_of_interpreters() -> None:
    if not icehouse.interpreters.supported():
        pytest.skip("this Python has no interpreters")
    with Store("1MiB") as store, icehouse.interpreters.Interpreter() as other:
        with store.scope():
            other.run(f"import icehouse; h = icehouse.Store.attach({store.token!r}).put([1])")
            assert len(store.ls()) == 1
        assert len(store.ls()) == 1
