"""Trees and previews of images over HTTP: a real daemon, its admin process, and what is in it."""

import importlib.util
import json
import os
import random
import signal
import subprocess
import sys
import threading
import urllib.parse
from pathlib import Path
from typing import Any

import pytest
from daemons import Daemon, wait_until

sys.path.append(str(Path(__file__).parents[2] / "corrupt"))

from forge import mutate

import icehouse
from icehouse.native._image import _image_of, _put_image

for needed in ("fastapi", "uvicorn", "prometheus_client"):
    if importlib.util.find_spec(needed) is None:
        pytest.skip(f"{needed} is not installed: icehouse[service]", allow_module_level=True)

GOLDEN = sorted((Path(__file__).parents[2] / "compat" / "images").glob("*/*.ih"))
PROBLEM = "application/problem+json"
pytestmark = pytest.mark.daemon(http="127.0.0.1:0", capacity="256MiB")


@pytest.fixture
def store(daemon: Daemon) -> Any:
    with icehouse.connect(daemon.socket) as opened:
        yield opened


def url(handle: Any, what: str = "tree", **given: Any) -> str:
    return f"/api/v1/objects/{handle}/{what}?{urllib.parse.urlencode(given)}"


def problem_of(answer: Any, kind: str, status: int) -> dict[str, Any]:
    assert answer.status == status, answer
    assert answer.headers["content-type"] == PROBLEM
    told = answer.json
    assert (told["type"], told["status"]) == (f"urn:icehouse:problem:{kind}", status)
    return dict(told)


def test_level_by_level(admin: Any, store: Any) -> None:
    handle = store.put({"users": [{"name": "Ada", "born": 1815}, {"name": "Grace"}], "n": 2})
    top = admin(url(handle)).json
    assert top["item"]["kind"] == "dict"
    assert [(item["key"], item["kind"], item["length"]) for item in top["items"]] == [
        ("users", "list", 2),
        ("n", "int", None),
    ]
    users = admin(url(handle, path=top["items"][0]["path"])).json
    assert [item["path"] for item in users["items"]] == ["/users/0", "/users/1"]
    ada = admin(url(handle, path="/users/0")).json
    assert [(item["key"], item["text"]) for item in ada["items"]] == [
        ("name", "Ada"),
        ("born", "1815"),
    ]
    told = admin(url(handle, "preview", path="/users"))
    assert json.loads(told.json["text"]) == [{"name": "Ada", "born": 1815}, {"name": "Grace"}]
    assert told.json["whole"] is True
    again = admin(url(handle, "preview", path="/users"), If_None_Match=told.headers["etag"])
    assert (again.status, again.body) == (304, b"")


def test_pages_of_a_long_list(admin: Any, store: Any) -> None:
    handle = store.put(list(range(1000)))
    found, cursor = [], ""
    while cursor is not None:
        page = admin(url(handle, limit=170, cursor=cursor)).json
        assert len(page["items"]) <= 170
        found += [item["text"] for item in page["items"]]
        cursor = page["next"]
    assert found == [str(number) for number in range(1000)]


def test_what_is_wrong_with_a_request(admin: Any, store: Any) -> None:
    handle = store.put({"a": [1]})
    problem_of(admin(url(handle, path="/b")), "path-unknown", 404)
    problem_of(admin(url(handle, path="/a/1")), "path-unknown", 404)
    problem_of(admin(url(handle, path="a")), "path-unknown", 404)
    problem_of(admin(url(handle, cursor="zz")), "invalid-request", 400)
    problem_of(admin(url(handle, limit=201)), "invalid-request", 400)
    problem_of(admin(url("ih1_nonsense")), "invalid-request", 400)
    unknown = icehouse.Handle.from_bytes(b"\1" * 16)
    problem_of(admin(url(unknown)), "handle-unknown", 404)
    problem_of(admin(url(unknown, "preview")), "handle-unknown", 404)


def test_damage_is_told(admin: Any, store: Any) -> None:
    memory = _image_of(store.put({"a": ["x" * 100]}))
    assert memory is not None
    image = bytearray(memoryview(memory))
    image[52:56] = (0x7FFFFFFE).to_bytes(4, "little")
    handle = _put_image(store, image)
    told = problem_of(admin(url(handle)), "corrupt-image", 422)
    assert told["offset"] == 2 * 0x7FFFFFFE
    problem_of(admin(url(handle, "preview")), "corrupt-image", 422)
    assert admin("/healthz").status == 200


def test_an_image_that_is_deleted_meanwhile(admin: Any, store: Any) -> None:
    handle = store.put([1, 2, 3])
    assert admin(url(handle)).status == 200
    store.delete(handle)
    told = problem_of(admin(url(handle)), "handle-gone", 410)
    assert told["reason"] == "deleted"


def test_no_lease_is_left(admin: Any, store: Any, daemon: Daemon) -> None:
    handle = store.put({"a": list(range(5000))})
    for what in ("tree", "preview"):
        assert admin(url(handle, what, path="/a")).status == 200
        assert admin(url(handle, what, path="/b")).status == 404
    # The answer may come a moment before the thread has let go.
    wait_until(lambda: store.stat(handle).leases == 0, "the lease to go")
    pid = os.getpid()
    clients = admin("/api/v1/clients").json["items"]
    assert any(client["pid"] != pid for client in clients)
    wait_until(
        lambda: [client["pid"] for client in admin("/api/v1/clients").json["items"]] == [pid],
        "the admin process to let go of the store",
    )
    assert admin(url(handle)).status == 200
    # Nobody is told of a death.
    assert [line for line in daemon.log().splitlines() if '"session_ended"' in line]
    assert '"closed": false' not in daemon.log()


def test_a_daemon_that_is_restarted(admin: Any, store: Any, daemon: Daemon) -> None:
    handle = store.put({"a": 1})
    assert admin(url(handle)).status == 200
    before = daemon.kill()
    daemon.wait_for_another(before)
    wait_until(lambda: admin(url(handle)).status == 200, "the admin process to find the daemon")
    pid = wait_until(daemon.daemon_pid, "a daemon")
    os.kill(pid, signal.SIGSTOP)
    try:
        # What is mapped is read without it.
        assert admin(url(handle)).status == 200
    finally:
        os.kill(pid, signal.SIGCONT)


def test_links_between_images(admin: Any, store: Any) -> None:
    inner = store.put({"pad": "x" * 5000, "n": 1})
    outer = store.put([store.get(inner), 2])
    assert store.stat(outer).links == 1
    first, second = admin(url(outer)).json["items"]
    assert (first["kind"], first["link"], second["link"]) == ("dict", str(inner), None)
    below = admin(url(outer, path="/0")).json
    assert [item["key"] for item in below["items"]] == ["pad", "n"]
    # The link keeps it alive, deleted or not.
    store.delete(inner)
    assert admin(url(outer, path="/0/n")).json["item"]["text"] == "1"
    problem_of(admin(url(inner)), "handle-gone", 410)


def test_h04_h20_h21_hostile_images_over_http(
    admin: Any, store: Any, daemon: Daemon, soak_factor: int
) -> None:
    """Damaged images of everything: some answer or 422, from a process that lives on."""
    rng = random.Random("content")
    pid = daemon.admin_pid()
    told = {200: 0, 422: 0}
    for path in GOLDEN:
        data = path.read_bytes()
        if len(data) > 20_000:
            continue
        for _ in range(2 * soak_factor):
            try:
                handle = _put_image(store, mutate(data, rng))
            except (ValueError, icehouse.IcehouseError):
                continue
            for what in ("tree", "preview"):
                answer = admin(url(handle, what))
                assert answer.status in told, answer
                told[answer.status] += 1
            store.delete(handle)
    assert min(told.values()) > 0
    assert daemon.admin_pid() == pid


def test_many_ask_at_once_and_the_rest_is_answered_meanwhile(
    admin: Any, store: Any, daemon: Daemon
) -> None:
    from admin_client import Admin

    handle = store.put({f"key {i}": [i] * 3 for i in range(20_000)})
    answers: list[int] = []

    def browse(number: int) -> None:
        client = Admin(daemon)
        for page in range(5):
            way = "/~n" + str(number * 100 + page)
            answers.append(client(url(handle, path=way)).status)
            answers.append(client(url(handle, "preview")).status)
        client.close()

    threads = [threading.Thread(target=browse, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        assert admin("/healthz").status == 200
    for thread in threads:
        thread.join()
    # None is lost; who came when too many were waiting is told so.
    assert len(answers) == 160
    assert set(answers) <= {200, 503}
    assert answers.count(200) > 80


@pytest.mark.watchdog(120)
def test_a_daemon_that_hangs_is_told(admin: Any, store: Any, daemon: Daemon) -> None:
    handle = store.put(list(range(10)))
    pid = daemon.daemon_pid()
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    try:
        problem_of(admin(url(handle)), "daemon-unavailable", 503)
        assert admin("/healthz").status == 200
    finally:
        os.kill(pid, signal.SIGCONT)
    wait_until(lambda: admin(url(handle)).status == 200, "the daemon to go on")


def test_spilled_images_are_read_where_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from admin_client import Admin

    folder, spill = tmp_path / "d", tmp_path / "spill"
    config: dict[str, Any] = {"capacity": "16MiB", "spill": str(spill), "spill_capacity": "1GiB"}
    with (
        Daemon(folder, http="127.0.0.1:0", **config) as daemon,
        icehouse.connect(daemon.socket) as store,
    ):
        client = Admin(daemon)
        handles = [store.put([number, bytes(4_000_000)]) for number in range(8)]
        assert any(store.stat(handle).state == "spilled" for handle in handles)
        for number, handle in enumerate(handles):
            first, second = client(url(handle)).json["items"]
            assert (first["text"], second["length"]) == (str(number), 4_000_000)
        client.close()


def test_openapi_has_them(admin: Any) -> None:
    document = admin("/openapi.json").json
    for what in ("tree", "preview"):
        operation = document["paths"][f"/api/v1/objects/{{handle}}/{what}"]["get"]
        assert operation["description"]
        assert {"200", "400", "404", "410", "421", "422", "503"} <= set(operation["responses"])
        assert PROBLEM in operation["responses"]["422"]["content"]
        assert "400" in operation["responses"]


OTHER = 51003
AS_OTHER = """
import encodings.idna, http.client, os, sys  # another user may not read the folders of Python
os.setresgid({uid}, {uid}, {uid})
os.setresuid({uid}, {uid}, {uid})
for path in sys.argv[2:]:
    connection = http.client.HTTPConnection("127.0.0.1", int(sys.argv[1]), timeout=30)
    connection.request("GET", path)
    answer = connection.getresponse()
    print(answer.status, answer.read().decode(), sep="\\t")
"""


def asked_by(uid: int, admin: Any, *paths: str) -> list[list[str]]:
    """What another user of this machine is answered."""
    script = AS_OTHER.format(uid=uid)
    done = subprocess.run(
        [sys.executable, "-c", script, str(admin.port), *paths],
        capture_output=True,
        text=True,
        check=True,
    )
    return [line.split("\t") for line in done.stdout.splitlines()]


@pytest.mark.skipif(os.getuid() != 0, reason="becoming another user takes root")
def test_h05_other_users_of_the_machine_read_no_content(admin: Any, store: Any) -> None:
    handle = store.put({"secret": "word"})
    paths = (url(handle), url(handle, "preview"))
    for status, body in asked_by(OTHER, admin, *paths):
        assert status == "403"
        assert "not-permitted" in body
        assert "word" not in body
    ((status, _),) = asked_by(OTHER, admin, "/healthz")
    assert status == "200"
    assert admin(url(handle)).status == 200


@pytest.mark.skipif(os.getuid() != 0, reason="becoming another user takes root")
@pytest.mark.daemon(http="127.0.0.1:0", capacity="64MiB", roles={"reader": {"uids": [OTHER]}})
def test_readers_by_configuration_read_content(admin: Any, store: Any) -> None:
    handle = store.put({"a": "word"})
    ((status, body),) = asked_by(OTHER, admin, url(handle))
    assert status == "200"
    assert "word" in body
