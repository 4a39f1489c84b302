"""All commands together: help, what it imports, exit codes, completion, the schemas."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from commands import COMMAND, SCHEMAS, Commands, environment

import icehouse
from icehouse.client.cli import app
from icehouse.client.cli.output import ExitCode

# Bold is no colour.
COLOUR = re.compile(r"\x1b\[(?:\d+;)*3[0-7]m")
HEAVY = {
    *("msgspec", "rich.console", "rich.table", "numpy", "asyncio", "cffi", "socket"),
    # What new releases of Typer convert values with.
    "pydantic",
    *("icehouse.client.control", "icehouse.client.bench.run", "json.scanner"),
}


def loaded(*words: str) -> set[str]:
    """The modules that a command line imports."""
    code = (
        "import sys; from icehouse.client.cli import main; sys.argv = ['icehouse', *sys.argv[1:]];"
        "main(); print(*sys.modules, file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *words],
        capture_output=True,
        text=True,
        check=True,
        env=environment(),
    )
    return set(done.stderr.split())


def test_help_loads_no_command(commands: Commands) -> None:
    modules = loaded("--help")
    assert "typer" in modules
    assert not [name for name in modules if name.startswith("icehouse.client.cli.commands")]
    assert not modules & (HEAVY - {"socket"})


@pytest.mark.slow
def test_help_of_a_command_loads_that_one(commands: Commands) -> None:
    for name, place in app.COMMANDS.items():
        modules = loaded(name, "--help")
        mine = {module for module in modules if module.startswith("icehouse.client.cli.commands.")}
        assert mine == {f"icehouse.client.cli.commands.{place.module}"}, name
        assert not modules & (HEAVY - {"socket", "json.scanner"}), name


def test_help_names_every_command(commands: Commands) -> None:
    told = commands.out("--help")
    for name, place in app.COMMANDS.items():
        assert re.search(rf"^  {name}\s+{re.escape(place.help)}$", told, re.MULTILINE)
    assert "complete-words" not in told


def test_every_command_is_loaded_under_its_name() -> None:
    for name, place in app.COMMANDS.items():
        command = app.load(name)
        assert command.name == name
        assert command.help, name
        assert place.help
    assert app.load("thaw") is None


def test_the_exit_codes_are_those_of_the_page(root: Path) -> None:
    page = (root / "docs" / "command-line.md").read_text()
    for code in ExitCode:
        assert re.search(rf"^\| {code.value} \|", page, re.MULTILINE), code


def test_the_page_shows_every_command(root: Path) -> None:
    page = (root / "docs" / "command-line.md").read_text()
    for name in app.COMMANDS:
        assert re.search(rf"^\$ (.*\| )?icehouse {name}\b", page, re.MULTILINE), name


def test_every_command_with_json_has_a_schema() -> None:
    definitions = json.loads(SCHEMAS.read_text())["definitions"]
    for name in app.COMMANDS:
        command = app.load(name)
        options = {word for param in command.params for word in param.opts}
        if "--json" in options:
            assert name in definitions, name
    assert set(definitions) <= {*app.COMMANDS, "handle", "time"}


def test_a_fault_of_ours_is_one_line(commands: Commands) -> None:
    code = (
        "import sys; from icehouse.client.cli import app, output;"
        "from icehouse.client.cli.commands import looking;"
        "looking.status = lambda: 1 / 0; sys.exit(app.run(['status']))"
    )

    def run(**more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            check=False,
            env=environment(**more),
        )

    done = run()
    assert (done.returncode, done.stdout) == (1, "")
    assert len(done.stderr.splitlines()) == 1
    assert "ZeroDivisionError" in done.stderr
    assert "Traceback" in run(ICEHOUSE_DEBUG="1").stderr


@pytest.mark.slow
def test_a_locale_without_the_letters(commands: Commands) -> None:
    commands.store.put({"ü": "→\U0001f600"}, name="grün")
    done = subprocess.run(
        [*COMMAND, "cat", "grün"],
        env=environment(commands.daemon.socket, PYTHONIOENCODING="ascii"),
        capture_output=True,
        check=True,
    )
    assert done.stderr == b""
    assert json.loads(done.stdout) == {"ü": "→\U0001f600"}


def test_a_socket_that_may_be_somebody_elses(monkeypatch: pytest.MonkeyPatch) -> None:
    from icehouse.client import connect
    from icehouse.client.cli import ask

    monkeypatch.delenv("ICEHOUSE_SOCKET", raising=False)
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)

    def refuse(path: str) -> None:
        raise icehouse.StoreUnavailable(f"{path} is not safe")

    monkeypatch.setattr(connect, "_check_owner", refuse)
    for attempt in (ask.connect, icehouse.connect):
        with pytest.raises(icehouse.StoreUnavailable, match="not safe"):
            attempt(None)


@pytest.mark.slow
@pytest.mark.parametrize("command", ["cat", "names", "stat", "rm", "put --name", "bind x"])
def test_words_that_are_no_text(commands: Commands, command: str) -> None:
    words = [*COMMAND, *command.split(), b"\xff\xfe"]
    done = subprocess.run(
        words, input=b"1", capture_output=True, check=False, env=environment(commands.daemon.socket)
    )
    assert (done.returncode, done.stdout) == (2, b"")
    assert done.stderr == b"icehouse: '\\udcff\\udcfe' is no UTF-8, as names and handles are\n"


@pytest.mark.parametrize(
    ("closed", "words", "code"),
    [("<&-", "put", 1), (">&-", "ls", 0), ("2>&-", "cat nothing", 3), (">&- 2>&-", "status", 0)],
)
def test_without_a_stream(commands: Commands, closed: str, words: str, code: int) -> None:
    """What is opened meanwhile must not get its number, and what is printed."""
    done = subprocess.run(
        ["sh", "-c", f'exec "$@" {closed}', "sh", *COMMAND, *words.split()],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
        text=True,
        env=environment(commands.daemon.socket),
    )
    assert done.returncode == code, done
    assert "fault" not in done.stderr


class TestOutput:
    def test_documents_of_the_other_commands(self, commands: Commands, tmp_path: Path) -> None:
        commands.store.put([1, 2], name="n")
        exported = commands.document("export", "n", tmp_path / "x.ih")
        imported = commands.document("import", tmp_path / "x.ih", "--name", "again")
        assert exported["size"] == imported["size"]
        assert commands.document("config", "show")
        commands.document("demo", "--characters", "300", "--questions", "5", "--interpreters", "0")
        commands.document("bench", "--quick", "--corpus", "pairs", "--case", "size")

    def test_a_reader_that_goes_away(self, commands: Commands) -> None:
        for number in range(3000):
            commands.store.put(number)
        for words in (["ls"], ["ls", "--json"], ["ls", "-q"], ["metrics"], ["doctor"]):
            process = subprocess.Popen(
                [*COMMAND, *words],
                env=environment(commands.daemon.socket),
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
            )
            assert process.stdout is not None
            assert process.stderr is not None
            process.stdout.close()
            assert process.stderr.read() == b"", words
            process.stderr.close()
            assert process.wait() == 1, words

    def test_colours(self, commands: Commands) -> None:
        commands.store.put([1, 2], name="n")
        for words in (["ls"], ["names"], ["segments"], ["status"], ["stat", "n"], ["cat", "n"]):
            code, told = commands.on_terminal(*words, NO_COLOR="1")
            assert (code, COLOUR.search(told)) == (0, None), words
            assert "\x1b" not in commands.out(*words)

    def test_a_narrow_terminal(self, commands: Commands) -> None:
        commands.store.put([1, 2], name="a name that is so long that it has to be folded " * 5)
        for words in (["ls"], ["names"], ["stat", *commands.store.names()]):
            _, told = commands.on_terminal(*words)
            lines = [re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", line) for line in told.splitlines()]
            assert max(map(len, lines)) <= 100, words


@pytest.mark.slow
class TestCompletion:
    def words(self, commands: Commands, *typed: str) -> list[str]:
        told = commands.out("complete-words", "--", *typed)
        return [line.partition("\t")[0] for line in told.splitlines()]

    def test_commands(self, commands: Commands) -> None:
        assert self.words(commands, "st") == ["status", "stat"]
        assert self.words(commands, "") == list(app.COMMANDS)
        assert "List objects." in commands.out("complete-words", "--", "l")
        assert self.words(commands, "config", "") == ["show"]
        assert self.words(commands, "nothing", "x") == []

    def test_options_and_their_values(self, commands: Commands) -> None:
        assert self.words(commands, "ls", "--st") == ["--state"]
        assert self.words(commands, "ls", "--state", "") == ["live", "deleted", "spilled", "orphan"]
        assert self.words(commands, "ls", "--sort=s") == ["--sort=size", "--sort=state"]
        assert self.words(commands, "put", "--format", "np") == ["npy", "npz"]
        assert "--help" in self.words(commands, "gc", "--")
        assert self.words(commands, "config", "show", "--se") == ["--set"]
        assert self.words(commands, "completion", "") == ["bash", "zsh", "fish"]

    def test_files(self, commands: Commands) -> None:
        for typed in (["put", ""], ["export", "name", ""], ["import", "x"], ["get", "n", "-o", ""]):
            assert self.words(commands, *typed) == [":files"]
        assert self.words(commands, "ls", "--socket", "/t") == [":files"]

    def test_names(self, commands: Commands) -> None:
        commands.store.put(1, name="model-a")
        commands.store.put(1, name="model-b")
        assert self.words(commands, "stat", "mod") == ["model-a", "model-b"]
        assert self.words(commands, "rm", "model-a", "--force", "model-b") == ["model-b"]
        assert self.words(commands, "who", "x") == []
        [handle] = {str(stat.handle) for stat in commands.store.ls() if "model-a" in stat.names}
        assert handle in self.words(commands, "stat", "ih1_")
        assert f"{handle}\tint, " in commands.out("complete-words", "--", "rm", handle[:-1])
        assert self.words(commands, "stat", "ih1_none") == []
        assert self.words(commands, "stat", "--socket", "/nowhere", "mod") == []

    def test_bash(self, commands: Commands, tmp_path: Path) -> None:
        commands.store.put(1, name="model-a")
        scripts(tmp_path)
        lines = (
            "source <(icehouse completion bash)",
            "COMP_WORDS=(icehouse stat mod) COMP_CWORD=2",
            "_icehouse_complete; echo ${COMPREPLY[@]}",
            "COMP_WORDS=(icehouse l) COMP_CWORD=1",
            "_icehouse_complete; echo ${COMPREPLY[@]}",
        )
        done = subprocess.run(
            ["bash", "-e", "-c", "\n".join(lines)],
            env=with_path(commands, tmp_path),
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout == "model-a\nls\n"

    def test_zsh(self, commands: Commands, tmp_path: Path) -> None:
        if shutil.which("zsh") is None:
            pytest.skip("needs zsh")
        commands.store.put(1, name="model:a")
        scripts(tmp_path)
        # What the completion system would bring, as far as the script uses it.
        lines = (
            "compdef() { : }; _files() { echo files }; _describe() { print -rl -- $found }",
            "source <(icehouse completion zsh)",
            "words=(icehouse stat mod) CURRENT=3; _icehouse",
            "words=(icehouse l) CURRENT=2; _icehouse",
            "words=(icehouse put '') CURRENT=3; _icehouse",
        )
        done = subprocess.run(
            ["zsh", "-f", "-c", "\n".join(lines)],
            env=with_path(commands, tmp_path),
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout == "model\\:a\nls:List objects.\nfiles\n"

    def test_fish(self, commands: Commands, tmp_path: Path) -> None:
        if shutil.which("fish") is None:
            pytest.skip("needs fish")
        commands.store.put(1, name="model-a")
        scripts(tmp_path)
        lines = "icehouse completion fish | source; complete -C 'icehouse stat mod'"
        done = subprocess.run(
            ["fish", "-c", lines],
            env=with_path(commands, tmp_path),
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout.split() == ["model-a"]

    def test_unknown_shells(self, commands: Commands) -> None:
        assert commands.run("completion", "tcsh").returncode == 2


def scripts(folder: Path) -> None:
    """Makes a command `icehouse` that is the one under test."""
    path = folder / "icehouse"
    path.write_text(f'#!/bin/sh\nexec {" ".join(COMMAND)} "$@"\n')
    path.chmod(0o755)


def with_path(commands: Commands, folder: Path) -> dict[str, str]:
    found = environment(commands.daemon.socket)
    return {**found, "PATH": f"{folder}:{found['PATH']}"}
