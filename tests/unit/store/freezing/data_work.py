"""What test_data_interpreters.py calls in other interpreters, where no such package loads."""

from typing import Any

import icehouse


def look_at_arrays(view: Any) -> list[Any]:
    numbers, dates, scalar = view["numbers"], view["dates"], view["scalar"]
    return [
        type(numbers).__name__,
        numbers[2],
        icehouse.type_name(dates),
        type(dates.data).__name__,
        dates.data[1],
        dates.dtype,
        scalar,
        view["masked"].data[0],
    ]


def look_at_tables(view: Any) -> list[Any]:
    table, frame, matrix = view["table"], view["frame"], view["matrix"]
    chunk = table.columns[0][0]
    numbers = memoryview(chunk["buffers"][1]).cast("q")
    return [
        icehouse.type_name(table),
        list(table.names),
        list(table.types),
        numbers[: chunk["length"]].tolist(),
        icehouse.type_name(frame),
        frame.blocks[0][1].tolist(),
        icehouse.type_name(frame.index),
        icehouse.type_name(matrix),
        matrix.indices.tolist(),
    ]
