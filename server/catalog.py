"""A thin face of native/arena/catalog.h and board.h: C results as exceptions, structs as tuples.

For the daemon's loop alone, but for make_file(), which takes long and is called in threads.
"""

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from icehouse.native._arena import ffi, lib
from icehouse.server.frames import PAGE_COUNTERS, Figures, Handle, RefusedError, Result
from icehouse.server.keys import SegmentKey
from icehouse.server.scans import EVERYTHING, RUN, STATS, Run, Scan

BATCH = 1024
FREED_BATCH = 4096


class File:
    """What make_file() makes."""

    STATE = 1
    FAMILY = 2
    PAGE = 3
    ORDINARY = 4
    DEDICATED = 5


class Stat(NamedTuple):
    """One image, as the catalog sees it."""

    handle: Handle
    size: int
    block: int
    created_ns: int
    leases: int
    dying: bool
    dedicated: bool
    kernel_sealed: bool
    image_header: bytes


class Content(NamedTuple):
    """What is in a segment."""

    images: int
    image_bytes: int
    dying: int
    dying_bytes: int
    free_bytes: int
    largest_free: int


class Totals(NamedTuple):
    """What is in the store."""

    segments: int
    images: int
    image_bytes: int
    dying: int
    dying_bytes: int
    queued: int
    ring: int
    leases: int
    families: int
    committed: int
    warm: int
    free_bytes: int
    largest_free: int


class Measured(NamedTuple):
    """What measure() gives; lists are in the order of the enumerations of catalog.h."""

    segments: list[int]
    objects: list[int]
    object_bytes: list[int]
    free_bytes: int
    free_runs: int
    largest_free: int
    longest_runs_bytes: int
    returning_bytes: int
    queued: int
    ring: int


def check(result: int, error: Any, attempt: str) -> None:
    """Raise what a result other than IH_OK means."""
    if result == Result.OK:
        return
    what = attempt
    code = 0
    figures = Figures()
    if error is not None:
        if error.what != ffi.NULL:
            what = ffi.string(error.what).decode()
        if detail := ffi.string(error.detail).decode("utf-8", "replace"):
            what = f"{what}: {detail}"
        code = error.system_errno
        figures = Figures(
            error.wanted,
            error.capacity,
            error.used,
            error.committed,
            error.largest_free,
            error.limit,
        )
    raise RefusedError(Result(result), what, system_errno=code, figures=figures)


def new_error() -> Any:
    """Make room for an ih_error."""
    return ffi.new("ih_error *")


def _fd(result: int, fd: Any, error: Any, attempt: str) -> int:
    check(result, error, attempt)
    return int(fd[0])


def make_file(what: int, size: int) -> int:
    """Make a memory file with the seals, mode and contents of its kind; the caller closes it."""
    fd, error = ffi.new("int *"), new_error()
    return _fd(lib.ih_catalog_make_file(what, size, fd, error), fd, error, "make a memory file")


def reopen(fd: int, *, writable: bool) -> int:
    """Make another description of the same file."""
    out, error = ffi.new("int *"), new_error()
    return _fd(lib.ih_catalog_reopen(fd, writable, out, error), out, error, "reopen a file")


def lock_member(fd: int, member: int) -> int:
    """Make a description of a lease table on which the member's byte is locked (H9)."""
    out, error = ffi.new("int *"), new_error()
    result = lib.ih_catalog_lock_member(fd, member, out, error)
    return _fd(result, out, error, "lock a member's byte")


def restrict(fd: int, mode: int) -> None:
    """Set a file's mode."""
    error = new_error()
    check(lib.ih_catalog_restrict(fd, mode, error), error, "restrict a file")


def release(fd: int, size: int) -> None:
    """Give the memory of a dropped segment back, although idle clients map it; takes long."""
    error = new_error()
    check(lib.ih_catalog_release(fd, size, error), error, "give a segment's memory back")


def is_sealed(fd: int) -> bool:
    """Whether a file is under F_SEAL_WRITE."""
    return bool(lib.ih_catalog_is_sealed(fd))


def default_capacity() -> int:
    """Give half of the cgroup's limit, or of the machine's memory."""
    return int(lib.ih_default_capacity())


class Catalog:
    """The segments, lease tables and pages of one daemon."""

    def __init__(self, state_fd: int, state_bytes: int) -> None:
        out, self._error = ffi.new("ih_catalog **"), new_error()
        result = lib.ih_catalog_create(state_fd, state_bytes, out, self._error)
        check(result, self._error, "map the state map")
        self._catalog = out[0]
        self._handle = ffi.new("ih_handle *")
        self._stat = ffi.new("ih_stat *")
        self._reply = ffi.new("ih_stat_reply *")
        self._reply_bytes = ffi.buffer(self._reply)
        self._dying = ffi.new("bool *")
        self._u64 = ffi.new("uint64_t *")
        self._size = ffi.new("size_t *")
        self._ages = ffi.new("ih_lease_ages *")
        self._batch = ffi.new("ih_stat[]", BATCH)
        self._scan = ffi.new("ih_scan *")
        self._freed = ffi.new("ih_handle[]", FREED_BATCH)
        self._freed_words = ffi.cast("uint64_t *", self._freed)

    def close(self) -> None:
        """Unmap everything; nothing that is shared is freed."""
        if self._catalog is not None:
            lib.ih_catalog_destroy(self._catalog)
            self._catalog = None

    def _at(self, handle: Handle) -> Any:
        self._handle.locator, self._handle.nonce = handle
        return self._handle[0]

    # --- segments ---

    def take_range(self, kind: int, size: int) -> int:
        """Take a range of the state map for a segment."""
        result = lib.ih_catalog_take_range(self._catalog, kind, size, self._u64, self._error)
        check(result, self._error, "take a range of the state map")
        return int(self._u64[0])

    def give_range(self, kind: int, size: int, state: int) -> None:
        """Give a range back for which no segment was added."""
        lib.ih_catalog_give_range(self._catalog, kind, size, state)

    def keep_range(self, kind: int, size: int, state: int) -> None:
        """Mark the range of a segment that a restart found as taken."""
        result = lib.ih_catalog_keep_range(self._catalog, kind, size, state)
        check(result, None, "keep a range of the state map")

    def add_segment(self, key: SegmentKey, fd: int, *, fresh: bool) -> None:
        """Map a segment; `fresh`: write its id into its range."""
        info = ffi.new("ih_segment_info *")
        info.id, info.bytes, info.state = key.id, key.size, key.state
        ffi.memmove(info.secret, key.secret, 16)
        info.session, info.kind, info.uid = key.session, key.kind, key.uid
        info.evictable, info.kernel_sealed = key.evictable, key.kernel
        info.spilled, info.warm = key.spilled, key.warm
        result = lib.ih_catalog_add_segment(self._catalog, info, fd, fresh, self._error)
        check(result, self._error, "add a segment")

    def content(self, segment: int, *, glance: bool = False) -> Content:
        """Walk one segment; or only glance at it: what its producer says, for figures."""
        out = ffi.new("ih_segment_content *")
        look = lib.ih_catalog_glance if glance else lib.ih_catalog_content
        check(look(self._catalog, segment, out), None, "look at what is in a segment")
        return Content(
            out.images,
            out.image_bytes,
            out.dying,
            out.dying_bytes,
            out.free_bytes,
            out.largest_free,
        )

    def retire(self, segment: int) -> None:
        """Note that a segment's producer is gone (H8)."""
        lib.ih_catalog_retire(self._catalog, segment)

    def rename(self, segment: int, new: int) -> None:
        """Give a warm segment a new id."""
        check(lib.ih_catalog_rename(self._catalog, segment, new), None, "rename a segment")

    def mark(self, segment: int, *, kernel: bool, warm: bool) -> None:
        """Note what became of a segment."""
        lib.ih_catalog_mark(self._catalog, segment, kernel, warm)

    def replace(self, segment: int, fd: int) -> None:
        """Go on with a file of the same contents; its range tells that it has moved."""
        result = lib.ih_catalog_replace(self._catalog, segment, fd, self._error)
        check(result, self._error, "move a segment to a file")

    def drop(self, segment: int) -> None:
        """Forget a segment; its range says so to everybody."""
        lib.ih_catalog_drop(self._catalog, segment)

    # --- families and pages ---

    def add_family(self, family: int, fd: int, blocks_max: int) -> None:
        """Map a lease table."""
        result = lib.ih_catalog_add_family(self._catalog, family, fd, blocks_max, self._error)
        check(result, self._error, "map a lease table")

    def drop_family(self, family: int) -> None:
        """Forget a lease table."""
        lib.ih_catalog_drop_family(self._catalog, family)

    def new_member(self, family: int) -> int:
        """Give a member number that was never used."""
        return int(lib.ih_catalog_new_member(self._catalog, family))

    def is_alive(self, family: int, member: int) -> bool:
        """Whether a member lives; member 0: any of the family."""
        return bool(lib.ih_catalog_is_alive(self._catalog, family, member))

    def leases(self, family: int) -> int:
        """Slots in use by living members."""
        return int(lib.ih_catalog_leases(self._catalog, family))

    def add_page(self, session: int, fd: int) -> None:
        """Map the page of a session."""
        result = lib.ih_catalog_add_page(self._catalog, session, fd, self._error)
        check(result, self._error, "map a session's page")

    def drop_page(self, session: int) -> None:
        """Forget the page of a session."""
        lib.ih_catalog_drop_page(self._catalog, session)

    def is_closed(self, session: int) -> bool:
        """Whether a process says that it has closed its store."""
        return bool(lib.ih_catalog_is_closed(self._catalog, session))

    def page_counters(self, session: int) -> list[int]:
        """Give puts, put_bytes, opens, maps, fulls and the sizes of puts, as the client says."""
        out = ffi.new("uint64_t[]", PAGE_COUNTERS)
        lib.ih_catalog_counters(self._catalog, session, out)
        return [int(count) for count in out]

    # --- images ---

    def _stat_of(self, stat: Any, *, dying: bool) -> Stat:
        return Stat(
            (stat.handle.locator, stat.handle.nonce),
            stat.size,
            stat.block,
            stat.created_ns,
            stat.leases,
            dying,
            stat.dedicated,
            stat.sealed_by_kernel,
            bytes(ffi.buffer(stat.image_header, 16)),
        )

    def find(self, handle: Handle) -> Stat | None:
        """Look an image up, without its leases; None: there is none. A dying one says so."""
        stat = self._stat
        self._dying[0] = False
        result = lib.ih_catalog_find(self._catalog, self._at(handle), stat, self._dying)
        if result == Result.OK:
            return self._stat_of(stat, dying=False)
        return self._stat_of(stat, dying=True) if self._dying[0] else None

    def reply(self, handle: Handle) -> Any:
        """Give an ih_stat_reply with what is known here, leases too; None: there is no such image.

        It is valid until the next call, and may be filled in; packed() gives its bytes.
        """
        if lib.ih_catalog_stat(self._catalog, self._at(handle), self._reply) != Result.OK:
            return None
        return self._reply

    def packed(self) -> bytes:
        """Give the bytes of the last reply()."""
        return bytes(self._reply_bytes)

    def lives(self, handle: Handle) -> bool:
        """Whether an image is there and is not dying."""
        return bool(
            lib.ih_catalog_find(self._catalog, self._at(handle), self._stat, ffi.NULL) == Result.OK
        )

    def size(self, handle: Handle) -> int:
        """Bytes of an image that lives; 0: there is none."""
        result = lib.ih_catalog_find(self._catalog, self._at(handle), self._stat, ffi.NULL)
        return int(self._stat.size) if result == Result.OK else 0

    def lessees(self, locator: int, room: int = 64) -> tuple[int, list[tuple[int, int]]]:
        """How many processes lease an image; families and members of some of them."""
        families = ffi.new("uint64_t[]", room)
        members = ffi.new("uint32_t[]", room)
        count = int(lib.ih_catalog_lessees(self._catalog, locator, families, members, room))
        return count, [(int(families[i]), int(members[i])) for i in range(min(count, room))]

    def leases_of(self, locators: Iterable[int]) -> dict[int, int]:
        """Count leases of at most BATCH images, in one scan of all tables: by locator."""
        ordered = sorted(set(locators))[:BATCH]
        for at, locator in enumerate(ordered):
            self._batch[at].handle.locator, self._batch[at].leases = locator, 0
        lib.ih_catalog_count_leases(self._catalog, self._batch, len(ordered))
        return {locator: int(self._batch[at].leases) for at, locator in enumerate(ordered)}

    def counted(self, stats: list[Stat]) -> list[Stat]:
        """Give them with their leases, as leases_of()."""
        leases = self.leases_of(stat.handle[0] for stat in stats)
        return [stat._replace(leases=leases[stat.handle[0]]) for stat in stats]

    def images(self, cursor: int, room: int = BATCH) -> list[Stat]:
        """Give the images after a locator, dying ones too."""
        room = min(room, BATCH)
        count = lib.ih_catalog_list(self._catalog, cursor, self._batch, room)
        return [self._stat_of(self._batch[i], dying=self._batch[i].dying) for i in range(count)]

    def images_of(self, segment: int) -> Iterator[list[Stat]]:
        """Give the images of a segment in batches; the segment may go between two of them."""
        cursor = segment << 24
        end = (segment + 1) << 24
        while True:
            batch = self.images(cursor, 256)
            mine = [stat for stat in batch if stat.handle[0] < end]
            if mine:
                yield mine
            if len(mine) < 256:
                return
            cursor = mine[-1].handle[0]

    def scan(
        self,
        wanted: Scan,
        cursor: int,
        *,
        looks: int,
        ns: int,
        room: int,
        best: bool = False,
        end: int = EVERYTHING,
        leases: bool = False,
    ) -> tuple[list[Stat], int]:
        """Give images behind a place, and where to go on; 0: that was all.

        The first `room`, or (`best`) those that come first in its order. Their leases are counted
        only if that is asked for (and not `best`): it takes a scan of all tables.
        """
        scan = self._scan
        scan.size_min, scan.size_max = wanted.size_min, wanted.size_max
        scan.created_min, scan.created_max = wanted.created_min, wanted.created_max
        scan.roots = wanted.roots
        ids = None if wanted.segments is None else ffi.new("uint64_t[]", wanted.segments or (0,))
        scan.segments = ffi.NULL if ids is None else ids
        scan.segments_count = 0 if wanted.segments is None else len(wanted.segments)
        scan.living, scan.dying = wanted.living, wanted.dying
        scan.sort, scan.best, scan.end = wanted.sort, best, end
        scan.after_key, scan.after_place = wanted.after
        scan.before_key, scan.before_place = wanted.before
        self._u64[0] = cursor
        count = lib.ih_catalog_scan(
            self._catalog, scan, self._u64, looks, ns, self._batch, min(room, BATCH)
        )
        if leases and not best:
            lib.ih_catalog_count_leases(self._catalog, self._batch, count)
        found = ffi.buffer(self._batch, count * STATS.size) if count else b""
        return [
            Stat((at, nonce), size, block, created, leased, dying, dedicated, sealed, header)
            for (
                at,
                nonce,
                size,
                block,
                created,
                leased,
                _,
                _,
                _,
                dying,
                dedicated,
                sealed,
                header,
            ) in STATS.iter_unpack(found)
        ], int(self._u64[0])

    def runs(
        self, segment: int, grain: int, cursor: int, *, looks: int, ns: int, room: int
    ) -> tuple[list[Run], int]:
        """Give what is where in a segment from an offset on, and where to go on; 0: all."""
        self._u64[0], self._size[0] = cursor, min(room, BATCH)
        out = ffi.new("ih_run[]", self._size[0])
        result = lib.ih_catalog_runs(
            self._catalog, segment, grain, self._u64, looks, ns, out, self._size
        )
        check(result, None, "look at a segment")
        found = ffi.buffer(out, self._size[0] * RUN.size) if self._size[0] else b""
        return [Run(*run[:9]) for run in RUN.iter_unpack(found)], int(self._u64[0])

    def leased_by(self, family: int, member: int) -> list[Handle]:
        """Give images that a process leases, some at least."""
        room = lib.IH_LEASED_BY_MAX
        count = lib.ih_catalog_leased_by(self._catalog, family, member, self._freed, room)
        return [(int(at.locator), int(at.nonce)) for at in self._freed[0:count]]

    def hold(self, locator: int) -> None:
        """Keep an image's memory, although it may be deleted."""
        check(lib.ih_catalog_hold(self._catalog, locator), None, "hold an image")

    def unhold(self, locator: int) -> None:
        """Take one hold away."""
        lib.ih_catalog_unhold(self._catalog, locator)

    def holds(self, locator: int) -> int:
        """How many holds an image has."""
        return int(lib.ih_catalog_holds(self._catalog, locator))

    def condemn(self, handle: Handle) -> bool:
        """Set an image's dying bit and queue it for reclaim; False: it is gone or dying."""
        result = lib.ih_catalog_condemn(self._catalog, self._at(handle), self._error)
        if result == Result.GONE:
            return False
        check(result, self._error, "delete an image")
        return True

    def revive(self, handle: Handle) -> bool:
        """Let a dying image live again; False: too late."""
        return bool(lib.ih_catalog_revive(self._catalog, self._at(handle)) == Result.OK)

    def reclaim(self, *, force: bool) -> list[Handle]:
        """Take one step; gives the images that are freed for good."""
        result = lib.ih_catalog_reclaim(self._catalog, force, self._freed, FREED_BATCH, self._size)
        check(result, None, "reclaim")
        count = int(self._size[0])
        if not count:
            return []
        words = ffi.unpack(self._freed_words, 2 * count)
        return list(zip(words[::2], words[1::2], strict=True))

    def empty(self) -> int:
        """Give a segment that may be dropped; 0: none."""
        return int(lib.ih_catalog_empty(self._catalog))

    def is_busy(self) -> bool:
        """Whether reclaim has work."""
        return bool(lib.ih_catalog_is_busy(self._catalog))

    def waiting(self, session: int) -> int:
        """Bytes that were freed and that a session has not given back."""
        return int(lib.ih_catalog_waiting(self._catalog, session))

    def leased(self, segments: list[int]) -> list[bool]:
        """For each segment whether anybody leases its image now."""
        if not segments:
            return []
        out = ffi.new("bool[]", len(segments))
        lib.ih_catalog_leased(self._catalog, ffi.new("uint64_t[]", segments), len(segments), out)
        return [bool(flag) for flag in out]

    def recover(self) -> None:
        """Take up what a former daemon left, after all is added."""
        check(lib.ih_catalog_recover(self._catalog, self._error), self._error, "recover")

    def total(self) -> Totals:
        """Walk everything."""
        out = ffi.new("ih_catalog_totals *")
        lib.ih_catalog_total(self._catalog, out)
        return Totals(*(getattr(out, field) for field in Totals._fields))

    def measure(self) -> Measured:
        """Measure without a walk: O(segments), a few words of each."""
        out = ffi.new("ih_catalog_figures *")
        lib.ih_catalog_measure(self._catalog, out)
        return Measured(
            segments=ffi.unpack(out.segments, 4),
            objects=ffi.unpack(out.objects, 4),
            object_bytes=ffi.unpack(out.object_bytes, 4),
            free_bytes=out.free_bytes,
            free_runs=out.free_runs,
            largest_free=out.largest_free,
            longest_runs_bytes=out.longest_runs_bytes,
            returning_bytes=out.returning_bytes,
            queued=out.queued,
            ring=out.ring,
        )

    def counter_sums(self) -> list[int]:
        """Sum up page_counters() of all sessions."""
        out = ffi.new("uint64_t[]", PAGE_COUNTERS)
        lib.ih_catalog_counter_sums(self._catalog, out)
        return ffi.unpack(out, PAGE_COUNTERS)  # type: ignore[no-any-return] # as cffi has it

    def lease_ages(self, family: int, now: int, room: int) -> tuple[list[int], int] | None:
        """Look at some more of a lease table: its leases by age and the oldest's; None: go on."""
        if not lib.ih_catalog_lease_ages(self._catalog, family, now, room, self._ages):
            return None
        return ffi.unpack(self._ages.leases, len(self._ages.leases)), int(self._ages.oldest)

    def check(self, *, honest: bool) -> str:
        """Check every invariant; the first violation, or nothing."""
        message = ffi.new("char[512]")
        result = lib.ih_catalog_check(self._catalog, honest, message, 512)
        if result == Result.OK:
            return ""
        return ffi.string(message).decode("utf-8", "replace") or "an invariant does not hold"
