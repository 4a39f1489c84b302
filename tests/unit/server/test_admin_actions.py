"""What the admin face does: with whose token, for whom not, and that it is done."""

import importlib.util
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from admin_client import Admin, Answer
from daemons import Daemon, wait_until

import icehouse
from icehouse.server.tokens import make

for needed in ("fastapi", "uvicorn", "prometheus_client"):
    if importlib.util.find_spec(needed) is None:
        pytest.skip(f"{needed} is not installed: icehouse[service]", allow_module_level=True)

Post = Callable[..., Answer]


class World:
    """A daemon with an admin process, a store, and a token of each role."""

    def __init__(self, daemon: Daemon, tokens: dict[str, str]) -> None:
        self.daemon = daemon
        self.tokens = tokens
        self.admin = Admin(daemon)
        self.store = icehouse.connect(daemon.socket)

    def post(
        self, path: str, body: Any = None, token: str | None = "producer", **headers: str
    ) -> Answer:
        if token is not None:
            headers.setdefault("Authorization", f"Bearer {self.tokens.get(token, token)}")
        return self.admin.post(f"/api/v1/{path}", body, **headers)

    def refused(self, answer: Answer, kind: str, status: int) -> dict[str, Any]:
        assert answer.status == status, answer
        assert answer.headers["content-type"] == "application/problem+json"
        told = answer.json
        assert told["type"] == f"urn:icehouse:problem:{kind}"
        return dict(told)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = {role: make(role, role) for role in ("reader", "producer", "admin")}
    file = tmp_path / "tokens"
    file.write_text("".join(line for _, line in made.values()))
    file.chmod(0o600)
    settings = {"http": "127.0.0.1:0", "capacity": "64MiB", "admin_tokens": str(file)}
    with Daemon(tmp_path / "d", spill=str(tmp_path / "spill"), **settings) as daemon:
        world = World(daemon, {role: text for role, (text, _) in made.items()})
        yield world
        world.admin.close()
        world.store.check()
        world.store.close()


def test_images(world: World) -> None:
    store, post = world.store, world.post
    handle = store.put([1], name="a")
    for action, body, done in (
        ("pin", None, "pinned"),
        ("unpin", {}, "unpinned"),
        ("expire", {"seconds": 3600}, "expiring"),
        ("expire", {"seconds": 0}, "living"),
    ):
        answer = post(f"objects/{handle}/{action}", body)
        assert (answer.status, answer.json) == (200, {"done": done, "handle": str(handle)})
        assert store.stat(handle).pinned == (done == "pinned")
        assert (store.stat(handle).expires is not None) == (done == "expiring")
    told = world.refused(post(f"objects/{handle}/delete", {}), "conflict", 409)
    assert "'a'" in told["detail"]
    assert post(f"objects/{handle}/delete", {"force": True}).json["done"] == "deleted"
    assert store.get("a", None) is None
    gone = world.refused(post(f"objects/{handle}/pin"), "handle-gone", 410)
    assert gone["reason"] == "deleted"
    unknown = icehouse.Handle.from_bytes(b"\1" * 16)
    world.refused(post(f"objects/{unknown}/pin"), "handle-unknown", 404)
    assert '"action": "delete", "token": "producer"' in world.daemon.log()


def test_evicting_and_spilling(world: World) -> None:
    store, post = world.store, world.post
    plain, cold = store.put([1]), store.put(bytes(9_000_000))
    spare = store.put(bytes(100_000), evictable=True)
    view = store.get(spare)
    world.refused(post(f"objects/{spare}/evict"), "conflict", 409)
    del view
    assert wait_until(lambda: post(f"objects/{spare}/evict").status == 200, "its reader to go")
    assert world.refused(post(f"objects/{spare}/evict"), "handle-gone", 410)["reason"] == "evicted"
    assert (
        "evictable"
        in world.refused(post(f"objects/{plain}/evict"), "invalid-request", 400)["detail"]
    )
    assert (
        "segment" in world.refused(post(f"objects/{plain}/spill"), "invalid-request", 400)["detail"]
    )
    assert post(f"objects/{cold}/spill").json == {"done": "spilled", "handle": str(cold)}
    assert post(f"objects/{cold}/spill").status == 200
    assert world.admin(f"/api/v1/objects/{cold}").json["state"] == "spilled"
    assert store.get(cold) == bytes(9_000_000)


def test_gc(world: World) -> None:
    before = world.admin("/api/v1/status").json["committed"]
    handle = world.store.put(bytes(5_000_000))
    world.store.delete(handle)
    wait_until(lambda: world.admin("/api/v1/status").json["warm"], "its segment to be spare")
    told = world.post("gc").json
    assert told["done"] == "collected"
    assert told["freed"] >= 5_000_000
    assert told["committed"] == before


def test_names(world: World) -> None:
    store, post = world.store, world.post
    handle, other = store.put([1]), store.put([2])
    told = post("names/a%2Fb c/bind".replace(" ", "%20"), {"handle": str(handle), "expected": 0})
    assert told.json == {"done": "bound", "name": "a/b c", "handle": str(handle), "version": 1}
    assert store.get("a/b c") == [1]
    again = post("names/a/b%20c/bind", {"handle": str(other), "expected": 0})
    assert world.refused(again, "conflict", 409)["version"] == 1
    late = post("names/a/b%20c/rename", {"to": "new", "expected_version": 2})
    assert world.refused(late, "conflict", 409)["version"] == 1
    store.bind("taken", other)
    taken = post("names/a/b%20c/rename", {"to": "taken"})
    assert world.refused(taken, "conflict", 409)["version"] == 1
    assert store.names() == {"a/b c": handle, "taken": other} or len(list(store.names())) == 2
    done = post("names/a/b%20c/rename", {"to": "new", "expected_version": 1})
    assert (done.json["done"], done.json["name"]) == ("renamed", "new")
    assert store.get("new") == [1]
    assert store.get("a/b c", None) is None
    world.refused(post("names/a/b%20c/rename", {"to": "x"}), "name-unknown", 404)
    world.refused(post("names/new/rename", {"to": "ih1_no"}), "invalid-request", 400)
    history = world.admin("/api/v1/names/new/history").json
    assert (history["complete"], history["items"][0]["handle"]) == (True, str(handle))
    assert post("names/new/unbind", {"expected_version": 1}).json["version"] == 2
    assert store.get("new", None) is None


def test_whom_it_does_nothing_for(world: World) -> None:
    handle = world.store.put([1])
    path = f"objects/{handle}/delete"
    port = world.admin.port
    missing = world.post(path, token=None)
    assert missing.headers["www-authenticate"].startswith("Bearer")
    world.refused(missing, "token-missing", 401)
    for given in ("Basic abc", "Bearer", "Bearer ", world.tokens["admin"]):
        world.refused(world.post(path, Authorization=given), "token-missing", 401)
    world.refused(world.post(path, token="wrong"), "token-wrong", 401)
    world.refused(world.post(path, token="é" * 9), "token-wrong", 401)
    world.refused(world.post(path, token="x" * 300), "token-wrong", 401)
    # Nowhere but in the header: a URL is logged and remembered.
    secret = world.tokens["admin"]
    world.refused(world.post(f"{path}?token={secret}", token=None), "token-missing", 401)
    world.refused(world.post(path, token=None, Cookie=f"token={secret}"), "token-missing", 401)
    world.refused(world.post(path, token="reader"), "not-permitted", 403)
    for headers in (
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": f"http://127.0.0.1:{port + 1}"},
        {"Origin": f"http://localhost:{port}"},
        {"Sec_Fetch_Site": "cross-site"},
        {"Sec_Fetch_Site": "same-site"},
    ):
        world.refused(world.post(path, token="admin", **headers), "cross-site", 403)
    world.refused(world.post(path, Host="evil.example"), "wrong-host", 421)
    assert world.store.get(handle) == [1]
    for headers in ({"Origin": f"http://127.0.0.1:{port}", "Sec_Fetch_Site": "same-origin"}, {}):
        assert world.post(f"objects/{handle}/pin", token="admin", **headers).status == 200
    assert secret not in world.daemon.log()


def test_bodies(world: World) -> None:
    handle = world.store.put([1])
    path = f"objects/{handle}/expire"
    for body in (
        {"seconds": -1},
        {"seconds": "soon"},
        {"seconds": 1e300},
        {"seconds": 1, "more": 1},
        {},
        [],
        1,
        None,
    ):
        assert world.refused(world.post(path, body), "invalid-request", 400)["errors"]
    raw = world.admin.post(
        f"/api/v1/{path}", data=b'{"seconds": NaN}', Authorization=f"Bearer {world.tokens['admin']}"
    )
    assert raw.status == 400
    for data in (b"{", b"\xff\xfe", b"[" * 50_000, b'"\\ud800"'):
        broken = world.admin.post(
            f"/api/v1/{path}", data=data, Authorization=f"Bearer {world.tokens['admin']}"
        )
        world.refused(broken, "invalid-request", 400)
    for media in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data"):
        told = world.post(path, {"seconds": 1}, Content_Type=media)
        world.refused(told, "wrong-media-type", 415)
    told = world.post(path, {"seconds": 1, "x": "x" * 70_000})
    world.refused(told, "body-too-large", 413)
    chunked = world.admin(
        f"/api/v1/{path}", "POST", Transfer_Encoding="chunked", Content_Type="application/json"
    )
    world.refused(chunked, "length-required", 411)


def test_paths(world: World) -> None:
    """Nothing is found by tricks, and nothing fails for them."""
    handle = world.store.put([1])
    for path in (
        "/api/v1/../../etc/passwd",
        "/api/v1/%2e%2e/%2e%2e/etc/passwd",
        "/static/../app.py",
        "/static/%2e%2e/app.py",
        "/static/..%2fapp.py",
        "//etc/passwd",
        "/api/v1//objects",
        "/api/v1/objects/%00",
        f"/api/v1/objects/{handle}%00",
        f"/api/v1/objects/{handle}/../../status",
        "/api/v1/objects/" + "x" * 4000,
        "/api/v1/names/%ff%fe/history",
        "/api/v1/names/%ed%a0%80/history",
        "/api/v1/segments/-1/blocks",
        "/api/v1/segments/99999999999999999999999999/blocks",
        "/api/v1/segments/%D9%A1/blocks",
        "/api/v1/clients/0x10",
    ):
        answer = world.admin(path)
        assert answer.status in (400, 404), (path, answer)
        assert b"root:" not in answer.body
    for method in ("PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "FOO"):
        answer = world.admin(f"/api/v1/objects/{handle}/delete", method)
        assert world.refused(answer, "method-not-allowed", 405)
        assert answer.headers["allow"] == "POST"
    answer = world.admin(f"/api/v1/objects/{handle}/delete")
    assert world.refused(answer, "method-not-allowed", 405)


def test_guesses_keep_nobody_out(world: World) -> None:
    answers = [world.post("gc", token=f"guess {i}").status for i in range(50)]
    assert answers == [401] * 50
    assert world.post("gc", token="admin").status == 200
