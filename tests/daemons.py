"""A real daemon for tests: started on a socket of its own, killed at will, and always stopped.

    with Daemon(tmp_path, capacity="64MiB") as daemon:
        store = icehouse.connect(daemon.socket)
        daemon.kill()           # kill -9 of the daemon proper; its keeper starts another
        daemon.wait_for_another()

Configuration is given as keyword arguments, in the words of docs/daemon.md, and written to a file.
Nothing here waits for a time to pass: it waits for a thing to happen, with a limit.
"""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

# How long anything that is waited for may take before the test fails.
PATIENCE = 60.0


def wait_until(happened: Callable[[], Any], what: str, seconds: float = PATIENCE) -> Any:
    """Wait until `happened()` is true and return what it gave; AssertionError after `seconds`."""
    deadline = time.monotonic() + seconds
    while not (result := happened()):
        assert time.monotonic() < deadline, f"waited {seconds} s in vain for {what}"
        time.sleep(0.005)
    return result


def toml(value: Any) -> str:
    """One value as TOML; enough for a configuration."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, list | tuple):
        return "[" + ", ".join(toml(item) for item in value) + "]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {toml(item)}" for key, item in value.items()) + "}"
    text = str(value).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{text}"'


def children_of(pid: int) -> list[int]:
    """The processes that this one started and that live."""
    try:
        text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    except OSError:
        return []
    return [int(child) for child in text.split()]


def arguments_of(pid: int) -> list[str]:
    """The command line of a process; empty if it has gone, or is a zombie."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")
    except OSError:
        return []


class Daemon:
    """`icehouse serve`, its keeper, daemon and admin process. Not for several threads."""

    def __init__(
        self,
        folder: Path,
        *,
        environment: dict[str, str] | None = None,
        arguments: list[str] | None = None,
        prefix: list[str] | None = None,
        python: str = sys.executable,
        **config: Any,
    ) -> None:
        """`folder` takes the socket, the configuration and the log, and is made if need be.

        `prefix` stands before the command (prlimit, setpriv, systemd-run); `arguments` behind it.
        `python` may be that of another environment.
        """
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.folder = folder
        self.socket = str(folder / "socket")
        assert len(self.socket) < 108, f"no socket can have so long a path: {self.socket}"
        self.config = {"socket": self.socket, "http": "off", "log_format": "json", **config}
        self.config_file = folder / "config.toml"
        self.log_file = folder / "log"
        self.arguments = arguments or []
        self.prefix = prefix or []
        self.python = python
        # Nobody should wait for an admin process that gives way to all other tests.
        self.environment = {"ICEHOUSE_HTTP_NICE": "0", **os.environ, **(environment or {})}
        self.process: subprocess.Popen[bytes] | None = None
        self._logged_before = 0

    # --- life ---

    def spawn(self) -> subprocess.Popen[bytes]:
        """Start the keeper without waiting for anything."""
        assert self.process is None or self.process.poll() is not None, "it runs already"
        lines = [f"{key} = {toml(value)}\n" for key, value in self.config.items()]
        self.config_file.write_text("".join(lines))
        command = [*self.prefix, self.python, "-m", "icehouse.server.keeper"]
        command += ["--config", str(self.config_file), *self.arguments]
        with self.log_file.open("ab") as log:
            self._logged_before = log.tell()
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self.environment,
                start_new_session=True,
            )
        return self.process

    def start(self) -> Self:
        """Start it and wait until it serves; AssertionError, with the log, if it ends instead."""
        self.spawn()
        try:
            wait_until(self._ready, "the daemon to serve")
        except BaseException:
            self.destroy()
            print(self.log())
            raise
        return self

    def _ready(self) -> bool:
        assert self.process is not None
        status = self.process.poll()
        assert status is None, f"the keeper ended with {status}:\n{self.log()}"
        # The keeper listens long before, and ends if the daemon can't start.
        return b'"event": "ready"' in self.log_file.read_bytes()[self._logged_before :]

    def listens(self) -> bool:
        """Whether somebody accepts connections on the socket."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            try:
                probe.connect(self.socket)
            except OSError:
                return False
        return True

    def stop(self, seconds: float = PATIENCE) -> int:
        """SIGTERM, and the keeper's exit status. Stopping again gives the same."""
        assert self.process is not None, "it was never started"
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.destroy()
            raise AssertionError(f"not stopped after {seconds} s:\n{self.log()}") from None

    def destroy(self) -> None:
        """SIGKILL to all of it, as when the power fails."""
        if self.process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop it; a failing test shows the log."""
        if error is not None:
            self.destroy()
            print(self.log())
        elif self.process is not None and self.process.poll() is None:
            status = self.stop()
            assert status == 0, f"the keeper ended with {status}:\n{self.log()}"

    # --- its processes ---

    @property
    def keeper_pid(self) -> int:
        """The parent, which holds the memory."""
        assert self.process is not None, "it was never started"
        if not self.prefix:
            return self.process.pid
        # Most prefixes exec; one that stays is the keeper's parent.
        return next(iter(self._all("icehouse.server.keeper")), self.process.pid)

    def _all(self, module: str) -> Iterator[int]:
        """Every process of ours that runs this module."""
        assert self.process is not None
        known = [self.process.pid]
        for pid in known:
            known += children_of(pid)
            arguments = arguments_of(pid)
            if module in arguments:
                yield pid

    def daemon_pid(self) -> int | None:
        """The daemon proper; None while there is none."""
        return next(self._all("icehouse.server"), None)

    def admin_pid(self) -> int | None:
        """The admin process; None while there is none."""
        return next(self._all("icehouse.server.admin"), None)

    def kill(self, number: int = signal.SIGKILL) -> int:
        """Send the daemon proper a signal and return its pid."""

        def signalled() -> int | None:
            pid = self.daemon_pid()
            if pid is None:
                return None
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                # It was dying of the signal before, and its successor is to come.
                return None
            return pid

        return int(wait_until(signalled, "a daemon to kill"))

    def wait_for_another(self, than: int) -> int:
        """Wait until the keeper has started another daemon than this one, and return its pid."""
        found = wait_until(
            lambda: (pid := self.daemon_pid()) is not None and pid != than and pid,
            "the keeper to start another daemon",
        )
        return int(found)

    def log(self) -> str:
        """What keeper, daemon and admin have logged so far."""
        try:
            return self.log_file.read_text(errors="replace")
        except FileNotFoundError:
            return ""
