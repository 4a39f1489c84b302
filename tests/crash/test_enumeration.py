"""The daemon dies at every step of everything it does, and nobody notices: see enumeration.py."""

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from daemons import Daemon

# The server that clients are forked from imports its module too.
sys.path.append(str(Path(__file__).parent))
enumeration = importlib.import_module("enumeration")

pytestmark = [pytest.mark.slow, pytest.mark.watchdog(600)]
# Every so many steps; a soak takes every one.
STRIDE = 3


@pytest.fixture
def world(tmp_path: Path) -> Iterator[Any]:
    arming = tmp_path / "arming"
    enumeration.FORKS.set_forkserver_preload(["enumeration"])
    with Daemon(
        tmp_path / "d",
        environment={"ICEHOUSE_FAILPOINTS": f"file:{arming}"},
        capacity="16MiB",
        spill=str(tmp_path / "spill"),
        spill_capacity="64MiB",
        restart_delay_max="1ms",
    ) as daemon:
        yield enumeration.World(daemon, arming)


@pytest.mark.parametrize("name", [*enumeration.SCENARIOS, "reap"])
def test_h12_death_at_every_step(world: Any, name: str, soak_factor: int) -> None:
    stride = 1 if soak_factor > 1 else STRIDE
    assert enumeration.step_through(world, name, 1, stride) > 1
    print(name, world.deaths())
