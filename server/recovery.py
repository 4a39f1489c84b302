"""What a former daemon left with the keeper, put in order: which descriptors still count.

Every step of the daemon that changes what is held can be the one at which it was killed, so of two
keys for one thing this says which counts, and what was never granted or is gone already is let go.
"""

import contextlib
import os
from collections.abc import Callable
from dataclasses import dataclass, field

from icehouse.server import keys
from icehouse.server.frames import DEDICATED
from icehouse.server.keys import FamilyKey, NumberedKey, PageKey, SegmentKey, StateKey


@dataclass(slots=True)
class Inherited:
    """What is held. Descriptors belong to whoever takes them out."""

    drop: Callable[[str], None]
    state: tuple[StateKey, int] | None = None
    board: tuple[NumberedKey, int] | None = None
    journal: tuple[NumberedKey, int] | None = None
    # To be retired: a client may still read one.
    old_boards: list[tuple[NumberedKey, int]] = field(default_factory=list)
    families: dict[int, tuple[FamilyKey, int]] = field(default_factory=dict)
    pages: dict[int, tuple[PageKey, int]] = field(default_factory=dict)
    # By state offset.
    segments: dict[int, tuple[SegmentKey, int]] = field(default_factory=dict)

    def let_go(self, key: object, fd: int) -> None:
        """Close a descriptor that does not count, here and in the keeper."""
        self.drop(str(key))
        with contextlib.suppress(OSError):
            os.close(fd)

    def take(self, text: str, fd: int) -> None:
        """Take one up, in the order in which they were given to the keeper."""
        key = keys.parse(text)
        old: tuple[object, int] | None = None
        match key:
            case StateKey():
                old, self.state = self.state, (key, fd)
            case NumberedKey("board", _):
                if self.board is not None:
                    self.old_boards.append(self.board)
                self.board = (key, fd)
            case NumberedKey("journal", _):
                old, self.journal = self.journal, (key, fd)
            case FamilyKey():
                old = self.families.pop(key.id, None)
                self.families[key.id] = (key, fd)
            case PageKey():
                old = self.pages.pop(key.session, None)
                self.pages[key.session] = (key, fd)
            case SegmentKey():
                old = self.segments.pop(key.state, None)
                self.segments[key.state] = (key, fd)
            case _:
                old = (text, fd)
        if old is not None:
            self.let_go(*old)

    @property
    def is_whole(self) -> bool:
        """Whether there is a store: clients come when state, journal and board are held."""
        return None not in (self.state, self.board, self.journal)

    def everything(self) -> list[tuple[object, int]]:
        """All that is held."""
        single = [entry for entry in (self.state, self.board, self.journal) if entry is not None]
        return [
            *single,
            *self.old_boards,
            *self.families.values(),
            *self.pages.values(),
            *self.segments.values(),
        ]

    def let_everything_go(self) -> None:
        """Begin anew."""
        for key, fd in self.everything():
            self.let_go(key, fd)
        self.state = self.board = self.journal = None
        self.old_boards.clear()
        self.families.clear()
        self.pages.clear()
        self.segments.clear()

    def choose_segments(self) -> list[tuple[SegmentKey, int]]:
        """Give the segments that count, and let go of the others."""
        assert self.state is not None
        chosen: list[tuple[SegmentKey, int]] = []
        for key, fd in self.segments.values():
            word = _word(self.state[1], key.state)
            deleted = key.kind == DEDICATED and word == 0
            if word == key.id or deleted:
                chosen.append((key, fd))
            else:
                # Its range says that it is gone, or never said that it is there.
                self.let_go(key, fd)
        self.segments.clear()
        return chosen


def _word(state_fd: int, offset: int) -> int:
    return int.from_bytes(os.pread(state_fd, 8, offset), "little")


def sort(inherited: list[tuple[str, int]], drop: Callable[[str], None]) -> Inherited:
    """Put in order what the keeper gave, oldest first."""
    found = Inherited(drop)
    for text, fd in inherited:
        found.take(text, fd)
    return found
