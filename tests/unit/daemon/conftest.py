"""A daemon of each test's own, and a store connected to it."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from daemons import Daemon

import icehouse


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder with a path so short that a socket in it has a name."""
    with tempfile.TemporaryDirectory(prefix="icehouse-") as path:
        yield Path(path)


@pytest.fixture
def daemon(folder: Path) -> Iterator[Daemon]:
    with Daemon(folder, capacity="64MiB") as started:
        yield started


@pytest.fixture
def store(daemon: Daemon) -> Iterator[icehouse.Store]:
    with icehouse.connect(daemon.socket) as connected:
        yield connected
        if not connected.closed:
            connected.check()
