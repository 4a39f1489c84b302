"""Running commands against a daemon: each in a process of its own, in a pipe or on a terminal."""

import functools
import json
import os
import pty
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from daemons import Daemon, wait_until

import icehouse
from icehouse.client.control import Control
from icehouse.store.wire import messages

COMMAND = [sys.executable, "-m", "icehouse.client.cli"]
# What may not be readable for the other user is imported before.
AS_READER = """
import importlib, os, pkgutil, sys
from icehouse.client import cli
from icehouse.client.cli import app, commands
from icehouse.store import showing
# Another user may not read the folder that icehouse is in.
for package in (cli, commands, showing):
    for module in pkgutil.iter_modules(package.__path__):
        if module.name != "__main__":
            importlib.import_module(f"{package.__name__}.{module.name}")
from icehouse.client.control import Control
import contextlib, io
with contextlib.redirect_stderr(io.StringIO()):
    app.run([*sys.argv[1:], "--socket", "/nonexistent"])
os.setresgid(51002, 51002, 51002)
os.setresuid(51002, 51002, 51002)
sys.exit(app.run(sys.argv[1:]))
"""
SCHEMAS = Path(__file__).parents[1] / "docs" / "command-line.schema.json"


def environment(socket: str | None = None, **more: str) -> dict[str, str]:
    """Nothing of who runs the tests."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("ICEHOUSE_") and name not in ("NO_COLOR", "FORCE_COLOR", "COLUMNS")
    }
    return {**kept, **({"ICEHOUSE_SOCKET": socket} if socket else {}), **more}


def run(
    *words: object, socket: str | None = None, stdin: bytes | str = b"", **env: str
) -> subprocess.CompletedProcess[str]:
    """Runs a command to its end."""
    done = subprocess.run(
        [*COMMAND, *map(str, words)],
        input=stdin if isinstance(stdin, bytes) else stdin.encode(),
        capture_output=True,
        check=False,
        env=environment(socket, **env),
    )
    return subprocess.CompletedProcess(
        done.args, done.returncode, done.stdout.decode(), done.stderr.decode()
    )


class Commands:
    """The command line of a user of one daemon."""

    def __init__(self, daemon: Daemon) -> None:
        self.daemon = daemon
        self.store = icehouse.connect(daemon.socket)

    def alone(self) -> None:
        """Waits until the end of every other process has been noticed."""
        with Control(self.daemon.socket) as control:

            def clients() -> int:
                return control.ask(messages.AskStatus(), messages.Status).clients

            wait_until(lambda: clients() == 1, "other clients to end")

    def empty(self) -> None:
        """Deletes all that is there, and waits until it is gone."""
        self.store.delete(*(stat.handle for stat in self.store.ls()), force=True)
        wait_until(lambda: not self._left(), "what was deleted to be gone")

    def _left(self) -> list[Any]:
        self.store.trim()
        return self.store.ls()

    def run(
        self, *words: object, stdin: bytes | str = b"", **env: str
    ) -> subprocess.CompletedProcess[str]:
        """Runs a command to its end."""
        return run(*words, socket=self.daemon.socket, stdin=stdin, **env)

    def out(self, *words: object, stdin: bytes | str = b"") -> str:
        """What a command that goes well prints."""
        done = self.run(*words, stdin=stdin)
        assert (done.returncode, done.stderr) == (0, ""), done
        return done.stdout

    def document(self, *words: object, stdin: bytes | str = b"") -> Any:
        """The JSON document of a command, which is as its schema says."""
        told = json.loads(self.out(*words, "--json", stdin=stdin))
        check(str(words[0]), told)
        return told

    def lines(self, *words: object, stdin: bytes | str = b"") -> list[Any]:
        """The JSON lines of a command, each as its schema says."""
        told = [json.loads(line) for line in self.out(*words, "--json", stdin=stdin).splitlines()]
        for document in told:
            check(str(words[0]), document)
        return told

    def fails(self, code: int, *words: object, stdin: bytes | str = b"") -> str:
        """The one line with which a command ends that can't go on."""
        done = self.run(*words, stdin=stdin)
        assert (done.returncode, done.stdout) == (code, ""), done
        assert len(done.stderr.splitlines()) == 1, done.stderr
        assert done.stderr.startswith("icehouse: ")
        return done.stderr

    def on_terminal(self, *words: object, keys: bytes = b"", **env: str) -> tuple[int, str]:
        """Exit code and all that a terminal of 100 columns shows."""
        return on_terminal([*COMMAND, *map(str, words)], self.daemon.socket, keys, **env)


def on_terminal(
    command: list[str], socket: str | None, keys: bytes = b"", **env: str
) -> tuple[int, str]:
    """Runs a command with all three streams on one terminal."""
    parent, child = pty.openpty()
    process = subprocess.Popen(
        command,
        stdin=child,
        stdout=child,
        stderr=child,
        env=environment(socket, **{"TERM": "xterm", "COLUMNS": "100", "LINES": "40", **env}),
        start_new_session=True,
    )
    os.close(child)
    if keys:
        os.write(parent, keys)
    told = b""
    while True:
        try:
            chunk = os.read(parent, 65536)
        except OSError:  # the other end is closed
            break
        if not chunk:
            break
        told += chunk
    os.close(parent)
    return process.wait(), told.decode()


@functools.cache
def validator(command: str) -> Callable[[Any], Any]:
    """What compares a document of this command with its schema."""
    import fastjsonschema

    schemas = json.loads(SCHEMAS.read_text())
    made: Callable[[Any], Any] = fastjsonschema.compile(
        {**schemas, "$ref": f"#/definitions/{command}"}
    )
    return made


def check(command: str, document: Any) -> None:
    """Compares a document with the schema of its command."""
    validator(command)(document)
