"""The binary family of frames, as native/arena/wire.h has it: packing, unpacking and refusals.

A test compares the sizes of these structs with those of the C header, so the two can't part.
"""

import struct
from enum import IntEnum
from typing import NamedTuple

BINARY = b"ihbin001"
CONTROL = b"ihmsg001"
VERSION = 2
FRAME_MAX = 65536
REPLY_BIT = 0x8000
LINKS_MAX = 2048
DELETE_SOME_MAX = 256
NAME_MAX = 512
CELL_PREFIX = "ih1_cell_"
CELL_DIGITS = 32
ANY_VERSION = 2**64 - 1
PAGE_ENTRIES = 16384
SESSION_BYTES = 4096 + 16 * PAGE_ENTRIES
# puts, put_bytes, opens, maps, fulls; then puts by size: up to 128, 512, 2048 ... bytes.
PAGE_COUNTERS = 21
PUT_SIZES = 16
LEASE_BLOCKS_MAX = 1 << 16

Handle = tuple[int, int]
"""Locator and nonce."""


class Result(IntEnum):
    """What became of a request: ih_result."""

    OK = 0
    FULL = 1
    MEMORY = 2
    SYSTEM = 3
    GONE = 4
    UNKNOWN = 5
    CONFLICT = 6
    CORRUPT = 7
    INVALID = 8
    CLOSED = 9
    FORKED = 10
    UNAVAILABLE = 11
    DENIED = 12
    PROTOCOL = 13
    AGAIN = 14


class Op(IntEnum):
    """What a frame asks for: IH_OP_*."""

    HELLO = 1
    GRANT = 2
    MAP = 3
    DELETE = 4
    BIND = 5
    PUBLISH = 6
    STAT = 7
    LIST = 8
    USAGE = 9
    EXPLAIN = 10
    BOARD = 11
    DROP = 12
    PING = 13
    RETURN = 14
    CHECK = 15
    TRIM = 16
    DELETE_SOME = 17


class Why(IntEnum):
    """How an image went: IH_WHY_*."""

    UNKNOWN = 0
    DELETED = 1
    EXPIRED = 2
    EVICTED = 3
    ORPHANED = 4


class Role(IntEnum):
    """What a peer may do: IH_ROLE_*. Each may do what those before it may."""

    NONE = 0
    READER = 1
    PRODUCER = 2
    ADMIN = 3


ORDINARY = 1
DEDICATED = 2

GRANT_EVICTABLE = 1
GRANT_SEAL = 2
GRANT_FRESH = 4

SEGMENT_KERNEL = 1
SEGMENT_FILE = 2
SEGMENT_FOREIGN = 4

PUBLISH_TTL = 1
PUBLISH_PIN = 2
PUBLISH_UNPIN = 4
PUBLISH_SEALED = 8
PUBLISH_KEEP = 16
PUBLISH_FLEETING = 32
PUBLISH_FLAGS = 63

STAT_DYING = 1
STAT_DEDICATED = 2
STAT_KERNEL = 4
STAT_PINNED = 8
STAT_EVICTABLE = 16
STAT_SPILLED = 32
STAT_ORPHAN = 64

FRAME = struct.Struct("<IHHQ")
FAILURE = struct.Struct("<IiQQQQQQQIIQ")
HELLO = struct.Struct("<IIQQ16sII")
WELCOME = struct.Struct("<II16sQQ16sIIQQQQQQ")
GRANT_REQUEST = struct.Struct("<QIIQ")
DELETE_SOME_REQUEST = struct.Struct("<II")
SEGMENT_REPLY = struct.Struct("<QQ16sQQII")
IMAGE_REQUEST = struct.Struct("<QQII")
BIND_REQUEST = struct.Struct("<QQQII")
VERSION_REPLY = struct.Struct("<Q")
PUBLISH_REQUEST = struct.Struct("<QQQIIII")
HANDLE = struct.Struct("<QQ")
STAT_REPLY = struct.Struct("<QQQQQQIIIIIIII16s")
LIST_REQUEST = struct.Struct("<QII")
LIST_REPLY = struct.Struct("<QII")
BOARD_REPLY = struct.Struct("<QQ")
RETURN_REQUEST = struct.Struct("<Q")
USAGE_REPLY = struct.Struct("<15Qd")


class Figures(NamedTuple):
    """The numbers of a refusal for want of room."""

    wanted: int = 0
    capacity: int = 0
    used: int = 0
    committed: int = 0
    largest_free: int = 0
    limit: int = 0
    waiting: int = 0
    waiting_pid: int = 0


class RefusedError(Exception):
    """A request that is not done: what to reply."""

    def __init__(
        self,
        result: Result,
        text: str,
        *,
        why: int = 0,
        system_errno: int = 0,
        figures: Figures | None = None,
        version: int = 0,
    ) -> None:
        super().__init__(text)
        self.result = result
        self.text = text
        self.why = why
        self.system_errno = system_errno
        self.figures = figures or Figures()
        self.version = version

    def body(self) -> bytes:
        """Pack it as an ih_failure and the text."""
        figures = self.figures
        return (
            FAILURE.pack(
                self.why,
                self.system_errno,
                figures.wanted,
                figures.capacity,
                figures.used,
                figures.committed,
                figures.largest_free,
                figures.limit,
                figures.waiting,
                figures.waiting_pid,
                0,
                self.version,
            )
            + self.text.encode("utf-8", "replace").replace(b"\0", b"?")[:4096]
        )


class ProtocolError(Exception):
    """The other side sent what it must not; the connection ends."""


def reply(op: int, request: int, result: int, body: bytes = b"") -> bytes:
    """One reply, header included."""
    return FRAME.pack(16 + len(body), op | REPLY_BIT, result, request) + body


def utf8_text(text: str) -> bytes:
    """Give a text as the end of a reply: cut to what a frame holds, without a NUL."""
    data = text.encode("utf-8", "replace").replace(b"\0", b"?")
    return data[: FRAME_MAX - 16].decode("utf-8", "ignore").encode()


def name_of(data: bytes, *, cells: bool = False) -> str:
    """Check a name that a client sent."""
    if not 0 < len(data) <= NAME_MAX:
        raise RefusedError(
            Result.INVALID, f"a name must have 1 to {NAME_MAX} bytes, this has {len(data)}"
        )
    try:
        name = data.decode("utf-8")
    except UnicodeDecodeError:
        raise RefusedError(Result.INVALID, "a name must be UTF-8") from None
    check_name(name, cells=cells)
    return name


def is_cell(name: str) -> bool:
    """Whether a name is that of a cell: see arena.h."""
    return len(name) == len(CELL_PREFIX) + CELL_DIGITS and name.startswith(CELL_PREFIX)


def check_name(name: str, *, cells: bool = False) -> None:
    """Refuse what may not be a name, nor (with `cells`) one of a cell."""
    if cells and is_cell(name) and set(name[len(CELL_PREFIX) :]) <= set("0123456789abcdef"):
        return
    if name.startswith("ih1_") or "\0" in name:
        raise RefusedError(
            Result.INVALID, "a name must not begin with ih1_, as handles do, nor have a NUL"
        )
