"""Names: the private index of the board's only writer, and who watches.

The board (native/arena/board.h) is what clients read and what survives; this is rebuilt from it.
"""

import bisect
import itertools
from collections.abc import Callable, Collection, Iterator

from icehouse.server.bindings import Bindings
from icehouse.server.board import Board
from icehouse.server.events import Events
from icehouse.server.failpoints import failpoint
from icehouse.server.frames import (
    ANY_VERSION,
    Figures,
    Handle,
    RefusedError,
    Result,
    is_cell,
)
from icehouse.server.history import History
from icehouse.server.journal import Journal, Kind, Record
from icehouse.server.keys import NumberedKey
from icehouse.server.namespaces import Namespaces

NOBODY: Handle = (0, 0)
FIRST_NAMES = 1024
INSORTED_MAX = 64
# Names of one page that are looked at: others wait meanwhile, and most may be unbound.
LOOKS_MAX = 4096

Bound = tuple[str, Handle, int]
"""A name, what it is bound to, its version."""
Watcher = Callable[[str, Handle | None, int], None]


class Names:
    """Text -> handle and version."""

    def __init__(
        self,
        board: Board,
        journal: Journal,
        hold: Callable[[str, int], None],
        drop: Callable[[str], None],
        names_max: int,
        size_of: Callable[[Handle], int],
    ) -> None:
        self.board = board
        self.journal = journal
        self.hold = hold
        self.drop = drop
        self.names_max = names_max
        self.size_of = size_of
        self.namespaces = Namespaces()
        self.floor = 0
        # Of every entry of the board, unbound ones (NOBODY) too: their versions count.
        self.entries: dict[str, tuple[Handle, int]] = {}
        self.bindings = Bindings()
        self.bound = 0
        self.changes = 0
        self.history = History()
        self.events = Events()
        # Names in order, and those that came since: who binds many need not wait for their order.
        self._sorted: list[str] = []
        self._fresh: list[str] = []
        self.watchers: dict[str, set[Watcher]] = {}
        for name, handle, version in board.entries():
            self.entries[name] = (handle, version)
            if handle != NOBODY:
                # Its segment is not there yet: count() counts it.
                self.bindings.add(handle[0], name)
                self.bound += 1
        # A daemon that starts anew has nobody waiting yet.
        self._sorted = sorted(self.entries)

    def count(self, handle: Handle, size: int) -> None:
        """Count the names of an image that were on the board, now that it is there. O(names)."""
        for name in self.of(handle):
            self.namespaces.gained(name, handle[0], size)

    # --- looking ---

    def of(self, handle: Handle) -> Collection[str]:
        """Give the names of an image; not to be kept over a change of them. O(1)."""
        return self.bindings.of(handle[0])

    def told_of(self, handle: Handle, most: int) -> tuple[tuple[str, ...], int]:
        """Give the first names that users may know, not that of a cell, and how many there are."""
        return self.bindings.told(handle[0], most)

    def lookup(self, name: str) -> tuple[Handle | None, int]:
        """Give what a name is bound to, and its version; (None, the last version) if it is not."""
        handle, version = self.entries.get(name, (NOBODY, 0))
        return (None if handle == NOBODY else handle), version

    def _sort(self) -> None:
        """Put the new names where they belong."""
        fresh, self._fresh = self._fresh, []
        if len(fresh) < INSORTED_MAX:
            for name in fresh:
                bisect.insort(self._sorted, name)
        else:
            # What is in order already is passed over quickly.
            self._sorted += sorted(fresh)
            self._sorted.sort()

    def page(self, prefix: str, after: str, count: int) -> tuple[list[Bound], str]:
        """Give bound names in order, those with the prefix, behind `after`; and where to go on.

        There may be fewer than `count`, and yet more behind; "": that was all. O(LOOKS_MAX).
        """
        self._sort()
        at = bisect.bisect_left(self._sorted, prefix)
        if after:
            at = max(at, bisect.bisect_right(self._sorted, after))
        found: list[Bound] = []
        for name in itertools.islice(self._sorted, at, at + LOOKS_MAX):
            if not name.startswith(prefix):
                return found, ""
            handle, version = self.entries[name]
            if handle != NOBODY and not is_cell(name):
                found.append((name, handle, version))
                if len(found) == count:
                    return found, name
        more = at + LOOKS_MAX < len(self._sorted)
        return found, self._sorted[at + LOOKS_MAX - 1] if more else ""

    # --- binding ---

    def bind(
        self, name: str, handle: Handle | None, expected: int = ANY_VERSION, pid: int = 0
    ) -> int:
        """Bind a name, or unbind it (None), if its version is the expected one; the new version.

        As ih_bind() of arena.h: 0 expects "not bound". The caller has seen that the image lives.
        `pid` is who asked for it.
        """
        before, version = self.entries.get(name, (NOBODY, 0))
        found = 0 if before == NOBODY else version
        if expected not in (ANY_VERSION, found):
            raise RefusedError(
                Result.CONFLICT,
                f"the name {name!r} was bound anew: it has version {found}, not {expected};"
                " look it up and try again",
                version=found,
            )
        if handle is None and before == NOBODY:
            return version
        after = handle or NOBODY
        if before == NOBODY and self.bound >= self.names_max:
            raise RefusedError(
                Result.FULL,
                f"the store has {self.bound} names, and limits.names_max allows no more",
                figures=Figures(wanted=1, capacity=self.names_max, used=self.bound),
            )
        new = max(version, self.floor if name not in self.entries else 0) + 1
        self._write(name, after, new)
        failpoint("bind.written")
        self._moved(name, before, after, new)
        if not is_cell(name):
            self.history.note(name, handle, new, pid)
            self.events.note("bind", handle=handle, name=name, pid=pid)
        return new

    def _write(self, name: str, handle: Handle, version: int) -> None:
        data = name.encode()
        if not self.board.set(data, handle, version):
            self._enlarge()
            if not self.board.set(data, handle, version):
                raise RefusedError(Result.FULL, "a fresh names board has no room for a name")

    def _moved(self, name: str, before: Handle, after: Handle, version: int) -> None:
        if name not in self.entries:
            self._fresh.append(name)
        self.entries[name] = (after, version)
        self.changes += 1
        if before != NOBODY:
            self.namespaces.lost(name, before[0])
            self.bindings.remove(before[0], name)
            self.bound -= 1
        if after != NOBODY:
            self.namespaces.gained(name, after[0], self.size_of(after))
            self.bindings.add(after[0], name)
            self.bound += 1
        for watcher in tuple(self.watchers.get(name, ())):
            watcher(name, None if after == NOBODY else after, version)

    def unbind_all(self, handle: Handle) -> None:
        """Unbind every name of an image."""
        for name in tuple(self.of(handle)):
            self.bind(name, None)
            failpoint("delete.unbound")

    # --- boards ---

    def _enlarge(self) -> None:
        """Copy what is bound to a larger board, which takes this one's place.

        Unbound names are kept for their versions, unless they are the majority: then they are
        forgotten, and `floor` makes every later version of such a name higher than any it had.
        """
        keep = {name: entry for name, entry in self.entries.items() if entry[0] != NOBODY}
        if len(self.entries) <= 2 * len(keep):
            keep = self.entries
        else:
            highest = max(version for _, version in self.entries.values())
            self.journal.append(Kind.FLOOR, 0, NOBODY, max(self.floor, highest))
            self.floor = max(self.floor, highest)
        room = max(FIRST_NAMES, 2 * len(keep))
        while True:
            board = Board.create(self.board.number + 1, room)
            if all(
                board.set(name.encode(), handle, version)
                for name, (handle, version) in keep.items()
            ):
                break
            # Longer names than the average.
            board.close()
            room *= 2
        failpoint("board.copied")
        try:
            self.hold(str(NumberedKey("board", board.number)), board.fd)
        except OSError:
            board.close()
            raise
        failpoint("board.held")
        old, self.board = self.board, board
        old.retire()
        failpoint("board.retired")
        self.drop(str(NumberedKey("board", old.number)))
        old.close()
        if keep is not self.entries:
            self.entries = keep
            self._sorted = [name for name in self._sorted if name in keep]
            self._fresh = [name for name in self._fresh if name in keep]

    # --- watching ---

    def watch(self, name: str, watcher: Watcher) -> Callable[[], None]:
        """Call back after each change of a name until the function that this gives is called."""
        self.watchers.setdefault(name, set()).add(watcher)

        def stop() -> None:
            watchers = self.watchers.get(name)
            if watchers is not None:
                watchers.discard(watcher)
                if not watchers:
                    del self.watchers[name]

        return stop

    # --- restart ---

    def records(self) -> Iterator[Record]:
        """Give what the journal has to say."""
        if self.floor:
            yield Record(Kind.FLOOR, 0, NOBODY, self.floor)
