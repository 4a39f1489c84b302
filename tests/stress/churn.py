"""Everything at once: threads and interpreters that put, read, delete, bind, freeze and thaw.

Every worker has images of its own, which nobody else deletes (so they are never gone), and offers
others on a board: an image under a name of its own, with handles and the numbers that their
contents follow from. Anybody may read what is offered, and delete it. Names are taken turns at by
compare-and-swap; name k is only ever bound to contents whose number leaves k.
"""

import contextlib
import gc
import os
import sys
import threading
import time
import traceback
from collections.abc import Callable
from typing import Any

import content

import icehouse
from icehouse import Store, interpreters

NAMES = 16
STRIDE = 1 << 32  # numbers of one worker
KEPT = 24


class Worker:
    def __init__(self, store: Store, number: int, workers: int) -> None:
        self.store = store
        self.number = number
        self.workers = workers
        self.dice = content.Dice(number)
        self.seed = number * STRIDE
        self.own: dict[icehouse.Handle, int] = {}
        self.offered: dict[icehouse.Handle, int] = {}
        self.held: list[tuple[Any, int]] = []
        self.steps = 0
        self.actions: list[Callable[[], None]] = [
            self.put,
            self.put,
            self.put_view,
            self.offer,
            self.read_own,
            self.read_own,
            self.read_others,
            self.read_others,
            self.delete_own,
            self.delete_others,
            self.swap_name,
            self.read_name,
            self.read_name,
            self.freeze_and_thaw,
            self.let_go,
            self.look,
        ]

    def next_seed(self) -> int:
        self.seed += 1
        return self.seed

    def pick(self, among: dict[icehouse.Handle, int]) -> tuple[icehouse.Handle, int] | None:
        if not among:
            return None
        return list(among.items())[self.dice(len(among))]

    def hold(self, view: Any, seed: int) -> None:
        """Read now, or after others may have deleted it."""
        if self.dice(2):
            content.verify(view, seed)
        self.held.append((view, seed))
        if len(self.held) > KEPT:
            content.verify(*self.held.pop(self.dice(KEPT)))

    def put(self) -> None:
        if len(self.own) < KEPT:
            seed = self.next_seed()
            seal = self.dice(40) == 0
            self.own[self.store.put(content.make(seed), seal=seal)] = seed

    def put_view(self) -> None:
        seed = self.next_seed()
        freeze = self.store.freeze if self.dice(2) else icehouse.freeze
        view = freeze(content.make(seed))
        handle = self.store.put(view)
        self.own[handle] = seed
        self.hold(view, seed)

    def offer(self) -> None:
        """Put one more on the board and publish the board anew."""
        while len(self.offered) >= KEPT:
            gone = next(iter(self.offered))
            del self.offered[gone]
            with contextlib.suppress(icehouse.HandleGone):
                self.store.delete(gone)
        seed = self.next_seed()
        self.offered[self.store.put(content.make(seed))] = seed
        name = f"board {self.number}"
        board = [(bytes(handle), number) for handle, number in self.offered.items()]
        before = self.store.lookup(name)[0] if self.store.version(name) else None
        self.store.put(board, name=name)
        if before is not None:
            self.store.delete(before)

    def read_own(self) -> None:
        if found := self.pick(self.own):
            handle, seed = found
            opened = icehouse.get(handle if self.dice(2) else str(handle))
            assert opened.handle == handle
            self.hold(opened, seed)

    def other(self) -> tuple[icehouse.Handle, int] | None:
        board = self.store.get(f"board {self.dice(self.workers)}", None)
        if board is None:
            return None
        raw, seed = board[self.dice(len(board))]
        return icehouse.Handle(raw), seed

    def read_others(self) -> None:
        if found := self.other():
            handle, seed = found
            view = self.store.get(handle, None)
            if view is not None:
                self.hold(view, seed)

    def delete_own(self) -> None:
        if found := self.pick(self.own):
            handle, seed = found
            view = self.store.get(handle)
            self.store.delete(handle)
            del self.own[handle]
            assert self.store.get(handle, None) is None
            content.verify(view, seed)

    def delete_others(self) -> None:
        if found := self.other():
            with contextlib.suppress(icehouse.HandleGone):
                self.store.delete(found[0])

    def swap_name(self) -> None:
        k = self.dice(NAMES)
        seed = self.next_seed()
        seed += (k - seed) % NAMES
        self.seed = seed
        name = f"name {k}"
        before, version = None, self.store.version(name)
        if version:
            with contextlib.suppress(icehouse.UnknownName):
                before, version = self.store.lookup(name)
        made = self.store.put(content.make(seed))
        try:
            self.store.bind(name, made, expected=version)
        except icehouse.Conflict:
            self.store.delete(made)
        else:
            if before is not None:
                self.store.delete(before)

    def read_name(self) -> None:
        k = self.dice(NAMES)
        view = self.store.get(f"name {k}", None)
        if view is not None:
            assert view["seed"] % NAMES == k
            self.hold(view, view["seed"])

    def freeze_and_thaw(self) -> None:
        seed = self.next_seed()
        view = icehouse.freeze(content.make(seed))
        thawed = icehouse.thaw(view)
        assert type(thawed) is dict
        content.verify(thawed, seed)
        if self.dice(4) == 0:
            self.held.append((view, seed))

    def let_go(self) -> None:
        while self.held:
            content.verify(*self.held.pop())

    def look(self) -> None:
        what = self.dice(6)
        if what == 0:
            self.store.check()
        elif what == 1:
            usage = self.store.usage()
            assert 0 < usage.used <= usage.committed <= usage.capacity
        elif what == 2:
            for stat in self.store.ls():
                assert stat.size > 0
        elif what == 3:
            assert all(name.startswith("name ") for name in self.store.names("name "))
        elif what == 4:
            self.store.trim()
        elif found := self.pick(self.own):
            assert self.store.stat(found[0]).state == "live", self.store.stat(found[0])

    def run(self, until: float) -> None:
        while time.monotonic() < until:
            try:
                self.actions[self.dice(len(self.actions))]()
            except icehouse.StoreFull as error:
                assert error.wanted > 0
                self.make_room()
            self.steps += 1
        self.end()

    def make_room(self) -> None:
        self.let_go()
        for handle in list(self.own)[::2]:
            del self.own[handle]
            self.store.delete(handle)

    def end(self) -> None:
        self.let_go()
        for handle, seed in self.own.items():
            content.verify(self.store.get(handle), seed)
            self.store.delete(handle)
        for handle in self.offered:
            with contextlib.suppress(icehouse.HandleGone):
                self.store.delete(handle)
        if self.store.version(f"board {self.number}"):
            self.store.delete(f"board {self.number}")


def work(store: Store, number: int, workers: int, seconds: float) -> int:
    """One worker's life, in a thread or in an interpreter."""
    worker = Worker(store, number, workers)
    worker.run(time.monotonic() + seconds)
    return worker.steps


def work_attached(token: str, number: int, workers: int, seconds: float) -> int:
    return work(Store.attach(token), number, workers, seconds)


def resident() -> int:
    """The process's own memory, without files and shared memory."""
    with open("/proc/self/status") as file:  # noqa: PTH123
        lines = [line.split() for line in file]
    return next(int(line[1]) << 10 for line in lines if line[0] == "RssAnon:")


def one_round(store: Store, threads: int, others: int, seconds: float) -> int:
    """Threads of this interpreter and of others, until all have ended. Returns their steps."""
    results: list[int] = []
    failures: list[str] = []

    def guarded(call: Callable[..., int], *args: Any) -> None:
        try:
            results.append(call(*args))
        except BaseException:
            failures.append(traceback.format_exc())

    workers = threads + others
    crowd = [
        threading.Thread(target=guarded, args=(work, store, i, workers, seconds))
        for i in range(threads)
    ]
    crowd += [
        threading.Thread(
            target=guarded,
            args=(interpreters.run, work_attached, store.token, i, workers, seconds),
        )
        for i in range(threads, workers)
    ]
    for thread in crowd:
        thread.start()
    for thread in crowd:
        thread.join()
    assert not failures, "\n".join(failures)
    assert len(results) == workers
    return sum(results)


def hammer(
    threads: int, others: int, capacity: str, segment: str | None, seconds: float, rounds: int
) -> None:
    """Rounds of it; afterwards the store is as it was at the start."""
    sys.setswitchinterval(0.0005)
    memory = []
    with Store(capacity, segment_size=segment) as store:
        store.delete(store.put([0]))
        start = store.usage()
        for _ in range(rounds):
            assert one_round(store, threads, others, seconds / rounds) >= threads + others
            for name in store.names():
                store.delete(name)
            gc.collect()
            store.check()
            usage = store.usage()
            left = (usage.used, usage.images, usage.deleted, usage.leases, usage.names)
            assert left == (start.used, 0, 0, 0, 0), (start, usage, store.ls())
            store.trim()
            assert store.usage().warm == 0
            store.check()
            memory.append(resident())
        assert store.usage().committed <= max(start.committed, 1 << 20)
    # Interpreters leave some memory behind on every version, some hundred kB each.
    allowed = (16 << 20) + rounds * others * (4 << 20)
    # ASan keeps what was freed for a while.
    if "libasan" not in os.environ.get("LD_PRELOAD", ""):
        assert memory[-1] - memory[0] < allowed, memory
    assert len(os.listdir("/proc/self/fd")) < 40  # noqa: PTH208 - as everywhere here
