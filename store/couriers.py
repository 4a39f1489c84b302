"""How a process that was sent a view gets at its image: a socket of the sender's.

The message that travels names a ticket. The sender holds the view under it until the receiver has
said that it holds the image itself, so nothing is freed on the way (native/arena/visit.h). What is
heavy goes over this socket, and once: the read-only descriptor of the segment, and for the first
image of a store a membership in its lease table.

    receiver                                    sender
    CLAIM ticket    ------------------------>   if this connection ends, the ticket goes
    (opens the image, known segment)
    HELD ticket     ------------------------>   yes or no; only where the image is being deleted
    SEGMENT number  ------------------------>   what native/arena/visit.h says, and descriptors
    DONE ticket     ------------------------>   the view under it goes

A receiver that is killed ends its connections, and its leases with it. A message that nobody ever
reads costs what it holds until EXPIRY, since the sender can't know who still might.

The sockets have abstract names with 128 random bits, and both sides let only their own user in.
"""

import array
import contextlib
import os
import secrets
import selectors
import socket
import struct
import threading
import time
from collections.abc import Iterator
from typing import Any

from icehouse.native._image import _moved, _share

EXPIRY = 3600.0  # seconds that a view waits for its receiver

_CLAIM, _DONE, _HELD, _SEGMENT, _JOIN = range(1, 6)
_REQUEST = struct.Struct("<IQ16s")
_ROOM = 4096  # bytes of an answer; a visit is much shorter
_FILES = 3
_PATIENCE = 30.0  # seconds for an answer


def _check_user(line: socket.socket) -> None:
    _, user, _ = struct.unpack(
        "iII", line.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("iII"))
    )
    if user != os.geteuid():
        raise PermissionError(
            f"views travel between processes of one user; this socket is of uid {user}"
        )


# --- the sender's side --------------------------------------------------------------------------


class Office:
    """What this process has sent and nobody has confirmed yet; a thread that answers for it."""

    def __init__(self) -> None:
        """Listen, and start the thread."""
        self.address = f"icehouse-{secrets.token_hex(16)}"
        self._lock = threading.Lock()
        self._sent: dict[int, tuple[Any, float]] = {}  # oldest first
        self._next = 1
        self._empty = threading.Condition(self._lock)
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC)
        self._listener.bind(f"\0{self.address}")
        self._listener.listen(128)
        self._listener.settimeout(0)
        self._lines: dict[socket.socket, set[int]] = {}  # and the tickets claimed on them
        thread = threading.Thread(target=self._serve, name="icehouse-couriers", daemon=True)
        thread.start()

    def send(self, view: Any) -> int:
        """Hold the view under a new ticket."""
        now = time.monotonic()
        old = []
        with self._lock:
            ticket = self._next
            self._next += 1
            while self._sent:
                first = next(iter(self._sent))
                if now - self._sent[first][1] < EXPIRY:
                    break
                old.append(self._sent.pop(first))
            self._sent[ticket] = (view, now)
        return ticket

    def take(self, ticket: int) -> Any:
        """Give up a ticket: what it held, or None."""
        with self._lock:
            view, _ = self._sent.pop(ticket, (None, 0.0))
            if not self._sent:
                self._empty.notify_all()
        return view

    def done(self, ticket: int) -> None:
        """Give up a ticket whose view another process holds."""
        view = self.take(ticket)
        if view is not None:
            _moved(view)

    def waiting(self) -> list[Any]:
        """Return the views that nobody has confirmed."""
        with self._lock:
            return [view for view, _ in self._sent.values()]

    def wait(self, seconds: float) -> bool:
        """Wait until everything was confirmed; False if it was not."""
        with self._lock:
            return self._empty.wait_for(lambda: not self._sent, seconds)

    def abandon(self) -> None:
        """In a forked child: all of this is the parent's."""
        self._listener.close()
        for line in self._lines:
            line.close()
        self._sent.clear()

    def _serve(self) -> None:
        selector = selectors.DefaultSelector()
        selector.register(self._listener, selectors.EVENT_READ)
        while True:
            for key, _ in selector.select():
                found = key.fileobj
                if found is self._listener:
                    with contextlib.suppress(OSError):
                        self._accept(selector)
                elif isinstance(found, socket.socket) and not self._answer(found):
                    selector.unregister(found)
                    self._hang_up(found)

    def _accept(self, selector: selectors.BaseSelector) -> None:
        line, _ = self._listener.accept()
        try:
            _check_user(line)
        except OSError:
            line.close()
            return
        # Answers are short: one that does not fit at once goes to somebody who does not read.
        line.settimeout(0)
        self._lines[line] = set()
        selector.register(line, selectors.EVENT_READ)

    def _answer(self, line: socket.socket) -> bool:
        """Serve what has come; False at the end of the connection."""
        try:
            for _ in range(64):  # then it is others' turn
                request = line.recv(_ROOM)
                if len(request) != _REQUEST.size:
                    return False
                self._act(line, *_REQUEST.unpack(request))
        except BlockingIOError:
            return True
        except OSError:
            return False
        return True

    def _act(self, line: socket.socket, request: int, number: int, store: bytes) -> None:
        if request == _CLAIM:
            self._lines[line].add(number)
        elif request == _DONE:
            self._lines[line].discard(number)
            self.done(number)
        elif request == _HELD:
            with self._lock:
                held = number in self._sent
            line.send(b"y" if held else b"n")
        elif request in (_SEGMENT, _JOIN):
            self._show(line, store, number, join=request == _JOIN)
        else:
            raise OSError("a request that there is not")

    def _show(self, line: socket.socket, store: bytes, segment: int, *, join: bool) -> None:
        try:
            shown = _share(store, segment, join)
        except Exception as error:
            line.send(b"-" + str(error).encode()[: _ROOM - 1])
            return
        if shown is None:
            line.send(b"-gone")
            return
        visit, files = shown
        given = [file for file in files if file >= 0]
        which = bytes(file >= 0 for file in files)
        try:
            socket.send_fds(line, [b"+" + which + visit], given)
        finally:
            for file in given:
                os.close(file)

    def _hang_up(self, line: socket.socket) -> None:
        for ticket in self._lines.pop(line, ()):
            self.done(ticket)
        line.close()


# --- the receiver's side ------------------------------------------------------------------------


class Line:
    """A connection to one sender, for one thread at a time."""

    def __init__(self, address: str) -> None:
        """OSError if the sender is no more, PermissionError if it is another user's."""
        self.lock = threading.Lock()
        # Both are of the Lines that keep it: how many threads have it or wait for it, and whether
        # the last of them closes it.
        self.users = 0
        self.dropped = False
        self._line = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC)
        try:
            self._line.settimeout(_PATIENCE)
            self._line.connect(f"\0{address}")
            _check_user(self._line)
        except BaseException:
            self._line.close()
            raise

    def close(self) -> None:
        """End it."""
        self._line.close()

    def claim(self, ticket: int) -> None:
        """Say that this process has the message: with it the ticket ends."""
        self._line.send(_REQUEST.pack(_CLAIM, ticket, bytes(16)))

    def done(self, ticket: int) -> None:
        """Say that this process holds the image, or does not want it."""
        self._line.send(_REQUEST.pack(_DONE, ticket, bytes(16)))

    def is_held(self, ticket: int) -> bool:
        """Whether the sender still holds the view."""
        self._line.send(_REQUEST.pack(_HELD, ticket, bytes(16)))
        answer = self._line.recv(_ROOM)
        if not answer:
            raise ConnectionResetError("the sender of a view has ended")
        return answer == b"y"

    def fetch(self, store: bytes, segment: int, *, join: bool) -> tuple[bytes, tuple[int, ...]]:
        """Return what _admit() takes. LookupError: the sender has no such segment (any more)."""
        self._line.send(_REQUEST.pack(_JOIN if join else _SEGMENT, segment, store))
        answer, files = self._receive()
        if answer[:1] != b"+":
            for file in files:
                os.close(file)
            if not answer:
                raise ConnectionResetError("the sender of a view has ended")
            raise LookupError(answer[1:].decode(errors="replace"))
        which = answer[1 : 1 + _FILES]
        if len(which) != _FILES or sum(map(bool, which)) != len(files):
            for file in files:
                os.close(file)
            raise ConnectionError("the sender of a view has sent other files than it says")
        given = iter(files)
        return answer[1 + _FILES :], tuple(next(given, -1) if one else -1 for one in which)

    def _receive(self) -> tuple[bytes, list[int]]:
        # socket.recv_fds() sets no MSG_CMSG_CLOEXEC: a process forked now would keep them.
        numbers = array.array("i")
        space = socket.CMSG_SPACE(_FILES * numbers.itemsize)
        answer, extra, _, _ = self._line.recvmsg(_ROOM, space, socket.MSG_CMSG_CLOEXEC)
        for level, kind, data in extra:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                numbers.frombytes(data[: len(data) - len(data) % numbers.itemsize])
        return answer, list(numbers)


class Lines:
    """The connections of this process, one for each sender, kept while they work."""

    _KEPT = 64

    def __init__(self) -> None:
        """None at first."""
        self._lock = threading.Lock()
        self._lines: dict[str, Line] = {}

    @contextlib.contextmanager
    def to(self, address: str) -> Iterator[Line]:
        """Lend the connection to this thread; what fails with OSError is not kept."""
        with self._lock:
            line = self._lines.get(address)
            if line is not None:
                line.users += 1
        if line is None:
            line = self._add(address, Line(address))
        try:
            with line.lock:
                yield line
        except OSError:
            with self._lock:
                if self._lines.get(address) is line:
                    del self._lines[address]
                line.dropped = True
            raise
        finally:
            with self._lock:
                line.users -= 1
                if line.dropped and line.users == 0:
                    line.close()

    def _add(self, address: str, made: Line) -> Line:
        with self._lock:
            line = self._lines.setdefault(address, made)
            line.users += 1
            if line is not made:
                made.close()
            idle = [other for other, each in self._lines.items() if each.users == 0]
            for other in idle[: max(len(self._lines) - self._KEPT, 0)]:
                self._lines.pop(other).close()
        return line

    def close(self) -> None:
        """Close what nobody uses, the rest after use; where to go next makes a new one."""
        with self._lock:
            lines, self._lines = self._lines, {}
            for line in lines.values():
                line.dropped = True
                if line.users == 0:
                    line.close()

    def abandon(self) -> None:
        """In a forked child: all of these are the parent's."""
        for line in self._lines.values():
            line.close()
        self._lines.clear()
