"""What every command shares: exit codes, data on stdout, progress and complaints on stderr."""

import enum
import json
import os
import shutil
import signal
import sys
import textwrap
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import chain, islice
from typing import Any

import typer

import icehouse
from icehouse.client.cli import leave

Progress = Callable[[str], None]

# How wide a table may be where there is no terminal to tell.
PIPE_COLUMNS = 200
PROSE_COLUMNS = 100
MIN_COLUMNS = 20
# Rows that decide how wide the columns are where there is no terminal.
ROWS_MEASURED = 256


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


def code_of(error: BaseException) -> ExitCode:
    """Say which exit code an error means."""
    if isinstance(error, CommandError):
        return error.code
    return next((code for kind, code in CODES if isinstance(error, kind)), ExitCode.ERROR)


def complain(message: str) -> None:
    """Print one line on stderr."""
    print(f"icehouse: {message}", file=sys.stderr)


def message_of(error: BaseException) -> str:
    """Say what went wrong in one line."""
    if isinstance(error, OSError) and error.strerror:
        if error.filename is None:
            return error.strerror
        return f"{error.filename or repr(error.filename)}: {error.strerror}"
    return str(error) or type(error).__name__


@contextmanager
def interruptible() -> Iterator[None]:
    """Let Ctrl-C raise KeyboardInterrupt inside; before and after, the process just ends."""
    if signal.getsignal(signal.SIGINT) is not leave:
        yield
        return
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, leave)


@contextmanager
def guarded(*, silent: bool = False) -> Iterator[None]:
    """Turn what goes wrong inside into one line on stderr, unless silent, and an exit code."""
    try:
        with interruptible():
            yield
            sys.stdout.flush()
    except CommandError as error:
        if not silent:
            complain(str(error))
        raise typer.Exit(error.code) from None
    except KeyboardInterrupt:
        raise typer.Exit(ExitCode.INTERRUPTED) from None
    except BrokenPipeError:
        # The reader of our output has had enough; what is left in the buffer goes nowhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit(ExitCode.ERROR) from None
    except UnicodeEncodeError as error:
        # Bytes of a command line that are no text come as surrogates, which nothing takes.
        if not silent:
            complain(f"{error.object!r} is no UTF-8, as names and handles are")
        raise typer.Exit(ExitCode.USAGE) from None
    except tuple(kind for kind, _ in CODES) as error:
        if not silent:
            complain(message_of(error))
        raise typer.Exit(code_of(error)) from None


def print_json(document: Mapping[str, Any]) -> None:
    """Print one JSON document on stdout."""
    print(json.dumps(document, indent=2, ensure_ascii=False))


def text_columns() -> int:
    """How wide output may be: the terminal's width, or as wide as needed in a pipe."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else PIPE_COLUMNS


def print_table(*parts: Any) -> None:
    """Print Rich renderables and prose on stdout, as wide and coloured as its terminal allows."""
    from rich.console import Console

    console = Console(width=text_columns(), emoji=False)
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


def print_line(document: Any) -> None:
    """Print one JSON document on a line of its own."""
    print(json.dumps(document, ensure_ascii=False, separators=(",", ":")))


def note(message: str) -> None:
    """Say something beside the data."""
    print(f"icehouse: {message}", file=sys.stderr)


def plain(text: str) -> str:
    """Take from a text what a terminal would obey: names and commands are anybody's."""
    if text.isprintable():
        return text
    # Programs that are given on a command line have line ends.
    text = " ".join(text.split())
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text)


def make_table(*columns: str) -> Any:
    """Make a Rich table; a column that begins with `>` is aligned to the right.

    The last column takes the lines that it needs; the others are cut only where there is no room.
    """
    from rich.table import Table

    made = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    for number, column in enumerate(columns, 1):
        is_last = number == len(columns)
        made.add_column(
            column.removeprefix(">").upper(),
            justify="right" if column.startswith(">") else "left",
            overflow="fold" if is_last else "ellipsis",
            no_wrap=not is_last,
        )
    return made


def print_pairs(pairs: Mapping[str, str]) -> None:
    """Print names and values in two columns; what is too long for a terminal goes on below."""
    key_width = max(map(len, pairs))
    room = max(text_columns() - key_width - 2, MIN_COLUMNS)
    for key, value in pairs.items():
        lines = []
        for line in map(plain, value.split("\n")):
            lines += textwrap.wrap(line, room, break_on_hyphens=False) or [""]
        print(f"{key.ljust(key_width)}  {lines[0]}".rstrip())
        for line in lines[1:]:
            print(f"{'':{key_width}}  {line}")


def print_rows(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> int:
    """Print a table as its rows come; a column that begins with `>` is aligned to the right.

    On a terminal Rich draws it, as wide as that is. Else each row is one line and no cell is cut,
    so that other programs can read it; widths are those of the first rows. Returns how many rows
    there were.
    """
    cells = (tuple(map(plain, row)) for row in rows)
    count = 0
    if sys.stdout.isatty():
        made = make_table(*columns)
        for row in cells:
            made.add_row(*row)
            count += 1
        print_table(made)
        return count
    first = list(islice(cells, ROWS_MEASURED))
    widths = [
        max([len(name.removeprefix(">")), *(len(row[at]) for row in first)])
        for at, name in enumerate(columns)
    ]
    right = [name.startswith(">") for name in columns]

    def line(row: Sequence[str]) -> str:
        parts = zip(row, widths, right, strict=True)
        made = "  ".join(cell.rjust(w) if r else cell.ljust(w) for cell, w, r in parts)
        return made.rstrip()

    print(line([name.removeprefix(">").upper() for name in columns]))
    for row in chain(first, cells):
        print(line(row))
        count += 1
    return count
