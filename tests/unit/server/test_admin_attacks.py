"""Clients of the admin face that mean harm, or nothing: none keeps others from their answers."""

import asyncio
import contextlib
import importlib.util
import json
import os
import re
import signal
import socket
import urllib.parse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from admin_client import Admin, port_of
from daemons import Daemon, wait_until

import icehouse

for needed in ("fastapi", "uvicorn", "prometheus_client"):
    if importlib.util.find_spec(needed) is None:
        pytest.skip(f"{needed} is not installed: icehouse[service]", allow_module_level=True)

import uvicorn  # noqa: E402 - after the look

from icehouse.server.admin import connections, finding  # noqa: E402 - after the look
from icehouse.server.admin.link import Link  # noqa: E402 - after the look
from icehouse.server.admin.problems import ProblemError  # noqa: E402 - after the look

pytestmark = pytest.mark.watchdog(120)
HEAD = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n"


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    folder = tmp_path_factory.mktemp("d")
    with Daemon(folder, http="127.0.0.1:0", capacity="64MiB") as started:
        yield started
    # What was no HTTP was told of; nothing else went wrong.
    assert '"event": "http_server"' not in re.sub(".*Invalid HTTP request.*", "", started.log())


@pytest.fixture(scope="module")
def store(daemon: Daemon) -> Iterator[icehouse.Store]:
    with icehouse.connect(daemon.socket) as opened:
        yield opened


def serves(daemon: Daemon, path: str = "/healthz") -> bool:
    """Whether somebody who comes now is answered."""
    with contextlib.closing(Admin(daemon)) as client:
        return client(path).status == 200


def connect(port: int, data: bytes = b"") -> socket.socket:
    sock = socket.create_connection(("127.0.0.1", port), 60)
    sock.sendall(data)
    return sock


def everything(sock: socket.socket) -> bytes:
    """All that comes until the server ends the connection."""
    told = b""
    try:
        while piece := sock.recv(65536):
            told += piece
    except ConnectionResetError:
        pass
    sock.close()
    return told


# --- many connections ---


def test_slow_clients_keep_nobody_out(daemon: Daemon) -> None:
    port = port_of(daemon)
    slow = []
    for number in range(2 * connections.CONNECTIONS_MAX):
        slow.append(connect(port, (HEAD + b"X: ")[: number % 60]))
        if number % 40 == 0:
            assert serves(daemon)
            assert serves(daemon, "/api/v1/status")
    pid = daemon.admin_pid()
    few = connections.CONNECTIONS_MAX + 30
    held = Path(f"/proc/{pid}/fd")
    wait_until(lambda: len(list(held.iterdir())) < few, "the oldest to be let go")
    # The oldest went first.
    assert everything(slow[0]) == b""
    assert serves(daemon)
    for sock in slow:
        sock.close()


@pytest.mark.slow
def test_who_reads_no_answer_makes_room(daemon: Daemon) -> None:
    port = port_of(daemon)
    deaf = []
    for _ in range(connections.CONNECTIONS_MAX + 20):
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        sock.connect(("127.0.0.1", port))
        sock.sendall(b"GET /openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n" * 100)
        deaf.append(sock)
    assert serves(daemon)
    for sock in deaf:
        sock.close()
    assert serves(daemon)


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Takes the whole body, and answers with its length."""
    size, more = 0, True
    while more and scope["path"] == "/body":
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        size += len(message["body"])
        more = message["more_body"]
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": str(size).encode()})


SLOW = [
    pytest.param(b"", b"", id="nothing"),
    pytest.param(b"GET / HT", b"T", id="head"),
    pytest.param(b"POST /body HTTP/1.1\r\nHost: x\r\nContent-Length: 99\r\n\r\n", b"x", id="body"),
    pytest.param(HEAD + b"Content-Length: 9999\r\n\r\n", b"x", id="unread body"),
    pytest.param(HEAD + b"\r\nGET /", b"x", id="second request"),
]


@pytest.mark.parametrize(("first", "more"), SLOW)
def test_a_request_must_be_complete_in_time(
    first: bytes, more: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "REQUEST_SECONDS", 0.3)

    async def run() -> None:
        server = uvicorn.Server(
            uvicorn.Config(app, http=connections.Connection, lifespan="off", log_config=None)
        )
        listener = socket.create_server(("127.0.0.1", 0))
        serving = asyncio.ensure_future(server.serve([listener]))
        reader, writer = await asyncio.open_connection(*listener.getsockname())
        writer.write(first)
        # It goes on for as long as it is let: the watchdog ends a test that is never let go.
        told = b""
        while not reader.at_eof():
            writer.write(more)
            try:
                told += await asyncio.wait_for(reader.read(4096), 0.05)
            except TimeoutError:
                continue
            except ConnectionResetError:
                break
        assert told.count(b"HTTP/1.1 200") == int(b"/healthz" in first)
        writer.close()
        # Others are as patient as they like between whole requests.
        reader, writer = await asyncio.open_connection(*listener.getsockname())
        for _ in range(3):
            writer.write(b"POST /body HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n\r\nabc")
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200")
            await reader.readuntil(b"0\r\n\r\n")
            await asyncio.sleep(0.4)
        writer.close()
        server.should_exit = True
        await serving

    asyncio.run(run())


@pytest.mark.slow
def test_ten_thousand_requests_at_once(admin: Any) -> None:
    """Of which each is answered: hundreds in one go, on as many connections as there may be."""
    asked = b"GET /api/v1/status HTTP/1.1\r\nHost: localhost\r\n\r\n" * 99
    last = HEAD + b"Connection: close\r\n\r\n"
    socks = [connect(admin.port, asked + last) for _ in range(100)]
    assert sum(everything(sock).count(b"HTTP/1.1 200 OK") for sock in socks) == 10_000


# --- what is no HTTP, and paths ---


@pytest.mark.parametrize(
    "data",
    [
        b"\x16\x03\x01\x02\x00\x01\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost : localhost\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx",
        b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: +1\r\n\r\nx",
        b"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: identity\r\n\r\n",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\nnonsense\r\n",
    ],
)
def test_what_is_no_http_is_a_problem_as_well(admin: Any, data: bytes) -> None:
    head, _, body = everything(connect(admin.port, data)).partition(b"\r\n\r\n")
    # What has been answered already needs no other answer.
    if not head.startswith(b"HTTP/1.1 200"):
        assert head.startswith(b"HTTP/1.1 400 Bad Request")
        assert b"content-security-policy: default-src 'none'" in head.lower()
        assert b"content-type: application/problem+json" in head
        assert json.loads(body)["type"] == "urn:icehouse:problem:invalid-request"
    assert admin("/healthz").status == 200


def test_a_second_request_in_the_first_one_is_read_once(admin: Any) -> None:
    """What proxies and servers may take for different things is one thing here."""
    data = (
        b"POST /api/v1/gc HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n"
        b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + HEAD + b"Connection: close\r\n\r\n"
    )
    told = everything(connect(admin.port, data))
    assert re.findall(rb"HTTP/1\.1 (\d+)", told) == [b"411", b"200"]


ODD_NAMES = (
    *("a\nb", "\n", "a/b", "a/bind", "bind", "/", "/x/", ".", "..", "a b", "a%2Fb", "?#", "q'\"<>"),
    *("\t\x7f", "\u202ereversed", "\u2028", "\ufffd", "é", "🧊" * 128, "x" * 512),
)


@pytest.mark.parametrize("name", ODD_NAMES, ids=ascii)
def test_names_of_any_characters_have_a_path(admin: Any, store: Any, name: str) -> None:
    handle = store.put([1], name=name)
    path = f"/api/v1/names/{urllib.parse.quote(name, safe='')}/history"
    told = admin(path).json
    assert (told["name"], told["handle"]) == (name, str(handle))


def test_a_path_that_is_no_text_is_that_of_no_name(admin: Any, store: Any) -> None:
    store.put([1], name="\N{REPLACEMENT CHARACTER}")
    for wrong in ("%ff", "%ed%a0%80", "%c0%af", "x%80"):
        answer = admin(f"/api/v1/names/{wrong}/history")
        assert answer.status == 400
        assert answer.json["detail"] == "a path must be UTF-8"


@pytest.mark.parametrize(
    "accept",
    [
        "application/openmetrics-text; version=abc",
        "application/openmetrics-text; version=\xff",
        "text/plain; version=x.y",
        "application/openmetrics-text; version=1.0.0; escaping=\xff",
        ";;,,==",
    ],
)
def test_scrapes_that_accept_nonsense(admin: Any, accept: str) -> None:
    answer = admin("/metrics", Accept=accept)
    assert answer.status == 200
    assert b"icehouse_up 1" in answer.body


def test_tags_may_come_in_several_lines(admin: Any) -> None:
    tag = admin("/api/v1/names").headers["etag"]
    request = (
        b"GET /api/v1/names HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
        b'If-None-Match: "x"\r\nIf-None-Match: ' + tag.encode() + b"\r\n\r\n"
    )
    assert everything(connect(admin.port, request)).startswith(b"HTTP/1.1 304")


# --- the daemon does not answer ---


@pytest.mark.slow
def test_a_daemon_that_hangs_is_told_to_all_who_ask(admin: Any, store: Any, daemon: Daemon) -> None:
    handle = store.put({"a": 1})
    assert admin("/readyz").status == 200
    pid = daemon.daemon_pid()
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    try:
        paths = ["status", "objects", "clients", "segments", "names", f"objects/{handle}"]
        paths += [f"objects?sort=size&limit={number}" for number in range(1, 7)]
        socks = {
            path: connect(
                admin.port,
                HEAD.replace(b"healthz", b"api/v1/" + path.encode()) + b"Connection: close\r\n\r\n",
            )
            for path in paths
        }
        scrape = admin("/metrics")
        assert scrape.status == 200
        assert b"icehouse_up 0" in scrape.body
        for path, sock in socks.items():
            told = everything(sock)
            assert told.startswith(b"HTTP/1.1 503"), (path, told)
            assert json.loads(told.partition(b"\r\n\r\n")[2])["type"] in (
                "urn:icehouse:problem:daemon-unavailable",
                "urn:icehouse:problem:too-slow",
            )
    finally:
        os.kill(pid, signal.SIGCONT)
    wait_until(lambda: serves(daemon, "/api/v1/status"), "the daemon to go on")


def test_who_waits_for_the_order_of_others_waits_as_long_as_they(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(finding, "SCAN_SECONDS", 0.2)

    async def never(*_: object) -> None:
        await asyncio.Event().wait()

    async def run() -> None:
        link = Link("/nowhere", lambda _: None)
        monkeypatch.setattr(link, "ask", never)
        asked = (
            finding.objects(link, finding.Filters(sort="size"), limit=limit)
            for limit in range(1, 40)
        )
        told = await asyncio.gather(*asked, return_exceptions=True)
        assert len(told) == 39
        for error in told:
            assert isinstance(error, ProblemError)
            assert error.kind == "too-slow"
        # Nobody is left in the way of those who come later.
        assert not link.scans._turn.locked()

    asyncio.run(run())


# --- what it could write ---


def test_it_maps_nothing_writable_but_pages_of_its_own(
    admin: Any, store: Any, daemon: Daemon
) -> None:
    """The memory of the store is open to the HTTP process as to any reader."""
    handles = [store.put({"small": 1}, name="small"), store.put(bytes(2_000_000))]
    for handle in handles:
        assert admin(f"/api/v1/objects/{handle}/tree").status == 200
    pid = daemon.admin_pid()
    mapped: dict[str, set[str]] = {}
    for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
        fields = line.split(maxsplit=5)
        if len(fields) == 6 and "memfd:" in fields[5]:
            mapped.setdefault(fields[5].split()[0].removeprefix("/memfd:"), set()).add(fields[1])
    # Its leases, and what it has to say to the daemon, are its own and nobody else's.
    own = {"icehouse-leases", "icehouse-session"}
    assert set(mapped) - own >= {"icehouse-segment", "icehouse-state", "icehouse-names"}
    for kind, rights in mapped.items():
        assert rights == ({"rw-s"} if kind in own else {"r--s"}), kind
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        try:
            target, told = (
                str(entry.readlink()),
                Path(f"{entry.parent}info/{entry.name}").read_text(),
            )
        except FileNotFoundError:
            continue
        if "memfd:" not in target or any(kind in target for kind in own):
            continue
        flags = next(line.split()[1] for line in told.splitlines() if line.startswith("flags:"))
        assert int(flags, 8) & os.O_ACCMODE == os.O_RDONLY, target
    # A reader's own list of segments that it may write is empty.
    session = next(
        client for client in admin("/api/v1/clients").json["items"] if client["pid"] == pid
    )
    assert (session["segments"], session["puts"]) == (0, 0)


@pytest.mark.slow
def test_it_is_started_again_where_it_was(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    with Daemon(tmp_path, http=f"127.0.0.1:{port}") as daemon:
        assert serves(daemon)
        first = daemon.admin_pid()
        assert first is not None
        os.kill(first, signal.SIGKILL)
        # While somebody else has its port it is tried again.
        taken = wait_until(lambda: take(port), "the port to be free")
        wait_until(lambda: "can't listen there" in daemon.log(), "it to find its port taken")
        store = icehouse.connect(daemon.socket)
        assert store.get(store.put([1])) == [1]
        taken.close()
        wait_until(lambda: daemon.log().count('"http_ready"') == 2, "it to listen again")
        assert serves(daemon, "/readyz")
        store.close()


def take(port: int) -> socket.socket | None:
    try:
        return socket.create_server(("127.0.0.1", port))
    except OSError:
        return None
