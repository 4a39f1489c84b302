"""Visitors of the admin side: clients that scrape, browse, list and follow events, many at a time.

They live in a process of their own, which has a processor only when nobody else wants it
(SCHED_IDLE), so that what they cost is what they make others do. Plain HTTP/1.1 over asyncio
streams: no library's overhead is measured.
"""

import asyncio
import contextlib
import os
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count
from multiprocessing.connection import Connection
from typing import Any

HOST = "127.0.0.1"
STREAM = "/api/v1/events"
# Of ten visitors: one scrapes, two follow the events, the others look at pages and lists.
SCRAPERS, STREAMS = 1, 2
TIMEOUT = 60.0


@dataclass
class Tally:
    """What visitors did."""

    answers: Counter[int] = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)
    scrapes: list[float] = field(default_factory=list)
    events: int = 0
    bytes: int = 0
    # What went wrong, in words.
    failures: Counter[str] = field(default_factory=Counter)

    def clear(self) -> None:
        """Begin anew."""
        for kept in (self.answers, self.seconds, self.scrapes, self.failures):
            kept.clear()
        self.events = self.bytes = 0


async def answer(reader: asyncio.StreamReader) -> tuple[int, int]:
    """Read a response whose length is known: its status, and how long its body is."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
    status = int(head.split(" ", 2)[1])
    length = int(head.partition("content-length:")[2].partition("\r\n")[0])
    await reader.readexactly(length)
    return status, length


def question(path: str, port: int) -> bytes:
    """Write a request."""
    return f"GET {path} HTTP/1.1\r\nHost: {HOST}:{port}\r\nAccept: */*\r\n\r\n".encode()


async def visit(port: int, paths: Iterator[str], every: float, tally: Tally) -> None:
    """Ask for one path after the other: one each `every` seconds, or as fast as answers come."""
    reader, writer = await asyncio.open_connection(HOST, port)
    due = time.monotonic()
    try:
        for path in paths:
            began = time.monotonic()
            writer.write(question(path, port))
            async with asyncio.timeout(TIMEOUT):
                status, length = await answer(reader)
            took = time.monotonic() - began
            tally.answers[status] += 1
            tally.bytes += length
            (tally.scrapes if path == "/metrics" else tally.seconds).append(took)
            due = max(due + every, time.monotonic())
            await asyncio.sleep(due - time.monotonic())
    finally:
        writer.close()


async def follow(port: int, tally: Tally) -> None:
    """Read the events as they come."""
    reader, writer = await asyncio.open_connection(HOST, port)
    try:
        writer.write(question(STREAM, port))
        status = int((await reader.readuntil(b"\r\n\r\n")).split(b" ", 2)[1])
        tally.answers[status] += 1
        while piece := await reader.read(1 << 16):
            tally.events += piece.count(b"\nevent:")
            tally.bytes += len(piece)
    finally:
        writer.close()


def itinerary(paths: list[str], first: int) -> Iterator[str]:
    """Go through paths over and over, beginning somewhere."""
    return (paths[at % len(paths)] for at in count(first))


async def outing(port: int, paths: list[str], visitors: int, every: float, tally: Tally) -> None:
    """Have them all visit until this is cancelled; one that fails comes again."""

    async def one(number: int) -> None:
        kind = number % 10
        # Not all at the same moment of each second.
        await asyncio.sleep(every * number / visitors)
        while True:
            try:
                if kind < SCRAPERS:
                    await visit(port, itinerary(["/metrics"], 0), every, tally)
                elif kind < SCRAPERS + STREAMS:
                    await follow(port, tally)
                else:
                    await visit(port, itinerary(paths, number), every, tally)
            except (OSError, EOFError, ValueError, TimeoutError) as error:
                tally.failures[f"{type(error).__name__}: {error}"] += 1
                await asyncio.sleep(0.1)

    async with asyncio.TaskGroup() as group:
        for number in range(visitors):
            group.create_task(one(number))


async def serve(pipe: Connection) -> None:
    """Do what the parent says: ("visit", port, paths, visitors, every), ("home",), ("end",).

    ("anew",) has them go on, and counts from there. Each is answered with what they did.
    """
    loop = asyncio.get_running_loop()
    tally, task = Tally(), None
    while True:
        command: Any = await loop.run_in_executor(None, pipe.recv)
        if command[0] == "anew":
            pipe.send(tally)
            tally.clear()
            continue
        if task is not None:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
            task = None
        if command[0] == "end":
            return
        if command[0] == "visit":
            tally = Tally()
            task = loop.create_task(outing(*command[1:], tally))
        pipe.send(tally)


def main(pipe: Connection) -> None:
    """Run as a process."""
    os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    asyncio.run(serve(pipe))
