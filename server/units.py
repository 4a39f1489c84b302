"""Sizes and times as people write them: `2GiB`, `500MB`, `10s`, `1h`."""

import re

SIZES = {
    "": 1,
    "b": 1,
    "kb": 10**3,
    "mb": 10**6,
    "gb": 10**9,
    "tb": 10**12,
    "k": 2**10,
    "m": 2**20,
    "g": 2**30,
    "t": 2**40,
    "kib": 2**10,
    "mib": 2**20,
    "gib": 2**30,
    "tib": 2**40,
}
TIMES = {"ms": 0.001, "": 1.0, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0}
NUMBER = re.compile(r"\s*(\d{1,18}(?:\.\d{1,9})?)\s*([a-zA-Z]*)\s*", re.ASCII)


def parse(text: str, units: dict[str, float] | dict[str, int]) -> float:
    """Give a number with one of the units; ValueError if it is none."""
    match = NUMBER.fullmatch(text)
    if match is None or match[2].lower() not in units:
        raise ValueError(text)
    number, unit = match[1], units[match[2].lower()]
    return float(number) * unit if "." in number else int(number) * unit


def size(text: str) -> int:
    """Bytes of a size like `2GiB`, `1.5G` or `4096`."""
    return int(parse(text, SIZES))


def seconds(text: str) -> float:
    """Seconds of a time like `90s`, `1h` or `250ms`."""
    return float(parse(text, TIMES))


def size_text(count: int) -> str:
    """Write a size in the largest binary unit that divides it."""
    for unit in ("TiB", "GiB", "MiB", "KiB"):
        whole, rest = divmod(count, SIZES[unit.lower()])
        if whole and not rest:
            return f"{whole}{unit}"
    return str(count)


def seconds_text(count: float) -> str:
    """Write a time in the largest unit that divides it."""
    for unit in ("d", "h", "m"):
        whole, rest = divmod(count, TIMES[unit])
        if whole and not rest:
            return f"{int(whole)}{unit}"
    return f"{count:g}s"
