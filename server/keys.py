"""The keys under which the keeper holds descriptors.

A key has all that stays the same about what it names, so that a daemon that starts anew knows what
it is given. A change is a HOLD under the new key and then a DROP of the old one.

    state-<identity>                          the state map; 32 hexadecimal digits
    board-<n>   journal-<n>
    family-<id>-<uid>-<token>
    page-<session>-<family>-<member>-<uid>-<gid>-<pid>-<role>
    segment-<id>-<kind>-<bytes>-<session>-<uid>-<pid>-<secret>-<state offset>-<flags>

Flags of a segment: e evictable, k sealed by the kernel, w warm, s spilled; n: none of them.
"""

import re
from dataclasses import dataclass, replace

IDENTITY = re.compile(r"state-([0-9a-f]{32})")
NUMBERED = re.compile(r"(board|journal)-(\d{1,18})")
FAMILY = re.compile(r"family-(\d{1,18})-(\d{1,10})-([0-9a-f]{32})")
PAGE = re.compile(r"page-(\d{1,18})-(\d{1,18})-(\d{1,10})-(\d{1,10})-(\d{1,10})-(\d{1,10})-([123])")
SEGMENT = re.compile(
    r"segment-(\d{1,18})-([12])-(\d{1,18})-(\d{1,18})-(\d{1,10})-(\d{1,10})-([0-9a-f]{32})"
    r"-(\d{1,18})-([ekwsn]{1,4})"
)


@dataclass(slots=True, frozen=True)
class FamilyKey:
    """A lease table: a process and what was forked from it."""

    id: int
    uid: int
    token: bytes

    def __str__(self) -> str:
        return f"family-{self.id}-{self.uid}-{self.token.hex()}"


@dataclass(slots=True, frozen=True)
class PageKey:
    """A session: one process."""

    session: int
    family: int
    member: int
    uid: int
    gid: int
    pid: int
    role: int

    def __str__(self) -> str:
        return (
            f"page-{self.session}-{self.family}-{self.member}"
            f"-{self.uid}-{self.gid}-{self.pid}-{self.role}"
        )


@dataclass(slots=True, frozen=True)
class SegmentKey:
    """A segment."""

    id: int
    kind: int
    size: int
    session: int
    uid: int
    pid: int
    secret: bytes
    state: int
    evictable: bool = False
    kernel: bool = False
    warm: bool = False
    spilled: bool = False

    def __str__(self) -> str:
        flags = "".join(
            letter
            for letter, is_set in zip(
                "ekws", (self.evictable, self.kernel, self.warm, self.spilled), strict=True
            )
            if is_set
        )
        return (
            f"segment-{self.id}-{self.kind}-{self.size}-{self.session}-{self.uid}-{self.pid}"
            f"-{self.secret.hex()}-{self.state}-{flags or 'n'}"
        )

    def but(self, **changes: object) -> "SegmentKey":
        """Give the same with some fields changed."""
        return replace(self, **changes)  # type: ignore[arg-type]


@dataclass(slots=True, frozen=True)
class StateKey:
    """The state map, and with it the store's identity."""

    identity: bytes

    def __str__(self) -> str:
        return f"state-{self.identity.hex()}"


@dataclass(slots=True, frozen=True)
class NumberedKey:
    """The board or the journal; one of a higher number takes the place of those before."""

    what: str
    number: int

    def __str__(self) -> str:
        return f"{self.what}-{self.number}"


Key = FamilyKey | PageKey | SegmentKey | StateKey | NumberedKey


def parse(text: str) -> Key | None:
    """Read a key; None: not one of ours."""
    if match := SEGMENT.fullmatch(text):
        flags = match[9]
        return SegmentKey(
            int(match[1]),
            int(match[2]),
            int(match[3]),
            int(match[4]),
            int(match[5]),
            int(match[6]),
            bytes.fromhex(match[7]),
            int(match[8]),
            evictable="e" in flags,
            kernel="k" in flags,
            warm="w" in flags,
            spilled="s" in flags,
        )
    if match := PAGE.fullmatch(text):
        return PageKey(*(int(number) for number in match.groups()))
    if match := FAMILY.fullmatch(text):
        return FamilyKey(int(match[1]), int(match[2]), bytes.fromhex(match[3]))
    if match := NUMBERED.fullmatch(text):
        return NumberedKey(match[1], int(match[2]))
    if match := IDENTITY.fullmatch(text):
        return StateKey(bytes.fromhex(match[1]))
    return None
