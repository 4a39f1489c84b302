"""Spilling under clients that have mapped what moves (H6)."""

from pathlib import Path
from typing import Any

import pytest
from daemons import Daemon

import icehouse

SIZE = 4_000_000


def content(number: int) -> list[Any]:
    return [number, bytes([number]) * SIZE]


def test_h06_what_was_open_is_read_from_its_file_when_it_is_opened_again(folder: Path) -> None:
    spill = folder / "spill"
    with (
        Daemon(folder, capacity="16MiB", spill=str(spill), spill_capacity="1GiB") as daemon,
        icehouse.connect(daemon.socket) as store,
    ):
        handles = [store.put(content(number), name=f"n/{number}") for number in range(3)]
        kept = store.get(handles[0])
        assert [store.get(handle)[0] for handle in handles] == [0, 1, 2]
        handles += [store.put(content(number)) for number in range(3, 20)]
        assert len(list(spill.iterdir())) >= 15
        # What was leased stayed where it is; what was mapped and not leased is asked for again.
        assert kept[1] == bytes(SIZE)
        for number, handle in enumerate(handles):
            assert store.get(handle) == content(number)
        assert store.get("n/1") == content(1)
        daemon.wait_for_another(daemon.kill())
        assert store.get(handles[5]) == content(5)
        assert kept == content(0)
        view = store.get(handles[1])
        store.delete(handles[1], force=True)
        assert view == content(1)
        del view, kept
        for handle in handles:
            if handle != handles[1]:
                store.delete(handle, force=True)
        with pytest.raises(icehouse.HandleGone):
            store.get(handles[1])
        store.trim()
        assert store.usage().committed == 0
        assert not list(spill.iterdir())
        store.check()
