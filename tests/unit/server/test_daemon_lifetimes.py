"""Names, times to live, pins, links, orphans, eviction and spilling, over raw frames."""

import asyncio
import fcntl
import os
import sys
import time
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from raw import MIB, Refused, World, run, seal

from icehouse.server import frames, lifetimes
from icehouse.server.frames import DEDICATED, Op, Result, Why
from icehouse.server.names import LOOKS_MAX

pytestmark = pytest.mark.watchdog(60)


def test_compare_and_swap_of_names() -> None:
    async def test(world: World) -> None:
        client = await world.client()
        one, two = await client.put(), await client.put()
        assert await client.bind("a", one, 0) == 1
        with pytest.raises(Refused) as caught:
            await client.bind("a", two, 0)
        assert (caught.value.result, caught.value.version) == (Result.CONFLICT, 1)
        assert await client.bind("a", two, 1) == 2
        assert await client.bind("a") == 3
        assert await client.bind("a", one, 0) == 4
        with pytest.raises(Refused, match="ih1_"):
            await client.bind("ih1_x", one)
        with pytest.raises(Refused) as caught:
            await client.bind("b", (one[0], one[1] + 2))
        assert caught.value.result == Result.GONE
        world.restart()
        client = await client.again()
        assert world.daemon.names.lookup("a") == (one, 4)

    run(test)


def all_names(world: World, prefix: str = "", count: int = 256) -> list[str]:
    """The names of all pages."""
    found: list[str] = []
    cursor = ""
    while True:
        page, cursor = world.daemon.names.page(prefix, cursor, count)
        assert len(page) <= count
        found += [name for name, _, _ in page]
        if not cursor:
            return found


def test_a_page_of_names_looks_at_so_many_and_no_more() -> None:
    """However many are unbound, which stay for their versions."""

    async def test(world: World) -> None:
        client = await world.client()
        handle = await client.put()
        last = 2 * LOOKS_MAX + 100
        for number in range(last):
            world.daemon.bind(f"name-{number:05}", handle)
        for number in range(last - 50):
            world.daemon.bind(f"name-{number:05}", None)
        page, cursor = world.daemon.names.page("", "", 10)
        assert (page, cursor) == ([], f"name-{LOOKS_MAX - 1:05}")
        wanted = [f"name-{number:05}" for number in range(last - 50, last)]
        for count in (1, 7, 50, 256):
            assert all_names(world, count=count) == wanted
        assert all_names(world, f"name-{last - 1:05}") == wanted[-1:]
        assert all_names(world, "other") == []

    run(test)


def test_h11_a_larger_board_takes_the_place_of_a_full_one() -> None:
    async def test(world: World) -> None:
        client = await world.client()
        handle = await client.put()
        first = world.daemon.names.board
        for number in range(3000):
            await client.bind(f"name-{number:04}", handle)
            if number % 3 == 0:
                await client.bind(f"name-{number:04}")
        board = world.daemon.names.board
        assert board.number > first.number
        reply, fds = await client.call(Op.BOARD)
        assert frames.BOARD_REPLY.unpack(reply) == (board.number, board.bytes)
        os.close(fds[0])
        assert [key for key in world.held.fds if key.startswith("board")] == [
            f"board-{board.number}"
        ]
        names = all_names(world, "name-1")
        assert names == [f"name-{n:04}" for n in range(1000, 2000) if n % 3]
        # The version of a name that was unbound goes on.
        assert await client.bind("name-0000", handle) >= 3
        world.restart()
        assert world.daemon.names.bound == 2001
        assert len(world.daemon.names.of(handle)) == 2001
        await (await client.again()).delete(handle, force=True)
        assert world.daemon.names.bound == 0

    run(test)


def test_names_max() -> None:
    async def test(world: World) -> None:
        client = await world.client()
        handle = await client.put()
        await client.bind("a", handle)
        with pytest.raises(Refused, match="names_max"):
            await client.bind("b", handle)
        await client.bind("a")
        await client.bind("b", handle)

    run(test, limits__names_max=1)


def test_delete_refuses_names() -> None:
    async def test(world: World) -> None:
        client = await world.client()
        handle = await client.put()
        await client.publish(handle, name="a")
        with pytest.raises(Refused, match="'a'") as caught:
            await client.delete(handle)
        assert caught.value.result == Result.CONFLICT
        await client.delete(handle, force=True)
        assert await client.why(handle) == Why.DELETED
        with pytest.raises(Refused):
            await client.delete(handle)
        world.restart()
        assert await (await client.again()).why(handle) == Why.DELETED

    run(test)


def test_h15_time_to_live() -> None:
    async def test(world: World) -> None:
        client = await world.client()
        short, kept, pinned = [await client.put() for _ in range(3)]
        await client.publish(short, flags=frames.PUBLISH_TTL, ttl=0.05, name="short")
        await client.publish(kept, flags=frames.PUBLISH_TTL, ttl=0.05)
        await client.publish(kept, flags=frames.PUBLISH_TTL, ttl=0)
        await client.publish(pinned, flags=frames.PUBLISH_TTL | frames.PUBLISH_PIN, ttl=0.05)
        world.restart()
        client = await client.again()
        await world.until(lambda: world.daemon.lifetimes.why(short))
        assert await client.why(short) == Why.EXPIRED
        assert world.daemon.names.lookup("short")[0] is None
        await world.until(lambda: not world.daemon.lifetimes.next_expiry())
        assert await client.lives(kept)
        assert await client.lives(pinned)
        await client.publish(pinned, flags=frames.PUBLISH_UNPIN)
        await world.until(lambda: world.daemon.lifetimes.why(pinned))
        assert "time to live" in world.daemon.explain(pinned)

    run(test)


@pytest.mark.parametrize("restart", [False, True])
def test_h15_links(*, restart: bool) -> None:
    async def test(world: World) -> None:
        client = await world.client()
        target, deleted, holder = [await client.put() for _ in range(3)]
        await client.publish(holder, links=(target, deleted))
        await client.publish(holder, links=(target, deleted))
        if restart:
            world.restart()
            client = await client.again()
        assert (await client.stat(target))[9] == 1
        assert (await client.stat(holder))[8] == 2
        await client.delete(target)
        assert await client.why(target) == Why.DELETED
        # Through a link it opens.
        await client.image(Op.MAP, target, force=1)
        # A deleted image that gains a link lives again.
        other = await client.put()
        await client.publish(other, links=(target,))
        assert await client.lives(target)
        if restart:
            world.restart()
            client = await client.again()
        assert await client.lives(target)
        await client.delete(holder)
        await world.until(lambda: world.daemon.lifetimes.linked(target) == 1)
        assert await client.lives(target)
        assert await client.lives(deleted)
        await client.delete(other)
        await world.until(lambda: target[0] >> 24 not in world.daemon.segments.by_id)
        assert await client.why(target) == Why.DELETED

    run(test, limits__warm_seconds=0)


def test_links_to_what_is_gone_are_refused() -> None:
    async def test(world: World) -> None:
        client, other = await world.client(), await world.client()
        holder, target = await client.put(), await other.put()
        with pytest.raises(Refused, match="link"):
            await client.publish(holder, links=(target, (target[0], 1)))
        assert (await client.stat(target))[9] == 0
        with pytest.raises(Refused, match="another producer"):
            await other.publish(holder, links=(target,))

    run(test)


def test_h15_orphans() -> None:
    async def test(world: World) -> None:
        client, other = await world.client(), await world.client()
        plain, named, pinned, linked, fleeting = [await client.put() for _ in range(5)]
        await client.publish(named, name="n")
        await client.publish(pinned, flags=frames.PUBLISH_PIN)
        await client.publish(fleeting, flags=frames.PUBLISH_FLEETING)
        await other.publish(await other.put(), links=(linked,))
        client.die()
        await world.until(lambda: len(world.daemon.sessions.by_id) == 1)
        assert await other.why(fleeting) == Why.ORPHANED
        world.restart()
        other = await other.again()
        await world.until(lambda: world.daemon.lifetimes.why(plain))
        assert await other.why(plain) == Why.ORPHANED
        for handle in (named, pinned, linked):
            assert await other.lives(handle)
        await other.bind("n")
        await world.until(lambda: world.daemon.lifetimes.why(named))
        await world.until(lambda: len(world.daemon.lifetimes.retired) == 2)

    run(test, orphan_ttl=0.1)


def test_a_clock_that_jumps_ends_no_life(monkeypatch: pytest.MonkeyPatch) -> None:
    async def test(world: World) -> None:
        client = await world.client()
        handle = await client.put()
        await client.publish(handle, flags=frames.PUBLISH_TTL, ttl=3600)
        true = time.time_ns
        for days in (400, -400):
            jump = days * 86400 * 10**9
            monkeypatch.setattr(time, "time_ns", lambda jump=jump: true() + jump)
            world.daemon.tick()
            assert await client.lives(handle)
            world.restart()
            client = await client.again()
            assert await client.lives(handle)
            told = world.daemon.lifetimes.of(handle)
            assert told is not None
            left = lifetimes.epoch_ns(told.expires_ns) - time.time_ns()
            assert 0 < left <= 3600 * 10**9
        monkeypatch.undo()

    run(test)


def test_full_tells_figures() -> None:
    async def test(world: World) -> None:
        client = await world.client()
        for _ in range(15):
            await client.put(MIB - 4096)
        with pytest.raises(Refused) as caught:
            await client.grant(2 * MIB, DEDICATED)
        figures = caught.value.figures
        assert caught.value.result == Result.FULL
        assert figures.capacity == 16 * MIB
        assert figures.committed == 15 * MIB
        assert figures.wanted >= 2 * MIB
        await client.put(MIB - 4096)

    run(test)


def test_h07_evictable_images_go_first_least_recently_leased() -> None:
    async def test(world: World) -> None:
        client = await world.client()
        kept = await client.put(MIB)
        old, pinned, named = [await client.put(4 * MIB, frames.GRANT_EVICTABLE) for _ in range(3)]
        await client.publish(pinned, flags=frames.PUBLISH_PIN)
        await client.publish(named, name="n")
        world.daemon.segments.by_id[old[0] >> 24].last_lease -= 100
        await client.put(4 * MIB)
        assert await client.why(old) == Why.EVICTED
        await client.put(4 * MIB)
        assert await client.why(named) == Why.EVICTED
        assert world.daemon.names.lookup("n")[0] is None
        with pytest.raises(Refused) as caught:
            await client.put(4 * MIB)
        assert caught.value.result == Result.FULL
        assert await client.lives(kept)
        assert await client.lives(pinned)

    run(test)


def test_h08_warm_segments_go_back_to_their_producer() -> None:
    async def test(world: World) -> None:
        client, other = await world.client(), await world.client()
        segment = await client.grant(MIB, DEDICATED)
        handle = seal(segment, MIB)
        await client.delete(handle)
        await world.until(lambda: world.daemon.segments.warm)
        world.restart()
        client, other = await client.again(), await other.again()
        assert (await other.grant(MIB, DEDICATED)).reuse == 0
        again = await client.grant(MIB - 100, DEDICATED)
        assert again.reuse == segment.id
        assert again.id != segment.id
        assert again.fd == -1
        assert again.state == segment.state
        # It is not mapped any more: another, and that one is gone.
        fresh = await client.grant(MIB - 100, DEDICATED, frames.GRANT_FRESH)
        assert fresh.fd >= 0
        assert again.id not in world.daemon.segments.by_id
        os.close(fresh.fd)

    run(test)


def test_h07_segments_grow_as_they_are_filled_and_go_back_empty() -> None:
    async def test(world: World) -> None:
        client, other = await world.client(), await world.client()
        sizes = []
        for _ in range(4):
            segment = await client.grant(1000)
            sizes.append(segment.bytes)
            os.close(segment.fd)
        assert sizes == [64 << 10, 64 << 10, 128 << 10, 256 << 10]
        with pytest.raises(Refused, match="another producer"):
            await other.call(Op.RETURN, frames.RETURN_REQUEST.pack(segment.id))
        await client.call(Op.RETURN, frames.RETURN_REQUEST.pack(segment.id))
        assert world.daemon.segments.committed == 256 << 10

    run(test)


def test_spilling_and_back(tmp_path: Path) -> None:
    async def test(world: World) -> None:
        client = await world.client()
        handles = [await client.put(3 * MIB) for _ in range(8)]
        folder = tmp_path / "spill"
        assert world.daemon.counters.spills >= 3
        assert folder.stat().st_mode & 0o777 == 0o700
        files = list(folder.iterdir())
        assert len(files) == world.daemon.counters.spills
        assert {file.stat().st_mode & 0o777 for file in files} == {0o400}
        (folder / "segment-1.ih").write_bytes(b"of an older store")
        world.restart()
        client = await client.again()
        assert not (folder / "segment-1.ih").exists()
        for handle in handles:
            assert await client.lives(handle)
        spilled = handles[0]
        assert (await client.stat(spilled))[10] & frames.STAT_SPILLED
        reply, fds = await client.call(Op.MAP, frames.IMAGE_REQUEST.pack(*spilled, 0, 0))
        assert frames.SEGMENT_REPLY.unpack(reply)[-1] & frames.SEGMENT_FILE
        assert int.from_bytes(os.pread(fds[0], 8, 4096 + 16), "little") == spilled[1]
        with pytest.raises(OSError, match="Bad file"):
            os.pwrite(fds[0], b"x", 0)
        os.close(fds[0])
        for handle in handles:
            await client.delete(handle)
        await world.until(lambda: not list(folder.iterdir()))
        assert world.daemon.segments.spilled_bytes == 0

    run_spilling(test, tmp_path)


def run_spilling(test: object, tmp_path: Path) -> None:
    run(test, spill=tmp_path / "spill", spill_capacity="1GiB")  # type: ignore[arg-type]


def test_a_full_disk_is_storefull(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_space(*_: object) -> None:
        raise OSError(28, "No space left on device")

    async def test(world: World) -> None:
        monkeypatch.setattr(os, "posix_fallocate", no_space)
        client = await world.client()
        handles = [await client.put(3 * MIB) for _ in range(5)]
        with pytest.raises(Refused) as caught:
            await client.put(3 * MIB)
        assert caught.value.result == Result.FULL
        assert not list((tmp_path / "spill").iterdir())
        for handle in handles:
            assert await client.lives(handle)

    run_spilling(test, tmp_path)


def test_only_a_sealed_segment_is_noted_as_sealed() -> None:
    async def test(world: World) -> None:

        client = await world.client()
        segment = await client.grant(MIB, DEDICATED, frames.GRANT_SEAL)
        handle = seal(segment, MIB)
        with pytest.raises(Refused, match="F_SEAL_WRITE"):
            await client.publish(handle, flags=frames.PUBLISH_SEALED)
        fcntl.fcntl(segment.fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_WRITE)
        await client.publish(handle, flags=frames.PUBLISH_SEALED)
        os.close(segment.fd)
        world.restart()
        client = await client.again()
        assert world.daemon.segments.by_id[segment.id].key.kernel
        await client.delete(handle)
        await world.until(lambda: not world.daemon.segments.by_id)

    run(test)


def test_h03_the_journal_is_compacted_and_says_the_same() -> None:
    async def test(world: World) -> None:
        client = await world.client()
        handle, pinned = await client.put(), await client.put()
        await client.publish(pinned, flags=frames.PUBLISH_PIN)
        world.daemon.journal.room = world.daemon.journal.count + 8
        for turn in range(40):
            flags = frames.PUBLISH_UNPIN if turn % 2 else frames.PUBLISH_PIN
            await client.publish(handle, flags=flags)
        assert world.daemon.journal.compactions == 1
        assert [key for key in world.held.fds if key.startswith("journal")] == ["journal-2"]
        world.restart()
        await asyncio.sleep(0)
        assert {at for at, life in world.daemon.lifetimes.lives.items() if life.pinned} == {
            pinned[0]
        }
        assert world.daemon.ids.give() > handle[0] >> 24

    run(test)
