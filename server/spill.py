"""Spilling: a dedicated segment that nobody leases moves into a file of the spill folder.

The file is the segment, byte by byte, so it is mapped as it is, read-only. Its handle stays the
same; its range in the state map tells that it has moved, and who reads it next asks where to.
"""

import contextlib
import errno
import os
from pathlib import Path

from icehouse.server.failpoints import failpoint
from icehouse.server.frames import RefusedError, Result

# Copied at a time; well below what is always left free in a cgroup (ih_room_take in segment.c).
CHUNK = 4 << 20


class Spill:
    """The folder; None where none is set."""

    def __init__(self, folder: str, capacity: int) -> None:
        self.folder = Path(folder) if folder else None
        self.capacity = capacity

    def open(self) -> None:
        """Make the folder if need be, and see that it is ours alone."""
        if self.folder is None:
            return
        try:
            self.folder.mkdir(mode=0o700, exist_ok=True)
            found = self.folder.lstat()
        except OSError as error:
            raise RefusedError(
                Result.SYSTEM,
                f"the spill folder {self.folder} can't be used: {error.strerror}",
                system_errno=error.errno or 0,
            ) from None
        if found.st_uid != os.geteuid() or not self.folder.is_dir() or self.folder.is_symlink():
            raise RefusedError(
                Result.SYSTEM,
                f"the spill folder {self.folder} belongs to uid {found.st_uid}, or is no folder:"
                " name one of the daemon's own user",
            )
        self.folder.chmod(0o700)

    def path(self, segment: int) -> Path:
        """Name the file of a segment."""
        assert self.folder is not None
        return self.folder / f"segment-{segment}.ih"

    def clean(self, keep: set[int]) -> int:
        """Remove what an older store, or a spill that was cut short, has left; how many files."""
        removed = 0
        if self.folder is not None:
            kept = {self.path(segment).name for segment in keep}
            for file in self.folder.glob("segment-*.ih"):
                if file.name not in kept:
                    with contextlib.suppress(OSError):
                        file.unlink()
                        removed += 1
        return removed

    def unlink(self, segment: int) -> None:
        """Remove the file of a segment; its readers keep what they map."""
        if self.folder is not None:
            with contextlib.suppress(OSError):
                self.path(segment).unlink()

    def copy(self, segment: int, fd: int, size: int) -> int:
        """Write the file of a segment and give a read-only descriptor of it; takes long.

        OSError (no space, ...) leaves nothing behind.
        """
        path = self.path(segment)
        with contextlib.suppress(FileNotFoundError):
            path.unlink()
        out = os.open(
            path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600
        )
        try:
            os.posix_fallocate(out, 0, size)
            done = 0
            while done < size:
                # From file to file: a buffer of ours would take memory where it is short already.
                count = os.sendfile(out, fd, done, min(CHUNK, size - done))
                if count == 0:
                    raise OSError(errno.EIO, "the segment is shorter than it was")
                # Pages that are not on disk yet count in that cgroup too, and can't be taken from
                # it.
                os.fdatasync(out)
                os.posix_fadvise(out, done, count, os.POSIX_FADV_DONTNEED)
                done += count
            failpoint("spill.copied")
            os.fchmod(out, 0o400)
            reader = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except BaseException:
            with contextlib.suppress(OSError):
                path.unlink()
            raise
        finally:
            os.close(out)
        return reader
