"""An Executor whose workers are interpreters with a GIL of their own, or processes.

    with icehouse.interpreters.pool(2) as pool:
        pool.submit(mymodule.summarize, view).result()

Each worker is a thread of this process that holds one interpreter (it calls into it through a door,
native/module/door.h) or one process (over a socket pair), and takes calls from one queue. A pool
that is dropped, or left at the end of the program, finishes what was submitted and ends its
workers. A forked child can't use its parent's pool: submit() raises there. While interpreters live,
no child of os.fork() does: it hangs (3.11, 3.12) or aborts (3.13) in Python itself, with any
interpreter, so fork before, or not at all. Starting programs and spawning are no such forks.
"""

import contextlib
import itertools
import os
import queue
import textwrap
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future
from types import FunctionType
from typing import Any, TypeVar

from icehouse.native._image import FrozenFunction, freeze
from icehouse.store import pool_check, pool_worker
from icehouse.store.errors import InterpreterError
from icehouse.store.interpreters import BrokenPool
from icehouse.store.pool_workers import Answer, InterpreterWorker, ProcessWorker, Worker, WorkerLost

__all__ = ["BrokenPool", "Pool"]

_T = TypeVar("_T")


# What is known by a key in workers.
_FUNCTIONS = (FrozenFunction, FunctionType)


class _Task:
    __slots__ = ("args", "function", "future", "kind", "kwargs")

    def __init__(self, kind: int, function: Any, args: Any, kwargs: Any) -> None:
        self.kind = kind
        self.function = function
        self.args = args
        self.kwargs = kwargs
        self.future: Future[Any] = Future()

    def give_up(self, reason: str, cause: BaseException | None) -> None:
        if self.future.set_running_or_notify_cancel():
            self.future.set_exception(_broken(reason, cause))


def _broken(reason: str, cause: BaseException | None) -> BrokenPool:
    error = BrokenPool(reason)
    error.__cause__ = cause
    return error


class _State:
    """What the threads of a pool share; they don't refer to the Pool itself, which may go."""

    def __init__(
        self,
        count: int,
        make: Callable[[], Worker],
        initializer: tuple[Any, tuple[Any, ...]] | None,
    ) -> None:
        self.count = count
        self.make = make
        self.initializer = initializer
        self.pid = os.getpid()
        self.lock = threading.Lock()
        self.queue: queue.SimpleQueue[_Task | None] = queue.SimpleQueue()
        self.threads: list[threading.Thread] = []
        self.idle = 0
        self.stopping = False
        self.broken: tuple[str, BaseException | None] | None = None
        self.boxes = Boxes()

    # Called with the lock.

    def check(self) -> None:
        if self.pid != os.getpid():
            raise BrokenPool(
                f"this pool belongs to process {self.pid}, of which this one was forked:"
                " make a pool here"
            )
        if self.broken is not None:
            raise _broken(*self.broken)
        if _exiting:
            raise RuntimeError("cannot schedule new futures after interpreter shutdown")
        if self.stopping:
            raise RuntimeError("cannot schedule new futures after shutdown")

    def grow(self) -> None:
        """See to it that somebody takes what was just queued."""
        if self.idle > 0:
            self.idle -= 1
        elif len(self.threads) < self.count:
            name = f"icehouse-pool-{len(self.threads)}"
            thread = threading.Thread(target=_work, args=(self,), name=name)
            self.threads.append(thread)
            thread.start()

    # Called without it.

    def next(self) -> _Task | None:
        """Wait for a call; None at the end."""
        with contextlib.suppress(queue.Empty):
            return self.queue.get_nowait()
        with self.lock:
            self.idle += 1
        return self.queue.get()

    def stop(self) -> None:
        """Let the workers end after what was submitted."""
        with self.lock:
            self.stopping = True
        self.queue.put(None)

    def drain(self) -> Iterator[_Task]:
        """Take what nobody has begun."""
        with contextlib.suppress(queue.Empty):
            while True:
                task = self.queue.get_nowait()
                if task is not None:
                    yield task
        self.queue.put(None)

    def fail(self, reason: str, cause: BaseException | None) -> None:
        """Take no more calls, and let those that wait fail."""
        with self.lock:
            if self.broken is None:
                self.broken = (reason, cause)
            reason, cause = self.broken
        for task in self.drain():
            task.give_up(reason, cause)

    def join(self) -> None:
        for thread in self.threads:
            if thread is not threading.current_thread():
                thread.join()


class Boxes:
    """Functions as workers get them: in a box, under a key.

    The box of a frozen function is a view, which lives as long as the function does.
    """

    def __init__(self) -> None:
        """None at first."""
        self._boxes: weakref.WeakKeyDictionary[Any, tuple[int, Any]] = weakref.WeakKeyDictionary()
        self._keys = itertools.count()
        self._lists: list[deque[int]] = []

    def gone(self) -> deque[int]:
        """Return a list, for one worker, where the keys of functions that are gone appear."""
        made: deque[int] = deque()
        self._lists.append(made)
        return made

    def find(self, function: Any) -> tuple[int, Any]:
        """Return key and box of a function. NotFreezableError, StoreFull. Once it is O(1)."""
        found = self._boxes.get(function)
        if found is None:
            box = freeze([function]) if type(function) is FrozenFunction else None
            found = self._boxes.setdefault(function, (next(self._keys), box))
            weakref.finalize(function, _forget, self._lists, found[0]).atexit = False
        # A box that holds a plain function would keep it alive.
        return found if found[1] is not None else (found[0], (function,))


def _forget(lists: list[deque[int]], key: int) -> None:
    for each in lists:
        each.append(key)


# --- the threads ----------------------------------------------------------------------------------


class _Caller:
    """Makes calls with one worker."""

    def __init__(self, worker: Worker, boxes: Boxes) -> None:
        self._worker = worker
        self._boxes = boxes
        self._known: set[int] = set()
        self._gone = boxes.gone()

    def run(self, task: _Task) -> None:
        """Finish the Future of a task. WorkerLost."""
        try:
            succeeded, value, text = self._call(task)
        except WorkerLost:
            raise
        except BaseException as error:
            task.future.set_exception(error)
            return
        if succeeded:
            task.future.set_result(value)
        else:
            remote = InterpreterError(f"{self._worker.where()}:\n\n{textwrap.indent(text, '    ')}")
            if value is None:
                value = remote
            else:
                value.__cause__ = remote
            # It was not raised here, so no frame refers to it.
            task.future.set_exception(value)

    def _call(self, task: _Task) -> Answer:
        if self._gone:
            self._forget()
        function = task.function
        if type(function) not in _FUNCTIONS:
            return self._worker.call((task.kind, None, function, task.args, task.kwargs))
        key, box = self._boxes.find(function)
        if key in self._known:
            return self._worker.call((task.kind, key, None, task.args, task.kwargs))
        answer = self._worker.call((task.kind, key, box, task.args, task.kwargs))
        self._known.add(key)
        return answer

    def _forget(self) -> None:
        keys = tuple(self._gone.popleft() for _ in range(len(self._gone)))
        keys = tuple(key for key in keys if key in self._known)
        self._known.difference_update(keys)
        if keys:
            self._worker.call((pool_worker.FORGET, None, None, keys, {}))


def _work(state: _State) -> None:
    """Be the thread of one worker."""
    worker = state.make()
    try:
        caller = _start(state, worker)
        if caller is not None:
            _take_tasks(state, caller)
    finally:
        worker.stop()


def _start(state: _State, worker: Worker) -> _Caller | None:
    try:
        worker.start()
    except BaseException as error:
        state.fail(f"a worker of this pool could not start: {error}", error)
        return None
    caller = _Caller(worker, state.boxes)
    if state.initializer is None:
        return caller
    function, args = state.initializer
    task = _Task(pool_worker.CALL, function, args, {})
    name = pool_check.name_of(function)
    try:
        caller.run(task)
        cause = task.future.exception()
    except WorkerLost as lost:
        cause = lost
    if cause is None:
        return caller
    state.fail(f"the initializer {name} failed in a worker of this pool: {cause!r}", cause)
    return None


def _take_tasks(state: _State, caller: _Caller) -> None:
    while True:
        task = state.next()
        if task is None:
            state.queue.put(None)  # for the others
            return
        if not task.future.set_running_or_notify_cancel():
            continue
        try:
            caller.run(task)
        except WorkerLost as error:
            reason = f"{error} while it ran {pool_check.name_of(task.function)}"
            state.fail(reason, error.__cause__)
            task.future.set_exception(_broken(reason, error.__cause__))
            return
        del task


# --- the pool -------------------------------------------------------------------------------------


class Pool(Executor):
    """A concurrent.futures.Executor: see `icehouse.interpreters.pool`, which makes them."""

    def __init__(
        self,
        max_workers: int,
        *,
        processes: bool,
        initializer: Callable[..., object] | None,
        initargs: tuple[Any, ...],
        freeze_results: bool,
    ) -> None:
        """As interpreters.pool() has it."""
        kind: type[Worker] = ProcessWorker if processes else InterpreterWorker
        self._check = (
            pool_check.check_for_processes if processes else pool_check.check_for_interpreters
        )
        if initializer is not None:
            self._check(initializer)
        self._processes = processes
        self._state = state = _State(
            max_workers,
            lambda: kind(frozen=freeze_results),
            None if initializer is None else (initializer, initargs),
        )
        _states.add(state)
        self._finalizer = weakref.finalize(self, state.stop)
        self._finalizer.atexit = False

    def submit(self, fn: Callable[..., _T], /, *args: Any, **kwargs: Any) -> Future[_T]:
        """Schedule fn(*args, **kwargs) and return its Future.

        TypeError for a function that is neither importable nor frozen; InterpreterError for one
        that needs a module which no other interpreter loads; BrokenPool; RuntimeError after
        shutdown(). Arguments are read when a worker takes the call: what can't travel fails the
        Future. About 30 µs for a round trip, and pickling what is not frozen.
        """
        return self._submit(_Task(pool_worker.CALL, fn, args, kwargs))

    def _submit(self, task: _Task) -> Future[Any]:
        state = self._state
        with state.lock:
            state.check()
        self._check(task.function)
        with state.lock:
            state.check()
            state.queue.put(task)
            state.grow()
        return task.future

    def map(
        self,
        fn: Callable[..., _T],
        *iterables: Iterable[Any],
        timeout: float | None = None,
        chunksize: int = 1,
        buffersize: int | None = None,
    ) -> Iterator[_T]:
        """Return an iterator of fn's results for the items of the iterables, in their order.

        chunksize: how many items one call takes. buffersize: how many calls are submitted ahead
        of the one whose result is asked for; without it all are, at once. TimeoutError if the next
        result is not there `timeout` seconds after the call of map(). Errors as those of submit().
        """
        if chunksize < 1:
            raise ValueError("chunksize must be >= 1.")
        if buffersize is not None and not isinstance(buffersize, int):
            raise TypeError("buffersize must be an integer or None")
        if buffersize is not None and buffersize < 1:
            raise ValueError("buffersize must be None or > 0")
        end = None if timeout is None else time.monotonic() + timeout
        items = zip(*iterables, strict=False)
        tasks = (
            _Task(pool_worker.EACH, fn, chunk, {})
            for chunk in iter(lambda: list(itertools.islice(items, chunksize)), [])
        )
        futures = deque(map(self._submit, itertools.islice(tasks, buffersize)))
        return _results(futures, end, tasks, weakref.ref(self))

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no more calls; wait until what was submitted is done and the workers have ended.

        wait=False returns at once, and the workers end by themselves. cancel_futures: what no
        worker has begun is cancelled. Calling it again is allowed.
        """
        state = self._state
        if state.pid != os.getpid():
            return
        with state.lock:
            state.stopping = True
        if cancel_futures:
            for task in state.drain():
                task.future.cancel()
                task.future.set_running_or_notify_cancel()
        state.queue.put(None)
        if wait:
            state.join()

    def __repr__(self) -> str:
        state = self._state
        what = "processes" if self._processes else "interpreters"
        end = " (broken)" if state.broken else " (shut down)" if state.stopping else ""
        return f"<{type(self).__name__} of {state.count} {what}{end}>"


def _results(
    futures: deque[Future[Any]], end: float | None, tasks: Iterator[_Task], pool: Any
) -> Iterator[Any]:
    try:
        while futures:
            left = None if end is None else end - time.monotonic()
            chunk = futures[0].result(left)
            futures.popleft()
            owner = pool()
            task = next(tasks, None) if owner is not None else None
            if owner is not None and task is not None:
                futures.append(owner._submit(task))  # noqa: SLF001 - of this file
            del owner, task
            yield from chunk
    finally:
        for future in futures:
            future.cancel()


# --- the end of the program, and forks ------------------------------------------------------------

_states: "weakref.WeakSet[_State]" = weakref.WeakSet()
_exiting = False


def _at_exit() -> None:
    global _exiting
    _exiting = True
    states = [state for state in _states if state.pid == os.getpid()]
    for state in states:
        state.queue.put(None)
    for state in states:
        state.join()


# Before threads are waited for, and before interpreters and processes end by themselves: what
# concurrent.futures does for its threads.
threading._register_atexit(_at_exit)  # type: ignore[attr-defined]  # noqa: SLF001 - no public one
