"""What the daemon tells of itself in the binary family (telling.py has the control family's)."""

from icehouse.server import frames
from icehouse.server.catalog import Stat
from icehouse.server.counters import COUNT_MAX
from icehouse.server.frames import STAT_REPLY, USAGE_REPLY, Handle
from icehouse.server.lifetimes import epoch_ns
from icehouse.server.operations import Operations


class Reports(Operations):
    """Packs what is looked at."""

    def stat_reply(self, handle: Handle) -> bytes:
        """Pack an ih_stat_reply; RefusedError: the image is gone."""
        reply = self.catalog.reply(handle)
        if reply is None:
            raise self.lifetimes.gone(handle, "look at an image")
        number = handle[0] >> 24
        reply.pid = self.segments.by_id[number].key.pid
        if names := self.names.of(handle):
            reply.names = len(names)
        life = self.lifetimes.of(handle)
        if life is not None:
            reply.expires_ns = epoch_ns(life.expires_ns)
            reply.links = len(life.links)
            reply.flags |= frames.STAT_PINNED if life.pinned else 0
        if number in self.lifetimes.retired and not self.lifetimes.is_kept(handle):
            reply.flags |= frames.STAT_ORPHAN
        return self.catalog.packed()

    def listed(self, stat: Stat) -> bytes:
        """Pack an ih_stat_reply for a list, whose leases were counted all at once."""
        handle = stat.handle
        segment = self.segments.by_id[handle[0] >> 24]
        key = segment.key
        life = self.lifetimes.of(handle)
        flags = frames.STAT_DYING if stat.dying else 0
        flags |= frames.STAT_DEDICATED if stat.dedicated else 0
        flags |= frames.STAT_KERNEL if stat.kernel_sealed else 0
        flags |= frames.STAT_EVICTABLE if key.evictable else 0
        flags |= frames.STAT_SPILLED if key.spilled else 0
        if life is not None and life.pinned:
            flags |= frames.STAT_PINNED
        if self.is_orphan(handle):
            flags |= frames.STAT_ORPHAN
        return STAT_REPLY.pack(
            *handle,
            stat.size,
            stat.block,
            stat.created_ns,
            epoch_ns(life.expires_ns) if life is not None else 0,
            stat.leases,
            len(self.names.of(handle)),
            len(life.links) if life is not None else 0,
            self.lifetimes.linked(handle),
            flags,
            key.pid,
            key.uid,
            0,
            stat.image_header,
        )

    def usage_reply(self) -> bytes:
        """Pack an ih_usage."""
        self.reclaimer.all()
        totals = self.catalog.total()
        # What is in a ring is free but for its producer's next allocation.
        returning = sum(map(self.catalog.waiting, self.sessions.by_id))
        puts, _, opens = self.client_counters()[:3]
        free = totals.free_bytes
        return USAGE_REPLY.pack(
            self.config.capacity,
            self.segments.committed,
            max(totals.image_bytes + totals.dying_bytes - returning, 0),
            free,
            totals.largest_free,
            self.segments.warm_bytes,
            totals.images,
            totals.dying,
            totals.dying_bytes,
            totals.leases,
            self.names.bound,
            len(self.segments.by_id),
            puts,
            opens,
            sum(self.counters.deletes.values()),
            1.0 - totals.largest_free / free if free else 0.0,
        )

    def client_counters(self) -> list[int]:
        """Sum up puts, put_bytes, opens, maps, fulls that clients counted, dead ones too.

        One may say that it counted any 64 bits: more than COUNT_MAX is told as that, which every
        form of a reply has room for.
        """
        sums = zip(self.counters.dead_puts, self.catalog.counter_sums(), strict=True)
        return [min(dead + now, COUNT_MAX) for dead, now in sums]
