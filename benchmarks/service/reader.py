"""The other process: it opens what the parent put, and tells how long that took."""

import gc
import mmap
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

from benchmarks.service.peers import LINKS, Link
from icehouse.client.bench.facts import private_bytes


def serve(pipe: Connection, queue: Any, addresses: dict[str, str]) -> None:
    """Answer commands until "end" comes: with a list of floats, or the value asked for."""
    gc.disable()
    links: dict[str, Link] = {}
    held: dict[str, Any] = {}
    while True:
        command, *arguments = pipe.recv()
        if command == "end":
            return
        if command == "receive":
            receive(pipe, queue, link_to(links, addresses, arguments[0]), *arguments)
        else:
            peer, *rest = arguments
            pipe.send(COMMANDS[command](link_to(links, addresses, peer), held, *rest))


def link_to(links: dict[str, Link], addresses: dict[str, str], peer: str) -> Link | None:
    """The link to a contestant's store; Queue and Pipe have none."""
    if peer not in links and peer in addresses:
        links[peer] = LINKS[peer](addresses[peer])
    return links.get(peer)


def receive(pipe: Connection, queue: Any, link: Link | None, peer: str, path: Any) -> None:
    """Say that we are ready; then take what is handed over and tell one field of it.

    Who receives knows what is to be read, so that nothing but the handing over is on the clock.
    """
    pipe.send("ready")
    if peer == "bare Pipe":
        pipe.recv_bytes()
        pipe.send(path)
    elif link is not None:
        pipe.send(field_of(link.get(pipe.recv_bytes()), path))
    elif peer == "Queue":
        pipe.send(field_of(queue.get(), path))
    else:
        pipe.send(field_of(pipe.recv(), path))


def field_of(value: Any, path: list[Any]) -> Any:
    """Follow keys and indices down to a leaf."""
    for key in path:
        value = value[key]
    return value


def timed(work: Callable[[], Any]) -> float:
    """Seconds of one call; what it made is dropped off the clock."""
    begin = time.perf_counter()
    made = work()
    seconds = time.perf_counter() - begin
    del made
    return seconds


def two_fields(
    link: Link, held: dict[str, Any], keys: list[bytes], names: list[str]
) -> list[float]:
    """Open each key once and read two fields of it."""
    del held
    first, second = names
    get, clock = link.get, time.perf_counter
    seconds = []
    for key in keys:
        begin = clock()
        value = get(key)
        value[first], value[second]
        seconds.append(clock() - begin)
    return seconds


def lookups(link: Link, held: dict[str, Any], key: bytes, names: list[str]) -> list[float]:
    """Lookups in a large dict that was opened before; the plain loop around them counts."""
    if "dict" not in held or held["key"] != key:
        held["dict"], held["key"] = link.get(key), key
    value, clock = held["dict"], time.perf_counter
    begin = clock()
    for name in names:
        value[name]
    return [(clock() - begin) / len(names)]


def growth(link: Link, held: dict[str, Any], key: bytes, names: list[str]) -> list[float]:
    """Private bytes that opening a large dict and some lookups add to this process."""
    gc.collect()
    before = private_bytes()
    before = private_bytes()
    held["growth"] = link.get(key)
    for name in names:
        held["growth"][name]
    return [float(private_bytes() - before)]


def strided(link: Link, held: dict[str, Any], key: bytes) -> list[float]:
    """Open a large array and read one byte of every page. The sum is the second number."""
    del held
    sums = []

    def read() -> Any:
        value = link.get(key)
        flat = memoryview(value).cast("B")
        sums.append(float(sum(flat[:: mmap.PAGESIZE * 1024])))
        return value

    return [timed(read), sums[0]]


def rate(link: Link, held: dict[str, Any], keys: list[bytes], seconds: float) -> list[float]:
    """Gets with two fields a second, for so long."""
    del held
    get, clock = link.get, time.perf_counter
    done = 0
    begin = clock()
    end = begin + seconds
    while clock() < end:
        for key in keys:
            value = get(key)
            value["id"], value["name"]
        done += len(keys)
    return [done / (clock() - begin)]


COMMANDS: dict[str, Callable[..., Any]] = {
    "two_fields": two_fields,
    "lookups": lookups,
    "growth": growth,
    "strided": strided,
    "rate": rate,
}
