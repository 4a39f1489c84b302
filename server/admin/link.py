"""The admin process's connection to the daemon, of the control family.

It is made when it is first needed and again when it was lost, since the daemon may be killed and
started anew at any time; meanwhile whoever asks gets Away at once, and answers 503.
"""

import asyncio
import time
from collections.abc import Callable
from typing import TypeVar

from icehouse.server.admin.kept import Kept
from icehouse.server.admin.pace import Pace
from icehouse.server.admin.rates import Rates
from icehouse.store.errors import ProtocolError
from icehouse.store.wire import messages
from icehouse.store.wire.session import Session

REPLY_SECONDS = 10.0
# What takes the daemon up to some milliseconds each, and how much of it is asked for at once. Where
# processors are busy the daemon has more of them than this process, which gives way (priority.py):
# it must not find work for a tenth of a second there, or those who put and get wait for it.
LOOKS = (
    messages.AskObjects,
    messages.AskSome,
    messages.AskKeys,
    messages.AskClients,
    messages.AskSegments,
    messages.AskNames,
    messages.AskBlocks,
)
LOOKS_AT_ONCE = 2
# For its turn and its reply: longer than a reply may take, so that it is who waits for that alone
# that gives the connection up.
LOOK_SECONDS = REPLY_SECONDS + 1.0
SCAN_FRESH_SECONDS = 1.0
# While looking takes more of the daemon than it should, such a list may be as old as this.
SCAN_OLD_SECONDS = 10.0
SCANS_KEPT_MAX = 16
Waiter = asyncio.Future[messages.REPLIES]
Answer = TypeVar("Answer", bound=messages.Reply)


class AwayError(Exception):
    """The daemon does not answer; the message says what was tried."""


class RefusedError(Exception):
    """The daemon answered that it won't."""

    def __init__(self, failure: messages.Failure) -> None:
        super().__init__(failure.text)
        self.failure = failure


class Wire(asyncio.Protocol):
    """One connection: bytes between a transport and a session."""

    def __init__(self) -> None:
        self.session: Session[Waiter] = Session()
        self.transport: asyncio.Transport | None = None
        self.is_lost = False
        self.on_events: Callable[[messages.Events], None] = lambda _: None
        self.is_followed = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the transport."""
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        """Hand replies to those who wait."""
        try:
            arrived = self.session.receive(data)
        except ProtocolError:
            self.close()
            return
        for item in arrived:
            if isinstance(item, messages.Events):
                self.on_events(item)
            elif not isinstance(item, messages.Changed) and not item.waiter.done():
                item.waiter.set_result(item.reply)

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell everybody who waits."""
        self.is_lost = True
        for waiter in self.session.lose():
            if not waiter.done():
                waiter.set_exception(AwayError(f"the connection was lost: {exc or 'closed'}"))
                # Whoever was cancelled looks at none.
                waiter.exception()

    def close(self) -> None:
        """End the connection."""
        self.is_lost = True
        if self.transport is not None:
            self.transport.abort()

    async def send(self, data: bytes, waiter: Waiter) -> messages.REPLIES:
        """Send and wait for the reply."""
        if self.transport is None or self.is_lost:
            raise AwayError("the connection was lost")
        self.transport.write(data)
        try:
            async with asyncio.timeout(REPLY_SECONDS):
                return await waiter
        except TimeoutError:
            self.close()
            raise AwayError(f"the daemon has not answered for {REPLY_SECONDS:g} s") from None


class Link:
    """Asks the daemon. `observe` is told how many seconds each round trip took."""

    def __init__(self, socket: str, observe: Callable[[float], None]) -> None:
        self.socket = socket
        self._observe = observe
        self._wire: Wire | None = None
        self._opening: asyncio.Task[Wire] | None = None
        self.rates = Rates()
        self._looks = asyncio.Semaphore(LOOKS_AT_ONCE)
        # Of what is found by many requests: a key of the order, a locator, a nonce.
        self.pace = Pace()
        self.scans: Kept[list[tuple[int, int, int]]] = Kept(
            lambda: SCAN_OLD_SECONDS if self.pace.is_short else SCAN_FRESH_SECONDS, SCANS_KEPT_MAX
        )

    async def _open(self) -> Wire:
        """Give the connection; whoever asks while it is being made waits for the same attempt."""
        if self._wire is not None and not self._wire.is_lost:
            return self._wire
        if self._opening is None or self._opening.done():
            self._opening = asyncio.get_running_loop().create_task(self._connect())
            # Those who waited for it may all have given up.
            self._opening.add_done_callback(lambda done: done.cancelled() or done.exception())
        return await asyncio.shield(self._opening)

    async def _connect(self) -> Wire:
        try:
            _, wire = await asyncio.get_running_loop().create_unix_connection(Wire, self.socket)
        except OSError as error:
            raise AwayError(f"nobody answers at {self.socket}: {error.strerror}") from None
        waiter: Waiter = asyncio.get_running_loop().create_future()
        try:
            reply = await wire.send(wire.session.start(waiter), waiter)
        except BaseException:
            wire.close()
            raise
        if isinstance(reply, messages.Failure):
            wire.close()
            raise AwayError(f"the daemon refuses the admin process: {reply.text}")
        self._wire = wire
        return wire

    async def ask(self, request: messages.REQUESTS, answer: type[Answer]) -> Answer:
        """Ask; AwayError, RefusedError."""
        if not isinstance(request, LOOKS):
            return await self._ask(request, answer)
        try:
            async with asyncio.timeout(LOOK_SECONDS), self._looks:
                return await self._ask(request, answer)
        except TimeoutError:
            raise AwayError(f"the daemon has not answered for {LOOK_SECONDS:g} s") from None

    async def _ask(self, request: messages.REQUESTS, answer: type[Answer]) -> Answer:
        wire = await self._open()
        waiter: Waiter = asyncio.get_running_loop().create_future()
        began = time.perf_counter()
        try:
            data = wire.session.ask(request, waiter)
        except ValueError as error:
            # Text that is no UTF-8, or more of it than the daemon takes.
            raise RefusedError(messages.Failure(code="invalid", text=str(error))) from None
        except RuntimeError as error:
            # It ended just now, or too much is asked at a time.
            raise AwayError(str(error)) from None
        reply = await wire.send(data, waiter)
        self._observe(time.perf_counter() - began)
        if isinstance(reply, messages.Failure):
            raise RefusedError(reply)
        if not isinstance(reply, answer):
            wire.close()
            raise AwayError(f"the daemon answered {type(reply).__name__.lower()}")
        return reply

    async def follow(self, told: Callable[[messages.Events], None]) -> bool:
        """Have `told` called with what happens, if it is not yet; AwayError, RefusedError.

        Whether that begins only now: a connection that was lost is made again, and what happened
        meanwhile is not told.
        """
        wire = await self._open()
        if wire.is_followed:
            return False
        wire.on_events = told
        await self.ask(messages.Follow(), messages.Done)
        wire.is_followed = True
        return True

    def unfollow(self) -> None:
        """Be told no longer."""
        wire = self._wire
        if wire is not None and wire.is_followed and not wire.is_lost:
            wire.is_followed = False
            wire.on_events = lambda _: None
            waiter: Waiter = asyncio.get_running_loop().create_future()
            assert wire.transport is not None
            wire.transport.write(wire.session.ask(messages.Unfollow(), waiter))

    def close(self) -> None:
        """End the connection."""
        if self._wire is not None:
            self._wire.close()
