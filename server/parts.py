"""The parts of a daemon, made anew or taken up from what a former daemon left with the keeper."""

import contextlib
import itertools
import os
import secrets
from collections.abc import Iterator
from typing import Protocol

from icehouse.server import catalog as files
from icehouse.server import recovery
from icehouse.server.board import Board
from icehouse.server.catalog import Catalog
from icehouse.server.config import Config
from icehouse.server.counters import Counters
from icehouse.server.events import Events
from icehouse.server.eviction import Room
from icehouse.server.failpoints import failpoint
from icehouse.server.frames import Handle, RefusedError
from icehouse.server.journal import Ids, Journal, Kind, Record
from icehouse.server.keys import NumberedKey, StateKey
from icehouse.server.lifetimes import Lifetimes
from icehouse.server.logs import Log
from icehouse.server.names import FIRST_NAMES, Names
from icehouse.server.reaper import Reaper
from icehouse.server.reclaim import Reclaimer
from icehouse.server.recovery import Inherited
from icehouse.server.segments import Segments
from icehouse.server.sessions import Family, Session, Sessions
from icehouse.server.spill import Spill


class Keeper(Protocol):
    """What holds descriptors: holdings.Holdings."""

    def all(self) -> list[tuple[str, int]]:
        """Give what a former daemon left, oldest first."""
        ...

    def hold(self, key: str, fd: int) -> None:
        """Return when the keeper has it; OSError."""

    def drop(self, key: str) -> None:
        """Let go of it."""

    def settle(self) -> None:
        """Return when it has let go of all that was dropped."""


def state_map_bytes(capacity: int) -> int:
    """Room for the ranges of twice the capacity, since ranges of several sizes leave gaps.

    It is sparse: what is not used takes nothing but addresses.
    """
    bits = 2 * capacity // 64 // 8
    heads = 64 * 2 * 65536
    return (bits + heads + (1 << 20) + 4095) // 4096 * 4096


class Parts:
    """All of them, and how they are taken up."""

    def __init__(self, config: Config, keeper: Keeper, log: Log) -> None:
        self.config = config
        self.keeper = keeper
        self.log = log
        self.counters = Counters()
        self.events = Events()
        self.spill = Spill(config.spill, config.spill_capacity)
        self.spill.open()
        found = recovery.sort(keeper.all(), keeper.drop)
        if not found.is_whole:
            if found.families or found.segments:
                log.error("store_lost", "the keeper holds parts of a store only; a new one begins")
            found.let_everything_go()
        self.is_new = found.state is None
        self._take_up(found)
        failpoint("recover.parts")
        self._take_up_sessions(found)
        self._take_up_segments(found)
        failpoint("recover.segments")
        self._settle()

    # --- what there is once ---

    def _take_up(self, found: Inherited) -> None:
        limits = self.config.limits
        if found.state is None:
            key = StateKey(secrets.token_bytes(16))
            self.state_bytes = state_map_bytes(self.config.capacity)
            self.state_fd = files.make_file(files.File.STATE, self.state_bytes)
            found.state = (key, self.state_fd)
            self.keeper.hold(str(key), self.state_fd)
            failpoint("start.state")
            self.journal = Journal(self.keeper.hold, self.keeper.drop)
            failpoint("start.journal")
            board = Board.create(1, FIRST_NAMES)
            self.keeper.hold(str(NumberedKey("board", 1)), board.fd)
            failpoint("start.board")
        else:
            assert found.journal is not None
            assert found.board is not None
            self.state_fd = found.state[1]
            self.state_bytes = os.fstat(self.state_fd).st_size
            number, fd = found.journal[0].number, found.journal[1]
            self.journal = Journal(self.keeper.hold, self.keeper.drop, number, fd)
            board = Board.attach(found.board[1], os.fstat(found.board[1]).st_size)
        for board_key, fd in found.old_boards:
            with contextlib.suppress(RefusedError):
                Board.attach(fd, os.fstat(fd).st_size).retire()
            found.let_go(board_key, fd)
        self.identity = found.state[0].identity
        self.state_reader = files.reopen(self.state_fd, writable=False)
        self._board_reader: tuple[int, int] = (0, -1)
        self.catalog = Catalog(self.state_fd, self.state_bytes)
        self.names = Names(
            board,
            self.journal,
            self.keeper.hold,
            self.keeper.drop,
            limits.names_max,
            self.catalog.size,
        )
        self.lifetimes = Lifetimes(self.catalog, self.journal, self.names, self.counters)
        self.names.events = self.lifetimes.events = self.events
        highest, self.names.floor = self.lifetimes.replay(iter(self.journal))
        # 40 bits; a random start, so that handles of two stores practically never meet.
        self.ids = Ids(self.journal, highest or 1 + secrets.randbelow(1 << 39))
        self.journal.snapshot = self._snapshot
        self._make_workers()

    def _make_workers(self) -> None:
        """Make what works on these."""
        limits = self.config.limits
        self.segments = Segments(
            self.catalog,
            self.lifetimes,
            self.ids,
            self.counters,
            self.keeper.hold,
            self.keeper.drop,
            capacity=self.config.capacity,
            segment_size=self.config.segment_size,
            unlink=self.spill.unlink,
        )
        self.reclaimer = Reclaimer(self.catalog, self.lifetimes, self.segments)
        self.room = Room(
            self.catalog,
            self.lifetimes,
            self.segments,
            self.reclaimer,
            self.spill,
            self.counters,
            self.log,
            look=lambda: self.reaper.look(),
            settle=self.keeper.settle,
        )
        self.room.events = self.events
        self.sessions = Sessions(
            self.catalog,
            self.ids,
            self.counters,
            self.keeper.hold,
            self.keeper.drop,
            self.log,
            sessions_max=limits.sessions_max,
            per_uid_max=limits.sessions_per_uid_max,
            lease_blocks_max=limits.lease_blocks_max,
        )
        self.reaper = Reaper(
            self.catalog,
            self.lifetimes,
            self.segments,
            self.sessions,
            self.reclaimer,
            self.counters,
            self.log,
            orphan_ttl=self.config.orphan_ttl,
        )

    def _snapshot(self) -> Iterator[Record]:
        ids = Record(Kind.IDS, a=self.ids.high)
        return itertools.chain([ids], self.names.records(), self.lifetimes.records())

    # --- what there are many of ---

    def _take_up_sessions(self, found: Inherited) -> None:
        for family_key, fd in found.families.values():
            try:
                self.catalog.add_family(family_key.id, fd, self.config.limits.lease_blocks_max)
            except RefusedError as error:
                self.counters.corruptions += 1
                self.log.error("family_lost", str(error), family=family_key.id)
                found.let_go(family_key, fd)
                continue
            self.sessions.families[family_key.id] = Family(family_key, fd)
        for page_key, fd in found.pages.values():
            family = self.sessions.families.get(page_key.family)
            if family is None:
                found.let_go(page_key, fd)
                continue
            self.catalog.add_page(page_key.session, fd)
            self.sessions.know(Session(page_key, fd, page_key.role), family)

    def _take_up_segments(self, found: Inherited) -> None:
        chosen = found.choose_segments()
        for key, _ in chosen:
            self.catalog.keep_range(key.kind, key.size, key.state)
        for key, fd in chosen:
            try:
                self.segments.adopt(key, fd)
            except RefusedError as error:
                self.counters.corruptions += 1
                self.log.error("segment_lost", str(error), segment=key.id)
                found.let_go(key, fd)
                continue
            self.counters.recovered_segments += 1
        self.spill.clean({key.id for key, _ in chosen if key.spilled})
        for session in list(self.segments.by_session):
            if session not in self.sessions.by_id:
                self.segments.retire(session)
        self.lifetimes.retired = {
            number: since
            for number, since in self.lifetimes.retired.items()
            if number in self.segments.by_id
        }

    def _settle(self) -> None:
        if self.is_new:
            return
        self.lifetimes.settle()
        self.catalog.recover()
        failpoint("recover.settled")
        self.lifetimes.settle_doomed()
        sizes: dict[Handle, int] = {}
        for name, (handle, _) in list(self.names.entries.items()):
            if handle == (0, 0):
                continue
            if handle not in sizes:
                sizes[handle] = self.catalog.size(handle)
            if not sizes[handle]:
                # Its segment was lost, or its producer has destroyed it.
                self.names.bind(name, None)
        for handle, size in sizes.items():
            if size:
                self.names.count(handle, size)
        self.reaper.look()
        self.reclaimer.all()
        failpoint("recover.done")

    # --- descriptors for clients ---

    def board_fd(self) -> int:
        """Give a read-only descriptor of the names board; the caller closes it."""
        board = self.names.board
        number, reader = self._board_reader
        if number != board.number:
            if reader >= 0:
                os.close(reader)
            self._board_reader = (0, -1)
            self._board_reader = (board.number, files.reopen(board.fd, writable=False))
        return os.dup(self._board_reader[1])

    def close(self) -> None:
        """Unmap and close everything; what the keeper holds stays."""
        self.reclaimer.stop()
        self.events.stop()
        self.catalog.close()
        self.names.board.close()
        self.journal.close()
        fds = [self.state_fd, self.state_reader, self._board_reader[1]]
        fds += [segment.fd for segment in self.segments.by_id.values()]
        fds += [session.page_fd for session in self.sessions.by_id.values()]
        fds += [family.fd for family in self.sessions.families.values()]
        for fd in fds:
            with contextlib.suppress(OSError):
                os.close(fd)
