"""A memory cgroup for tests, where the machine lets us make one."""

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

LIMIT = 256 << 20


def write(path: Path, text: str) -> None:
    """To an existing file only, and unbuffered, so that the error comes from here."""
    fd = os.open(path, os.O_WRONLY)
    try:
        os.write(fd, text.encode())
    finally:
        os.close(fd)


def memory_hierarchy() -> tuple[int, Path]:
    """Version and mount of the memory controller."""
    found: tuple[int, Path] | None = None
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        left, _, right = line.partition(" - ")
        kind, _, options = right.split(" ", 2)
        point = Path(left.split(" ")[4])
        if kind == "cgroup" and "memory" in options.split(","):
            return 1, point
        if kind == "cgroup2":
            found = 2, point
    if found is None:
        pytest.skip("there is no memory controller")
    return found


def cgroup() -> Iterator[Path]:
    """A memory cgroup of 256 MiB, or a skip that says why not."""
    version, mount = memory_hierarchy()
    folder = mount / f"icehouse-stress-{os.getpid()}"
    try:
        if version == 2:
            write(mount / "cgroup.subtree_control", "+memory")
        folder.mkdir()
    except OSError as error:
        pytest.skip(f"the memory controller is not writable: {error}")
    try:
        limit = "memory.limit_in_bytes" if version == 1 else "memory.max"
        try:
            write(folder / limit, str(LIMIT))
        except OSError as error:
            pytest.skip(f"the memory controller takes no limit: {error}")
        yield folder
        events = folder / ("memory.oom_control" if version == 1 else "memory.events")
        killed = [line for line in events.read_text().splitlines() if line.startswith("oom_kill ")]
        assert killed in ([], ["oom_kill 0"])
    finally:
        for _ in range(100):
            try:
                folder.rmdir()
                break
            except OSError:  # the processes in it are on their way out
                time.sleep(0.02)


def inside(cgroup: Path) -> list[str]:
    return ["sh", "-c", f'echo $$ >{cgroup}/cgroup.procs && exec "$@"', "sh"]
