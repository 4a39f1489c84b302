"""Frozen objects between the interpreters of one process.

From Python 3.12 each subinterpreter has a GIL of its own, so that they run in parallel; on 3.11
they work and take turns. This module is the same on all of them:

    with icehouse.interpreters.Interpreter() as other:
        other.call(mymodule.summarize, view)      # the view goes by reference, nothing is copied

    icehouse.interpreters.run_in(4, mymodule.work, store, "config")

Arguments and results travel like this: views by reference (the receiver reads the same shared
memory), a Store as the same store, everything else by pickle. Functions go by name, so they
must be importable: one that is defined in `__main__` is refused. Frozen functions
(`icehouse.freeze(function)`) bring their code and what they captured along, by reference too.
"""

import io
import os
import pickle
import sys
import textwrap
import threading
import types
import weakref
from collections.abc import Callable
from concurrent.futures import BrokenExecutor, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Self, TypeVar

from icehouse.native._image import FrozenFunction, Store, _locate, _reopen, freeze, is_frozen
from icehouse.store.errors import IcehouseError, InterpreterError
from icehouse.store.runtime import PlainFailure, runtime

if TYPE_CHECKING:
    from icehouse.store.pool import Pool

__all__ = [
    "BrokenPool",
    "Interpreter",
    "InterpreterError",
    "own_gil",
    "pool",
    "run",
    "run_in",
    "supported",
]

_Result = TypeVar("_Result")


class BrokenPool(IcehouseError, BrokenExecutor):
    """A worker could not start or has ended; the pool takes no more calls.

    The message says what happened; its cause is the exception, where there was one.
    """

    # Where it is found.
    __module__ = "icehouse.interpreters"


# Creating and ending interpreters at the same time is not safe on every version.
_lifecycle = threading.Lock()


def supported() -> bool:
    """Whether this Python can make interpreters at all."""
    return runtime() is not None


def own_gil() -> bool:
    """Whether interpreters run in parallel: each has a GIL of its own, or there is none at all."""
    return supported() and sys.version_info >= (3, 12)


# --- what travels -------------------------------------------------------------------------------


# Frozen functions as views, which go by reference; each lives as long as its function.
_boxes: "weakref.WeakKeyDictionary[FrozenFunction, Any]" = weakref.WeakKeyDictionary()


def _box_of(function: FrozenFunction) -> Any:
    box = _boxes.get(function)
    if box is None:
        # Another thread may have been quicker, and have told where its box lies.
        box = _boxes.setdefault(function, freeze([function]))
    return box


class _Pickler(pickle.Pickler):
    """Pickles views, frozen functions and stores as references."""

    def persistent_id(self, obj: Any) -> Any:
        if isinstance(obj, Store):
            return ("store", obj.token)
        if type(obj) is FrozenFunction:
            return ("function", *_locate(_box_of(obj)))  # type: ignore[misc]
        place = _locate(obj)
        return None if place is None else ("view", *place)


class _Unpickler(pickle.Unpickler):
    views = 0  # how many were opened

    def persistent_load(self, pid: Any) -> Any:
        if pid[0] == "store":
            return Store.attach(pid[1])
        self.views += 1
        view = _reopen(pid[1], pid[2])
        return view[0] if pid[0] == "function" else view


def _pack(value: Any) -> bytes:
    target = io.BytesIO()
    _Pickler(target, protocol=5).dump(value)
    return target.getvalue()


def _unpack(data: Any) -> tuple[Any, int]:
    """Return the value, and how many views it refers to."""
    unpickler = _Unpickler(io.BytesIO(data))
    return unpickler.load(), unpickler.views


# Payloads lie in a store of the interpreter that calls, made at its first call. A forked child
# can't write to its parent's, so it makes its own.
_exchange: tuple[int, Store] | None = None


def _exchange_store() -> Store:
    global _exchange
    with _lifecycle:
        if _exchange is None or _exchange[0] != os.getpid():
            _exchange = (os.getpid(), Store())
        return _exchange[1]


# What the other interpreter runs for a call, and after one whose answer refers to views.
_SERVE = "from icehouse.store.interpreters import _serve; _serve({token!r}, {request!r}, {name!r})"
_RELEASE = "from icehouse.store.interpreters import _kept; _kept.clear()"
# Keeps the views of an answer until the caller has opened them.
_kept: list[Any] = []


def _serve(token: str, request: str, name: str) -> None:
    """Run in the other interpreter: makes the call and leaves the answer under a name."""
    _kept.clear()
    exchange = Store.attach(token)
    try:
        (function, args, kwargs), _ = _unpack(bytes(exchange.get(request)))
        result = function(*args, **kwargs)
        _kept.append(result)
        answer = _pack((True, result, ""))
    except BaseException as error:
        _kept.append(error)
        text = _text_of(error)
        answer = _describe(error.with_traceback(None), text)
    exchange.put(answer, name=name)
    exchange.close()


def _text_of(error: BaseException) -> str:
    import traceback

    return "".join(traceback.format_exception(error)).rstrip()


def _describe(error: BaseException, text: str) -> bytes:
    try:
        packed = _pack((False, error, text))
        _unpack(packed)
    except Exception:
        return _pack((False, None, text))
    return packed


def _raise_remote(error: BaseException | None, text: str) -> None:
    remote = InterpreterError(f"in the other interpreter:\n\n{textwrap.indent(text, '    ')}")
    if error is None:
        raise remote
    raise error from remote


# --- interpreters -------------------------------------------------------------------------------


class Interpreter:
    """One interpreter beside this one, with its own modules and, from 3.12 on, its own GIL.

    Making one takes 10 to 30 ms, ending it some milliseconds. Also a context manager, which ends
    it. It runs in the thread that calls it, one call at a time.
    """

    def __init__(self) -> None:
        """InterpreterError where this Python can't make interpreters."""
        backend = runtime()
        if backend is None:
            raise InterpreterError("this Python has no interpreters to make; use processes")
        self._backend = backend
        self._busy = threading.Lock()
        self._closed = False
        with _lifecycle:
            self._reference = backend.create()
        self.run(f"import sys; sys.path[:] = {[str(path) for path in sys.path]!r}")
        if sys.version_info < (3, 13):
            # When the part of zoneinfo in C was imported there, all other interpreters fail or
            # crash when they use a zone. Its part in Python works.
            self.run("sys.modules.setdefault('_zoneinfo', None)")

    @property
    def closed(self) -> bool:
        """Whether it was ended."""
        return self._closed

    def run(self, source: str) -> None:
        """Run Python source in the interpreter's `__main__`, whose variables stay between runs.

        InterpreterError with the other side's failure, if it raises; SyntaxError for what can't
        be compiled.
        """
        text = textwrap.dedent(source) + "\n"
        # Only some versions raise it for what is compiled there.
        compile(text, "<source>", "exec")
        with self._busy:
            self._run(text)

    def _run(self, source: str) -> None:
        if self._closed:
            raise InterpreterError("this interpreter was ended; make another Interpreter()")
        try:
            self._backend.execute(self._reference, source)
        except PlainFailure as failure:
            raise InterpreterError(f"in the other interpreter: {failure}") from None

    def call(self, function: Callable[..., _Result], /, *args: Any, **kwargs: Any) -> _Result:
        """Call an importable or frozen function there and return what it returns.

        Views go both ways by reference, a Store as the same store, all else by pickle. What it
        raises is raised here, with an InterpreterError as cause that has the other traceback.
        TypeError for a function that is neither frozen nor found by its name there. A call costs
        about 60 µs (80 µs if the answer has views) and the pickling; 25 µs for each frozen function
        that runs there.
        """
        _check_importable(function)
        exchange = _exchange_store()
        with self._busy:
            request = exchange.put(_pack((function, args, kwargs)))
            name = f"answer to {request}"
            try:
                self._run(_SERVE.format(token=exchange.token, request=str(request), name=name))
                (succeeded, value, text), views = _unpack(bytes(exchange.get(name)))
                if views:
                    self._run(_RELEASE)
            finally:
                exchange.delete(request)
                if exchange.version(name):
                    exchange.delete(name)
        if not succeeded:
            _raise_remote(value, text)
        return value  # type: ignore[no-any-return]

    def close(self) -> None:
        """End the interpreter; views that it held are let go. Ending it again does nothing."""
        with self._busy:
            if self._closed:
                return
            self._closed = True
            with _lifecycle:
                self._backend.destroy(self._reference)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: types.TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<{type(self).__name__}{' (closed)' if self._closed else ''}>"


def _check_importable(function: Callable[..., Any]) -> None:
    if is_frozen(function):
        return  # it brings its code along
    module = getattr(function, "__module__", None)
    name = getattr(function, "__qualname__", "")
    if module == "__main__" or "<locals>" in name or "<lambda>" in name:
        from icehouse.store.pool_check import not_importable

        raise not_importable(function)


def run(function: Callable[..., _Result] | str, /, *args: Any) -> _Result | None:
    """Call a function, or run source, in a new interpreter that is ended afterwards.

    Returns the function's result, None for source; errors are those of Interpreter.call and run.
    """
    with Interpreter() as interpreter:
        if isinstance(function, str):
            if args:
                raise TypeError("source takes no arguments; pass a function")
            interpreter.run(function)
            return None
        return interpreter.call(function, *args)


def run_in(count: int, function: Callable[..., _Result], /, *args: Any) -> list[_Result]:
    """Call a function in `count` new interpreters, each in a thread of its own, at once.

    Returns the results; the first failure is raised when all have ended. They run in parallel
    where own_gil() is true.
    """
    if count < 1:
        raise ValueError(f"count must be at least 1, not {count}")

    def one(_: int) -> _Result:
        with Interpreter() as interpreter:
            return interpreter.call(function, *args)

    with ThreadPoolExecutor(count, thread_name_prefix="icehouse-interpreter") as pool:
        return list(pool.map(one, range(count)))


def pool(
    max_workers: int | None = None,
    *,
    processes: bool = False,
    initializer: Callable[..., object] | None = None,
    initargs: tuple[Any, ...] = (),
    freeze_results: bool = False,
) -> "Pool":
    """Make a concurrent.futures.Executor whose workers are interpreters, or processes.

    It calls importable and frozen functions (`icehouse.freeze(function)`). Arguments and results
    that are frozen go by reference, others by pickle: what a function returns is what comes back,
    or a frozen one of it with freeze_results=True. What it raises is raised by the Future, with an
    InterpreterError as cause that has the other traceback. A worker that can't start, whose
    initializer(*initargs) fails or that ends breaks the pool: BrokenPool, a BrokenExecutor.

    max_workers: one for each processor, if not given; they are made when they are needed.
    processes=True: worker processes (by spawn, or the start method that was set), for functions
    that need modules which load in no other interpreter, as NumPy; submit() names those.
    ValueError for a number below 1; InterpreterError where this Python makes no interpreters.
    """
    from icehouse.store.pool import Pool

    if max_workers is None:
        max_workers = len(os.sched_getaffinity(0))
    if max_workers < 1:
        raise ValueError(f"max_workers must be greater than 0, not {max_workers}")
    if not processes and not supported():
        raise InterpreterError("this Python has no interpreters to make; use processes=True")
    return Pool(
        max_workers,
        processes=processes,
        initializer=initializer,
        initargs=initargs,
        freeze_results=freeze_results,
    )
