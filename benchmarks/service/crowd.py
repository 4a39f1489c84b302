"""A daemon with its admin side, full of objects, and many processes that put and lease them."""

import contextlib
import multiprocessing
import os
import re
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import icehouse

sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent / "tests"))
from daemons import Daemon, wait_until

PATIENCE = 600.0
NAMES_OF_CLIENT = 20
# The default, unlike that of tests.
NICE = os.environ.get("ICEHOUSE_HTTP_NICE", "19")
NAMESPACES = 50
# Under plans/ only these have a name, so that a list by name has few to find.
RARE = "rare"
READY = re.compile(r'"event": "http_ready".*"port": (\d+)')


@dataclass(frozen=True)
class Site:
    """What is measured."""

    daemon: Daemon
    port: int
    objects: int
    clients: int

    @property
    def address(self) -> str:
        """Where the admin side listens."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def daemon_pid(self) -> int:
        """The daemon proper."""
        return int(wait_until(self.daemon.daemon_pid, "the daemon"))

    @property
    def admin_pid(self) -> int:
        """The admin process."""
        return int(wait_until(self.daemon.admin_pid, "the admin process"))


def mixed(number: int, i: int) -> Any:
    """Give the i-th object of a client: most are small, a few have up to 256 KiB."""
    rest = i % 1000
    if rest == 999:
        return bytes(256 << 10)
    if rest >= 990:
        return {"id": i, "payload": b"x" * (16 << 10)}
    if rest >= 900:
        return {"id": i, "text": "x" * 1000, "tags": ["a", "b", "c"]}
    if rest % 3 == 0:
        return {"id": i, "name": "reader", "ratio": 0.75, "active": True}
    return [number, i] if rest % 3 == 1 else f"text {number} {i}"


def client(address: str, number: int, objects: int, leases: int, ready: Any, over: Any) -> None:
    """Put objects, lease some, name a few, and stay."""
    store = icehouse.connect(address)
    handles = [store.put(mixed(number, i)) for i in range(objects)]
    views = [store.get(handle) for handle in handles[:leases]]
    for i in range(min(NAMES_OF_CLIENT, objects)):
        store.bind(f"space-{number % NAMESPACES}/{number}-{i}", handles[i])
    if number == 0:
        store.bind(f"{RARE}/one", handles[-1])
    ready.release()
    over.wait()
    del views


@contextlib.contextmanager
def crowd(objects: int, clients: int, leases: int, capacity: str = "6GiB") -> Iterator[Site]:
    """Start a daemon and clients, each a process of its own, until all objects are put."""
    fork = multiprocessing.get_context("fork")
    with (
        tempfile.TemporaryDirectory(prefix="icehouse-bench-") as folder,
        Daemon(
            Path(folder),
            environment={"ICEHOUSE_HTTP_NICE": NICE},
            http="127.0.0.1:0",
            capacity=capacity,
        ) as daemon,
    ):
        found = wait_until(lambda: READY.findall(daemon.log()), "the admin side")
        ready, over = fork.Semaphore(0), fork.Event()
        each = objects // clients
        processes = [
            fork.Process(target=client, args=(daemon.socket, number, each, leases, ready, over))
            for number in range(clients)
        ]
        for process in processes:
            process.start()
        try:
            for _ in processes:
                if not ready.acquire(timeout=PATIENCE):
                    raise TimeoutError("a client did not put its objects")
            yield Site(daemon, int(found[-1]), each * clients, clients)
        finally:
            over.set()
            for process in processes:
                process.join()


def resident(pid: int) -> int:
    """Bytes of memory that a process has resident, shared libraries included."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def on_processor(pid: int) -> float:
    """Seconds that all threads of a process have had a processor, however busy the machine is."""
    total = 0.0
    for task in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(OSError):
            total += int((task / "schedstat").read_text().split()[0]) / 1e9
    return total
