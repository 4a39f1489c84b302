"""What /proc says of a process: its command, and for how long it has run.

Whoever has ended, or is hidden from this user, has neither; that is no error.
"""

import os
import time
from typing import NamedTuple

COMMAND_CHARACTERS = 200
TICKS = os.sysconf("SC_CLK_TCK")


class Seen(NamedTuple):
    """A process as far as it can be seen."""

    command: str | None
    age_seconds: float | None


def _read(pid: int, name: str, most: int) -> bytes:
    try:
        with open(f"/proc/{pid}/{name}", "rb", buffering=0) as file:  # noqa: PTH123 - many a page
            return file.read(most)
    except OSError:
        return b""


def command_of(pid: int) -> str | None:
    """Give the first 200 characters of a command line; None: it has ended, or can't be read."""
    # A character has up to four bytes.
    data = _read(pid, "cmdline", 4 * COMMAND_CHARACTERS)
    text = data.decode("utf-8", "replace").replace("\0", " ").strip()
    # A program may be an argument, line by line.
    text = " ".join(text.split())
    shown = "".join(
        letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text
    )
    return shown[:COMMAND_CHARACTERS] or None


def started(pid: int) -> float | None:
    """Give when it was started, in seconds since the machine was."""
    # The name stands in parentheses and may have any character; the rest are numbers.
    fields = _read(pid, "stat", 4096).rpartition(b")")[2].split()
    try:
        return int(fields[19]) / TICKS
    except (IndexError, ValueError):
        return None


def see(pid: int | None) -> Seen:
    """Look at a process."""
    if not pid:
        return Seen(None, None)
    since = started(pid)
    if since is None:
        return Seen(None, None)
    age = time.clock_gettime(time.CLOCK_BOOTTIME) - since
    # In seconds: who asks twice at once is told the same, and has the same ETag.
    return Seen(command_of(pid), float(int(max(age, 0.0))))
