"""Sessions and families: which processes there are, and when they have gone.

A session is one connected process; a family is one lease table, of a process and whatever was
forked from it (H9). A session outlives its connection: a client that lost it, or whose daemon was
killed, comes back with session, member and token (H14). It ends when the lock on the member's byte
is gone.
"""

import contextlib
import os
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from icehouse.server import catalog as files
from icehouse.server.catalog import Catalog
from icehouse.server.counters import Counters
from icehouse.server.failpoints import failpoint
from icehouse.server.frames import HELLO, SESSION_BYTES, VERSION, RefusedError, Result
from icehouse.server.journal import Ids
from icehouse.server.keys import FamilyKey, PageKey
from icehouse.server.logs import Log

if TYPE_CHECKING:
    from icehouse.server.connection import Connection


@dataclass(slots=True, eq=False)
class Session:
    """One process."""

    key: PageKey
    page_fd: int
    role: int
    connection: "Connection | None" = None
    opened: float = field(default_factory=time.time)
    resumed: int = 0
    dead: bool = False
    # The id under which a warm segment was last offered for reuse; 0: none.
    offered: int = 0

    @property
    def id(self) -> int:
        """Its number."""
        return self.key.session


@dataclass(slots=True, eq=False)
class Family:
    """One lease table."""

    key: FamilyKey
    fd: int
    members: dict[int, Session] = field(default_factory=dict)


@dataclass(slots=True, frozen=True)
class Hello:
    """What a client says of itself."""

    version: int
    pid: int
    session: int
    family: int
    token: bytes
    member: int

    @classmethod
    def parse(cls, body: bytes) -> "Hello":
        """Read an ih_hello."""
        return cls(*HELLO.unpack(body)[:6])


class Sessions:
    """All of them."""

    def __init__(
        self,
        catalog: Catalog,
        ids: Ids,
        counters: Counters,
        hold: Callable[[str, int], None],
        drop: Callable[[str], None],
        log: Log,
        *,
        sessions_max: int,
        per_uid_max: int,
        lease_blocks_max: int,
    ) -> None:
        self.catalog = catalog
        self.ids = ids
        self.counters = counters
        self._hold = hold
        self._drop = drop
        self.log = log
        self.sessions_max = sessions_max
        self.per_uid_max = per_uid_max
        self.lease_blocks_max = lease_blocks_max
        self.by_id: dict[int, Session] = {}
        self.families: dict[int, Family] = {}
        self.per_uid: dict[int, int] = {}

    # --- coming ---

    def welcome(self, hello: Hello, connection: "Connection") -> tuple[Session, list[int]]:
        """Give the session of a client, and the descriptors that belong to it (the caller's)."""
        if hello.version != VERSION:
            raise RefusedError(
                Result.PROTOCOL,
                f"the client speaks version {hello.version} of the protocol, the daemon {VERSION}:"
                " use the same release of icehouse for both",
            )
        if hello.family == 0:
            session, fds = self._open(connection)
        else:
            family = self.families.get(hello.family)
            if (
                family is None
                or not secrets.compare_digest(family.key.token, hello.token)
                or family.key.uid != connection.uid
            ):
                raise RefusedError(
                    Result.UNAVAILABLE,
                    "resume a session: the daemon does not know it (any more); connect() again",
                )
            session, fds = self._join(family, hello, connection)
        if session.connection is not None and session.connection is not connection:
            session.connection.close("the client has another connection")
        session.connection = connection
        session.role = connection.role
        return session, fds

    def _check_limits(self, uid: int) -> None:
        if len(self.by_id) >= self.sessions_max or self.per_uid.get(uid, 0) >= self.per_uid_max:
            self.counters.refused_connections["limit"] += 1
            raise RefusedError(
                Result.UNAVAILABLE,
                f"{len(self.by_id)} processes are connected, {self.per_uid.get(uid, 0)} of this"
                f" user; limits.sessions_max is {self.sessions_max},"
                f" limits.sessions_per_uid_max {self.per_uid_max}",
            )

    def _open(self, connection: "Connection") -> tuple[Session, list[int]]:
        self._check_limits(connection.uid)
        key = FamilyKey(self.ids.give(), connection.uid, secrets.token_bytes(16))
        fd = files.make_file(files.File.FAMILY, 0)
        held = False
        try:
            # A forked child opens the file anew, by its name under /proc.
            files.restrict(fd, 0o600 if connection.uid == os.geteuid() else 0o666)
            self._hold(str(key), fd)
            held = True
            failpoint("hello.family_held")
            self.catalog.add_family(key.id, fd, self.lease_blocks_max)
        except BaseException:
            os.close(fd)
            if held:
                self._drop(str(key))
            raise
        family = self.families[key.id] = Family(key, fd)
        lock = -1
        try:
            member = self.catalog.new_member(key.id)
            # The lock stands before the client has it: from here on it lives.
            lock = files.lock_member(fd, member)
            session = self._make_session(family, member, connection)
        except BaseException:
            if lock >= 0:
                os.close(lock)
            self._drop_family(family)
            raise
        return session, [lock, os.dup(session.page_fd)]

    def _make_session(self, family: Family, member: int, connection: "Connection") -> Session:
        key = PageKey(
            self.ids.give(),
            family.key.id,
            member,
            connection.uid,
            connection.gid,
            connection.pid,
            connection.role,
        )
        fd = files.make_file(files.File.PAGE, SESSION_BYTES)
        held = False
        try:
            self._hold(str(key), fd)
            held = True
            failpoint("hello.page_held")
            self.catalog.add_page(key.session, fd)
        except BaseException:
            os.close(fd)
            if held:
                self._drop(str(key))
            raise
        session = Session(key, fd, connection.role)
        self.know(session, family)
        self.counters.sessions += 1
        return session

    def know(self, session: Session, family: Family) -> None:
        """Count a session that the catalog has."""
        family.members[session.key.member] = session
        self.by_id[session.id] = session
        self.per_uid[session.key.uid] = self.per_uid.get(session.key.uid, 0) + 1

    def _join(
        self, family: Family, hello: Hello, connection: "Connection"
    ) -> tuple[Session, list[int]]:
        member = hello.member
        session = family.members.get(member)
        if hello.session:
            if session is None or session.id != hello.session:
                raise RefusedError(
                    Result.UNAVAILABLE,
                    "resume a session: the daemon does not know it (any more); connect() again",
                )
            session.resumed += 1
            self.counters.resumed += 1
            return session, []
        if session is not None:
            # The reply to the first hello of this child was lost.
            return session, [os.dup(session.page_fd)]
        if member == 0 or not self.catalog.is_alive(family.key.id, member):
            raise RefusedError(
                Result.PROTOCOL,
                f"join a lease table as its member {member}, whose byte is unlocked",
            )
        self._check_limits(connection.uid)
        session = self._make_session(family, member, connection)
        return session, [os.dup(session.page_fd)]

    # --- going ---

    def is_dead(self, session: Session) -> bool:
        """Whether its process has ended, or has executed another program."""
        return not self.catalog.is_alive(session.key.family, session.key.member)

    def forget(self, session: Session) -> None:
        """Let go of a session whose segments have retired."""
        session.dead = True
        counts = self.catalog.page_counters(session.id)
        totals = self.counters.dead_puts
        for at, count in enumerate(counts):
            totals[at] += count
        self.catalog.drop_page(session.id)
        self._drop(str(session.key))
        failpoint("reap.page_dropped")
        del self.by_id[session.id]
        self.per_uid[session.key.uid] -= 1
        if not self.per_uid[session.key.uid]:
            del self.per_uid[session.key.uid]
        with contextlib.suppress(OSError):
            os.close(session.page_fd)
        family = self.families[session.key.family]
        del family.members[session.key.member]
        self.drop_if_dead(family)

    def drop_if_dead(self, family: Family) -> bool:
        """Drop a lease table that no process has any more."""
        if family.members or self.catalog.is_alive(family.key.id, 0):
            return False
        self._drop_family(family)
        return True

    def _drop_family(self, family: Family) -> None:
        self.catalog.drop_family(family.key.id)
        self._drop(str(family.key))
        failpoint("reap.family_dropped")
        del self.families[family.key.id]
        with contextlib.suppress(OSError):
            os.close(family.fd)
