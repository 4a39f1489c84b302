"""`icehouse doctor` where something is really wrong: its fix, executed as printed, mends it."""

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cgroups import inside
from commands import AS_READER, COMMAND, Commands, environment
from daemons import Daemon, wait_until

from icehouse.client.cli import health

pytestmark = pytest.mark.slow


def doctor(socket: str, *prefix: str, **env: str) -> dict[str, dict[str, Any]]:
    """What is not as it should be, by the name of its check."""
    done = subprocess.run(
        [*prefix, *COMMAND, "doctor", "--json"],
        env=environment(socket, **env),
        capture_output=True,
        check=False,
    )
    assert done.stderr == b"", done
    told = json.loads(done.stdout)
    failed = [check for check in told["checks"] if check["state"] == "failure"]
    assert done.returncode == (1 if failed else 0)
    assert told["ok"] == (not failed)
    return {
        check["check"]: check
        for check in told["checks"]
        if check["state"] in ("failure", "warning")
    }


def shell(fix: str, folder: Path, **env: str) -> None:
    """Executes a fix as somebody would who has copied it."""
    command = folder / "icehouse"
    command.write_text(f'#!/bin/sh\nexec {" ".join(COMMAND)} "$@"\n')
    command.chmod(0o755)
    found = environment(**env)
    found["PATH"] = f"{folder}:{found['PATH']}"
    subprocess.run(["sh", "-e", "-c", fix], check=True, env=found)


@pytest.fixture
def folder() -> Iterator[Path]:
    """Short enough for a socket, and this user's alone."""
    with tempfile.TemporaryDirectory(prefix="icehouse-") as path:
        yield Path(path)


def test_a_daemon_that_hangs(commands: Commands, tmp_path: Path) -> None:
    kept = commands.store.put([1, 2], name="kept")
    where = commands.daemon.socket
    pid = commands.daemon.kill(signal.SIGSTOP)
    try:
        found = doctor(where)["daemon"]
        assert f"pid {commands.daemon.keeper_pid} listens" in found["found"]
        assert found["fix"] == f"kill -9 {pid}"
        shell(found["fix"], tmp_path)
    finally:
        if commands.daemon.daemon_pid() == pid:
            os.kill(pid, signal.SIGKILL)
    commands.daemon.wait_for_another(pid)
    assert "daemon" not in doctor(where)
    assert commands.lines("stat", "kept")[0]["handle"] == str(kept)


def test_nobody_listens_and_a_socket_that_was_left(folder: Path) -> None:
    """The same fix for both; it serves until it is stopped."""
    where = str(folder / "run" / "socket")
    with Daemon(folder / "run", capacity="16MiB") as daemon:
        daemon.destroy()
    assert Path(where).exists()
    for _ in ("a socket that was left", "nothing"):
        found = doctor(where)["daemon"]
        assert found["fix"] == f"icehouse serve --socket {where}"
        served = subprocess.Popen(
            [*COMMAND, *found["fix"].split()[1:], "--capacity", "16MiB"],
            env=environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            wait_until(lambda: "daemon" not in doctor(where), "it to answer")
        finally:
            served.terminate()
            served.wait()
        shutil.rmtree(folder / "run", ignore_errors=True)


def test_a_folder_where_others_write(folder: Path) -> None:
    with Daemon(folder / "a b", capacity="16MiB") as daemon:
        (folder / "a b").chmod(0o777)
        found = doctor(daemon.socket)["socket"]
        assert "others could listen" in found["found"]
        shell(found["fix"], folder)
        assert "socket" not in doctor(daemon.socket)


def test_places_where_no_socket_can_be(folder: Path) -> None:
    (folder / "file").touch()
    for where in (f"{folder}/{'x' * 110}/socket", f"{folder}/file/socket"):
        found = doctor(where)["socket"]
        out = folder / "out"
        shell(f"{found['fix']}; icehouse doctor -q > {out} || true", folder, HOME=str(folder))
        wrong = [line for line in out.read_text().splitlines() if line.startswith("!")]
        assert "socket" not in {line.split()[1] for line in wrong}


def test_few_descriptors(commands: Commands) -> None:
    where = commands.daemon.socket
    if shutil.which("prlimit") is None:
        pytest.skip("no prlimit: apt-get install util-linux")
    found = doctor(where, "prlimit", "--nofile=256:1024")["descriptors"]
    assert found["state"] == "warning"
    assert "LimitNOFILE=65536" in found["fix"]
    # More than this process has it may not give: the least that is enough is tried.
    if resource.getrlimit(resource.RLIMIT_NOFILE)[1] >= health.DESCRIPTORS_WANTED:
        enough = f"--nofile={health.DESCRIPTORS_WANTED}"
        assert "descriptors" not in doctor(where, "prlimit", enough)


def test_a_small_cgroup(folder: Path, cgroup: Path) -> None:
    """Of 256 MiB a daemon may not take 1 GiB; what is told instead fits."""
    inside_it = inside(cgroup)
    with Daemon(folder / "run", capacity="1GiB", prefix=inside_it) as daemon:
        found = doctor(daemon.socket, *inside_it)["memory"]
    assert "free now" in found["found"]
    command = found["fix"].partition(",")[0].split()
    assert command[:3] == ["icehouse", "serve", "--capacity"]
    with Daemon(folder / "run", prefix=inside_it, capacity=command[3]) as daemon:
        assert "memory" not in doctor(daemon.socket, *inside_it)


def test_a_full_store(folder: Path) -> None:
    with Daemon(folder / "run", capacity="16MiB") as daemon:
        code = (
            "import icehouse, sys; s = icehouse.connect(sys.argv[1]);"
            "[s.put(b'x' * 900_000) for _ in range(16)]"
        )
        subprocess.run([sys.executable, "-c", code, daemon.socket], check=True)
        found = doctor(daemon.socket)["room"]
        assert found["state"] == "warning"
        fix = found["fix"].partition(";")[0]
        assert fix == "icehouse gc --orphans"

        def mended() -> bool:
            shell(fix, folder, ICEHOUSE_SOCKET=daemon.socket)
            return "room" not in doctor(daemon.socket)

        # Its orphans are such once the end of their producer has been noticed.
        wait_until(mended, "room")


def test_without_the_libraries_of_the_service(commands: Commands) -> None:
    code = (
        "import sys; sys.modules['uvicorn'] = None;"
        "from icehouse.client.cli import main; sys.exit(main())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "doctor", "--json", "--no-daemon"],
        env=environment(commands.daemon.socket),
        capture_output=True,
        check=True,
    )
    [found] = [check for check in json.loads(done.stdout)["checks"] if check["check"] == "service"]
    assert (found["state"], "uvicorn" in found["found"]) == ("info", True)
    assert found["fix"].endswith("-m pip install 'icehouse[service]'")


def test_a_user_without_a_role(folder: Path) -> None:
    """Told what to give the daemon; with that it answers."""
    if os.geteuid() != 0:
        pytest.skip("needs root, to be another user")

    def run(where: str, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-c", AS_READER, *words],
            env=environment(where),
            capture_output=True,
            text=True,
            check=False,
        )

    folder.chmod(0o711)
    with Daemon(folder / "run", capacity="16MiB") as daemon:
        (folder / "run").chmod(0o711)
        done = run(daemon.socket, "status")
        assert (done.returncode, done.stdout) == (6, "")
        assert done.stderr == f"icehouse: {daemon.socket}: Permission denied\n"
        done = run(daemon.socket, "doctor", "-q")
        assert done.returncode == 1, done.stderr
        assert "fix: icehouse serve --set roles.producer.uids=51002" in done.stdout
    with Daemon(
        folder / "run", capacity="16MiB", arguments=["--roles.producer.uids=51002"]
    ) as daemon:
        assert run(daemon.socket, "status", "-q").returncode == 0
