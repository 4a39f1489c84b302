"""What a client counts on its own page is hostile: it may spoil figures, and no reply to others."""

import os
import struct
import sys
from pathlib import Path

import msgspec
import pytest

sys.path.insert(0, str(Path(__file__).parent))
from raw import Client, World, run

from icehouse.server import frames, telling
from icehouse.server.counters import COUNT_MAX
from icehouse.server.frames import Op

PUTS_AT = 192
"""Of the page: PAGE_COUNTERS words (wire.h)."""

pytestmark = pytest.mark.watchdog(60)


def count(world: World, client: Client, value: int) -> None:
    """Let a client say that it counted so much of everything."""
    (page,) = [
        fd for key, fd in world.held.fds.items() if key.startswith(f"page-{client.session}-")
    ]
    words = struct.pack(f"<{frames.PAGE_COUNTERS}Q", *[value] * frames.PAGE_COUNTERS)
    assert os.pwrite(page, words, PUTS_AT) == len(words)


async def told(world: World, client: Client) -> tuple[int, int]:
    """What others are told of puts: in the binary and in the control family."""
    usage = frames.USAGE_REPLY.unpack((await client.call(Op.USAGE))[0])
    status = telling.status(world.daemon)
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(status))
    return int(usage[12]), status.puts


def test_counters_of_liars_fit_every_reply() -> None:
    async def test(world: World) -> None:
        honest, liar = await world.client(), await world.client()
        count(world, honest, 3)
        assert await told(world, honest) == (3, 3)
        count(world, liar, 2**64 - 1)
        assert await told(world, honest) == (COUNT_MAX, COUNT_MAX)
        # One that has ended counts on, and the next adds to it.
        liar.die()
        world.daemon.reaper.look()
        other = await world.client()
        count(world, other, 2**64 - 1)
        assert await told(world, honest) == (COUNT_MAX, COUNT_MAX)

    run(test)
