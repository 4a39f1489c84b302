"""Making room at capacity.

What is free already goes first, then warm segments, then images that were put with evictable=True,
least recently leased first (sampled once a second); then cold ones are spilled; else StoreFull.
"""

import asyncio
import os
import time

from icehouse.server.catalog import Catalog, Totals
from icehouse.server.counters import Counters
from icehouse.server.failpoints import failpoint
from icehouse.server.frames import DEDICATED, ORDINARY, Figures, RefusedError, Result, Why
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
    ) -> None:
        self.catalog = catalog
        self.lifetimes = lifetimes
        self.segments = segments
        self.reclaimer = reclaimer
        self.spill = spill
        self.counters = counters
        self.log = log
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

    def relieve(self) -> bool:
        """Give back what is not needed: the machine is short of memory, whatever the capacity."""
        self.reclaimer.all(keep_warm=False)
        if self.segments.drop_warm(float("inf")):
            return True
        return self._evict()

    def totals(self) -> Totals:
        """Give the figures of the store, a fifth of a second old at most."""
        now = time.monotonic()
        if now - self._totals_at > 0.2:
            self._totals = self.catalog.total()
            self._totals_at = time.monotonic()
        return self._totals

    def waiting(self, session: int) -> int:
        """Give the bytes that nobody uses and only this producer can use or give back (H7)."""
        free = sum(
            self.catalog.content(number).free_bytes
            for number in self.segments.of(session)
            if self.segments.by_id[number].key.kind == ORDINARY
        )
        return self.catalog.waiting(session) + free

    def full(self, wanted: int, attempt: str, asking: int = 0) -> RefusedError:
        """Make the refusal, with figures; what waits with the session that asks is its own."""
        totals = self.totals()
        waiting = {
            session: self.waiting(session)
            for session in self.segments.by_session
            if session and session != asking
        }
        most = max(waiting, key=waiting.__getitem__, default=0)
        self.counters.allocation_failures["full"] += 1
        figures = Figures(
            wanted=wanted,
            capacity=self.segments.capacity,
            used=totals.image_bytes + totals.dying_bytes,
            committed=self.segments.committed,
            largest_free=totals.largest_free,
            waiting=sum(waiting.values()),
            waiting_pid=self.pids.get(most, 0) if waiting.get(most) else 0,
        )
        return RefusedError(Result.FULL, attempt, figures=figures)

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

    async def _spill(self, segment: Segment) -> bool:
        old = segment.key
        loop = asyncio.get_running_loop()
        held = os.dup(segment.fd)
        try:
            reader = await loop.run_in_executor(None, self.spill.copy, old.id, held, old.size)
        except OSError as error:
            self.counters.spill_failures[error.strerror or "error"] += 1
            self.log.warning("spill_failed", error=error.strerror, segment=old.id)
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
        self.counters.spilled_bytes += old.size
        self.log.info("spilled", segment=old.id, bytes=old.size)
        return True
