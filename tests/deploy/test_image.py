"""deploy/docker/Dockerfile is built, and what compose.yaml starts runs, by buildah and podman.

The first run makes a base image of Debian's packages, which takes minutes; see engines.py.
"""

import json
import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from daemons import wait_until

sys.path.insert(0, str(Path(__file__).parent))
from engines import Engine, built

MIB = 2**20
USER = "10001:10001"
# The image less its base: the package, what it needs, and a virtual environment.
OWN_BYTES_MAX = 128 * MIB
KILLED = 137

pytestmark = [pytest.mark.slow, pytest.mark.watchdog(1500)]


@pytest.fixture(scope="module")
def storage(root: Path) -> Iterator[Path]:
    with built(root) as folder:
        yield folder


@pytest.fixture
def engine(storage: Path, tmp_path: Path) -> Iterator[Engine]:
    with Engine(storage, tmp_path) as started:
        yield started


def found(engine: Engine, kind: str, name: str) -> dict[str, Any]:
    (told,) = json.loads(engine(kind, "inspect", name))
    assert isinstance(told, dict)
    return told


def test_the_image_is_small_and_of_a_user_without_rights(engine: Engine, root: Path) -> None:
    image = found(engine, "image", "icehouse")
    config = image["Config"]
    assert config["User"] == USER
    assert config["Entrypoint"] == ["icehouse", "serve"]
    assert config["StopSignal"] in ("SIGTERM", "15")
    assert set(config["Volumes"]) == {"/run/icehouse"}
    assert image["HealthCheck" if "HealthCheck" in image else "Healthcheck"]["Test"] == [
        *("CMD", "icehouse", "status", "--json")
    ]
    (base,) = {
        line.split()[1]
        for line in (root / "deploy/docker/Dockerfile").read_text().splitlines()
        if line.startswith("FROM ")
    }
    assert image["Size"] - found(engine, "image", base)["Size"] < OWN_BYTES_MAX
    # Neither the source nor what compiled it, no way to install more, nothing of root's that it
    # could write.
    looks = (
        "for name in gcc cc pip make; do ! command -v $name || exit 1; done; ! test -e /src;"
        "find / -xdev -type f -writable -not -path '/proc/*' -print -quit 2>/dev/null || :"
    )
    assert engine("run", "--rm", "--network=none", "--entrypoint=sh", "icehouse", "-c", looks) == ""
    # All that the machine must have is there, as the image sees it.
    doctor = ["--entrypoint=icehouse", "icehouse", "doctor", "--no-daemon"]
    assert "Traceback" not in engine("run", "--rm", "--network=none", *doctor)


def overriding(engine: Engine, root: Path) -> list[Path]:
    """The file as it is shipped, and what this machine can't give or podman-compose not read."""
    services = {
        "icehouse": {
            "ulimits": {
                "nofile": {"soft": min(65536, engine.files), "hard": min(65536, engine.files)},
                "nproc": engine.processes,
            }
        }
    }
    override = engine.folder / "override.yaml"
    override.write_text(json.dumps({"services": services}))
    return [root / "deploy" / "docker" / "compose.yaml", override]


def test_compose_starts_containers_that_share_objects(engine: Engine, root: Path) -> None:
    files = overriding(engine, root)
    # podman-compose knows no `ipc:`.
    up = ["--podman-run-args=--ipc=none", "up", "--detach", "--no-build"]
    engine.compose(*up, project="trial", files=files)

    def log(service: str) -> str:
        done = engine.podman("logs", f"trial_{service}_1")
        return done.stdout + done.stderr

    def inside(service: str, command: str) -> str:
        return engine("exec", f"trial_{service}_1", *shlex.split(command))

    wait_until(lambda: "number 1 row 31 {'id': 31, 'square': 961}" in log("consumer"), "objects")
    assert json.loads(inside("icehouse", "icehouse status --json"))["clients"] == 2
    assert engine.podman("healthcheck", "run", "trial_icehouse_1").returncode == 0
    for service, memory in (("icehouse", 1280), ("producer", 256), ("consumer", 256)):
        assert inside(service, "id -u") == "10001\n"
        assert engine.podman("exec", f"trial_{service}_1", "test", "-e", "/dev/shm").returncode == 1
        host = found(engine, "container", f"trial_{service}_1")["HostConfig"]
        assert host["Memory"] == memory * MIB
        assert host["ReadonlyRootfs"] is True
        rights = inside(service, "cat /proc/self/status")
        assert set(re.findall(r"^Cap\w+:\s+(\w+)$", rights, re.MULTILINE)) == {"0" * 16}
        assert re.search(r"^NoNewPrivs:\s+1$", rights, re.MULTILINE)
        interfaces = inside(
            service, "python -c 'import socket; print(len(socket.if_nameindex()) > 1)'"
        )
        assert interfaces == f"{service == 'icehouse'}\n"
    metrics = (
        "python -c 'import urllib.request as r;"
        'print(r.urlopen("http://127.0.0.1:8420/metrics").read().decode())\''
    )
    wait_until(lambda: "icehouse_up 1.0" in inside("icehouse", metrics), "metrics")
    # The daemon is killed, and its keeper starts another: the clients go on.
    last = log("consumer").count("number")
    pid = json.loads(inside("icehouse", "icehouse status --json"))["pid"]
    inside("icehouse", f"python -c 'import os; os.kill({pid}, 9)'")
    wait_until(lambda: log("consumer").count("number") > last + 1, "more objects")
    # All stop when they are told to, and nobody has to be killed.
    engine.compose("stop", project="trial", files=files)
    for service in ("icehouse", "producer", "consumer"):
        state = found(engine, "container", f"trial_{service}_1")["State"]
        assert state["Running"] is False
        assert state["ExitCode"] != KILLED
        assert state["OOMKilled"] is False
    assert '"event": "stopped"' in log("icehouse")
    engine.compose("down", "--volumes", project="trial", files=files)


FILLS = """
import icehouse
store = icehouse.connect()
held = []
try:
    for i in range(1000):
        held.append(store.put(bytes([i % 256]) * 2**20))
except icehouse.StoreFull:
    print(len(held))
"""


def test_a_full_container_refuses_and_nobody_is_killed(engine: Engine) -> None:
    """What a client fills counts for the daemon's container; by default half of its memory."""
    plain = ["--network=none", "--ipc=none", "--read-only", "--cap-drop=ALL"]
    plain += ["--volume=shared:/run/icehouse"]
    engine("run", "--detach", "--name=daemon", "--memory=512m", *plain, "icehouse")
    wait_until(
        lambda: engine.podman("exec", "daemon", "icehouse", "status").returncode == 0, "the daemon"
    )
    told = json.loads(engine("exec", "daemon", "icehouse", "status", "--json"))
    assert told["capacity"] == 256 * MIB
    # The producer's own container has room for a quarter of what it fills.
    client = ["--memory=64m", *plain, "--entrypoint=python", "icehouse", "-c", FILLS]
    count = int(engine("run", "--rm", *client))
    assert 3 * 64 < count <= 256
    assert alive(engine, "daemon")


def alive(engine: Engine, name: str) -> bool:
    """Whether the daemon of this container serves, and nothing of it had to be killed."""
    state = found(engine, "container", name)["State"]
    log = engine.podman("logs", name)
    answers = engine.podman("exec", name, "icehouse", "status").returncode == 0
    return bool(
        state["Running"]
        and not state["OOMKilled"]
        and '"event": "died"' not in log.stdout + log.stderr
        and answers
    )


def test_a_capacity_over_the_limit_refuses_too(engine: Engine) -> None:
    """«reason="memory"» of docs/operations.md: the limit is met before the capacity."""
    plain = ["--network=none", "--ipc=none", "--read-only", "--cap-drop=ALL"]
    plain += ["--volume=shared:/run/icehouse"]
    large = ["--memory=256m", "--env=ICEHOUSE_CAPACITY=1GiB"]
    engine("run", "--detach", "--name=daemon", *large, *plain, "icehouse")
    wait_until(
        lambda: engine.podman("exec", "daemon", "icehouse", "status").returncode == 0, "the daemon"
    )
    client = ["--memory=64m", *plain, "--entrypoint=python", "icehouse", "-c", FILLS]
    count = int(engine("run", "--rm", *client))
    assert 100 < count < 256

    def failures() -> dict[str, int]:
        told = json.loads(engine("exec", "daemon", "icehouse", "metrics", "--json"))
        return dict(told["counters"]["allocation_failures"])

    # What is told may be a second old.
    assert set(wait_until(failures, "the failure to be told")) == {"memory"}
    assert alive(engine, "daemon")
