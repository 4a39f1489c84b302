"""Options that several commands have, and the values that they take: sizes and times."""

import re
from typing import Annotated

import typer

UNITS = {
    "": 1,
    "b": 1,
    "k": 2**10,
    "m": 2**20,
    "g": 2**30,
    "t": 2**40,
    "kb": 10**3,
    "mb": 10**6,
    "gb": 10**9,
    "tb": 10**12,
    "kib": 2**10,
    "mib": 2**20,
    "gib": 2**30,
    "tib": 2**40,
}
SECONDS = {"ms": 0.001, "": 1.0, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0}
NUMBER = re.compile(r"\s*(\d{1,18}(?:\.\d{1,9})?)\s*([a-zA-Z]*)\s*", re.ASCII)


def parse_size(text: str) -> int:
    """Give the bytes of a size like `2GiB`, `500MB` or `4096`; BadParameter if it is none."""
    match = NUMBER.fullmatch(text)
    if match is None or match[2].lower() not in UNITS:
        raise typer.BadParameter(f"{text!r} is no size like 4096, 64KiB, 500MB or 1.5GiB")
    # Not as a float where it need not be: those have 53 bits.
    number = float(match[1]) if "." in match[1] else int(match[1])
    return int(number * UNITS[match[2].lower()])


def parse_time(text: str) -> float:
    """Give the seconds of a time like `90s`, `1h` or `250ms`; BadParameter if it is none."""
    match = NUMBER.fullmatch(text)
    if match is None or match[2].lower() not in SECONDS:
        raise typer.BadParameter(f"{text!r} is no time like 250ms, 90s, 5m, 1h or 2d")
    return float(match[1]) * SECONDS[match[2].lower()]


Json = Annotated[bool, typer.Option("--json", help="JSON on stdout.")]
Lines = Annotated[bool, typer.Option("--json", help="JSON on stdout, one document a line.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing that is not an error.")]
Socket = Annotated[
    str | None,
    typer.Option(
        metavar="PATH",
        help="The daemon's.",
        show_default="$ICEHOUSE_SOCKET, $XDG_RUNTIME_DIR/icehouse/socket",
    ),
]
ConfigFile = Annotated[
    str | None,
    typer.Option(
        "--config",
        metavar="FILE",
        help="TOML.",
        show_default="$ICEHOUSE_CONFIG, ~/.config/icehouse/config.toml, /etc/icehouse/config.toml",
    ),
]
Extra = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Any setting, e.g. limits.sessions_max=100."),
]
Reference = Annotated[
    str, typer.Argument(metavar="HANDLE|NAME", help="An image, by its handle or a name.")
]
References = Annotated[
    list[str],
    typer.Argument(metavar="HANDLE|NAME...", help="Images, by handles or names; - reads stdin."),
]
