"""Clients that mean harm, or are broken, and the others, who must not notice."""

import contextlib
import importlib
import os
import random
import signal
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import icehouse

sys.path.insert(0, str(Path(__file__).parent))
raw = importlib.import_module("hostile_client")
sys.path.pop(0)

DATA = {"rows": list(range(1000)), "name": "née", "nested": [{"a": 1}] * 10}


@pytest.fixture
def store(daemon: Any) -> Iterator[icehouse.Store]:
    """Somebody who behaves, and what it put before; after the test all of it is as it was."""
    with icehouse.connect(daemon.socket) as opened:
        handles = [opened.put(DATA, name=f"kept/{i}") for i in range(20)]
        view = opened.get(handles[0])
        pid = daemon.daemon_pid()
        yield opened
        assert daemon.daemon_pid() == pid, "the daemon died"
        assert view == DATA
        for handle in handles:
            assert opened.get(handle) == DATA
        assert len(opened.names("kept/")) == 20
        fresh = opened.put([1, 2], name="fresh")
        assert opened.get("fresh") == [1, 2]
        opened.bind("fresh", None)
        opened.delete(fresh)
        try:
            opened.check()
        except icehouse.CorruptImage as error:
            damaged = getattr(daemon, "damaged", ())
            if not any(f"segment {segment:x}" in str(error) for segment in damaged):
                raise


def memory_of(pid: int) -> int:
    """Bytes of anonymous memory."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024
    raise AssertionError


@pytest.mark.parametrize("magic", [b"", b"x", b"GET / HTTP/1.1\r\n\r\n", b"ihbin999", bytes(64)])
def test_other_protocols_are_hung_up_on(daemon: Any, store: icehouse.Store, magic: bytes) -> None:
    with raw.Raw(daemon.socket, None) as client:
        client.socket.sendall(magic)
        client.socket.shutdown(1)
        assert client.is_closed()


@pytest.mark.parametrize("family", [raw.BINARY, raw.CONTROL])
@pytest.mark.parametrize("length", [0, 1, 15, 65_537, 1 << 24, 0xFFFFFFFF])
def test_lengths_out_of_bounds(
    daemon: Any, store: icehouse.Store, family: bytes, length: int
) -> None:
    with raw.Raw(daemon.socket, family) as client:
        client.socket.sendall(struct.pack("<IHHQ", length, 1, 0, 1) + bytes(100))
        client.socket.shutdown(1)
        assert client.is_closed()


def test_versions_of_another_time(daemon: Any, store: icehouse.Store) -> None:
    for version in (0, 1, 3, 0xFFFFFFFF):
        with raw.Raw(daemon.socket) as client:
            body = raw.HELLO.pack(version, 1, 0, 0, 0, 0, 0, 0)
            result, reply, _ = client.ask("HELLO", body)
            assert result == raw.PROTOCOL
            assert b"version" in reply
            assert client.is_closed()


def test_nothing_before_hello(daemon: Any, store: icehouse.Store) -> None:
    for op in raw.OPS:
        if op == "HELLO":
            continue
        with raw.Raw(daemon.socket) as client:
            client.send(op, raw.any_image(1 << 24))
            assert client.is_closed()


def test_random_frames(daemon: Any, store: icehouse.Store, soak_factor: int) -> None:
    seed = random.randrange(1 << 32)
    print("seed", seed)
    source = random.Random(seed)
    client, said = None, 0
    for _ in range(2000 * soak_factor):
        if client is None:
            client = raw.Raw(daemon.socket)
            client.hello()
        op = source.choice([*raw.OPS.values(), 0, 17, 255, 0x8001])
        body = source.randbytes(source.choice([0, 1, 8, 16, 24, 32, 40, 48, 200, 3000]))
        try:
            if op == raw.OPS["DROP"]:
                client.send(op, body)
                continue
            result, _, fds = client.ask(op, body)
            said += 1
            for fd in fds:
                os.close(fd)
            assert result < 32
        except ConnectionError:
            client.close()
            client = None
    assert said > 100
    if client is not None:
        client.close()


def test_half_open_connections_are_closed(daemon: Any, store: icehouse.Store) -> None:
    with raw.Raw(daemon.socket, None) as silent, raw.Raw(daemon.socket) as half:
        half.socket.sendall(raw.FRAME.pack(64, 1, 0, 1))
        assert silent.is_closed()
        assert half.is_closed()


@pytest.mark.slow
def test_a_thousand_idle_connections(daemon: Any, store: icehouse.Store) -> None:
    before = memory_of(daemon.daemon_pid())
    clients: list[Any] = []
    try:
        clients.extend(raw.Raw(daemon.socket) for _ in range(1000))
        for client in clients[:200]:
            client.hello()
        assert store.get("kept/1") == DATA
        handle = store.put([3])
        assert store.stat(handle).size > 0
        store.delete(handle)
        cost = (memory_of(daemon.daemon_pid()) - before) / 1000
        assert cost < 300_000, f"{cost:.0f} bytes a connection"
    finally:
        for client in clients:
            client.close()


def test_a_client_that_never_reads(daemon: Any, store: icehouse.Store) -> None:
    before = memory_of(daemon.daemon_pid())
    body = struct.pack("<QII", 0, 1000, 0)
    sent = 0
    with raw.Raw(daemon.socket) as client:
        client.hello()
        client.socket.settimeout(5)
        with contextlib.suppress(OSError):  # hung up on, or not read any more
            while sent < 200_000:
                client.send("LIST", body)
                sent += 1
        assert sent < 10_000
        assert store.get("kept/2") == DATA
        if not os.environ.get("ICEHOUSE_SANITIZE"):  # AddressSanitizer keeps what was freed
            assert memory_of(daemon.daemon_pid()) - before < 32 << 20


STOPPED = """
import os, signal, sys
import icehouse
store = icehouse.connect(sys.argv[1])
views = [store.get(name) for name in store.names("kept/")]
mine = [store.put({"mine": i}) for i in range(100)]
held = [store.get(handle) for handle in mine]
print(*mine, flush=True)
sys.stdin.readline()
assert all(view["name"] == "née" for view in views)
assert [view["mine"] for view in held] == list(range(100))
"""


def test_h09_a_stopped_client_keeps_what_it_leases(daemon: Any, store: icehouse.Store) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", STOPPED, str(daemon.socket)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout
    assert process.stdin
    handles = process.stdout.readline().split()
    process.send_signal(signal.SIGSTOP)
    try:
        for text in handles:
            store.delete(text)
        store.trim()
        # Nobody waits for it: others put and delete as ever.
        for i in range(500):
            store.delete(store.put({"i": i, "payload": "p" * 1000}))
        assert store.usage().deleted >= 100
    finally:
        process.send_signal(signal.SIGCONT)
    process.stdin.write("\n")
    process.stdin.close()
    assert process.wait(60) == 0
    process.stdout.close()


def test_h10_a_producer_that_scribbles_over_its_own_segments(
    daemon: Any, store: icehouse.Store, soak_factor: int
) -> None:
    seed = random.randrange(1 << 32)
    print("seed", seed)
    source = random.Random(seed)
    mine = store.put({"mine": 1})
    with raw.Raw(daemon.socket) as client:
        client.hello()
        segments = [client.grant(1000), client.grant(3_000_000, raw.DEDICATED)]
        # What check() says of these is true; of others it must say nothing.
        daemon.damaged = [segment.id for segment in segments]
        memories = [segment.memory() for segment in segments]
        done = threading.Event()

        def scribble() -> None:
            while not done.is_set():
                memory = source.choice(memories)
                at = source.randrange(0, len(memory) - 4096, 8)
                memory[at : at + 64] = source.choice(
                    [source.randbytes(64), bytes(64), b"\xff" * 64, bytes(mine) * 4]
                )

        thread = threading.Thread(target=scribble)
        thread.start()
        try:
            for _ in range(100 * soak_factor):
                for segment in segments:
                    unit = source.randrange(1 << 16)
                    body = raw.any_image(segment.id << 24 | unit, source.getrandbits(64))
                    for op in ("STAT", "MAP", "DELETE", "EXPLAIN"):
                        _, _, fds = client.ask(op, body)
                        for fd in fds:
                            os.close(fd)
                assert store.get("kept/3") == DATA
                store.ls()
                store.usage()
        finally:
            done.set()
            thread.join()
    store.delete(mine)


def test_offsets_of_other_producers(daemon: Any, store: icehouse.Store) -> None:
    """What only an image's own producer may say of it is refused to others."""
    target = store.put({"whose": "not yours"})
    held = store.get(target)
    locator, nonce = raw.numbers(target)
    with raw.Raw(daemon.socket) as client:
        client.hello()
        client.send("DROP", raw.any_image(locator, nonce))
        sealed = raw.PUBLISH.pack(locator, nonce, 0, 8, 0, 0, 0)
        assert client.ask("PUBLISH", sealed)[0] != raw.OK
        assert client.ask("RETURN", struct.pack("<Q", locator >> 24))[0] != raw.OK
    assert held == {"whose": "not yours"}
    assert store.get(target) == {"whose": "not yours"}
    store.delete(target)
