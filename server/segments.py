"""The segments of the store: what each is, who has it to write, and what they take up.

Order of a grant (H12): the file is committed, the keeper holds it, its range in the state map says
its id, and only then its producer is given a descriptor. Order of a drop: the range says that it is
gone, and then the keeper lets go. Killed in between, the next daemon finishes either.
"""

import asyncio
import contextlib
import os
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from icehouse.server import catalog as files
from icehouse.server.catalog import Catalog
from icehouse.server.counters import Counters
from icehouse.server.failpoints import failpoint
from icehouse.server.frames import DEDICATED, ORDINARY, RefusedError
from icehouse.server.journal import Ids
from icehouse.server.keys import SegmentKey
from icehouse.server.lifetimes import Lifetimes

PAGE = 4096
SMALLEST = 64 * 1024
# Below this a file is committed in less time than a thread takes to be asked.
QUICK_BYTES = 256 * 1024


def ordinary_room(size: int) -> int:
    """Bytes for blocks in an ordinary segment: behind its header and its start map."""
    return size - PAGE - (size // 64 // 8 + 63) // 64 * 64


def ordinary_size(least: int, wanted: int, most: int) -> int:
    """Give the size of an ordinary segment for a block of `least` bytes; 0: none is so large."""
    size = SMALLEST
    while size < wanted and size < most:
        size *= 2
    while ordinary_room(size) < least:
        size *= 2
    return size if size <= max(most, SMALLEST) else 0


def dedicated_size(image: int) -> int:
    """Give the size of a dedicated segment: a page for its header, then the image."""
    return (PAGE + image + PAGE - 1) // PAGE * PAGE


@dataclass(slots=True, eq=False)
class Segment:
    """One segment; its key says what does not change by itself."""

    key: SegmentKey
    fd: int
    made: float = field(default_factory=time.monotonic)
    warm_since: float = 0.0
    last_lease: float = field(default_factory=time.monotonic)
    # Its producer is going to put it under F_SEAL_WRITE.
    sealing: bool = False


class Segments:
    """All of them. `capacity` bounds `committed` and what is being made (`reserved`)."""

    def __init__(
        self,
        catalog: Catalog,
        lifetimes: Lifetimes,
        ids: Ids,
        counters: Counters,
        hold: Callable[[str, int], None],
        drop: Callable[[str], None],
        *,
        capacity: int,
        segment_size: int,
        unlink: Callable[[int], None],
    ) -> None:
        self.catalog = catalog
        self.lifetimes = lifetimes
        self.ids = ids
        self.counters = counters
        self._hold = hold
        self._drop = drop
        self.capacity = capacity
        self.segment_size = segment_size
        self._unlink = unlink
        self.by_id: dict[int, Segment] = {}
        self.by_session: dict[int, set[int]] = {}
        self.committed = 0
        self.reserved = 0
        self.spilled_bytes = 0
        # In the order in which they became warm.
        self.warm: dict[int, Segment] = {}
        self.warm_bytes = 0
        self.evictable: set[int] = set()
        # Where the machine is short of memory: descriptors and sizes of what is dropped. An idle
        # producer maps it until its next call, and so its memory would stay (H13).
        self.wrung: list[tuple[int, int]] | None = None

    # --- looking ---

    def of(self, session: int) -> set[int]:
        """Give the segments of a session."""
        return self.by_session.get(session, set())

    def ordinary_bytes(self, session: int) -> int:
        """Bytes of the ordinary segments of a session."""
        return sum(
            self.by_id[number].key.size
            for number in self.of(session)
            if self.by_id[number].key.kind == ORDINARY
        )

    def owner(self, locator: int) -> int:
        """Give the session that has the segment of a locator to write; 0: nobody."""
        segment = self.by_id.get(locator >> 24)
        return 0 if segment is None else segment.key.session

    # --- coming ---

    def know(self, segment: Segment) -> None:
        """Count a segment that the catalog has."""
        key = segment.key
        self.by_id[key.id] = segment
        self.by_session.setdefault(key.session, set()).add(key.id)
        if key.spilled:
            self.spilled_bytes += key.size
        else:
            self.committed += key.size
        if key.warm:
            self.warm[key.id] = segment
            self.warm_bytes += key.size
            segment.warm_since = time.monotonic()
        if key.evictable:
            self.evictable.add(key.id)

    def forget(self, segment: Segment) -> None:
        """Count it no more."""
        key = segment.key
        del self.by_id[key.id]
        mine = self.by_session[key.session]
        mine.discard(key.id)
        if not mine:
            del self.by_session[key.session]
        if key.spilled:
            self.spilled_bytes -= key.size
        else:
            self.committed -= key.size
        if self.warm.pop(key.id, None) is not None:
            self.warm_bytes -= key.size
        self.evictable.discard(key.id)

    async def make(
        self, kind: int, size: int, session: int, uid: int, pid: int, *, evictable: bool
    ) -> Segment:
        """Make a segment for a producer. Its bytes are counted as reserved by the caller."""
        what = files.File.ORDINARY if kind == ORDINARY else files.File.DEDICATED
        if size <= QUICK_BYTES:
            fd = files.make_file(what, size)
        else:
            loop = asyncio.get_running_loop()
            fd = await loop.run_in_executor(None, files.make_file, what, size)
        try:
            number = self.ids.give()
            state = self.catalog.take_range(kind, size)
        except BaseException:
            os.close(fd)
            raise
        try:
            key = SegmentKey(
                number,
                kind,
                size,
                session,
                uid,
                pid,
                secrets.token_bytes(16),
                state,
                evictable=evictable,
            )
            failpoint("grant.made")
            self._hold(str(key), fd)
            failpoint("grant.held")
            try:
                self.catalog.add_segment(key, fd, fresh=True)
            except BaseException:
                self._drop(str(key))
                raise
        except BaseException:
            self.catalog.give_range(kind, size, state)
            os.close(fd)
            raise
        failpoint("grant.added")
        segment = Segment(key, fd)
        self.know(segment)
        return segment

    def rekey(self, segment: Segment, key: SegmentKey) -> None:
        """Have the keeper hold it under another key of the same state offset."""
        old = segment.key
        self._hold(str(key), segment.fd)
        failpoint("rekey.held")
        self.forget(segment)
        segment.key = key
        self.know(segment)
        self._drop(str(old))
        failpoint("rekey.dropped")

    # --- warm ones ---

    def reuse(self, session: int, size: int, *, evictable: bool) -> tuple[int, Segment] | None:
        """Give a warm segment of the session a new id: its old id and itself.

        The tightest that wastes less than half of itself, as in an embedded store.
        """
        best: Segment | None = None
        for number in self.of(session):
            at = self.warm.get(number)
            if at is None or at.key.size < size or at.key.size // 2 > size:
                continue
            if best is None or at.key.size < best.key.size:
                best = at
        if best is None:
            return None
        old = best.key
        new = self.ids.give()
        key = old.but(id=new, warm=False, evictable=evictable)
        self._hold(str(key), best.fd)
        failpoint("reuse.held")
        self.catalog.rename(old.id, new)
        self.catalog.mark(new, kernel=False, warm=False)
        failpoint("reuse.renamed")
        self.forget(best)
        best.key = key
        best.made = best.last_lease = time.monotonic()
        self.know(best)
        self._drop(str(old))
        failpoint("reuse.dropped")
        self.counters.reused_segments += 1
        return old.id, best

    def seal(self, segment: Segment) -> None:
        """Note that the kernel keeps everybody from writing it."""
        self.rekey(segment, segment.key.but(kernel=True))
        self.catalog.mark(segment.key.id, kernel=True, warm=False)

    def empties(self, *, keep_warm: bool = True) -> int:
        """Take what holds nothing any more: keep it warm for its producer, or drop it; bytes."""
        dropped = 0
        while number := self.catalog.empty():
            segment = self.by_id[number]
            key = segment.key
            worth = (
                keep_warm
                and key.kind == DEDICATED
                and not (key.kernel or key.spilled)
                and number not in self.lifetimes.retired
                and self.warm_bytes + key.size <= self.capacity // 4
            )
            if worth:
                try:
                    self.rekey(segment, key.but(warm=True, evictable=False))
                    self.catalog.mark(number, kernel=False, warm=True)
                    continue
                except OSError:
                    pass
            dropped += key.size
            self.drop(segment)
        return dropped

    def drop_warm(self, older_than: float, most: int | None = None) -> int:
        """Drop warm segments that became so before then, oldest first; bytes."""
        dropped = 0
        for segment in list(self.warm.values()):
            if segment.warm_since > older_than or (most is not None and dropped >= most):
                break
            dropped += segment.key.size
            self.drop(segment)
        return dropped

    # --- going ---

    def drop(self, segment: Segment) -> None:
        """Give a segment back to the system; its range says so to everybody."""
        key = segment.key
        if key.id in self.lifetimes.retired and not key.spilled:
            self.counters.reclaimed_bytes_of_dead += key.size
        self.catalog.drop(key.id)
        failpoint("drop.gone")
        self.forget(segment)
        self._drop(str(key))
        failpoint("drop.dropped")
        if key.spilled:
            self._unlink(key.id)
        if self.wrung is not None and key.kind == DEDICATED and not (key.kernel or key.spilled):
            self.wrung.append((segment.fd, key.size))
        else:
            with contextlib.suppress(OSError):
                os.close(segment.fd)
        self.lifetimes.dropped(key.id)

    def retire(self, session: int) -> None:
        """Note that the producer is gone: nobody writes its segments any more (H8)."""
        for number in list(self.of(session)):
            segment = self.by_id[number]
            if segment.key.warm:
                self.counters.reclaimed_bytes_of_dead += segment.key.size
                self.drop(segment)
                continue
            self.lifetimes.retire(number)
            failpoint("reap.retired")
            self.catalog.retire(number)

    def hold_spilled(self, key: SegmentKey, fd: int) -> None:
        """Give the keeper the file of a segment that is to be replaced by it."""
        self._hold(str(key), fd)
        failpoint("spill.held")

    def unhold(self, key: SegmentKey) -> None:
        """Let the keeper forget that file."""
        self._drop(str(key))

    def replaced(self, segment: Segment, key: SegmentKey, fd: int) -> None:
        """Put a segment's file in its place. The keeper holds it under `key` already."""
        self.catalog.replace(key.id, fd)
        failpoint("spill.replaced")
        old, old_fd = segment.key, segment.fd
        self.forget(segment)
        segment.key, segment.fd = key, fd
        self.know(segment)
        self._drop(str(old))
        failpoint("spill.dropped")
        os.close(old_fd)

    def adopt(self, key: SegmentKey, fd: int) -> Segment:
        """Take up a segment that a former daemon left; its range is kept already."""
        try:
            self.catalog.add_segment(key, fd, fresh=False)
        except BaseException:
            self.catalog.give_range(key.kind, key.size, key.state)
            raise
        if key.spilled:
            with contextlib.suppress(RefusedError):
                # The former one may have been killed before clients were told to map the file.
                self.catalog.replace(key.id, fd)
        if key.warm or key.kernel:
            self.catalog.mark(key.id, kernel=key.kernel, warm=key.warm)
        segment = Segment(key, fd)
        self.know(segment)
        return segment
