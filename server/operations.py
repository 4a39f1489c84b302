"""What clients ask of the store, whichever family of frames they speak: plain data in and out.

Everything here runs on the loop. What refuses raises RefusedError. `handle` is (locator, nonce).
"""

import os
import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, NoReturn, TypeVar

from icehouse.server import catalog as files
from icehouse.server import frames
from icehouse.server.catalog import Stat
from icehouse.server.failpoints import failpoint
from icehouse.server.frames import (
    ANY_VERSION,
    DEDICATED,
    ORDINARY,
    WELCOME,
    Handle,
    RefusedError,
    Result,
    Role,
    Why,
)
from icehouse.server.handlers import Reply
from icehouse.server.lifetimes import WORDS, now_ns
from icehouse.server.parts import Parts
from icehouse.server.segments import Segment, dedicated_size, ordinary_size
from icehouse.server.sessions import Hello, Session

if TYPE_CHECKING:
    from icehouse.server.connection import Connection

Made = TypeVar("Made")
TTL_MAX_NS = 2**62
# More than any machine has, and far from where sums of sizes would overflow.
GRANT_MAX = 2**40


class Operations(Parts):
    """The store, as its clients see it."""

    # --- coming and going ---

    def denied(self, connection: "Connection", attempt: str, needed: Role) -> NoReturn:
        """Refuse, count and log what a peer's role does not allow."""
        self.counters.denied += 1
        role = Role(connection.role).name.lower()
        self.log.warning(
            "denied", uid=connection.uid, pid=connection.pid, attempt=attempt, role=role
        )
        raise RefusedError(
            Result.DENIED,
            f"{attempt}: uid {connection.uid} has the role {role} and needs {needed.name.lower()};"
            f" the daemon's configuration has roles.{needed.name.lower()}",
        )

    def welcome(self, hello: Hello, connection: "Connection") -> tuple[Session, bytes, list[int]]:
        """Begin or resume a session; the session, the welcome and the descriptors with it."""
        if connection.role < Role.READER:
            self.denied(connection, "connect", Role.READER)
        session, fds = self.relieved(lambda: self.sessions.welcome(hello, connection))
        self.room.pids[session.id] = connection.pid
        if hello.family == 0:
            fds += [files.reopen(self.state_fd, writable=False), self.board_fd()]
        family = self.sessions.families[session.key.family]
        board = self.names.board
        body = WELCOME.pack(
            frames.VERSION,
            session.role,
            self.identity,
            session.id,
            family.key.id,
            family.key.token,
            session.key.member,
            self.config.limits.lease_blocks_max,
            self.config.capacity,
            self.config.segment_size,
            self.state_bytes,
            frames.SESSION_BYTES,
            board.number,
            board.bytes,
        )
        if not hello.session:
            self.events.note("client_joined", session=session.id, pid=connection.pid)
        self.log.info(
            "session_resumed" if hello.session else "session_opened",
            session=session.id,
            uid=connection.uid,
            pid=connection.pid,
        )
        return session, body, fds

    def relieved(self, attempt: Callable[[], Made]) -> Made:
        """Try something once more if the machine had no memory for it and some could be freed."""
        try:
            return attempt()
        except RefusedError as error:
            if error.result != Result.MEMORY or not self.room.relieve():
                raise
        return attempt()

    def left(self, session: Session) -> None:
        """Note that a session has lost its connection: perhaps its process has ended."""
        if not session.dead and self.sessions.is_dead(session):
            self.reaper.reap(session)

    # --- segments ---

    def segment_reply(self, segment: Segment, session: Session, reuse: int = 0) -> bytes:
        """Describe a segment to a client."""
        key = segment.key
        flags = frames.SEGMENT_KERNEL if key.kernel else 0
        flags |= frames.SEGMENT_FILE if key.spilled else 0
        flags |= frames.SEGMENT_FOREIGN if key.uid != session.key.uid else 0
        return frames.SEGMENT_REPLY.pack(
            key.id, key.size, key.secret, key.state, reuse, key.kind, flags
        )

    async def grant(self, session: Session, size: int, kind: int, flags: int) -> Reply:
        """Give a session a segment to write: a block of `size` bytes, or an image, must fit."""
        self.counters.grants += 1
        evictable = bool(flags & frames.GRANT_EVICTABLE)
        if not 0 < size <= GRANT_MAX:
            raise self.room.full(size, f"grant a segment for {size} bytes")
        if kind == ORDINARY:
            wanted, least = self._ordinary_sizes(session, size)
        elif kind == DEDICATED:
            wanted = least = dedicated_size(size)
        else:
            raise RefusedError(Result.INVALID, f"grant a segment of kind {kind}")
        attempt = f"grant a segment of {least} bytes"
        if not least or least > self.config.capacity:
            raise self.room.full(max(size, least), attempt)
        limits = self.config.limits
        mine = len(self.segments.of(session.id))
        if mine >= limits.segments_per_session_max:
            raise self.room.full(
                least, f"{attempt}: limits.segments_per_session_max is reached ({mine})"
            )
        if len(self.segments.by_id) >= limits.segments_max:
            self.room.relieve()
            if len(self.segments.by_id) >= limits.segments_max:
                raise self.room.full(least, f"{attempt}: limits.segments_max is reached")
        if flags & frames.GRANT_FRESH:
            self._forget_offer(session)
        elif kind == DEDICATED and not flags & frames.GRANT_SEAL:
            reused = self.segments.reuse(session.id, wanted, evictable=evictable)
            if reused is not None:
                old, segment = reused
                session.offered = segment.key.id
                return self.segment_reply(segment, session, old), ()
        reserved = await self.room.reserve(wanted, least=least, attempt=attempt, session=session.id)
        try:
            segment = await self.room.commit(
                lambda size: self._make(session, kind, size, evictable=evictable),
                reserved,
                least=least,
                attempt=attempt,
                session=session.id,
            )
        finally:
            self.segments.reserved -= reserved
        segment.sealing = bool(flags & frames.GRANT_SEAL)
        if session.dead:
            self.segments.drop(segment)
            raise RefusedError(Result.UNAVAILABLE, f"{attempt}: the session has ended")
        self.counters.granted_bytes += segment.key.size
        return self.segment_reply(segment, session), [os.dup(segment.fd)]

    def _ordinary_sizes(self, session: Session, block: int) -> tuple[int, int]:
        """Give the size to wish for, and the least: segments grow as a session fills them."""
        most = self.config.segment_size
        wish = min(most, self.segments.ordinary_bytes(session.id))
        # A small store is not filled by the first who comes.
        wish = min(wish, self.config.capacity // 16)
        return ordinary_size(block, wish, most), ordinary_size(block, 0, most)

    async def _make(self, session: Session, kind: int, size: int, *, evictable: bool) -> Segment:
        key = session.key
        return await self.segments.make(
            kind, size, session.id, key.uid, key.pid, evictable=evictable
        )

    def _forget_offer(self, session: Session) -> None:
        """Drop the warm segment that was offered: nobody has it mapped any more."""
        segment = self.segments.by_id.get(session.offered)
        session.offered = 0
        if segment is not None and segment.key.session == session.id:
            content = self.catalog.content(segment.key.id)
            if not content.images and not content.dying:
                self.segments.drop(segment)

    def map(self, session: Session, handle: Handle, *, linked: bool) -> Reply:
        """Give a descriptor to read an image's segment with; through a link it may be dying."""
        found = self.catalog.find(handle)
        segment = self.segments.by_id.get(handle[0] >> 24)
        if found is None or (found.dying and not linked) or segment is None:
            raise self.lifetimes.gone(handle, "open an image")
        self.counters.maps += 1
        reader = files.reopen(segment.fd, writable=False)
        return self.segment_reply(segment, session), [reader]

    def take_back(self, session: Session, number: int) -> None:
        """Take an empty ordinary segment back from its producer."""
        segment = self._own_segment(session, number, "return a segment")
        content = self.catalog.content(number)
        if segment.key.kind != ORDINARY or content.images or content.dying:
            raise RefusedError(
                Result.INVALID, "return a segment that is not empty, or not ordinary"
            )
        self.segments.drop(segment)

    def take_unseen(self, session: Session, seen: int) -> None:
        """Drop what a session was granted and never learned of, since the reply was lost.

        Ids grow, and `seen` is the highest that a reply has brought it.
        """
        for number in [number for number in self.segments.of(session.id) if number > seen]:
            content = self.catalog.content(number)
            if not content.images and not content.dying:
                self.segments.drop(self.segments.by_id[number])

    def _own_segment(self, session: Session, number: int, attempt: str) -> Segment:
        segment = self.segments.by_id.get(number)
        if segment is None:
            raise RefusedError(Result.GONE, f"{attempt}: there is no segment {number}")
        if segment.key.session != session.id and not self._same_family(session, segment):
            # A producer that names what another has is broken, or worse.
            self.counters.protocol_errors += 1
            self.log.warning("not_own_segment", uid=session.key.uid, pid=session.key.pid)
            raise RefusedError(Result.DENIED, f"{attempt} of another producer")
        return segment

    def _same_family(self, session: Session, segment: Segment) -> bool:
        """Whether the segment's producer and this one were forked from each other."""
        other = self.sessions.by_id.get(segment.key.session)
        return other is not None and other.key.family == session.key.family

    # --- images ---

    def find(self, handle: Handle, *, leases: bool = False) -> Stat:
        """Look an image up; dying ones too."""
        found = self.catalog.find(handle)
        if found is None:
            raise self.lifetimes.gone(handle, "look at an image")
        if leases:
            found = found._replace(leases=self.catalog.lessees(handle[0])[0])
        return found

    def _living(self, handle: Handle, attempt: str) -> None:
        if not self.catalog.lives(handle):
            raise self.lifetimes.gone(handle, attempt)

    def delete(self, handle: Handle, *, force: bool) -> None:
        """Delete an image; CONFLICT while names are bound to it, unless `force` unbinds them."""
        self.lifetimes.delete(handle, force=force)
        self.reclaimer.kick()

    def delete_some(self, handles: Iterable[Handle], *, force: bool) -> list[int]:
        """Delete images; the result of each."""
        results = []
        for handle in handles:
            try:
                self.lifetimes.delete(handle, force=force)
            except RefusedError as error:
                results.append(int(error.result))
            else:
                results.append(0)
        self.reclaimer.kick()
        return results

    def drop(self, session: Session, handle: Handle) -> None:
        """Delete an image that was never put and has lost its last view, if nothing keeps it."""
        self._own_segment(session, handle[0] >> 24, "drop an image")
        life = self.lifetimes.of(handle)
        if (life is not None and life.pinned) or self.names.of(handle):
            return
        self.lifetimes.delete(handle, force=False)
        self.reclaimer.kick()

    def bind(
        self, name: str, handle: Handle | None, expected: int = ANY_VERSION, pid: int = 0
    ) -> int:
        """Bind a name to an image, or unbind it (None), by compare-and-swap; the new version."""
        frames.check_name(name, cells=True)
        if handle is not None:
            self._living(handle, f"bind the name {name!r}")
        before = self.names.lookup(name)[0]
        # A larger board may be needed, or a longer journal.
        version = self.relieved(lambda: self.names.bind(name, handle, expected, pid))
        self.counters.binds += 1
        if before is not None and before != handle:
            self._lost(name, before)
        return version

    def _lost(self, name: str, handle: Handle) -> None:
        """Look after an image that has lost a name; one that a cell has lost goes.

        Should the daemon die between the bind and this, that one image stays until its producer
        ends, and is an orphan then.
        """
        if frames.is_cell(name) and not self.names.of(handle):
            self.lifetimes.discard(handle)
            self.reclaimer.kick()
        else:
            self.lifetimes.touched_now(handle)

    def publish(
        self,
        session: Session,
        handle: Handle,
        *,
        flags: int,
        ttl_ns: int,
        links: list[Handle],
        name: str | None,
    ) -> int:
        """Note what a plain put does not tell. The name comes last: what it shows is complete."""
        self.counters.publishes += 1
        if flags & ~frames.PUBLISH_FLAGS or ttl_ns > TTL_MAX_NS:
            raise RefusedError(Result.INVALID, "publish an image with unknown flags, or for ever")
        self._living(handle, "publish an image")
        own = bool(links) or bool(
            flags & (frames.PUBLISH_SEALED | frames.PUBLISH_FLEETING | frames.PUBLISH_KEEP)
        )
        if own:
            segment = self._own_segment(session, handle[0] >> 24, "publish an image")
            if flags & frames.PUBLISH_SEALED:
                self._seal(segment)
        if links:
            self.lifetimes.link(handle, links)
        if flags & frames.PUBLISH_KEEP:
            self.lifetimes.fleeting(handle, fleeting=False)
        elif flags & frames.PUBLISH_FLEETING:
            self.lifetimes.fleeting(handle, fleeting=True)
        self.set_life(
            handle,
            ttl_ns=ttl_ns if flags & frames.PUBLISH_TTL else None,
            pinned={frames.PUBLISH_PIN: True, frames.PUBLISH_UNPIN: False}.get(
                flags & (frames.PUBLISH_PIN | frames.PUBLISH_UNPIN)
            ),
        )
        failpoint("publish.noted")
        return self.bind(name, handle, pid=session.key.pid) if name is not None else 0

    def _seal(self, segment: Segment) -> None:
        if segment.key.kind != DEDICATED or not files.is_sealed(segment.fd):
            raise RefusedError(
                Result.INVALID, "publish as sealed a segment that is not under F_SEAL_WRITE"
            )
        if not segment.key.kernel:
            self.segments.seal(segment)
        segment.sealing = False

    def set_life(
        self, handle: Handle, *, ttl_ns: int | None = None, pinned: bool | None = None
    ) -> None:
        """Give an image a time to live (0: none), or pin it, or not; None: as it is."""
        self._living(handle, "change how long an image lives")
        if pinned is not None:
            self.lifetimes.pin(handle, pinned=pinned)
        if ttl_ns is not None:
            self.lifetimes.expire(handle, ttl_ns)
        if ttl_ns or pinned is False:
            self.schedule_expiry()

    def schedule_expiry(self) -> None:
        """Look when the next time to live passes; the loop does."""

    def expire_due(self) -> None:
        """Delete what has outlived its time."""
        if self.lifetimes.expire_due():
            self.reclaimer.kick()

    def trim(self) -> None:
        """Free what is deleted and not leased, and give warm segments back to the system."""
        self.reclaimer.all(keep_warm=False)
        self.segments.drop_warm(float("inf"))

    def check(self) -> str:
        """Check every invariant; RefusedError with the first violation. What was looked at."""
        # A producer of another user may do to his segments what he likes: that is no fault here.
        own = os.geteuid()
        honest = all(segment.key.uid == own for segment in self.segments.by_id.values())
        wrong = self.catalog.check(honest=honest) or self.names.board.check() or self._check_parts()
        if wrong:
            self.counters.corruptions += 1
            self.log.error("check_failed", wrong)
            raise RefusedError(Result.CORRUPT, wrong)
        return ""

    def _check_parts(self) -> str:
        segments = self.segments
        committed = sum(
            segment.key.size for segment in segments.by_id.values() if not segment.key.spilled
        )
        if committed != segments.committed:
            return f"{segments.committed} bytes are counted as committed, {committed} are"
        if committed > segments.capacity:
            return f"{committed} bytes are committed, the capacity is {segments.capacity}"
        for name, (handle, _) in self.names.entries.items():
            if handle != (0, 0) and name not in self.names.of(handle):
                return f"the name {name!r} is bound to an image that does not know it"
        linked = sum(len(life.links) for life in self.lifetimes.lives.values())
        if linked != self.lifetimes.linked_images:
            return f"{self.lifetimes.linked_images} links are counted, {linked} are known"
        return ""

    # --- explaining ---

    def explain(self, handle: Handle) -> str:
        """Say why an image lives, or how it went, in sentences, one a line."""
        found = self.catalog.find(handle)
        if found is None:
            why = self.lifetimes.why(handle)
            return f"The image is gone: {WORDS[Why(why)]}."
        found = found._replace(leases=self.catalog.lessees(handle[0])[0])
        lines = [self._origin(found)]
        if found.dying:
            why = self.lifetimes.why(handle) or Why.DELETED
            lines.append(f"It can't be opened any more: {WORDS[Why(why)]}.")
        lines += self._keepers(found)
        return "\n".join(lines)

    def _origin(self, found: Stat) -> str:
        segment = self.segments.by_id[found.handle[0] >> 24]
        alive = segment.key.session in self.sessions.by_id
        made = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(found.created_ns / 1e9))
        place = "spilled to a file" if segment.key.spilled else "in memory"
        return (
            f"An image of {found.size} bytes, {place}, put by process {segment.key.pid}"
            f" (uid {segment.key.uid}{'' if alive else ', which has ended'}) at {made}."
        )

    def _keepers(self, found: Stat) -> list[str]:
        handle = found.handle
        life = self.lifetimes.of(handle)
        lines = []
        names, count = self.names.told_of(handle, 10)
        if count < len(self.names.of(handle)):
            lines.append("A shared field holds it.")
        if names:
            shown = ", ".join(map(repr, names))
            more = f" and {count - len(names)} more" if count > len(names) else ""
            lines.append(f"Bound to it: {shown}{more}.")
        if life is not None and life.pinned:
            lines.append("It is pinned.")
        if linked := self.lifetimes.linked(handle):
            lines.append(f"{linked} image{'s' if linked > 1 else ''} link to it.")
        if life is not None and life.links:
            lines.append(
                f"It links to {len(life.links)} image{'s' if len(life.links) > 1 else ''}."
            )
        if found.leases:
            pids = sorted(self.lessee_pids(handle[0]))
            lines.append(
                f"Under lease of {found.leases} process{'es' if found.leases > 1 else ''}"
                f"{': pid ' + ', '.join(map(str, pids)) if pids else ''}."
            )
        if found.dying:
            if not found.leases and not linked:
                lines.append("Its memory goes back as soon as its producer returns it.")
            return lines
        segment = self.segments.by_id[handle[0] >> 24]
        if life is not None and life.expires_ns:
            left = (life.expires_ns - now_ns()) / 1e9
            if life.pinned:
                lines.append("Its time to live counts again when it is no longer pinned.")
            else:
                lines.append(f"Its time to live ends in {max(left, 0.0):.1f} s.")
        if segment.key.evictable:
            lines.append("It may be evicted when memory is short.")
        if self.is_orphan(handle):
            lines.append(
                "It is an orphan: its producer has ended and nothing keeps it. It goes"
                f" {self.config.orphan_ttl:g} s after its last lease."
            )
        elif not self.names.of(handle) and not linked and not (life is not None and life.pinned):
            lines.append("It lives until it is deleted, or for a while after its producer ends.")
        return lines

    def lessee_pids(self, locator: int) -> set[int]:
        """Give the processes that hold an image, as far as they have sessions."""
        found = set()
        for family, member in self.catalog.lessees(locator)[1]:
            known = self.sessions.families.get(family)
            session = known.members.get(member) if known is not None else None
            if session is not None:
                found.add(session.key.pid)
        return found

    def is_listed(self, stat: Stat) -> bool:
        """Whether a list shows an image: a deleted one only while somebody keeps its memory."""
        return not stat.dying or stat.leases > 0 or self.catalog.holds(stat.handle[0]) > 0

    def is_orphan(self, handle: Handle) -> bool:
        """Whether an image has lost its producer and nothing keeps it."""
        return handle[0] >> 24 in self.lifetimes.retired and not self.lifetimes.is_kept(handle)
