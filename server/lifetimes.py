"""How long images live, and how they went (H15).

A plain image has nothing here: only those with a pin, a time to live or links have, and those that
are linked and were deleted. The rules:

- An image lives until it is deleted. `delete` refuses while names are bound to it.
- A time to live that passes deletes it, names and all, unless it is pinned.
- An image in a segment whose producer is gone is an orphan: deleted `orphan_ttl` after its last
  lease, as sampled, unless it is named, pinned or linked.
- What an image links to keeps its memory for as long as that image has its own. A deleted image
  that gains a link lives again; with its last link it is deleted again.
"""

import heapq
import time
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

from icehouse.server.catalog import Catalog
from icehouse.server.counters import Counters
from icehouse.server.events import Events
from icehouse.server.failpoints import failpoint
from icehouse.server.frames import Handle, RefusedError, Result, Why, is_cell
from icehouse.server.journal import Journal, Kind, Record
from icehouse.server.names import Names

TOMBSTONES_MAX = 65536
NOBODY: Handle = (0, 0)

WORDS = {
    Why.UNKNOWN: "it was never put here, or so long ago that it was forgotten",
    Why.DELETED: "it was deleted",
    Why.EXPIRED: "its time to live passed",
    Why.EVICTED: "it was evicted for want of memory",
    Why.ORPHANED: "its producer went, and nobody named, pinned, linked or leased it",
}
# Looked up with each delete; an enum's name is computed each time.
NAMES = {int(why): why.name.lower() for why in Why}


@dataclass(slots=True)
class Life:
    """What there is to know of one image that is not plain."""

    nonce: int
    pinned: bool = False
    fleeting: bool = False
    expires_ns: int = 0
    links: tuple[Handle, ...] = ()
    doomed: int = 0
    """Why it was deleted before a link revived it."""

    @property
    def is_plain(self) -> bool:
        """Whether there is nothing to know after all."""
        return not (self.pinned or self.fleeting or self.expires_ns or self.links or self.doomed)


def described(name: str) -> str:
    """Give a name for a message: cells have none that means anything."""
    return "that of a shared field" if is_cell(name) else repr(name)


def now_ns() -> int:
    """Give the ns since the machine was started, its sleep included.

    Not the time of day: that jumps, and would take images with it. The store does not outlive the
    machine's run.
    """
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


def epoch_ns(moment: int) -> int:
    """Give the time of day of a moment that is told as now_ns() does; 0 stays 0.

    In whole ms: the clocks are not read at once, and who asks twice is told the same.
    """
    return min((moment - now_ns() + time.time_ns()) // 10**6 * 10**6, 2**63) if moment else 0


class Lifetimes:
    """Pins, times to live, links, tombstones."""

    def __init__(
        self, catalog: Catalog, journal: Journal, names: Names, counters: Counters
    ) -> None:
        self.catalog = catalog
        self.journal = journal
        self.names = names
        self.counters = counters
        self.lives: dict[int, Life] = {}
        # A plain dict would look for its first item past all that were deleted before it.
        self.tombstones: OrderedDict[Handle, int] = OrderedDict()
        self.heap: list[tuple[int, Handle]] = []
        # Segments without a producer, and since when.
        self.retired: dict[int, int] = {}
        # When an image of such a segment was last seen leased, or lost its last keeper.
        self.touched: dict[int, int] = {}
        self.linked_images = 0
        self.events = Events()

    # --- looking ---

    def of(self, handle: Handle) -> Life | None:
        """Give what there is to know of an image; None: nothing."""
        life = self.lives.get(handle[0])
        return life if life is not None and life.nonce == handle[1] else None

    def _need(self, handle: Handle) -> Life:
        life = self.of(handle)
        if life is None:
            life = self.lives[handle[0]] = Life(handle[1])
        return life

    def _tidy(self, handle: Handle) -> None:
        life = self.of(handle)
        if life is not None and life.is_plain:
            del self.lives[handle[0]]

    def why(self, handle: Handle) -> int:
        """How an image went, as far as we know."""
        return self.tombstones.get(handle, Why.UNKNOWN)

    def gone(self, handle: Handle, attempt: str) -> RefusedError:
        """Make the error for an image that is not there."""
        why = self.why(handle)
        return RefusedError(Result.GONE, f"{attempt}: {WORDS[Why(why)]}", why=why)

    def linked(self, handle: Handle) -> int:
        """How many images link to it."""
        return self.catalog.holds(handle[0])

    def is_kept(self, handle: Handle) -> bool:
        """Whether a name, a pin or a link keeps it when it has no producer."""
        life = self.of(handle)
        return bool(
            (life is not None and (life.pinned or life.doomed))
            or self.names.of(handle)
            or self.catalog.holds(handle[0])
        )

    # --- deleting ---

    def delete(self, handle: Handle, *, force: bool, why: int = Why.DELETED) -> None:
        """Delete an image; with `force` its names are unbound first."""
        names = self.names.of(handle)
        # condemn() finds that out too, but has a segment without a producer counted anew for it.
        if (names or handle[0] >> 24 in self.retired) and not self.catalog.lives(handle):
            raise self.gone(handle, "delete an image")
        if names:
            if not force:
                shown = ", ".join(map(described, islice(names, 5)))
                more = f" and {len(names) - 5} more" if len(names) > 5 else ""
                raise RefusedError(
                    Result.CONFLICT,
                    f"delete an image that has names: {shown}{more};"
                    " unbind them, or use force=True",
                )
            self.names.unbind_all(handle)
        if not self.catalog.condemn(handle):
            raise self.gone(handle, "delete an image")
        failpoint("delete.condemned")
        self._bury(handle, why)
        failpoint("delete.buried")

    def discard(self, handle: Handle) -> None:
        """Delete an image that nobody was told of: nobody will ask how it went."""
        if self.of(handle) is None and handle[0] >> 24 not in self.retired:
            if self.catalog.condemn(handle):
                self.counters.deletes[NAMES[Why.DELETED]] += 1
        elif self.catalog.lives(handle):
            self.delete(handle, force=False)

    def _bury(self, handle: Handle, why: int) -> None:
        self.journal.append(Kind.GONE, why, handle)
        self._entomb(handle, why)
        self.counters.deletes[NAMES[why]] += 1
        if self.events.followers:
            kind = "evict" if why == Why.EVICTED else "delete"
            self.events.note(kind, handle=handle, why=NAMES[why])
        life = self.of(handle) if self.lives else None
        if life is not None:
            life.pinned = life.fleeting = False
            life.expires_ns = life.doomed = 0
            self._tidy(handle)
        if self.touched:
            self.touched.pop(handle[0], None)

    def _entomb(self, handle: Handle, why: int) -> None:
        tombstones = self.tombstones
        tombstones[handle] = why
        tombstones.move_to_end(handle)
        if len(tombstones) > TOMBSTONES_MAX:
            tombstones.popitem(last=False)

    def freed(self, handles: list[Handle]) -> None:
        """Take note of images whose memory is free: their links count no more."""
        self.counters.reclaimed_images += len(handles)
        if not self.lives:
            return
        for handle in handles:
            life = self.of(handle)
            if life is None:
                continue
            self.journal.append(Kind.FREED, 0, handle)
            failpoint("reclaim.freed")
            del self.lives[handle[0]]
            for target in life.links:
                self._unlink(target)

    def _unlink(self, target: Handle) -> None:
        self.linked_images -= 1
        self.catalog.unhold(target[0])
        if self.catalog.holds(target[0]):
            return
        life = self.of(target)
        if life is not None and life.doomed:
            why = life.doomed
            if life.pinned or self.names.of(target):
                self._spare(target, life)
            elif self.catalog.condemn(target):
                self._bury(target, why)
        elif target[0] >> 24 in self.retired:
            self.touched[target[0]] = now_ns()

    def _spare(self, handle: Handle, life: Life) -> None:
        """Let a revived image, to which a pin or a name has come, be like any other."""
        life.doomed = 0
        self.journal.append(Kind.DOOMED, 0, handle, 0)
        self._tidy(handle)

    # --- what keeps it ---

    def pin(self, handle: Handle, *, pinned: bool) -> None:
        """Pin an image, or no longer."""
        life = self.of(handle)
        if pinned == (life is not None and life.pinned):
            return
        self.journal.append(Kind.PIN, 0, handle, int(pinned))
        failpoint("publish.pinned")
        self._need(handle).pinned = pinned
        if not pinned:
            self.touched_now(handle)
            life = self._need(handle)
            if life.expires_ns:
                # It may have passed while the pin kept the image.
                heapq.heappush(self.heap, (life.expires_ns, handle))
            self._tidy(handle)

    def touched_now(self, handle: Handle) -> None:
        """Start an orphan's time anew: it has just lost what kept it."""
        if handle[0] >> 24 in self.retired:
            self.touched[handle[0]] = now_ns()

    def fleeting(self, handle: Handle, *, fleeting: bool) -> None:
        """Let an image go with its producer, or no longer."""
        life = self.of(handle)
        if fleeting == (life is not None and life.fleeting):
            return
        self.journal.append(Kind.FLEETING, 0, handle, int(fleeting))
        self._need(handle).fleeting = fleeting
        self._tidy(handle)

    def expire(self, handle: Handle, ttl_ns: int) -> None:
        """Give an image a time to live from now on; 0: none."""
        expires = now_ns() + ttl_ns if ttl_ns else 0
        self.journal.append(Kind.TTL, 0, handle, min(expires, 2**63))
        failpoint("publish.ttl")
        self._set_expiry(handle, min(expires, 2**63))

    def _set_expiry(self, handle: Handle, expires: int) -> None:
        self._need(handle).expires_ns = expires
        if expires:
            heapq.heappush(self.heap, (expires, handle))
        else:
            self._tidy(handle)
        if len(self.heap) > 4096 and len(self.heap) > 4 * len(self.lives):
            self.heap = [
                (life.expires_ns, (locator, life.nonce))
                for locator, life in self.lives.items()
                if life.expires_ns
            ]
            heapq.heapify(self.heap)

    def next_expiry(self) -> int:
        """When something may have to go, as now_ns() tells it; 0: nothing does."""
        return self.heap[0][0] if self.heap else 0

    def expire_due(self, limit: int = 256) -> int:
        """Delete what has outlived its time, so many at most; how many."""
        now = now_ns()
        done = 0
        while self.heap and self.heap[0][0] <= now and done < limit:
            expires, handle = heapq.heappop(self.heap)
            life = self.of(handle)
            if life is None or life.expires_ns != expires or life.pinned:
                continue
            done += 1
            if self.catalog.lives(handle):
                self.delete(handle, force=True, why=Why.EXPIRED)
        return done

    # --- links ---

    def link(self, handle: Handle, targets: list[Handle]) -> None:
        """Note what an image links to. What was told before stays: a client may ask again."""
        life = self.of(handle)
        known = set(life.links) if life is not None else set()
        wanted = tuple(target for target in dict.fromkeys(targets) if target not in known)
        for target in wanted:
            if target == handle or self.catalog.find(target) is None:
                raise self.gone(target, "link to an image")
        for target in wanted:
            self._revive(target)
        for target in wanted:
            self.journal.append(Kind.LINK, 0, handle, *target)
            failpoint("publish.linked")
        if wanted:
            self._hold_all(handle, wanted)

    def _hold_all(self, handle: Handle, targets: tuple[Handle, ...]) -> None:
        for target in targets:
            self.catalog.hold(target[0])
        self.linked_images += len(targets)
        life = self._need(handle)
        life.links = (*life.links, *targets)

    def _revive(self, target: Handle) -> None:
        if self.catalog.lives(target):
            return
        why = self.why(target) or Why.DELETED
        # Said before it is done: a revived image that nothing dooms would live for ever.
        self.journal.append(Kind.DOOMED, why, target, 1)
        failpoint("publish.doomed")
        if not self.catalog.revive(target):
            self.journal.append(Kind.DOOMED, why, target, 0)
            raise self.gone(target, "link to an image")
        self.tombstones.pop(target, None)
        self._need(target).doomed = why

    # --- producers that went ---

    def retire(self, segment: int) -> None:
        """Note that a segment has no producer any more."""
        if segment not in self.retired:
            since = now_ns()
            self.journal.append(Kind.RETIRED, 0, NOBODY, segment, since)
            self.retired[segment] = since

    def dropped(self, segment: int) -> None:
        """Forget a segment that is no more."""
        self.retired.pop(segment, None)

    def forget_touches(self) -> None:
        """Forget when images of segments that are no more were touched."""
        for locator in [at for at in self.touched if at >> 24 not in self.retired]:
            del self.touched[locator]

    # --- restart ---

    def replay(self, records: Iterator[Record]) -> tuple[int, int]:
        """Take up what a former daemon noted; the highest id, and the floor of versions.

        Before the images are looked at: settle() does that.
        """
        ids = floor = 0
        for record in records:
            if record.kind == Kind.IDS:
                ids = max(ids, record.a)
            elif record.kind == Kind.FLOOR:
                floor = max(floor, record.a)
            elif record.kind == Kind.RETIRED:
                self.retired[record.a] = record.b
            elif record.kind in (Kind.DOOMED, Kind.GONE, Kind.FREED):
                self._replay_end(record)
            else:
                self._replay_life(record)
        return ids, floor

    def _replay_life(self, record: Record) -> None:
        life = self._need(record.handle)
        if record.kind == Kind.PIN:
            life.pinned = bool(record.a)
        elif record.kind == Kind.FLEETING:
            life.fleeting = bool(record.a)
        elif record.kind == Kind.TTL:
            life.expires_ns = record.a
        elif record.kind == Kind.LINK and (record.a, record.b) not in life.links:
            life.links = (*life.links, (record.a, record.b))

    def _replay_end(self, record: Record) -> None:
        handle = record.handle
        if record.kind == Kind.DOOMED:
            self._need(handle).doomed = record.flags if record.a else 0
            if record.a:
                self.tombstones.pop(handle, None)
            elif record.flags:
                self._entomb(handle, record.flags)
            return
        if record.kind == Kind.GONE:
            self._entomb(handle, record.flags)
        life = self.lives.pop(handle[0], None)
        if life is not None and life.nonce != handle[1]:
            self.lives[handle[0]] = life
        elif life is not None and record.kind == Kind.GONE:
            # What it links to it keeps until it is freed.
            self.lives[handle[0]] = Life(handle[1], links=life.links)

    def settle(self) -> None:
        """After a replay, with all segments there and before reclaim: hold what is linked."""
        self.linked_images = 0
        for locator, life in list(self.lives.items()):
            handle = (locator, life.nonce)
            found = self.catalog.find(handle)
            if found is None or (life.is_plain and not life.links):
                # Freed, or about to be by a producer who has it in his ring; or all was undone.
                del self.lives[locator]
                continue
            if found.dying:
                if life.doomed:
                    self._entomb(handle, life.doomed)
                life.doomed = life.expires_ns = 0
                life.pinned = life.fleeting = False
            links, life.links = life.links, ()
            if links:
                self._hold_all(handle, links)
            if life.expires_ns:
                heapq.heappush(self.heap, (life.expires_ns, handle))

    def settle_doomed(self) -> None:
        """After that, and after the catalog has recovered: delete again what no link keeps."""
        for locator, life in list(self.lives.items()):
            if life.links and self.catalog.find((locator, life.nonce)) is None:
                # Its producer has given it back since settle(): the catalog does not tell that.
                self.freed([(locator, life.nonce)])
        for locator, life in list(self.lives.items()):
            handle = (locator, life.nonce)
            if life.doomed and not self.catalog.holds(locator):
                # The image that revived it was not linked, or was freed, when the daemon died.
                why = life.doomed
                if self.catalog.condemn(handle):
                    self._bury(handle, why)
            self._tidy(handle)

    def records(self) -> Iterator[Record]:
        """Give what a new journal must say."""
        for handle, why in self.tombstones.items():
            yield Record(Kind.GONE, why, handle)
        for segment, since in self.retired.items():
            yield Record(Kind.RETIRED, 0, NOBODY, segment, since)
        for locator, life in self.lives.items():
            handle = (locator, life.nonce)
            for target in life.links:
                yield Record(Kind.LINK, 0, handle, *target)
            if life.pinned:
                yield Record(Kind.PIN, 0, handle, 1)
            if life.fleeting:
                yield Record(Kind.FLEETING, 0, handle, 1)
            if life.expires_ns:
                yield Record(Kind.TTL, 0, handle, life.expires_ns)
            if life.doomed:
                yield Record(Kind.DOOMED, life.doomed, handle, 1)
