"""pandas: frames keep their blocks, over the image's memory; to_pandas of plain views (H27)."""

import contextlib
import datetime
import gc
from typing import Any

import data_cases
import pytest

import icehouse
from icehouse import NotFreezableError, Store, to_pandas

pd = pytest.importorskip("pandas")
np = pytest.importorskip("numpy")

PANDAS_3 = int(pd.__version__.partition(".")[0]) >= 3


def columns() -> dict[str, Any]:
    found: dict[str, Any] = {
        "int": [1, 2],
        "other int": [3, 4],
        "float": [1.5, float("nan")],
        "bool": [True, False],
        "text": ["x", "y"],
        "object": pd.Series([1, "a"], dtype=object),
        "time": pd.date_range("2020", periods=2),
        "zone": pd.date_range("2020", periods=2, tz="Europe/Berlin"),
        "offset": pd.date_range("2020", periods=2, tz=datetime.UTC),
        "delta": pd.timedelta_range("1D", periods=2),
        "period": pd.period_range("2020", periods=2, freq="M"),
        "interval": pd.interval_range(0, 2),
        "category": pd.Categorical(["a", "b"], ["b", "a"], ordered=True),
        "masked int": pd.array([1, None], dtype="Int64"),
        "masked float": pd.array([1.5, None], dtype="Float32"),
        "masked bool": pd.array([True, None], dtype="boolean"),
        "python string": pd.array(["a", None], dtype="string[python]"),
        "sparse": pd.arrays.SparseArray([0, 1]),
        "numpy": pd.array(np.array([1.5, 2.5]), dtype="float64"),
    }
    try:
        found["arrow string"] = pd.array(["a", None], dtype="string[pyarrow]")
        found["arrow"] = pd.array([1, 2], dtype="int32[pyarrow]")
    except ImportError:
        pass
    return found


COLUMNS = columns()


def same_blocks(found: Any, frame: Any) -> None:
    assert [type(block.values) for block in found._mgr.blocks] == [
        type(block.values) for block in frame._mgr.blocks
    ]


def test_a_frame_of_all_kinds_of_columns() -> None:
    frame = pd.DataFrame(COLUMNS)
    frame.attrs = {"made": "here"}
    for found in (data_cases.round_trip(frame), data_cases.stranger(frame)):
        assert type(found) is pd.DataFrame
        pd.testing.assert_frame_equal(found, frame)
        assert found.attrs == {"made": "here"}
        if PANDAS_3:
            same_blocks(found, frame)


@pytest.mark.parametrize("name", COLUMNS)
def test_series_and_arrays_of_every_kind(name: str) -> None:
    series = pd.Series(
        COLUMNS[name], index=["p", "q"] if name != "object" else None, name=(name, 1)
    )
    found = data_cases.round_trip(series)
    assert type(found) is pd.Series
    pd.testing.assert_series_equal(found, series)
    if not isinstance(series.array, np.ndarray):
        array = data_cases.round_trip(series.array)
        assert type(array) is type(series.array)
        assert array.dtype == series.array.dtype
    assert data_cases.round_trip(series.dtype) == series.dtype


INDEXES = [
    pd.RangeIndex(3, name="r"),
    pd.RangeIndex(10, 0, -2),
    pd.Index([1, 2], name=("a", 1)),
    pd.Index(["a", "b"]),
    pd.Index([1.5]),
    pd.Index([True]),
    pd.Index([1, "a"], dtype=object),
    pd.date_range("2020", periods=3, freq="D"),
    pd.date_range("2020", periods=3, freq="h", tz="UTC"),
    pd.DatetimeIndex(["2020", "1970"]),
    pd.timedelta_range("1D", periods=2),
    pd.period_range("2020", periods=2, freq="M"),
    pd.CategoricalIndex(["a", "b"]),
    pd.interval_range(0, 3),
    pd.MultiIndex.from_tuples([(1, "a"), (2, "b")], names=["x", "y"]),
]


@pytest.mark.parametrize("index", INDEXES, ids=lambda i: f"{type(i).__name__}-{i.dtype}")
def test_indexes(index: Any) -> None:
    for found in (data_cases.round_trip(index), data_cases.stranger(index)):
        pd.testing.assert_index_equal(found, index, exact=True)
        assert getattr(found, "freq", None) == getattr(index, "freq", None)
    if not isinstance(index, pd.MultiIndex):
        frame = pd.DataFrame({"a": range(len(index))}, index=index)
        pd.testing.assert_frame_equal(data_cases.round_trip(frame), frame)


def test_frames_of_odd_shapes() -> None:
    crossed = pd.MultiIndex.from_product([["x"], [1, 2]], names=["p", "q"])
    for frame in (
        pd.DataFrame(),
        pd.DataFrame(index=[1, 2]),
        pd.DataFrame(columns=["a", "b"]),
        pd.DataFrame([[1, 2]], columns=["a", "a"]),
        pd.DataFrame({("a", "b"): [1, 2], ("a", "c"): ["3", "4"]}, index=crossed),
        pd.DataFrame({"a": [1], "b": ["x"], "c": [2]})[["c", "b", "a"]],
    ):
        pd.testing.assert_frame_equal(data_cases.round_trip(frame), frame)


SCALARS = [
    pd.Timestamp("2020-01-01"),
    pd.Timestamp("2020-10-25 00:30", tz="UTC").tz_convert("Europe/Berlin"),
    pd.Timestamp("2020", tz=datetime.timezone(datetime.timedelta(hours=1))),
    pd.Timedelta("1D"),
    pd.Period("2020-01", "M"),
    pd.Interval(0, 1),
    pd.offsets.MonthEnd(2),
    pd.CategoricalDtype(["a"], ordered=True),
    pd.Int64Dtype(),
    pd.DatetimeTZDtype(tz="UTC"),
    pd.StringDtype(),
    pd.SparseDtype(int),
]


@pytest.mark.parametrize("scalar", SCALARS, ids=repr)
def test_scalars_and_dtypes(scalar: Any) -> None:
    found = data_cases.round_trip(scalar)
    assert type(found) is type(scalar)
    assert found == scalar


def test_what_there_is_one_of() -> None:
    assert data_cases.round_trip(pd.NA) is pd.NA
    assert data_cases.round_trip(pd.NaT) is pd.NaT
    assert icehouse.is_frozen(pd.Timestamp("2020"))
    assert icehouse.is_frozen(pd.NaT)


# --- no copies, lifetimes -------------------------------------------------------------------------


def big_frame() -> Any:
    n = 50_000
    frame = pd.DataFrame(np.arange(4.0 * n).reshape(n, 4), columns=list("abcd"))
    frame["when"] = pd.date_range("2020", periods=n, freq="s", tz="Europe/Berlin")
    frame["key"] = pd.Categorical.from_codes(np.arange(n) % 3, ["x", "y", "z"])
    frame["whole"] = pd.array(range(n), dtype="Int32")
    return frame


def memory_of(frame: Any) -> list[Any]:
    return [
        *(frame[name].to_numpy() for name in "abcd"),
        frame["when"].array._ndarray,
        frame["key"].array.codes,
        frame["whole"].array._data,
        frame["whole"].array._mask,
    ]


def test_all_arrays_of_a_frame_lie_in_the_image() -> None:
    frame = big_frame()
    view = icehouse.freeze([frame])
    inside = data_cases.image_range(view)
    found = view[0]
    pd.testing.assert_frame_equal(found, frame)
    for array in memory_of(found):
        assert data_cases.address(array) in inside
        assert not array.flags.writeable
    if PANDAS_3:
        matrix = found[list("abcd")].to_numpy()
        assert matrix.shape == (50_000, 4)
        assert len([b for b in found._mgr.blocks if b.values.dtype == "f8"]) == 1


def test_writes_into_a_frame_never_reach_the_image() -> None:
    frame = big_frame()
    view = icehouse.freeze([frame])
    found = view[0]
    # It depends on pandas's version whether it copies first.
    with contextlib.suppress(ValueError):
        found.loc[0, "a"] = -1.0
    found["new"] = 1
    found = found.drop(columns="b")
    pd.testing.assert_frame_equal(view[0], frame)


def test_a_thawed_frame_is_private_and_writable() -> None:
    frame = big_frame()
    view = icehouse.freeze([frame])
    thawed = icehouse.thaw(view)[0]
    pd.testing.assert_frame_equal(thawed, frame)
    thawed.loc[0, "a"] = -1.0
    thawed.loc[0, "whole"] = 7
    assert thawed.loc[0, "a"] == -1.0
    pd.testing.assert_frame_equal(view[0], frame)


def test_columns_outlive_view_store_and_handle() -> None:
    store = Store("64MiB")
    frame = big_frame()
    handle = store.put(frame)
    column = store.get(handle)["when"]
    store.delete(handle)
    store.put(bytes(1 << 20))
    gc.collect()
    pd.testing.assert_series_equal(column, frame["when"])
    store.close()
    pd.testing.assert_series_equal(column, frame["when"])


# --- refusals -------------------------------------------------------------------------------------


class Mine(pd.DataFrame):  # type: ignore[misc, unused-ignore]
    """A subclass of somebody."""


def test_what_can_not_be_frozen_says_why() -> None:
    with pytest.raises(NotFreezableError, match="subclass of a class of pandas") as caught:
        icehouse.freeze({"f": [Mine({"a": [1]})]})
    assert "['f'][0]" in str(caught.value)
    with pytest.raises(NotFreezableError):
        icehouse.freeze(pd.DataFrame({"a": [1, 1]}).groupby("a"))
    with pytest.raises(NotFreezableError):
        icehouse.freeze(pd.DataFrame({"a": pd.Series([iter(())], dtype=object)}))


# --- to_pandas (H27) ------------------------------------------------------------------------------


def test_h27_a_dict_of_columns_becomes_a_frame_of_them() -> None:
    data = {"number": list(range(1000)), "text": ["x"] * 1000, "float": [0.5] * 1000}
    view = icehouse.freeze(data)
    frame = to_pandas(view)
    pd.testing.assert_frame_equal(frame, pd.DataFrame(data))
    inside = data_cases.image_range(view)
    assert data_cases.address(frame["float"].to_numpy()) in inside


def test_h27_rows_lists_and_arrays() -> None:
    rows = [{"a": 1, "b": "x"}, {"a": 2, "b": "y"}]
    pd.testing.assert_frame_equal(to_pandas(icehouse.freeze(rows)), pd.DataFrame(rows))
    pd.testing.assert_series_equal(to_pandas(icehouse.freeze([1, 2])), pd.Series([1, 2]))
    pd.testing.assert_series_equal(to_pandas(icehouse.freeze(["a"])), pd.Series(["a"]))
    grid = icehouse.freeze(np.arange(6.0).reshape(2, 3))
    pd.testing.assert_frame_equal(to_pandas(grid), pd.DataFrame(np.arange(6.0).reshape(2, 3)))
    frame = pd.DataFrame({"a": [1]})
    assert to_pandas(frame) is frame
    pa = pytest.importorskip("pyarrow")
    table = icehouse.freeze(pa.table({"a": [1, 2]}))
    pd.testing.assert_frame_equal(to_pandas(table), pd.DataFrame({"a": [1, 2]}))
    with pytest.raises(TypeError, match="takes views"):
        to_pandas(5)
