"""An Arrow table and a DataFrame: what data people share."""

import importlib
import pickle
from collections.abc import Callable, Iterator
from typing import Any

from icehouse.client.bench.cases import PICKLE_PROTOCOL
from icehouse.client.bench.fixed import Bench
from icehouse.client.bench.harness import Side, once
from icehouse.client.bench.result import OURS, Result

ROWS = 1_000_000
ROWS_QUICK = 2_000


def load(name: str) -> Any:
    """Import a package; None where it is not installed."""
    try:
        return importlib.import_module(name)
    except ImportError:
        return None


def frames(bench: Bench) -> Iterator[Result]:
    """Put and read a table and a frame of a million rows; nothing without pyarrow and pandas."""
    pyarrow, pandas = load("pyarrow"), load("pandas")
    if pyarrow is None or pandas is None:
        return
    rows = ROWS_QUICK if bench.quick else ROWS
    table = pyarrow.table(
        {
            "number": pyarrow.array(range(rows)),
            "value": pyarrow.array([i * 0.25 for i in range(rows)]),
            "name": pyarrow.array([f"sensor-{i % 1000}" for i in range(rows)]),
        }
    )
    yield from compared(bench, f"Arrow table, {rows:,} rows", table, sum_of_table, ipc(pyarrow))
    yield from compared(bench, f"DataFrame, {rows:,} rows", table.to_pandas(), sum_of_frame, None)


def sum_of_table(table: Any) -> Any:
    """Read a column of a table."""
    compute: Any = importlib.import_module("pyarrow.compute")
    return compute.sum(table.column("value")).as_py()


def sum_of_frame(frame: Any) -> Any:
    """Read a column of a frame."""
    return frame["value"].sum()


def ipc(pyarrow: Any) -> tuple[Callable[[Any], Any], Callable[[Any], Any]]:
    """Write and read Arrow's own stream format."""

    def write(table: Any) -> Any:
        sink = pyarrow.BufferOutputStream()
        with pyarrow.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table)
        return sink.getvalue()

    return write, lambda buffer: pyarrow.ipc.open_stream(buffer).read_all()


def compared(
    bench: Bench,
    label: str,
    native: Any,
    read: Callable[[Any], Any],
    stream: tuple[Callable[[Any], Any], Callable[[Any], Any]] | None,
) -> Iterator[Result]:
    """Put, get and read, against pickle 5 and, for tables, Arrow's stream."""
    pickled = pickle.dumps(native, PICKLE_PROTOCOL)

    def put() -> None:
        bench.store.delete(bench.store.put(native))

    puts: list[Side] = [
        once(OURS, put),
        once("pickle", lambda: pickle.dumps(native, PICKLE_PROTOCOL)),
    ]
    if stream is not None:
        puts.append(once("Arrow IPC", lambda: stream[0](native)))
    yield from bench.timed("put", label, puts)
    handle = bench.store.put(native)
    gets: list[Side] = [
        once(OURS, lambda: read(bench.store.get(handle))),
        once("pickle", lambda: read(pickle.loads(pickled))),  # noqa: S301 - our own bytes
    ]
    if stream is not None:
        written = stream[0](native)
        gets.append(once("Arrow IPC", lambda: read(stream[1](written))))
    yield from bench.timed("get and sum a column", label, gets)
    bench.store.delete(handle)
    bench.store.trim()
