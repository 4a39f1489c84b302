"""The binary family: what each frame of native/arena/wire.h asks of the store.

A handler takes the body of a frame and gives the body of the reply and descriptors; it refuses with
RefusedError. Those that may take long are coroutines: only their own connection waits. Handlers
check who asks: a producer may change what lies in its own segments, and delete, bind, pin and
expire any image.
"""

import struct
from collections.abc import Callable, Coroutine, Sequence
from typing import TYPE_CHECKING, Any

from icehouse.server import frames, telling
from icehouse.server.failpoints import failpoint
from icehouse.server.frames import (
    FRAME,
    FRAME_MAX,
    Op,
    ProtocolError,
    RefusedError,
    Result,
    Role,
)
from icehouse.server.scans import ANY_CLASS, Scan
from icehouse.server.sessions import Hello, Session

if TYPE_CHECKING:
    from icehouse.server.connection import Connection
    from icehouse.server.daemon import Daemon

Reply = tuple[bytes, Sequence[int]]
Answer = Reply | Coroutine[Any, Any, Reply]

LIST_MAX = (FRAME_MAX - 16 - frames.LIST_REPLY.size) // frames.STAT_REPLY.size
ALL_IMAGES = Scan(living=ANY_CLASS, dying=ANY_CLASS)
# Those that are not here need a reader.
NEEDS: dict[int, Role] = {
    Op.GRANT: Role.PRODUCER,
    Op.DELETE: Role.PRODUCER,
    Op.DELETE_SOME: Role.PRODUCER,
    Op.BIND: Role.PRODUCER,
    Op.PUBLISH: Role.PRODUCER,
    Op.DROP: Role.PRODUCER,
    Op.RETURN: Role.PRODUCER,
    Op.TRIM: Role.PRODUCER,
}
# Looked up with each frame; an enum's name is computed each time.
NAMES = {int(op): op.name.lower() for op in Op}
HELLO, DROP = int(Op.HELLO), int(Op.DROP)


class Binary:
    """One connection of this family; its first frame is a hello."""

    def __init__(self, daemon: "Daemon", connection: "Connection") -> None:
        self.daemon = daemon
        self.connection = connection
        self.session: Session | None = None
        self._op = 0
        self._request = 0

    # --- frames ---

    def size(self, data: bytes, start: int) -> int:
        """Bytes of the frame at `start`; 0: not known yet."""
        if len(data) - start < 4:
            return 0
        size = int.from_bytes(data[start : start + 4], "little")
        if not FRAME.size <= size <= FRAME_MAX:
            raise ProtocolError(
                f"a frame has {size} bytes; {FRAME.size} to {FRAME_MAX} are allowed"
            )
        return size

    @property
    def is_greeted(self) -> bool:
        """Whether its hello was accepted."""
        return self.session is not None

    def receive(self, frame: bytes) -> Coroutine[Any, Any, None] | None:
        """Serve one frame."""
        _, op, result, request = FRAME.unpack_from(frame)
        self._op, self._request = op, request
        if result != 0 or op not in HANDLERS:
            raise ProtocolError(f"a frame asks for operation {op}, result {result}")
        if (self.session is None) != (op == HELLO):
            raise ProtocolError("a connection's first frame, and no other, is a hello")
        self.daemon.counters.requests[NAMES[op]] += 1
        try:
            if self.session is None:
                self._hello(frame[FRAME.size :])
                return None
            if op in NEEDS and self.connection.role < NEEDS[op]:
                self.daemon.denied(self.connection, NAMES[op], NEEDS[op])
            answer = HANDLERS[op](self, frame[FRAME.size :])
        except RefusedError as error:
            self._refuse(op, request, error)
            return None
        except OSError as error:
            self._refuse(op, request, self._system(error))
            return None
        except struct.error:
            raise ProtocolError(f"the body of a frame of operation {op} is too short") from None
        if isinstance(answer, tuple):
            if op != DROP:
                self._reply(op, request, answer)
            return None
        return self._later(op, request, answer)

    async def _later(self, op: int, request: int, answer: Coroutine[Any, Any, Reply]) -> None:
        try:
            self._reply(op, request, await answer)
        except RefusedError as error:
            self._refuse(op, request, error)
        except OSError as error:
            self._refuse(op, request, self._system(error))

    def _reply(self, op: int, request: int, answer: Reply) -> None:
        body, fds = answer
        failpoint("reply")
        self.connection.send(frames.reply(op, request, Result.OK, body), fds)

    def _refuse(self, op: int, request: int, error: RefusedError) -> None:
        self.daemon.counters.refusals[error.result.name.lower()] += 1
        if op != Op.DROP:
            self.connection.send(frames.reply(op, request, error.result, error.body()))

    def _system(self, error: OSError) -> RefusedError:
        self.daemon.log.warning("system_error", str(error), op=self._op)
        return RefusedError(Result.SYSTEM, f"the daemon: {error}", system_errno=error.errno or 0)

    def refuse(self, error: ProtocolError) -> None:
        """Say why the connection ends."""
        failure = RefusedError(Result.PROTOCOL, str(error))
        self.connection.send(
            frames.reply(self._op & 0x7FFF, self._request, Result.PROTOCOL, failure.body())
        )

    def drained(self) -> None:
        """Nothing waits for it: each reply is asked for."""

    def closed(self) -> None:
        """Note that the connection has ended; the session may go on in another."""
        session, self.session = self.session, None
        if session is not None and session.connection is self.connection:
            session.connection = None
            self.daemon.left(session)

    # --- coming ---

    def _hello(self, body: bytes) -> None:
        hello = Hello.parse(body)
        try:
            reply = self.daemon.welcome(hello, self.connection)
        except RefusedError as error:
            self._refuse(Op.HELLO, self._request, error)
            self.connection.loop.call_soon(self.connection.close, str(error))
            return
        self.session, welcome, fds = reply
        self._reply(Op.HELLO, self._request, (welcome, fds))

    # --- segments ---

    def grant(self, body: bytes) -> Answer:
        """Give a segment to write."""
        size, kind, flags, seen = frames.GRANT_REQUEST.unpack_from(body)
        session = self._mine()
        self.daemon.take_unseen(session, seen)
        return self.daemon.grant(session, size, kind, flags)

    def map(self, body: bytes) -> Answer:
        """Give a descriptor to read an image with."""
        locator, nonce, linked, _ = frames.IMAGE_REQUEST.unpack_from(body)
        return self.daemon.map(self._mine(), (locator, nonce), linked=bool(linked))

    def give_back(self, body: bytes) -> Answer:
        """Take an empty ordinary segment back."""
        (number,) = frames.RETURN_REQUEST.unpack_from(body)
        self.daemon.take_back(self._mine(), number)
        return b"", ()

    def drop(self, body: bytes) -> Answer:
        """Delete an image that was never put and has lost its last view; no reply."""
        locator, nonce, _, _ = frames.IMAGE_REQUEST.unpack_from(body)
        self.daemon.drop(self._mine(), (locator, nonce))
        return b"", ()

    # --- images ---

    def delete(self, body: bytes) -> Answer:
        """Delete an image; with a name, if that is the only one that it has."""
        locator, nonce, force, length = frames.IMAGE_REQUEST.unpack_from(body)
        if not length:
            self.daemon.delete((locator, nonce), force=bool(force))
            return b"", ()
        start = frames.IMAGE_REQUEST.size
        if len(body) != start + length:
            raise ProtocolError("a name is not as long as its frame says")
        name = frames.name_of(body[start:])
        self.daemon.delete_so_named((locator, nonce), name, force=bool(force))
        return b"", ()

    def delete_some(self, body: bytes) -> Answer:
        """Delete images; what became of each."""
        count, force = frames.DELETE_SOME_REQUEST.unpack_from(body)
        start = frames.DELETE_SOME_REQUEST.size
        if count > frames.DELETE_SOME_MAX or len(body) != start + frames.HANDLE.size * count:
            raise ProtocolError("images to delete are not as many as their frame says")
        handles = frames.HANDLE.iter_unpack(body[start:])
        return bytes(self.daemon.delete_some(handles, force=bool(force))), ()

    def bind(self, body: bytes) -> Answer:
        """Bind a name, or unbind it."""
        locator, nonce, expected, length, _ = frames.BIND_REQUEST.unpack_from(body)
        start = frames.BIND_REQUEST.size
        if len(body) != start + length:
            raise ProtocolError("a name is not as long as its frame says")
        name = frames.name_of(body[start:], cells=True)
        handle = (locator, nonce) if (locator, nonce) != (0, 0) else None
        version = self.daemon.bind(name, handle, expected, self.connection.pid)
        return frames.VERSION_REPLY.pack(version), ()

    def publish(self, body: bytes) -> Answer:
        """Note what a plain put does not tell: name, time to live, pin, links, seal."""
        locator, nonce, ttl, flags, count, length, _ = frames.PUBLISH_REQUEST.unpack_from(body)
        start = frames.PUBLISH_REQUEST.size
        end = start + 16 * count
        if count > frames.LINKS_MAX or len(body) != end + length:
            raise ProtocolError("links and name are not as long as their frame says")
        links = [(at, other) for at, other in frames.HANDLE.iter_unpack(body[start:end])]
        name = frames.name_of(body[end:]) if length else None
        version = self.daemon.publish(
            self._mine(), (locator, nonce), flags=flags, ttl_ns=ttl, links=links, name=name
        )
        return frames.VERSION_REPLY.pack(version), ()

    # --- looking ---

    def stat(self, body: bytes) -> Answer:
        """Tell what there is to know of an image."""
        locator, nonce, _, _ = frames.IMAGE_REQUEST.unpack_from(body)
        return self.daemon.stat_reply((locator, nonce)), ()

    def list(self, body: bytes) -> Answer:
        """List images behind a cursor.

        There may be none in a step that ends before all was looked at: its time is bounded.
        """
        cursor, count, _ = frames.LIST_REQUEST.unpack_from(body)
        room = max(1, min(count, LIST_MAX))
        found, after = self.daemon.catalog.scan(
            ALL_IMAGES, cursor, looks=telling.LOOKS_MAX, ns=telling.LOOK_NS, room=room, leases=True
        )
        shown = [stat for stat in found if self.daemon.is_listed(stat)]
        head = frames.LIST_REPLY.pack(after, len(shown), 0)
        return head + b"".join(map(self.daemon.listed, shown)), ()

    def usage(self, body: bytes) -> Answer:
        """Give an ih_usage."""
        del body
        return self.daemon.usage_reply(), ()

    def explain(self, body: bytes) -> Answer:
        """Say why an image lives, or how it went."""
        locator, nonce, _, _ = frames.IMAGE_REQUEST.unpack_from(body)
        return frames.utf8_text(self.daemon.explain((locator, nonce))), ()

    def board(self, body: bytes) -> Answer:
        """Give the names board that stands now."""
        del body
        board = self.daemon.names.board
        return frames.BOARD_REPLY.pack(board.number, board.bytes), [self.daemon.board_fd()]

    def check(self, body: bytes) -> Answer:
        """Check every invariant."""
        del body
        return frames.utf8_text(self.daemon.check()), ()

    def trim(self, body: bytes) -> Answer:
        """Free what is deleted and not leased, and give warm segments back to the system."""
        del body
        self.daemon.trim()
        return b"", ()

    def ping(self, body: bytes) -> Answer:
        """Answer."""
        del body
        return b"", ()

    def _mine(self) -> Session:
        assert self.session is not None
        return self.session


def _hello_again(_binary: Binary, _body: bytes) -> Answer:
    raise ProtocolError("a second hello")


HANDLERS: dict[int, Callable[[Binary, bytes], Answer]] = {
    Op.HELLO: _hello_again,
    Op.GRANT: Binary.grant,
    Op.MAP: Binary.map,
    Op.DELETE: Binary.delete,
    Op.DELETE_SOME: Binary.delete_some,
    Op.BIND: Binary.bind,
    Op.PUBLISH: Binary.publish,
    Op.STAT: Binary.stat,
    Op.LIST: Binary.list,
    Op.USAGE: Binary.usage,
    Op.EXPLAIN: Binary.explain,
    Op.BOARD: Binary.board,
    Op.DROP: Binary.drop,
    Op.PING: Binary.ping,
    Op.RETURN: Binary.give_back,
    Op.CHECK: Binary.check,
    Op.TRIM: Binary.trim,
}
