"""The admin process may look at everything and change nothing, whatever frames it makes by hand."""

import asyncio
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from raw import World, run

from icehouse.server.observers import is_observer, parent_of
from icehouse.server.tokens import make

pytestmark = pytest.mark.watchdog(120)

# What a taken over admin process might try; run as a child of the keeper's.
CHILD = """
import os, socket, struct, sys
import msgspec
import icehouse
from icehouse.server import frames
from icehouse.store.handle import Handle
from icehouse.store.wire import messages
from icehouse.store.wire.framing import Frames, frame

path, handle, token = sys.argv[1:]
if os.fork():  # its own child is no better
    os._exit(os.waitstatus_to_exitcode(os.wait()[1]))
packed = bytes(Handle.from_text(handle))
store = icehouse.connect(path)
view = store.get("name")
assert view == [1, 2, 3] and store.get(handle) == view
for attempt in (
    lambda: store.put([1]),
    lambda: store.put(bytes(1000_000), seal=True),
    lambda: store.delete(handle, force=True),
    lambda: store.delete("name"),
    lambda: store.bind("other", handle),
    lambda: store.trim(),
    lambda: store.channel("c", capacity=4).send(view),
):
    try:
        attempt()
    except (icehouse.NotPermitted, NotImplementedError, AttributeError):
        continue
    raise AssertionError("it was done")

def binary(op, body):
    sock.sendall(frames.FRAME.pack(16 + len(body), op, 0, 7) + body)
    data = sock.recv(65536)
    return frames.FRAME.unpack_from(data)[2]

sock = socket.socket(socket.AF_UNIX)
sock.connect(path)
sock.sendall(frames.BINARY)
assert binary(1, frames.HELLO.pack(frames.VERSION, os.getpid(), 0, 0, bytes(16), 0, 0)) == 0
image = packed + struct.pack("<II", 1, 0)
for op, body in {
    frames.Op.GRANT: frames.GRANT_REQUEST.pack(4096, 1, 0, 0),
    frames.Op.DELETE: image,
    frames.Op.DELETE_SOME: frames.DELETE_SOME_REQUEST.pack(1, 1) + packed,
    frames.Op.BIND: packed + struct.pack("<QII", frames.ANY_VERSION, 1, 0) + b"n",
    frames.Op.PUBLISH: packed + struct.pack("<QIIII", 0, frames.PUBLISH_PIN, 0, 0, 0),
    frames.Op.DROP: image,
    frames.Op.RETURN: struct.pack("<Q", int.from_bytes(packed[:8], "little") >> 24),
    frames.Op.TRIM: b"",
}.items():
    if op == frames.Op.DROP:  # it has no reply
        sock.sendall(frames.FRAME.pack(16 + len(body), op, 0, 7) + body)
        continue
    assert binary(op, body) == frames.Result.DENIED, op

control = socket.socket(socket.AF_UNIX)
control.connect(path)
told = Frames(messages.REPLY_BYTES_MAX)
control.sendall(messages.MAGIC)

def ask(request):
    request.id = 1
    control.sendall(frame(msgspec.msgpack.encode(request)))
    while not (bodies := list(told.feed(control.recv(65536)))):
        pass
    return msgspec.msgpack.decode(bodies[0], type=messages.REPLIES)

assert ask(messages.Hello(pid=os.getpid())).role == "observer"
changes = [kind for kind in messages.Change.__subclasses__()]
assert len(changes) >= 8
for kind in changes:
    fields = {"handle": packed, "name": "name", "to": "other", "ttl_ns": 1, "force": True}
    known = {key: fields[key] for key in kind.__struct_fields__ if key in fields}
    if kind is messages.Delete:
        known.pop("name")
    for wrong in ("", "ihtk_wrong", "x" * 10000):
        reply = ask(kind(token=wrong, **known))
        assert (reply.code, reply.why) == ("denied", "token"), reply
for look in (messages.AskMetrics(), messages.AskClients(), messages.AskSegments()):
    assert not isinstance(ask(look), messages.Failure)
import time
time.sleep(1.1)
assert isinstance(ask(messages.Pin(handle=packed, token=token)), messages.Done)
print("nothing was done")
"""


def test_who_is_one() -> None:
    me = os.getpid()
    assert not is_observer(me, os.getppid())
    assert parent_of(me) == os.getppid()
    child = subprocess.Popen(
        ["sh", "-c", "sleep 60 & echo $!; wait"], stdout=subprocess.PIPE, text=True
    )
    try:
        assert child.stdout is not None
        grandchild = int(child.stdout.readline())
        assert is_observer(child.pid, me)
        assert is_observer(grandchild, me)
        assert is_observer(grandchild, child.pid)
        assert not is_observer(child.pid, grandchild)
        # Children of this process are nothing to another keeper.
        assert not is_observer(child.pid, os.getppid())
        os.kill(grandchild, 9)
    finally:
        child.wait()
        child.stdout.close()
    assert not is_observer(child.pid, me)


def test_it_can_do_nothing_over_either_family(tmp_path: Path) -> None:
    tokens = tmp_path / "tokens"
    text, line = make("me", "producer")
    tokens.write_text(line)
    tokens.chmod(0o600)
    path = str(tmp_path / "s")

    async def test(world: World) -> None:
        daemon = world.daemon
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(path)
        listener.listen(16)
        listener.settimeout(0)
        daemon.listener = listener
        daemon._accept_again()
        script = (
            "import icehouse, sys; s = icehouse.connect(sys.argv[1])\n"
            "print(s.put([1, 2, 3], name='name'))"
        )
        handle = (await ended(script, path)).strip()
        daemon.keeper_pid = os.getpid()
        denied = daemon.counters.denied
        before = dict(daemon.names.entries)
        assert await ended(CHILD, path, handle, text) == "nothing was done\n"
        assert daemon.counters.denied > denied + 20
        assert daemon.names.entries == before
        (life,) = daemon.lifetimes.lives.values()
        assert life.pinned
        daemon._pause_accepting()
        listener.close()
        daemon.listener = None

    run(test, admin_tokens=str(tokens))


async def ended(script: str, *arguments: str) -> str:
    """Run a script in a child while the daemon in this process serves it, and give what it said."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", script, *arguments, stdout=subprocess.PIPE
    )
    out, _ = await process.communicate()
    assert process.returncode == 0
    return out.decode()
