"""What a person does to the store by hand: each in one step, so that nobody sees half of it."""

import time

from icehouse.server import frames
from icehouse.server.frames import DEDICATED, Figures, Handle, RefusedError, Result, Why
from icehouse.server.reports import Reports


class Actions(Reports):
    """Beside what clients ask for as they go (operations.py)."""

    def delete_named(self, name: str, *, force: bool) -> Handle:
        """Delete the image that a name is bound to, with the name, and give its handle.

        UNKNOWN: it is bound to nothing. CONFLICT, and nothing is changed: the image has other
        names, and `force` is not given.
        """
        handle, _ = self.names.lookup(name)
        if handle is None:
            raise RefusedError(Result.UNKNOWN, f"delete what {name!r} is bound to: it is not bound")
        self.delete_so_named(handle, name, force=force)
        return handle

    def delete_so_named(self, handle: Handle, name: str, *, force: bool) -> None:
        """Delete an image with its name; CONFLICT: it has others, or has lost this one."""
        self._living(handle, "delete an image")
        names = self.names.of(handle)
        if name not in names and not force:
            raise RefusedError(
                Result.CONFLICT,
                f"delete what {name!r} is bound to: it was bound anew; look it up and try again",
                version=self.names.lookup(name)[1],
            )
        others = [other for other in names if other != name]
        if others and not force:
            count = f"{len(others)} other name{'s' if len(others) > 1 else ''}"
            raise RefusedError(
                Result.CONFLICT,
                f"delete an image that has {count} than {name!r}: unbind them, or use force=True",
            )
        self.delete(handle, force=True)

    def rename(self, name: str, to: str, expected: int | None, pid: int) -> int:
        """Bind another name to what a name is bound to, and unbind that; the new name's version.

        Readers may see both for a moment, never neither.
        """
        frames.check_name(name)
        frames.check_name(to)
        handle, version = self.names.lookup(name)
        if handle is None:
            raise RefusedError(Result.UNKNOWN, f"rename {name!r}: it is not bound")
        if expected not in (None, version):
            raise RefusedError(
                Result.CONFLICT,
                f"rename {name!r}: it has version {version}, not {expected}",
                version=version,
            )
        taken, found = self.names.lookup(to)
        if taken is not None:
            raise RefusedError(
                Result.CONFLICT,
                f"rename {name!r} to {to!r}: something is bound to that; unbind it first",
                version=found,
            )
        new = self.bind(to, handle, 0, pid)
        self.bind(name, None, version, pid)
        return new

    def _unread(self, handle: Handle, attempt: str) -> None:
        """Refuse where an image has readers, or others link to it."""
        self._living(handle, attempt)
        leases = self.catalog.lessees(handle[0])[0]
        if leases:
            readers = f"{leases} process{'es read' if leases > 1 else ' reads'} it"
            raise RefusedError(Result.CONFLICT, f"{attempt}: {readers} now")
        if self.catalog.holds(handle[0]):
            raise RefusedError(Result.CONFLICT, f"{attempt}: other images link to it")

    def evict(self, handle: Handle) -> None:
        """Let an image go as if memory were short: one that was put for that, and nobody reads."""
        attempt = "evict an image"
        self._unread(handle, attempt)
        life = self.lifetimes.of(handle)
        if not self.segments.by_id[handle[0] >> 24].key.evictable:
            raise RefusedError(
                Result.INVALID, f"{attempt}: it was not put with evictable=True; delete it instead"
            )
        if life is not None and life.pinned:
            raise RefusedError(Result.CONFLICT, f"{attempt}: it is pinned")
        self.lifetimes.delete(handle, force=True, why=Why.EVICTED)
        self.reclaimer.kick()

    async def spill_image(self, handle: Handle) -> None:
        """Move an image to the spill folder; its segment must be its own, and nobody reads it."""
        attempt = "spill an image"
        if self.spill.folder is None:
            raise RefusedError(Result.INVALID, f"{attempt}: no spill folder is configured")
        self._living(handle, attempt)
        segment = self.segments.by_id[handle[0] >> 24]
        key = segment.key
        if key.spilled:
            return
        if key.kind != DEDICATED:
            raise RefusedError(
                Result.INVALID, f"{attempt}: it shares its segment, and only whole ones are spilled"
            )
        if key.kernel or segment.sealing:
            raise RefusedError(Result.INVALID, f"{attempt}: the kernel keeps it sealed in memory")
        self._unread(handle, attempt)
        room = self.spill.capacity - self.segments.spilled_bytes
        if key.size > room:
            raise RefusedError(
                Result.FULL,
                f"{attempt}: the spill folder has room for {max(room, 0)} bytes more",
                figures=Figures(wanted=key.size, capacity=self.spill.capacity),
            )
        if not await self.room.spill_one(segment):
            raise RefusedError(Result.SYSTEM, f"{attempt}: it can't be written; the log says why")

    def collect(self) -> int:
        """Free what is deleted and not leased, and spare segments; how many bytes went back."""
        before = self.segments.committed
        began = time.monotonic()
        self.trim()
        freed = max(before - self.segments.committed, 0)
        self.log.info("collected", bytes=freed, seconds=time.monotonic() - began)
        return freed
