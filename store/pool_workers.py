"""The two kinds of workers of `icehouse.interpreters.pool`, as the pool's threads see them."""

import os
import pickle
import signal
import weakref
from typing import Any, Protocol

from icehouse.native._image import _door, _door_call, _door_close
from icehouse.store import pool_worker
from icehouse.store.interpreters import Interpreter

_Request = tuple[int, Any, Any, Any, Any]
# Whether it succeeded; the result, or the exception if it could be pickled; a failure's traceback.
Answer = tuple[bool, Any, str]


class WorkerLost(Exception):
    """The worker has ended, or can't be used any more; the text says what happened."""


class Worker(Protocol):
    """One worker; all calls come from one thread."""

    def __init__(self, *, frozen: bool) -> None:
        """`frozen`: results are frozen before they come."""

    def start(self) -> None:
        """Make it, which takes 30 ms and more; any exception if it can't be made."""

    def call(self, request: _Request) -> Answer:
        """Make a call. WorkerLost; what pickling raises, if the request or the answer can't go."""
        ...

    def where(self) -> str:
        """Say where the calls are made."""
        ...

    def stop(self) -> None:
        """End it, if it was started."""


class InterpreterWorker:
    """An interpreter, which the thread enters for each call."""

    def __init__(self, *, frozen: bool) -> None:
        """See Worker."""
        self._frozen = frozen
        self._door = 0
        self._interpreter: Interpreter | None = None

    def start(self) -> None:
        """See Worker."""
        self._interpreter = Interpreter()
        self._door = _door()
        self._interpreter.run(
            "from icehouse.store.pool_worker import begin;"
            f"begin({self._door}, frozen={self._frozen})"
        )

    def call(self, request: _Request) -> Answer:
        """See Worker."""
        packed = pool_worker.pack_request(request)
        try:
            answer = _door_call(self._door, packed)
        except (LookupError, RuntimeError) as error:
            raise WorkerLost(f"a worker interpreter can't be used any more ({error})") from error
        if type(answer) is bytes and answer[-1] == 0:
            return pool_worker.open_answer(answer)
        try:
            return pool_worker.open_answer(answer)
        finally:
            if type(answer) is memoryview:
                answer.release()
            _door_call(self._door, None)

    def where(self) -> str:
        """See Worker."""
        return "in the other interpreter"

    def stop(self) -> None:
        """See Worker."""
        if self._door:
            _door_close(self._door)
        if self._interpreter is not None:
            self._interpreter.close()


class ProcessWorker:
    """A process of multiprocessing, by spawn or forkserver."""

    def __init__(self, *, frozen: bool) -> None:
        """See Worker."""
        self._frozen = frozen
        self._process: Any = None
        self._connection: Any = None
        _processes.add(self)

    def start(self) -> None:
        """See Worker."""
        import multiprocessing

        # A fork of a process with threads may have locks that nobody will ever release.
        method = multiprocessing.get_start_method()
        context: Any = multiprocessing.get_context("spawn" if method == "fork" else method)
        self._connection, theirs = context.Pipe()
        self._process = context.Process(
            target=pool_worker.serve_process, args=(theirs, self._frozen), name="icehouse-pool"
        )
        try:
            self._process.start()
        finally:
            theirs.close()

    def call(self, request: _Request) -> Answer:
        """See Worker."""
        # A memoryview that the collector finds with what is below it makes noise.
        with pool_worker.pack_for_process(request) as packed:
            answer = self._ask(packed)
        opened: Answer = pickle.loads(answer)  # noqa: S301 - from a worker of ours
        return opened

    def _ask(self, packed: memoryview) -> bytes:
        try:
            self._connection.send_bytes(packed)
            answer: bytes = self._connection.recv_bytes()
        except (EOFError, OSError) as error:
            raise WorkerLost(self._obituary()) from error
        return answer

    def where(self) -> str:
        """See Worker."""
        return f"in the worker process {self._process.pid}"

    def abandon(self) -> None:
        """In a forked child: both are the parent's, and the worker must see the parent's end."""
        if self._connection is not None:
            self._connection.close()

    def _obituary(self) -> str:
        self._process.join()
        code = self._process.exitcode
        how = f"with exit code {code}"
        if code < 0:
            try:
                how = f"by {signal.Signals(-code).name}"
            except ValueError:
                how = f"by signal {-code}"
        return f"the worker process {self._process.pid} ended {how}"

    def stop(self) -> None:
        """See Worker."""
        if self._connection is not None:
            self._connection.close()
        if self._process is not None and self._process.pid is not None:
            self._process.join()
            self._process.close()


_processes: "weakref.WeakSet[ProcessWorker]" = weakref.WeakSet()


def _after_fork() -> None:
    for worker in list(_processes):
        worker.abandon()


os.register_at_fork(after_in_child=_after_fork)
