"""Every setting: its key, what it may be, its default, and what it is for.

One table makes the keys of the file, the variables of the environment and what `icehouse config
show` prints. The key `limits.sessions_max` is `sessions_max` in `[limits]` of the file, and
ICEHOUSE_LIMITS_SESSIONS_MAX.
"""

import grp
import ipaddress
import pwd
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from icehouse.server import logs, units

ROLES = ("reader", "producer", "admin")


class WrongValueError(ValueError):
    """A value that a setting can't have; the message says what it may be."""


class Setting(NamedTuple):
    """One thing that can be set. `default` is as one would write it."""

    key: str
    default: Any
    parse: Callable[[Any], Any]
    text: Callable[[Any], str]
    about: str


def size(value: Any) -> int:
    """Bytes: an int, or text with a unit."""
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    if isinstance(value, str):
        try:
            return units.size(value)
        except ValueError:
            pass
    raise WrongValueError("a size like 2GiB or 500MB")


def seconds(value: Any) -> float:
    """Seconds: a number, or text with a unit."""
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 1e12:
        return float(value)
    if isinstance(value, str):
        try:
            return units.seconds(value)
        except ValueError:
            pass
    raise WrongValueError("a time like 90s, 5m or 1h")


def count(least: int, most: int) -> Callable[[Any], int]:
    """Make a check for whole numbers within bounds."""

    def check(value: Any) -> int:
        number = value
        if isinstance(value, str) and value.strip().isdecimal() and len(value) < 20:
            number = int(value)
        if isinstance(number, int) and not isinstance(number, bool) and least <= number <= most:
            return number
        raise WrongValueError(f"a whole number from {least} to {most}")

    return check


def bounded_size(least: int, most: int) -> Callable[[Any], int]:
    """Make a check for sizes within bounds."""

    def check(value: Any) -> int:
        number = size(value)
        if least <= number <= most:
            return number
        low, high = units.size_text(least), units.size_text(most)
        raise WrongValueError(f"a size from {low} to {high}")

    return check


def segment_size(value: Any) -> int:
    """Size of a full-grown ordinary segment: a power of two."""
    number = size(value)
    if number and (number & (number - 1) or not 2**16 <= number <= 2**30):
        raise WrongValueError("a power of two from 64KiB to 1GiB")
    return number


def capacity(value: Any) -> int:
    """Bytes of all segments, in whole pages; 0 stands for the default."""
    number = size(value)
    if number and not 2**20 <= number < 2**62:
        raise WrongValueError("a size of at least 1MiB")
    return number // 4096 * 4096


def path(value: Any) -> str:
    """Make sure of an absolute path; "" is none."""
    if isinstance(value, str) and "\0" not in value and (not value or value.startswith("/")):
        return value
    raise WrongValueError("an absolute path")


def path_or_off(value: Any) -> str:
    """Make sure of an absolute path; "" is off."""
    try:
        return "" if value is False or value == "off" else path(value)
    except WrongValueError:
        raise WrongValueError("off, or an absolute path") from None


def one_of(choices: Sequence[str]) -> Callable[[Any], str]:
    """Make a check for one of some words."""

    def check(value: Any) -> str:
        if isinstance(value, str) and value in choices:
            return value
        raise WrongValueError(f"one of {', '.join(choices)}")

    return check


def loopback(value: Any) -> str:
    """Where the admin side listens: HOST:PORT of this machine alone; "" is nowhere."""
    wrong = WrongValueError("off, or HOST:PORT on loopback like 127.0.0.1:8420 or [::1]:8420")
    if value is False or value in ("off", ""):
        return ""
    if not isinstance(value, str):
        raise wrong
    host, colon, port = value.rpartition(":")
    if not colon or not port.isdecimal() or len(port) > 5 or int(port) > 65535:
        raise wrong
    if host == "localhost":
        return value
    try:
        address = ipaddress.ip_address(host.removeprefix("[").removesuffix("]"))
    except ValueError:
        raise wrong from None
    if not address.is_loopback or (address.version == 6) != host.startswith("["):
        raise wrong
    return value


def ids(kind: str, find: Callable[[str], int]) -> Callable[[Any], tuple[int, ...]]:
    """Make a check for lists of users or groups, by number or name."""

    def check(value: Any) -> tuple[int, ...]:
        items: Any = value
        if isinstance(value, str):
            items = [item.strip() for item in value.split(",")]
        if not isinstance(items, list | tuple):
            raise WrongValueError(f"a list of {kind}s, by number or name")
        return tuple(sorted({one(item) for item in items if item != ""}))

    def one(item: Any) -> int:
        number = item
        if isinstance(item, str):
            try:
                number = int(item) if item.isdecimal() and len(item) < 11 else find(item)
            except (KeyError, ValueError):
                number = None
        if isinstance(number, int) and not isinstance(number, bool) and 0 <= number < 2**32 - 1:
            return number
        raise WrongValueError(f"{kind}s of this machine; {item!r} is none")

    return check


def ids_text(value: Sequence[int]) -> str:
    """Write a list of users or groups."""
    return ",".join(map(str, value))


users = ids("user", lambda name: pwd.getpwnam(name).pw_uid)
groups = ids("group", lambda name: grp.getgrnam(name).gr_gid)


def all_settings() -> list[Setting]:
    """Give the table; `socket` and `capacity` get their defaults from the machine."""
    made = [
        Setting("socket", "", path, str, "where clients connect"),
        Setting("capacity", 0, capacity, units.size_text, "bytes of all segments"),
        Setting("segment_size", 0, segment_size, units.size_text, "of a full-grown shared segment"),
        Setting(
            "spill",
            "off",
            path_or_off,
            lambda value: value or "off",
            "folder that cold images go to",
        ),
        Setting("spill_capacity", "16GiB", size, units.size_text, "bytes in that folder"),
        Setting("http", "off", loopback, lambda value: value or "off", "admin side, HOST:PORT"),
        Setting("http_nice", 19, count(0, 19), str, "how far it gives way to others"),
        Setting(
            "admin_tokens",
            "",
            path_or_off,
            lambda value: value or "off",
            "file of the tokens that act over http",
        ),
        Setting("orphan_ttl", "1h", seconds, units.seconds_text, "of what a dead producer left"),
        Setting("log_format", "auto", one_of(logs.FORMATS), str, "auto: text on a terminal"),
        Setting("log_level", "info", one_of(list(logs.LEVELS)), str, "the least that is told"),
        Setting("stop_seconds", "5s", seconds, units.seconds_text, "then SIGKILL"),
        Setting("restart_delay_max", "1s", seconds, units.seconds_text, "of a daemon that dies"),
    ]
    for role in ROLES:
        made += [
            Setting(f"roles.{role}.uids", [], users, ids_text, f"users who are {role}s"),
            Setting(f"roles.{role}.gids", [], groups, ids_text, f"groups who are {role}s"),
        ]
    return made + limits()


def limits() -> list[Setting]:
    """Everything is limited: the bounds of what clients may cost."""

    def whole(key: str, default: int, most: int, about: str) -> Setting:
        return Setting(f"limits.{key}", default, count(1, most), str, about)

    def time(key: str, default: str, about: str) -> Setting:
        return Setting(f"limits.{key}", default, seconds, units.seconds_text, about)

    def length(key: str, default: str, about: str) -> Setting:
        check = bounded_size(4096, 2**30)
        return Setting(f"limits.{key}", default, check, units.size_text, about)

    return [
        whole("connections_max", 4096, 10**6, "connections, before and after their hello"),
        whole("sessions_max", 1024, 10**6, "processes with a session"),
        whole("sessions_per_uid_max", 1024, 10**6, "of one user"),
        whole("segments_max", 16384, 10**6, "segments; each costs the keeper a descriptor"),
        whole("segments_per_session_max", 4096, 10**6, "granted to one process"),
        whole("lease_blocks_max", 4096, 65536, "blocks of leases of one family of processes"),
        whole("names_max", 1_000_000, 10**8, "names, bound ones and unbound ones"),
        whole("watches_max", 1024, 10**6, "names that one connection watches"),
        length("request_bytes_max", "64KiB", "a frame of a client"),
        length("reply_bytes_max", "1MiB", "a frame to a client"),
        length("backlog_bytes_max", "1MiB", "what a client has not read yet"),
        time("hello_seconds", "5s", "for the first frame"),
        time("stall_seconds", "30s", "for a client that reads nothing"),
        time("warm_seconds", "10s", "how long a freed segment is kept for its producer"),
    ]
