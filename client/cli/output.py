"""What every command shares: exit codes, data on stdout, progress and complaints on stderr."""

import enum
import json
import os
import shutil
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import typer

import icehouse
from icehouse.client.bench.run import Progress

# How wide a table may be where there is no terminal to tell.
PIPE_COLUMNS = 200
PROSE_COLUMNS = 100


class ExitCode(enum.IntEnum):
    """How a command ended."""

    OK = 0
    ERROR = 1
    USAGE = 2
    NOT_FOUND = 3
    FULL = 4
    UNREACHABLE = 5
    PERMISSION = 6
    CORRUPT = 7
    INTERRUPTED = 130


# The first class that fits decides.
CODES: list[tuple[type[BaseException], ExitCode]] = [
    (icehouse.HandleGone, ExitCode.NOT_FOUND),
    (icehouse.UnknownName, ExitCode.NOT_FOUND),
    (icehouse.StoreFull, ExitCode.FULL),
    (icehouse.StoreUnavailable, ExitCode.UNREACHABLE),
    (icehouse.CorruptImage, ExitCode.CORRUPT),
    (icehouse.NotPermitted, ExitCode.PERMISSION),
    (icehouse.IcehouseError, ExitCode.ERROR),
    (FileNotFoundError, ExitCode.NOT_FOUND),
    (PermissionError, ExitCode.PERMISSION),
    (MemoryError, ExitCode.FULL),
    (OSError, ExitCode.ERROR),
]


class CommandError(Exception):
    """A command can't go on; the message is for the user."""

    def __init__(self, message: str, code: ExitCode = ExitCode.ERROR) -> None:
        super().__init__(message)
        self.code = code


def complain(message: str) -> None:
    """Print one line on stderr."""
    print(f"icehouse: {message}", file=sys.stderr)


def message_of(error: BaseException) -> str:
    """Say what went wrong in one line."""
    if isinstance(error, OSError) and error.filename is not None and error.strerror:
        return f"{error.filename}: {error.strerror}"
    return str(error) or type(error).__name__


@contextmanager
def guarded() -> Iterator[None]:
    """Turn what goes wrong inside into one line on stderr and an exit code."""
    try:
        yield
        sys.stdout.flush()
    except CommandError as error:
        complain(str(error))
        raise typer.Exit(error.code) from None
    except KeyboardInterrupt:
        raise typer.Exit(ExitCode.INTERRUPTED) from None
    except BrokenPipeError:
        # The reader of our output has had enough; what is left in the buffer goes nowhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit(ExitCode.ERROR) from None
    except tuple(kind for kind, _ in CODES) as error:
        code = next(code for kind, code in CODES if isinstance(error, kind))
        complain(message_of(error))
        raise typer.Exit(code) from None


def print_json(document: Mapping[str, Any]) -> None:
    """Print one JSON document on stdout."""
    print(json.dumps(document, indent=2))


def text_columns() -> int:
    """How wide output may be: the terminal's width, or as wide as needed in a pipe."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else PIPE_COLUMNS


def print_table(*parts: Any) -> None:
    """Print Rich renderables and prose on stdout, as wide and coloured as its terminal allows."""
    from rich.console import Console

    console = Console(width=text_columns())
    for part in parts:
        width = min(console.width, PROSE_COLUMNS) if isinstance(part, str) else None
        console.print(part, width=width, highlight=False, markup=False)


@contextmanager
def progress() -> Iterator[Progress]:
    """Tell on stderr what is being done, if that is a terminal; else say nothing.

    One line that is written over. No thread draws it: one would disturb what is measured, and
    processes are forked meanwhile.
    """
    if not sys.stderr.isatty():
        yield lambda _: None
        return

    def tell(message: str) -> None:
        print(f"\r\x1b[K{message} ...", end="", file=sys.stderr, flush=True)

    try:
        yield tell
    finally:
        print("\r\x1b[K", end="", file=sys.stderr, flush=True)
