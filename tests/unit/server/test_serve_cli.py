"""`icehouse serve` and `icehouse config show` as typed at a prompt."""

import json
import os
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("typer")

COMMAND = [sys.executable, "-m", "icehouse.client.cli"]


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """Nothing of who runs the tests."""
    kept = {name: text for name, text in os.environ.items() if not name.startswith("ICEHOUSE_")}
    return {**kept, "HOME": str(tmp_path), "XDG_RUNTIME_DIR": str(tmp_path)}


def ended(arguments: list[str], environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *arguments], env=environment, capture_output=True, text=True, check=False
    )


class Served:
    """A daemon started by the command line, told of by its log."""

    def __init__(
        self,
        arguments: list[str],
        environment: dict[str, str],
        command: list[str] | None = None,
        pass_fds: tuple[int, ...] = (),
    ) -> None:
        self.process = subprocess.Popen(
            [*(command or [*COMMAND, "serve"]), "--log-format", "json", *arguments],
            env=environment,
            pass_fds=pass_fds,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def event(self, name: str) -> dict[str, object]:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            told: dict[str, object] = json.loads(line)
            if told["event"] == name:
                return told
        raise AssertionError(f"it ended with {self.process.wait()} before it said {name}")

    def stop(self) -> int:
        self.process.terminate()
        self.process.communicate()
        return self.process.returncode


def test_it_serves_where_clients_look(tmp_path: Path, environment: dict[str, str]) -> None:
    served = Served(["--capacity", "64MiB"], environment)
    try:
        path = tmp_path / "icehouse" / "socket"
        assert served.event("ready")["socket"] == str(path)
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))
        again = ended(["serve"], environment)
        assert (again.returncode, again.stdout) == (1, "")
        assert f"pid {served.process.pid}" in again.stderr
        assert len(again.stderr.splitlines()) == 1
    finally:
        status = served.stop()
    assert status == 0
    assert not path.exists()


def test_a_socket_of_systemd_is_used(tmp_path: Path, environment: dict[str, str]) -> None:
    """Through all the programs that `icehouse serve` becomes, descriptor 3 and the pid stay."""
    program = (
        "import os, sys; os.dup2(int(sys.argv[1]), 3); os.environ['LISTEN_PID'] = str(os.getpid());"
        "os.execv(sys.executable, [sys.executable, *sys.argv[2:]])"
    )
    place = tmp_path / "given"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(place))
        listener.listen()
        command = [sys.executable, "-c", program, str(listener.fileno()), *COMMAND[1:], "serve"]
        served = Served(
            [], {**environment, "LISTEN_FDS": "1"}, command, pass_fds=(listener.fileno(),)
        )
    try:
        served.event("ready")
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(place))
        assert not (tmp_path / "icehouse").exists()
    finally:
        assert served.stop() == 0
    # It is systemd's.
    assert place.exists()


def test_a_socket_for_other_users(tmp_path: Path, environment: dict[str, str]) -> None:
    place = str(tmp_path / "shared" / "socket")
    role = "roles.reader.uids=51001"
    served = Served(["--capacity", "64MiB", "--set", role, "--socket", place], environment)
    try:
        served.event("ready")
        assert stat.S_IMODE((tmp_path / "shared").stat().st_mode) == 0o711
        assert stat.S_IMODE((tmp_path / "shared" / "socket").stat().st_mode) == 0o666
    finally:
        assert served.stop() == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--capacity", "5X"], ["--capacity", "a size like 2GiB", "'5X'"]),
        (["--http", "0.0.0.0:80"], ["--http", "loopback"]),
        (["--config", "/no/such.toml"], ["/no/such.toml", "No such file"]),
        (["--set", "limits.sesions_max=3"], ["limits.sesions_max", "limits.sessions_max?"]),
        (["--set", "capacity"], ["KEY=VALUE"]),
    ],
)
def test_usage_errors(environment: dict[str, str], arguments: list[str], words: list[str]) -> None:
    done = ended(["serve", *arguments], environment)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("icehouse: ")
    assert len(done.stderr.splitlines()) == 1
    for word in words:
        assert word in done.stderr


def test_config_show(environment: dict[str, str]) -> None:
    environment["ICEHOUSE_LOG_LEVEL"] = "error"
    done = ended(["config", "show"], environment)
    assert (done.returncode, done.stderr) == (0, "")
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("log_level")]
    assert line.split() == [
        "log_level",
        "=",
        '"error"',
        "#",
        "ICEHOUSE_LOG_LEVEL",
        *line.split()[5:],
    ]
    told = json.loads(ended(["config", "show", "--json"], environment).stdout)
    assert told["settings"]["log_level"]["value"] == "error"


@pytest.mark.parametrize("arguments", [[], ["--json"]])
def test_config_show_where_nobody_takes_it(
    environment: dict[str, str], arguments: list[str]
) -> None:
    """As the other commands: quiet for a reader that has gone, a line for a full disk."""
    reader, writer = os.pipe()
    os.close(reader)
    command = [*COMMAND, "config", "show", *arguments]
    with os.fdopen(writer, "w") as gone, Path("/dev/full").open("w") as full:
        for stdout, said in (gone, ""), (full, "icehouse: [Errno 28] No space left on device\n"):
            done = subprocess.run(
                command,
                env=environment,
                stdout=stdout,
                stderr=subprocess.PIPE,
                text=True,
                check=False,
            )
            assert (done.returncode, done.stderr) == (1, said)


def test_modules_of_the_folder_are_not_imported(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    """What lies where the command was given is not the daemon's code."""
    (tmp_path / "msgspec.py").write_text("raise SystemExit('imported')")
    done = subprocess.run(
        [sys.executable, "-P", "-m", "icehouse.client.cli", "config", "show"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
