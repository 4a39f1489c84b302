"""What is left of producers that went (H8, H9, H15).

Their segments retire, what nobody keeps of it becomes an orphan, and orphans go some time after
their last lease.
"""

import asyncio
import time
from collections.abc import Callable, Iterator

from icehouse.server.catalog import Catalog
from icehouse.server.counters import Counters
from icehouse.server.failpoints import failpoint
from icehouse.server.frames import RefusedError, Why
from icehouse.server.lifetimes import Lifetimes, now_ns
from icehouse.server.logs import Log
from icehouse.server.reclaim import Reclaimer
from icehouse.server.segments import Segments
from icehouse.server.sessions import Session, Sessions


class Reaper:
    """Looks for the dead once a second, and for orphans that are due."""

    def __init__(
        self,
        catalog: Catalog,
        lifetimes: Lifetimes,
        segments: Segments,
        sessions: Sessions,
        reclaimer: Reclaimer,
        counters: Counters,
        log: Log,
        *,
        orphan_ttl: float,
    ) -> None:
        self.catalog = catalog
        self.lifetimes = lifetimes
        self.segments = segments
        self.sessions = sessions
        self.reclaimer = reclaimer
        self.counters = counters
        self.log = log
        self.orphan_ns = int(orphan_ttl * 1e9)
        # How often each orphan is looked at; a lease that is shorter may be missed.
        self.period = max(0.25, min(60.0, orphan_ttl / 8))
        self._next_sweep = 0.0
        self._sweep: Iterator[None] | None = None
        self.on_dying: list[Callable[[Session], None]] = []
        self.on_dead: list[Callable[[Session], None]] = []

    # --- processes ---

    def look(self) -> None:
        """Reap every session whose process has gone, and lease tables that nobody has."""
        for session in [at for at in self.sessions.by_id.values() if self.sessions.is_dead(at)]:
            self.reap(session)
        for family in list(self.sessions.families.values()):
            self.sessions.drop_if_dead(family)

    def reap(self, session: Session) -> None:
        """Retire the segments of a dead session and forget it. Killed at any step, it is redone."""
        key = session.key
        began = time.perf_counter()
        closed = self.catalog.is_closed(session.id)
        for callback in self.on_dying:
            callback(session)
        connection, session.connection = session.connection, None
        if connection is not None:
            connection.close("its process has ended")
        numbers = set(self.segments.of(session.id))
        for locator, life in list(self.lifetimes.lives.items()):
            if life.fleeting and locator >> 24 in numbers:
                handle = (locator, life.nonce)
                if not self.lifetimes.is_kept(handle) and self.catalog.lives(handle):
                    self.lifetimes.delete(handle, force=False, why=Why.ORPHANED)
                    failpoint("reap.fleeting")
        self.segments.retire(session.id)
        self.sessions.forget(session)
        self.reclaimer.all()
        self.reclaimer.kick()
        self.counters.dead_clients += not closed
        self.counters.reclaim_times.note(time.perf_counter() - began)
        for callback in self.on_dead:
            callback(session)
        self.log.info(
            "session_ended",
            session=key.session,
            uid=key.uid,
            pid=key.pid,
            segments=len(numbers),
            closed=closed,
        )

    # --- orphans ---

    def tick(self) -> None:
        """Go on with a sweep, or begin one when it is time."""
        now = time.monotonic()
        if self._sweep is None:
            if not self.lifetimes.retired or now < self._next_sweep:
                return
            self._next_sweep = now + self.period
            self._sweep = self._sweep_all()
        self._go_on()

    def _go_on(self) -> None:
        if self._sweep is None:
            return
        deadline = time.monotonic() + 0.002
        for _ in self._sweep:
            if time.monotonic() > deadline:
                # Others have their turn.
                asyncio.get_running_loop().call_later(0.002, self._go_on)
                return
        self._sweep = None

    def _sweep_all(self) -> Iterator[None]:
        """Look at every image without a producer, a batch at a time."""
        deleted = False
        for number in list(self.lifetimes.retired):
            if number not in self.segments.by_id:
                continue
            for batch in self.catalog.images_of(number):
                for stat in batch:
                    deleted |= not stat.dying and self._look_at(stat.handle, stat.leases)
                yield
        self.lifetimes.forget_touches()
        if deleted:
            self.reclaimer.kick()

    def _look_at(self, handle: tuple[int, int], leases: int) -> bool:
        """Delete an orphan that is due; whether it was."""
        now = now_ns()
        since = self.lifetimes.retired.get(handle[0] >> 24)
        if since is None:
            return False
        if leases:
            self.lifetimes.touched[handle[0]] = now
            return False
        if now - max(since, self.lifetimes.touched.get(handle[0], 0)) < self.orphan_ns:
            return False
        if self.lifetimes.is_kept(handle):
            return False
        try:
            self.lifetimes.delete(handle, force=False, why=Why.ORPHANED)
        except RefusedError:
            return False
        failpoint("orphan.deleted")
        return True
