"""Whose bytes have come: fairness towards the loop, and looking on without sleep."""

import asyncio
import os
import socket
import time
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from icehouse.server import readers
from icehouse.server.readers import TAKEN_MAX, VAIN_MAX, Readers

pytestmark = pytest.mark.watchdog(60)


class World:
    """Sockets that are read, and what came."""

    def __init__(self) -> None:
        self.readers = Readers(asyncio.get_running_loop())
        self.pairs: list[tuple[socket.socket, socket.socket]] = []
        self.got: list[tuple[int, bytes]] = []

    def pair(self, then: Callable[[], object] = lambda: None) -> socket.socket:
        ours, theirs = socket.socketpair()
        theirs.settimeout(0)
        at = len(self.pairs)
        self.pairs.append((ours, theirs))

        def read() -> None:
            self.got.append((at, theirs.recv(100)))
            then()

        self.readers.add(theirs.fileno(), read)
        return ours

    async def until(self, count: int) -> None:
        while len(self.got) < count:
            await asyncio.sleep(0)

    def close(self) -> None:
        self.readers.close()
        for pair in self.pairs:
            for sock in pair:
                sock.close()


def run(test: Callable[[World], Coroutine[Any, Any, None]]) -> None:
    async def main() -> None:
        world = World()
        try:
            await test(world)
        finally:
            world.close()

    asyncio.run(main())


def test_all_that_can_be_read_is() -> None:
    async def test(world: World) -> None:
        ends = [world.pair() for _ in range(100)]
        for end in ends:
            end.send(b"x")
        await world.until(100)
        assert sorted(world.got) == [(at, b"x") for at in range(100)]

    run(test)


def test_one_that_another_has_removed_is_not_called() -> None:
    async def test(world: World) -> None:
        def remove_all() -> None:
            for _, theirs in world.pairs:
                world.readers.remove(theirs.fileno())

        for end in [world.pair(remove_all) for _ in range(10)]:
            end.send(b"x")
        for _ in range(10):
            await asyncio.sleep(0.001)
        assert len(world.got) == 1

    run(test)


@pytest.mark.parametrize("leaves", [True, False])
def test_the_loop_has_its_turn_although_requests_never_end(
    leaves: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def test(world: World) -> None:
        if leaves:
            monkeypatch.setattr(readers, "TURN_SECONDS", 3600.0)

        def again() -> None:
            end.send(b"x")
            if leaves:
                world.readers.leave()

        end = world.pair(again)
        end.send(b"x")
        for _ in range(5):
            await asyncio.sleep(0.001)
        assert len(world.got) >= 5

    run(test)


def looks_of(monkeypatch: pytest.MonkeyPatch, requests: int, cpus: int) -> list[int]:
    """How often it looked on in vain after each of several requests that come far apart."""
    looks = 0

    def look() -> None:
        nonlocal looks
        looks += 1

    found = []

    async def test(world: World) -> None:
        nonlocal looks
        end = world.pair()
        for number in range(requests):
            looks = 0
            end.send(b"x")
            await world.until(number + 1)
            found.append(looks)

    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(cpus)))
    monkeypatch.setattr(os, "sched_yield", look)
    monkeypatch.setattr(readers, "TURN_SECONDS", 3600.0)
    monkeypatch.setattr(readers, "TAKEN_SECONDS", 3600.0)
    run(test)
    return found


def test_it_looks_on_ever_more_seldom_where_nothing_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    looks = looks_of(monkeypatch, 3 * 2**VAIN_MAX, cpus=2)
    looked = [number for number, count in enumerate(looks) if count]
    assert looked[:4] == [0, 2, 6, 14]
    assert looked[-1] - looked[-2] == 2**VAIN_MAX


def test_it_looks_on_no_more_where_others_want_the_processor(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def test(world: World) -> None:
        end = world.pair()
        for number in range(2**TAKEN_MAX):
            end.send(b"x")
            await world.until(number + 1)
        assert world.readers._misses == TAKEN_MAX
        assert len(offers) == TAKEN_MAX

    offers: list[int] = []

    def offer() -> None:
        offers.append(1)
        time.sleep(2 * readers.TAKEN_SECONDS)

    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1})
    monkeypatch.setattr(os, "sched_yield", offer)
    monkeypatch.setattr(readers, "TURN_SECONDS", 3600.0)
    run(test)


def test_it_sleeps_at_once_where_there_is_one_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    assert looks_of(monkeypatch, 20, cpus=1) == [0] * 20


def test_it_finds_what_comes_while_it_looks_on(monkeypatch: pytest.MonkeyPatch) -> None:
    sends = 0

    async def test(world: World) -> None:
        end = world.pair()

        def send() -> None:
            nonlocal sends
            if sends < 50:
                sends += 1
                end.send(b"x")

        monkeypatch.setattr(os, "sched_yield", send)
        end.send(b"x")
        await world.until(51)
        # None of them was waited for.
        assert world.readers._misses <= 1

    monkeypatch.setattr(readers, "TAKEN_SECONDS", 3600.0)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1})
    run(test)
