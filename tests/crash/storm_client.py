"""One client of the kill storm: puts, gets, deletes and binds at random until it is killed.

What it does it writes into a ledger of its own, before (`+`: it is going to) and after (`=`: it was
done); one write() each, so a line is there or not, whenever the process dies. The driver believes
nothing else. Content follows from a number, so whoever opens an image can tell whether it is right.
"""

import os
import random
import time
from pathlib import Path
from typing import Any

import icehouse

NAMES = [f"storm/{i}" for i in range(12)]
PAUSE_SECONDS = 0.002
GONE = (icehouse.HandleGone, icehouse.UnknownName)


def content(number: int) -> dict[str, Any]:
    """What the image of this number holds: small, middling or large."""
    size = {0: 4000, 1: 300_000}.get(number % 40, number % 37)
    return {
        "number": number,
        "text": f"é{number}" * 3,
        "values": list(range(number % 1000, number % 1000 + size)),
        "nested": {"a": (number, str(number)), "b": [None, True, number / 7]},
        "bytes": number.to_bytes(8, "little") * (1 + number % 5),
    }


def verify(view: Any, number: int) -> None:
    """Compare a view with what it must hold, all of it."""
    if view["number"] != number or view != content(number):
        raise AssertionError(f"image {number} does not read as it was put: {view!r:.300}")


class Ledger:
    """Append-only lines: `+put 17`, `=put 17 ih1_...`, `+delete ih1_...`, `=bind name ih1_...`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        path = folder / f"{os.getpid()}-{time.monotonic_ns()}"
        self.fd = os.open(path, os.O_CREAT | os.O_APPEND | os.O_WRONLY | os.O_CLOEXEC)

    def say(self, *words: object) -> None:
        """One line, whole or not at all."""
        os.write(self.fd, (" ".join(map(str, words)) + "\n").encode())

    def others(self) -> list[tuple[str, int]]:
        """Handles and numbers of some of somebody's puts, from any time."""
        paths = list(self.folder.iterdir())
        if not paths:
            return []
        with random.choice(paths).open("rb") as file:
            file.seek(random.randrange(max(1, os.fstat(file.fileno()).st_size)))
            lines = file.read(4000).decode(errors="replace").splitlines()[1:]
        done = [line.split() for line in lines if line.startswith("=put ")]
        return [
            (words[2], int(words[1])) for words in done if len(words) == 3 and len(words[2]) == 30
        ]


class Client:
    """The operations. `held` are views that must stay readable whatever happens."""

    def __init__(self, store: icehouse.Store, ledger: Ledger) -> None:
        self.store = store
        self.ledger = ledger
        self.held: list[tuple[Any, int]] = []
        self.number = random.getrandbits(40) * 1000

    def put(self) -> None:
        self.number += 1
        number = self.number
        self.ledger.say("+put", number)
        handle = self.store.put(content(number))
        self.ledger.say("=put", number, handle)

    def put_linked(self) -> None:
        """An image that refers to another one, if that is still there."""
        if not self.held:
            return
        view, number = random.choice(self.held)
        handle = self.store.put({"number": number, "linked": view})
        again = self.store.get(handle)
        verify(again["linked"], number)
        del again
        self.store.delete(handle)

    def get(self) -> None:
        for text, number in self.ledger.others()[-3:]:
            view = self.store.get(text, None)
            if view is not None:
                verify(view, number)
                self.held.append((view, number))
        del self.held[:-20]

    def read_again(self) -> None:
        for view, number in self.held:
            verify(view, number)

    def delete(self) -> None:
        known = self.ledger.others()
        if not known:
            return
        text, _ = random.choice(known)
        self.ledger.say("+delete", text)
        try:
            self.store.delete(text)
        except icehouse.Conflict:
            self.ledger.say("-delete", text)
            return
        except GONE:
            return
        self.ledger.say("=delete", text)

    def bind(self) -> None:
        known = self.ledger.others()
        name = random.choice(NAMES)
        if not known or random.random() < 0.2:
            self.ledger.say("+bind", name, "-")
            self.store.bind(name, None)
            return
        text, _ = random.choice(known)
        self.ledger.say("+bind", name, text)
        try:
            self.store.bind(name, text)
        except GONE:
            return
        self.ledger.say("=bind", name, text)

    def look_up(self) -> None:
        name = random.choice(NAMES)
        view = self.store.get(name, None)
        if view is not None:
            verify(view, view["number"])

    def fork(self) -> None:
        """A child reads what it inherited and puts something of its own."""
        child = os.fork()
        if child == 0:
            status = 1
            try:
                self.read_again()
                self.ledger = Ledger(self.ledger.folder)
                self.number += random.getrandbits(30) * 1000
                self.put()
                self.get()
                status = 0
            finally:
                os._exit(status)
        _, status = os.waitpid(child, 0)
        # The storm kills clients, not their children.
        if status != 0:
            raise AssertionError(f"a forked child ended with status {status}")


def main(socket: str, folder: str, seed: int, said: str) -> None:
    """Work until killed; anything unexpected ends the process, and the driver sees it."""
    os.dup2(os.open(said, os.O_CREAT | os.O_APPEND | os.O_WRONLY, 0o600), 2)
    random.seed(seed)
    client = Client(icehouse.connect(socket), Ledger(Path(folder)))
    operations = [client.put] * 6 + [client.get] * 4 + [client.delete] * 5 + [client.bind] * 2
    operations += [client.look_up] * 3 + [client.read_again, client.put_linked]
    last_fork = time.monotonic()
    while True:
        if time.monotonic() - last_fork > 1:
            last_fork = time.monotonic()
            client.fork()
        try:
            random.choice(operations)()
        except icehouse.StoreFull:
            time.sleep(0.05)
        time.sleep(PAUSE_SECONDS * random.random())
