"""What is free in the segments of a process that does nothing (H7)."""

import os
import subprocess
import sys
from typing import Any

import pytest

import icehouse

PUT = """
import sys
import icehouse
with icehouse.connect(sys.argv[1]) as store:
    try:
        store.put(b"x" * 1_000_000)
    except icehouse.StoreFull as error:
        print(error.waiting, error.waiting_pid, error)
    else:
        print("fits")
"""


def put_elsewhere(daemon: Any) -> str:
    command = [sys.executable, "-c", PUT, daemon.socket]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_h07_store_full_names_who_has_free_memory_and_trim_gives_it_back(daemon: Any) -> None:
    with icehouse.connect(daemon.socket) as store:
        handles: list[icehouse.Handle] = []
        with pytest.raises(icehouse.StoreFull):
            handles.extend(store.put(b"f" * 1_500_000) for _ in range(1000))
        for handle in handles:
            store.delete(handle)
        told = put_elsewhere(daemon)
        if told.strip() != "fits":
            waiting, pid, message = told.split(maxsplit=2)
            assert int(waiting) > 40_000_000
            assert int(pid) == os.getpid()
            assert "trim()" in message
        store.trim()
        assert put_elsewhere(daemon).strip() == "fits"
