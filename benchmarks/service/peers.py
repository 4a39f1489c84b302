"""The contestants: how each puts an object in one process and opens it in another.

Each has a server side that the parent starts once, and a `Link` for each process that uses it. Keys
are bytes, so that they travel between the processes in the same way for all. Who stores bytes uses
MessagePack by msgspec, the fastest encoder at hand, but for shared_memory, which people use with
pickle.
"""

import contextlib
import os
import pickle
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from multiprocessing import resource_tracker, shared_memory
from pathlib import Path
from typing import Any, Protocol

import msgspec

import icehouse

MAP_SIZE = 8 << 30


class Link(Protocol):
    """One process's access to a contestant's store."""

    def put(self, value: Any) -> bytes:
        """Store the value under a new key."""

    def get(self, key: bytes) -> Any:
        """The value, or a view of it."""

    def drop(self, key: bytes) -> None:
        """Delete it."""


class IcehouseLink:
    """`icehouse.connect()`."""

    def __init__(self, address: str) -> None:
        self.store = icehouse.connect(address)

    def put(self, value: Any) -> bytes:
        return bytes(self.store.put(value))

    def get(self, key: bytes) -> Any:
        return self.store.get(icehouse.Handle.from_bytes(key))

    def drop(self, key: bytes) -> None:
        self.store.delete(icehouse.Handle.from_bytes(key))


class LmdbLink:
    """LMDB without syncing, MessagePack in its records."""

    def __init__(self, address: str) -> None:
        import lmdb

        self.env = lmdb.open(
            address,
            map_size=MAP_SIZE,
            sync=False,
            metasync=False,
            writemap=True,
            map_async=True,
            max_readers=256,
        )
        self.encode = msgspec.msgpack.Encoder().encode
        self.decode = msgspec.msgpack.Decoder().decode
        self.next = 0

    def put(self, value: Any) -> bytes:
        self.next += 1
        key = b"%d" % self.next
        with self.env.begin(write=True) as transaction:
            transaction.put(key, self.encode(value))
        return key

    def get(self, key: bytes) -> Any:
        with self.env.begin(buffers=True) as transaction:
            return self.decode(transaction.get(key))

    def drop(self, key: bytes) -> None:
        with self.env.begin(write=True) as transaction:
            transaction.delete(key)


class RedisLink:
    """Redis over its Unix socket, MessagePack in its strings."""

    def __init__(self, address: str) -> None:
        import redis

        self.client = redis.Redis(unix_socket_path=address)
        self.encode = msgspec.msgpack.Encoder().encode
        self.decode = msgspec.msgpack.Decoder().decode
        self.next = 0

    def put(self, value: Any) -> bytes:
        self.next += 1
        key = b"%d" % self.next
        self.client.set(key, self.encode(value))
        return key

    def get(self, key: bytes) -> Any:
        return self.decode(self.client.get(key))

    def drop(self, key: bytes) -> None:
        self.client.delete(key)


class SharedMemoryLink:
    """A multiprocessing.shared_memory block for each object, pickle in it."""

    def __init__(self, address: str) -> None:
        del address

    def put(self, value: Any) -> bytes:
        data = pickle.dumps(value, 5)
        block = shared_memory.SharedMemory(create=True, size=len(data))
        block.buf[: len(data)] = data
        name = block.name
        block.close()
        return name.encode()

    def get(self, key: bytes) -> Any:
        block = shared_memory.SharedMemory(name=key.decode())
        # Before 3.13 whoever attaches is told to the resource tracker, which would unlink it.
        if sys.version_info < (3, 13):
            resource_tracker.unregister("/" + block.name, "shared_memory")
        try:
            return pickle.loads(block.buf)
        finally:
            block.close()

    def drop(self, key: bytes) -> None:
        block = shared_memory.SharedMemory(name=key.decode())
        block.close()
        block.unlink()


LINKS: dict[str, type[Any]] = {
    "icehouse": IcehouseLink,
    "LMDB": LmdbLink,
    "Redis": RedisLink,
    "shared_memory": SharedMemoryLink,
}


def answers(path: Path) -> bool:
    """Whether somebody accepts connections there."""
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(str(path)) == 0


@contextlib.contextmanager
def process(command: list[str], path: Path, **kwargs: Any) -> Iterator[subprocess.Popen[bytes]]:
    """A server that runs while the context does; ready once its socket answers."""
    server = subprocess.Popen(command, **kwargs)
    try:
        end = time.monotonic() + 30
        while not (path.exists() and answers(path)):
            if server.poll() is not None or time.monotonic() > end:
                raise ChildProcessError(f"{command[0]} did not start ({server.poll()})")
            time.sleep(0.01)
        yield server
    finally:
        server.send_signal(signal.SIGTERM)
        try:
            server.wait(20)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


@contextlib.contextmanager
def servers(
    folder: Path, names: list[str], capacity: str
) -> Iterator[tuple[dict[str, str], dict[str, int]]]:
    """Start what the contestants need: address and server's pid of each one that is at hand."""
    addresses: dict[str, str] = {}
    pids: dict[str, int] = {}
    with contextlib.ExitStack() as stack:
        if "icehouse" in names:
            path = folder / "icehouse" / "socket"
            path.parent.mkdir(mode=0o700)
            command = [sys.executable, "-m", "icehouse.client.cli", "serve", "--socket", str(path)]
            command += ["--capacity", capacity, "--http", "off"]
            log = stack.enter_context((folder / "icehouse.log").open("wb"))
            server = stack.enter_context(process(command, path, stdout=log, stderr=log))
            addresses["icehouse"], pids["icehouse"] = str(path), server.pid
        if "LMDB" in names and at_hand("lmdb"):
            addresses["LMDB"] = str(folder / "lmdb")
        if "Redis" in names and at_hand("redis") and (binary := shutil.which("redis-server")):
            path = folder / "redis.sock"
            command = [binary, "--port", "0", "--unixsocket", str(path), "--save", ""]
            command += ["--appendonly", "no"]
            server = stack.enter_context(
                process(command, path, stdout=subprocess.DEVNULL, cwd=folder)
            )
            addresses["Redis"], pids["Redis"] = str(path), server.pid
        if "shared_memory" in names:
            addresses["shared_memory"] = ""
        yield addresses, pids


def at_hand(module: str) -> bool:
    """Whether an optional module can be imported."""
    try:
        __import__(module)
    except ImportError:
        print(f"{module} is not installed: left out", file=sys.stderr)
        return False
    return True


def children_of(pid: int) -> list[int]:
    """The direct children of a process."""
    found = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        found += [int(child) for child in (task / "children").read_text().split()]
    return found


def memory_of(pid: int) -> dict[str, int]:
    """Bytes that a process holds: anonymous memory and resident shared memory."""
    fields = {}
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        name, _, rest = line.partition(":")
        if name in ("RssAnon", "RssShmem"):
            fields[name] = int(rest.split()[0]) * 1024
    return fields


def daemon_of(keeper: int) -> int:
    """The daemon: the child of the keeper that is not the admin process."""
    children = children_of(keeper)
    return next((pid for pid in children if "admin" not in name_of(pid)), keeper)


def cpu_of(pid: int) -> float:
    """Seconds of CPU time of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def name_of(pid: int) -> str:
    """The command line of a process."""
    return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
