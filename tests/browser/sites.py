"""A daemon with a dashboard, and what stores of people have in them."""

import json
import random
import re
import socket
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.request import urlopen

from daemons import Daemon, wait_until

import icehouse

# Names and texts that would do harm as markup, or hide what stands beside them.
SCRIPT = "<script>document.title='taken'</script>"
IMAGE = "<img src=x onerror=\"document.title='taken'\">"
BIDI = "\u202egnp.exe\u202c\u2066x\u2069"
QUOTES = "\"'><svg onload=alert(1)>{{ 7 * 7 }}${7*7}"
LONG = "n" * 512
HOSTILE = [SCRIPT, IMAGE, BIDI, QUOTES, LONG, "a/../../b", "..", "%2e%2e%2f", "a?b#c&d=e", "שלום"]


def free_port() -> int:
    """Find a port that nobody has, below those that the kernel gives to whoever asks for any."""
    for port in random.sample(range(20_000, 32_000), 200):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise AssertionError("no port is free")


class Site:
    """A running daemon, its address, and a store that is open in this process."""

    def __init__(self, folder: Path, **config: Any) -> None:
        self.daemon = Daemon(folder / "daemon", **{"http": "127.0.0.1:0", **config})
        self.kept: list[Any] = []

    def __enter__(self) -> Self:
        self.daemon.start()
        self.port = wait_until(self._port, "the admin process to listen")
        self.address = f"http://127.0.0.1:{self.port}"
        self.store = icehouse.connect(self.daemon.socket)
        return self

    def _port(self) -> str | None:
        found = re.findall(r'"event": "http_ready".*"port": (\d+)', self.daemon.log())
        return found[-1] if found else None

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.kept.clear()
        self.store.close()
        self.daemon.__exit__(kind, error, traceback)

    def get(self, path: str) -> Any:
        """Ask the API."""
        with urlopen(self.address + path, timeout=30) as answer:
            return json.load(answer)

    def fill(self) -> Self:
        """Put some of everything: named, pinned, held after deletion, orphaned, linked."""
        store = self.store
        for number in range(120):
            name = f"runs/{number:03}/config" if number % 3 == 0 else None
            store.put({"run": number, "rates": list(range(number))}, name=name)
        current = store.put({"model": {"layers": [64, 64]}}, name="models/current", pin=True)
        self.current = str(current)
        self.kept.append(store.get(current))
        held = store.put(b"x" * 4_000_000)
        self.kept.append(store.get(held))
        store.delete(held, force=True)
        self.held = str(held)
        store.put([1, 2, 3], evictable=True)
        # A process that ends with os._exit leaves what it put to nobody.
        lines = (
            f"import icehouse, os; store = icehouse.connect({self.daemon.socket!r})\n"
            "for i in range(20): store.put(list(range(i)))\n"
            "os._exit(1)"
        )
        subprocess.run([sys.executable, "-c", lines], check=False)
        return self

    def fill_with_hostile(self) -> Self:
        """Put what wants to be more than text."""
        for number, text in enumerate(HOSTILE):
            self.store.put({text: text, "number": number}, name=text)
        return self
