"""What processes with little room do, each in a process of its own."""

import re
import resource
from pathlib import Path

import pytest

import icehouse


def connect_with_little_room(socket: str) -> None:
    """The address space of this process ends before a lease table can be mapped."""
    size = int(re.findall(r"VmSize:\s*(\d+) kB", Path("/proc/self/status").read_text())[0])
    least = size * 1024 + (8 << 20)
    resource.setrlimit(resource.RLIMIT_AS, (least, resource.RLIM_INFINITY))
    for _ in range(2):
        with pytest.raises(icehouse.StoreFull, match="no memory for it; free some"):
            icehouse.connect(socket)
    resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    with icehouse.connect(socket) as store:
        assert store.get(store.put([1]))[0] == 1
