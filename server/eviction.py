"""Making room at capacity.

What is free already goes first, then warm segments, then images that were put with evictable=True,
least recently leased first (sampled once a second); then cold ones are spilled; else StoreFull.
"""

import asyncio
import os
import time
from collections.abc import Awaitable, Callable

from icehouse.server import catalog as files
from icehouse.server.catalog import Catalog, Totals
from icehouse.server.counters import Counters
from icehouse.server.events import Events
from icehouse.server.failpoints import failpoint
from icehouse.server.frames import DEDICATED, ORDINARY, Figures, Handle, RefusedError, Result, Why
from icehouse.server.lifetimes import Lifetimes
from icehouse.server.logs import Log
from icehouse.server.reclaim import Reclaimer
from icehouse.server.segments import Segment, Segments
from icehouse.server.spill import Spill


class Room:
    """Reserves bytes of the capacity; one caller at a time makes room."""

    def __init__(
        self,
        catalog: Catalog,
        lifetimes: Lifetimes,
        segments: Segments,
        reclaimer: Reclaimer,
        spill: Spill,
        counters: Counters,
        log: Log,
        look: Callable[[], None],
        settle: Callable[[], None],
    ) -> None:
        """`look` reaps producers that went; `settle` waits until the keeper has let go too."""
        self._look = look
        self._settle = settle
        self.catalog = catalog
        self.lifetimes = lifetimes
        self.segments = segments
        self.reclaimer = reclaimer
        self.spill = spill
        self.counters = counters
        self.log = log
        self.events = Events()
        self._turn = asyncio.Lock()
        self.pids: dict[int, int] = {}
        self._totals = Totals(*[0] * len(Totals._fields))
        self._totals_at = float("-inf")

    def missing(self, size: int) -> int:
        """How many bytes must go before so many fit."""
        segments = self.segments
        return max(0, segments.committed + segments.reserved + size - segments.capacity)

    async def reserve(self, size: int, *, least: int, attempt: str, session: int) -> int:
        """Reserve `size` bytes; where they can't be had, less, but `least` at least.

        The caller gives back what is reserved when the segment is there, or is not made.
        """
        if self.missing(size):
            async with self._turn:
                # What is only wished for is not worth another's eviction.
                self._look()
                self.reclaimer.all(keep_warm=False)
                if missing := self.missing(size):
                    self.segments.drop_warm(float("inf"), missing)
                while self.missing(size) and size // 2 >= least:
                    size //= 2
                while self.missing(size):
                    if not (self._evict() or await self._spill_one()):
                        raise self.full(size, attempt, session)
        self.segments.reserved += size
        return size

    def spare(self) -> bool:
        """Give back what nobody needs: what the dead left, what is deleted, what is warm."""
        before = self.segments.committed
        self._look()
        self.reclaimer.all(keep_warm=False)
        self.segments.drop_warm(float("inf"))
        self._settle()
        return self.segments.committed < before

    def relieve(self) -> bool:
        """Give back what is not needed, or evict; False: there is no such thing."""
        if self.spare():
            return True
        evicted = self._evict()
        self._settle()
        return evicted

    async def commit(
        self,
        make: Callable[[int], Awaitable[Segment]],
        size: int,
        *,
        least: int,
        attempt: str,
        session: int,
    ) -> Segment:
        """Make a segment of `size` bytes where the machine has the memory, or a smaller one.

        What the capacity allows the machine may not have: then the same is given up in the same
        order as at capacity, until it has, or nothing is left to be given up.
        """
        try:
            return await make(size)
        except RefusedError as error:
            if error.result != Result.MEMORY:
                self.counters.allocation_failures[error.result.name.lower()] += 1
                raise
        async with self._turn:
            self.segments.wrung = []
            try:
                return await self._commit(make, size, least)
            except RefusedError as error:
                if error.result == Result.MEMORY:
                    raise self._short(error, least, attempt, session) from None
                raise
            finally:
                wrung, self.segments.wrung = self.segments.wrung, None
                for fd, _ in wrung:
                    os.close(fd)

    async def _commit(
        self, make: Callable[[int], Awaitable[Segment]], size: int, least: int
    ) -> Segment:
        while True:
            spared = self.spare()
            await self._wring()
            try:
                return await make(size)
            except RefusedError as error:
                if error.result != Result.MEMORY:
                    raise
                refused = error
            if size // 2 >= least:
                size //= 2
            elif self._evict() or await self._spill_one():
                self._settle()
            elif not spared:
                raise refused

    async def _wring(self) -> None:
        """Have the system take back what was dropped, in a thread: it takes long."""
        assert self.segments.wrung is not None
        dropped, self.segments.wrung = self.segments.wrung, []
        loop = asyncio.get_running_loop()
        for fd, size in dropped:
            try:
                await loop.run_in_executor(None, files.release, fd, size)
            except RefusedError as error:
                # It is sealed by now, or the like: its memory goes when the last map does.
                self.log.info("not_released", str(error))
            finally:
                os.close(fd)

    def totals(self) -> Totals:
        """Give the figures of the store, a fifth of a second old at most."""
        now = time.monotonic()
        if now - self._totals_at > 0.2:
            self._totals = self.catalog.total()
            self._totals_at = time.monotonic()
        return self._totals

    def waiting(self, session: int) -> int:
        """Give the bytes that nobody uses and only this producer can use or give back (H7)."""
        free = 0
        for number in self.segments.of(session):
            key = self.segments.by_id[number].key
            if key.kind == ORDINARY:
                # Blocks that the producer has cleared and not merged yet are nobody's either.
                content = self.catalog.content(number)
                free += max(0, key.size - content.image_bytes - content.dying_bytes)
        return self.catalog.waiting(session) + free

    def full(self, wanted: int, attempt: str, asking: int = 0) -> RefusedError:
        """Make the refusal for want of capacity, with figures."""
        self.counters.allocation_failures["full"] += 1
        self.events.note("full", size=wanted, session=asking, pid=self.pids.get(asking, 0))
        return RefusedError(Result.FULL, attempt, figures=self._figures(wanted, asking))

    def _short(self, error: RefusedError, wanted: int, attempt: str, asking: int) -> RefusedError:
        """Make the refusal for want of the machine's memory, with the same figures."""
        self.counters.allocation_failures["memory"] += 1
        self.events.note("full", size=wanted, session=asking, pid=self.pids.get(asking, 0))
        figures = self._figures(wanted, asking)._replace(limit=error.figures.limit)
        return RefusedError(
            Result.MEMORY, f"{attempt}: {error}", system_errno=error.system_errno, figures=figures
        )

    def _figures(self, wanted: int, asking: int) -> Figures:
        """Tell how full the store is; what waits with the session that asks is its own (H7)."""
        totals = self.totals()
        waiting = {
            session: self.waiting(session)
            for session in self.segments.by_session
            if session and session != asking
        }
        most = max(waiting, key=waiting.__getitem__, default=0)
        return Figures(
            wanted=wanted,
            capacity=self.segments.capacity,
            used=totals.image_bytes + totals.dying_bytes,
            committed=self.segments.committed,
            largest_free=totals.largest_free,
            waiting=sum(waiting.values()),
            waiting_pid=self.pids.get(most, 0) if waiting.get(most) else 0,
        )

    # --- eviction ---

    def sample(self) -> None:
        """Note who leases evictable images now."""
        numbers = list(self.segments.evictable)
        now = time.monotonic()
        for number, leased in zip(numbers, self.catalog.leased(numbers), strict=True):
            if leased:
                self.segments.by_id[number].last_lease = now

    def _coldest(self, candidates: list[Segment]) -> list[Segment]:
        """Give those whose image nobody leases now, coldest first."""
        candidates.sort(key=lambda segment: segment.last_lease)
        leased = self.catalog.leased([segment.key.id for segment in candidates])
        return [at for at, is_leased in zip(candidates, leased, strict=True) if not is_leased]

    def _evict(self) -> bool:
        """Free the image of one evictable segment; False: there is none."""
        candidates = [
            segment
            for number in self.segments.evictable
            if not ((segment := self.segments.by_id[number]).key.warm or segment.key.spilled)
        ]
        for segment in self._coldest(candidates):
            number = segment.key.id
            found = self.catalog.images(number << 24, 1)
            if not found or found[0].handle[0] >> 24 != number or found[0].dying:
                continue
            handle = found[0].handle
            life = self.lifetimes.of(handle)
            if (life is not None and life.pinned) or self.catalog.holds(handle[0]):
                continue
            before = self.segments.committed
            self.lifetimes.delete(handle, force=True, why=Why.EVICTED)
            failpoint("evict.deleted")
            self.reclaimer.all(keep_warm=False)
            failpoint("evict.reclaimed")
            if self.segments.committed < before:
                return True
        return False

    # --- spilling ---

    async def _spill_one(self) -> bool:
        """Move the coldest dedicated segment to the spill folder; False: none can be."""
        if self.spill.folder is None:
            return False
        candidates = [
            segment
            for segment in self.segments.by_id.values()
            if segment.key.kind == DEDICATED
            and not (segment.key.spilled or segment.key.warm or segment.key.kernel)
            and not segment.sealing
            and self.segments.spilled_bytes + segment.key.size <= self.spill.capacity
        ]
        candidates.sort(key=lambda segment: segment.made)
        for segment in self._coldest(candidates):
            if self.catalog.content(segment.key.id).images and await self._spill(segment):
                return True
        return False

    def _image_of(self, segment: int) -> Handle | None:
        found = self.catalog.images(segment << 24, 1)
        return found[0].handle if found and found[0].handle[0] >> 24 == segment else None

    async def spill_one(self, segment: Segment) -> bool:
        """Move this segment to the spill folder; False: it can't be written there."""
        async with self._turn:
            return await self._spill(segment)

    async def _spill(self, segment: Segment) -> bool:
        old = segment.key
        loop = asyncio.get_running_loop()
        held = os.dup(segment.fd)
        try:
            reader = await loop.run_in_executor(None, self.spill.copy, old.id, held, old.size)
        except OSError as error:
            self.counters.spill_failures["write"] += 1
            where = str(self.spill.folder)
            self.log.warning(
                "spill_failed", error=error.strerror, folder=where, segment=old.id, bytes=old.size
            )
            return False
        finally:
            os.close(held)
        # Others had their turn meanwhile.
        if (
            self.segments.by_id.get(old.id) is not segment
            or segment.key != old
            or not self.catalog.content(old.id).images
        ):
            os.close(reader)
            self.spill.unlink(old.id)
            return True
        try:
            key = old.but(spilled=True)
            self.segments.hold_spilled(key, reader)
        except OSError as error:
            self.counters.spill_failures["hold"] += 1
            self.log.warning("spill_failed", error=str(error), segment=old.id)
            os.close(reader)
            self.spill.unlink(old.id)
            return False
        try:
            self.segments.replaced(segment, key, reader)
        except RefusedError as error:
            # Others wrote the segment, or the file, while it was copied.
            self.counters.spill_failures["contents"] += 1
            self.log.warning("spill_failed", error=str(error), segment=old.id)
            self.segments.unhold(key)
            os.close(reader)
            self.spill.unlink(old.id)
            return False
        self.counters.spills += 1
        self.events.note("spill", size=old.size, pid=old.pid, handle=self._image_of(old.id))
        self.counters.spilled_bytes += old.size
        self.log.info("spilled", segment=old.id, bytes=old.size)
        return True
