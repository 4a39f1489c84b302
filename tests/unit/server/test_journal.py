"""A journal that the keeper can't hold, or that is none of ours, leaves nothing open behind."""

import os
from pathlib import Path

import pytest

from icehouse.server.frames import RefusedError, Result
from icehouse.server.journal import Journal, Kind, Record


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - names alone


def mappings() -> int:
    return Path("/proc/self/maps").read_text().count("icehouse-journal")


class Keeper:
    """Refuses while it is full."""

    def __init__(self) -> None:
        self.is_full = False
        self.held: list[str] = []

    def hold(self, key: str, _fd: int) -> None:
        if self.is_full:
            raise OSError(24, "no descriptor left")
        self.held.append(key)

    def drop(self, key: str) -> None:
        self.held.remove(key)


def test_a_compaction_that_the_keeper_refuses_changes_nothing() -> None:
    keeper = Keeper()
    journal = Journal(keeper.hold, keeper.drop)
    journal.append(Kind.PIN, 0, (7, 8), 1)
    journal.snapshot = lambda: [Record(Kind.PIN, 0, (7, 8), 1)]
    keeper.is_full = True
    before = descriptors(), mappings()
    for _ in range(5):
        with pytest.raises(OSError, match="no descriptor left"):
            journal.compact()
    assert (descriptors(), mappings()) == before
    assert keeper.held == ["journal-1"]
    journal.append(Kind.PIN, 0, (9, 8), 1)
    assert [record.handle for record in journal] == [(7, 8), (9, 8)]
    keeper.is_full = False
    journal.compact()
    assert keeper.held == ["journal-2"]
    assert list(journal) == [Record(Kind.PIN, 0, (7, 8), 1)]
    assert (descriptors(), mappings()) == before
    journal.close()


def test_a_first_one_that_the_keeper_refuses_is_closed() -> None:
    keeper = Keeper()
    keeper.is_full = True
    before = descriptors(), mappings()
    with pytest.raises(OSError, match="no descriptor left"):
        Journal(keeper.hold, keeper.drop)
    assert (descriptors(), mappings()) == before


@pytest.mark.parametrize("damage", [(0, b"anything"), (8, b"\xff"), (16, b"\xff" * 8)])
def test_one_that_is_none_of_ours_is_closed(damage: tuple[int, bytes]) -> None:
    keeper = Keeper()
    journal = Journal(keeper.hold, keeper.drop)
    os.pwrite(journal.fd, damage[1], damage[0])
    before = descriptors(), mappings()
    with pytest.raises(RefusedError) as caught:
        Journal(keeper.hold, keeper.drop, 1, os.dup(journal.fd))
    assert caught.value.result == Result.CORRUPT
    assert (descriptors(), mappings()) == before
    journal.close()
