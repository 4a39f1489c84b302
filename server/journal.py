"""The daemon's own memory file: pins, times to live, links, how images went.

Records of one size, each written before the count that makes it valid, so that a daemon that was
killed at any instant leaves whole records only. When the file is full, what still counts is written
into the next one, which takes its place when the keeper holds it: of two, the later counts.
"""

import errno
import mmap
import os
import struct
from collections.abc import Callable, Iterable, Iterator
from enum import IntEnum
from typing import NamedTuple

from icehouse.server.failpoints import failpoint
from icehouse.server.frames import Figures, Handle, RefusedError, Result
from icehouse.server.keys import NumberedKey

MAGIC = b"ihjournl"
VERSION = 1
HEAD = struct.Struct("<8sIIQ")
HEAD_BYTES = 64
COUNT = struct.Struct("<Q")
COUNT_AT = 16
RECORD = struct.Struct("<IIQQQQ")
FIRST_BYTES = 1 << 20


class Kind(IntEnum):
    """What a record says; `a` and `b` are its numbers."""

    IDS = 1
    """Ids below a may have been used."""
    PIN = 2
    """a: 1 pinned, 0 not."""
    TTL = 3
    """a: when, in ns since the epoch; 0: never."""
    LINK = 4
    """The image links to (a, b)."""
    RETIRED = 5
    """Segment a lost its producer at b, in ns since the epoch."""
    GONE = 6
    """Deleted; flags: why. What it links to it still keeps."""
    FREED = 7
    """Its memory is free: nothing of it counts any more."""
    FLOOR = 8
    """Versions of names not on the board are at least a."""
    FLEETING = 9
    """It goes with its producer."""
    DOOMED = 10
    """It lives only because it is linked; flags: why it was deleted before. a: 0: no longer so."""


class Record(NamedTuple):
    """One of them."""

    kind: int
    flags: int = 0
    handle: Handle = (0, 0)
    a: int = 0
    b: int = 0


class Journal:
    """Appends and replays. `hold` and `drop` are those of the keeper.

    `snapshot` gives the records that say all that counts now; it is set once it is known.
    """

    def __init__(
        self,
        hold: Callable[[str, int], None],
        drop: Callable[[str], None],
        number: int = 0,
        fd: int = -1,
    ) -> None:
        self.hold = hold
        self.drop = drop
        self.number = number
        self.snapshot: Callable[[], Iterable[Record]] = list
        self.compactions = 0
        if fd < 0:
            fd, area, size = self._make(FIRST_BYTES)
            self.number += 1
            self._give(self.number, fd, area)
        else:
            size = os.fstat(fd).st_size
            area = mmap.mmap(fd, size)
        self.fd, self._map = fd, area
        self.room = (size - HEAD_BYTES) // RECORD.size
        magic, version, _, count = HEAD.unpack_from(area)
        if magic != MAGIC or version != VERSION or count > self.room:
            self.close()
            raise RefusedError(Result.CORRUPT, f"journal {number} of the keeper is none of ours")
        self.count: int = count

    @staticmethod
    def _make(size: int) -> tuple[int, mmap.mmap, int]:
        fd = os.memfd_create("icehouse-journal", os.MFD_CLOEXEC)
        try:
            os.posix_fallocate(fd, 0, size)
            area = mmap.mmap(fd, size)
        except OSError as error:
            os.close(fd)
            raise RefusedError(
                Result.MEMORY,
                "make a larger journal",
                system_errno=error.errno or errno.ENOMEM,
                figures=Figures(wanted=size),
            ) from None
        HEAD.pack_into(area, 0, MAGIC, VERSION, 0, 0)
        return fd, area, size

    def _give(self, number: int, fd: int, area: mmap.mmap) -> None:
        """Let the keeper hold a fresh one; OSError: it can't, and the fresh one is gone."""
        try:
            self.hold(str(NumberedKey("journal", number)), fd)
        except OSError:
            area.close()
            os.close(fd)
            raise

    def append(
        self, kind: int, flags: int = 0, handle: Handle = (0, 0), a: int = 0, b: int = 0
    ) -> None:
        """Add a Record's fields; it counts when this returns."""
        if self.count == self.room:
            self.compact()
        RECORD.pack_into(
            self._map, HEAD_BYTES + self.count * RECORD.size, kind, flags, *handle, a, b
        )
        COUNT.pack_into(self._map, COUNT_AT, self.count + 1)
        self.count += 1

    def __iter__(self) -> Iterator[Record]:
        """Give all records, oldest first."""
        end = HEAD_BYTES + self.count * RECORD.size
        with memoryview(self._map) as view:
            for kind, flags, locator, nonce, a, b in RECORD.iter_unpack(view[HEAD_BYTES:end]):
                yield Record(kind, flags, (locator, nonce), a, b)

    def compact(self) -> None:
        """Write what still counts into the next journal, and let that take this one's place."""
        data = b"".join(
            RECORD.pack(kind, flags, *handle, a, b) for kind, flags, handle, a, b in self.snapshot()
        )
        # At least as much room as is used: the next compaction is as far away as this one is long.
        size = FIRST_BYTES
        while size < HEAD_BYTES + 2 * len(data) + RECORD.size:
            size *= 2
        fd, area, size = self._make(size)
        area[HEAD_BYTES : HEAD_BYTES + len(data)] = data
        COUNT.pack_into(area, COUNT_AT, len(data) // RECORD.size)
        failpoint("journal.written")
        self._give(self.number + 1, fd, area)
        failpoint("journal.held")
        old_fd, old_area, old = self.fd, self._map, str(NumberedKey("journal", self.number))
        self.fd, self._map = fd, area
        self.number += 1
        self.compactions += 1
        self.count = len(data) // RECORD.size
        self.room = (size - HEAD_BYTES) // RECORD.size
        old_area.close()
        os.close(old_fd)
        self.drop(old)
        failpoint("journal.dropped")

    def close(self) -> None:
        """Unmap it; the keeper holds it on."""
        self._map.close()
        os.close(self.fd)


class Ids:
    """Numbers that are never given twice, not even by the next daemon (H12)."""

    BATCH = 1024

    def __init__(self, journal: Journal, first: int) -> None:
        self.journal = journal
        self.next = first
        self.high = first

    def give(self) -> int:
        """Give the next one."""
        if self.next == self.high:
            self.journal.append(Kind.IDS, 0, (0, 0), self.high + self.BATCH)
            failpoint("ids.reserved")
            self.high += self.BATCH
        self.next += 1
        return self.next - 1
