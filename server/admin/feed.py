"""What happens, to whoever looks: one subscription at the daemon, fanned out to all browsers.

Purpose.   Server-sent events, numbered so that a browser that lost its connection goes on where it
           was, if that is not too long ago.
Lifecycle. The feed follows the daemon while somebody looks, and for a while after; meanwhile it
           asks for the status every second. A daemon that dies is followed again when it is back.
Cost.      RING_MAX events, once for all. A stream keeps no queue but a place in the ring: who reads
           slowly is told how much it missed, and who reads nothing is let go.
"""

import asyncio
import json
import time
from collections import deque
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from icehouse.server.admin import schemas
from icehouse.server.admin.link import AwayError, Link, RefusedError
from icehouse.server.admin.problems import ProblemError
from icehouse.store.wire import messages

RING_MAX = 1024
STREAMS_MAX = 32
# Of one piece that is sent.
BATCH_MAX = 64
EVERY_SECONDS = 1.0
# So that who reconnects finds what happened meanwhile.
LINGER_SECONDS = 30.0
HEARTBEAT_SECONDS = 15.0
STALL_SECONDS = 60.0
RETRY_MS = 2000
KINDS = (
    *("put", "delete", "evict", "spill", "bind", "full"),
    *("client_joined", "client_left", "client_died"),
    *("status", "gap", "away", "back"),
)


@dataclass(frozen=True, slots=True)
class Event:
    """One event as it is sent. `number` grows, over restarts of this process too."""

    number: int
    kind: str
    text: str

    def lines(self) -> str:
        """Give it as an event stream has it."""
        return f"id: {self.number}\nevent: {self.kind}\ndata: {self.text}\n\n"


def at(seconds: float) -> str:
    """Write a time."""
    return datetime.fromtimestamp(seconds, UTC).isoformat()


def data_of(told: messages.Event) -> dict[str, Any]:
    """Give what there is to know of an event of the daemon."""
    known: dict[str, Any] = {"at": at(told.at), "count": told.count}
    if told.handle:
        known["handle"] = schemas.text_of(told.handle)
    more = {
        "name": told.name,
        "pid": told.pid,
        "session": told.session,
        "bytes": told.size,
        "why": told.why,
    }
    known.update((key, value) for key, value in more.items() if value)
    return known


class Feed:
    """The events of one daemon."""

    def __init__(self, link: Link) -> None:
        self._link = link
        # Milliseconds: more than there were events, so that numbers of before are smaller.
        self.first = self.last = int(time.time() * 1000)
        self.ring: deque[Event] = deque(maxlen=RING_MAX)
        self.streams = 0
        self._news = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._idle_since = 0.0
        self._before: messages.Status | None = None
        self._is_away = False

    # --- what happens ---

    def add(self, kind: str, data: dict[str, Any]) -> None:
        """Give an event its number and tell it to all."""
        self.last += 1
        text = json.dumps(data, separators=(",", ":"))
        self.ring.append(Event(self.last, kind, text))
        news, self._news = self._news, asyncio.Event()
        news.set()

    def told(self, events: messages.Events) -> None:
        """Take what the daemon says."""
        if events.lost:
            self.add("gap", {"lost": events.lost})
        for event in events.items:
            self.add(event.kind, data_of(event))

    def wanted(self) -> None:
        """Note that somebody looks at what is in the ring; follows the daemon for a while."""
        self._idle_since = time.monotonic()
        self._wake()

    def _wake(self) -> None:
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._run())

    async def _run(self) -> None:
        """Follow the daemon while somebody looks."""
        try:
            while self.streams or time.monotonic() - self._idle_since < LINGER_SECONDS:
                began = time.monotonic()
                try:
                    if await self._link.follow(self.told) and self._before is not None:
                        # Another daemon may have come between two questions.
                        self._went("the connection was lost, and events with it")
                    status = await self._link.ask(messages.AskStatus(), messages.Status)
                except (AwayError, RefusedError) as error:
                    self._went(str(error))
                else:
                    self._seen(status)
                await asyncio.sleep(max(0.05, EVERY_SECONDS - (time.monotonic() - began)))
        finally:
            self._link.unfollow()
            self._before = None

    def _went(self, why: str) -> None:
        if not self._is_away:
            self._is_away = True
            self.add("away", {"at": at(time.time()), "why": why})

    def _seen(self, status: messages.Status) -> None:
        before, self._before = self._before, status
        if self._is_away:
            self._is_away = False
            self.add("back", {"at": at(time.time()), "started": at(status.started)})
        if before is not None and before.started == status.started and status.puts > before.puts:
            # The daemon does not hear of each: producers count.
            data = {"at": at(time.time()), "count": status.puts - before.puts}
            self.add("put", {**data, "bytes": max(status.put_bytes - before.put_bytes, 0)})
        self.add(
            "status",
            {
                "at": at(time.time()),
                "capacity": status.capacity,
                "committed": status.committed,
                "warm": status.warm,
                "spilled": status.spilled,
                "waiting": status.waiting,
                "segments": status.segments,
                "clients": status.clients,
                "names": status.names,
                "puts": status.puts,
                "gets": status.gets,
            },
        )

    # --- who looks ---

    async def follow(self, after: int | None = None) -> AsyncGenerator[str, None]:
        """Give what happens as pieces of an event stream, after an event or from now on."""
        self.streams += 1
        self._wake()
        try:
            yield f"retry: {RETRY_MS}\n\n"
            place = self.last if after is None else after
            if not self.first <= place <= self.last:
                # Of the process before this one, or made up: how much is missed is not known.
                place = self.first
                yield Event(place, "gap", json.dumps({"lost": 1})).lines()
            # Of what lies behind, only the last status is news.
            old = self.last
            while True:
                news = self._news
                piece, place = self._piece(place, old)
                if piece:
                    yield piece
                    continue
                try:
                    await asyncio.wait_for(news.wait(), HEARTBEAT_SECONDS)
                except TimeoutError:
                    yield ": still here\n\n"
        finally:
            self.streams -= 1
            self._idle_since = time.monotonic()

    def _piece(self, place: int, old: int) -> tuple[str, int]:
        """Give what comes next behind a place, and the place behind that."""
        if place >= self.last:
            return "", place
        first = self.ring[0].number
        lines = []
        if place + 1 < first:
            gap = Event(first - 1, "gap", json.dumps({"lost": first - 1 - place}))
            lines.append(gap.lines())
            place = first - 1
        skipped = place + 1 - first
        taken = [self.ring[at] for at in range(skipped, min(skipped + BATCH_MAX, len(self.ring)))]
        lines += [event.lines() for event in taken if event.kind != "status" or event.number >= old]
        return "".join(lines), taken[-1].number


def start_of(last_event_id: str | None) -> int | None:
    """Read the number that a browser says it has seen last; None: it has seen none."""
    text = (last_event_id or "").strip()
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 20 else None


class Stream(Response):
    """An event stream, until the browser goes, reads nothing for long, or the server stops."""

    media_type = "text/event-stream"

    def __init__(self, feed: Feed, after: int | None) -> None:
        """ProblemError if too many look already."""
        super().__init__(headers={"Cache-Control": "no-store"})
        if feed.streams >= STREAMS_MAX:
            raise ProblemError(
                "too-many-streams", f"{STREAMS_MAX} follow the events already; close a page"
            )
        self._pieces = feed.follow(after)
        del self.headers["content-length"]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send what happens."""
        start: Message = {
            "type": "http.response.start",
            "status": self.status_code,
            "headers": self.raw_headers,
        }
        await send(start)
        sending = asyncio.ensure_future(self._send(send, is_head=scope.get("is_head", False)))
        going = asyncio.ensure_future(self._gone(receive))
        try:
            await asyncio.wait((sending, going), return_when=asyncio.FIRST_COMPLETED)
        finally:
            going.cancel()
            sending.cancel()
            await asyncio.gather(sending, going, return_exceptions=True)
            await self._pieces.aclose()

    async def _send(self, send: Send, *, is_head: bool) -> None:
        if not is_head:
            async for piece in self._pieces:
                async with asyncio.timeout(STALL_SECONDS):
                    await send(
                        {"type": "http.response.body", "body": piece.encode(), "more_body": True}
                    )
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _gone(self, receive: Receive) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
