"""The kill storm: clients work at random, and every 50 ms something dies by SIGKILL.

What must hold at its end is told by `Outcome`: every image that was put and that nobody set out to
delete reads back with its content; names lead to what was bound; views that were open all the time
never broke; and when all is deleted no lease, segment or byte is left.
"""

import multiprocessing
import os
import random
import signal
import time
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import storm_client

import icehouse

PERIOD_SECONDS = 0.05
CLIENTS = 8
SETTLE_SECONDS = 60


@dataclass
class Outcome:
    """What the ledgers say, all of them together."""

    puts: dict[str, int] = field(default_factory=dict)
    doomed: set[str] = field(default_factory=set)
    deleted: set[str] = field(default_factory=set)
    bound: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))

    @classmethod
    def of(cls, folder: Path) -> "Outcome":
        """Read the ledgers."""
        outcome = cls()
        for path in folder.iterdir():
            for line in path.read_text().splitlines():
                outcome.take(line.split())
        return outcome

    def take(self, words: list[str]) -> None:
        """One line."""
        what, *rest = words
        if what == "=put":
            self.puts[rest[1]] = int(rest[0])
        elif what == "+delete":
            self.doomed.add(rest[0])
        elif what == "=delete":
            self.deleted.add(rest[0])
        elif what == "+bind":
            self.bound[rest[0]].add(rest[1])


class Storm:
    """Clients of one daemon, and what kills them.

    Clients are forked from a server that has imported icehouse and is connected to nothing, so that
    a new one takes milliseconds.
    """

    def __init__(self, daemon: Any, folder: Path, seed: int) -> None:
        self.daemon = daemon
        self.folder = folder
        self.random = random.Random(seed)
        self.processes = multiprocessing.get_context("forkserver")
        self.processes.set_forkserver_preload(["storm_client"])
        self.said = folder.parent / "said"
        self.said.mkdir()
        self.clients: list[Any] = []
        self.killed = {"client": 0, "daemon": 0}

    def start_client(self) -> Any:
        """Another client; what it says goes to a file."""
        number = self.killed["client"] + len(self.clients)
        client = self.processes.Process(
            target=storm_client.main,
            args=(
                self.daemon.socket,
                str(self.folder),
                self.random.getrandbits(32),
                str(self.said / str(number)),
            ),
        )
        client.start()
        return client

    def kill_one(self) -> None:
        """A client, the daemon, or both at once."""
        dice = self.random.random()
        pid = self.daemon.daemon_pid()
        if dice < 0.2 and pid is not None:
            os.kill(pid, signal.SIGKILL)
            self.killed["daemon"] += 1
        if dice > 0.1:
            place = self.random.randrange(len(self.clients))
            self.bury(self.clients[place])
            self.clients[place] = self.start_client()

    def bury(self, client: Any) -> None:
        """Kill a client. It must not have ended by itself: that was an error of its own."""
        ended = client.exitcode
        client.kill()
        client.join()
        if ended is not None:
            said = "\n".join(path.read_text() for path in self.said.iterdir())
            raise AssertionError(f"a client ended with status {ended}:\n{said}")
        self.killed["client"] += 1

    def run(self, seconds: float) -> None:
        """The storm itself, and a quiet moment after it."""
        observer = Observer(self.daemon.socket)
        self.clients = [self.start_client() for _ in range(CLIENTS)]
        try:
            begin = time.monotonic()
            for turn in range(int(seconds / PERIOD_SECONDS)):
                time.sleep(max(0, begin + turn * PERIOD_SECONDS - time.monotonic()))
                self.kill_one()
                observer.look()
        finally:
            for client in self.clients:
                self.bury(client)
        observer.close()


class Observer:
    """A client that is never killed and whose views are open all the time, deleted or not."""

    def __init__(self, socket: str) -> None:
        self.store = icehouse.connect(socket)
        self.views = []
        for number in range(40):
            handle = self.store.put(storm_client.content(number))
            self.views.append((self.store.get(handle), number))
            if number % 2:
                self.store.delete(handle)
            else:
                self.store.bind(f"observer/{number}", handle)

    def look(self) -> None:
        """Read some of them."""
        for view, number in random.sample(self.views, 2):
            storm_client.verify(view, number)

    def close(self) -> None:
        """Read all of them, by name too, and let go."""
        for view, number in self.views:
            storm_client.verify(view, number)
            if number % 2 == 0:
                storm_client.verify(self.store.get(f"observer/{number}"), number)
        self.views.clear()


def wait_for(what: str, holds: Any, seconds: float = SETTLE_SECONDS) -> None:
    """Until a condition holds; then what is not so is told."""
    end = time.monotonic() + seconds
    while not (found := holds())[0]:
        if time.monotonic() > end:
            raise AssertionError(f"{what}, after {seconds} s: {found[1:]}")
        time.sleep(0.1)


def verify_all(store: icehouse.Store, outcome: Outcome) -> int:
    """Every image that is sure to live, and every name. Returns how many images were read."""
    read = 0
    for text, number in outcome.puts.items():
        view = store.get(text, None)
        if view is not None:
            storm_client.verify(view, number)
            read += 1
        elif text not in outcome.doomed:
            raise AssertionError(f"{text} (number {number}) is gone, nobody deleted it")
        if text in outcome.deleted and view is not None:
            raise AssertionError(f"{text} was deleted and opens")
    for name, handle in store.names("storm/").items():
        if str(handle) not in outcome.bound[name]:
            raise AssertionError(f"{name} leads to {handle}, which nobody bound to it")
    return read


def empty(store: icehouse.Store) -> None:
    """Delete everything; nothing may be left."""
    for name in store.names():
        store.bind(name, None)
    for stat in store.ls():
        if stat.state != "deleted":
            store.delete(stat.handle)

    def nothing_left() -> tuple[bool, Any]:
        store.trim()
        usage = store.usage()
        return (
            usage.images == usage.deleted == usage.leases == usage.segments == usage.committed == 0,
            usage,
        )

    wait_for("something is left of an empty store", nothing_left)


def run(daemon: Any, folder: Path, seconds: float, seed: int) -> str:
    """All of it; returns a line that says what happened."""
    folder.mkdir(exist_ok=True)
    storm = Storm(daemon, folder, seed)
    storm.run(seconds)
    store = icehouse.connect(daemon.socket)
    wait_for("a dead client still has leases", lambda: (store.usage().leases == 0, store.usage()))
    store.check()
    outcome = Outcome.of(folder)
    read = verify_all(store, outcome)
    store.check()
    empty(store)
    store.check()
    store.close()
    deleted = len(outcome.deleted)
    return (
        f"storm of {seconds:.0f} s, seed {seed}: {storm.killed['client']} clients and "
        f"{storm.killed['daemon']} daemons killed; {len(outcome.puts)} images put, {deleted} "
        f"deleted, {read} read back; nothing left"
    )
