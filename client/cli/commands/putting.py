"""`icehouse put`: files, or what comes on stdin, into the store."""

import enum
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any

import typer

from icehouse.client.cli.options import Lines, Quiet, Socket, parse_time
from icehouse.client.cli.output import CommandError, ExitCode, guarded, print_line, progress

if TYPE_CHECKING:
    import io

    import icehouse

CHUNK = 1024 * 1024
BAR = 24


class Format(enum.StrEnum):
    """What a content may be."""

    AUTO = "auto"
    JSON = "json"
    JSONL = "jsonl"
    MSGPACK = "msgpack"
    CSV = "csv"
    TSV = "tsv"
    PARQUET = "parquet"
    NPY = "npy"
    NPZ = "npz"
    PICKLE = "pickle"
    TEXT = "text"
    RAW = "raw"


def put(
    *,
    files: Annotated[
        list[str] | None,
        typer.Argument(metavar="[FILE...]", help="What to put; - is stdin.", show_default="-"),
    ] = None,
    format: Annotated[  # noqa: A002 - the name of the option
        Format,
        typer.Option(
            "--format",
            "-f",
            metavar="FORMAT",
            help="json, jsonl, msgpack, csv, tsv, parquet, npy, npz, pickle, text, raw.",
            show_default="by the end of the name; json on stdin",
        ),
    ] = Format.AUTO,
    name: Annotated[str | None, typer.Option(metavar="NAME", help="Bind this name to it.")] = None,
    ttl: Annotated[
        str | None, typer.Option(metavar="TIME", help="Delete it after so long: 90s, 1h.")
    ] = None,
    pin: Annotated[
        bool | None,
        typer.Option(
            "--pin/--no-pin",
            help="Keep it.",
            show_default="pinned, unless named, --ttl or --evictable",
        ),
    ] = None,
    evictable: Annotated[
        bool, typer.Option("--evictable", help="Let it go when memory is short.")
    ] = False,
    seal: Annotated[
        bool, typer.Option("--seal", help="Let the kernel keep everybody from writing it.")
    ] = False,
    unsafe_pickle: Annotated[
        bool, typer.Option("--unsafe-pickle", help="Read pickles, which may run any code.")
    ] = False,
    socket: Socket = None,
    json: Lines = False,
    quiet: Quiet = False,
) -> None:
    """Put files, or what comes on stdin, into the daemon's store and print their handles.

    CSV becomes a list of dicts, with numbers where a column has nothing else; Parquet an Arrow
    table; raw is bytes. This command ends at once, and what is neither named nor pinned goes some
    time after its producer.
    """
    with guarded():
        sources = files or ["-"]
        options = {
            "name": name,
            "ttl": None if ttl is None else parse_time(ttl),
            "pin": not (name or ttl or evictable) if pin is None else pin,
            "evictable": evictable,
            "seal": seal,
        }
        if name is not None and len(sources) > 1:
            raise CommandError("one name is for one file: give it alone", ExitCode.USAGE)
        put_all(sources, format, options, socket, unsafe=unsafe_pickle, json=json, quiet=quiet)


def put_all(
    sources: list[str],
    kind: Format,
    options: dict[str, Any],
    socket: str | None,
    *,
    unsafe: bool,
    json: bool,
    quiet: bool,
) -> None:
    """Put one after the other, and tell of each when it is there."""
    from icehouse.client.cli import formats
    from icehouse.client.cli.ask import open_store

    if sys.stdin.isatty() and "-" in sources:
        raise CommandError("nothing comes on stdin: name a file", ExitCode.USAGE)
    with open_store(socket) as store:
        most = store.capacity
        for source in sources:
            form = kind.value
            if kind is Format.AUTO:
                form = "json" if source == "-" else formats.guess(source)
            with progress() as tell:
                data = content(source, tell, most if form in formats.PLAIN else None)
                tell(f"reading {source} as {form}")
                made = formats.parse(data, form, source, unsafe_pickle=unsafe, most=most)
                del data
                tell(f"putting {source}")
                handle = put_one(store, made, options, source)
            stat = store.stat(handle)
            told = {
                "handle": str(handle),
                "file": source,
                "format": form,
                "type": stat.type,
                "size": stat.size,
                "name": options["name"],
                "pinned": stat.pinned,
                "ttl": options["ttl"],
            }
            if json:
                print_line(told)
            elif not quiet:
                print(handle)


def put_one(store: "icehouse.Store", made: Any, options: dict[str, Any], source: str) -> Any:
    """Put an object; what can't be frozen, or has a wrong name, is the user's to mend."""
    from icehouse.store.errors import IcehouseError, NotFreezableError

    try:
        return store.put(made, **options)
    except NotFreezableError as error:
        raise CommandError(f"{source}: {error}") from None
    except ValueError as error:
        if isinstance(error, IcehouseError | UnicodeEncodeError):
            raise
        raise CommandError(str(error), ExitCode.USAGE) from None


def content(source: str, tell: Callable[[str], None], most: int | None = None) -> bytes:
    """Read a file or stdin as a whole, telling how far it is; CommandError beyond `most` bytes."""
    import io
    import os
    import time

    from icehouse.client.cli.formats import check_size, too_large

    # Its getvalue() is what was written, and no copy of it.
    taken = io.BytesIO()
    place: int | str = 0 if source == "-" else source
    with too_large(source), open(place, "rb", buffering=0, closefd=place != 0) as stream:
        total = os.fstat(stream.fileno()).st_size
        began = last = time.monotonic()
        check_size(total, most)
        while piece := read(stream, source):
            taken.write(piece)
            check_size(taken.tell(), most)
            now = time.monotonic()
            if now - last >= 0.1:
                last = now
                tell(bar(source, taken.tell(), total, now - began))
    return taken.getvalue()


def read(stream: "io.FileIO", source: str) -> bytes | None:
    """Read a piece; what goes wrong names the file."""
    try:
        return stream.read(CHUNK)
    except OSError as error:
        error.filename = "stdin" if source == "-" else source
        raise


def bar(source: str, done: int, total: int, seconds: float) -> str:
    """Draw how far the reading is."""
    from icehouse.client.cli.words import size_text

    rate = f"{size_text(done)}, {size_text(done / seconds)}/s"
    if not total:
        return f"reading {source}: {rate}"
    share = min(done / total, 1.0)
    full = int(share * BAR)
    return f"reading {source} [{'#' * full}{'-' * (BAR - full)}] {share:.0%}, {rate}"
