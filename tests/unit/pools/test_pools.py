"""Views in other processes' hands: through multiprocessing by reference, else by value (H28)."""

from pathlib import Path
from typing import Any

import pytest
from daemons import Daemon

pytestmark = pytest.mark.watchdog(200)
WAYS = pytest.mark.parametrize("way", ["fork", "forkserver", "spawn"])


@WAYS
@pytest.mark.parametrize(
    "what",
    [
        "pool",
        "queues",
        "pipes_and_arguments",
        "executor",
        "links",
        "worker_owns",
        "put_in_worker",
    ],
)
def test_h28_every_way_to_send(child: Any, what: str, way: str) -> None:
    child(f"work.{what}", way)


@WAYS
def test_h02_what_is_dropped_on_the_way_arrives(child: Any, way: str) -> None:
    child("work.dropped_at_once", way)


@WAYS
@pytest.mark.parametrize("moment", ["holding", "on the way"])
def test_h09_a_receiver_that_is_killed_leaves_nothing(child: Any, way: str, moment: str) -> None:
    child("work.receiver_killed", way, moment)


@pytest.mark.parametrize("way", ["forkserver", "spawn"])
def test_h28_one_descriptor_a_segment(child: Any, way: str) -> None:
    child("work.one_descriptor", way)


@WAYS
def test_h28_nothing_is_copied(child: Any, way: str) -> None:
    child("work.no_copy", way)


@pytest.mark.parametrize("what", ["to_itself", "sender_gone", "many_descriptors"])
def test_h28_at_the_edges(child: Any, what: str) -> None:
    child(f"work.{what}")


def test_an_import_loads_nothing_of_multiprocessing(child: Any) -> None:
    child("plain.nothing_at_import")


@WAYS
def test_h28_views_of_the_daemons_store(child: Any, tmp_path: Path, way: str) -> None:
    with Daemon(tmp_path / "d") as daemon:
        child("work.daemon_pool", way, daemon.socket)
