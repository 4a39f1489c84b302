"""`icehouse cat` and `icehouse get`: what is in an object, or in a part of it."""

import enum
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any, BinaryIO, cast

import typer

from icehouse.client.cli.options import Quiet, Socket
from icehouse.client.cli.output import CommandError, ExitCode, guarded, note

if TYPE_CHECKING:
    from icehouse.client.cli.selector import Selector

CHUNK = 1024 * 1024
INDENT = "  "

Full = Annotated[
    bool,
    typer.Option("--full", "-a", help="All of it.", show_default="a part of it on a terminal"),
]


def is_selector(text: str) -> bool:
    """Whether a word of the command line is no reference but a selector."""
    return text.startswith("$")


def cat(
    *,
    words: Annotated[
        list[str],
        typer.Argument(
            metavar="HANDLE|NAME... [SELECTOR]", help="Objects, and which part: '$.users[0].name'."
        ),
    ],
    select: Annotated[
        str | None, typer.Option("--select", "-s", metavar="SELECTOR", help="The same.")
    ] = None,
    full: Full = False,
    compact: Annotated[
        bool | None,
        typer.Option(
            "--compact/--indent", help="Each in one line.", show_default="indented on a terminal"
        ),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="As --full --compact.")] = False,
    socket: Socket = None,
) -> None:
    """Print objects, or parts of them, as JSON; each part of a selector with * or [a:b] by itself.

    Nothing that an object holds is executed: instances are shown as fields under the "$type" that
    they had. Only what is printed is read.
    """
    from icehouse.client.cli import selector

    with guarded():
        references = [word for word in words if not is_selector(word)]
        selectors = [word for word in words if is_selector(word)]
        if select is not None:
            selectors.append(select)
        if len(selectors) > 1 or not references:
            raise CommandError("cat takes objects and one selector: '$.a[0]'", ExitCode.USAGE)
        chosen = selector.parse(selectors[0] if selectors else "$")
        terminal = sys.stdout.isatty()
        is_partial = print_parts(
            references,
            chosen,
            socket,
            bounded=terminal and not (full or json),
            indent=None if (not terminal if compact is None else compact) or json else INDENT,
        )
        if is_partial:
            note("that is a part of it; --full prints all")


def print_parts(
    references: list[str],
    chosen: "Selector",
    socket: str | None,
    *,
    bounded: bool,
    indent: str | None,
) -> bool:
    """Print the chosen parts of images; True if some of it was left out."""
    from icehouse.client.cli import selector
    from icehouse.client.cli.ask import about, find, open_store
    from icehouse.client.cli.ask import references as each
    from icehouse.store.showing import document, nodes

    is_partial = False
    with open_store(socket) as store:
        for reference in each(references):
            with about(reference):
                handle = find(store, reference)
                is_small = nodes.is_small(handle)
            # A terminal obeys what the quick way leaves in texts.
            is_quick = not (bounded or indent or sys.stdout.isatty()) and is_small
            with about(reference):
                root = nodes.open_image(handle)
            for part in selector.select(root, chosen):
                text = document.quick(part) if is_quick else None
                writer = document.Writer(document.SOME if bounded else document.ALL, indent)
                write_text(iter([text]) if text is not None else writer.pieces(part))
                is_partial |= writer.is_partial
    return is_partial


def write_text(pieces: Iterator[str]) -> None:
    """Write a text and the end of its line, in pieces that are worth a call."""
    kept: list[str] = []
    size = 0
    for piece in pieces:
        kept.append(piece)
        size += len(piece)
        if size >= 1 << 16:
            sys.stdout.write("".join(kept))
            kept.clear()
            size = 0
    kept.append("\n")
    sys.stdout.write("".join(kept))


class Format(enum.StrEnum):
    """What `get` writes."""

    AUTO = "auto"
    JSON = "json"
    MSGPACK = "msgpack"
    NPY = "npy"
    TEXT = "text"
    RAW = "raw"


SUFFIXES = {".json": "json", ".msgpack": "msgpack", ".npy": "npy", ".txt": "text", ".bin": "raw"}


def get(
    *,
    reference: Annotated[str, typer.Argument(metavar="HANDLE|NAME", help="An object.")],
    select: Annotated[
        str, typer.Argument(metavar="[SELECTOR]", help="One part of it: '$.weights'.")
    ] = "$",
    output: Annotated[
        str, typer.Option("--output", "-o", metavar="FILE", help="- is stdout.")
    ] = "-",
    format: Annotated[  # noqa: A002 - the name of the option
        Format,
        typer.Option(
            "--format",
            "-f",
            metavar="FORMAT",
            help="json, msgpack, npy (an array), text (a str), raw (bytes or an array's memory).",
            show_default="by the end of FILE, else json",
        ),
    ] = Format.AUTO,
    json: Annotated[bool, typer.Option("--json", help="As --format json.")] = False,
    quiet: Quiet = False,
    socket: Socket = None,
) -> None:
    """Write one object, or one part of it, to stdout or a file, which is replaced as a whole.

    It is what put reads again. `icehouse export` saves an object with its types instead.
    """
    from icehouse.client.cli import selector
    from icehouse.client.cli.ask import about, find, open_store
    from icehouse.store.showing import nodes

    with guarded():
        form = "json" if json else form_of(format, output)
        chosen = selector.parse(select)
        if not chosen.is_definite:
            raise CommandError(
                f"get writes one part, and {select!r} may be several: use cat", ExitCode.USAGE
            )
        if form in ("msgpack", "npy", "raw") and output == "-" and sys.stdout.isatty():
            raise CommandError(f"{form} is not for a terminal: name a file with -o", ExitCode.USAGE)
        with open_store(socket) as store:
            with about(reference):
                root = nodes.open_image(find(store, reference))
            [part] = selector.select(root, chosen)
            with target(output) as stream:
                write(part, form, stream)
        if output != "-" and not quiet:
            note(f"wrote {output} as {form}")


def form_of(given: Format, output: str) -> str:
    """Say which format is written."""
    if given is not Format.AUTO:
        return given.value
    return SUFFIXES.get(os.path.splitext(output)[1].lower(), "json")  # noqa: PTH122 - no pathlib


@contextmanager
def target(output: str) -> Iterator[BinaryIO]:
    """Open stdout, or a new file that takes the place of `output` when all went well."""
    if output == "-":
        sys.stdout.flush()
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    if not output:
        raise CommandError("--output takes a file, or - for stdout", ExitCode.USAGE)
    if os.path.exists(output) and not os.path.isfile(output):  # noqa: PTH110, PTH113 - no pathlib
        # A pipe or a device: nothing could take its place.
        with open(output, "wb") as stream:  # noqa: PTH123 - no pathlib
            yield stream
        return
    import tempfile

    folder, name = os.path.split(os.path.realpath(output))
    try:
        made = tempfile.NamedTemporaryFile(  # noqa: SIM115 - entered below
            dir=folder, prefix=f".{name}.", delete=False
        )
    except OSError as error:
        error.filename = output  # nobody knows the file beside it
        raise
    with made as stream:
        try:
            yield cast("BinaryIO", stream.file)
            stream.flush()
            mask = os.umask(0)
            os.umask(mask)
            os.fchmod(stream.fileno(), 0o666 & ~mask)
            os.replace(stream.name, os.path.join(folder, name))  # noqa: PTH105, PTH118 - no pathlib
        except BaseException:
            os.unlink(stream.name)  # noqa: PTH108 - no pathlib
            raise


def write(part: Any, form: str, stream: BinaryIO) -> None:
    """Write a value in a format; CommandError where it has no such form."""
    from icehouse.store.showing import document, nodes

    if form == "json":
        for piece in document.Writer().pieces(part):
            stream.write(piece.encode())
        stream.write(b"\n")
    elif form == "text":
        if type(part) is not str:
            raise wrong(part, form, "a str")
        stream.write(part.encode())
    elif form == "raw":
        write_raw(part, stream)
    elif form == "npy":
        if nodes.kind_of(part) != "array":
            raise wrong(part, form, "an array of numbers")
        nodes.remember_libraries()
        numpy = need_numpy()
        numpy.lib.format.write_array(stream, numpy.asarray(part), allow_pickle=False)
    else:
        write_msgpack(part, stream)


def wrong(part: Any, form: str, wanted: str) -> CommandError:
    """Say that a value has no such form."""
    from icehouse.store.showing import nodes

    return CommandError(
        f"{form} is for {wanted}, and this is of type {nodes.type_of(part)}", ExitCode.USAGE
    )


def need_numpy() -> Any:
    """Import NumPy, which not everybody has."""
    from icehouse.client.cli.formats import need

    return need("numpy", "icehouse[numpy]", "writing .npy")


def write_raw(part: Any, stream: BinaryIO) -> None:
    """Write bytes, or the memory of an array, piece by piece."""
    try:
        memory = memoryview(part).cast("B")
    except (TypeError, ValueError):
        raise wrong(part, "raw", "bytes or an array") from None
    for at in range(0, len(memory), CHUNK):
        stream.write(memory[at : at + CHUNK])


def write_msgpack(part: Any, stream: BinaryIO) -> None:
    """Write MessagePack: bytes as such, and what it has no word for as JSON has it."""
    import json

    import msgspec

    from icehouse.store.showing import document, nodes

    def plain(value: Any, depth: int = 0) -> Any:
        kind = nodes.kind_of(value)
        if type(value).__name__ == "FrozenBytes":
            return bytes(value)
        if nodes.fields_of(value) is None and kind and depth < document.DEPTH_MAX:
            if kind == "dict":
                return {plain(k): plain(v, depth + 1) for k, v in nodes.items_of(value, kind)}
            return [plain(item, depth + 1) for _, item in nodes.items_of(value, kind)]
        if type(value) in (str, bytes, int, float, bool, type(None)):
            return value
        return json.loads("".join(document.Writer().pieces(value)))

    try:
        stream.write(msgspec.msgpack.encode(plain(part)))
    except (RecursionError, OverflowError, TypeError) as error:
        raise CommandError(f"msgpack can't hold this: {error}", ExitCode.USAGE) from None
