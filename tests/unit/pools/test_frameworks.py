"""What others build on processes: joblib, and gunicorn that loads its application before a fork."""

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from daemons import wait_until

pytestmark = pytest.mark.watchdog(200)


def test_h28_joblib(child: Any) -> None:
    pytest.importorskip("joblib")
    child("work.joblib_pool")


class Client(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=60)
        self.path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(60)
        self.sock.connect(self.path)


def ask(path: str, row: int) -> tuple[int, Any] | None:
    """The worker's pid and what it says; None while nobody answers."""
    client = Client(path)
    try:
        client.request("GET", f"/{row}")
        pid, value = json.loads(client.getresponse().read())
    except (OSError, http.client.HTTPException):
        return None
    finally:
        client.close()
    return pid, value


def test_h28_gunicorn_preload(tmp_path: Path) -> None:
    """Workers read what was opened before the fork, whichever of them is killed."""
    pytest.importorskip("gunicorn")
    path = str(tmp_path / "socket")
    command = [sys.executable, "-m", "gunicorn", "--preload", "--workers", "2"]
    command += ["--bind", f"unix:{path}", "--chdir", str(Path(__file__).parent), "served:app"]
    with (tmp_path / "log").open("w+") as log:
        server = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            first = wait_until(lambda: ask(path, 0), "gunicorn to answer")
            assert first[1] == {"id": 0, "name": "row 0"}
            for i in range(3):
                pid, _ = wait_until(lambda: ask(path, 1), "a worker to answer")
                os.kill(pid, signal.SIGKILL)
                for row in range(i, 1000, 99):
                    found = wait_until(lambda row=row: ask(path, row), "another worker")
                    assert found[1] == {"id": row, "name": f"row {row}"}
        finally:
            server.send_signal(signal.SIGTERM)
            assert server.wait(60) == 0
