"""What `icehouse put` reads: formats by name, and the objects that they give.

A reader gets the whole content as bytes, or a path where the library wants one. Whatever a file
holds, nothing in it is executed, but for a pickle, which --unsafe-pickle lets in.
"""

import io
import json
import math
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import PurePath
from typing import Any

from icehouse.client.cli.output import CommandError, ExitCode

INT = re.compile(r"-?(?:0|[1-9]\d{0,4000})", re.ASCII)
FLOAT = re.compile(r"-?(?:(?:0|[1-9]\d*)(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?", re.ASCII)
SUFFIXES = {
    ".json": "json",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".msgpack": "msgpack",
    ".mpk": "msgpack",
    ".csv": "csv",
    ".tsv": "tsv",
    ".parquet": "parquet",
    ".pq": "parquet",
    ".npy": "npy",
    ".npz": "npz",
    ".pickle": "pickle",
    ".pkl": "pickle",
    ".txt": "text",
    ".md": "text",
}

# What takes at least as many bytes in an image as in a file.
PLAIN = ("npy", "raw", "text")


def guess(name: str) -> str:
    """Guess the format by the end of a name; what is not known is raw bytes."""
    return SUFFIXES.get(PurePath(name).suffix.lower(), "raw")


def need(module: str, extra: str, what: str) -> Any:
    """Import a library that not everybody has."""
    import importlib

    try:
        return importlib.import_module(module)
    except ImportError:
        raise CommandError(
            f"{what} needs {module.partition('.')[0]}: pip install '{extra}'"
        ) from None


def read_json(data: Any) -> Any:
    """Read one document."""
    return json.loads(bytes(data))


def read_json_lines(data: Any) -> Any:
    """Read a document of each line, as a list."""
    documents = []
    for number, line in enumerate(bytes(data).splitlines(), 1):
        if line.strip():
            try:
                documents.append(json.loads(line))
            except ValueError as error:
                raise ValueError(f"line {number}: {error}") from None
    return documents


def read_msgpack(data: Any) -> Any:
    """Read one MessagePack object."""
    import msgspec

    return msgspec.msgpack.decode(data)


def read_table(data: Any, delimiter: str) -> Any:
    """Read lines of cells under a line of names, as a list of dicts.

    A column of ints or floats alone becomes numbers, and an empty cell of it None.
    """
    import csv

    text = io.StringIO(bytes(data).decode("utf-8-sig"), newline="")
    # The least that is a size for a cell here is that of the file.
    csv.field_size_limit(max(len(data), 1))
    rows = csv.reader(text, delimiter=delimiter, strict=True)
    try:
        header = next(rows, [])
        if len(set(header)) != len(header):
            raise ValueError("two columns have the same name")
        cells = [row for row in rows if row]
    except csv.Error as error:
        raise ValueError(f"line {rows.line_num}: {error}") from None
    for number, row in enumerate(cells, 2):
        if len(row) != len(header):
            raise ValueError(f"record {number} has {len(row)} cells and not {len(header)}")
    columns = [column_of(values) for values in zip(*cells, strict=True)]
    return [dict(zip(header, row, strict=True)) for row in zip(*columns, strict=True)]


def column_of(values: tuple[str, ...]) -> list[Any]:
    """Make numbers of a column that has no others; 007 is no number, nor is nan.

    Nor are those that are too large: 1e999 would be infinite.
    """
    for kind, pattern in ((int, INT), (float, FLOAT)):
        if all(not value or pattern.fullmatch(value) for value in values) and any(values):
            numbers = [kind(value) if value else None for value in values]
            if math.inf not in numbers and -math.inf not in numbers:
                return numbers
    return list(values)


def read_parquet(data: Any) -> Any:
    """Read an Arrow table."""
    parquet = need("pyarrow.parquet", "icehouse[data]", "reading Parquet")
    pyarrow = need("pyarrow", "icehouse[data]", "reading Parquet")
    try:
        return parquet.read_table(pyarrow.BufferReader(data), page_checksum_verification=True)
    except pyarrow.ArrowException as error:
        raise ValueError(str(error)) from None


def read_npy(data: Any) -> Any:
    """Read an array, in place where it is mapped; one of objects is refused: it is a pickle."""
    numpy = need("numpy", "icehouse[numpy]", "reading an array")
    stream = io.BytesIO(data)
    version = numpy.lib.format.read_magic(stream)
    if version not in ((1, 0), (2, 0), (3, 0)):
        raise ValueError(f"a .npy file of version {version}")
    stream.seek(0)
    return numpy.load(stream, allow_pickle=False)


def read_npz(data: Any, most: int | None = None) -> Any:
    """Read a dict of arrays; MemoryError, before any is read, where they are larger than `most`."""
    import zipfile

    numpy = need("numpy", "icehouse[numpy]", "reading arrays")
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as members:
            check_size(sum(member.file_size for member in members.infolist()), most)
        with numpy.load(io.BytesIO(data), allow_pickle=False) as loaded:
            return {name: loaded[name] for name in loaded.files}
    except zipfile.BadZipFile as error:
        raise ValueError(str(error)) from None


def check_size(size: int, most: int | None) -> None:
    """Raise MemoryError for what no store of `most` bytes has room for."""
    from icehouse.client.cli.words import size_text

    if most is not None and size > most:
        raise MemoryError(
            f"it is larger than the store, which has {size_text(most)}: --capacity of"
            " `icehouse serve` sets that"
        )


@contextmanager
def too_large(source: str) -> Iterator[None]:
    """Let what there is no memory for be named."""
    try:
        yield
    except MemoryError as error:
        said = str(error) or "there is no memory for it"
        source = "stdin" if source == "-" else source
        raise CommandError(f"{source}: {said}", ExitCode.FULL) from None


def read_pickle(data: Any) -> Any:
    """Read a pickle, which may run any code."""
    import pickle

    return pickle.loads(data)  # noqa: S301 - only with --unsafe-pickle


def read_text(data: Any) -> Any:
    """Read UTF-8."""
    return bytes(data).decode()


READERS: dict[str, Callable[[Any], Any]] = {
    "json": read_json,
    "jsonl": read_json_lines,
    "msgpack": read_msgpack,
    "csv": lambda data: read_table(data, ","),
    "tsv": lambda data: read_table(data, "\t"),
    "parquet": read_parquet,
    "npy": read_npy,
    "npz": read_npz,
    "pickle": read_pickle,
    "text": read_text,
    "raw": bytes,
}


def parse(
    data: Any, kind: str, source: str, *, unsafe_pickle: bool, most: int | None = None
) -> Any:
    """Make the object that a content stands for; CommandError where it is no such content.

    `most`: bytes that are too many for whatever is read.
    """
    if kind == "pickle" and not unsafe_pickle:
        raise CommandError(
            f"{source} is a pickle, which can run any code as you when it is read: give"
            " --unsafe-pickle if you made it, or --format raw to put its bytes",
            ExitCode.USAGE,
        )
    try:
        with too_large(source):
            return read_npz(data, most) if kind == "npz" else READERS[kind](data)
    except RecursionError:
        raise CommandError(f"{source} is nested too deeply to be read") from None
    except CommandError:
        raise
    except Exception as error:
        if kind == "pickle" or is_of_content(error):
            source = "stdin" if source == "-" else source
            raise CommandError(f"{source} can't be read as {kind}: {reason_of(error)}") from None
        raise


def reason_of(error: Exception) -> str:
    """Say in a line why a content is not what it should be, and what helps."""
    reason = str(error).replace("\n", " ") or type(error).__name__
    if "max_header_size" in reason:
        return "its header is longer than any that numpy writes of itself"
    if "allow_pickle" in reason:
        return "it holds Python objects, which means a pickle"
    if "integer string conversion" in reason:
        return "it has an integer of over 4300 digits"
    if isinstance(error, UnicodeDecodeError):
        return f"{reason}; it must be UTF-8, which `iconv -t UTF-8` makes"
    return reason


def is_of_content(error: Exception) -> bool:
    """Whether an error says that a content is not what it should be."""
    import msgspec

    return isinstance(error, ValueError | EOFError | msgspec.MsgspecError | KeyError | OSError)
