"""Readers as the demo drives them: subinterpreters and forked processes, behind one interface."""

import gc
import os
import pickle
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from multiprocessing.connection import Connection, Pipe
from typing import Any, NamedTuple, Protocol, TypeVar

from icehouse import interpreters
from icehouse.client.demo.reader import Source

Result = TypeVar("Result")


class ReaderFailed(RuntimeError):
    """A forked reader ended or raised; the message says why."""


class Reader(Protocol):
    """Something that calls functions elsewhere, one at a time."""

    name: str
    kind: str

    def call(self, function: Callable[..., Result], *args: Any) -> Result:
        """Call an importable function in the reader and give its result."""
        ...

    def close(self) -> None:
        """End the reader."""


class InterpreterReader:
    """A subinterpreter of this process."""

    kind = "interpreter"

    def __init__(self, number: int) -> None:
        self.name = f"interpreter {number}"
        self.interpreter = interpreters.Interpreter()

    def call(self, function: Callable[..., Result], *args: Any) -> Result:
        """Call the function in the subinterpreter."""
        return self.interpreter.call(function, *args)

    def close(self) -> None:
        """End the subinterpreter."""
        self.interpreter.close()


class ForkedReader:
    """A forked process. Must be made before this process has other threads."""

    kind = "process"

    def __init__(self, number: int, before: list["ForkedReader"]) -> None:
        self.name = f"process {number}"
        self.connection, theirs = Pipe()
        self.pid = os.fork()
        if self.pid == 0:
            # The child never returns to its caller's frames. It lets go of the ends that belong
            # to its parent, so that each reader sees the end of its own.
            status = 1
            try:
                for other in before:
                    other.connection.close()
                self.connection.close()
                serve(theirs)
                status = 0
            finally:
                os._exit(status)
        theirs.close()

    def call(self, function: Callable[..., Result], *args: Any) -> Result:
        """Call the function in the process; ReaderFailed if it raises or the process ends."""
        try:
            self.connection.send((function, args))
            succeeded, result = self.connection.recv()
        except (EOFError, OSError) as error:
            raise ReaderFailed(f"{self.name} ended unexpectedly") from error
        if not succeeded:
            raise ReaderFailed(f"in {self.name}: {result}")
        return result  # type: ignore[no-any-return]

    def close(self) -> None:
        """End the process and wait for it."""
        self.connection.close()
        os.waitpid(self.pid, 0)


def serve(connection: Connection) -> None:
    """Answer calls until the parent closes its end; runs in a forked process."""
    while True:
        try:
            function, args = connection.recv()
        except (EOFError, KeyboardInterrupt):
            return
        try:
            reply = (True, function(*args))
        except Exception as error:
            reply = (False, f"{type(error).__name__}: {error}")
        connection.send(reply)


@contextmanager
def started(interpreter_count: int, process_count: int) -> Iterator[list[Reader]]:
    """Readers of both kinds, ended at the end; the processes are forked first."""
    with ExitStack() as stack:
        # A collection in a child would write to every object that it shares with its parent.
        gc.collect()
        gc.freeze()
        stack.callback(gc.unfreeze)
        forked: list[ForkedReader] = []
        for number in range(process_count):
            forked.append(ForkedReader(number + 1, forked))
            stack.callback(forked[-1].close)
        inside: list[Reader] = []
        for number in range(interpreter_count):
            inside.append(InterpreterReader(number + 1))
            stack.callback(inside[-1].close)
        yield [*inside, *forked]


class Pickled(NamedTuple):
    """Pickled bytes in shared memory: where they are, and how long pickling took."""

    source: Source
    seconds: float

    @property
    def length(self) -> int:
        """How many bytes."""
        return self.source.length


@contextmanager
def pickled(graph: Any) -> Iterator[Pickled]:
    """Pickle the graph into shared memory that every reader of this process's making has."""
    begin = time.perf_counter()
    data = pickle.dumps(graph, 5)
    seconds = time.perf_counter() - begin
    descriptor = os.memfd_create("icehouse-demo")
    try:
        with open(descriptor, "wb", closefd=False) as file:
            file.write(data)
        yield Pickled(Source(descriptor=descriptor, length=len(data)), seconds)
    finally:
        os.close(descriptor)
