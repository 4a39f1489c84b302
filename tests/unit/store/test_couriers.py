"""The connections over which views travel: kept while they work, and none left open."""

import contextlib
import os
import secrets
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from icehouse.store import travel
from icehouse.store.couriers import Line, Lines


@contextlib.contextmanager
def senders(count: int) -> Iterator[dict[str, socket.socket]]:
    """So many addresses on which somebody listens."""
    with contextlib.ExitStack() as stack:
        found = {}
        for _ in range(count):
            address = f"icehouse-test-{secrets.token_hex(8)}"
            listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            found[address] = stack.enter_context(listener)
            listener.bind(f"\0{address}")
            listener.listen()
        yield found


def open_sockets() -> int:
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - names alone


def test_connections_to_many_senders_are_closed_in_turn() -> None:
    """A socket that is only dropped is told as a ResourceWarning, which is an error here."""
    lines = Lines()
    with senders(Lines._KEPT + 10) as addresses:
        before = open_sockets()
        for address in addresses:
            with lines.to(address):
                pass
        assert open_sockets() == before + Lines._KEPT
        lines.close()
        assert open_sockets() == before


def test_one_in_use_is_closed_after_use() -> None:
    lines = Lines()
    with senders(1) as addresses:
        (address,) = addresses
        before = open_sockets()
        with lines.to(address) as line:
            lines.close()
            assert open_sockets() == before + 1
            line.claim(1)
        assert open_sockets() == before


def test_what_failed_is_closed_when_the_last_has_seen_it() -> None:
    lines = Lines()
    with senders(1) as addresses:
        (address,) = addresses
        before = open_sockets()
        inside, seen = threading.Event(), []

        def wait_behind() -> None:
            inside.set()
            with lines.to(address) as line:
                seen.append(line)
                line.claim(2)

        with contextlib.suppress(OSError), lines.to(address) as line:
            other = threading.Thread(target=wait_behind)
            other.start()
            inside.wait()
            while line.users < 2:
                pass
            raise OSError("lost")
        other.join()
        assert seen == [line]
        with lines.to(address) as another:
            assert another is not line
        lines.close()
        assert open_sockets() == before


def test_nobody_is_there() -> None:
    before = open_sockets()
    lines = Lines()
    with pytest.raises(OSError, match="refused"), lines.to("icehouse-test-nobody"):
        pass
    with pytest.raises(OSError, match="refused"):
        Line("icehouse-test-nobody")
    assert open_sockets() == before


def test_a_process_that_ends_closes_its_connections() -> None:
    source = """
import atexit, multiprocessing, os

def tell():
    # Registered before icehouse was imported, so it runs after what that registered.
    there = [f"/proc/self/fd/{fd}" for fd in os.listdir("/proc/self/fd")]
    # The listing's own descriptor is closed by now.
    links = [os.readlink(path) for path in there if os.path.lexists(path)]
    print("sockets:", sum(link.startswith("socket:") for link in links))

atexit.register(tell)
import icehouse

def worker(pipe):
    with icehouse.Store("16MiB") as store:
        pipe.send(store.get(store.put(list(map(str, range(500_000))))))
        pipe.recv()

if __name__ == "__main__":
    here, there = multiprocessing.Pipe()
    process = multiprocessing.get_context("fork").Process(target=worker, args=(there,))
    process.start()
    assert here.recv()[-1] == "499999"
    here.send("done")
    process.join()
    for end in (here, there):
        end.close()
    print("read")
"""
    command = [sys.executable, "-W", "error::ResourceWarning", "-c", source]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("read\nsockets: 0\n", "")


def given(count: int) -> list[int]:
    return [os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC) for _ in range(count)]


class Sender:
    """A line whose sender answers with a visit that is nonsense, and real descriptors."""

    def __init__(self, visit: bytes) -> None:
        self.visit = visit
        self.files: list[int] = []

    def fetch(self, _store: bytes, _segment: int, *, join: bool) -> tuple[bytes, tuple[int, ...]]:
        assert not join
        self.files = given(2)
        return self.visit, (*self.files, -1)


def test_what_came_with_a_visit_that_is_none_is_closed() -> None:
    sender: Any = Sender(b"short")
    before = open_sockets()
    with pytest.raises(ValueError, match="a visit"):
        travel._fetch(sender, bytes(16), 1)
    assert len(sender.files) == 2
    assert open_sockets() == before


@pytest.mark.parametrize(
    ("answer", "files"), [(b"+\1\0\0visit", 3), (b"+\1\1\1visit", 1), (b"+", 2), (b"-no", 1)]
)
def test_files_that_were_not_announced_are_closed(answer: bytes, files: int) -> None:
    with senders(1) as addresses:
        ((address, listener),) = addresses.items()
        before = open_sockets()
        line = Line(address)
        theirs = listener.accept()[0]
        sent = given(files)
        socket.send_fds(theirs, [answer], sent)
        for file in sent:
            os.close(file)
        with pytest.raises((ConnectionError, LookupError)):
            line.fetch(bytes(16), 1, join=False)
        line.close()
        theirs.close()
        assert open_sockets() == before
