"""What metrics say without a walk is what a walk says; namespaces; ages of leases."""

import contextlib
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from daemons import Daemon, wait_until

import icehouse
from icehouse.client.control import Control
from icehouse.server.ages import LABELS, LeaseAges
from icehouse.server.namespaces import TOLD_MAX, Namespaces, namespace
from icehouse.server.timing import BOUNDS, Timing
from icehouse.store.wire import messages

MIB = 2**20

CHILD = """
import os, random, sys, icehouse
store = icehouse.connect(sys.argv[1])
chosen = random.Random(int(sys.argv[2]))
kept = []
for at in range(400):
    kept.append(store.put([at] * chosen.randrange(1, 3000)))
    if chosen.random() < 0.4:
        store.delete(kept.pop(chosen.randrange(len(kept))))
store.put(bytes(3 << 20))
os.kill(os.getpid(), 9)
"""


def told(daemon: Daemon) -> messages.Metrics:
    with Control(daemon.socket) as control:
        return control.ask(messages.AskMetrics(), messages.Metrics)


@pytest.mark.daemon(capacity="256MiB")
def test_figures_are_those_of_a_walk(daemon: Daemon) -> None:
    chosen = random.Random(20)
    with icehouse.connect(daemon.socket) as store:
        kept = [store.put([at] * chosen.randrange(1, 3000)) for at in range(2000)]
        large = [store.put(bytes(chosen.randrange(MIB, 8 * MIB))) for _ in range(8)]
        views = [store.get(handle) for handle in chosen.sample(kept, 200)]
        for handle in chosen.sample(kept, 1000) + large[:4]:
            store.delete(handle)
        for seed in range(3):
            done = subprocess.run([sys.executable, "-c", CHILD, daemon.socket, str(seed)])
            assert done.returncode == -9
        for _ in range(300):
            store.put([0] * chosen.randrange(1, 3000))

        def agree() -> Any:
            # Neither changes by itself once the dead are reaped and what nobody holds is free.
            walked, measured = store.usage(), told(daemon)
            objects, sizes = measured.labelled["objects"], measured.labelled["object_bytes"]
            same = (
                objects["live"] + objects["unowned"] == walked.images
                and objects["deleted"] == walked.deleted
                and sizes["deleted"] == walked.deleted_bytes
                and measured.gauges["used_bytes"] == walked.used
                and measured.gauges["free_bytes"] == walked.free
                and measured.gauges["largest_free_bytes"] == walked.largest_free
                and measured.gauges["leases"] == walked.leases == len(views)
                and objects["unowned"] > 0
                and measured.counters["dead_clients"][""] == 3
            )
            return same and measured

        measured = wait_until(agree, "metrics and a walk to agree")
        assert 0 < measured.gauges["fragmentation"] < 1
        assert measured.gauges["free_runs"] > 1
        assert sum(measured.histograms["reclaim_seconds"]["counts"]) == 3
        assert sum(measured.histograms["request_seconds"]["counts"]) > 1000
        # The next daemon finds all of it, deleted images too.
        before = daemon.kill()
        daemon.wait_for_another(before)
        again = wait_until(
            lambda: (now := agree_after_death(daemon, measured)) and now, "the next to agree"
        )
        assert again.counters["recovered_segments"][""] > 3
        assert again.counters["resumed_sessions"][""] <= 1


def agree_after_death(daemon: Daemon, before: messages.Metrics) -> messages.Metrics | None:
    with contextlib.suppress(icehouse.StoreUnavailable):
        now = told(daemon)
        if now.labelled["objects"] == before.labelled["objects"] and (
            now.labelled["object_bytes"] == before.labelled["object_bytes"]
        ):
            return now
    return None


def test_what_a_dead_process_left_is_counted_when_it_goes(daemon: Daemon) -> None:
    child = (
        "import icehouse, os, sys; s = icehouse.connect(sys.argv[1]);"
        "s.put(bytes(9 << 20), name='kept'); s.delete(s.put(bytes(5 << 20)));"
        "os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", child, daemon.socket], check=False)

    def reclaimed() -> float:
        return told(daemon).counters["dead_client_bytes"][""]

    wait_until(lambda: 5 * MIB <= reclaimed() < 9 * MIB, "what was free to be taken back")
    with icehouse.connect(daemon.socket) as store:
        store.delete("kept", force=True)
        wait_until(lambda: reclaimed() > 14 * MIB, "the rest to be taken back")


def test_what_is_on_disk_takes_nothing_of_the_capacity(tmp_path: Path) -> None:
    settings = {"capacity": "16MiB", "spill": str(tmp_path / "spill")}
    with Daemon(tmp_path / "d", **settings) as daemon, icehouse.connect(daemon.socket) as store:
        for number in range(8):
            store.put(bytes(5 * MIB), name=str(number))
        measured, walked = told(daemon), store.usage()
        sizes = measured.labelled["object_bytes"]
        assert sizes["spilled"] > 16 * MIB
        assert measured.gauges["used_bytes"] == sizes["live"] == walked.used <= 16 * MIB
        assert walked.images == 8


# --- namespaces ---


def test_a_namespace_stands_before_the_first_slash_or_dot() -> None:
    assert [namespace(name) for name in ("a/b.c", "a.b/c", "a", "/a", ".a", "é/x")] == [
        *("a", "a", "", "", "", "é")
    ]


def test_an_image_counts_once_in_each_namespace() -> None:
    spaces = Namespaces()
    spaces.gained("a/1", 7, 100)
    spaces.gained("a/2", 7, 100)
    spaces.gained("b.1", 7, 100)
    spaces.gained("plain", 8, 50)
    names, sizes = spaces.told()
    assert names == {"none": 1, "other": 0, "a": 2, "b": 1}
    assert sizes == {"none": 50, "other": 0, "a": 100, "b": 100}
    spaces.lost("a/1", 7)
    assert spaces.told()[1]["a"] == 100
    spaces.lost("a/2", 7)
    spaces.lost("never/bound", 9)
    spaces.lost("a/1", 7)
    spaces.lost("b.2", 8)
    assert "a" not in spaces.told()[0]
    spaces.lost("b.1", 7)
    spaces.lost("plain", 8)
    assert spaces.told() == ({"none": 0, "other": 0}, {"none": 0, "other": 0})


def test_random_names_add_up() -> None:
    chosen, spaces = random.Random(4), Namespaces()
    sizes = {image: chosen.randrange(1, 1000) for image in range(60)}
    bound: dict[str, int] = {}

    for _ in range(3000):
        name = f"n{chosen.randrange(60)}" + chosen.choice(["", "/a", "/b", ".c"])
        if name in bound:
            image = bound.pop(name)
            spaces.lost(name, image)
        if chosen.random() < 0.6:
            image = bound[name] = chosen.randrange(60)
            spaces.gained(name, image, sizes[image])
    names, told_sizes = spaces.told()
    assert len(names) <= TOLD_MAX + 2
    assert sum(names.values()) == len(bound)
    expected = {(namespace(name), image) for name, image in bound.items()}
    assert sum(told_sizes.values()) == sum(sizes[image] for _, image in expected)
    for label in set(names) - {"none", "other"}:
        assert told_sizes[label] == sum(sizes[at] for space, at in expected if space == label)


@pytest.mark.daemon(http="off")
def test_namespaces_of_a_store_outlive_its_daemon(daemon: Daemon) -> None:
    with icehouse.connect(daemon.socket) as store:
        for i in range(TOLD_MAX + 10):
            for j in range(3):
                store.put([i] * 100, name=f"space-{i}/{j}")
        store.put("x", name="x" * 70 + "/long")
        # An image with two names of one namespace counts once there.
        store.bind("space-1/again", "space-1/0")
        size = store.stat("space-0/0").size
        before = told(daemon).labelled
        assert before["namespace_names"]["space-0"] == 3
        assert before["namespace_bytes"]["space-0"] == 3 * size
        assert before["namespace_names"]["space-1"] == 4
        assert before["namespace_bytes"]["space-1"] == 3 * store.stat("space-1/0").size
        assert before["namespace_names"]["other"] == 31
        daemon.wait_for_another(daemon.kill())
        after = wait_until(
            lambda: (now := told(daemon).labelled) and now, "the next daemon to tell"
        )
        assert sum(after["namespace_names"].values()) == 3 * (TOLD_MAX + 10) + 2
        assert sum(after["namespace_bytes"].values()) == sum(before["namespace_bytes"].values())
        for name in list(store.names()):
            store.bind(name, None)
        wait_until(
            lambda: set(told(daemon).labelled["namespace_bytes"].values()) == {0.0}, "none left"
        )


# --- ages of leases ---


# Of a lease table: docs/segment-format.md.
OWNERS_OFFSET = 4096
SLOTS_OFFSET = OWNERS_OFFSET + 4 * 65536


def lease(fd: int, slot: int, handle: tuple[int, int]) -> None:
    os.pwrite(fd, handle[0].to_bytes(8, "little"), SLOTS_OFFSET + 8 * slot)


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


def test_leases_grow_old(monkeypatch: pytest.MonkeyPatch) -> None:
    sys.path.insert(0, str(Path(__file__).parent))
    from raw import World, run

    from icehouse.server import ages

    clock = Clock()
    monkeypatch.setattr(ages, "time", clock)

    async def test(world: World) -> None:
        client = await world.client()
        handles = [await client.put() for _ in range(3)]
        leases = LeaseAges(world.daemon.catalog, world.daemon.sessions)
        os.ftruncate(client.lock, SLOTS_OFFSET + 8 * 512)
        os.pwrite(client.lock, client.member.to_bytes(4, "little"), OWNERS_OFFSET)
        for slot, handle in enumerate(handles[:2]):
            lease(client.lock, slot, handle)
        assert leases.go_on()
        assert leases.told() == (2, dict.fromkeys(LABELS, 0.0), 0)
        clock.now += 700
        lease(client.lock, 7, handles[2])
        assert leases.go_on()
        assert leases.told() == (3, {"1m": 2.0, "10m": 2.0, "1h": 0.0, "1d": 0.0}, 700)
        clock.now += 90000
        assert leases.go_on()
        assert leases.told() == (3, dict.fromkeys(LABELS, 3.0), 90700)
        # Another image in a slot is another lease, and an empty one is none.
        lease(client.lock, 0, handles[2])
        lease(client.lock, 1, (0, 0))
        assert leases.go_on()
        assert leases.told()[:2] == (2, dict.fromkeys(LABELS, 1.0))
        client.die()
        await world.until(lambda: not world.daemon.sessions.families)
        assert leases.go_on()
        assert leases.told() == (0, dict.fromkeys(LABELS, 0.0), 0)

    run(test)


def test_buckets_of_a_timing() -> None:
    timing = Timing()
    for seconds in (0.0, BOUNDS[0], BOUNDS[0] * 1.01, 1e9):
        timing.note(seconds)
    counts = timing.told()["counts"]
    assert (counts[0], counts[1], counts[-1], sum(counts)) == (2, 1, 1, 4)
