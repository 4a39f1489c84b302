"""Arrow: buffers stay where they are, and what comes back is pyarrow's own."""

import datetime
import decimal
import gc
from typing import Any

import data_cases
import pytest

import icehouse
from icehouse import CorruptImage, NotFreezableError, Store
from icehouse.native import _image

pa = pytest.importorskip("pyarrow")


def arrays() -> dict[str, Any]:
    codes, offsets = pa.array([0, 1, 1], pa.int8()), pa.array([0, 0, 1], pa.int32())
    found = {
        "int": pa.array([1, None, 3]),
        "bool": pa.array([True, None, False] * 10),
        "text": pa.array(["a", None, "ccc"]),
        "large text": pa.array(["a", None, "b" * 50], pa.large_string()),
        "text view": pa.array(["a", "b" * 40, None], pa.string_view()),
        "binary view": pa.array([b"a", b"b" * 40], pa.binary_view()),
        "binary": pa.array([b"x", None, b""]),
        "fixed binary": pa.array([b"abc", None], pa.binary(3)),
        "list": pa.array([[1, 2], None, [], [3]]),
        "large list": pa.array([[1], None], pa.large_list(pa.int8())),
        "fixed list": pa.array([[1, 2], None, [3, 4]], pa.list_(pa.int16(), 2)),
        "list view": pa.array([[1, 2], [3]], pa.list_view(pa.int64())),
        "struct": pa.array([{"a": 1, "b": "x"}, None, {"a": None, "b": "y"}]),
        "map": pa.array([[("k", 1)], None, [("a", 2), ("b", None)]], pa.map_("string", "int32")),
        "dictionary": pa.array(["a", "b", None, "a"]).dictionary_encode(),
        "null": pa.nulls(5),
        "decimal": pa.array([decimal.Decimal("1.23"), None]),
        "decimal256": pa.array([decimal.Decimal("1.23")], pa.decimal256(40, 2)),
        "time": pa.array([datetime.datetime(2020, 1, 1)], pa.timestamp("us", "Europe/Berlin")),
        "date": pa.array([datetime.date(2020, 1, 1), None]),
        "duration": pa.array([datetime.timedelta(1)]),
        "interval": pa.array([pa.MonthDayNano([1, 2, 3])]),
        "dense union": pa.UnionArray.from_dense(
            codes, offsets, [pa.array([5]), pa.array(["a", "b"])]
        ),
        "sparse union": pa.UnionArray.from_sparse(
            codes, [pa.array([5, 6, 7]), pa.array(["a", "b", "c"])]
        ),
        "runs": pa.RunEndEncodedArray.from_arrays([2, 5], pa.array(["x", "y"])),
        "nested": pa.array([[{"a": [1, 2], "d": {"x": "q"}}], None, [{"a": None, "d": None}]]),
        "list of dictionaries": pa.array(
            [["a", "b"], ["a"]], pa.list_(pa.dictionary(pa.int8(), pa.string()))
        ),
        "empty": pa.array([], pa.string()),
    }
    if hasattr(pa, "uuid"):
        found["uuid"] = pa.array([b"0123456789abcdef", None], pa.uuid())
    return found


ARRAYS = arrays()
each_array = pytest.mark.parametrize("array", ARRAYS.values(), ids=ARRAYS.keys())


def same(found: Any, original: Any) -> None:
    assert type(found) is type(original)
    assert found.equals(original)
    assert found.type == original.type
    found.validate(full=True)


@each_array
def test_arrays_of_every_type_and_slices_of_them(array: Any) -> None:
    for part in (array, array[1:], array[1:2], array[:0], array[-1:]):
        same(data_cases.round_trip(part), part)
        same(icehouse.thaw(icehouse.freeze([part]))[0], part)


@each_array
def test_chunked_arrays_tables_and_batches(array: Any) -> None:
    chunked = pa.chunked_array([array, array[1:], array[:0]], array.type)
    found = data_cases.round_trip(chunked)
    same(found, chunked)
    assert [len(chunk) for chunk in found.chunks] == [len(chunk) for chunk in chunked.chunks]
    table = pa.table({"column": chunked, "number": range(len(chunked))}, metadata={"k": "v"})
    for part in (table, table.slice(1), table.slice(0, 0)):
        back = data_cases.round_trip(part)
        assert back.equals(part, check_metadata=True)
        assert back.schema.equals(part.schema, check_metadata=True)
    batch = pa.record_batch({"column": array})
    assert data_cases.round_trip(batch).equals(batch)


@each_array
def test_scalars_types_fields_and_schemas(array: Any) -> None:
    for i in range(len(array)):
        found = data_cases.round_trip(array[i])
        assert type(found) is type(array[i])
        assert found == array[i]
    assert data_cases.round_trip(array.type) == array.type
    field = pa.field("name", array.type, nullable=array.type == pa.null(), metadata={"a": "b"})
    assert data_cases.round_trip(field).equals(field, check_metadata=True)
    schema = pa.schema([field, pa.field("other", pa.int8())], metadata={"c": "d"})
    assert data_cases.round_trip(schema).equals(schema, check_metadata=True)


def test_tables_without_columns_or_rows() -> None:
    for table in (pa.table({}), pa.table({"a": pa.array([], pa.int8())})):
        assert data_cases.round_trip(table).equals(table)
    rows = pa.table({"a": [1, 2, 3]}).select([])
    assert data_cases.round_trip(rows).num_rows == rows.num_rows
    twice = pa.Table.from_arrays([pa.array([1]), pa.array(["x"])], names=["a", "a"])
    assert data_cases.round_trip(twice).equals(twice)


# --- no copies, lifetimes -------------------------------------------------------------------------


def addresses(table: Any) -> list[int]:
    return [
        buffer.address
        for column in table.columns
        for chunk in column.chunks
        for buffer in chunk.buffers()
        if buffer is not None and buffer.size
    ]


def big_table() -> Any:
    n = 100_000
    return pa.table(
        {
            "number": pa.array(range(n), pa.int64()),
            "text": pa.array([f"text {i}" if i % 7 else None for i in range(n)]),
            "list": pa.array([[i, i + 1] for i in range(n)]),
            "key": pa.array([str(i % 10) for i in range(n)]).dictionary_encode(),
        }
    )


def test_all_buffers_lie_in_the_image() -> None:
    view = icehouse.freeze([big_table()])
    inside = data_cases.image_range(view)
    found = view[0]
    assert len(addresses(found)) == 7
    assert all(at in inside for at in addresses(found))
    assert addresses(view[0]) == addresses(found), "nothing is copied on the second access either"
    assert all(at % 16 == 0 for at in addresses(found))
    assert pa.table(found).equals(big_table())


def test_the_capsules_of_what_comes_back_copy_nothing() -> None:
    view = icehouse.freeze([big_table()])
    again = pa.table(pa.RecordBatchReader.from_stream(view[0]).read_all())
    assert addresses(again) == addresses(view[0])


def test_they_outlive_view_store_and_handle() -> None:
    store = Store("64MiB")
    handle = store.put(big_table())
    column = store.get(handle)["text"]
    store.delete(handle)
    for _ in range(3):
        store.put(bytes(1 << 20))
    gc.collect()
    assert column.equals(big_table()["text"])
    store.close()
    assert column.equals(big_table()["text"])


def test_the_last_buffer_lets_the_image_go() -> None:
    with Store("64MiB") as store:
        handle = store.put([big_table()])
        buffer = store.get(handle)[0]["number"].chunk(0).buffers()[1]
        store.delete(handle)
        gc.collect()
        assert store.usage().deleted == 1
        del buffer
        gc.collect()
        assert store.usage().deleted == 0


def test_a_slice_takes_what_it_shows() -> None:
    table = big_table()
    whole = len(_image._image_bytes(table))
    for part in (table.slice(50_000, 100), table.slice(10, 100)):
        assert len(_image._image_bytes(part)) < whole / 20
        assert data_cases.round_trip(part).equals(part)


def test_what_columns_share_is_stored_once() -> None:
    column = pa.array(range(100_000))
    once = len(_image._image_bytes(pa.table({"a": column})))
    assert len(_image._image_bytes(pa.table({"a": column, "b": column}))) < once * 1.1


class Exporter:
    """An object of another package that speaks the capsule interface."""

    def __init__(self, table: Any) -> None:
        self.table = table

    def __arrow_c_stream__(self, requested_schema: Any = None) -> Any:
        return self.table.__arrow_c_stream__(requested_schema)


class ArrayExporter:
    def __init__(self, array: Any) -> None:
        self.array = array

    def __arrow_c_array__(self, requested_schema: Any = None) -> Any:
        return self.array.__arrow_c_array__(requested_schema)


def test_objects_that_speak_the_capsule_interface_freeze_as_arrow() -> None:
    table = pa.table({"a": [1, 2], "b": ["x", None]})
    assert data_cases.round_trip(Exporter(table)).equals(table)
    array = pa.array([1, None])
    assert data_cases.round_trip(ArrayExporter(array)).equals(array)


# --- hostile images (H4) --------------------------------------------------------------------------


@each_array
def test_h04_arrays_of_strangers_are_validated_private_copies(array: Any) -> None:
    same(data_cases.stranger(array), array)


def test_h04_buffers_of_strangers_do_not_change_after_they_were_validated() -> None:
    table = big_table()
    image = bytearray(_image._image_bytes([table]))
    found = data_cases.opened(image)[0]
    image[64:] = b"\xff" * (len(image) - 64)
    assert found.equals(table)
    found.validate(full=True)


def patched(array: Any, old: bytes, new: bytes) -> Any:
    image = _image._image_bytes([array])
    assert image.count(old) == 1
    return data_cases.opened(bytearray(image.replace(old, new)))


def test_h04_offsets_and_indices_out_of_range_are_damage() -> None:
    offsets = pa.array(["ab", "cde", "f"])
    start = bytes(offsets.buffers()[1])[:16]
    wild = (0).to_bytes(4, "little") + (2).to_bytes(4, "little") + b"\xff\xff\xff\x7f" * 2
    with pytest.raises(CorruptImage):
        patched(offsets, start, wild)[0]
    keys = pa.array([str(i) for i in range(40, 60)]).dictionary_encode()
    indices = bytes(keys.indices.buffers()[1])[:80]
    with pytest.raises(CorruptImage):
        patched(keys, indices, indices[:-4] + (1 << 20).to_bytes(4, "little"))[0]


def test_what_can_not_be_frozen_says_why() -> None:
    with pytest.raises(NotFreezableError):
        icehouse.freeze([pa.default_memory_pool()])
