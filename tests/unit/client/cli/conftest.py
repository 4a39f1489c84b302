"""A daemon for the tests of each module, and the command line of a user of it."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from commands import Commands
from daemons import Daemon

pytest.importorskip("typer")
pytest.importorskip("rich")
pytest.importorskip("fastjsonschema")


@pytest.fixture(scope="module")
def served() -> Iterator[Daemon]:
    """Starting one takes longer than most commands do."""
    with (
        tempfile.TemporaryDirectory(prefix="icehouse-") as folder,
        Daemon(Path(folder), capacity="64MiB") as running,
    ):
        yield running


@pytest.fixture
def commands(served: Daemon) -> Iterator[Commands]:
    """The store is as empty for each test as if its daemon were its own."""
    made = Commands(served)
    with made.store:
        made.alone()
        yield made
        made.empty()
