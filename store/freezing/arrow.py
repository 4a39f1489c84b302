"""Arrow: arrays, chunked arrays, record batches, tables, scalars, types and schemas of pyarrow.

Arrow's layout stays as it is: each buffer is a blob of the image, and what comes back is a real
pyarrow object over them, whose buffers keep the image alive. Nothing is copied on get. An array is

    {"length", "nulls", "offset", "buffers": [...], "children": [...], "dictionary"}

with its type in the schema of the whole, as Arrow's own IPC writes it. Of a slice only the part
that is seen is stored: it is copied once more, by Arrow, before it is frozen.

Objects of other packages that speak the PyCapsule interface freeze as the table or array that
pyarrow makes of them (capsules.py).

Offsets and indices of a hostile producer would crash a reader (HAZARDS H4): what is not of our own
user is validated in full, on private copies of the buffers or in memory that nobody can write.
"""

from typing import Any

from icehouse.store.freezing import codes
from icehouse.store.freezing.packages import as_bytes, as_int, in_place, package, record
from icehouse.store.freezing.refusal import Refusal
from icehouse.store.freezing.trust import Trust, module_of, name_of

# Of an array this much more than it shows may be stored before it is cut.
_WASTE_MAX = 1024
_DEPTH_MAX = 64


def rule(cls: type, base: type) -> tuple[Any, ...] | str | None:
    """Decide on what pyarrow itself defines: its classes have subclasses for each type."""
    extension = name_of(base) in ("pyarrow.lib.Array", "pyarrow.lib.Scalar", "pyarrow.lib.DataType")
    if module_of(cls).partition(".")[0] != "pyarrow" and not extension:
        return f"{name_of(cls)} is a subclass of a class of pyarrow; freeze the plain object"
    getter = _GETTERS.get(name_of(base))
    return None if getter is None else ("value", codes.ARROW, getter)


# ---- taking apart ------------------------------------------------------------------------------


class _Parts:
    """Takes arrays apart; a buffer that several share is one."""

    def __init__(self) -> None:
        self.seen: dict[tuple[int, int], memoryview] = {}

    def buffer(self, buffer: Any) -> memoryview | None:
        if buffer is None:
            return None
        if not buffer.is_cpu:
            raise Refusal("its memory is on a device; copy it to the CPU first")
        key = buffer.address, buffer.size
        if key not in self.seen:
            self.seen[key] = memoryview(buffer).cast("B")
        return self.seen[key]

    def array(self, array: Any) -> dict[str, Any]:
        pyarrow: Any = package("pyarrow")
        kind = array.type
        if isinstance(kind, pyarrow.BaseExtensionType):
            return self.array(array.storage)
        if _is_cut(array):
            array = pyarrow.concat_arrays([array])
        parts: dict[str, Any] = {
            "length": len(array),
            "nulls": array.null_count,
            "offset": array.offset,
        }
        if pyarrow.types.is_dictionary(kind):
            indices = self.array(array.indices)
            return {**indices, "dictionary": self.array(array.dictionary)}
        buffers = array.buffers()
        if kind.num_fields:
            buffers = buffers[: kind.num_buffers]
        parts["buffers"] = [self.buffer(buffer) for buffer in buffers]
        parts["children"] = [self.array(child) for child in _children(pyarrow, array)]
        return parts


def _is_cut(array: Any) -> bool:
    """Whether an array shows only a part of its buffers, or has children that its offset moves."""
    if array.offset and array.type.num_fields:
        return True
    try:
        seen: int = array.nbytes
    except TypeError:
        # Older pyarrow can't tell for views of text and lists.
        return bool(array.offset)
    return bool(array.get_total_buffer_size() > seen + seen // 8 + _WASTE_MAX)


def _children(pyarrow: Any, array: Any) -> list[Any]:
    kind, types = array.type, pyarrow.types
    if not kind.num_fields:
        return []
    if types.is_struct(kind) or types.is_union(kind):
        return [array.field(i) for i in range(kind.num_fields)]
    if types.is_run_end_encoded(kind):
        return [array.run_ends, array.values]
    if types.is_map(kind):
        pairs = kind.field(0).type
        entries = pyarrow.StructArray.from_arrays(
            [array.keys, array.items], fields=[pairs.field(0), pairs.field(1)]
        )
        return [entries]
    return [array.values]


def _schema(schema: Any) -> bytes:
    return bytes(memoryview(schema.serialize()))


def _one(kind: Any) -> Any:
    pyarrow: Any = package("pyarrow")
    return pyarrow.schema([pyarrow.field("", kind)])


def array_payload(array: Any) -> dict[str, Any]:
    """Take an array apart."""
    return {
        "kind": "array",
        "type": str(array.type),
        "schema": _schema(_one(array.type)),
        "chunks": [_Parts().array(array)],
    }


def chunked_payload(chunked: Any) -> dict[str, Any]:
    """Take a chunked array apart."""
    parts = _Parts()
    return {
        "kind": "chunked",
        "type": str(chunked.type),
        "schema": _schema(_one(chunked.type)),
        "chunks": [parts.array(chunk) for chunk in chunked.chunks],
    }


def scalar_payload(scalar: Any) -> dict[str, Any]:
    """Take a scalar apart, as an array of one."""
    pyarrow: Any = package("pyarrow")
    try:
        array = pyarrow.repeat(scalar, 1)
    except (pyarrow.ArrowNotImplementedError, pyarrow.ArrowInvalid, pyarrow.ArrowTypeError):
        array = pyarrow.array([scalar.as_py()], scalar.type)
    return {**array_payload(array), "kind": "scalar"}


def batch_payload(batch: Any) -> dict[str, Any]:
    """Take a record batch apart."""
    parts = _Parts()
    return {
        **_head("batch", batch),
        "columns": [parts.array(column) for column in batch.columns],
    }


def table_payload(table: Any) -> dict[str, Any]:
    """Take a table apart, chunk by chunk."""
    parts = _Parts()
    return {
        **_head("table", table),
        "columns": [[parts.array(chunk) for chunk in column.chunks] for column in table.columns],
    }


def _head(kind: str, table: Any) -> dict[str, Any]:
    return {
        "kind": kind,
        "names": list(table.schema.names),
        "types": [str(field.type) for field in table.schema],
        "rows": table.num_rows,
        "schema": _schema(table.schema),
    }


def schema_payload(schema: Any) -> dict[str, Any]:
    """Describe a schema, as Arrow writes it."""
    return {"kind": "schema", "type": str(schema), "schema": _schema(schema)}


def field_payload(field: Any) -> dict[str, Any]:
    """Describe a field, as the only one of a schema."""
    pyarrow: Any = package("pyarrow")
    return {"kind": "field", "type": str(field.type), "schema": _schema(pyarrow.schema([field]))}


def type_payload(kind: Any) -> dict[str, Any]:
    """Describe a type, as that of the only field of a schema."""
    return {"kind": "type", "type": str(kind), "schema": _schema(_one(kind))}


def buffer_payload(buffer: Any) -> dict[str, Any]:
    """Describe a buffer alone."""
    return {"kind": "buffer", "data": _Parts().buffer(buffer)}


_GETTERS = {
    "pyarrow.lib.Table": table_payload,
    "pyarrow.lib.RecordBatch": batch_payload,
    "pyarrow.lib.Array": array_payload,
    "pyarrow.lib.ChunkedArray": chunked_payload,
    "pyarrow.lib.Scalar": scalar_payload,
    "pyarrow.lib.DataType": type_payload,
    "pyarrow.lib.Field": field_payload,
    "pyarrow.lib.Schema": schema_payload,
    "pyarrow.lib.Buffer": buffer_payload,
}


# ---- putting together --------------------------------------------------------------------------

_NAMES = {
    "table": "pyarrow.lib.Table",
    "batch": "pyarrow.lib.RecordBatch",
    "array": "pyarrow.lib.Array",
    "chunked": "pyarrow.lib.ChunkedArray",
    "scalar": "pyarrow.lib.Scalar",
    "type": "pyarrow.lib.DataType",
    "field": "pyarrow.lib.Field",
    "schema": "pyarrow.lib.Schema",
    "buffer": "pyarrow.lib.Buffer",
}


def open_arrow(payload: Any, trust: Trust) -> Any:
    """Make the object again over the image's memory; a record where pyarrow does not load."""
    kind = payload["kind"]
    pyarrow = package("pyarrow")
    if pyarrow is None:
        return record(_NAMES[kind], payload)
    if kind == "buffer":
        return pyarrow.py_buffer(payload["data"])
    made = _make(pyarrow, kind, payload)
    if not in_place(trust):
        _validate(pyarrow, kind, made)
    return made[0] if kind == "scalar" else made


def _make(pyarrow: Any, kind: str, payload: Any) -> Any:
    schema = pyarrow.ipc.read_schema(pyarrow.py_buffer(as_bytes(payload["schema"])))
    if kind == "schema":
        return schema
    if kind == "batch":
        columns = [
            _array(pyarrow, field.type, column)
            for field, column in zip(schema, payload["columns"], strict=True)
        ]
        if columns:
            return pyarrow.RecordBatch.from_arrays(columns, schema=schema)
        return _without_columns(pyarrow, schema, payload)
    if kind == "table":
        columns = [
            pyarrow.chunked_array(
                [_array(pyarrow, field.type, chunk) for chunk in column], field.type
            )
            for field, column in zip(schema, payload["columns"], strict=True)
        ]
        if columns:
            return pyarrow.Table.from_arrays(columns, schema=schema)
        return pyarrow.Table.from_batches([_without_columns(pyarrow, schema, payload)])
    field = schema.field(0)
    if kind == "field":
        return field
    if kind == "type":
        return field.type
    chunks = [_array(pyarrow, field.type, chunk) for chunk in payload["chunks"]]
    if kind == "chunked":
        return pyarrow.chunked_array(chunks, field.type)
    if kind not in ("array", "scalar") or len(chunks) != 1:
        raise ValueError(f"there is no Arrow object of kind {kind!r}")
    return chunks[0]


def _without_columns(pyarrow: Any, schema: Any, payload: Any) -> Any:
    """Make a record batch of rows without columns: of nulls, which take no memory."""
    nulls = pyarrow.nulls(as_int(payload["rows"]))
    return pyarrow.record_batch({"": nulls}, metadata=schema.metadata).select([])


def _array(pyarrow: Any, kind: Any, parts: Any, depth: int = 0) -> Any:
    """Make the array that the parts describe. Its buffers are the image's memory."""
    if depth == _DEPTH_MAX:
        raise ValueError("Arrow types nested too deep")
    if isinstance(kind, pyarrow.BaseExtensionType):
        storage = _array(pyarrow, kind.storage_type, parts, depth + 1)
        return pyarrow.ExtensionArray.from_storage(kind, storage)
    if pyarrow.types.is_dictionary(kind):
        indices = _array(pyarrow, kind.index_type, {**parts, "dictionary": None}, depth + 1)
        values = _array(pyarrow, kind.value_type, parts["dictionary"], depth + 1)
        return pyarrow.DictionaryArray.from_arrays(
            indices, values, ordered=kind.ordered, safe=False
        )
    length, nulls, offset = (as_int(parts[name]) for name in ("length", "nulls", "offset"))
    if length < 0 or offset < 0 or not -1 <= nulls <= length or offset + length >= 1 << 62:
        raise ValueError("the extent of an Arrow array is impossible")
    buffers = [None if part is None else pyarrow.py_buffer(part) for part in parts["buffers"]]
    types = [kind.field(i).type for i in range(kind.num_fields)]
    children = [
        _array(pyarrow, child, part, depth + 1)
        for child, part in zip(types, parts["children"], strict=True)
    ]
    if len(buffers) < kind.num_buffers:
        raise ValueError(f"an Arrow array of {kind} has too few buffers")
    if pyarrow.types.is_run_end_encoded(kind):
        return pyarrow.RunEndEncodedArray.from_buffers(kind, length, buffers, -1, offset, children)
    return pyarrow.Array.from_buffers(kind, length, buffers, nulls, offset, children)


def _validate(pyarrow: Any, kind: str, made: Any) -> None:
    """Check every offset and index of what a stranger made; ValueError."""
    if kind in ("table", "batch", "array", "chunked", "scalar"):
        try:
            made.validate(full=True)
        except pyarrow.ArrowInvalid as error:
            raise ValueError(f"an Arrow {kind} that is not valid: {error}") from None
