"""Connections of the admin process: how many there are, and how long each may take to ask.

Purpose.   Loopback is open to every process of the machine. Whoever opens many connections and
           sends a byte a second, or reads no answer, must not keep a probe or a person out.
Rules.     A request, head and body, is complete within REQUEST_SECONDS of its first byte. Beyond
           CONNECTIONS_MAX the one goes that has waited longest: for its client's next request, or
           for its client to read. Requests that are being answered are never cut short so.
"""

import asyncio
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from icehouse.server.admin import problems
from icehouse.server.admin.guard import HEADERS

__all__ = ["CONNECTIONS_MAX", "REQUEST_SECONDS", "Connection"]

CONNECTIONS_MAX = 160
REQUEST_SECONDS = 10.0


class Connection(H11Protocol):
    """One connection, as uvicorn makes it."""

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self._patience: asyncio.TimerHandle | None = None
        # Since when it waits for its client.
        self.since = 0.0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take its place, if need be that of another."""
        super().connection_made(transport)
        self.since = self.loop.time()
        self._patience = self.loop.call_later(REQUEST_SECONDS, self.give_up)
        if len(self.connections) > CONNECTIONS_MAX:
            ours = [other for other in self.connections if isinstance(other, Connection)]
            min((other for other in ours if other.waits), key=lambda other: other.since).give_up()

    @property
    def waits(self) -> bool:
        """Whether its client has to do something: to ask, or to read."""
        return self._asks or self.flow.write_paused

    @property
    def _asks(self) -> bool:
        """Whether a request is not complete yet."""
        return self.conn.their_state in (h11.IDLE, h11.SEND_BODY)

    def give_up(self) -> None:
        """End it, whatever it waits for."""
        self.transport.abort()
        # That is told to connection_lost() only later.
        self.connections.discard(self)

    def _look(self) -> None:
        """Measure the time of a request from its first byte until it is complete."""
        begun = self.conn.their_state is h11.SEND_BODY or bool(self.conn.trailing_data[0])
        if not (self._asks and begun):
            if self._patience is not None:
                self._patience.cancel()
                self._patience = None
        elif self._patience is None:
            self._patience = self.loop.call_later(REQUEST_SECONDS, self.give_up)

    def data_received(self, data: bytes) -> None:
        """Take bytes of a request."""
        super().data_received(data)
        self._look()

    def on_response_complete(self) -> None:
        """Wait for the next request."""
        self.since = self.loop.time()
        super().on_response_complete()
        self._look()

    def pause_writing(self) -> None:
        """Wait until the client reads."""
        self.since = self.loop.time()
        super().pause_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget it."""
        if self._patience is not None:
            self._patience.cancel()
        super().connection_lost(exc)

    def send_400_response(self, msg: str) -> None:
        """Answer what is no HTTP with a problem, like all that is wrong."""
        if self.cycle is not None:
            # An answer to what came before can't be told from one to this.
            self.cycle.disconnected = True
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            problem = problems.response("invalid-request", msg)
            headers = [*problem.raw_headers, (b"connection", b"close")]
            headers += [(name.encode(), value.encode()) for name, value in HEADERS.items()]
            parts = (
                h11.Response(
                    status_code=problem.status_code, headers=headers, reason="Bad Request"
                ),
                h11.Data(data=bytes(problem.body)),
                h11.EndOfMessage(),
            )
            for part in parts:
                self.transport.write(self.conn.send(part) or b"")
        self.transport.close()
