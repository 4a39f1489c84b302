"""Starts keepers for tests and talks to their daemons."""

import itertools
import json
import os
import select
import signal
import socket
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Any, Self

HERE = Path(__file__).resolve().parent
COUNT = itertools.count()


def gone(pid: int) -> None:
    """Return when a process that may not be our child has ended."""
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        select.select([handle], [], [])
    finally:
        os.close(handle)


class Keeper:
    """One keeper with a fake daemon. ask() waits for a daemon if one is being started."""

    def __init__(
        self,
        folder: Path,
        *,
        prefix: tuple[str, ...] = (),
        fds: tuple[int, ...] = (),
        environment: dict[str, str] | None = None,
        **settings: Any,
    ) -> None:
        self.socket = str(folder / "socket")
        document = {
            "socket": self.socket,
            "socket_mode": 0o600,
            "http": "",
            "log_format": "json",
            "log_level": "debug",
            "stop_seconds": 5.0,
            "restart_delay_max": 0.0,
            **settings,
        }
        self.log_file = folder / f"log-{next(COUNT)}"
        command = [*prefix, sys.executable, str(HERE / "keeping.py"), json.dumps(document)]
        with self.log_file.open("wb") as log:
            self.process = subprocess.Popen(
                [*command, *map(str, fds)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=fds,
                # As at a terminal: what runs in the background has interrupts ignored, and the
                # keeper respects that.
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
                env={**os.environ, "PYTHONPATH": str(HERE), **(environment or {})},
            )

    def __enter__(self) -> Self:
        # The line is there before the daemon: the socket takes connections from then on.
        self.wait_for("keeper_started")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self.process.poll() is None:
            self.process.kill() if error else self.process.terminate()
        self.process.wait()
        if error:
            print(self.log_file.read_text())

    def ask(self, *words: str) -> Any:
        """Have the daemon do something and give its answer; None if it died of it."""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(self.socket)
            with connection.makefile("rw") as lines:
                print(*words, file=lines, flush=True)
                try:
                    answer = lines.readline()
                except ConnectionResetError:
                    return None
        return json.loads(answer) if answer else None

    def hold(self, **held: str) -> None:
        for key, text in held.items():
            assert self.ask("hold", key, text) == "held"

    def kill_daemon(self) -> int:
        pid: int = self.ask("pid")
        os.kill(pid, signal.SIGKILL)
        gone(pid)
        return pid

    def stop(self) -> int:
        self.process.terminate()
        return self.process.wait()

    def lines(self, event: str) -> list[dict[str, Any]]:
        """What the log has of that event so far."""
        text = self.log_file.read_text().splitlines()
        found = [json.loads(line) for line in text if line.startswith("{")]
        return [line for line in found if line["event"] == event]

    def wait_for(self, event: str, count: int = 1) -> list[dict[str, Any]]:
        """Wait until the log has so many lines of that event, or the keeper has ended."""
        handle = os.pidfd_open(self.process.pid)
        poll = select.poll()
        poll.register(handle, select.POLLIN)
        try:
            while len(found := self.lines(event)) < count:
                # A file can't be waited for; the test's watchdog limits this.
                if poll.poll(5):
                    found = self.lines(event)
                    break
        finally:
            os.close(handle)
        assert len(found) >= count, self.log_file.read_text()
        return found

    def descriptors(self) -> int:
        """How many descriptors the keeper has."""
        return len(list(Path(f"/proc/{self.process.pid}/fd").iterdir()))
