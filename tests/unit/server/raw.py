"""The daemon in this process, and a client that speaks its frames by hand.

The keeper is a dictionary that survives the daemon: restart() makes another from what it holds, as
after a kill. Clients run on threads' sockets, the loop in run(); so a test is a coroutine.
"""

import array
import asyncio
import os
import socket
import struct
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from icehouse.server import config, frames, keys
from icehouse.server.daemon import Daemon
from icehouse.server.frames import Op
from icehouse.server.logs import Log

QUIET = Log("test", "json", "error")
MIB = 1 << 20


class Held:
    """What a keeper holds: duplicates, in the order in which they were given."""

    def __init__(self) -> None:
        self.fds: dict[str, int] = {}
        self.fail = 0
        # Its daemon has died: what it still does, as an exception unwinds, reaches nobody.
        self.frozen = False

    def hold(self, key: str, fd: int) -> None:
        if self.frozen:
            return
        if self.fail:
            self.fail -= 1
            raise OSError(24, "no descriptor left")
        assert keys.parse(key) is not None, key
        assert str(keys.parse(key)) == key
        assert len(key) <= 200
        old = self.fds.pop(key, None)
        if old is not None:
            os.close(old)
        self.fds[key] = os.dup(fd)

    def drop(self, key: str) -> None:
        if self.frozen:
            return
        fd = self.fds.pop(key, None)
        if fd is not None:
            os.close(fd)

    def settle(self) -> None:
        pass

    def all(self) -> list[tuple[str, int]]:
        return [(key, os.dup(fd)) for key, fd in self.fds.items()]

    def close(self) -> None:
        for fd in self.fds.values():
            os.close(fd)
        self.fds.clear()


def configuration(**settings: Any) -> config.Config:
    flags = {key.replace("__", "."): str(value) for key, value in settings.items()}
    return config.build(config.gather({"capacity": "16MiB", **flags}, {"HOME": "/nonexistent"}))


class Refused(Exception):
    def __init__(self, result: int, body: bytes) -> None:
        fields = frames.FAILURE.unpack_from(body)
        self.result = frames.Result(result)
        self.why = frames.Why(fields[0])
        self.figures = frames.Figures(*fields[2:10])
        self.version = fields[11]
        self.text = body[frames.FAILURE.size :].decode()
        super().__init__(f"{self.result.name}: {self.text}")


class Segment:
    """One that was granted, formatted and written as its producer does."""

    def __init__(self, client: "Client", body: bytes, fd: int) -> None:
        fields = frames.SEGMENT_REPLY.unpack(body)
        self.id, self.bytes, self.secret, self.state, self.reuse, self.kind, self.flags = fields
        self.client = client
        self.fd = fd
        self.at = 0


class Client:
    """A process, as far as the daemon sees; its images are sealed by tests/unit/server/heap.py."""

    def __init__(self, world: "World", sock: socket.socket | None = None) -> None:
        self.world = world
        self.sock = sock if sock is not None else world.connect()
        self.loop = asyncio.get_running_loop()
        self.request = 0
        self.seen = 0
        self.fds: list[int] = []
        self.welcome: tuple[Any, ...] = ()
        self.lock = -1
        world.clients.append(self)

    # --- frames ---

    async def raw(self, data: bytes) -> None:
        await self.loop.sock_sendall(self.sock, data)

    async def send(self, op: int, body: bytes = b"") -> None:
        self.request += 1
        await self.raw(frames.FRAME.pack(16 + len(body), op, 0, self.request) + body)

    async def receive(self) -> tuple[int, int, bytes, list[int]]:
        """Operation, result, body and descriptors of one reply; ConnectionError at the end."""
        data, fds = b"", array.array("i")
        while len(data) < 4 or len(data) < int.from_bytes(data[:4], "little"):
            most = (
                4 - len(data) if len(data) < 4 else int.from_bytes(data[:4], "little") - len(data)
            )
            try:
                part, ancillary, _, _ = self.sock.recvmsg(most, 4096, socket.MSG_CMSG_CLOEXEC)
            except BlockingIOError:
                await asyncio.sleep(0.0005)
                continue
            if not part:
                raise ConnectionError("the daemon closed the connection")
            for _, _, rights in ancillary:
                fds.frombytes(rights)
            data += part
        _, op, result, request = frames.FRAME.unpack_from(data)
        assert op & frames.REPLY_BIT
        if result == frames.Result.PROTOCOL and request != self.request:
            raise ConnectionError("the daemon is about to close the connection")
        assert request == self.request
        return op & ~frames.REPLY_BIT, result, data[16:], list(fds)

    async def call(self, op: int, body: bytes = b"") -> tuple[bytes, list[int]]:
        await self.send(op, body)
        answered, result, reply, fds = await self.receive()
        assert answered == op
        if result:
            assert not fds
            raise Refused(result, reply)
        return reply, fds

    # --- what a client does ---

    async def hello(
        self,
        session: int = 0,
        family: int = 0,
        token: bytes = bytes(16),
        member: int = 0,
        version: int = frames.VERSION,
    ) -> "Client":
        await self.raw(frames.BINARY)
        body = frames.HELLO.pack(version, os.getpid(), session, family, token, member, 0)
        reply, fds = await self.call(Op.HELLO, body)
        self.welcome = frames.WELCOME.unpack(reply)
        if family == 0:
            self.lock, *others = fds
            self.fds += others
        else:
            self.fds += fds
        return self

    @property
    def session(self) -> int:
        return int(self.welcome[3])

    @property
    def family(self) -> int:
        return int(self.welcome[4])

    @property
    def token(self) -> bytes:
        return bytes(self.welcome[5])

    @property
    def member(self) -> int:
        return int(self.welcome[6])

    async def again(self) -> "Client":
        """The same process over a new connection."""
        other = Client(self.world)
        await other.hello(self.session, self.family, self.token, self.member)
        other.lock, self.lock = self.lock, -1
        other.seen = self.seen
        other.fds, self.fds = self.fds, []
        self.sock.close()
        return other

    async def grant(self, size: int, kind: int = frames.ORDINARY, flags: int = 0) -> Segment:
        body = frames.GRANT_REQUEST.pack(size, kind, flags, self.seen)
        reply, fds = await self.call(Op.GRANT, body)
        segment = Segment(self, reply, fds[0] if fds else -1)
        self.seen = segment.id
        return segment

    async def put(self, size: int = 128, flags: int = 0) -> frames.Handle:
        """One image in a dedicated segment of its own."""
        segment = await self.grant(size, frames.DEDICATED, flags)
        handle = seal(segment, size)
        os.close(segment.fd)
        return handle

    async def publish(
        self,
        handle: frames.Handle,
        *,
        flags: int = 0,
        ttl: float = 0.0,
        links: tuple[frames.Handle, ...] = (),
        name: str = "",
    ) -> int:
        text = name.encode()
        body = frames.PUBLISH_REQUEST.pack(*handle, int(ttl * 1e9), flags, len(links), len(text), 0)
        body += b"".join(frames.HANDLE.pack(*link) for link in links) + text
        return frames.VERSION_REPLY.unpack((await self.call(Op.PUBLISH, body))[0])[0]

    async def bind(
        self, name: str, handle: frames.Handle = (0, 0), expected: int = frames.ANY_VERSION
    ) -> int:
        text = name.encode()
        body = frames.BIND_REQUEST.pack(*handle, expected, len(text), 0) + text
        return frames.VERSION_REPLY.unpack((await self.call(Op.BIND, body))[0])[0]

    async def image(self, op: int, handle: frames.Handle, force: int = 0) -> bytes:
        reply, fds = await self.call(op, frames.IMAGE_REQUEST.pack(*handle, force, 0))
        for fd in fds:
            os.close(fd)
        return reply

    async def delete(self, handle: frames.Handle, *, force: bool = False) -> None:
        await self.image(Op.DELETE, handle, force=int(force))

    async def why(self, handle: frames.Handle) -> frames.Why:
        """How an image went; it must have."""
        with pytest.raises(Refused) as caught:
            await self.image(Op.MAP, handle)
        assert caught.value.result == frames.Result.GONE
        return caught.value.why

    async def lives(self, handle: frames.Handle) -> bool:
        try:
            await self.image(Op.MAP, handle)
        except Refused as error:
            if error.result != frames.Result.GONE:
                raise
            return False
        return True

    async def stat(self, handle: frames.Handle) -> tuple[Any, ...]:
        return frames.STAT_REPLY.unpack(await self.image(Op.STAT, handle))

    def die(self) -> None:
        """As kill -9 does it: socket and lock go at once."""
        self.sock.close()
        for fd in (self.lock, *self.fds):
            if fd >= 0:
                os.close(fd)
        self.lock, self.fds = -1, []


def seal(segment: Segment, size: int) -> frames.Handle:
    """Write a sealed image into a dedicated segment, as ih_heap_format() and ih_heap_seal() do."""
    nonce = int.from_bytes(os.urandom(8), "little") | 1
    locator = segment.id << 24 | 64
    key = struct.unpack("<QQ", segment.secret)
    header = struct.pack("<QIIQQIIQ", 0x31746D6765736869, 1, 2, segment.id, segment.bytes, 64,
                         segment.bytes >> 6, 1)  # fmt: skip
    os.pwrite(segment.fd, header, 0)
    units = (segment.bytes - 4096) >> 6
    check = siphash(key, locator, nonce)
    block = struct.pack("<IIIIQQQQ16s", units, 0, 2, 1, nonce, check, size, 1, b"")
    os.pwrite(segment.fd, block, 4096)
    return locator, nonce


def siphash(key: tuple[int, int], *words: int) -> int:
    """SipHash-2-4 of whole words."""
    mask = 2**64 - 1

    def rotate(value: int, count: int) -> int:
        return (value << count | value >> (64 - count)) & mask

    a, b = key[0] ^ 0x736F6D6570736575, key[1] ^ 0x646F72616E646F6D
    c, d = key[0] ^ 0x6C7967656E657261, key[1] ^ 0x7465646279746573

    def rounds(count: int) -> None:
        nonlocal a, b, c, d
        for _ in range(count):
            a, c = (a + b) & mask, (c + d) & mask
            b, d = rotate(b, 13) ^ a, rotate(d, 16) ^ c
            a = rotate(a, 32)
            c, a = (c + b) & mask, (a + d) & mask
            b, d = rotate(b, 17) ^ c, rotate(d, 21) ^ a
            c = rotate(c, 32)

    for word in (*words, 8 * len(words) << 56):
        d ^= word
        rounds(2)
        a ^= word
    c ^= 0xFF
    rounds(4)
    return a ^ b ^ c ^ d


class World:
    """A keeper, and the daemon of now."""

    def __init__(self, **settings: Any) -> None:
        self.held = Held()
        self.clients: list[Client] = []
        self.config = configuration(**settings)
        self.daemon = Daemon(self.config, self.held, QUIET)
        self.daemon.start()
        self.stopped = False

    def connect(self) -> socket.socket:
        ours, theirs = socket.socketpair()
        ours.settimeout(0)
        self.daemon.add_connection(theirs)
        return ours

    async def client(self) -> Client:
        return await Client(self).hello()

    def kill(self) -> None:
        """Stop the daemon where it stands."""
        if not self.stopped:
            self.daemon.stop()
        self.stopped = True

    def restart(self) -> Daemon:
        """Another daemon from what the keeper holds; the former one stops where it stands."""
        self.kill()
        self.daemon = Daemon(self.config, self.held, QUIET)
        self.daemon.start()
        self.stopped = False
        return self.daemon

    async def until(self, happened: Callable[[], Any]) -> None:
        """Tick until something is so; the test's watchdog ends it if it never is."""
        while not happened():
            self.daemon.tick()
            await asyncio.sleep(0.001)


def run(test: Callable[[World], Coroutine[Any, Any, None]], **settings: Any) -> None:
    """Run a test in a loop with a world of its own, and check that nothing is left of it."""

    async def main() -> None:
        world = World(**settings)
        try:
            await test(world)
            world.daemon.check()
        finally:
            for client in world.clients:
                client.die()
            world.kill()
            world.held.close()

    asyncio.run(main())
