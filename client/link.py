"""An asyncio connection of the control family that makes itself again when it is lost.

All that is protocol is in the sans-IO session (store/wire/session.py); here are a transport, the
futures that wait, and what happens when the daemon dies: its keeper starts another within moments,
so a request that may be repeated is, and names that are watched are watched again.
"""

import asyncio
import contextlib
from collections.abc import Callable
from typing import TypeVar

from icehouse.store.errors import ProtocolError, StoreClosed, StoreUnavailable
from icehouse.store.handle import Handle
from icehouse.store.wire import messages
from icehouse.store.wire.failures import to_exception
from icehouse.store.wire.session import Session

__all__ = ["Bound", "Link", "Lost"]

REPLY_SECONDS = 30.0
RECONNECT_SECONDS = 10.0
PAUSE_FIRST = 0.001
PAUSE_MAX = 0.25
TRIES_MAX = 8

Bound = tuple[Handle | None, int]
Waiter = asyncio.Future[messages.REPLIES]
Answer = TypeVar("Answer", bound=messages.Reply)


class Lost(Exception):
    """The connection went while a request was in flight; perhaps it was done."""


def handle_of(packed: bytes) -> Handle | None:
    """Read the handle of a message; empty is none."""
    return Handle.from_bytes(packed) if packed else None


class Wire(asyncio.Protocol):
    """One connection: bytes between a transport and a session."""

    def __init__(
        self,
        session: Session[Waiter],
        on_change: Callable[[messages.Changed], None],
        on_end: Callable[["Wire"], None],
    ) -> None:
        self._session = session
        self._on_change = on_change
        self._on_end = on_end
        self._transport: asyncio.Transport | None = None
        self._broken: ProtocolError | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the transport."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def send(self, data: bytes) -> None:
        """Send, and keep what the socket does not take."""
        assert self._transport is not None
        self._transport.write(data)

    def data_received(self, data: bytes) -> None:
        """Hand replies to those who wait."""
        try:
            arrived = self._session.receive(data)
        except ProtocolError as error:
            self._broken = error
            self.close()
            return
        for item in arrived:
            if isinstance(item, messages.Changed):
                self._on_change(item)
            # Events are told to who follows them, which this does not. Who was cancelled does not
            # wait any more.
            elif not isinstance(item, messages.Events) and not item.waiter.done():
                item.waiter.set_result(item.reply)

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell everybody who waits."""
        del exc
        for waiter in self._session.lose():
            if not waiter.done():
                waiter.set_exception(self._broken or Lost())
                # Whoever was cancelled looks at none.
                waiter.exception()
        self._on_end(self)

    def close(self) -> None:
        """End the connection."""
        if self._transport is not None:
            self._transport.abort()


class Subscription:
    """One follower of a name: the newest state that it has not seen."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.seen = 0
        self._news: Bound | None = None
        self._failure: Exception | None = None
        self._event = asyncio.Event()

    def tell(self, bound: Bound) -> None:
        """Note a state; one that is waited for is the newest."""
        if bound[1] > self.seen and (self._news is None or bound[1] > self._news[1]):
            self._news = bound
            self._event.set()

    def fail(self, error: Exception) -> None:
        """Let the follower's next step raise."""
        self._failure = error
        self._event.set()

    def take(self) -> Bound | None:
        """Give the newest state, once; None if there is no news."""
        # What was noted before the failure comes first.
        if self._news is None and self._failure is not None:
            raise self._failure
        news, self._news = self._news, None
        if news is not None:
            self.seen = news[1]
        if self._failure is None:
            self._event.clear()
        return news

    async def wait(self) -> None:
        """Wait until take() has something to give."""
        await self._event.wait()


class Link:
    """The control connection of one AsyncStore. All of it belongs to one loop."""

    def __init__(
        self,
        socket: str,
        identity: str,
        session: Callable[[], int],
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        """`identity`: of the store; `session` tells the number that the connection joins (H14)."""
        self.socket = socket
        self._identity = identity
        self._session_number = session
        self._loop = loop
        self._session: Session[Waiter] | None = None
        self._wire: Wire | None = None
        self._opening = asyncio.Lock()
        self._followers: dict[str, set[Subscription]] = {}
        self._again: asyncio.Task[None] | None = None
        self._closed = False

    # --- connecting ---

    async def open(self) -> None:
        """Connect, if that is not done; StoreUnavailable after some seconds without success."""
        if self._wire is not None:
            return
        async with self._opening:
            pause, deadline = PAUSE_FIRST, self._loop.time() + RECONNECT_SECONDS
            while self._wire is None:
                if self._closed:
                    raise StoreClosed("the store was closed before; connect() again")
                try:
                    await self._open_once()
                except (Lost, OSError) as error:
                    # What the daemon itself refused is refused again.
                    if isinstance(error, StoreUnavailable | PermissionError):
                        raise
                    if self._loop.time() + pause > deadline:
                        raise self._unavailable(
                            f"nobody answers at {self.socket} ({str(error) or 'connection lost'});"
                            " start the daemon with `icehouse serve`"
                        ) from error
                    await asyncio.sleep(pause)
                    pause = min(2 * pause, PAUSE_MAX)

    async def _open_once(self) -> None:
        session: Session[Waiter] = Session(session=self._session_number())
        _, wire = await self._loop.create_unix_connection(
            lambda: Wire(session, self._changed, self._ended), self.socket
        )
        try:
            waiter: Waiter = self._loop.create_future()
            wire.send(session.start(waiter))
            async with asyncio.timeout(REPLY_SECONDS):
                reply = await waiter
            if isinstance(reply, messages.Failure):
                raise to_exception(reply, "connect", self.socket)
            assert isinstance(reply, messages.Welcome)
            if reply.store != self._identity:
                raise self._unavailable(
                    f"the daemon at {self.socket} has another store than the one that this was"
                    " connected to; connect() again"
                )
        except BaseException:
            wire.close()
            raise
        self._session, self._wire = session, wire

    def _unavailable(self, text: str) -> StoreUnavailable:
        error = StoreUnavailable(text)
        error.socket = self.socket
        return error

    def _ended(self, wire: Wire) -> None:
        if wire is not self._wire:
            return
        self._wire = self._session = None
        if self._followers and not self._closed and self._again is None:
            self._again = self._loop.create_task(self._follow_again())

    def close(self) -> None:
        """End the connection; whoever still waits gets StoreClosed."""
        self._closed = True
        closed = StoreClosed("the store was closed; connect() again")
        for followers in self._followers.values():
            for follower in followers:
                follower.fail(closed)
        self._followers.clear()
        if self._again is not None:
            self._again.cancel()
        if self._wire is not None:
            self._wire.close()

    # --- asking ---

    async def ask_once(self, request: messages.REQUESTS, attempt: str) -> messages.REPLIES:
        """Ask; Lost if the connection goes before the reply. A refusal is raised."""
        await self.open()
        assert self._session is not None
        assert self._wire is not None
        waiter: Waiter = self._loop.create_future()
        self._wire.send(self._session.ask(request, waiter))
        try:
            async with asyncio.timeout(REPLY_SECONDS):
                reply = await waiter
        except TimeoutError:
            raise self._unavailable(
                f"{attempt}: the daemon at {self.socket} has not answered for {REPLY_SECONDS:g} s"
            ) from None
        if isinstance(reply, messages.Failure):
            raise to_exception(reply, attempt, self.socket)
        return reply

    async def ask(self, request: messages.REQUESTS, attempt: str, answer: type[Answer]) -> Answer:
        """Ask what may be asked twice, until there is a reply."""
        lost = 0
        while True:
            try:
                reply = await self.ask_once(request, attempt)
            except Lost:
                lost += 1
                self.give_up(attempt, lost)
                continue
            if not isinstance(reply, answer):
                raise ProtocolError(
                    f"{attempt}: the daemon answered {type(reply).__name__.lower()};"
                    " are both of one version of icehouse?"
                )
            return reply

    def give_up(self, attempt: str, lost: int) -> None:
        """Raise if a request is not worth another try, so many connections having been lost."""
        if self._closed:
            raise StoreClosed(f"{attempt}: the store was closed meanwhile")
        if lost >= TRIES_MAX:
            raise self._unavailable(
                f"{attempt}: {lost} connections to {self.socket} were lost before there was a"
                " reply; the log of the daemon says more"
            )

    # --- watching ---

    async def follow(self, name: str) -> Subscription:
        """Follow a name: its state comes first."""
        follower = Subscription(name)
        # Before it is asked for: a change that comes first must find somebody.
        self._followers.setdefault(name, set()).add(follower)
        try:
            await self._watch(name)
        except BaseException:
            self.unfollow(follower)
            raise
        return follower

    async def _watch(self, name: str) -> None:
        bound = await self.ask(messages.Watch(name=name), f"watch {name!r}", messages.Bound)
        self._tell(name, (handle_of(bound.handle), bound.version))

    def unfollow(self, follower: Subscription) -> None:
        """Follow it no longer; the daemon is told when nobody does."""
        followers = self._followers.get(follower.name)
        if followers is None:
            return
        followers.discard(follower)
        if followers:
            return
        del self._followers[follower.name]
        if self._wire is not None and self._session is not None:
            # Nobody waits for the reply.
            waiter: Waiter = self._loop.create_future()
            with contextlib.suppress(RuntimeError):
                self._wire.send(self._session.ask(messages.Unwatch(name=follower.name), waiter))

    def _changed(self, change: messages.Changed) -> None:
        self._tell(change.name, (handle_of(change.handle), change.version))

    def _tell(self, name: str, bound: Bound) -> None:
        for follower in self._followers.get(name, ()):
            follower.tell(bound)

    async def _follow_again(self) -> None:
        """After a lost connection: watch all names anew, and tell what changed meanwhile."""
        try:
            wire = None
            # Should this connection be lost too meanwhile, the next one knows of none.
            while wire is None or wire is not self._wire:
                await self.open()
                wire = self._wire
                for name in list(self._followers):
                    if name in self._followers:
                        await self._watch(name)
        except Exception as error:
            for followers in self._followers.values():
                for follower in followers:
                    follower.fail(error)
        finally:
            self._again = None
