"""Sizes, times and processes as people read them."""

import os
import pwd
import time
from datetime import UTC, datetime

FAR = 253_402_300_799.0


def size_text(count: float) -> str:
    """Write bytes with the binary unit that fits, to three digits."""
    for factor, unit in ((2**40, "TiB"), (2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB")):
        if abs(count) >= factor:
            return f"{number_text(count / factor)} {unit}"
    return f"{count:.0f} B"


def number_text(value: float) -> str:
    """Write a number below 1024 to three digits, and never as 1e+03."""
    return f"{value:.0f}" if value >= 99.95 else f"{value:.3g}"


def count_text(count: int) -> str:
    """Write a count with separators."""
    return f"{count:,}"


def duration_text(seconds: float) -> str:
    """Write a span of time in its largest unit, and the next one where that matters."""
    if seconds < 1:
        return "0s" if seconds < 0.0005 else f"{seconds * 1000:.0f}ms"
    whole = int(seconds)
    for size, unit, below, smaller in (
        (86400, "d", 3600, "h"),
        (3600, "h", 60, "m"),
        (60, "m", 1, "s"),
    ):
        if whole >= size:
            rest = whole % size // below
            return (
                f"{whole // size}{unit}{rest}{smaller}"
                if rest and whole < 10 * size
                else f"{whole // size}{unit}"
            )
    return f"{whole}s"


def age_text(since: float) -> str:
    """Say how long ago a time since the epoch was."""
    return duration_text(max(time.time() - since, 0))


def date_text(seconds: float | None) -> str | None:
    """Write a time since the epoch as a date of ISO 8601 in UTC; None for none, or none that is."""
    if seconds is None or not 0 < seconds < FAR:
        return None
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")


def user_text(uid: int) -> str:
    """Name a user."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


class Process:
    """What the system tells of a process; nothing where it can't be seen from here."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.command = self._command()
        self.started = self._started()
        self.user = self._user()

    def _read(self, name: str) -> bytes:
        try:
            with open(f"/proc/{self.pid}/{name}", "rb") as file:  # noqa: PTH123 - no pathlib for it
                return file.read()
        except OSError:
            return b""

    def _command(self) -> str | None:
        words = self._read("cmdline").decode("utf-8", "replace").rstrip("\0").split("\0")
        return " ".join(words) or None

    def _user(self) -> str | None:
        try:
            return user_text(os.stat(f"/proc/{self.pid}").st_uid)  # noqa: PTH116 - no pathlib
        except OSError:
            return None

    def _started(self) -> float | None:
        # The command in the second field may hold anything.
        fields = self._read("stat").rpartition(b")")[2].split()
        if len(fields) < 20:
            return None
        ticks = int(fields[19]) / os.sysconf("SC_CLK_TCK")
        return time.time() - time.clock_gettime(time.CLOCK_BOOTTIME) + ticks
