"""The client's side of a control connection, without any input or output.

A transport (asyncio's, a plain socket's) sends what start() and ask() give and hands what comes to
receive(). It says for each request who waits for it (`waiter`: a future, a list, whatever it has),
and gets that back with the reply. Requests may be sent without waiting for earlier replies; the
daemon answers them in order.
"""

import enum
import os
from typing import Generic, NamedTuple, TypeAlias, TypeVar

import msgspec

from icehouse.store.errors import ProtocolError
from icehouse.store.wire import messages
from icehouse.store.wire.framing import Frames, frame

__all__ = ["Answer", "Session", "State"]

Waiter = TypeVar("Waiter")
# What the daemon says by itself.
Told: TypeAlias = messages.Changed | messages.Events

# The daemon reads no further while it has so much to send; more requests than this in flight are a
# fault of the caller.
WAITING_MAX = 4096


class State(enum.Enum):
    """What a session may do."""

    NEW = "new"
    """start() has not been called."""
    GREETING = "greeting"
    """Hello is sent; requests may follow at once, and are refused if hello is."""
    OPEN = "open"
    CLOSED = "closed"


class Answer(NamedTuple, Generic[Waiter]):
    """A reply, and who waits for it."""

    waiter: Waiter
    reply: messages.REPLIES


class Session(Generic[Waiter]):
    """One connection's life. Not for several threads."""

    def __init__(self, *, session: int = 0) -> None:
        """`session`: that of this process's store, which the connection belongs to (H14)."""
        self.state = State.NEW
        self.welcome: messages.Welcome | None = None
        self._joins = session
        self._frames = Frames(messages.REPLY_BYTES_MAX)
        self._encoder = msgspec.msgpack.Encoder()
        self._decoder = msgspec.msgpack.Decoder(messages.REPLIES)
        self._request_bytes_max = messages.REQUEST_BYTES_MAX
        self._last = 0
        self._waiting: dict[int, Waiter] = {}

    @property
    def waiting(self) -> int:
        """How many requests have no reply yet."""
        return len(self._waiting)

    def start(self, waiter: Waiter) -> bytes:
        """Give the first bytes of the connection; the waiter gets a Welcome or a Failure."""
        if self.state is not State.NEW:
            raise RuntimeError(f"a session starts once; this one is {self.state.value}")
        self.state = State.GREETING
        return messages.MAGIC + self._pack(
            messages.Hello(pid=os.getpid(), session=self._joins), waiter
        )

    def ask(self, request: messages.REQUESTS, waiter: Waiter) -> bytes:
        """Give the bytes of a request."""
        if self.state not in (State.GREETING, State.OPEN):
            raise RuntimeError(f"ask: the session is {self.state.value}")
        if len(self._waiting) >= WAITING_MAX:
            raise RuntimeError(f"ask: {WAITING_MAX} requests wait for their replies already")
        return self._pack(request, waiter)

    def _pack(self, request: messages.REQUESTS, waiter: Waiter) -> bytes:
        request.id = self._last + 1
        body = self._encoder.encode(request)
        if len(body) > self._request_bytes_max:
            raise ValueError(
                f"{type(request).__name__.lower()}: the request has {len(body)} bytes, and the"
                f" daemon takes {self._request_bytes_max}; is a name too long?"
            )
        self._last = request.id
        self._waiting[request.id] = waiter
        return frame(body)

    def receive(self, data: bytes | bytearray | memoryview) -> list[Answer[Waiter] | Told]:
        """Give the replies and events that the bytes complete; ProtocolError ends the session."""
        arrived: list[Answer[Waiter] | Told] = []
        try:
            for body in self._frames.feed(data):
                arrived.append(self._one(body))  # noqa: PERF401 - what came before a fault counts
        except ProtocolError:
            self.state = State.CLOSED
            raise
        return arrived

    def _one(self, body: bytes) -> Answer[Waiter] | Told:
        try:
            reply = self._decoder.decode(body)
        except msgspec.MsgspecError as error:
            raise ProtocolError(
                f"read a reply of the daemon: {error}; are both of one version of icehouse?"
            ) from None
        if isinstance(reply, messages.Changed | messages.Events):
            return reply
        if isinstance(reply, messages.Failure) and not reply.id:
            # It says why it ends the connection.
            raise ProtocolError(f"the daemon ends the connection: {reply.text}")
        if reply.id not in self._waiting:
            raise ProtocolError(f"read a reply of the daemon: nobody asked request {reply.id}")
        if self.state is State.GREETING:
            self._greeted(reply)
        return Answer(self._waiting.pop(reply.id), reply)

    def _greeted(self, reply: messages.REPLIES) -> None:
        if isinstance(reply, messages.Welcome):
            self.state = State.OPEN
            self.welcome = reply
            self._request_bytes_max = min(self._request_bytes_max, reply.request_bytes_max)
        elif isinstance(reply, messages.Failure):
            self.state = State.CLOSED
        else:
            raise ProtocolError(f"greet the daemon: it answered {type(reply).__name__.lower()}")

    def lose(self) -> list[Waiter]:
        """Note that the connection is gone; gives everybody who still waits."""
        self.state = State.CLOSED
        waiting = list(self._waiting.values())
        self._waiting.clear()
        return waiting
