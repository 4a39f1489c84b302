"""The admin face over a real daemon: what it tells, and whom it refuses."""

import importlib.util
import os
import signal
from typing import Any

import pytest
from daemons import Daemon, wait_until

import icehouse

for needed in ("fastapi", "uvicorn", "prometheus_client"):
    if importlib.util.find_spec(needed) is None:
        pytest.skip(f"{needed} is not installed: icehouse[service]", allow_module_level=True)

PROBLEM = "application/problem+json"
pytestmark = pytest.mark.daemon(http="127.0.0.1:0", capacity="64MiB")


@pytest.fixture
def store(daemon: Daemon) -> Any:
    with icehouse.connect(daemon.socket) as opened:
        yield opened


def problem_of(answer: Any, kind: str, status: int) -> dict[str, Any]:
    assert answer.status == status, answer
    assert answer.headers["content-type"] == PROBLEM
    told = answer.json
    assert (told["type"], told["status"]) == (f"urn:icehouse:problem:{kind}", status)
    assert told["title"]
    assert told["detail"]
    return dict(told)


def all_pages(admin: Any, path: str, limit: int) -> list[Any]:
    items: list[Any] = []
    cursor = ""
    while True:
        page = admin(f"{path}?limit={limit}&cursor={cursor}").json
        assert len(page["items"]) <= limit
        items += page["items"]
        if page["next"] is None:
            return items
        cursor = page["next"]


def test_it_is_up_and_ready(admin: Any, daemon: Daemon) -> None:
    for path in ("/healthz", "/readyz"):
        answer = admin(path)
        assert (answer.status, answer.json) == (200, {"status": "ok"})
    status = admin("/api/v1/status").json
    assert (status["pid"], status["socket"]) == (daemon.daemon_pid(), daemon.socket)
    assert status["capacity"] == 64 * 2**20


def test_ten_thousand_objects_page_by_page(admin: Any, store: Any) -> None:
    handles = {str(store.put([i])) for i in range(10_000)}
    names = [f"name {i:03}" for i in range(250)]
    some = sorted(handles)[:250]
    for name, handle in zip(names, some, strict=True):
        store.bind(name, handle)
    for limit in (1000, 777):
        found = [item["handle"] for item in all_pages(admin, "/api/v1/objects", limit)]
        assert len(found) == 10_000
        assert set(found) == handles
    assert [item["name"] for item in all_pages(admin, "/api/v1/names", 60)] == names
    few = admin("/api/v1/names?prefix=name%2000").json
    assert [item["name"] for item in few["items"]] == names[:10]
    assert few["next"] is None
    assert admin("/api/v1/objects?state=spilled").json["items"] == []


def test_one_object_and_how_it_went(admin: Any, store: Any) -> None:
    handle = store.put({"a": 1}, name="config", pin=True, ttl=1000)
    view = store.get(handle)
    path = f"/api/v1/objects/{handle}"
    told = admin(path).json
    assert (told["handle"], told["type"], told["state"]) == (str(handle), "dict", "live")
    assert (told["names"], told["names_total"], told["pinned"]) == (["config"], 1, True)
    assert (told["leases"], told["readers"], told["pid"]) == (1, [os.getpid()], os.getpid())
    assert told["expires"] > told["created"]
    assert "config" in told["explanation"]
    store.delete(handle, force=True)
    assert admin(path).json["state"] == "deleted"
    del view

    def is_gone() -> bool:
        # Its producer gives the block back at its next put.
        store.put([0])
        return bool(admin(path).status == 410)

    wait_until(is_gone, "its end")
    gone = problem_of(admin(path), "handle-gone", 410)
    assert gone["reason"] == "deleted"
    unknown = icehouse.Handle.from_bytes(b"\1" * 16)
    problem_of(admin(f"/api/v1/objects/{unknown}"), "handle-unknown", 404)
    for wrong in ("ih1_nonsense", "0", "ih1_" + "z" * 26, "ih1_" + "u" * 26, f"{handle}0"):
        problem_of(admin(f"/api/v1/objects/{wrong}"), "invalid-request", 400)


def test_clients_and_segments(admin: Any, store: Any) -> None:
    store.put([1])
    (client,) = admin("/api/v1/clients").json["items"]
    assert (client["pid"], client["uid"], client["role"]) == (os.getpid(), os.getuid(), "admin")
    assert (client["puts"], client["segments"], client["connected"]) == (1, 1, True)
    (segment,) = admin("/api/v1/segments").json["items"]
    assert (segment["kind"], segment["images"], segment["state"]) == ("ordinary", 1, "granted")


def test_etags(admin: Any, store: Any) -> None:
    store.put([1], name="a")
    first = admin("/api/v1/names")
    tag = first.headers["etag"]
    assert tag.startswith('"')
    for known in (tag, f'"x", {tag}', "*"):
        again = admin("/api/v1/names", If_None_Match=known)
        assert (again.status, again.body, again.headers["etag"]) == (304, b"", tag)
    store.put([2], name="b")
    changed = admin("/api/v1/names", If_None_Match=tag)
    assert changed.status == 200
    assert changed.headers["etag"] != tag


def test_head_is_get_without_a_body(admin: Any) -> None:
    for path in ("/healthz", "/api/v1/status", "/metrics", "/nothing"):
        got, head = admin(path), admin(path, "HEAD")
        assert (head.status, head.body) == (got.status, b"")
        assert head.headers["content-type"] == got.headers["content-type"]


WRONG_QUERIES = [
    "objects?limit=0",
    "objects?limit=1001",
    "objects?limit=x",
    "objects?state=frozen",
    "objects?cursor=%21%21",
    "objects?cursor=eHg",
    "objects?cursor=_____w",
    "clients?cursor=LTE",
    "segments?cursor=" + "A" * 3000,
    "names?prefix=" + "x" * 600,
]


def test_wrong_queries_are_problems(admin: Any) -> None:
    for query in WRONG_QUERIES:
        problem_of(admin(f"/api/v1/{query}"), "invalid-request", 400)


def test_what_is_not_there_and_what_is_not_possible(admin: Any) -> None:
    problem_of(admin("/api/v1/nothing"), "not-found", 404)
    for method in ("POST", "PUT", "DELETE", "PATCH", "OPTIONS"):
        answer = admin("/api/v1/names", method)
        problem_of(answer, "method-not-allowed", 405)
        assert answer.headers["allow"] == "GET, HEAD"


OTHERS = ["evil.example", "127.0.0.1.evil.example", "localhost:x", "", "[::1", "10.0.0.1"]


def test_other_hosts_are_refused(admin: Any) -> None:
    """A name that a page of the internet points at this machine is not one of ours."""
    for host in OTHERS:
        for path in ("/healthz", "/metrics", "/api/v1/status"):
            problem_of(admin(path, Host=host), "wrong-host", 421)


def test_this_machine_is_served(admin: Any) -> None:
    for host in ("localhost", "LOCALHOST:80", "127.0.0.1:1", "[::1]:8420"):
        assert admin("/healthz", Host=host).status == 200


def test_every_response_has_the_headers(admin: Any) -> None:
    for path in ("/healthz", "/metrics", "/api/v1/status", "/nothing", "/openapi.json"):
        for headers in ({}, {"Host": "evil.example"}):
            told = admin(path, **headers).headers
            assert told["content-security-policy"].startswith("default-src 'none'; script-src")
            assert "frame-ancestors 'none'" in told["content-security-policy"]
            assert told["x-content-type-options"] == "nosniff"
            assert "server" not in told
            assert "access-control-allow-origin" not in told


def test_openapi_describes_every_route_and_problem(admin: Any) -> None:
    document = admin("/openapi.json").json
    assert document["openapi"].startswith("3.")
    actions = ("delete", "pin", "unpin", "expire", "evict", "spill")
    assert set(document["paths"]) == {
        *("/healthz", "/readyz", "/metrics", "/api/v1/status", "/api/v1/objects"),
        *("/api/v1/objects/{handle}", "/api/v1/clients", "/api/v1/segments", "/api/v1/names"),
        *("/api/v1/clients/{session}", "/api/v1/segments/{segment}/blocks"),
        *("/api/v1/names/{name}/history", "/api/v1/events", "/api/v1/gc"),
        *(f"/api/v1/objects/{{handle}}/{kind}" for kind in ("tree", "preview", *actions)),
        *(f"/api/v1/names/{{name}}/{kind}" for kind in ("bind", "unbind", "rename")),
    }
    operations = [operation for path in document["paths"].values() for operation in path.values()]
    assert len({operation["operationId"] for operation in operations}) == len(operations)
    assert all(operation["description"] for operation in operations)
    for operation in operations:
        # FastAPI's own idea of a wrong parameter is none of ours.
        damaged = operation["responses"].get("422")
        assert damaged is None or set(damaged["content"]) == {PROBLEM}
        assert PROBLEM in operation["responses"]["421"]["content"]
    assert document["components"]["schemas"]["Problem"]["required"]
    # Pages with scripts of others are not served.
    problem_of(admin("/docs"), "not-found", 404)


@pytest.mark.watchdog(120)
def test_a_daemon_that_dies_is_503_until_the_next_one(admin: Any, daemon: Daemon) -> None:
    pid = daemon.daemon_pid()
    assert pid is not None
    # The keeper can't start another while it is stopped itself.
    os.kill(daemon.keeper_pid, signal.SIGSTOP)
    try:
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: admin("/readyz").status == 503, "the admin process to notice")
        problem = admin("/readyz", "GET")
    finally:
        os.kill(daemon.keeper_pid, signal.SIGCONT)
    wait_until(lambda: admin("/readyz").status == 200, "the next daemon")
    assert problem.status in (200, 503)
    assert admin("/healthz").status == 200
    assert admin("/api/v1/status").json["pid"] != pid


def test_a_daemon_that_hangs_is_not_ready(admin: Any, daemon: Daemon) -> None:
    assert admin("/readyz").status == 200
    pid = daemon.daemon_pid()
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    try:
        problem_of(admin("/readyz"), "daemon-unavailable", 503)
        assert admin("/healthz").status == 200
    finally:
        os.kill(pid, signal.SIGCONT)
    wait_until(lambda: admin("/readyz").status == 200, "the daemon to go on")


def test_a_faulty_client_of_http_harms_nobody(admin: Any) -> None:
    import socket

    for data in (
        b"\x16\x03\x01garbage\r\n\r\n",
        b"GET /" + b"x" * 100_000,
        b"GET / HTTP/1.1\r\n\r\n",
    ):
        with socket.create_connection(("127.0.0.1", admin.port), 30) as sock:
            sock.sendall(data)
            answer = b""
            try:
                while piece := sock.recv(65536):
                    answer += piece
                    if b"wrong-host" in answer:
                        break
            except ConnectionResetError:
                pass
            assert answer[:12] in (b"HTTP/1.1 400", b"HTTP/1.1 421", b""), answer[:100]
    assert admin("/healthz").status == 200
