"""Who is an observer: whatever the keeper started beside the daemon, the admin process that is.

It runs as the daemon's own user, who is admin, but serves HTTP to anybody of this machine; so it
may look at everything and change nothing, unless a person's token comes with the request. The
kernel says who is at the other end of a connection, /proc who started whom.
"""

import os

from icehouse.server.keeper import SETTINGS_VARIABLE

# More than any chain of parents that somebody makes in earnest.
PARENTS_MAX = 64


def parent_of(pid: int) -> int:
    """Give the parent of a process; 0: it has none, or has ended."""
    try:
        with open(f"/proc/{pid}/stat", "rb", buffering=0) as file:  # noqa: PTH123 - at each accept
            # The name stands in parentheses and may have any character.
            return int(file.read(4096).rpartition(b")")[2].split()[1])
    except (OSError, IndexError, ValueError):
        return 0


def has_settings(pid: int) -> bool:
    """Whether a process was started with the keeper's settings."""
    try:
        with open(f"/proc/{pid}/environ", "rb", buffering=0) as file:  # noqa: PTH123 - as above
            return b"\0" + SETTINGS_VARIABLE.encode() + b"=" in b"\0" + file.read(1 << 20)
    except OSError:
        return False


def is_observer(pid: int, keeper: int) -> bool:
    """Whether the keeper started a process, or one of its parents; this daemon is none."""
    at = pid
    for _ in range(PARENTS_MAX):
        if at in (0, os.getpid()):
            return False
        parent = parent_of(at)
        if parent == keeper:
            # As a container's first process the keeper is the parent of whatever lost its own.
            return keeper != 1 or has_settings(at)
        at = parent
    return True
