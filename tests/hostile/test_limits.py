"""The daemon where memory, descriptors or /dev/shm are short (H6, H13): errors, never a signal."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from cgroups import inside
from daemons import Daemon

import icehouse

pytestmark = pytest.mark.slow
MIB = 1 << 20

FILL = """
import sys
import icehouse
store = icehouse.connect(sys.argv[1])
size, handles = int(sys.argv[2]), []
try:
    while len(handles) < (2 << 30) // size:
        handles.append(store.put([len(handles), bytes([len(handles) % 251]) * size]))
except icehouse.StoreFull as error:
    full = error
else:
    raise SystemExit("it never was full")
assert full.wanted >= size and full.capacity > 0, vars(full)
assert len(handles) * size > 40 << 20, len(handles)
for i, handle in enumerate(handles):
    view = store.get(handle)
    assert view[0] == i and view[1][-1] == i % 251
del view
for handle in handles[::2]:
    store.delete(handle)
store.put([0, bytes(size)])
for handle in handles[1::2]:
    store.delete(handle)
store.check()
print(len(handles))
"""


def fill(daemon: Any, size: int, prefix: list[str] | None = None) -> int:
    """Put until it is full, in a process of its own; how many fitted."""
    command = [*(prefix or []), sys.executable, "-c", FILL, str(daemon.socket), str(size)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return int(done.stdout)


# Its shadow memory, of daemon and client, leaves too little of so small a cgroup to tell anything.
not_sanitized = pytest.mark.skipif(
    bool(os.environ.get("ICEHOUSE_SANITIZE")), reason="AddressSanitizer takes the memory itself"
)


@not_sanitized
@pytest.mark.parametrize("capacity", ["1GiB", None])
@pytest.mark.parametrize("size", [20_000, 1_500_000], ids=["small", "large"])
def test_h13_all_of_it_in_a_small_cgroup(
    tmp_path: Path, cgroup: Path, capacity: str | None, size: int
) -> None:
    config = {} if capacity is None else {"capacity": capacity}
    with Daemon(tmp_path / "d", prefix=inside(cgroup), **config) as daemon:
        pid = daemon.daemon_pid()
        fill(daemon, size, inside(cgroup))
        # What was given back can be used again.
        fill(daemon, size, inside(cgroup))
        assert daemon.daemon_pid() == pid


MORE_THAN_FITS = """
import sys
import icehouse
store = icehouse.connect(sys.argv[1])
evictable = sys.argv[2] == "evict"
handles = [store.put([i, bytes(20_000_000)], evictable=evictable) for i in range(30)]
found = [view for view in (store.get(handle, None) for handle in handles) if view is not None]
assert len(found) == 30 or evictable and 3 < len(found) < 15, len(found)
assert store.get(handles[-1])[0] == 29
assert all(view[1] == bytes(20_000_000) for view in found[:2])
store.check()
"""


@not_sanitized
@pytest.mark.parametrize("way", ["evict", "spill"])
def test_h13_the_machine_is_smaller_than_the_capacity(
    tmp_path: Path, cgroup: Path, way: str
) -> None:
    """What may go at capacity goes where the machine's memory ends before the capacity does."""
    config: dict[str, Any] = {"capacity": "1GiB"}
    if way == "spill":
        config |= {"spill": str(tmp_path / "spill"), "spill_capacity": "1GiB"}
    with Daemon(tmp_path / "d", prefix=inside(cgroup), **config) as daemon:
        command = [*inside(cgroup), sys.executable, "-c", MORE_THAN_FITS, daemon.socket, way]
        done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


def test_h13_a_small_dev_shm(tmp_path: Path) -> None:
    mount = "mount -t tmpfs -o size=64k none /dev/shm"
    prefix = ["unshare", "--mount", "sh", "-c", f'{mount} && exec "$@"', "sh"]
    try:
        subprocess.run([*prefix, "true"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("this user can't mount")
    with Daemon(tmp_path / "d", prefix=prefix, capacity="128MiB") as daemon:
        assert fill(daemon, 1_000_000, prefix) > 60


def test_h13_few_descriptors(tmp_path: Path) -> None:
    """The daemon has 64 descriptors: each dedicated segment takes one, each client more."""
    prefix = ["prlimit", "--nofile=64:64", "--"]
    with Daemon(tmp_path / "d", prefix=prefix, capacity="512MiB") as daemon:
        pid = daemon.daemon_pid()
        with icehouse.connect(daemon.socket) as store:
            kept = store.put({"kept": 1}, name="kept")
            handles = []
            try:
                handles.extend(store.put([i], seal=True) for i in range(200))
            except icehouse.IcehouseError as error:
                assert "descriptor" in str(error), error
            assert len(handles) < 64
            assert store.get("kept") == {"kept": 1}
            others = []
            for _ in range(40):
                done = subprocess.run(
                    [sys.executable, "-c", ONE, str(daemon.socket)],
                    capture_output=True,
                    text=True,
                    check=False,
                )
                others.append(done.returncode)
                assert done.returncode in (0, 3), done.stderr
            for handle in handles:
                store.delete(handle)
            store.trim()
            assert store.get(kept) == {"kept": 1}
            assert store.get(store.put([1], seal=True)) == [1]
            store.check()
        assert daemon.daemon_pid() == pid


ONE = """
import sys
import icehouse
try:
    with icehouse.connect(sys.argv[1]) as store:
        assert store.get("kept") == {"kept": 1}
except icehouse.StoreUnavailable:
    sys.exit(3)
"""


def test_h13_a_client_with_few_descriptors(daemon: Any) -> None:
    """It closes each descriptor when its segment is mapped, so they do not run out."""
    with icehouse.connect(daemon.socket) as store:
        handles = [store.put([i], seal=True) for i in range(150)]
        code = (
            "import sys, icehouse\nstore = icehouse.connect(sys.argv[1])\n"
            "views = [store.get(text) for text in sys.argv[2:]]\n"
            "assert [view[0] for view in views] == list(range(150))\n"
        )
        command = ["prlimit", "--nofile=24:24", "--", sys.executable, "-c", code]
        done = subprocess.run(
            [*command, str(daemon.socket), *map(str, handles)],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        for handle in handles:
            store.delete(handle)


def test_h13_a_client_with_little_address_space(daemon: Any, child: Any) -> None:
    child("limits_work.connect_with_little_room", daemon.socket)
