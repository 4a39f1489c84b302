"""Hostile bytes: whatever comes, its own connection ends at most, and others do not notice."""

import asyncio
import os
import random
import struct
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from raw import Client, Refused, World, run

from icehouse.server import frames
from icehouse.server.frames import Op, Result

pytestmark = pytest.mark.watchdog(60)


async def ends(client: Client) -> bytes:
    """What comes until the daemon closes the connection."""
    got = b""
    while True:
        try:
            part = client.sock.recv(65536)
        except BlockingIOError:
            await asyncio.sleep(0.001)
            continue
        except ConnectionError:
            return got
        if not part:
            return got
        got += part


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        frames.BINARY + b"\xff" * 64,
        frames.BINARY + struct.pack("<IHHQ", 8, 1, 0, 1),
        frames.BINARY + struct.pack("<IHHQ", 65537, 1, 0, 1),
        frames.BINARY + frames.FRAME.pack(16, Op.PING, 0, 1),
        frames.BINARY + frames.FRAME.pack(16, Op.HELLO, 0, 1),
        frames.BINARY + frames.FRAME.pack(16, 99, 0, 1),
        frames.BINARY + frames.FRAME.pack(16, Op.HELLO | frames.REPLY_BIT, 0, 1),
        frames.BINARY + frames.FRAME.pack(16 + 48, Op.HELLO, 0, 1) + b"\xff" * 48,
    ],
)
def test_garbage_ends_its_connection(data: bytes) -> None:
    async def test(world: World) -> None:
        good = await world.client()
        bad = Client(world)
        await bad.raw(data)
        await ends(bad)
        await good.call(Op.PING)
        assert len(world.daemon.connections) == 1

    run(test)


def test_another_version_is_told_so() -> None:
    async def test(world: World) -> None:
        with pytest.raises(Refused, match="same release") as caught:
            await Client(world).hello(version=9)
        assert caught.value.result == Result.PROTOCOL

    run(test)


def test_a_second_hello_is_refused() -> None:
    async def test(world: World) -> None:
        client = await world.client()
        await client.send(Op.HELLO, bytes(frames.HELLO.size))
        assert (await client.receive())[1] == Result.PROTOCOL
        await ends(client)

    run(test)


def test_bytes_one_by_one_and_many_frames_at_once() -> None:
    async def test(world: World) -> None:
        client = Client(world)
        body = frames.HELLO.pack(frames.VERSION, os.getpid(), 0, 0, bytes(16), 0, 0)
        hello = frames.BINARY + frames.FRAME.pack(64, Op.HELLO, 0, 1) + body
        for at in range(len(hello)):
            await client.raw(hello[at : at + 1])
            await asyncio.sleep(0)
        client.request = 1
        assert (await client.receive())[1] == Result.OK
        await client.raw(b"".join(frames.FRAME.pack(16, Op.PING, 0, n) for n in range(2, 502)))
        for client.request in range(2, 502):
            assert (await client.receive())[0] == Op.PING

    run(test)


def test_random_bodies_of_every_operation() -> None:
    async def test(world: World) -> None:
        random.seed(3)
        good = await world.client()
        handle = await good.put()
        await good.bind("kept", handle)
        client = await world.client()
        for _ in range(600):
            op = random.choice([op for op in Op if op not in (Op.HELLO, Op.GRANT)])
            size = random.choice([0, 8, 24, 32, 40, 56, 200])
            body = random.choice([os.urandom(size), bytes(size), b"\xff" * size])
            if op == Op.DELETE:
                body = os.urandom(24)
            try:
                await client.send(op, body)
                if op != Op.DROP:
                    _, _, _, fds = await client.receive()
                    for fd in fds:
                        os.close(fd)
            except (ConnectionError, BrokenPipeError):
                client.die()
                client = await world.client()
        assert await good.lives(handle)
        assert world.daemon.counters.errors == 0

    run(test)


def test_random_grants() -> None:
    async def test(world: World) -> None:
        client = await world.client()
        results = set()
        for size in (0, 1, 2**16, 2**24, 2**31, 2**48, 2**63, 2**64 - 1):
            for kind in (0, 1, 2, 3, 64, 2**20, 2**32 - 1):
                await client.send(Op.GRANT, frames.GRANT_REQUEST.pack(size, kind, 0, 0))
                _, result, _, fds = await client.receive()
                results.add(result)
                for fd in fds:
                    os.close(fd)
        assert results == {Result.OK, Result.FULL, Result.INVALID}
        assert world.daemon.counters.errors == 0

    run(test)


def test_deleting_some() -> None:
    async def test(world: World) -> None:
        client = await world.client()
        handles = [await client.put() for _ in range(4)]
        await client.bind("a", handles[1])

        def body(force: int, *handles: frames.Handle) -> bytes:
            packed = b"".join(frames.HANDLE.pack(*handle) for handle in handles)
            return frames.DELETE_SOME_REQUEST.pack(len(handles), force) + packed

        ask = body(0, handles[0], handles[1], (7 << 24 | 64, 9), handles[2], handles[0])
        results = [Result.OK, Result.CONFLICT, Result.GONE, Result.OK, Result.GONE]
        assert list((await client.call(Op.DELETE_SOME, ask))[0]) == results
        assert [await client.lives(handle) for handle in handles] == [False, True, False, True]
        assert (await client.call(Op.DELETE_SOME, body(1, *handles[1::2])))[0] == bytes(2)
        assert world.daemon.names.bound == 0
        assert (await client.call(Op.DELETE_SOME, body(0)))[0] == b""
        too_many = body(0, *[(1 << 24, 1)] * (frames.DELETE_SOME_MAX + 1))
        for wrong in (too_many, body(0, handles[0])[:-1], body(0, handles[0]) + b"x", b"\1"):
            bad = await world.client()
            with pytest.raises(Refused) as caught:
                await bad.call(Op.DELETE_SOME, wrong)
            assert caught.value.result == Result.PROTOCOL
        assert world.daemon.counters.errors == 0

    run(test)


def test_half_open_connections_are_closed() -> None:
    async def test(world: World) -> None:
        silent, greeted = Client(world), await world.client()
        await silent.raw(b"ihb")
        await world.until(lambda: len(world.daemon.connections) == 1)
        await greeted.call(Op.PING)
        assert world.daemon.counters.refused_connections["half_open"] == 1

    run(test, limits__hello_seconds=0.05)


def test_who_never_reads_is_not_served_for_ever() -> None:
    async def test(world: World) -> None:
        client, good = await world.client(), await world.client()
        request = frames.FRAME.pack(16, Op.USAGE, 0, 1)

        def push() -> bool:
            try:
                client.sock.send(request * 64)
            except BlockingIOError:
                pass
            except (BrokenPipeError, ConnectionError):
                return True
            return len(world.daemon.connections) == 1

        await world.until(push)
        await good.call(Op.PING)
        assert world.daemon.counters.refused_connections["stalled"] == 1

    run(test, limits__stall_seconds=0.2)


def test_a_client_that_goes_while_it_waits_for_a_grant() -> None:
    async def test(world: World) -> None:
        client = await world.client()
        session = client.session
        await client.send(Op.GRANT, frames.GRANT_REQUEST.pack(4 << 20, frames.DEDICATED, 0, 0))
        await asyncio.sleep(0)
        client.die()
        await world.until(lambda: session not in world.daemon.sessions.by_id)
        await world.until(lambda: not world.daemon.segments.by_id)
        assert world.daemon.segments.committed == world.daemon.segments.reserved == 0

    run(test)


def test_the_keeper_has_it_before_the_client_h12() -> None:
    async def test(world: World) -> None:
        client = await world.client()
        world.held.fail = 1
        with pytest.raises(Refused, match="no descriptor left") as caught:
            await client.grant(100)
        assert caught.value.result == Result.SYSTEM
        assert not world.daemon.segments.by_id
        segment = await client.grant(100)
        assert any(key.startswith(f"segment-{segment.id}-") for key in world.held.fds)

    run(test)
