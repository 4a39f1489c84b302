"""Deletes and reclaim under other processes' leases: how long until the memory is back.

Deleting one by one is a round trip each; reclaim is what the daemon does besides, in scans of all
lease tables. The first case shows both under 200 clients' leases, one by one and in one call, the
second one reclaim alone.
"""

import os
import time
from collections.abc import Iterator
from multiprocessing.connection import Connection
from typing import Any

import icehouse
from benchmarks.service.peers import cpu_of, daemon_of
from icehouse.client.bench import targets
from icehouse.client.bench.result import OURS, Result

SMALL = {"id": 48151623, "name": "reader", "ratio": 0.75, "active": True}
TARGET = targets.seconds(20e-6, 2e-6)
PATIENCE = 60.0


def nursery(pipe: Connection, address: str) -> None:
    """Keep clients for the parent: each "lease" makes some, each of which leases its handles.

    They are forked from this process, which has icehouse imported and nothing open, and connect on
    their own: as many families as clients. "drop" ends them all, "end" this process too.
    """
    children: list[tuple[int, int]] = []
    while True:
        command, groups = pipe.recv()
        if command == "lease":
            children.extend(client(address, handles) for handles in groups)
            for _, ready in children:
                if os.read(ready, 1) != b"+":
                    raise ChildProcessError("a client has no leases")
        else:
            for pid, ready in children:
                os.kill(pid, 9)
                os.waitpid(pid, 0)
                os.close(ready)
            children.clear()
        pipe.send(len(children))
        if command == "end":
            return


def client(address: str, handles: list[bytes]) -> tuple[int, int]:
    """Fork a process that leases the images; it says "+" when it does."""
    ready, tell = os.pipe()
    pid = os.fork()
    if pid:
        os.close(tell)
        return pid, ready
    try:
        store = icehouse.connect(address)
        views = [store.get(icehouse.Handle.from_bytes(handle)) for handle in handles]
        os.write(tell, b"+")
        while views:
            time.sleep(60)
    finally:
        os._exit(1)


def present(store: Any) -> int:
    """Images that take up memory, deleted ones too."""
    usage = store.usage()
    return int(usage.images + usage.deleted)


def wait_for(store: Any, images: int) -> float:
    """Seconds until so few images are left; what the daemon frees in our segments we take back."""
    begin = time.perf_counter()
    while (left := present(store)) > images:
        if time.perf_counter() - begin > PATIENCE:
            raise TimeoutError(f"{left} images take up memory still, not {images}")
        store.trim()
        time.sleep(0.001)
    return time.perf_counter() - begin


def under_leases(
    store: Any, server: int, pipe: Connection, *, quick: bool, at_once: bool
) -> Iterator[Result]:
    """Delete many objects while other processes hold leases on some of them."""
    count, clients, leases = (10_000, 5, 100) if quick else (1_000_000, 200, 100)
    daemon = daemon_of(server)
    handles = [store.put(SMALL) for _ in range(count)]
    before = present(store) - count
    step = count // (clients * leases)
    leased = [bytes(handle) for handle in handles[::step]]
    pipe.send(("lease", [leased[i : i + leases] for i in range(0, len(leased), leases)]))
    pipe.recv()
    cpu, begin = cpu_of(daemon), time.perf_counter()
    if at_once:
        store.delete(*handles)
    else:
        for handle in handles:
            store.delete(handle)
    middle = time.perf_counter()
    wait_for(store, before + len(leased))
    seconds, cpu = time.perf_counter() - begin, cpu_of(daemon) - cpu
    label = f"{count:,} objects, {clients} clients with {leases} leases each"
    tail = time.perf_counter() - middle
    case, how = ("delete in one call",) * 2 if at_once else ("delete", "delete one by one")
    note = f"{1e3 * tail:.0f} ms after the last one all memory that may be is back"
    yield Result.amount(how, label, seconds / count, None, note)
    note = "the daemon's CPU time, requests included"
    yield Result.amount(f"{case} and reclaim", label, cpu / count, TARGET, note)
    pipe.send(("drop", []))
    pipe.recv()
    seconds = wait_for(store, before)
    if at_once:
        return
    note = "from the end of all clients until the memory is back: the daemon looks now and then"
    label = f"{len(leased):,} leases of {clients} killed clients"
    yield Result.amount("reclaim", label, seconds / len(leased), TARGET, note)


def one_client(store: Any, server: int, *, quick: bool) -> Iterator[Result]:
    """Delete what one process leases, all of it, and let it go at once."""
    count = 10_000 if quick else 1_000_000
    daemon = daemon_of(server)
    handles = [store.put(SMALL) for _ in range(count)]
    before = present(store) - count
    views = [store.get(handle) for handle in handles]
    cpu = cpu_of(daemon)
    for handle in handles:
        store.delete(handle)
    cpu = cpu_of(daemon) - cpu
    label = f"{count:,} leases of one client"
    note = "the daemon's CPU time, requests included; nothing can be freed yet"
    yield Result.amount("delete", label, cpu / count, TARGET, note)
    if present(store) != before + count:
        raise AssertionError("what is leased was freed")
    views.clear()
    seconds = wait_for(store, before)
    note = "from the end of the last lease until the memory is back"
    yield Result.amount("reclaim", label, seconds / count, TARGET, note)


def reclaim(bench: Any) -> Iterator[Result]:
    """Both, on one store."""
    store: Any = bench.links[OURS].store
    server = bench.server_pids[OURS]
    pipe = bench.nursery(nursery)
    for at_once in (False, True):
        yield from under_leases(store, server, pipe, quick=bench.quick, at_once=at_once)
    pipe.send(("end", []))
    pipe.recv()
    yield from one_client(store, server, quick=bench.quick)
