"""The store through asyncio: what blocks nobody, what survives the daemon, what is refused."""

import asyncio
import gc
import os
import signal
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

import icehouse
from icehouse.aio import AsyncStore

Work = Callable[[AsyncStore], Awaitable[None]]


def run(daemon: Any, work: Work) -> None:
    async def main() -> None:
        async with await icehouse.aio.connect(daemon.socket) as store:
            await work(store)

    asyncio.run(main())


async def soon(happened: Callable[[], Any], seconds: float = 60.0) -> None:
    async with asyncio.timeout(seconds):
        while not happened():
            await asyncio.sleep(0.002)


def test_it_tells_what_the_store_tells(daemon: Any) -> None:
    async def work(store: AsyncStore) -> None:
        handle = await store.put({"a": [1, 2]}, name="config", pin=True, ttl=1000)
        await store.bind("other", handle)
        view = await store.get("config")
        assert view == {"a": [1, 2]}
        told, known = await store.stat(handle), store.store.stat(handle)
        assert told == known
        assert sorted(told.names) == ["config", "other"]
        assert (told.pinned, told.pid) == (True, os.getpid())
        for made in (
            1,
            "ab",
            "é" * 500,
            b"x",
            1.5,
            None,
            (1,),
            [1.5],
            {1, 2},
            frozenset({"a"}),
            2**80,
        ):
            handle = await store.put(made)
            assert (await store.stat(handle)).type == store.store.stat(handle).type
        for view in (await store.put(bytes(10**5)), await store.put([[i] for i in range(9)])):
            assert (await store.stat(view)).type == store.store.stat(view).type
        assert await store.names() == store.store.names()
        assert store.remote == store.store.remote
        assert await store.lookup("config") == store.store.lookup("config")
        assert "other" in await store.explain("config")
        assert (await store.usage()).names == 2

    run(daemon, work)


def test_the_control_connection_belongs_to_the_session_h14(daemon: Any) -> None:
    """H14: one listening socket, two connections, joined."""

    async def work(store: AsyncStore) -> None:
        assert store.remote is not None
        assert store.remote.session
        session = store._link._session
        assert session is not None
        assert session.welcome is not None
        assert session.welcome.session == store.remote.session

    run(daemon, work)


def test_many_requests_are_in_flight_at_once(daemon: Any) -> None:
    async def work(store: AsyncStore) -> None:
        handles = [await store.put([i]) for i in range(1000)]
        await asyncio.gather(*(store.delete(handle) for handle in handles))
        assert [await store.get(handle, None) for handle in handles] == [None] * 1000
        results = await asyncio.gather(
            *(store.delete(handle) for handle in handles[:50]), return_exceptions=True
        )
        assert {type(result) for result in results} == {icehouse.HandleGone}
        assert {getattr(result, "reason", "") for result in results} == {"deleted"}

    run(daemon, work)


def test_a_stopped_daemon_stops_nobody_else(daemon: Any) -> None:
    """The loop turns while a delete waits, and get needs no daemon."""

    async def work(store: AsyncStore) -> None:
        first, second = await store.put([1]), await store.put([2])
        assert await store.get(first) == [1]
        pid = daemon.daemon_pid()
        os.kill(pid, signal.SIGSTOP)
        try:
            deleting = asyncio.ensure_future(store.delete(first))
            publishing = asyncio.ensure_future(store.put([3], name="third"))
            for _ in range(50):
                assert await store.get(second) == [2]
                await asyncio.sleep(0.001)
            assert not deleting.done()
            assert not publishing.done()
        finally:
            os.kill(pid, signal.SIGCONT)
        await deleting
        assert await store.get(await publishing) == [3]
        assert await store.get(first, None) is None

    run(daemon, work)


def test_a_put_that_is_cancelled_leaves_nothing(daemon: Any) -> None:
    async def work(store: AsyncStore) -> None:
        pid = daemon.daemon_pid()
        os.kill(pid, signal.SIGSTOP)
        try:
            putting = asyncio.ensure_future(store.put([1], name="cancelled"))
            await asyncio.sleep(0.05)
            putting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await putting
        finally:
            os.kill(pid, signal.SIGCONT)
        async with asyncio.timeout(60):
            while await store.names() or await store.ls():
                await asyncio.sleep(0.01)
                await store.trim()

    run(daemon, work)


def test_a_watch_is_pushed_and_coalesced(daemon: Any) -> None:
    async def work(store: AsyncStore) -> None:
        handles = [await store.put([i]) for i in range(50)]
        steps = store.watch("name")
        waiting = asyncio.ensure_future(anext(steps))
        await asyncio.sleep(0)
        version = await store.bind("name", handles[0])
        assert await waiting == (handles[0], version)
        for handle in handles:
            version = await store.bind("name", handle)
        seen = [await anext(steps)]
        while seen[-1] != (handles[-1], version):
            seen.append(await anext(steps))
        assert len({at for _, at in seen}) == len(seen) <= 50
        assert [at for _, at in seen] == sorted(at for _, at in seen)
        await store.bind("name", None)
        assert (await anext(steps))[0] is None
        # Who begins now is told nothing, since nothing is bound.
        assert [state async for state in store.watch("name", timeout=0.05)] == []
        await store.bind("name", handles[3])
        assert [at async for at, _ in store.watch("name", timeout=0)] == [handles[3]]
        await steps.aclose()
        assert [state async for state in steps] == []

    run(daemon, work)


@pytest.mark.watchdog(120)
def test_a_watch_and_requests_survive_the_daemon(daemon: Any) -> None:
    async def work(store: AsyncStore) -> None:
        handles = [await store.put([i]) for i in range(4)]
        await store.bind("name", handles[0])
        steps = store.watch("name")
        assert (await anext(steps))[0] == handles[0]
        for handle in handles[1:]:
            waiting = asyncio.ensure_future(anext(steps))
            await asyncio.sleep(0)
            killed = daemon.kill()
            await asyncio.to_thread(daemon.wait_for_another, killed)
            # Through another connection: this one may not have noticed anything.
            await asyncio.to_thread(store.store.bind, "name", handle)
            assert (await waiting)[0] == handle
        before = await store.version("name")
        daemon.kill()
        deleting = [asyncio.ensure_future(store.delete(handle)) for handle in handles[:3]]
        assert await store.bind("name", handles[0 - 1], expected=before) == before + 1
        await asyncio.gather(*deleting)
        assert [await store.get(handle, None) for handle in handles[:3]] == [None] * 3
        assert await store.get("name") == [3]

    run(daemon, work)


def test_watches_survive_a_connection_that_is_lost_while_they_are_made_again(daemon: Any) -> None:
    async def work(store: AsyncStore) -> None:
        handle = await store.put([1])
        link, watches = store._link, {name: store.watch(name) for name in ("a", "b", "c")}
        waiting = {}
        for name, steps in watches.items():
            waiting[name] = asyncio.ensure_future(anext(steps))
            await soon(lambda name=name: name in link._followers)
        await store.version("a")
        again: list[str] = []
        watch = link._watch

        async def watch_and_lose(name: str) -> None:
            await watch(name)
            again.append(name)
            if len(again) == 1:
                assert link._wire is not None
                link._wire.close()

        await soon(lambda: link._wire is not None)
        link._watch = watch_and_lose  # type: ignore[method-assign]
        assert link._wire is not None
        link._wire.close()
        await soon(lambda: link._again is None and len(again) >= 3)
        for name in watches:
            await store.bind(name, handle)
        async with asyncio.timeout(20):
            assert [(await step)[0] for step in waiting.values()] == [handle] * 3

    run(daemon, work)


def test_a_watch_that_is_dropped_is_not_told_any_more(daemon: Any) -> None:
    async def work(store: AsyncStore) -> None:
        handle = await store.put([1], name="name")

        async def first() -> None:
            async for found, _ in store.watch("name"):
                assert found == handle
                break

        await first()
        gc.collect()
        await soon(lambda: not store._link._followers)

    run(daemon, work)


def test_closing_ends_those_who_watch(daemon: Any) -> None:
    async def main() -> None:
        store = await icehouse.aio.connect(daemon.socket)
        waiting = asyncio.ensure_future(anext(store.watch("nothing")))
        await soon(lambda: store._link._followers)
        await store.close()
        with pytest.raises(icehouse.StoreClosed):
            await waiting
        for attempt in (store.get("a"), store.delete("a"), store.names()):
            with pytest.raises(icehouse.StoreClosed, match="connect"):
                await attempt
        await store.close()
        assert store.closed

    asyncio.run(main())


def test_it_belongs_to_its_loop(daemon: Any) -> None:
    async def work(store: AsyncStore) -> None:
        errors: list[BaseException] = []

        def elsewhere() -> None:
            try:
                asyncio.run(store.names())
            except BaseException as error:
                errors.append(error)

        thread = threading.Thread(target=elsewhere)
        thread.start()
        await asyncio.to_thread(thread.join)
        assert [type(error) for error in errors] == [RuntimeError]
        assert "await icehouse.aio.connect() in each loop" in str(errors[0])

    run(daemon, work)


def test_a_scope_is_of_the_task(daemon: Any) -> None:
    async def work(store: AsyncStore) -> None:
        outside: list[icehouse.Handle] = []
        inside = asyncio.Event()

        async def other() -> None:
            await inside.wait()
            outside.append(await store.put([0]))

        apart = asyncio.ensure_future(other())
        async with store.scope() as scope:
            inside.set()
            await apart
            put = [await store.put([i], name=f"n{i}") for i in range(3)]
            kept = scope.keep(await store.put(["kept"]))
            assert scope.handles == tuple(put)
        assert [await store.get(handle, None) for handle in put] == [None] * 3
        assert await store.names() == {}
        assert await store.get(kept) == ["kept"]
        assert await store.get(outside[0]) == [0]

    run(daemon, work)


def test_what_is_wrong_is_refused_as_the_store_does(daemon: Any) -> None:
    async def work(store: AsyncStore) -> None:
        handle = await store.put([1], name="a")
        for wrong in (store.bind("", handle), store.bind("ih1_x", handle), store.put([1], ttl=0)):
            with pytest.raises(ValueError):
                await wrong
        for wrong in (
            store.bind("b", handle, expected="1"),  # type: ignore[arg-type]
            store.delete(5),
            store.stat([1]),
        ):
            with pytest.raises(TypeError):
                await wrong
        for wrong in (store.get("nothing"), store.stat("nothing"), store.delete("nothing")):
            with pytest.raises(icehouse.UnknownName):
                await wrong
        with pytest.raises(icehouse.Conflict) as lost:
            await store.bind("a", handle, expected=0)
        assert lost.value.version == 1
        with pytest.raises(icehouse.Conflict):
            await store.delete(handle)
        with pytest.raises(ValueError):
            store.watch("a", timeout=-1)
        with pytest.raises(ValueError):
            store.watch("")
        assert await store.get("a") == [1]

    run(daemon, work)


def test_nobody_there(tmp_path: Any) -> None:
    with pytest.raises(icehouse.StoreUnavailable, match="icehouse serve") as away:
        asyncio.run(icehouse.aio.connect(str(tmp_path / "socket")))
    assert away.value.socket == str(tmp_path / "socket")


@pytest.mark.slow
@pytest.mark.watchdog(200)
def test_what_is_asked_while_the_daemon_dies_is_done_once(daemon: Any) -> None:
    """Compare-and-swaps and deletes with a daemon that is killed in the middle, again and again."""

    async def work(store: AsyncStore) -> None:
        version, rounds = 0, 0

        async def kill(times: int) -> None:
            for at in range(times):
                # In the middle of a request: this runs while the other task waits for a reply.
                least = rounds + 5 + at
                await soon(lambda least=least: rounds >= least)
                killed = daemon.kill()
                await asyncio.to_thread(daemon.wait_for_another, killed)

        killing = asyncio.ensure_future(kill(8))
        before: icehouse.Handle | None = None
        while not killing.done():
            handle = await store.put([rounds])
            # Nobody else swaps: a conflict would be our own swap, done and not told.
            version = await store.bind("name", handle, expected=version)
            if before is not None:
                await store.delete(before)
                assert await store.get(before, None) is None
            assert await store.get("name") == [rounds]
            before, rounds = handle, rounds + 1
        await killing
        assert rounds >= 40
        assert await store.version("name") == version
        assert (await store.usage()).names == 1
        assert before is not None
        await store.delete("name")
        await store.trim()
        assert [stat.state for stat in await store.ls() if stat.state != "deleted"] == []
        await store.check()

    run(daemon, work)
