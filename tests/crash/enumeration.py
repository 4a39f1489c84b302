"""Crash enumeration over a real daemon: its scenarios, and what must hold after each death.

One keeper and one client live through all of it; the daemon dies at step 1, at step 2, ... of a
scenario (server/failpoints.py, armed by a file), its keeper starts the next, and the client's
calls, which wait for it, must end as if nothing had been.
"""

import contextlib
import multiprocessing
import os
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from daemons import Daemon, wait_until

import icehouse

MIB = 1 << 20
# Large ones are dedicated segments of the 16 MiB store.
LARGE = 4 * MIB + 300_000

FORKS = multiprocessing.get_context("forkserver")


class Client:
    """A process that works, and what it was told of what it has put."""

    def __init__(self, socket: str) -> None:
        self.store = icehouse.connect(socket)
        self.lives: dict[icehouse.Handle, Any] = {}
        # May be gone by now: evictable ones.
        self.unsure: dict[icehouse.Handle, Any] = {}
        self.gone: list[icehouse.Handle] = []
        self.names: dict[str, icehouse.Handle | None] = {}
        self.number = 0

    # --- what the scenarios do ---

    def content(self, size: int = 100) -> Any:
        self.number += 1
        return [self.number, {"number": self.number}, self.number.to_bytes(4, "big") * (size // 4)]

    def put(self, size: int = 100, links: Any = None, **options: Any) -> icehouse.Handle:
        value = self.content(size)
        handle = self.store.put([*value, links] if links is not None else value, **options)
        if options.get("evictable"):
            self.unsure[handle] = value
        else:
            self.lives[handle] = value
        if "name" in options:
            self.names[options["name"]] = handle
        return handle

    def bind(self, name: str, handle: icehouse.Handle | None) -> None:
        self.store.bind(name, handle)
        self.names[name] = handle

    def delete(self, handle: icehouse.Handle, *, force: bool = False) -> None:
        # A daemon may have died after it had done so: the next one is asked again.
        with contextlib.suppress(icehouse.HandleGone):
            self.store.delete(handle, force=force)
        self.lives.pop(handle, None)
        self.unsure.pop(handle, None)
        self.gone.append(handle)
        for name, bound in self.names.items():
            if bound == handle:
                self.names[name] = None

    # --- what must hold ---

    def verify(self) -> None:
        """All that was acknowledged stands."""
        self.store.check()
        for handle, value in self.lives.items():
            view = self.store.get(handle)
            assert view[:3] == value, f"{handle} does not read as it was put"
        for handle, value in self.unsure.items():
            view = self.store.get(handle, None)
            assert view is None or view == value
        for handle in self.gone:
            assert self.store.get(handle, None) is None, f"{handle} was deleted and opens"
        wanted = {name: bound for name, bound in self.names.items() if bound is not None}
        assert self.store.names() == wanted, self.store.names()


class World(Client):
    """The daemon, and a client that only looks and deletes."""

    def __init__(self, daemon: Daemon, arming: Path) -> None:
        self.daemon = daemon
        self.arming = arming
        super().__init__(daemon.socket)
        self.held = self.held_files()

    # --- deaths ---

    def arm(self, setting: str) -> None:
        """Have the daemon that runs, or the next one, die; "off": not."""
        fresh = self.arming.with_suffix(".new")
        fresh.write_text(setting)
        fresh.rename(self.arming)

    def deaths(self) -> list[str]:
        """The places at which one died, so far."""
        died = Path(f"{self.arming}.died")
        return died.read_text().split() if died.exists() else []

    def held_files(self, name: str = "") -> list[str]:
        """The descriptors that the keeper has, or those of one kind."""
        found = []
        for fd in Path(f"/proc/{self.daemon.keeper_pid}/fd").iterdir():
            with contextlib.suppress(FileNotFoundError):
                found.append(str(fd.readlink()))
        return sorted(file for file in found if name in file)

    def clean(self) -> None:
        """Delete everything; then nothing is left, neither here nor with the keeper."""
        for name in self.store.names():
            self.store.bind(name, None)
        for stat in self.store.ls():
            if stat.state != "deleted":
                self.delete(stat.handle)

        def nothing_left() -> bool:
            self.store.trim()
            usage = self.store.usage()
            return usage.images == usage.deleted == usage.segments == usage.committed == 0

        try:
            wait_until(nothing_left, "an empty store", 20)
        except AssertionError:
            raise AssertionError(f"left of an empty store: {self.store.usage()}") from None
        for kept in (self.lives, self.unsure, self.gone, self.names):
            kept.clear()

    def verify_held(self) -> None:
        """Nothing leaked into the keeper."""
        try:
            wait_until(
                lambda: len(self.held_files()) == len(self.held), "the keeper's descriptors", 20
            )
        except AssertionError:
            raise AssertionError(f"held are {self.held_files()}, were {self.held}") from None


def put_deleted(client: Client) -> None:
    """Names, times to live, pins, links; and the way back."""
    one = client.put(name="one", ttl=1000.0, pin=True)
    two = client.put(links=client.store.get(one))
    three = client.put(name="three")
    client.store.expire(three, 500.0)
    client.store.unpin(one)
    client.store.pin(two)
    client.delete(one, force=True)
    client.verify()
    client.delete(two)
    client.delete(three, force=True)


def bound(client: Client) -> None:
    """Names that move."""
    one, two = client.put(), client.put()
    client.bind("a", one)
    client.bind("b", one)
    client.bind("a", two)
    client.bind("b", None)
    client.delete(one)
    client.bind("c", two)
    client.delete(two, force=True)


def counted(client: Client) -> None:
    """A shared field that is written: each write counts once, whenever the daemon dies."""
    field: icehouse.SharedField[Any] = icehouse.SharedField(0)
    handle = client.store.put(["a", "shared", "field", field])
    client.lives[handle] = ["a", "shared", "field"]
    for number in range(3):
        assert field.compare_and_swap(number, number + 1)
        assert not field.compare_and_swap(number, number + 1)
    client.verify()
    assert field.swap("text") == 3
    field.set(None)
    assert field.get() is None
    field.reset()
    assert field.get() == 0
    client.delete(handle)


def granted(client: Client) -> None:
    """Ordinary segments, dedicated ones, sealed ones, and warm ones used again."""
    for _ in range(3):
        client.put(60_000)
    large = client.put(LARGE)
    client.put(100_000, seal=True)
    client.delete(large)
    client.delete(client.put(LARGE))
    client.put(LARGE, evictable=True)


def evicted(client: Client) -> None:
    """More than fits, of what may go."""
    for _ in range(5):
        client.put(LARGE, evictable=True)


def spilled(client: Client) -> None:
    """More than fits, of what must stay; one is read meanwhile, so it is not moved."""
    first = client.put(LARGE)
    view = client.store.get(first)
    for _ in range(4):
        client.put(LARGE)
    assert view[:3] == client.lives[first]
    del view
    client.delete(first)


def client_that_dies(world: World) -> None:
    """A process that connects, puts, binds and is killed; what has a name outlives it."""
    path = world.arming.with_suffix(".put")
    path.unlink(missing_ok=True)
    process = FORKS.Process(target=put_and_die, args=(world.daemon.socket, str(path)))
    process.start()
    process.join()
    assert process.exitcode == -9, f"the client ended with {process.exitcode}"
    number, text = path.read_text().split()
    handle = world.store.names()["left"]
    assert str(handle) == text, handle
    world.lives[handle] = [int(number), {"number": int(number)}, b"left" * 10]
    world.names["left"] = handle
    wait_until(
        lambda: len(world.held_files("icehouse-leases")) == 1, "the dead client to be noticed"
    )


def put_and_die(socket: str, path: str) -> None:
    """Runs in a process of its own."""
    store = icehouse.connect(socket)
    number = os.getpid()
    handle = store.put([number, {"number": number}, b"left" * 10], name="left")
    for size in (100, 300_000, LARGE):
        store.put(bytes(size))
    with store.scope():
        store.put([1])
        Path(path).write_text(f"{number} {handle}")
        os.kill(number, 9)


SCENARIOS: dict[str, Callable[[Client], None]] = {
    "put": put_deleted,
    "bind": bound,
    "field": counted,
    "grant": granted,
    "evict": evicted,
    "spill": spilled,
}


def run_scenario(socket: str, name: str, said: str) -> None:
    """Runs in a process of its own: what is granted in a reply that is lost goes with it."""
    os.dup2(os.open(said, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o600), 2)
    client = Client(socket)
    SCENARIOS[name](client)
    client.verify()
    # Names outlive their process, so others must not find these.
    for text in client.store.names():
        client.store.bind(text, None)


def run_elsewhere(world: World, name: str) -> None:
    """One scenario, in another process."""
    said = world.arming.with_suffix(".said")
    process = FORKS.Process(target=run_scenario, args=(world.daemon.socket, name, str(said)))
    process.start()
    process.join()
    assert process.exitcode == 0, f"status {process.exitcode}: {said.read_text()}"


def step_through(world: World, name: str, first: int, stride: int, then: str = "") -> int:
    """Die at the first step of a scenario, and every so many; how many deaths that were.

    `then` is where the next daemon dies, in turn.
    """
    at = first
    count = 0
    while True:
        before = len(world.deaths())
        world.arm(f"step:{at}{then}")
        try:
            if name == "reap":
                client_that_dies(world)
            else:
                run_elsewhere(world, name)
            died = world.deaths()[before:]
            world.arm("off")
            world.verify()
            world.clean()
            world.verify_held()
        except (AssertionError, icehouse.IcehouseError) as error:
            where = world.deaths()[before:]
            raise AssertionError(f"{name} died at step {at}, {where}: {error!r}") from error
        if not died:
            return count
        count += 1
        at += stride


def recover(world: World, at: int) -> list[str]:
    """Have a daemon die in the midst of work, and the next one at a step of its own."""
    before = len(world.deaths())
    world.arm(f"grant.held:2,step:{at}")
    run_elsewhere(world, "grant")
    world.arm("off")
    world.verify()
    world.clean()
    world.verify_held()
    return world.deaths()[before:]


def put_until_killed(socket: str, ledger: str, seed: int) -> None:
    """Runs in a process of its own: puts of every kind, each noted when it is done."""
    client = Client(socket)
    client.number = seed * 1_000_000
    dice = random.Random(seed)
    with Path(ledger).open("w", buffering=1) as out:
        while True:
            size = dice.choice([100, 5_000, 100_000, LARGE])
            seal = dice.random() < 0.1
            handle = client.put(size, seal=seal)
            out.write(f"{handle} {client.number} {size}\n")
            if dice.random() < 0.5 or size == LARGE:
                out.write(f"-{handle}\n")
                client.delete(handle)


def read_back(world: World, lines: list[str]) -> int:
    """Read what a dead producer noted; how many lines that were."""
    world.store.check()
    found = {str(stat.handle) for stat in world.store.ls() if stat.state != "deleted"}
    deleted = {line[1:] for line in lines if line.startswith("-")}
    for line in lines:
        handle, *rest = line.split()
        if line.startswith("-") or handle in deleted:
            continue
        number, size = map(int, rest)
        view = world.store.get(handle)
        assert view[:2] == [number, {"number": number}], line
        assert view[2] == number.to_bytes(4, "big") * (size // 4), line
        found.discard(handle)
    # The last one may have been sealed and not noted; then it is whole.
    for handle in found - deleted:
        view = world.store.get(handle)
        assert view[2] == view[0].to_bytes(4, "big") * (len(view[2]) // 4), handle
    return len(lines)


def kill_a_producer(world: World, seed: int, seconds: float) -> int:
    """Kill a process that puts, at any instant; what it had put stands, the rest is no more."""
    path = world.arming.with_suffix(".ledger")
    path.unlink(missing_ok=True)
    process = FORKS.Process(target=put_until_killed, args=(world.daemon.socket, str(path), seed))
    process.start()
    wait_until(lambda: path.exists() and path.stat().st_size > 0, "the first put")
    time.sleep(seconds)
    process.kill()
    process.join()
    count = read_back(world, path.read_text().split("\n")[:-1])
    wait_until(lambda: len(world.held_files("icehouse-leases")) == 1, "its death to be noticed")
    world.verify()
    world.clean()
    world.verify_held()
    return count
