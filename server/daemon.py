"""The daemon: one loop that accepts clients and serves them.

Once a second it looks at what passes without a message: processes that ended, times to live,
orphans, warm segments.

The families of frames are in FAMILIES: the first 8 bytes of a connection, and what makes of the
Daemon and a Connection the object that speaks it (connection.Family). A family calls the methods of
Daemon (operations.py, reports.py), which give plain data and raise frames.RefusedError.
"""

import asyncio
import contextlib
import errno
import functools
import gc
import os
import resource
import socket
import time
from collections.abc import Callable

from icehouse.server import frames, observers, telling
from icehouse.server.actions import Actions
from icehouse.server.ages import LeaseAges
from icehouse.server.config import Config
from icehouse.server.connection import Connection, Family
from icehouse.server.control import Control
from icehouse.server.handlers import Binary
from icehouse.server.holdings import Holdings
from icehouse.server.lifetimes import now_ns
from icehouse.server.logs import Log
from icehouse.server.measuring import Measures
from icehouse.server.parts import Keeper
from icehouse.server.readers import Readers
from icehouse.server.sessions import Session
from icehouse.server.tokens import Tokens

FAMILIES: dict[bytes, Callable[["Daemon", Connection], Family]] = {
    frames.BINARY: Binary,
    frames.CONTROL: Control,
}
ACCEPTED_AT_ONCE = 16
TICK = 1.0


class Daemon(Actions):
    """Made when the keeper has given what it holds; start() needs a running loop."""

    def __init__(self, config: Config, keeper: Keeper, log: Log) -> None:
        self.started = time.time()
        self.connections: set[Connection] = set()
        self.loop: asyncio.AbstractEventLoop | None = None
        self.readers: Readers | None = None
        self.listener: socket.socket | None = None
        self._accepting = False
        self._ticker: asyncio.TimerHandle | None = None
        # When the loop should come to the next tick.
        self._due = 0.0
        self._expiry: asyncio.TimerHandle | None = None
        self.measures = Measures(self)
        # The parent whose other children may only look; 0: there is none.
        self.keeper_pid = 0
        self.tokens = Tokens(config.admin_tokens, lambda wrong: log.error("tokens_refused", wrong))
        super().__init__(config, keeper, log)
        self.reaper.on_dying.append(self._ended)
        self.lease_ages = LeaseAges(self.catalog, self.sessions)

    def _ended(self, session: Session) -> None:
        """Tell of a process that has ended: in order, if it has closed its store before."""
        if self.events.followers:
            kind = "client_left" if self.catalog.is_closed(session.id) else "client_died"
            self.events.note(kind, session=session.id, pid=session.key.pid)

    # --- life ---

    def start(self, listener: socket.socket | None = None) -> None:
        """Serve from now on."""
        self.loop = asyncio.get_running_loop()
        self.readers = Readers(self.loop)
        self.listener = listener
        if listener is not None:
            listener.setblocking(False)  # noqa: FBT003
        self._accept_again()
        self._tick()

    def stop(self) -> None:
        """Close every connection and let go of everything; the keeper holds the store."""
        for timer in (self._ticker, self._expiry):
            if timer is not None:
                timer.cancel()
        self._pause_accepting()
        for connection in list(self.connections):
            connection.close("the daemon stops")
        if self.readers is not None:
            self.readers.close()
            self.readers = None
        self.close()

    # --- connections ---

    def _accept_again(self) -> None:
        if self.listener is not None and not self._accepting:
            assert self.loop is not None
            self.loop.add_reader(self.listener.fileno(), self._accept)
            self._accepting = True

    def _pause_accepting(self) -> None:
        if self._accepting:
            assert self.loop is not None
            assert self.listener is not None
            self.loop.remove_reader(self.listener.fileno())
            self._accepting = False

    def _accept(self) -> None:
        assert self.listener is not None
        assert self.loop is not None
        for _ in range(ACCEPTED_AT_ONCE):
            try:
                sock, _ = self.listener.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                # No descriptor left, most likely: the backlog waits until some are.
                self.log.warning("accept_failed", error=error.strerror)
                self.counters.refused_connections["system"] += 1
                if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM):
                    self._pause_accepting()
                    self.loop.call_later(0.2, self._accept_again)
                return
            self.add_connection(sock)

    def add_connection(self, sock: socket.socket) -> Connection | None:
        """Take a connected socket; None if there are too many."""
        assert self.loop is not None
        assert self.readers is not None
        limit = self.config.limits.connections_max
        if len(self.connections) >= limit:
            self.counters.refused_connections["limit"] += 1
            self.log.warning("too_many_connections", limit=limit)
            sock.close()
            return None
        try:
            connection = Connection(
                sock,
                self.loop,
                self.readers,
                {magic: functools.partial(make, self) for magic, make in FAMILIES.items()},
                self.config.limits,
                self.counters,
                self.log,
                self.connections.discard,
            )
        except OSError as error:
            self.log.warning("accept_failed", error=error.strerror)
            sock.close()
            return None
        self.counters.connections += 1
        connection.role = self.config.role_of(connection.uid, connection.groups)
        own = connection.uid == os.geteuid()
        if self.keeper_pid and own and observers.is_observer(connection.pid, self.keeper_pid):
            connection.observes = True
            connection.role = frames.Role.READER
        if not connection.role:
            self.counters.refused_connections["uid"] += 1
        self.connections.add(connection)
        return connection

    # --- what passes without a message ---

    def _tick(self) -> None:
        assert self.loop is not None
        now = self.loop.time()
        if self._due:
            self.counters.loop_delays.note(max(0.0, now - self._due))
        self._due = now + TICK
        self._ticker = self.loop.call_at(self._due, self._tick)
        try:
            self.tick()
        except Exception as error:
            self.counters.errors += 1
            self.log.error("internal_error", f"in a tick: {type(error).__name__}: {error}")

    def tick(self) -> None:
        """Look at everything that passes without a message."""
        now = time.monotonic()
        for connection in list(self.connections):
            connection.tick(now)
        self.reaper.look()
        self.expire_due()
        self.segments.drop_warm(now - self.config.limits.warm_seconds)
        if self.segments.evictable:
            self.room.sample()
        self.reaper.tick()
        self.reclaimer.wake()
        self.lease_ages.go_on()
        self.schedule_expiry()

    def schedule_expiry(self) -> None:
        """Wake up when the next time to live passes, if that is before the next tick."""
        due = self.lifetimes.next_expiry()
        if self._expiry is not None:
            self._expiry.cancel()
            self._expiry = None
        if due and self.loop is not None:
            wait = max((due - now_ns()) / 1e9, 0.0)
            if wait < TICK:
                self._expiry = self.loop.call_later(wait + 0.0005, self._expire)

    def _expire(self) -> None:
        self._expiry = None
        self.expire_due()
        self.schedule_expiry()


def raise_descriptor_limit() -> int:
    """Take as many descriptors as may be had; a segment takes one. How many that is."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        return hard
    return soft


async def main(config: Config, held: Holdings, listener: socket.socket) -> None:
    """Serve until cancelled."""
    log = Log("daemon", config.log_format, config.log_level)
    raise_descriptor_limit()
    began = time.monotonic()
    daemon = Daemon(config, held, log)
    daemon.keeper_pid = os.getppid()
    daemon.start(listener)
    # What lives now lives on: the collector need not look at it again.
    gc.collect()
    gc.freeze()
    held.ready()
    log.info(
        "serving",
        store=telling.identity(daemon),
        new=daemon.is_new,
        segments=len(daemon.segments.by_id),
        sessions=len(daemon.sessions.by_id),
        seconds=time.monotonic() - began,
    )
    try:
        await asyncio.get_running_loop().create_future()
    finally:
        daemon.stop()
