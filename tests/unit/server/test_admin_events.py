"""Events: what is told, going on where one was, and what a slow reader costs."""

import asyncio
import importlib.util
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from admin_client import Admin
from daemons import Daemon, wait_until

import icehouse

for needed in ("fastapi", "uvicorn", "prometheus_client"):
    if importlib.util.find_spec(needed) is None:
        pytest.skip(f"{needed} is not installed: icehouse[service]", allow_module_level=True)

from icehouse.server.admin.feed import (  # noqa: E402 - after the look
    RING_MAX,
    STREAMS_MAX,
    Feed,
    start_of,
)
from icehouse.server.admin.link import AwayError  # noqa: E402 - after the look
from icehouse.server.events import RING_MAX as DAEMON_RING_MAX  # noqa: E402 - after the look
from icehouse.server.events import SINGLE_MAX, Events  # noqa: E402 - after the look
from icehouse.store.wire import messages  # noqa: E402 - after the look

pytestmark = pytest.mark.watchdog(120)


class Browser:
    """One event stream, read as far as a test wants."""

    def __init__(self, port: int, last: str = "") -> None:
        self.sock = socket.create_connection(("127.0.0.1", port), 60)
        more = f"Last-Event-ID: {last}\r\n" if last else ""
        self.sock.sendall(f"GET /api/v1/events HTTP/1.1\r\nHost: 127.0.0.1\r\n{more}\r\n".encode())
        self.file = self.sock.makefile("rb")
        self.status = int(self.file.readline().split()[1])
        self.headers = {}
        while line := self.file.readline().strip():
            name, _, value = line.decode().partition(":")
            self.headers[name.lower()] = value.strip()
        self.last = last
        self.seen: list[tuple[str, dict[str, Any]]] = []

    def next(self) -> tuple[str, dict[str, Any]]:
        """The next event, whatever it is."""
        fields: dict[str, str] = {}
        while True:
            line = self.file.readline()
            assert line, "the stream has ended"
            text = line.decode().rstrip("\n")
            if text.endswith("\r"):  # the size of a piece, or its end
                continue
            if text:
                name, _, value = text.partition(": ")
                fields[name] = value
            elif "event" in fields:
                self.last = fields["id"]
                found = fields["event"], json.loads(fields["data"])
                self.seen.append(found)
                return found
            else:
                fields = {}

    def until(self, kind: str, **wanted: Any) -> dict[str, Any]:
        """The next event of a kind with these data."""
        while True:
            found, data = self.next()
            if found == kind and all(data.get(key) == value for key, value in wanted.items()):
                return data

    def close(self) -> None:
        self.file.close()
        self.sock.close()


class World:
    def __init__(self, daemon: Daemon) -> None:
        self.daemon = daemon
        self.admin = Admin(daemon)
        self.store = icehouse.connect(daemon.socket)
        self.browsers: list[Browser] = []

    def browse(self, last: str = "") -> Browser:
        browser = Browser(self.admin.port, last)
        assert browser.status == 200
        self.browsers.append(browser)
        return browser

    def close(self) -> None:
        for browser in self.browsers:
            browser.close()
        self.admin.close()
        self.store.close()


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with Daemon(tmp_path / "d", http="127.0.0.1:0", capacity="16MiB") as daemon:
        made = World(daemon)
        yield made
        made.close()


def test_what_happens_is_told_to_two_browsers(world: World) -> None:
    store = world.store
    one, other = world.browse(), world.browse()
    assert one.headers["content-type"].startswith("text/event-stream")
    assert one.headers["cache-control"] == "no-store"
    assert "content-security-policy" in one.headers
    for browser in (one, other):
        browser.until("status")
    handle = store.put([1], name="a")
    store.bind("a", None)
    store.delete(handle)
    brief = store.put([2], ttl=0.05)
    for browser in (one, other):
        bound = browser.until("bind", name="a", handle=str(handle))
        assert bound["pid"] == os.getpid()
        assert "handle" not in browser.until("bind", name="a")
        assert browser.until("delete")["handle"] == str(handle)
        assert browser.until("delete", why="expired")["handle"] == str(brief)
        if not any(kind == "put" for kind, _ in browser.seen):
            assert browser.until("put")["count"] >= 1
    spare = [store.put(bytes(3_000_000), evictable=True) for _ in range(8)]
    assert one.until("evict")["handle"] in map(str, spare)
    with pytest.raises(icehouse.StoreFull):
        list(map(store.put, [bytes(3_000_000)] * 9))
    full = other.until("full")
    assert full["bytes"] >= 3_000_000
    assert one.until("full") == full


def test_clients_come_and_go(world: World) -> None:
    browser = world.browse()
    browser.until("status")
    code = (
        "import icehouse, sys, time\n"
        "store = icehouse.connect(sys.argv[1]); store.put([1])\n"
        "view = store.get(store.put([[1]]))\n"
        "print(flush=True); sys.stdin.read(); del view"
    )
    for kill in (False, True):
        process = subprocess.Popen(
            [sys.executable, "-c", code, world.daemon.socket],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        with process:
            assert process.stdout is not None
            process.stdout.readline()
            joined = browser.until("client_joined", pid=process.pid)
            if kill:
                process.kill()
            else:
                process.communicate(b"")
        kind = "client_died" if kill else "client_left"
        assert browser.until(kind, pid=process.pid)["session"] == joined["session"]


def test_who_comes_back_goes_on_where_it_was(world: World) -> None:
    browser = world.browse()
    browser.until("status")
    first = world.store.put([1], name="first")
    browser.until("bind", name="first")
    last = browser.last
    other = world.browse()
    browser.close()
    world.store.bind("second", first)
    world.store.bind("third", first)
    other.until("bind", name="third")
    again = world.browse(last)
    again.until("bind", name="second")
    again.until("bind", name="third")
    assert not [kind for kind, _ in again.seen if kind == "gap"]
    # From long ago, and from nowhere: what is missing is said.
    for start in ("1", "9" * 18):
        lost = world.browse(start)
        assert lost.next()[0] == "gap"
        lost.until("bind", name="third")
    for start in ("", "x", "-1", "1e3"):
        fresh = world.browse(start)
        fresh.until("status")
        assert not [kind for kind, _ in fresh.seen if kind in ("gap", "bind")]


def test_many_deletes_are_told_as_sums(world: World) -> None:
    handles = [world.store.put([number]) for number in range(3000)]
    browser = world.browse()
    browser.until("status")
    for handle in handles:
        world.store.delete(handle)
    count = single = 0
    while count < 3000:
        told = browser.until("delete")
        count += told["count"]
        single += "handle" in told
    assert count == 3000
    assert 1 <= single < 3000


@pytest.mark.slow
def test_a_daemon_that_dies_and_comes_back(world: World) -> None:
    browser = world.browse()
    browser.until("status")
    pid = world.daemon.daemon_pid()
    assert pid is not None
    os.kill(world.daemon.keeper_pid, signal.SIGSTOP)
    try:
        os.kill(pid, signal.SIGKILL)
        browser.until("away")
    finally:
        os.kill(world.daemon.keeper_pid, signal.SIGCONT)
    browser.until("back")
    browser.until("status")
    world.store.put([1], name="after")
    browser.until("bind", name="after")


def test_streams_are_few_and_end_with_their_browsers(world: World) -> None:
    for _ in range(STREAMS_MAX):
        world.browse()
    more = Browser(world.admin.port)
    assert more.status == 503
    assert more.headers["retry-after"]
    more.close()
    # The rest is served all the same.
    assert world.admin("/api/v1/status").status == 200
    for browser in world.browsers:
        browser.close()
    world.browsers.clear()

    def is_free() -> bool:  # HEAD follows nothing, so that it takes no place.
        return world.admin("/api/v1/events", "HEAD").status == 200

    wait_until(is_free, "the streams to end")
    world.browse().until("status")


def test_a_reader_that_reads_nothing_holds_nobody_up(world: World) -> None:
    slow = world.browse()
    quick = world.browse()
    quick.until("status")
    memory = Path(f"/proc/{world.daemon.admin_pid()}/statm")
    before = int(memory.read_text().split()[1])
    handle = world.store.put([1])
    for _ in range(60):
        for number in range(40):
            world.store.bind(f"{'name ' * 80}{number}", handle)
    count = 0
    while count < 2400:
        count += quick.until("bind")["count"]
    assert count == 2400
    grown = int(memory.read_text().split()[1]) - before
    # AddressSanitizer keeps what is freed, for a while.
    room = 2**28 if "libasan" in os.environ.get("LD_PRELOAD", "") else 2**26
    assert grown * os.sysconf("SC_PAGE_SIZE") < room
    slow.until("status")


# --- the parts, without a daemon ---


class FakeLink:
    """A daemon that says what a test wants."""

    def __init__(self) -> None:
        self.status = messages.Status(started=1.0)
        self.is_away = False
        self.is_followed = False

    async def follow(self, _told: Any) -> bool:
        if self.is_away:
            raise AwayError("nobody answers")
        is_new, self.is_followed = not self.is_followed, True
        return is_new

    async def ask(self, _request: Any, _answer: Any) -> messages.Status:
        return self.status

    def unfollow(self) -> None:
        pass


def test_a_slow_reader_is_told_how_much_it_missed() -> None:
    async def run() -> None:
        feed = Feed(FakeLink())  # type: ignore[arg-type] - as much of one as is used
        pieces = feed.follow(feed.last)
        assert (await anext(pieces)).startswith("retry: ")
        begin = feed.last
        for number in range(RING_MAX + 500):
            feed.add("delete", {"number": number})
        piece = await anext(pieces)
        lines = piece.splitlines()
        assert lines[0] == f"id: {feed.ring[0].number - 1}"
        assert lines[1:3] == ["event: gap", f'data: {{"lost": {feed.ring[0].number - 1 - begin}}}']
        told = piece.count("event: delete")
        while told < RING_MAX:
            told += (await anext(pieces)).count("event: delete")
        assert told == RING_MAX
        assert len(feed.ring) == RING_MAX
        await pieces.aclose()
        assert feed.streams == 0
        assert feed._task is not None
        feed._task.cancel()

    asyncio.run(run())


@pytest.mark.parametrize("place", [0, 5, 10**19])
def test_a_place_of_another_process_is_a_gap(place: int) -> None:
    async def run() -> None:
        feed = Feed(FakeLink())  # type: ignore[arg-type] - as above
        pieces = feed.follow(place)
        assert (await anext(pieces)).startswith("retry: ")
        assert (await anext(pieces)).splitlines()[1:3] == ["event: gap", 'data: {"lost": 1}']
        # Nothing has happened yet in this one.
        assert feed.first == feed.last
        feed.add("delete", {"number": 7})
        assert (await anext(pieces)).splitlines()[1:3] == ["event: delete", 'data: {"number":7}']
        await pieces.aclose()
        assert feed._task is not None
        feed._task.cancel()

    asyncio.run(run())


def test_a_daemon_that_came_unseen_is_told_all_the_same() -> None:
    """It may die and start again between two questions: events were lost, and nobody was away."""

    async def run() -> None:
        link = FakeLink()
        feed = Feed(link)  # type: ignore[arg-type] - as much of one as is used
        feed.wanted()

        async def statuses(many: int) -> None:
            while sum(event.kind == "status" for event in feed.ring) < many:
                await asyncio.sleep(0.01)

        await statuses(1)
        assert {event.kind for event in feed.ring} == {"status"}
        link.is_followed = False
        await statuses(2)
        assert [event.kind for event in feed.ring][1:4] == ["away", "back", "status"]
        assert feed._task is not None
        feed._task.cancel()

    asyncio.run(run())


def test_the_daemon_keeps_a_bounded_ring() -> None:
    async def run() -> None:
        events = Events()
        events.note("delete")
        assert events.last == 0
        told = asyncio.Event()
        events.followers["x"] = told.set
        place = 0
        while events.last < 2 * DAEMON_RING_MAX:
            for number in range(10 * SINGLE_MAX):
                events.note("delete", handle=(1, number), size=1)
                events.note("bind", name=str(number))
            await told.wait()
            told.clear()
        assert len(events.ring) == DAEMON_RING_MAX
        answer = events.after(place)
        assert answer.lost == events.last - DAEMON_RING_MAX
        count = 0
        while answer.items:
            count += sum(event.count for event in answer.items if event.kind == "delete")
            place = answer.items[-1].number
            answer = events.after(place)
            assert answer.lost == 0
        assert place == events.last
        assert count > DAEMON_RING_MAX
        events.stop()

    asyncio.run(run())


def test_numbers_of_browsers() -> None:
    assert start_of("17") == 17
    for text in (None, "", "-1", "x", "1.0", "9" * 30, "\u0661"):
        assert start_of(text) is None
