"""A client that speaks the binary frames by hand, and need not obey: see native/arena/wire.h."""

import mmap
import os
import socket
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

BINARY, CONTROL = b"ihbin001", b"ihmsg001"
VERSION = 2
FRAME = struct.Struct("<IHHQ")
HELLO = struct.Struct("<IIQQQQII")
WELCOME = struct.Struct("<II16sQQ16sIIQQQQQQ")
GRANT = struct.Struct("<QIIQ")
SEGMENT = struct.Struct("<QQ16sQQII")
IMAGE = struct.Struct("<QQII")
BIND = struct.Struct("<QQQII")
PUBLISH = struct.Struct("<QQQIIII")
REPLY = 0x8000
OPS = {
    name: number
    for number, name in enumerate(
        "HELLO GRANT MAP DELETE BIND PUBLISH STAT LIST USAGE EXPLAIN BOARD DROP PING RETURN CHECK"
        " TRIM DELETE_SOME".split(),
        start=1,
    )
}
OK, GONE, CONFLICT, INVALID, DENIED, PROTOCOL = 0, 4, 6, 8, 12, 13
ORDINARY, DEDICATED = 1, 2


@dataclass
class Welcome:
    """What the daemon answered to HELLO."""

    session: int
    family: int
    token: bytes
    member: int


class Raw:
    """One connection."""

    def __init__(self, path: str | Path, magic: bytes | None = BINARY) -> None:
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(30)
        self.socket.connect(str(path))
        self.request = 0
        self.seen = 0
        self.fds: list[int] = []
        if magic is not None:
            self.socket.sendall(magic)

    def close(self) -> None:
        self.socket.close()
        for fd in self.fds:
            os.close(fd)
        self.fds.clear()

    def __enter__(self) -> "Raw":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def send(self, op: str | int, body: bytes = b"", *, length: int | None = None) -> None:
        """One frame; `length` lies about its bytes."""
        self.request += 1
        number = OPS[op] if isinstance(op, str) else op
        size = FRAME.size + len(body) if length is None else length
        self.socket.sendall(FRAME.pack(size, number, 0, self.request) + body)

    def receive(self) -> tuple[int, int, bytes, list[int]]:
        """op, result, body and descriptors of one reply. ConnectionError at the end."""
        data, fds, _, _ = socket.recv_fds(self.socket, FRAME.size, 8)
        while data and len(data) < FRAME.size:
            data += self.exactly(FRAME.size - len(data))
        if not data:
            raise ConnectionResetError("the daemon closed the connection")
        size, op, result, _ = FRAME.unpack(data)
        return op, result, self.exactly(size - FRAME.size), fds

    def exactly(self, size: int) -> bytes:
        """So many bytes."""
        data = b""
        while len(data) < size:
            more = self.socket.recv(size - len(data))
            if not more:
                raise ConnectionResetError("the daemon closed the connection")
            data += more
        return data

    def ask(self, op: str | int, body: bytes = b"") -> tuple[int, bytes, list[int]]:
        """Request and reply: result, body, descriptors."""
        self.send(op, body)
        _, result, reply, fds = self.receive()
        return result, reply, fds

    def hello(self, version: int = VERSION, **fields: int) -> Welcome:
        """Say who we are; AssertionError unless welcome."""
        body = HELLO.pack(
            version, os.getpid(), fields.get("session", 0), fields.get("family", 0),
            fields.get("token0", 0), fields.get("token1", 0), fields.get("member", 0), 0,
        )  # fmt: skip
        result, reply, fds = self.ask("HELLO", body)
        assert result == OK, (result, reply)
        values = WELCOME.unpack(reply)
        self.fds += fds
        return Welcome(values[3], values[4], values[5], values[6])

    def grant(self, size: int, kind: int = ORDINARY) -> "Granted":
        """A segment to write."""
        result, reply, fds = self.ask("GRANT", GRANT.pack(size, kind, 0, self.seen))
        assert result == OK, (result, reply)
        values = SEGMENT.unpack(reply)
        self.seen = values[0]
        with mmap.mmap(fds[0], values[1]) as probe:
            assert len(probe) == values[1]
        self.fds += fds
        return Granted(values[0], values[1], values[2], values[3], fds[0])

    def is_closed(self) -> bool:
        """Whether the daemon hangs up on us, whatever it says before."""
        try:
            while True:
                self.receive()
        except ConnectionError:
            return True


@dataclass
class Granted:
    """A segment with a writable descriptor."""

    id: int
    size: int
    secret: bytes
    state: int
    fd: int

    def memory(self) -> mmap.mmap:
        """Map it writable."""
        return mmap.mmap(self.fd, self.size)


def any_image(locator: int, nonce: int = 1, *, force: int = 0) -> bytes:
    """The body of requests about an image."""
    return IMAGE.pack(locator, nonce, force, 0)


def numbers(handle: Any) -> tuple[int, int]:
    """Locator and nonce of a handle."""
    locator, nonce = struct.unpack("<QQ", bytes(handle))
    return locator, nonce
