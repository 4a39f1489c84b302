"""Links between images of the daemon's store: who keeps what, across processes and restarts."""

import gc
import json
import multiprocessing
import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from daemons import Daemon, wait_until

import icehouse

SMALL = {"rows": [{"id": i, "tag": f"t{i}"} for i in range(300)], "n": list(range(2000))}
# Over a quarter of a segment, so in a segment of its own.
LARGE = {"bytes": b"x" * (17 << 20), "n": list(range(5000))}

READER = """
import sys, icehouse
store = icehouse.connect(sys.argv[1])
view = store.get(sys.argv[2])
assert view["n"] == list(range(len(view["n"]))), view
assert view["again"]["n"][7] == 7
assert store.get(sys.argv[3], None) is None
print(len(view["n"]), flush=True)
sys.stdin.read()
"""

PRODUCER = """
import sys, icehouse
store = icehouse.connect(sys.argv[1])
view = store.get(sys.argv[2])
print(store.put({"n": view["n"], "again": view}, name="made elsewhere"), flush=True)
"""


def run(program: str, *args: object) -> str:
    command = [sys.executable, "-c", program, *map(str, args)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, input="")
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture
def wide(daemon: Daemon) -> Iterator[icehouse.Store]:
    with icehouse.connect(daemon.socket) as connected:
        yield connected
        connected.check()


@pytest.mark.parametrize("value", [SMALL, LARGE], ids=["small", "large"])
def test_h15_what_is_linked_outlives_its_handle(
    daemon: Daemon, wide: icehouse.Store, value: dict[str, Any]
) -> None:
    first = wide.put(value)
    view = wide.get(first)
    second = wide.put({"n": view["n"], "again": view})
    assert wide.stat(second).links == 1
    assert wide.stat(first).linked == 1
    assert wide.stat(second).size < 1000
    wide.delete(first)
    del view
    gc.collect()
    wide.trim()
    with pytest.raises(icehouse.HandleGone) as caught:
        wide.get(first)
    assert caught.value.reason == "deleted"
    assert run(READER, daemon.socket, second, first) == str(len(value["n"]))
    assert wide.get(second)["again"] == value
    wide.delete(second)
    gc.collect()
    wide.trim()
    assert not wide.ls()


@pytest.mark.parametrize("value", [SMALL, LARGE], ids=["small", "large"])
def test_h15_a_reader_of_one_reads_all_of_it(
    daemon: Daemon, wide: icehouse.Store, value: dict[str, Any]
) -> None:
    """It opened B before both were deleted, and follows the link to A only then."""
    first = wide.put(value)
    second = wide.put([wide.get(first), {"n": wide.get(first)["n"]}])
    view = wide.get(second)
    context = multiprocessing.get_context("fork")
    ready, done = context.Pipe(), context.Pipe()

    def child(view: Any) -> None:
        ready[1].send(None)
        done[0].recv()
        assert view[1]["n"][1999] == 1999
        assert icehouse.thaw(view)[0]["n"] == value["n"]
        os._exit(0)

    process = context.Process(target=child, args=(view,), daemon=True)
    process.start()
    ready[0].recv()
    del view
    wide.delete(second)
    wide.delete(first)
    gc.collect()
    wide.trim()
    assert len(wide.ls()) == 2
    done[1].send(None)
    process.join(60)
    assert process.exitcode == 0
    wait_until(lambda: wide.trim() or not wide.ls(), "both images to go")


def test_h03_links_of_other_producers_images(daemon: Daemon, wide: icehouse.Store) -> None:
    first = wide.put(SMALL)
    second = run(PRODUCER, daemon.socket, first)  # its producer is gone by now
    wide.delete(first)
    wide.trim()
    assert wide.get("made elsewhere")["again"] == SMALL
    assert str(wide.lookup("made elsewhere")[0]) == second
    wide.delete("made elsewhere")
    wait_until(lambda: wide.trim() or not wide.ls(), "both images to go")


@pytest.mark.parametrize("value", [SMALL, LARGE], ids=["small", "large"])
def test_h01_links_survive_the_daemon(
    daemon: Daemon, wide: icehouse.Store, value: dict[str, Any]
) -> None:
    first = wide.put(value)
    view = wide.get(first)
    second = wide.put({"n": view["n"], "again": view})
    wide.delete(first)
    del view
    gc.collect()
    daemon.wait_for_another(than=daemon.kill())
    wide.trim()
    assert wide.stat(second).links == 1
    assert run(READER, daemon.socket, second, first) == str(len(value["n"]))
    assert wide.get(second)["again"]["n"] == value["n"]
    wide.delete(second)
    gc.collect()
    wait_until(lambda: wide.trim() or not wide.ls(), "both images to go")


def test_h15_a_deleted_image_that_is_linked_lives_again(wide: icehouse.Store) -> None:
    first = wide.put(SMALL)
    view = wide.get(first)
    wide.delete(first)
    second = wide.put([view])
    del view
    gc.collect()
    wide.trim()
    assert wide.get(second) == [SMALL]
    wide.delete(second)
    wait_until(lambda: wide.trim() or len(wide.ls()) <= 1, "what nothing keeps to go")


def test_chains_across_processes(daemon: Daemon, wide: icehouse.Store) -> None:
    handle = wide.put({"n": 0, "pad": "x" * 2000, "before": None})
    for i in range(1, 200):
        made = wide.put({"n": i, "pad": "x" * 2000, "before": wide.get(handle)})
        wide.delete(handle)
        handle = made
    wide.trim()
    program = """
import sys, icehouse, json
store = icehouse.connect(sys.argv[1])  # kept: links may lead to what is not mapped yet
view = store.get(sys.argv[2])
found = []
while view is not None:
    found.append(view["n"])
    view = view["before"]
print(json.dumps(found))
"""
    assert json.loads(run(program, daemon.socket, handle)) == [*range(199, -1, -1)]
    wide.delete(handle)
    gc.collect()
    wait_until(lambda: wide.trim() or not wide.ls(), "the chain to go")


def test_views_of_other_stores_are_copied(daemon: Daemon, wide: icehouse.Store) -> None:
    with icehouse.Store() as embedded:
        foreign = embedded.get(embedded.put(SMALL))
        handle = wide.put([foreign])
        assert wide.stat(handle).links == 0
        mine = wide.get(wide.put(SMALL))
        assert embedded.stat(embedded.put([mine])).links == 0
    assert wide.get(handle) == [SMALL]
