"""docs/operations.md, «When something is wrong»: each symptom is made, and its remedy tried.

What an operator types is typed here, as a command of its own.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from daemons import Daemon, wait_until

import icehouse

for needed in ("typer", "fastapi", "uvicorn", "prometheus_client"):
    pytest.importorskip(needed, reason=f"no {needed}: icehouse[service]")

MIB = 2**20
UNREACHED = 5

pytestmark = [
    pytest.mark.slow,
    pytest.mark.watchdog(200),
    pytest.mark.daemon(capacity="32MiB", segment_size="4MiB"),
]


def typed(daemon: Daemon, *command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "icehouse.client.cli", *command],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "ICEHOUSE_SOCKET": daemon.socket},
    )


def rows(daemon: Daemon, *command: str) -> list[dict[str, Any]]:
    """What a command prints as JSON, one object a line."""
    done = typed(daemon, *command, "--json")
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def metric(daemon: Daemon, name: str, label: str = "") -> float:
    """As `icehouse metrics` tells it; 0 for a label that it does not."""
    told = json.loads(typed(daemon, "metrics", "--json").stdout)
    if name in told["gauges"]:
        return float(told["gauges"][name])
    return float({**told["counters"], **told["labelled"]}[name].get(label, 0))


@contextlib.contextmanager
def process(daemon: Daemon, code: str) -> Iterator[subprocess.Popen[str]]:
    """Another one, which says something when it is where it should be, and waits for a line."""
    before = "import icehouse, sys\nstore = icehouse.connect(sys.argv[1])\n"
    other = subprocess.Popen(
        [sys.executable, "-c", before + code, daemon.socket],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield other
    finally:
        assert other.stdin is not None
        other.stdin.close()
        other.wait(60)
        assert other.stdout is not None
        other.stdout.close()


def line(other: subprocess.Popen[str], told: str = "") -> str:
    """Tell it to go on, if it is told something; what it says next."""
    assert other.stdin is not None
    assert other.stdout is not None
    if told:
        other.stdin.write(told + "\n")
        other.stdin.flush()
    return other.stdout.readline().strip()


# --- it does not answer ---


def test_it_does_not_answer_and_readers_go_on(daemon: Daemon) -> None:
    with icehouse.connect(daemon.socket) as store:
        view = store.get(store.put([1, {"a": 2}]))
        os.kill(daemon.keeper_pid, signal.SIGSTOP)
        try:
            daemon.kill()
            assert typed(daemon, "status").returncode == UNREACHED
            assert view[1]["a"] == 2
            assert store.get(store.put([3]))[0] == 3
        finally:
            os.kill(daemon.keeper_pid, signal.SIGCONT)
        wait_until(lambda: typed(daemon, "status").returncode == 0, "an answer")


# --- it is full ---


def fill(store: Any, size: int = MIB) -> list[Any]:
    """Put until no more fits."""
    handles = []
    with contextlib.suppress(icehouse.StoreFull):
        while True:
            handles.append(store.put(bytes(size)))
    return handles


def test_views_hold_what_was_deleted(daemon: Daemon) -> None:
    code = """
views = [store.get(handle) for handle in input().split()]
print("held", flush=True)
input()
views.clear()
print("dropped", flush=True)
input()
"""
    with process(daemon, code) as other, icehouse.connect(daemon.socket) as store:
        handles = fill(store, 2 * MIB)
        assert line(other, " ".join(map(str, handles))) == "held"
        for handle in handles:
            store.delete(handle)
        assert metric(daemon, "object_bytes", "deleted") > 24 * MIB
        with pytest.raises(icehouse.StoreFull):
            store.put(bytes(2 * MIB))
        found = rows(daemon, "ls", "--state", "deleted", "--sort", "size", "--limit", "10")
        assert len(found) == 10
        holders = rows(daemon, "who", found[0]["handle"])
        assert other.pid in {row["pid"] for row in holders}
        assert line(other, "go") == "dropped"
        wait_until(lambda: metric(daemon, "object_bytes", "deleted") == 0, "it to be free")
        store.put(bytes(2 * MIB))


def test_producers_ended_without_deleting(daemon: Daemon) -> None:
    with process(daemon, "for _ in range(12): store.put(bytes(2 << 20))") as other:
        other.wait(60)
    with icehouse.connect(daemon.socket) as store:
        wait_until(lambda: metric(daemon, "object_bytes", "unowned") > 24 * MIB, "orphans")
        assert len(rows(daemon, "ls", "--state", "orphan", "--limit", "10")) == 10
        with pytest.raises(icehouse.StoreFull):
            store.put(bytes(12 * MIB))
        assert typed(daemon, "gc", "--dry-run").returncode == 0
        assert metric(daemon, "object_bytes", "unowned") > 24 * MIB
        assert typed(daemon, "gc", "--orphans").returncode == 0
        wait_until(lambda: metric(daemon, "object_bytes", "unowned") == 0, "them to go")
        store.put(bytes(12 * MIB))


def test_a_producer_that_puts_nothing_at_the_moment(daemon: Daemon) -> None:
    code = """
handles = [store.put([i] * 20000) for i in range(60)]
print(" ".join(map(str, handles)), flush=True)
input()
store.trim()
print("trimmed", flush=True)
input()
"""
    with process(daemon, code) as other, icehouse.connect(daemon.socket) as store:
        for handle in line(other).split()[:-1]:
            store.delete(handle)
        wait_until(lambda: metric(daemon, "waiting_bytes") > MIB, "memory to wait")
        most = rows(daemon, "clients", "--sort", "waiting")[0]
        assert most["pid"] == other.pid
        assert line(other, "go") == "trimmed"
        wait_until(lambda: metric(daemon, "waiting_bytes") == 0, "it to be given back")


def test_a_namespace_that_grows(daemon: Daemon) -> None:
    with icehouse.connect(daemon.socket) as store:
        store.put(bytes(MIB), name="small/one")
        for i in range(5):
            store.put(bytes(MIB), name=f"large/{i}", ttl=1)
        assert metric(daemon, "namespace_bytes", "large") > 5 * MIB
        assert metric(daemon, "namespace_bytes", "small") < 2 * MIB
        # It was put with a time to live, as the page says.
        wait_until(lambda: metric(daemon, "namespace_bytes", "large") == 0, "it to go by itself")


def test_all_of_it_lives_and_may_be_evicted(daemon: Daemon) -> None:
    with icehouse.connect(daemon.socket) as store:
        for _ in range(60):
            store.put(bytes(MIB), evictable=True)
        assert metric(daemon, "evictions", "capacity") > 20


def test_all_of_it_lives_and_there_is_a_disk(tmp_path: Path) -> None:
    with (
        Daemon(tmp_path / "d", capacity="32MiB", spill=str(tmp_path / "spill")) as daemon,
        icehouse.connect(daemon.socket) as store,
    ):
        handles = [store.put(bytes([i]) * (8 * MIB)) for i in range(8)]
        assert metric(daemon, "spilled_bytes") > 24 * MIB
        assert [store.get(handle)[:1] for handle in handles] == [bytes([i]) for i in range(8)]


# --- free memory in small pieces ---


def test_mixed_ages_leave_small_pieces(daemon: Daemon) -> None:
    with icehouse.connect(daemon.socket) as store:
        for handle in fill(store, 1000)[::2]:
            store.delete(handle)
        wait_until(lambda: metric(daemon, "fragmentation") > 0.9, "small pieces")
        assert metric(daemon, "free_bytes") > 8 * MIB
        assert metric(daemon, "free_runs") > 10_000


def test_separate_processes_do_not_mix_what_they_put(daemon: Daemon) -> None:
    code = """
chosen = sys.stdin.readline().strip()
handles = [store.put(bytes(1000)) for i in range(3000)]
if chosen == "short":
    for handle in handles:
        store.delete(handle)
    store.trim()
print("done", flush=True)
input()
"""
    with process(daemon, code) as long, process(daemon, code) as short:
        assert (line(long, "long"), line(short, "short")) == ("done", "done")
        assert metric(daemon, "objects", "live") == 3000
        wait_until(lambda: metric(daemon, "free_runs") < 10, "what was short to go as a whole")


# --- processes see different things ---


@pytest.mark.daemon(capacity="32MiB", segment_size="4MiB", orphan_ttl="0s")
def test_a_handle_is_gone_and_it_is_said_why(daemon: Daemon) -> None:
    with icehouse.connect(daemon.socket) as store:
        deleted = store.put([1] * 100)
        store.delete(deleted)
        expired = store.put([2] * 100, ttl=0.05)
        evicted = store.put(bytes(MIB), evictable=True)
        with process(daemon, "print(store.put([3] * 100), flush=True)") as other:
            orphan = line(other)
        wait_until(lambda: "its producer went" in store.explain(orphan), "the orphan to go")
        wait_until(lambda: "time to live passed" in store.explain(expired), "its time to pass")
        for handle in fill(store):
            store.delete(handle)
        assert "it was deleted" in store.explain(deleted)
        assert "it was evicted" in store.explain(evicted)
        for handle in (deleted, expired, evicted, orphan):
            with pytest.raises(icehouse.HandleGone):
                store.get(handle)


def test_another_store_by_now(daemon: Daemon) -> None:
    with icehouse.connect(daemon.socket) as store:
        handle = store.put([1], name="kept")
        assert daemon.stop() == 0
        daemon.start()
        # What is mapped stays; what has to ask is told.
        assert store.get(handle) == [1]
        with pytest.raises(icehouse.StoreUnavailable, match="another store by now"):
            store.put([2], name="other")
    with icehouse.connect(daemon.socket) as again:
        again.put([2], name="other")
        with pytest.raises(icehouse.HandleGone):
            again.get(handle)
