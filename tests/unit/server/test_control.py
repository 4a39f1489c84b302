"""The daemon's side of the control family: pages, watches, roles, and who breaks the rules."""

import os
import socket
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest
from daemons import Daemon, wait_until

import icehouse
from icehouse.client.control import Control
from icehouse.server.kinds import CONSTANTS, KINDS
from icehouse.store.errors import NotPermitted, ProtocolError, StoreUnavailable
from icehouse.store.wire import messages
from icehouse.store.wire.framing import Frames, frame

READER = 51002


class Raw:
    """A client that can break the rules."""

    def __init__(self, path: str) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(30)
        self.sock.connect(path)
        self.frames = Frames(messages.REPLY_BYTES_MAX)
        self.replies: list[messages.REPLIES] = []

    def send(self, *requests: messages.Request) -> None:
        self.sock.sendall(b"".join(frame(msgspec.msgpack.encode(request)) for request in requests))

    def greet(self) -> "Raw":
        self.sock.sendall(messages.MAGIC)
        self.send(messages.Hello(id=1))
        assert isinstance(self.reply(), messages.Welcome)
        return self

    def reply(self) -> messages.REPLIES:
        while not self.replies:
            data = self.sock.recv(65536)
            assert data, "the daemon closed the connection"
            self.replies += [
                msgspec.msgpack.decode(body, type=messages.REPLIES)
                for body in self.frames.feed(data)
            ]
        return self.replies.pop(0)

    def ended(self) -> messages.REPLIES | None:
        """What the daemon said before it closed the connection."""
        said = None
        try:
            while True:
                said = self.reply()
        except (AssertionError, ConnectionResetError):
            return said

    def close(self) -> None:
        self.sock.close()


@pytest.fixture
def raw(daemon: Daemon) -> Any:
    client = Raw(daemon.socket)
    yield client
    client.close()


def metrics(daemon: Daemon) -> messages.Metrics:
    with Control(daemon.socket) as control:
        return control.ask(messages.AskMetrics(), messages.Metrics)


# --- who breaks the rules ---

BROKEN = {
    "no hello first": frame(msgspec.msgpack.encode(messages.Ping(id=1))),
    "garbage": frame(b"\xc1garbage"),
    "no map": frame(b"\x01"),
    "unknown request": frame(msgspec.msgpack.encode({"op": "format disk", "id": 1})),
    "wrong type": frame(msgspec.msgpack.encode({"op": "hello", "id": "x"})),
    "length 0": b"\0\0\0\0",
    "length 64 KiB + 1": (65537).to_bytes(4, "little"),
    "length 4 GiB": b"\xff\xff\xff\xff",
    "deep": frame(b"\x91" * 60000 + b"\x01"),
    "hello twice": 2 * frame(msgspec.msgpack.encode(messages.Hello(id=1))),
}


@pytest.mark.parametrize("data", BROKEN.values(), ids=BROKEN)
def test_who_breaks_the_rules_is_told_and_ended(daemon: Daemon, raw: Raw, data: bytes) -> None:
    raw.sock.sendall(messages.MAGIC + data)
    said = raw.ended()
    assert isinstance(said, messages.Failure)
    assert said.code == "protocol"
    assert metrics(daemon).counters["protocol_errors"][""] == 1
    assert "internal_error" not in daemon.log()


def test_another_version_is_told_which_one_is_spoken(raw: Raw) -> None:
    raw.sock.sendall(messages.MAGIC)
    raw.send(messages.Hello(id=1, version=999))
    said = raw.ended()
    assert isinstance(said, messages.Failure)
    assert (said.id, said.code) == (1, "protocol")
    assert "999" in said.text


def test_the_session_of_another_process_cant_be_joined_h14(daemon: Daemon, raw: Raw) -> None:
    """H14: what joins connections is not a number that anybody may say."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        store = icehouse.connect(daemon.socket)
        assert store.remote is not None
        os.write(write, str(store.remote.session).encode())
        time.sleep(60)
        os._exit(0)
    try:
        session = int(os.read(read, 100))
        raw.sock.sendall(messages.MAGIC)
        raw.send(messages.Hello(id=1, session=session))
        said = raw.ended()
        assert isinstance(said, messages.Failure)
        assert said.code == "denied"
    finally:
        os.kill(child, 9)
        os.waitpid(child, 0)
        os.close(read)
        os.close(write)


@pytest.mark.parametrize(
    "request_of",
    [
        messages.Delete(handle=b"short"),
        messages.Delete(handle=b""),
        messages.AskObjects(cursor="zz"),
        messages.AskObjects(cursor="-1"),
        messages.AskObjects(cursor="1" * 17),
        messages.AskObjects(state="frozen"),
        messages.Bind(name="", handle=b"x" * 16),
        messages.Bind(name="ih1_x", handle=b"x" * 16),
        messages.Bind(name="n", handle=b"x" * 16, expected=-5),
        messages.Watch(name="x" * 513),
        messages.Expire(handle=b"x" * 16, ttl_ns=-1),
        messages.Expire(handle=b"x" * 16, ttl_ns=2**63),
    ],
    ids=str,
)
def test_a_wrong_request_ends_nothing(daemon: Daemon, raw: Raw, request_of: Any) -> None:
    raw.greet()
    request_of.id = 7
    raw.send(request_of, messages.Ping(id=8))
    said = raw.reply()
    assert isinstance(said, messages.Failure)
    assert (said.id, said.code) == (7, "invalid")
    assert isinstance(raw.reply(), messages.Done)
    assert "internal_error" not in daemon.log()


def test_unknown_handles_are_gone(raw: Raw) -> None:
    raw.greet()
    for request in (
        messages.Delete(handle=b"x" * 16),
        messages.AskObject(handle=b"x" * 16),
        messages.Pin(handle=b"x" * 16),
        messages.Bind(name="n", handle=b"x" * 16),
    ):
        raw.send(request)
        said = raw.reply()
        assert isinstance(said, messages.Failure)
        assert (said.code, said.why) == ("gone", "unknown")


def test_limits_are_kept_whatever_is_asked(daemon: Daemon) -> None:
    store = icehouse.connect(daemon.socket)
    for i in range(400):
        store.put([i], name=f"{i:03}")
    with Control(daemon.socket) as control:
        for limit in (-1, 0, 10**12):
            objects = control.ask(messages.AskObjects(limit=limit), messages.Objects)
            names = control.ask(messages.AskNames(limit=limit), messages.Names)
            assert len(objects.items) == len(names.items) == (1 if limit < 1 else 256)
            assert objects.cursor
            assert names.cursor


# --- pages ---


def all_pages(control: Control, make: Any, answer: Any, **asked: Any) -> list[Any]:
    items: list[Any] = []
    cursor = ""
    while True:
        page = control.ask(make(cursor=cursor, **asked), answer)
        items += page.items
        cursor = page.cursor
        if not cursor:
            return items


def test_pages_have_everything_once(daemon: Daemon) -> None:
    store = icehouse.connect(daemon.socket)
    handles = [store.put([i] * 10) for i in range(1000)]
    views = [store.get(handle) for handle in handles[::10]]
    for handle in handles[::10]:
        store.delete(handle)
    big = store.put(bytes(3 * 2**20), name="big")
    with Control(daemon.socket) as control:
        for limit in (7, 256):
            found = all_pages(control, messages.AskObjects, messages.Objects, limit=limit)
            assert [item.handle for item in found] == sorted(
                (bytes(handle) for handle in [*handles, big]),
                key=lambda handle: int.from_bytes(handle[:8], "little"),
            )
        dead = all_pages(control, messages.AskObjects, messages.Objects, state="deleted", limit=9)
        assert {item.handle for item in dead} == {bytes(handle) for handle in handles[::10]}
        segments = all_pages(control, messages.AskSegments, messages.Segments, limit=2)
        assert sum(item.images + item.dying for item in segments) == 1001
        assert {item.kind for item in segments} == {"ordinary", "dedicated"}
        clients = all_pages(control, messages.AskClients, messages.Clients, limit=1)
        assert [(item.pid, item.puts, item.leases) for item in clients] == [
            (os.getpid(), 1001, len(views))
        ]
    assert len(views) == 100


@pytest.mark.daemon(limits={"reply_bytes_max": "4KiB"})
def test_long_names_make_shorter_pages(daemon: Daemon) -> None:
    store = icehouse.connect(daemon.socket)
    handle = store.put([1])
    names = sorted(f"{i:03}" + "x" * 509 for i in range(40))
    for name in names:
        store.bind(name, handle)
    with Control(daemon.socket) as control:
        found = all_pages(control, messages.AskNames, messages.Names)
        assert [item.name for item in found] == names


def test_types_are_those_that_the_store_tells(daemon: Daemon) -> None:
    store = icehouse.connect(daemon.socket)
    made = [
        *(None, True, ..., NotImplemented, 1, -(2**40), 2**100, 1.5, 1j, "", "a", "é", "x" * 1000),
        *(b"", b"x", bytes(10**5), bytearray(b"x"), bytearray(10**5), (), (1, "a"), (1, 2)),
        *(("a", "b"), [], [1], ["a"], [1, "a"], {}, {"a": 1}, {i: i for i in range(100)}),
        *([{"a": 1}, {"a": 2}], set(), {1}, set(range(100)), frozenset({1})),
        *(frozenset(range(100)), memoryview(b"abc"), tuple(range(10**5)), ("a",) * 10**4),
    ]
    with Control(daemon.socket) as control:
        for thing in made:
            handle = store.put(thing)
            told = control.ask(messages.AskObject(handle=bytes(handle)), messages.OneObject)
            assert told.item.type == store.stat(handle).type is not None, thing
    assert len(CONSTANTS) == 8
    assert len(KINDS) == 28


# --- watching ---


def test_a_watcher_that_does_not_read_loses_only_what_lies_between(daemon: Daemon) -> None:
    """A change costs no memory while it is not read, and the last one comes."""
    store = icehouse.connect(daemon.socket)
    handles = [store.put([i]) for i in range(2)]
    watcher = Raw(daemon.socket).greet()
    watcher.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    names = [f"{i}" + "x" * 500 for i in range(20)]
    for number, name in enumerate(names):
        watcher.send(messages.Watch(id=number + 2, name=name))
    for _ in names:
        assert isinstance(watcher.reply(), messages.Bound)
    for i in range(300):
        for name in names:
            last = store.bind(name, handles[i % 2])
    assert last == 300
    latest: dict[str, int] = {}
    seen = 0
    while latest != dict.fromkeys(names, last):
        change = watcher.reply()
        assert isinstance(change, messages.Changed)
        assert change.version > latest.get(change.name, 0)
        latest[change.name] = change.version
        seen += 1
    # The socket alone takes some; what does not fit there is one change for each name.
    assert seen < 300 * len(names)
    watcher.close()
    assert metrics(daemon).counters["refused_connections"].get("stalled", 0) == 0


def test_changes_stop_with_unwatch(daemon: Daemon) -> None:
    store = icehouse.connect(daemon.socket)
    handle = store.put([1])
    with Control(daemon.socket) as control:
        assert control.ask(messages.Watch(name="a"), messages.Bound).handle == b""
        store.bind("a", handle)
        change = next(control.changes(30))
        assert (change.name, change.handle, change.version) == ("a", bytes(handle), 1)
        control.ask(messages.Unwatch(name="a"), messages.Done)
        store.bind("a", None)
        control.ask(messages.Ping(), messages.Done)
        assert list(control.changes(0.01)) == []


@pytest.mark.daemon(limits={"watches_max": 3})
def test_watches_are_bounded(daemon: Daemon) -> None:
    with Control(daemon.socket) as control:
        for name in ("a", "b", "c", "a"):
            control.ask(messages.Watch(name=name), messages.Bound)
        with pytest.raises(icehouse.StoreFull, match="watches_max") as full:
            control.ask(messages.Watch(name="d"), messages.Bound)
        assert full.value.capacity == 3
        control.ask(messages.Unwatch(name="a"), messages.Done)
        control.ask(messages.Watch(name="d"), messages.Bound)


# --- roles ---


def open_to_all(folder: Path) -> None:
    for path in (folder, *folder.parents):
        if path.stat().st_mode & 0o001 == 0:
            path.chmod(path.stat().st_mode | 0o011)


def attempts_of_a_reader(path: str, handle: bytes) -> None:
    with Control(path) as control:
        assert control.welcome.role == "reader"
        assert control.ask(messages.AskObject(handle=handle), messages.OneObject)
        assert control.ask(messages.AskNames(), messages.Names).items == []
        control.ask(messages.Watch(name="a"), messages.Bound)
        for request in (
            messages.Delete(handle=handle),
            messages.Bind(name="a", handle=handle),
            messages.Pin(handle=handle),
            messages.Expire(handle=handle, ttl_ns=1),
            messages.AskMetrics(),
            messages.AskClients(),
            messages.AskSegments(),
        ):
            with pytest.raises(NotPermitted, match="reader"):
                control.ask(request, messages.Done)


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user")
@pytest.mark.daemon(roles={"reader": {"uids": [READER]}})
def test_a_reader_only_reads(daemon: Daemon) -> None:
    open_to_all(daemon.folder)
    handle = bytes(icehouse.connect(daemon.socket).put([1]))
    for uid in (READER, READER + 1):
        child = os.fork()
        if child == 0:
            status = 1
            try:
                os.setgroups([])
                os.setgid(uid)
                os.setuid(uid)
                if uid == READER:
                    attempts_of_a_reader(daemon.socket, handle)
                else:
                    with pytest.raises(NotPermitted):
                        Control(daemon.socket)
                status = 0
            finally:
                os._exit(status)
        assert os.waitpid(child, 0)[1] == 0
    assert metrics(daemon).counters["denied"][""] == 8


# --- the plain client ---


def test_nobody_there_says_what_to_start(tmp_path: Path) -> None:
    with pytest.raises(StoreUnavailable, match="icehouse serve") as away:
        Control(str(tmp_path / "socket"))
    assert away.value.socket == str(tmp_path / "socket")


def test_a_lost_connection_is_said(daemon: Daemon) -> None:
    with Control(daemon.socket) as control:
        killed = daemon.kill()
        daemon.wait_for_another(killed)
        with pytest.raises((StoreUnavailable, OSError)):
            control.ask(messages.Ping(), messages.Done)
    wait_until(daemon.listens, "the next daemon")
    with Control(daemon.socket) as control:
        control.ask(messages.Ping(), messages.Done)


def test_another_answer_than_expected_is_a_protocol_error(daemon: Daemon) -> None:
    with Control(daemon.socket) as control, pytest.raises(ProtocolError, match="done"):
        control.ask(messages.Ping(), messages.Status)
