"""deploy/systemd: hardened, what the keeper needs, and run by a real systemd."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from daemons import wait_until

import icehouse

sys.path.insert(0, str(Path(__file__).parent))
from boxes import USER, Box, needs_boxes

FOLDER = Path("deploy", "systemd")
EXPOSURE_MAX = 2.0
INIT = "/lib/systemd/systemd"


def settings(root: Path, unit: str) -> dict[str, str]:
    lines = (root / FOLDER / unit).read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))


def analyzer() -> str:
    program = shutil.which("systemd-analyze")
    if program is None:
        pytest.skip("no systemd-analyze (apt-get install systemd)")
    return program


def test_it_is_hardened(root: Path) -> None:
    command = [analyzer(), "security", "--offline=true", "--no-pager"]
    command += [f"--threshold={int(EXPOSURE_MAX * 10)}", str(root / FOLDER / "icehouse.service")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    found = re.search(r"Overall exposure level for icehouse.service: ([\d.]+)", done.stdout)
    if found is None:
        pytest.skip(f"systemd-analyze can't look at a file here: {done.stderr.strip()}")
    assert float(found[1]) < EXPOSURE_MAX, done.stdout
    assert done.returncode == 0


def test_systemd_accepts_both_units(root: Path, tmp_path: Path) -> None:
    # It looks whether the program is there.
    program = shutil.which("true")
    service = (root / FOLDER / "icehouse.service").read_text()
    service = service.replace("/opt/icehouse/bin/icehouse", str(program))
    (tmp_path / "icehouse.service").write_text(service)
    shutil.copy(root / FOLDER / "icehouse.socket", tmp_path)
    command = [analyzer(), "verify", "--man=no"]
    command += [str(tmp_path / "icehouse.socket"), str(tmp_path / "icehouse.service")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if "Failed to" in done.stderr and str(tmp_path) not in done.stderr:
        pytest.skip(f"systemd-analyze can't verify here: {done.stderr.strip()}")
    assert (done.returncode, done.stderr) == (0, "")


def test_it_says_what_the_keeper_needs(root: Path) -> None:
    found = settings(root, "icehouse.service")
    # READY=1, the store of descriptors, the watchdog; children are stopped by their parent.
    assert found["Type"] == "notify"
    assert int(found["FileDescriptorStoreMax"]) > 0
    assert int(found["WatchdogSec"]) > 0
    assert found["KillMode"] == "mixed"
    assert int(found["TimeoutStopSec"]) > 5
    # A mapped user can't be told by its uid.
    assert "PrivateUsers" not in found
    # Both units speak of one socket, which must not go with the service.
    place = settings(root, "icehouse.socket")["ListenStream"]
    assert f"--socket {place} " in found["ExecStart"]
    assert found["RuntimeDirectoryPreserve"] == "yes"
    assert f"/run/{found['RuntimeDirectory']}/" in place


@pytest.mark.slow
@pytest.mark.watchdog(120)
def test_a_socket_that_systemd_listens_at(tmp_path: Path) -> None:
    """systemd-socket-activate passes it as the real one does, at the first connection."""
    program = shutil.which("systemd-socket-activate")
    if program is None:
        pytest.skip("no systemd-socket-activate (apt-get install systemd)")
    path = str(tmp_path / "socket")
    command = [program, f"--listen={path}", "--fdname=icehouse"]
    command += [f"--setenv={name}" for name in ("PATH", "HOME", "PYTHONPATH") if name in os.environ]
    command += [sys.executable, "-m", "icehouse.client.cli", "serve", "--capacity", "64MiB"]
    command += ["--socket", path, "--log-format", "json"]
    log = tmp_path / "log"
    with log.open("wb") as out:
        server = subprocess.Popen(command, stdout=out, stderr=out)
        try:
            wait_until(lambda: Path(path).exists(), "systemd to listen")
            assert '"event"' not in log.read_text()
            # The client's first connection starts it, and waits until it serves.
            with icehouse.connect(path) as store:
                assert store.get(store.put([1, 2, 3])) == [1, 2, 3]
            assert not Path(path + ".lock").exists()
        finally:
            server.terminate()
            assert server.wait(60) == 0
    # Its socket is not ours to remove.
    assert Path(path).exists()


@pytest.fixture
def units(root: Path, tmp_path: Path) -> Path:
    """The units as they are shipped, but for what this machine's interpreter needs."""
    needs_boxes()
    if not Path(INIT).exists() or shutil.which("systemctl") is None:
        pytest.skip("no systemd (apt-get install systemd)")
    folder = tmp_path / "units"
    shutil.copytree(root / FOLDER, folder)
    places = (sys.base_prefix, sys.prefix)
    hides = {"ProtectHome": "/(root|home)/", "PrivateTmp": "/(var/)?tmp/"}
    shown = [name for name, hidden in hides.items() if any(re.match(hidden, p) for p in places)]
    if shown:
        (folder / "icehouse.service.d").mkdir()
        lines = ["[Service]", *(f"{name}=no" for name in shown), ""]
        (folder / "icehouse.service.d" / "here.conf").write_text("\n".join(lines))
    return folder


class Machine:
    """A box whose first process is systemd."""

    def __init__(self, box: Box) -> None:
        self.box = box

    def __call__(self, *command: str) -> str:
        done = self.box.run(command)
        assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}\n{self.journal()}"
        return done.stdout

    def journal(self) -> str:
        return self.box.run(["journalctl", "--no-pager", "--output=cat"]).stdout

    def shown(self, name: str) -> str:
        return self(
            "systemctl", "show", "--value", f"--property={name}", "icehouse.service"
        ).strip()

    def icehouse(self, *command: str) -> Any:
        rights = ["setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups"]
        place = ["env", "ICEHOUSE_SOCKET=/run/icehouse/socket", "icehouse", *command]
        return json.loads(self(*rights, *place))

    def code(self, text: str) -> str:
        rights = ["setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups"]
        place = ["env", "ICEHOUSE_SOCKET=/run/icehouse/socket", "python", "-c", text]
        return self(*rights, *place)


def documented(root: Path, language: str) -> list[str]:
    page = (root / "docs" / "operations.md").read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)


@pytest.mark.slow
@pytest.mark.watchdog(300)
def test_an_operator_follows_the_page(units: Path, root: Path, tmp_path: Path) -> None:
    """The configuration that it shows, what it types after it, and what may be done then."""
    pytest.importorskip("fastapi", reason="no fastapi: icehouse[service]")
    if shutil.which("curl") is None:
        pytest.skip("no curl (apt-get install curl)")
    (config,) = documented(root, "toml")
    # The box has one group more than this machine.
    (units / "config.toml").write_text(config.replace("research", "icehouse"))
    more = units / "icehouse.service.d"
    more.mkdir(exist_ok=True)
    place = "/etc/systemd/system/config.toml"
    (more / "config.conf").write_text(f"[Service]\nEnvironment=ICEHOUSE_CONFIG={place}\n")
    typed = [block for block in documented(root, "sh") if "ICEHOUSE_SOCKET=" in block]
    token_new = [block for block in documented(root, "sh") if "token new" in block]
    assert len(typed) == len(token_new) == 1
    shared = tmp_path / "shared"
    shared.mkdir()
    with Box(shared, {"container": "box"}, systemd=units) as box:
        box.start([INIT, "--system", "--unit=basic.target", "--show-status=0"])
        machine = Machine(box)
        wait_until(
            lambda: box.run(["systemctl", "is-active", "basic.target"]).stdout == "active\n",
            "systemd to be up",
        )
        services = ("systemd-journald.service", "icehouse.socket", "icehouse.service")
        machine("systemctl", "start", *services)
        # As root, whom the configuration names.
        assert "you are   admin" in machine("bash", "-c", typed[0])
        before = typed[0] + f"export ICEHOUSE_CONFIG={place}\n"
        token = machine("bash", "-c", before + token_new[0]).split()[-1]
        put = "echo '[1, 2]' | icehouse put - --format json"
        handle = machine("bash", "-c", before + put).split()[-1]
        assert handle.startswith("ih1_")
        pin = f"curl -fsS -X POST -H 'Authorization: Bearer {token}' "
        pin += f"http://127.0.0.1:8420/api/v1/objects/{handle}/pin"
        wait_until(
            lambda: box.run(["curl", "-fs", "http://127.0.0.1:8420/readyz"]).returncode == 0,
            "the admin process",
        )
        machine("bash", "-c", pin)
        assert machine.icehouse("stat", handle, "--json")["pinned"] is True
        refused = box.run(["curl", "-sS", "-X", "POST", pin.split()[-1]])
        assert '"status":401' in refused.stdout.replace(" ", "")
        told = machine.icehouse("status", "--json")
        assert told["capacity"] == 16 * 2**30
        # Others than those named stay out, and the log says so.
        stranger = ["setpriv", "--reuid=12345", "--regid=12345", "--clear-groups", "env"]
        stranger += ["ICEHOUSE_SOCKET=/run/icehouse/socket", "icehouse", "status"]
        refused = box.run(stranger)
        assert (refused.returncode, "needs reader" in refused.stderr) == (6, True)
        wait_until(lambda: '"event": "denied"' in machine.journal(), "the log to tell")
        machine("systemctl", "stop", "icehouse.service")


@pytest.mark.slow
@pytest.mark.watchdog(300)
def test_a_real_systemd_runs_the_units(units: Path, tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    box = Box(shared, {"container": "box"}, systemd=units)
    with box.start([INIT, "--system", "--unit=basic.target", "--show-status=0"]):
        machine = Machine(box)
        wait_until(
            lambda: box.run(["systemctl", "is-active", "basic.target"]).stdout == "active\n",
            "systemd to be up",
        )
        machine("systemctl", "start", "systemd-journald.service", "icehouse.socket")
        assert machine.shown("ActiveState") == "inactive"
        # The first client starts the service, and waits for it.
        put = "import icehouse; print(icehouse.connect().put([1, 2, 3], name='kept', pin=True))"
        handle = machine.code(put).strip()
        assert machine.shown("ActiveState") == "active"
        # Root is a stranger as well, where no role names it.
        asked = ["env", "ICEHOUSE_SOCKET=/run/icehouse/socket", "icehouse", "status"]
        assert box.run(asked).returncode == 6
        assert machine.shown("StatusText") == "serving /run/icehouse/socket"
        assert machine.shown("User") == "icehouse"
        assert int(machine.shown("NFileDescriptorStore")) > 3
        exposed = machine("systemd-analyze", "security", "--no-pager", "icehouse.service")
        assert re.search(r"Overall exposure level for icehouse.service: [01]\.", exposed)
        # A restart, as in an upgrade, and a keeper that is killed: the data is there after both.
        for disturb in (["restart", "icehouse"], ["kill", "--signal=SIGKILL", "icehouse"]):
            before = machine.shown("MainPID")
            machine("systemctl", *disturb)
            wait_until(
                lambda before=before: machine.shown("MainPID") not in ("0", before),
                "another keeper",
            )
            get = f"import icehouse; print(icehouse.thaw(icehouse.connect().get({handle!r})))"
            assert machine.code(get) == "[1, 2, 3]\n"
            assert machine.icehouse("status", "--json")["names"] == 1
        assert '"event": "ready"' in machine.journal()
        # Stopped, it lets go of all; the socket stays, and the next client starts it anew.
        machine("systemctl", "stop", "icehouse.service")
        assert machine.shown("ActiveState") == "inactive"
        assert machine.icehouse("status", "--json")["names"] == 0
