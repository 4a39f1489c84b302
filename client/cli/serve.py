"""`icehouse serve` and `icehouse config show`: both become a program of the daemon's side.

The client imports nothing of the server; there it is decided what is right in a configuration.
"""

import os
import sys
from collections.abc import Mapping, Sequence
from typing import NoReturn

from icehouse.client.cli.output import CommandError, ExitCode


def arguments_of(flags: Mapping[str, object], extra: Sequence[str]) -> list[str]:
    """Give the flags that were given, and what --set names, as `--key=value`."""
    given = [f"--{key}={value}" for key, value in flags.items() if value is not None]
    for text in extra:
        key, equals, value = text.partition("=")
        if not equals or not key:
            raise CommandError(f"--set takes KEY=VALUE, not {text!r}", ExitCode.USAGE)
        given.append(f"--{key.strip()}={value.strip()}")
    return given


def become(module: str, arguments: Sequence[str]) -> NoReturn:
    """Run another module of the package in this process's place."""
    sys.stdout.flush()
    sys.stderr.flush()
    # -P: never import from the folder that the command was given in.
    os.execv(sys.executable, [sys.executable, "-P", "-m", module, *arguments])  # noqa: S606
