"""Sessions, members, roles and resuming, over raw frames."""

import asyncio
import os
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from raw import Client, Refused, World, run

from icehouse.native._arena import ffi
from icehouse.server import catalog, frames, keys
from icehouse.server.frames import Op, Result

pytestmark = pytest.mark.watchdog(60)


def test_structs_have_the_sizes_of_the_header() -> None:
    for name, struct in {
        "ih_frame": frames.FRAME,
        "ih_failure": frames.FAILURE,
        "ih_hello": frames.HELLO,
        "ih_welcome": frames.WELCOME,
        "ih_grant_request": frames.GRANT_REQUEST,
        "ih_delete_some_request": frames.DELETE_SOME_REQUEST,
        "ih_segment_reply": frames.SEGMENT_REPLY,
        "ih_image_request": frames.IMAGE_REQUEST,
        "ih_bind_request": frames.BIND_REQUEST,
        "ih_version_reply": frames.VERSION_REPLY,
        "ih_publish_request": frames.PUBLISH_REQUEST,
        "ih_stat_reply": frames.STAT_REPLY,
        "ih_list_request": frames.LIST_REQUEST,
        "ih_list_reply": frames.LIST_REPLY,
        "ih_board_reply": frames.BOARD_REPLY,
        "ih_return_request": frames.RETURN_REQUEST,
        "ih_usage": frames.USAGE_REPLY,
        "ih_handle": frames.HANDLE,
    }.items():
        assert struct.size == ffi.sizeof(name), name


def test_keys_read_back() -> None:
    segment = keys.SegmentKey(7, 2, 8192, 9, 1000, 12, bytes(range(16)), 64, kernel=True)
    for key in (
        segment,
        segment.but(warm=True, evictable=True, kernel=False),
        segment.but(kernel=False),
        keys.PageKey(1, 2, 3, 4, 5, 6, 1),
        keys.FamilyKey(1, 2, bytes(16)),
        keys.StateKey(os.urandom(16)),
        keys.NumberedKey("board", 3),
    ):
        assert keys.parse(str(key)) == key
        assert len(str(key)) <= 200
    for text in ("segment-1", "state-xyz", "", "page-1-2-3-4-5-6-9", str(segment) + "\n"):
        assert keys.parse(text) is None


@pytest.mark.parametrize("kind", [frames.ORDINARY, frames.DEDICATED])
@pytest.mark.parametrize("dies", [False, True])
def test_a_segment_whose_grant_was_not_heard_goes_back(kind: int, dies: bool) -> None:
    async def test(world: World) -> None:
        client = await world.client()
        known, handle = await client.grant(4096, kind), await client.put()
        seen, committed = client.seen, world.daemon.segments.committed
        lost = await client.grant(4096, kind)
        client.seen = seen
        if dies:
            world.restart()
        client = await client.again()
        again = await client.grant(4096, kind)
        assert again.id not in (known.id, lost.id)
        daemon = world.daemon
        assert lost.id not in daemon.segments.by_id
        assert {known.id, again.id, handle[0] >> 24} <= set(daemon.segments.by_id)
        assert daemon.segments.committed == committed + again.bytes
        for segment in (known, lost, again):
            os.close(segment.fd)

    run(test)


def test_a_segment_with_an_image_stays_whatever_its_producer_says_it_saw() -> None:
    async def test(world: World) -> None:
        client = await world.client()
        handle = await client.put()
        client.seen = 0
        segment = await client.grant(4096)
        assert await client.lives(handle)
        os.close(segment.fd)

    run(test)


def test_hello_gives_what_a_client_maps() -> None:
    async def test(world: World) -> None:
        client = await world.client()
        assert client.lock >= 0
        assert len(client.fds) == 3
        page, state, board = client.fds
        assert os.fstat(page).st_size == frames.SESSION_BYTES
        assert os.fstat(state).st_size == world.daemon.state_bytes
        assert os.fstat(board).st_size == world.daemon.names.board.bytes
        for fd in (state, board):
            with pytest.raises(OSError, match=r"Bad file|not permitted"):
                os.pwrite(fd, b"x", 0)
        assert world.daemon.catalog.is_alive(client.family, client.member)

    run(test)


def test_h09_a_process_ends_with_its_lock() -> None:
    async def test(world: World) -> None:
        client = await world.client()
        session = client.session
        client.sock.close()
        await asyncio.sleep(0.01)
        world.daemon.tick()
        # The connection is gone, the process is not.
        assert session in world.daemon.sessions.by_id
        client.die()
        await world.until(lambda: session not in world.daemon.sessions.by_id)
        assert not world.daemon.sessions.families
        assert {key.split("-")[0] for key in world.held.fds} == {"state", "journal", "board"}

    run(test)


def test_h14_a_session_resumes_over_another_connection() -> None:
    async def test(world: World) -> None:
        client = await world.client()
        handle = await client.put()
        other = await client.again()
        assert other.session == client.session
        assert await other.lives(handle)
        assert world.daemon.counters.resumed == 1

    run(test)


def test_a_session_resumes_with_another_daemon() -> None:
    async def test(world: World) -> None:
        client = await world.client()
        identity, handle = client.welcome[2], await client.put()
        await client.publish(handle, name="a")
        world.restart()
        client = await client.again()
        assert client.welcome[2] == identity
        assert await client.lives(handle)
        assert await client.bind("a", handle) == 2

    run(test)


def test_a_process_that_ends_while_no_daemon_runs_is_reaped_by_the_next() -> None:
    async def test(world: World) -> None:
        client = await world.client()
        handle = await client.put()
        world.kill()
        client.die()
        world.restart()
        assert not world.daemon.sessions.by_id
        assert handle[0] >> 24 in world.daemon.lifetimes.retired
        other = await world.client()
        assert await other.lives(handle)

    run(test)


@pytest.mark.parametrize("wrong", ["token", "family", "session", "member"])
def test_a_wrong_token_resumes_nothing(wrong: str) -> None:
    async def test(world: World) -> None:
        client = await world.client()
        right = {
            "session": client.session,
            "family": client.family,
            "token": client.token,
            "member": client.member,
        }
        right[wrong] = bytes(16) if wrong == "token" else int(right[wrong]) + 1
        with pytest.raises(Refused) as caught:
            await Client(world).hello(**right)
        assert caught.value.result == Result.UNAVAILABLE
        await client.call(Op.PING)

    run(test)


def test_h09_a_forked_child_joins_as_the_member_that_was_prepared() -> None:
    async def test(world: World) -> None:
        client = await world.client()
        with pytest.raises(Refused, match="unlocked"):
            await Client(world).hello(family=client.family, token=client.token, member=7)
        family = world.daemon.sessions.families[client.family]
        member = world.daemon.catalog.new_member(client.family)
        lock = catalog.lock_member(family.fd, member)
        child = await Client(world).hello(family=client.family, token=client.token, member=member)
        child.lock = lock
        assert len(child.fds) == 0 or child.fds
        assert child.session != client.session
        # A hello whose reply was lost gives the same session again.
        again = await Client(world).hello(family=client.family, token=client.token, member=member)
        assert again.session == child.session
        client.die()
        await world.until(lambda: client.session not in world.daemon.sessions.by_id)
        assert client.family in world.daemon.sessions.families
        again.die()
        child.die()
        await world.until(lambda: not world.daemon.sessions.families)

    run(test)


def test_limits_on_sessions_and_connections() -> None:
    async def test(world: World) -> None:
        clients = [await world.client() for _ in range(3)]
        with pytest.raises(Refused, match="sessions_max"):
            await world.client()
        clients[0].die()
        await world.until(lambda: len(world.daemon.sessions.by_id) == 2)
        await world.client()
        idle = [Client(world) for _ in range(8)]
        await asyncio.sleep(0.01)
        assert len(world.daemon.connections) == 8
        del idle

    run(test, limits__sessions_max=3, limits__connections_max=8)


def test_roles() -> None:
    async def test(world: World) -> None:
        client = await world.client()
        handle = await client.put()
        connection = world.daemon.sessions.by_id[client.session].connection
        assert connection is not None
        connection.role = frames.Role.READER
        await client.stat(handle)
        attempts = (
            client.delete(handle),
            client.bind("a", handle),
            client.grant(100),
            client.publish(handle, name="a"),
            client.call(Op.TRIM),
        )
        for attempt in attempts:
            with pytest.raises(Refused, match="role reader") as caught:
                await attempt
            assert caught.value.result == Result.DENIED
        assert world.daemon.counters.denied == len(attempts)
        assert await client.lives(handle)

    run(test)


def test_a_user_without_a_role_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    async def test(world: World) -> None:
        monkeypatch.setattr(type(world.config), "role_of", lambda *_: 0)
        client = Client(world)
        with pytest.raises(Refused, match="role none") as caught:
            await client.hello()
        assert caught.value.result == Result.DENIED
        with pytest.raises((ConnectionError, BrokenPipeError)):
            await client.call(Op.PING)
        assert world.daemon.counters.refused_connections["uid"] == 1
        assert not world.daemon.sessions.by_id

    run(test)
