"""One client's connection: bytes in, whole frames to its family, replies and descriptors out.

The first 8 bytes name the family. Own non-blocking sockets, read when Readers says so and
written on the loop: asyncio's streams cost twice a frame.

Bounds, all of them: a frame has at most the bytes that its family allows; a connection that says no
hello within some seconds is closed; one that does not read is closed when what waits for it passes
a limit, or has waited too long; requests of one connection are served in order, one at a time, and
while one waits nothing more is read. Nothing that a client sends raises into the loop.
"""

import array
import asyncio
import contextlib
import errno
import os
import socket
import struct
import time
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Protocol

from icehouse.server.config import Limits
from icehouse.server.counters import Counters
from icehouse.server.frames import ProtocolError
from icehouse.server.logs import Log
from icehouse.server.readers import Readers

RECEIVE = bytearray(64 * 1024)
RECEIVE_VIEW = memoryview(RECEIVE)
MAGIC_BYTES = 8
# Frames of one connection served before others have their turn.
TURN = 32
CREDENTIALS = struct.Struct("iII")
SO_PEERGROUPS = 59
GROUPS_MAX = 4096


class Family(Protocol):
    """What speaks the frames of one connection. Made by a Factory when the 8 bytes are there."""

    def size(self, data: bytes, start: int) -> int:
        """Bytes of the frame that begins at `start`, its header included; 0: not known yet.

        ProtocolError if it is longer than a frame may be.
        """
        ...

    def receive(self, frame: bytes, /) -> "Coroutine[Any, Any, None] | None":
        """Serve one whole frame. A coroutine is awaited before the next frame is looked at.

        ProtocolError ends the connection; other exceptions are faults of our own and end it too.
        """

    def refuse(self, error: ProtocolError) -> None:
        """Say why the connection ends, if that can be said: connection.send() and nothing else."""

    def drained(self) -> None:
        """Note that what had to wait has been sent."""

    def closed(self) -> None:
        """Note that the connection has ended; told once."""

    @property
    def is_greeted(self) -> bool:
        """Whether its hello was accepted."""
        ...


Factory = Callable[["Connection"], Family]


def peer_of(sock: socket.socket) -> tuple[int, int, int, tuple[int, ...]]:
    """Who is at the other end, says the kernel: pid, uid, gid, further groups."""
    pid, uid, gid = CREDENTIALS.unpack(
        sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, CREDENTIALS.size)
    )
    groups = array.array("I")
    with contextlib.suppress(OSError, ValueError):
        groups.frombytes(sock.getsockopt(socket.SOL_SOCKET, SO_PEERGROUPS, 4 * GROUPS_MAX))
    return pid, uid, gid, (gid, *groups)


class Connection:
    """A client. `families` maps the first 8 bytes to what makes the family."""

    def __init__(
        self,
        sock: socket.socket,
        loop: asyncio.AbstractEventLoop,
        readers: Readers,
        families: "dict[bytes, Factory]",
        limits: Limits,
        counters: Counters,
        log: Log,
        on_close: "Callable[[Connection], None]",
    ) -> None:
        sock.setblocking(False)  # noqa: FBT003
        self.sock = sock
        self.loop = loop
        self.readers = readers
        self.families = families
        self.limits = limits
        self.counters = counters
        self.log = log
        self.on_close = on_close
        self.pid, self.uid, self.gid, self.groups = peer_of(sock)
        self.role = 0
        # The admin process: it may look at everything, and change nothing of itself.
        self.observes = False
        self.opened = time.monotonic()
        self._began = 0.0
        self.family: Family | None = None
        self.is_closed = False
        self._rest = b""
        self._task: asyncio.Task[None] | None = None
        self._reading = False
        self._writing = False
        self._out: deque[tuple[memoryview, list[int]]] = deque()
        self.out_bytes = 0
        self.out_since = 0.0
        self._resume_reading()

    # --- in ---

    def _resume_reading(self) -> None:
        if not self._reading and not self.is_closed:
            self.readers.add(self.sock.fileno(), self._readable)
            self._reading = True

    def _pause_reading(self) -> None:
        if self._reading:
            self.readers.remove(self.sock.fileno())
            self._reading = False

    def _readable(self) -> None:
        try:
            count = self.sock.recv_into(RECEIVE)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self.close(f"the connection was lost: {error.strerror}")
            return
        if not count:
            self.close("")
            return
        data = bytes(RECEIVE_VIEW[:count])
        self._serve(self._rest + data if self._rest else data)

    def _serve(self, data: bytes) -> None:
        """Serve the whole frames of `data`, and keep what is left."""
        start = 0
        try:
            if self.family is None:
                if len(data) < MAGIC_BYTES:
                    self._rest = data
                    return
                self._choose(data[:MAGIC_BYTES])
                start = MAGIC_BYTES
            start = self._serve_frames(data, start)
        except ProtocolError as error:
            self._violated(error)
            return
        except Exception as error:
            self._failed(error)
            return
        self._rest = data[start:] if start < len(data) else b""

    def _serve_frames(self, data: bytes, start: int) -> int:
        family = self.family
        assert family is not None
        turn = TURN
        while not self.is_closed:
            size = family.size(data, start)
            if size == 0 or start + size > len(data):
                break
            if not turn or self.out_bytes:
                # Others first; or this one first reads what it was told.
                self._pause_reading()
                if not self.out_bytes:
                    self.loop.call_soon(self._continue)
                    self.readers.leave()
                break
            turn -= 1
            began = time.perf_counter()
            waiting = family.receive(data[start : start + size])
            start += size
            if waiting is None:
                self.counters.request_times.note(time.perf_counter() - began)
            else:
                self._began = began
                self._pause_reading()
                self._task = self.loop.create_task(waiting)
                self._task.add_done_callback(self._done)
                self.readers.leave()
                break
        return start

    def _continue(self) -> None:
        """Serve what was read already, then read on."""
        if self.is_closed or self._task is not None or self.out_bytes:
            return
        rest, self._rest = self._rest, b""
        self._resume_reading()
        if rest:
            self._serve(rest)

    def _done(self, task: "asyncio.Task[None]") -> None:
        self._task = None
        self.counters.request_times.note(time.perf_counter() - self._began)
        if task.cancelled():
            self.close("the daemon stops")
            return
        error = task.exception()
        if isinstance(error, ProtocolError):
            self._violated(error)
        elif error is not None:
            self._failed(error)
        else:
            self._continue()

    def _choose(self, magic: bytes) -> None:
        factory = self.families.get(magic)
        if factory is None:
            raise ProtocolError(f"a connection that begins with {magic!r} is none of ours")
        self.family = factory(self)

    def _violated(self, error: ProtocolError) -> None:
        self.counters.protocol_errors += 1
        self.log.warning("protocol_error", str(error), uid=self.uid, pid=self.pid)
        if self.family is not None:
            with contextlib.suppress(Exception):
                self.family.refuse(error)
        self.close(str(error))

    def _failed(self, error: BaseException) -> None:
        self.counters.errors += 1
        self.log.error(
            "internal_error", f"{type(error).__name__}: {error}", uid=self.uid, pid=self.pid
        )
        self.close("the daemon failed")

    # --- out ---

    def send(self, data: bytes, fds: Sequence[int] = ()) -> None:
        """Send, at once as far as the socket takes it; the descriptors are closed when sent."""
        if self.is_closed:
            for fd in fds:
                os.close(fd)
            return
        if self._out:
            self._queue(memoryview(data), list(fds))
            return
        try:
            sent = self._send_now(data, fds)
        except (BlockingIOError, InterruptedError):
            self._queue(memoryview(data), list(fds))
            return
        except OSError as error:
            for fd in fds:
                os.close(fd)
            # Not from within a handler: what it does after a send must find things as they were.
            self.loop.call_soon(self.close, f"the connection was lost: {error.strerror}")
            return
        for fd in fds:
            os.close(fd)
        if sent < len(data):
            self._queue(memoryview(data)[sent:], [])

    def _send_now(self, data: "bytes | memoryview", fds: Sequence[int]) -> int:
        if not fds:
            return self.sock.send(data, socket.MSG_NOSIGNAL)
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))]
        try:
            return self.sock.sendmsg([data], rights, socket.MSG_NOSIGNAL)
        except OSError as error:
            if error.errno == errno.ETOOMANYREFS:
                # The peer has too many descriptors in flight: it must read first.
                raise BlockingIOError from None
            raise

    def _queue(self, data: memoryview, fds: list[int]) -> None:
        if not self._out:
            self.out_since = time.monotonic()
        self._out.append((data, fds))
        self.out_bytes += len(data)
        if self.out_bytes > self.limits.backlog_bytes_max:
            self.counters.refused_connections["stalled"] += 1
            self.log.warning(
                "stalled",
                "a client reads nothing",
                uid=self.uid,
                pid=self.pid,
                bytes=self.out_bytes,
            )
            self.loop.call_soon(self.close, "the client reads nothing")
            return
        self._start_writing()

    def _writable(self) -> None:
        while self._out:
            data, fds = self._out[0]
            try:
                sent = self._send_now(data, fds)
            except (BlockingIOError, InterruptedError):
                if fds:
                    # Writable all the same, but for descriptors: looking again at once would spin.
                    self._stop_writing()
                    self.loop.call_later(0.02, self._start_writing)
                return
            except OSError as error:
                self.close(f"the connection was lost: {error.strerror}")
                return
            for fd in fds:
                os.close(fd)
            self.out_bytes -= sent
            self.out_since = time.monotonic()
            if sent < len(data):
                self._out[0] = (data[sent:], [])
                return
            self._out.popleft()
        self._stop_writing()
        if self.family is not None:
            self.family.drained()
        self._continue()

    def _start_writing(self) -> None:
        if not self._writing and not self.is_closed and self._out:
            self.loop.add_writer(self.sock.fileno(), self._writable)
            self._writing = True

    def _stop_writing(self) -> None:
        if self._writing:
            self.loop.remove_writer(self.sock.fileno())
            self._writing = False

    # --- end ---

    def tick(self, now: float) -> None:
        """Close it if it has said nothing, or read nothing, for too long."""
        greeted = self.family is not None and self.family.is_greeted
        if not greeted and now - self.opened > self.limits.hello_seconds and self._task is None:
            self.counters.refused_connections["half_open"] += 1
            self.log.info("half_open", "no hello came", uid=self.uid, pid=self.pid)
            self.close("no hello came")
        elif self._out and now - self.out_since > self.limits.stall_seconds:
            self.counters.refused_connections["stalled"] += 1
            self.log.warning("stalled", "a client reads nothing", uid=self.uid, pid=self.pid)
            self.close("the client reads nothing")

    def close(self, reason: str) -> None:
        """End the connection; nothing happens the second time."""
        if self.is_closed:
            return
        self._pause_reading()
        self.is_closed = True
        self._stop_writing()
        for _, fds in self._out:
            for fd in fds:
                os.close(fd)
        self._out.clear()
        self.out_bytes = 0
        self._rest = b""
        self.sock.close()
        self.log.debug("closed", reason, uid=self.uid, pid=self.pid)
        family, self.family = self.family, None
        try:
            if family is not None:
                family.closed()
        except Exception as error:
            self.counters.errors += 1
            self.log.error("internal_error", f"{type(error).__name__}: {error}")
        self.on_close(self)
