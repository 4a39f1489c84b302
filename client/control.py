"""A plain connection of the control family, for programs that ask and wait: the command line.

with Control("/run/user/1000/icehouse/socket") as control:
    print(control.ask(messages.AskStatus(), messages.Status).clients)
"""

import socket as sockets
import time
from collections.abc import Iterator
from types import TracebackType
from typing import Self, TypeVar

from icehouse.store.errors import ProtocolError, StoreUnavailable
from icehouse.store.wire import messages
from icehouse.store.wire.failures import to_exception
from icehouse.store.wire.session import Session

__all__ = ["Control"]

Answer = TypeVar("Answer", bound=messages.Reply)
CHUNK = 256 * 1024


class Control:
    """One connection. Not for several threads; it is not made again when it is lost."""

    def __init__(self, socket: str, *, timeout: float = 30.0) -> None:
        """Connect and greet; StoreUnavailable, NotPermitted."""
        self.socket = socket
        self._timeout = timeout
        self._session: Session[list[messages.REPLIES]] = Session()
        self._changes: list[messages.Changed] = []
        self._sock = sockets.socket(sockets.AF_UNIX, sockets.SOCK_STREAM)
        try:
            self._sock.settimeout(timeout)
            self._sock.connect(socket)
            waiter: list[messages.REPLIES] = []
            self._sock.sendall(self._session.start(waiter))
            reply = self._wait(waiter, "connect")
            if not isinstance(reply, messages.Welcome):
                raise ProtocolError(f"connect: the daemon answered {type(reply).__name__.lower()}")
            self.welcome = reply
        except BaseException as error:
            self._sock.close()
            if isinstance(error, OSError) and not isinstance(
                error, StoreUnavailable | PermissionError
            ):
                raise self._unavailable(
                    f"connect: nobody answers at {socket} ({error.strerror or error}); start the"
                    " daemon with `icehouse serve`"
                ) from error
            if isinstance(error, PermissionError) and error.errno is not None:
                error.filename = socket
            raise

    def _unavailable(self, text: str) -> StoreUnavailable:
        error = StoreUnavailable(text)
        error.socket = self.socket
        return error

    def _lost(self, attempt: str) -> StoreUnavailable:
        return self._unavailable(
            f"{attempt}: the daemon at {self.socket} closed the connection; its log says why"
        )

    def _receive(self, until: float, attempt: str) -> None:
        """Take what the socket has, at least one piece of it."""
        try:
            self._sock.settimeout(max(until - time.monotonic(), 0.001))
            data = self._sock.recv(CHUNK)
        except TimeoutError:
            raise self._unavailable(
                f"{attempt}: the daemon at {self.socket} has not answered in time;"
                " `icehouse doctor` says what to do"
            ) from None
        except ConnectionError as error:
            raise self._lost(attempt) from error
        if not data:
            raise self._lost(attempt)
        for item in self._session.receive(data):
            if isinstance(item, messages.Changed):
                self._changes.append(item)
            elif not isinstance(item, messages.Events):
                item.waiter.append(item.reply)

    def _wait(self, waiter: list[messages.REPLIES], attempt: str) -> messages.REPLIES:
        until = time.monotonic() + self._timeout
        while not waiter:
            self._receive(until, attempt)
        if isinstance(waiter[0], messages.Failure):
            raise to_exception(waiter[0], attempt, self.socket)
        return waiter[0]

    def ask(self, request: messages.REQUESTS, answer: type[Answer]) -> Answer:
        """Ask and wait for the answer; a refusal is raised as what the store raises for it."""
        attempt = type(request).__name__.lower().removeprefix("ask")
        waiter: list[messages.REPLIES] = []
        data = self._session.ask(request, waiter)
        try:
            self._sock.settimeout(self._timeout)
            self._sock.sendall(data)
        except ConnectionError as error:
            raise self._lost(attempt) from error
        reply = self._wait(waiter, attempt)
        if not isinstance(reply, answer):
            raise ProtocolError(f"{attempt}: the daemon answered {type(reply).__name__.lower()}")
        return reply

    def changes(self, seconds: float) -> Iterator[messages.Changed]:
        """Give changes of watched names until none has come for so many seconds."""
        until = time.monotonic() + seconds
        while True:
            while self._changes:
                yield self._changes.pop(0)
                until = time.monotonic() + seconds
            try:
                self._receive(until, "watch")
            except StoreUnavailable:
                if time.monotonic() >= until:
                    return
                raise

    def close(self) -> None:
        """End the connection."""
        self._session.lose()
        self._sock.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
