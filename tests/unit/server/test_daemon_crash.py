"""Crash enumeration: the daemon dies at every place that stands between two steps (failpoints.py).

A death is an exception that nobody catches, after which the keeper hears nothing more; the next
daemon has what the keeper held and what lies in shared memory. (tests/crash kills real ones.)
"""

import asyncio
import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from raw import MIB, Client, Refused, World, run

from icehouse.server import failpoints, frames
from icehouse.server.frames import DEDICATED, Handle

pytestmark = pytest.mark.watchdog(300)

SETTINGS: dict[str, Any] = {"orphan_ttl": 0, "limits__warm_seconds": 0}

PLACES = {
    *("grant.made", "grant.held", "grant.added", "reuse.held", "reuse.renamed", "reuse.dropped"),
    *("publish.linked", "publish.doomed", "publish.pinned", "publish.ttl", "publish.noted"),
    *("bind.written", "delete.unbound", "delete.condemned", "delete.buried", "reclaim.freed"),
    *("rekey.held", "rekey.dropped", "drop.gone", "drop.dropped", "reply"),
    *("evict.deleted", "evict.reclaimed"),
    *("spill.copied", "spill.held", "spill.replaced", "spill.dropped"),
    *("journal.written", "journal.held", "journal.dropped"),
}


class Died(BaseException):
    """SIGKILL, as far as this process can have it."""


class Death:
    """Counts the places that are passed, and dies at one."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.at = 0
        self.passed: list[str] = []
        self.world: World | None = None
        monkeypatch.setattr(failpoints, "action", self)

    def __call__(self, name: str) -> None:
        if self.world is not None and self.world.held.frozen:
            raise Died(name)
        self.passed.append(name)
        if len(self.passed) == self.at:
            if self.world is not None:
                self.world.held.frozen = True
            raise Died(name)


class Known:
    """What was acknowledged, and what was under way."""

    def __init__(self) -> None:
        self.lives: set[Handle] = set()
        self.gone: set[Handle] = set()
        self.maybe: set[Handle] = set()
        self.names: dict[str, set[Handle | None]] = {}


async def work(client: Client, known: Known) -> None:
    """A little of everything, each step noted before and after."""

    async def put(size: int = 128, flags: int = 0) -> Handle:
        handle = await client.put(size, flags)
        known.lives.add(handle)
        return handle

    async def name(text: str, handle: Handle | None, **options: Any) -> None:
        known.names.setdefault(text, {None}).add(handle)
        if options:
            assert handle is not None
            await client.publish(handle, name=text, **options)
        else:
            await client.bind(text, handle or (0, 0))
        known.names[text] = {handle}

    async def delete(handle: Handle) -> None:
        known.lives.discard(handle)
        known.maybe.add(handle)
        for text, found in known.names.items():
            if handle in found:
                known.names[text] = found | {None}
        await client.delete(handle, force=True)
        known.maybe.discard(handle)
        known.gone.add(handle)
        for found in known.names.values():
            found.discard(handle)

    one, two, three = await put(), await put(), await put()
    flags = frames.PUBLISH_PIN | frames.PUBLISH_TTL
    await name("one", one, flags=flags, ttl=1000.0, links=(two,))
    await name("two", two)
    await name("two", three)
    await delete(two)
    # A link revives what was deleted, and takes it along when it goes.
    known.gone.discard(two)
    known.maybe.add(two)
    await client.publish(three, links=(two,))
    known.lives.add(two)
    await delete(one)
    known.lives.discard(two)
    await delete(three)
    client.world.daemon.reclaimer.all()
    known.maybe.discard(two)
    known.gone.add(two)
    # Warm ones are used again; what is evictable or cold goes.
    warm = await put(MIB)
    # The journal is full now.
    client.world.daemon.journal.room = client.world.daemon.journal.count
    await delete(warm)
    client.world.daemon.reclaimer.all()
    segment = await client.grant(MIB, DEDICATED)
    assert segment.reuse
    evictable = await put(6 * MIB, frames.GRANT_EVICTABLE)
    known.lives.discard(evictable)
    known.maybe.add(evictable)
    cold = [await put(6 * MIB) for _ in range(3)]
    await name("cold", cold[0])
    for number in range(4):
        await name(f"more-{number}", cold[1])


async def verify(world: World, client: Client, known: Known) -> None:
    """What was acknowledged stands, and what was under way is whole or undone."""
    world.daemon.check()
    for handle in known.lives:
        assert await client.lives(handle), "what was put is gone"
    world.daemon.reclaimer.all()
    for handle in known.gone:
        assert not await client.lives(handle), "what was deleted is there"
    for text, found in known.names.items():
        assert world.daemon.names.lookup(text)[0] in found, text
    # All of it can be deleted, and nothing is left when its producer ends.
    for handle in known.lives | known.maybe:
        try:
            await client.delete(handle, force=True)
        except Refused as error:
            if error.result != frames.Result.GONE:
                raise
    assert world.daemon.names.bound == 0
    client.die()
    await world.until(lambda: not (world.daemon.segments.by_id or world.daemon.sessions.families))
    world.daemon.check()
    assert world.daemon.segments.committed == world.daemon.segments.reserved == 0
    assert {key.split("-")[0] for key in world.held.fds} == {"state", "board", "journal"}
    assert len(world.held.fds) == 3
    assert not world.daemon.lifetimes.lives
    folder = world.daemon.spill.folder
    assert folder is not None
    assert not list(folder.iterdir())


async def until_death(world: World, client: Client, known: Known) -> bool:
    """Work until the daemon dies; False: it did not."""
    working = asyncio.ensure_future(work(client, known))
    while not working.done() and not world.held.frozen:
        await asyncio.sleep(0.0005)
    died = world.held.frozen
    if died and not working.done():
        working.cancel()
    try:
        await working
    except (asyncio.CancelledError, ConnectionError, Died):
        assert died
    return died


def die_at(at: int, monkeypatch: pytest.MonkeyPatch, folder: Path) -> bool:
    """Die at one place, and verify what the next daemon makes of it; False: there is none such."""
    death = Death(monkeypatch)

    async def test(world: World) -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _loop, context: None)
        client = await world.client()
        death.world, death.at, death.passed = world, at, []
        known = Known()
        died.append(await until_death(world, client, known))
        death.world = None
        death.at = 0
        world.held.frozen = False
        world.restart()
        client = await client.again()
        try:
            await verify(world, client, known)
        except AssertionError as error:
            where = death.passed[at - 1 : at]
            raise AssertionError(f"died at step {at}, {where}: {error}") from error

    died: list[bool] = []
    run(test, spill=folder, spill_capacity="1GiB", **SETTINGS)
    if not died[0]:
        # The whole work was done: it has passed every kind of place.
        assert set(death.passed) >= PLACES, PLACES - set(death.passed)
    return died[0]


@pytest.mark.parametrize("first", [1, 2, 3, 4])
def test_h12_death_at_every_step(
    first: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    at = first
    while die_at(at, monkeypatch, tmp_path / f"spill-{at}"):
        at += 4
    assert at > 40


def test_death_at_every_step_of_recovery(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    death = Death(monkeypatch)

    async def test(world: World) -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _loop, context: None)
        client = await world.client()
        death.world, death.at, death.passed = world, 60, []
        known = Known()
        assert await until_death(world, client, known)
        at = 1
        while True:
            death.at, death.passed = at, []
            world.held.frozen = False
            try:
                world.restart()
                break
            except Died:
                at += 1
        assert at > 3
        death.world = None
        death.at = 0
        client = await client.again()
        await verify(world, client, known)

    run(test, spill=tmp_path / "spill", spill_capacity="1GiB", **SETTINGS)


def test_death_at_every_step_of_reaping(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    at = 1
    while True:
        death = Death(monkeypatch)
        survived: list[bool] = []

        async def test(
            world: World, death: Death = death, survived: list[bool] = survived, at: int = at
        ) -> None:
            asyncio.get_running_loop().set_exception_handler(lambda _loop, context: None)
            client, other = await world.client(), await world.client()
            handles = [await client.put() for _ in range(3)]
            await client.publish(handles[0], name="kept")
            await client.publish(handles[1], flags=frames.PUBLISH_FLEETING)
            session = client.session
            client.die()
            death.world, death.at, death.passed = world, at, []
            try:
                world.daemon.tick()
                world.daemon.tick()
                survived.append(True)
            except Died:
                pass
            death.world = None
            death.at = 0
            world.held.frozen = False
            world.restart()
            assert session not in world.daemon.sessions.by_id
            other = await other.again()
            assert await other.lives(handles[0])
            await world.until(lambda: len(world.daemon.segments.by_id) == 1)
            world.daemon.check()
            await other.delete(handles[0], force=True)
            await world.until(lambda: not world.daemon.segments.by_id)

        run(test, **SETTINGS)
        if survived:
            break
        at += 1
    assert at > 5
