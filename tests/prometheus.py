"""A real Prometheus for tests: on a port of its own, with a configuration of the test's."""

import contextlib
import json
import shutil
import socket
import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest


@contextlib.contextmanager
def running(config: str, folder: Path) -> Iterator[str]:
    """Start it with a configuration, and give its API's address. A skip where there is none."""
    if shutil.which("prometheus") is None:
        pytest.skip("there is no prometheus here (apt-get install prometheus)")
    file = folder / "prometheus.yml"
    file.write_text(config)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [
        "prometheus",
        f"--config.file={file}",
        f"--storage.tsdb.path={folder / 'tsdb'}",
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    with (folder / "prometheus.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            yield f"http://127.0.0.1:{port}/api/v1"
        finally:
            process.kill()
            process.wait()


def asked(url: str) -> Any:
    """Its answer's data; None while it does not answer."""
    try:
        with urllib.request.urlopen(url, timeout=10) as response:
            return json.load(response)["data"]
    except OSError:
        return None
