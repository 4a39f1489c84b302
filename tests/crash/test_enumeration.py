"""The daemon dies at every step of everything it does, and nobody notices: see enumeration.py."""

import importlib
import random
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from daemons import Daemon

import icehouse

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


def test_h12_death_at_every_step_of_recovery(world: Any, soak_factor: int) -> None:
    died = [enumeration.recover(world, at) for at in range(1, 7 if soak_factor == 1 else 40)]
    assert {"recover.parts", "recover.segments", "recover.settled", "recover.done"} <= {
        place for places in died for place in places[1:]
    }


@pytest.mark.parametrize("place", ["start.state", "start.journal", "start.board"])
def test_death_at_the_very_first_start(tmp_path: Path, place: str) -> None:
    arming = tmp_path / "arming"
    arming.write_text(place)
    environment = {"ICEHOUSE_FAILPOINTS": f"file:{arming}"}
    with Daemon(tmp_path / "d", environment=environment, capacity="16MiB") as daemon:
        with icehouse.connect(daemon.socket) as store:
            assert store.get(store.put([place], name="name")) == [place]
            store.check()
        assert Path(f"{arming}.died").read_text().split() == [place]


def test_h08_a_producer_is_killed_at_any_instant(world: Any, soak_factor: int) -> None:
    dice = random.Random(8)
    count = sum(
        enumeration.kill_a_producer(world, seed, dice.random() * 0.03)
        for seed in range(1, 1 + 30 * soak_factor)
    )
    assert count >= 30 * soak_factor
