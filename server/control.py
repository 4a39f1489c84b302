"""The control family: what asyncio clients, the admin process and the command line ask the daemon.

Frames of store/wire/framing.py with messages of store/wire/messages.py. Nothing here waits, so a
request is answered before the next one is looked at. A connection may watch names: changes are
kept by name, one each, until the client has read what was sent before (H14: a client that does not
read loses what lies between, never the last state, and costs a bounded piece of memory).
"""

import time
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

import msgspec

from icehouse.server import scanning, telling
from icehouse.server.frames import (
    ANY_VERSION,
    NAME_MAX,
    Figures,
    Handle,
    ProtocolError,
    RefusedError,
    Result,
    Role,
    Why,
    check_name,
)
from icehouse.server.tokens import TokenRefusedError
from icehouse.store.wire import messages
from icehouse.store.wire.framing import HEAD
from icehouse.store.wire.framing import frame as framed

if TYPE_CHECKING:
    from icehouse.server.connection import Connection
    from icehouse.server.daemon import Daemon

ENCODER = msgspec.msgpack.Encoder()
DECODER = msgspec.msgpack.Decoder(messages.REQUESTS)

NEEDS: dict[type, Role] = {
    messages.AskMetrics: Role.ADMIN,
    messages.AskClients: Role.ADMIN,
    messages.AskSegments: Role.ADMIN,
    messages.AskClient: Role.ADMIN,
    messages.AskSegment: Role.ADMIN,
    messages.AskBlocks: Role.ADMIN,
    messages.Follow: Role.ADMIN,
    messages.Delete: Role.PRODUCER,
    messages.Rename: Role.PRODUCER,
    messages.Evict: Role.PRODUCER,
    messages.SpillOne: Role.PRODUCER,
    messages.Collect: Role.PRODUCER,
    messages.Bind: Role.PRODUCER,
    messages.Pin: Role.PRODUCER,
    messages.Expire: Role.PRODUCER,
}
LISTS = (
    messages.AskObjects,
    messages.AskClients,
    messages.AskSegments,
    messages.AskNames,
    messages.AskBlocks,
)
TTL_MAX_NS = 2**62
# Changes sent at a time to a client; the rest waits until it has read these.
CHANGES_AT_ONCE = 64


def checked(name: str) -> str:
    """Give a name that may be one."""
    try:
        size = len(name.encode())
    except UnicodeEncodeError:
        raise RefusedError(Result.INVALID, "a name must be UTF-8") from None
    if not 0 < size <= NAME_MAX:
        raise RefusedError(Result.INVALID, f"a name must have 1 to {NAME_MAX} bytes, not {size}")
    check_name(name)
    return name


def failure_of(error: RefusedError, number: int) -> messages.Failure:
    """Tell why a request was not done."""
    why = Why(error.why).name.lower() if error.result == Result.GONE else ""
    if isinstance(error, TokenRefusedError):
        why = error.reason
    figures = {name: value for name, value in error.figures._asdict().items() if value}
    return messages.Failure(
        id=number,
        code=error.result.name.lower(),
        text=error.text,
        why=why,
        figures=figures,
    )


class Watches:
    """The names that one connection watches, and what it has to be told of them."""

    def __init__(self, daemon: "Daemon", connection: "Connection") -> None:
        self._daemon = daemon
        self._connection = connection
        self._stops: dict[str, Callable[[], None]] = {}
        self._changed: dict[str, tuple[bytes, int]] = {}
        self._scheduled = False

    def __len__(self) -> int:
        """How many names there are."""
        return len(self._stops)

    def add(self, name: str) -> messages.Bound:
        """Watch a name from now on; gives its state."""
        most = self._daemon.config.limits.watches_max
        if name not in self._stops:
            if len(self._stops) >= most:
                raise RefusedError(
                    Result.FULL,
                    f"watch {name!r}: this connection watches {most} names, and"
                    " limits.watches_max allows no more",
                    figures=Figures(wanted=1, capacity=most, used=most),
                )
            self._stops[name] = self._daemon.names.watch(name, self._note)
        handle, version = self._daemon.names.lookup(name)
        # What was noted before is in the state that is told now.
        self._changed.pop(name, None)
        return messages.Bound(name=name, handle=telling.packed(handle), version=version)

    def remove(self, name: str) -> None:
        """Watch a name no longer."""
        stop = self._stops.pop(name, None)
        if stop is not None:
            stop()
        self._changed.pop(name, None)

    def stop(self) -> None:
        """Watch nothing any more."""
        for name in list(self._stops):
            self.remove(name)

    def _note(self, name: str, handle: Handle | None, version: int) -> None:
        self._changed[name] = (telling.packed(handle), version)
        if not self._scheduled:
            # Whoever binds must not be slowed by those who watch, and many changes are one.
            self._scheduled = True
            self._connection.loop.call_soon(self.flush)

    def flush(self) -> None:
        """Tell what has changed, if the client has read what it was told before."""
        self._scheduled = False
        while self._changed and not self._connection.out_bytes:
            if self._connection.is_closed:
                return
            told = b""
            for name in list(self._changed)[:CHANGES_AT_ONCE]:
                handle, version = self._changed.pop(name)
                change = messages.Changed(name=name, handle=handle, version=version)
                told += framed(ENCODER.encode(change))
            self._connection.send(told)


class Control:
    """One connection of this family; its first frame is a hello."""

    def __init__(self, daemon: "Daemon", connection: "Connection") -> None:
        self.daemon = daemon
        self.connection = connection
        self.watches = Watches(daemon, connection)
        # The last event that it was told of; None: it follows none.
        self._followed: int | None = None
        self.session = 0
        self._greeted = False

    # --- the seam of connection.py ---

    def size(self, data: bytes, start: int) -> int:
        """Bytes of the frame at `start`; 0: not known yet."""
        if len(data) - start < HEAD:
            return 0
        length = int.from_bytes(data[start : start + HEAD], "little")
        most = self.daemon.config.limits.request_bytes_max
        if not 0 < length <= most:
            raise ProtocolError(f"a request has {length} bytes; 1 to {most} are allowed")
        return HEAD + length

    @property
    def is_greeted(self) -> bool:
        """Whether its hello was accepted."""
        return self._greeted

    def receive(self, frame: bytes) -> Coroutine[Any, Any, None] | None:
        """Serve one frame."""
        try:
            request = DECODER.decode(memoryview(frame)[HEAD:])
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise ProtocolError(f"a request can't be read: {error}") from None
        if isinstance(request, messages.Hello) == self._greeted:
            raise ProtocolError("a connection's first request, and no other, is a hello")
        name = str(request.__struct_config__.tag)
        self.daemon.counters.requests[name] += 1
        try:
            if self._greeted:
                self._allow(request, name)
            answer = HANDLERS[type(request)](self, request)
            if not isinstance(answer, messages.Reply):
                return self._later(request, name, answer)
            self._answer(answer, request)
        except RefusedError as error:
            self._refuse(error, request)
        except OSError as error:
            self._failed(error, request, name)
        return None

    async def _later(
        self, request: messages.Request, name: str, answer: Coroutine[Any, Any, messages.Reply]
    ) -> None:
        try:
            self._answer(await answer, request)
        except RefusedError as error:
            self._refuse(error, request)
        except OSError as error:
            self._failed(error, request, name)

    def _allow(self, request: messages.Request, name: str) -> None:
        """Refuse what the client may not do."""
        needed = NEEDS.get(type(request), Role.READER)
        if not self.connection.observes:
            if self.connection.role < needed:
                self.daemon.denied(self.connection, name, needed)
            return
        if not isinstance(request, messages.Change):
            return
        try:
            if not request.token:
                raise TokenRefusedError("token", f"{name}: an observer needs somebody's token")
            known = self.daemon.tokens.verify(request.token)
            if known.role < needed:
                raise TokenRefusedError(
                    "role",
                    f"{name}: the token {known.name} is a {known.role.name.lower()}'s, and a"
                    f" {needed.name.lower()}'s is needed",
                )
        except TokenRefusedError as error:
            self.daemon.counters.denied += 1
            self.daemon.log.warning("denied", error.text, attempt=name, reason=error.reason)
            raise
        self.daemon.log.info("action", action=name, token=known.name)

    def refuse(self, error: ProtocolError) -> None:
        """Say why the connection ends."""
        failure = messages.Failure(code="protocol", text=str(error))
        self.connection.send(framed(ENCODER.encode(failure)))

    def drained(self) -> None:
        """All that was sent has been taken: there is room for changes."""
        self.watches.flush()
        self._tell_events()

    def closed(self) -> None:
        """Forget what was watched: the connection has ended."""
        self.watches.stop()
        self.daemon.events.followers.pop(self, None)

    def _tell_events(self) -> None:
        """Tell what happened, if the client has read what it was told before."""
        events = self.daemon.events
        while self._followed is not None and self._followed < events.last:
            if self.connection.is_closed or self.connection.out_bytes:
                return
            told = events.after(self._followed)
            self._followed = told.items[-1].number
            self.connection.send(framed(ENCODER.encode(told)))

    # --- replies ---

    def _answer(self, reply: messages.Reply, request: messages.Request) -> None:
        reply.id = request.id
        self.connection.send(framed(self._encode(reply, request)))

    def _failed(self, error: OSError, request: messages.Request, name: str) -> None:
        self.daemon.log.warning("system_error", str(error), op=name)
        self._refuse(RefusedError(Result.SYSTEM, f"the daemon: {error}"), request)

    def _encode(self, reply: messages.Reply, request: messages.Request) -> bytes:
        body = ENCODER.encode(reply)
        most = self.daemon.config.limits.reply_bytes_max
        while len(body) > most:
            # Long names fill a reply before the limit of its items does.
            limit = len(getattr(reply, "items", ())) // 2
            if not isinstance(request, LISTS) or not limit:
                raise RefusedError(Result.INVALID, f"the reply has {len(body)} bytes, over {most}")
            request.limit = limit
            again = HANDLERS[type(request)](self, request)
            assert isinstance(again, messages.Reply)
            reply = again
            reply.id = request.id
            body = ENCODER.encode(reply)
        return body

    def _refuse(self, error: RefusedError, request: messages.Request) -> None:
        self.daemon.counters.refusals[error.result.name.lower()] += 1
        failure = failure_of(error, request.id)
        compares = isinstance(request, messages.Bind | messages.Rename)
        if compares and error.result == Result.CONFLICT:
            failure.version = error.version
        self.connection.send(framed(ENCODER.encode(failure)))
        if not self._greeted:
            self.connection.loop.call_soon(self.connection.close, error.text)

    # --- requests ---

    def hello(self, request: messages.Hello) -> messages.Reply:
        """Greet a client that may be here."""
        connection = self.connection
        if request.version != messages.VERSION:
            raise RefusedError(
                Result.PROTOCOL,
                f"the client speaks version {request.version} of the protocol, the daemon"
                f" {messages.VERSION}: use the same release of icehouse for both",
            )
        if connection.role < Role.READER:
            self.daemon.denied(connection, "connect", Role.READER)
        session = self.daemon.sessions.by_id.get(request.session)
        if session is not None:
            if (session.key.uid, session.key.pid) != (connection.uid, connection.pid):
                raise RefusedError(
                    Result.DENIED, f"session {request.session} belongs to another process"
                )
            self.session = session.id
        self._greeted = True
        limits = self.daemon.config.limits
        return messages.Welcome(
            store=telling.identity(self.daemon),
            role="observer" if connection.observes else Role(connection.role).name.lower(),
            session=self.session,
            request_bytes_max=limits.request_bytes_max,
            reply_bytes_max=limits.reply_bytes_max,
        )

    def ping(self, _request: messages.Ping) -> messages.Reply:
        """Answer."""
        return messages.Done()

    def status(self, _request: messages.AskStatus) -> messages.Reply:
        """Tell how the daemon is."""
        return telling.status(self.daemon)

    def metrics(self, _request: messages.AskMetrics) -> messages.Reply:
        """Tell what is measured and counted."""
        # The kept answer has somebody else's id.
        return msgspec.structs.replace(self.daemon.measures.take())

    def objects(self, request: messages.AskObjects) -> messages.Reply:
        """List images."""
        began = time.thread_time_ns()
        told = scanning.objects(self.daemon, request)
        told.took_ns = time.thread_time_ns() - began
        return told

    def keys(self, request: messages.AskKeys) -> messages.Reply:
        """Find images in an order."""
        began = time.thread_time_ns()
        told = scanning.keys(self.daemon, request)
        told.took_ns = time.thread_time_ns() - began
        return told

    def some(self, request: messages.AskSome) -> messages.Reply:
        """Tell of some images."""
        return scanning.some(self.daemon, request)

    def one_client(self, request: messages.AskClient) -> messages.Reply:
        """Tell of one process."""
        return telling.one_client(self.daemon, request.session)

    def one_segment(self, request: messages.AskSegment) -> messages.Reply:
        """Tell of one segment."""
        return telling.one_segment(self.daemon, request.segment)

    def blocks(self, request: messages.AskBlocks) -> messages.Reply:
        """Tell what is where in a segment."""
        return telling.blocks(self.daemon, request)

    def history(self, request: messages.AskHistory) -> messages.Reply:
        """Tell the last versions of a name."""
        return telling.history(self.daemon, checked(request.name))

    def one_object(self, request: messages.AskObject) -> messages.Reply:
        """Tell of one image."""
        return telling.one_object(self.daemon, request.handle)

    def clients(self, request: messages.AskClients) -> messages.Reply:
        """List processes."""
        return telling.clients(self.daemon, request)

    def segments(self, request: messages.AskSegments) -> messages.Reply:
        """List segments."""
        return telling.segments(self.daemon, request)

    def names(self, request: messages.AskNames) -> messages.Reply:
        """List names."""
        return telling.names(self.daemon, request)

    def watch(self, request: messages.Watch) -> messages.Reply:
        """Watch a name."""
        return self.watches.add(checked(request.name))

    def unwatch(self, request: messages.Unwatch) -> messages.Reply:
        """Watch a name no longer."""
        self.watches.remove(request.name)
        return messages.Done()

    def follow(self, _request: messages.Follow) -> messages.Reply:
        """Tell what happens from now on."""
        self._followed = self.daemon.events.last
        self.daemon.events.followers[self] = self._tell_events
        return messages.Done()

    def unfollow(self, _request: messages.Unfollow) -> messages.Reply:
        """Tell it no longer."""
        self._followed = None
        self.daemon.events.followers.pop(self, None)
        return messages.Done()

    def delete(self, request: messages.Delete) -> messages.Reply:
        """Delete an image."""
        if request.name:
            if request.handle:
                raise RefusedError(Result.INVALID, "delete takes a handle or a name, not both")
            handle = self.daemon.delete_named(checked(request.name), force=request.force)
            return messages.Deleted(handle=telling.packed(handle))
        self.daemon.delete(telling.unpack(request.handle), force=request.force)
        return messages.Done()

    def rename(self, request: messages.Rename) -> messages.Reply:
        """Give what a name is bound to another name."""
        name, to = checked(request.name), checked(request.to)
        version = self.daemon.rename(name, to, request.expected, self.connection.pid)
        return messages.Version(version=version)

    def evict(self, request: messages.Evict) -> messages.Reply:
        """Let an evictable image go."""
        self.daemon.evict(telling.unpack(request.handle))
        return messages.Done()

    async def spill(self, request: messages.SpillOne) -> messages.Reply:
        """Move an image to the spill folder."""
        await self.daemon.spill_image(telling.unpack(request.handle))
        return messages.Done()

    def collect(self, _request: messages.Collect) -> messages.Reply:
        """Give back the memory of what nobody needs."""
        freed = self.daemon.collect()
        status = telling.status(self.daemon)
        return messages.Collected(freed=freed, committed=status.committed, waiting=status.waiting)

    def bind(self, request: messages.Bind) -> messages.Reply:
        """Bind a name or unbind it."""
        handle = telling.unpack(request.handle) if request.handle else None
        expected = ANY_VERSION if request.expected is None else request.expected
        if not 0 <= expected <= ANY_VERSION:
            raise RefusedError(Result.INVALID, f"no name has version {expected}")
        pid = self.connection.pid
        version = self.daemon.bind(checked(request.name), handle, expected, pid)
        return messages.Version(version=version)

    def pin(self, request: messages.Pin) -> messages.Reply:
        """Pin an image, or no longer."""
        self.daemon.set_life(telling.unpack(request.handle), pinned=request.pinned)
        return messages.Done()

    def expire(self, request: messages.Expire) -> messages.Reply:
        """Give an image a time to live."""
        if not 0 <= request.ttl_ns <= TTL_MAX_NS:
            raise RefusedError(Result.INVALID, f"no time to live is {request.ttl_ns} ns")
        self.daemon.set_life(telling.unpack(request.handle), ttl_ns=request.ttl_ns)
        return messages.Done()

    def explain(self, request: messages.Explain) -> messages.Reply:
        """Say why an image lives, or how it went."""
        return messages.Text(text=self.daemon.explain(telling.unpack(request.handle)))


Answer = messages.Reply | Coroutine[Any, Any, messages.Reply]
HANDLERS: dict[type, Callable[[Control, Any], Answer]] = {
    messages.Hello: Control.hello,
    messages.Ping: Control.ping,
    messages.AskStatus: Control.status,
    messages.AskMetrics: Control.metrics,
    messages.AskObjects: Control.objects,
    messages.AskObject: Control.one_object,
    messages.AskClients: Control.clients,
    messages.AskSegments: Control.segments,
    messages.AskNames: Control.names,
    messages.AskKeys: Control.keys,
    messages.AskSome: Control.some,
    messages.AskClient: Control.one_client,
    messages.AskSegment: Control.one_segment,
    messages.AskBlocks: Control.blocks,
    messages.AskHistory: Control.history,
    messages.Follow: Control.follow,
    messages.Unfollow: Control.unfollow,
    messages.Watch: Control.watch,
    messages.Unwatch: Control.unwatch,
    messages.Delete: Control.delete,
    messages.Rename: Control.rename,
    messages.Evict: Control.evict,
    messages.SpillOne: Control.spill,
    messages.Collect: Control.collect,
    messages.Bind: Control.bind,
    messages.Pin: Control.pin,
    messages.Expire: Control.expire,
    messages.Explain: Control.explain,
}
