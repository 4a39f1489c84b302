"""The ways in which a store is reached. Each runs a scenario, a function over the store."""

import asyncio
import concurrent.futures
import contextvars
import multiprocessing
import os
import signal
import sys
import threading
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import icehouse
from icehouse import Store, interpreters

# Interpreters and spawned children import scenarios by name; they take over the path.
HERE = str(Path(__file__).parent)
Scenario = Callable[[Any], None]
Runner = Callable[[Scenario, Store], None]


@pytest.fixture(scope="session", autouse=True)
def importable_scenarios() -> Iterator[None]:
    sys.path.insert(0, HERE)
    yield
    sys.path.remove(HERE)


def here(scenario: Scenario, store: Store) -> None:
    scenario(store)


def attached(scenario: Scenario, store: Store) -> None:
    scenario(Store.attach(store.token))


def in_an_interpreter(scenario: Scenario, store: Store) -> None:
    if sys.version_info < (3, 12) and "thread" in scenario.__name__:
        pytest.skip("interpreters of Python 3.11 start no threads")
    interpreters.run(scenario, store)


class Blocking:
    """An AsyncStore of a loop in another thread, as if its methods were not coroutines."""

    def __init__(self, store: Any, loop: asyncio.AbstractEventLoop) -> None:
        self._store = store
        self._loop = loop
        self._context = contextvars.copy_context()

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._store, name)
        if not callable(found):
            return found

        def call(*args: Any, **kwargs: Any) -> Any:
            async def run() -> Any:
                result = found(*args, **kwargs)
                return await result if asyncio.iscoroutine(result) else result

            result = self._wait(run())
            if hasattr(result, "__anext__"):
                return self._steps(result)
            return BlockingContext(self, result) if hasattr(result, "__aenter__") else result

        return call

    def settle(self) -> None:
        """Wait for what threads of the executor still hold of the calls before."""
        deadline = time.monotonic() + 20
        while any(one.state == "live" for one in self.ls()) and time.monotonic() < deadline:
            time.sleep(0.001)

    def _wait(self, coroutine: Any) -> Any:
        """In one context for all calls, as in one task: a scope counts for those that follow."""
        done: concurrent.futures.Future[Any] = concurrent.futures.Future()

        async def run() -> None:
            try:
                done.set_result(await coroutine)
            except BaseException as error:
                done.set_exception(error)

        def start() -> None:
            self._task = self._loop.create_task(run(), context=self._context)

        self._loop.call_soon_threadsafe(start)
        return done.result(100)

    def _steps(self, iterator: Any) -> Iterator[Any]:
        while True:
            try:
                yield self._wait(anext(iterator))
            except StopAsyncIteration:
                return


class BlockingContext:
    """An asynchronous context manager, as if it were an ordinary one."""

    def __init__(self, store: Blocking, manager: Any) -> None:
        self._store = store
        self._manager = manager

    def __enter__(self) -> Any:
        self._store._wait(self._manager.__aenter__())
        return self._store

    def __exit__(self, *error: object) -> None:
        self._store._wait(self._manager.__aexit__(*error))


def through_asyncio(scenario: Scenario, store: Store) -> None:
    assert store.remote
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()

    def wait(coroutine: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, loop).result(100)

    try:
        opened = wait(icehouse.aio.connect(store.remote.socket))
        try:
            scenario(Blocking(opened, loop))
        finally:
            wait(opened.close())
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def in_a_forked_child(scenario: Scenario, store: Store) -> None:
    """Run it in a forked child; what it raises there fails here."""
    with warnings.catch_warnings():
        # The watchdog is a thread that only prints.
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        try:
            scenario(store)
        except BaseException:
            traceback.print_exc()
            sys.stderr.flush()
            os._exit(1)
        os._exit(0)
    try:
        _, status = os.waitpid(child, 0)
    except BaseException:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        raise
    assert status == 0


def in_a_spawned_child(scenario: Scenario, store: Store) -> None:
    assert store.remote
    spawned = sys.modules[scenario.__module__].spawned
    child = multiprocessing.get_context("spawn").Process(
        target=spawned, args=(scenario, store.remote.socket)
    )
    child.start()
    child.join()
    assert child.exitcode == 0


EMBEDDED = {"here": here, "attached": attached, "interpreter": in_an_interpreter}
CONNECTED = {
    **EMBEDDED,
    "asyncio": through_asyncio,
    "fork": in_a_forked_child,
    "spawn": in_a_spawned_child,
}
# A forked child of an embedded store only reads.
READING = {"embedded-fork": ("embedded", in_a_forked_child)}
WAYS = {
    **{f"embedded-{name}": ("embedded", way) for name, way in EMBEDDED.items()},
    **{f"daemon-{name}": ("daemon", way) for name, way in CONNECTED.items()},
}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Every test runs in every way."""
    if "way" in metafunc.fixturenames:
        chosen = {**WAYS, **(READING if "reading" in metafunc.function.__name__ else {})}
        if "connected" in metafunc.function.__name__:
            chosen = {name: way for name, way in WAYS.items() if way[0] == "daemon"}
        metafunc.parametrize("way", chosen.values(), ids=chosen.keys())


@pytest.fixture
def run(way: tuple[str, Runner]) -> Runner:
    if way[1] is in_an_interpreter and not interpreters.supported():
        pytest.skip("this Python has no interpreters")
    return way[1]


@pytest.fixture
def store(way: tuple[str, Runner], request: pytest.FixtureRequest) -> Iterator[Store]:
    if way[0] == "embedded":
        opened = Store(capacity="64MiB")
    else:
        opened = icehouse.connect(request.getfixturevalue("daemon").socket)
    with opened:
        yield opened
        opened.check()
