"""Every command against every aspect: help, JSON, exit codes, pipes, terminals, locales, Ctrl-C.

What a command does is tested in the other modules; here each one is run in each way, so that a
command that is added can't be left out: it fails here until its words are in the tables.
"""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import pytest
from commands import COMMAND, Commands, check, environment
from daemons import wait_until

import icehouse
from icehouse.client.cli import app

pytestmark = pytest.mark.slow

NAME = "größe-→"
# Words for each command that print something, given a name that is bound; FILE is an image file,
# TEXT one of JSON and NEW one that is not there yet.
WORDS: dict[str, list[str]] = {
    "status": [],
    "put": ["TEXT"],
    "get": [NAME],
    "cat": [NAME],
    "ls": [],
    "stat": [NAME],
    "who": [NAME],
    "rm": ["gone"],
    "pin": [NAME],
    "unpin": [NAME],
    "names": [],
    "bind": ["other", NAME],
    "watch": [NAME, "--count", "1"],
    "top": [],
    "gc": [],
    "clients": [],
    "segments": [],
    "export": [NAME, "NEW"],
    "import": ["FILE", "--name", "imported"],
    "verify": [],
    "bench": ["--quick", "--corpus", "pairs", "--case", "size"],
    "demo": ["--characters", "300", "--questions", "5", "--interpreters", "0", "--processes", "1"],
    "doctor": [],
    "metrics": [],
    "config": ["show"],
    "token": ["new", "ada"],
}
# These run until they are stopped, or print no data.
OTHERS = {"serve", "completion"}
# Of these --json prints one document a line.
LINES = {
    *("put", "cat", "ls", "stat", "who", "rm", "pin", "unpin", "names", "watch", "top", "clients"),
    *("segments", "verify"),
}
NEED_NO_DAEMON = {"bench", "demo", "doctor", "config", "token"}
LONG = {"watch": [NAME], "top": ["--count", "1000"], "bench": [], "put": ["-"], "import": ["-"]}


def words_of(command: str, folder: Path, *more: str) -> list[str]:
    """The command line; files are in a folder of this call."""
    folder.mkdir(exist_ok=True)
    text = folder / "größe.json"
    text.write_text('{"ü": [1, 2, "→"]}')
    icehouse.save([1, 2], folder / "x.ih")
    places = {"TEXT": str(text), "FILE": str(folder / "x.ih"), "NEW": str(folder / "new.ih")}
    return [command, *(places.get(word, word) for word in WORDS[command]), *more]


@pytest.fixture
def filled(commands: Commands, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Commands:
    """A store with what the tables name; tokens are kept in a folder of the test."""
    commands.store.put({"ü": [1, "→\U0001f600", 2.5]}, name=NAME)
    commands.store.put([1], name="gone")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    return commands


def run_all(
    lines: dict[str, list[str]], where: str, *, stdin: bytes = b"", **env: str
) -> Iterator[tuple[str, int, str, str]]:
    """Runs commands two at a time: name, exit code, stdout and stderr of each."""
    names = list(lines)
    for at in range(0, len(names), 2):
        running = [
            (
                name,
                subprocess.Popen(
                    [*COMMAND, *lines[name]],
                    env=environment(where, **env),
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                ),
            )
            for name in names[at : at + 2]
        ]
        for name, process in running:
            out, said = process.communicate(stdin)
            yield name, process.returncode, out.decode(), said.decode()


def test_the_tables_have_every_command() -> None:
    assert {*WORDS, *OTHERS} == set(app.COMMANDS)
    for name in WORDS:
        command = app.load(name)
        if hasattr(command, "commands"):
            command = command.commands[WORDS[name][0]]
        assert any("--json" in param.opts for param in command.params), name


def test_help(filled: Commands) -> None:
    lines = {name: [name, "--help"] for name in app.COMMANDS}
    for command in ("config", "token"):
        lines[f"{command} {WORDS[command][0]}"] = [command, WORDS[command][0], "-h"]
    for name, code, out, said in run_all(lines, filled.daemon.socket):
        assert (code, said) == (0, ""), name
        assert out.startswith(f"Usage: icehouse {name} "), name
        assert out.endswith("Show this message and exit.\n") or "Commands:" in out, name
        assert max(map(len, out.splitlines())) <= 80, name
    # Typer's own way gives the same.
    code = (
        "from icehouse.client.cli.app import app; app(args=['ls', '--help'], prog_name='icehouse')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == filled.out("ls", "--help")


def test_json_as_the_schemas_say(filled: Commands, tmp_path: Path) -> None:
    lines = {name: words_of(name, tmp_path / name, "--json") for name in WORDS}
    for name, code, out, said in run_all(lines, filled.daemon.socket):
        assert (code, said) == (0, ""), name
        documents = out.splitlines() if name in LINES else [out]
        assert documents, name
        for document in documents:
            check(name, json.loads(document))


@pytest.mark.parametrize("env", [{"LC_ALL": "C"}, {"PYTHONIOENCODING": "ascii"}])
def test_a_locale_without_letters(filled: Commands, tmp_path: Path, env: dict[str, str]) -> None:
    """Names and files of a command line are what they are in any locale, and nothing fails."""
    lines = {name: words_of(name, tmp_path / name) for name in WORDS}
    for name, code, out, said in run_all(lines, filled.daemon.socket, **env):
        assert code == 0, (name, said)
        assert not said or name == "token", name
        # What `get` writes is a file, whose encoding is its format's.
        assert out.isascii() or "LC_ALL" in env or name == "get", name
        if name in ("cat", "get"):
            assert json.loads(out) == {"ü": [1, "→\U0001f600", 2.5]}


def test_a_terminal_of_40_columns_without_colours(filled: Commands, tmp_path: Path) -> None:
    for name in set(WORDS) - {"bench", "demo", "token", "config", "get", "export"}:
        words = words_of(name, tmp_path / name, *(["--count", "1"] if name == "top" else []))
        code, told = filled.on_terminal(*words, COLUMNS="40", NO_COLOR="1")
        assert code == 0, (name, told)
        # Handles are not cut where they are all there is; tables are.
        if name in ("ls", "names", "clients", "segments", "who", "metrics", "top"):
            # The other screen, which `top` draws on, ends without the end of a line.
            plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", told.replace("\x1b[?1049l", "\n"))
            assert max(len(line.rstrip("\r")) for line in plain.splitlines()) <= 40, name
        assert not re.search(r"\x1b\[(?:\d+;)*[34][0-7]m", told), name


def test_a_pipe_that_nobody_reads(filled: Commands, tmp_path: Path) -> None:
    """`| head -0`: no word, and exit code 1. Of a command that prints nothing it is 0."""
    for name in [*WORDS, "completion", "ls --help"]:
        words = words_of(name, tmp_path / name) if name in WORDS else [*name.split(), "bash"][:2]
        reader, writer = os.pipe()
        os.close(reader)
        process = subprocess.Popen(
            [*COMMAND, *words],
            env=environment(filled.daemon.socket),
            stdin=subprocess.DEVNULL,
            stdout=writer,
            stderr=subprocess.PIPE,
            text=True,
        )
        os.close(writer)
        _, said = process.communicate()
        assert process.returncode == 1, (name, said)
        assert said == "" or (name == "token" and "shown only now" in said), (name, said)


def test_a_full_disk(filled: Commands, tmp_path: Path) -> None:
    for name in [*WORDS, "ls --help"]:
        words = words_of(name, tmp_path / name) if name in WORDS else name.split()
        with Path("/dev/full").open("wb") as full:
            done = subprocess.run(
                [*COMMAND, *words],
                env=environment(filled.daemon.socket),
                stdin=subprocess.DEVNULL,
                stdout=full,
                stderr=subprocess.PIPE,
                text=True,
                check=False,
            )
        assert done.returncode == 1, name
        assert "No space left on device" in done.stderr, name
        assert "Traceback" not in done.stderr, name
        assert "fault" not in done.stderr, name


def test_no_daemon(tmp_path: Path) -> None:
    nobody = str(tmp_path / "nobody")
    lines = {name: words_of(name, tmp_path / name) for name in set(WORDS) - NEED_NO_DAEMON}
    for name, code, out, said in run_all(lines, nobody):
        assert (code, out) == (5, ""), name
        assert len(said.splitlines()) == 1, name
        assert "icehouse serve" in said, name
    assert not (tmp_path / "export" / "new.ih").exists()


@pytest.fixture
def hanging(commands: Commands) -> Iterator[Commands]:
    """A daemon that is stopped, as by a debugger."""
    pid = commands.daemon.kill(signal.SIGSTOP)
    try:
        yield commands
    finally:
        os.kill(pid, signal.SIGCONT)


def test_ctrl_c_while_a_daemon_hangs(hanging: Commands, tmp_path: Path) -> None:
    """No command waits for its half minute; those that wait where no Python runs neither."""
    for name in sorted(set(WORDS) - NEED_NO_DAEMON):
        process = subprocess.Popen(
            [*COMMAND, *words_of(name, tmp_path / name)],
            env=environment(hanging.daemon.socket),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        wait_until(partial(waits_for_socket, process.pid), f"{name} to wait")
        process.send_signal(signal.SIGINT)
        out, said = process.communicate()
        assert (process.returncode, out, said) == (130, b"", b""), name


def waits_for_socket(pid: int) -> bool:
    """Whether a process sleeps in poll() or recvfrom(), on x86-64 or arm64."""
    number = Path(f"/proc/{pid}/syscall").read_text().split()[0]
    return has_socket(pid) and number in ("7", "45", "271", "73", "207")


@pytest.mark.watchdog(300)
def test_a_daemon_that_hangs_is_unreachable(hanging: Commands, tmp_path: Path) -> None:
    lines = {name: words_of(name, tmp_path / name) for name in set(WORDS) - NEED_NO_DAEMON}
    running = {
        name: subprocess.Popen(
            [*COMMAND, *words],
            env=environment(hanging.daemon.socket),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for name, words in lines.items()
    }
    for name, process in running.items():
        out, said = process.communicate()
        assert (process.returncode, out) == (5, ""), (name, said)
        assert "has not answered in time; `icehouse doctor` says what to do" in said, name


def test_ctrl_c_while_it_works(filled: Commands, tmp_path: Path) -> None:
    for name, more in LONG.items():
        with subprocess.Popen(
            [*COMMAND, name, *more],
            env=environment(filled.daemon.socket),
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        ) as process:
            wait_until(lambda: works(process.pid), f"{name} to work")
            process.send_signal(signal.SIGINT)
            # Its stdin stays open until it has ended, or it would end well.
            assert process.wait() == 130, name
            assert process.stderr is not None
            assert process.stderr.read() == b"", name


def works(pid: int) -> bool:
    """Whether a command has connected, or has computed for longer than it takes to start."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    seconds = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return seconds > 1.0 or has_socket(pid)


def has_socket(pid: int) -> bool:
    """Whether a process has a socket open."""
    for link in Path(f"/proc/{pid}/fd").iterdir():
        # It may be closed meanwhile.
        with contextlib.suppress(FileNotFoundError):
            if "socket:" in str(link.readlink()):
                return True
    return False


def test_words_that_are_too_large_or_empty(filled: Commands, tmp_path: Path) -> None:
    """Numbers beyond any machine, and empty words, are the user's mistake and no fault of ours."""
    many = "9" * 25
    cases: list[tuple[int, Sequence[str]]] = [
        (0, ["ls", "--limit", many]),
        (0, ["ls", "--larger", "9" * 18 + "TiB"]),
        (0, ["ls", "--older", "9" * 18 + "d"]),
        (0, ["ls", "--pid", many]),
        (0, ["watch", NAME, "--timeout", "9" * 18 + "d", "--count", "1"]),
        (0, ["top", "--interval", "9" * 18 + "d", "--count", "1"]),
        (2, ["bind", "x", NAME, "--expected", many]),
        (2, ["bind", "x", NAME, "--expected", "-1"]),
        (2, ["put", "--ttl", "9" * 18 + "d"]),
        (2, ["put", "--ttl", "0s"]),
        (2, ["put", "--name", ""]),
        *((2, [name, "", *more]) for name, more in REFERENCES.items()),
        *((2, [name, "x" * 600, *more]) for name, more in REFERENCES.items() if name not in ASKED),
        *((3, [name, "none", *more]) for name, more in REFERENCES.items()),
        *((2, [name, "ih1_none", *more]) for name, more in REFERENCES.items()),
        *((3, [name, str(FOREIGN), *more]) for name, more in REFERENCES.items()),
        (1, ["export", NAME, "/"]),
        (1, ["export", NAME, ""]),
        (1, ["import", "/"]),
        (1, ["verify", "/"]),
        (1, ["get", NAME, "-o", "/"]),
        (2, ["get", NAME, "-o", ""]),
        (3, ["put", ""]),
        (2, ["serve", "--capacity", "x"]),
        (2, ["serve", "--set", "x"]),
        (2, ["config", "show", "--config", "/none"]),
        (2, ["token", "new", "no name"]),
        (2, ["completion", "tcsh"]),
        (2, ["nothing", "--help"]),
    ]
    lines = {str(number): list(words) for number, (_, words) in enumerate(cases)}
    for number, code, _, said in run_all(lines, filled.daemon.socket, stdin=b"1"):
        expected, words = cases[int(number)]
        assert code == expected, (words, said)
        assert "Traceback" not in said, words
        assert "fault" not in said, words
        if not said.startswith("Usage:"):
            assert len(said.splitlines()) == (1 if code else 0), words


# A handle of another store; and what these commands take behind a reference.
FOREIGN = icehouse.Handle(bytes(range(16)))
REFERENCES: dict[str, list[str]] = {
    **{name: [] for name in ("cat", "get", "stat", "who", "rm", "pin", "unpin", "verify")},
    "export": ["/dev/null"],
}
# The daemon looks names up for these, of whatever length.
ASKED = ("stat", "who", "pin", "unpin")


def test_a_full_store_and_damage(filled: Commands, tmp_path: Path) -> None:
    large, image = tmp_path / "large.bin", tmp_path / "large.ih"
    with large.open("wb") as file:
        file.truncate(100 << 20)
    icehouse.save(bytes(100 << 20), image)
    assert "--capacity" in filled.fails(4, "put", large)
    filled.fails(4, "import", image)
    data = bytearray(image.read_bytes())
    data[-1] ^= 1
    image.write_bytes(data)
    filled.fails(7, "import", image)
    filled.fails(7, "verify", image)


def test_streams(filled: Commands) -> None:
    """`-` is stdin or stdout wherever it stands for data."""
    handle = filled.out("put", "-", "--format", "text", stdin="grün").strip()
    assert filled.out("get", handle, "-f", "text", "-o", "-") == "grün"
    done = subprocess.run(
        [*COMMAND, "export", handle, "-"],
        env=environment(filled.daemon.socket),
        capture_output=True,
        check=True,
    )
    again = filled.out("import", "-", stdin=done.stdout).strip()
    for command in ("stat", "cat", "pin", "unpin", "verify", "rm"):
        assert filled.out(command, "-", stdin=f"{handle}\n{again}\n"), command


def test_a_second_daemon(commands: Commands) -> None:
    where = commands.daemon.socket
    done = commands.run("serve", "--socket", where)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.count("\n") == 1
    assert f"another icehouse serves {where}" in done.stderr


def test_serve_stops_by_ctrl_c(tmp_path: Path) -> None:
    where = tmp_path / "served" / "socket"
    with subprocess.Popen(
        [*COMMAND, "serve", "--capacity", "16MiB", "--socket", where, "--log-format", "json"],
        env=environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr is not None
        assert any(json.loads(line)["event"] == "ready" for line in process.stderr)
        process.send_signal(signal.SIGINT)
        out, said = process.communicate()
    assert (process.returncode, out) == (130, ""), said
    assert "Traceback" not in said
