"""Polars: frames and series through Arrow, over the image's memory."""

import datetime
import decimal
import gc
from typing import Any

import data_cases
import pytest

import icehouse
from icehouse import NotFreezableError, Store

pl = pytest.importorskip("polars")
pytest.importorskip("pyarrow")


def columns() -> dict[str, Any]:
    return {
        "int": [1, None],
        "float": [1.5, float("nan")],
        "bool": [True, None],
        "text": ["x", "y" * 30],
        "binary": [b"x", b"y" * 30],
        "list": [[1], [2, 3]],
        "date": [datetime.date(2020, 1, 1), None],
        "time": [datetime.time(1), None],
        "datetime": pl.Series(
            [datetime.datetime(2020, 1, 1)] * 2, dtype=pl.Datetime("ms", "Europe/Berlin")
        ),
        "duration": [datetime.timedelta(1), None],
        "categorical": pl.Series(["u", "v"], dtype=pl.Categorical),
        "enum": pl.Series(["u", "v"], dtype=pl.Enum(["u", "v"])),
        "struct": [{"x": 1}, {"x": 2}],
        "array": pl.Series([[1, 2], [3, 4]], dtype=pl.Array(pl.Int8, 2)),
        "decimal": pl.Series([decimal.Decimal("1.2"), None]),
        "null": [None, None],
    }


COLUMNS = columns()


@pytest.mark.parametrize("name", COLUMNS)
def test_series_of_every_dtype(name: str) -> None:
    series = pl.Series(name, COLUMNS[name])
    found = data_cases.round_trip(series)
    assert type(found) is pl.Series
    assert found.dtype == series.dtype
    assert found.name == name
    assert found.equals(series, null_equal=True) or name == "float"
    assert found.to_list()[:1] == series.to_list()[:1]


def test_frames() -> None:
    frame = pl.DataFrame(COLUMNS)
    for found in (data_cases.round_trip(frame), data_cases.stranger(frame)):
        assert type(found) is pl.DataFrame
        assert found.schema == frame.schema
        assert found.equals(frame)
    assert data_cases.round_trip(pl.DataFrame()).equals(pl.DataFrame())


def test_numbers_lie_in_the_image_and_outlive_it() -> None:
    store = Store("64MiB")
    frame = pl.DataFrame({"a": range(100_000), "b": [f"text number {i}" for i in range(100_000)]})
    handle = store.put([frame])
    view = store.get(handle)
    inside = data_cases.image_range(view)
    found = view[0]
    assert data_cases.address(found["a"].to_numpy(allow_copy=False)) in inside
    assert not found["a"].to_numpy(allow_copy=False).flags.writeable
    del view
    store.delete(handle)
    store.put(bytes(1 << 20))
    gc.collect()
    assert found.equals(frame)
    assert found.filter(pl.col("a") > 99_990).height == 9
    store.close()
    assert found.equals(frame)


def test_chunks_stay() -> None:
    frame = pl.concat([pl.DataFrame({"a": [1, 2]}), pl.DataFrame({"a": [3]})], rechunk=False)
    assert data_cases.round_trip(frame).n_chunks() == 2


def test_what_can_not_be_frozen_says_why() -> None:
    with pytest.raises(NotFreezableError, match="collect"):
        icehouse.freeze([pl.LazyFrame({"a": [1]})])
    with pytest.raises(NotFreezableError, match="holds Python objects"):
        icehouse.freeze([pl.DataFrame({"o": pl.Series([object()], dtype=pl.Object)})])
