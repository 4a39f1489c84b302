"""Arrays, tables and frames in interpreters where numpy and pyarrow do not load."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import icehouse
from icehouse import interpreters

np = pytest.importorskip("numpy")
HERE = str(Path(__file__).parent)
sys.path.insert(0, HERE)
import data_work as work  # noqa: E402

sys.path.remove(HERE)
pytestmark = pytest.mark.skipif(not interpreters.own_gil(), reason="numpy loads in interpreters")


@pytest.fixture
def other(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.syspath_prepend(HERE)
    with interpreters.Interpreter() as interpreter:
        yield interpreter


def test_arrays_are_frozen_arrays_and_the_rest_is_readable(other: Any) -> None:
    view = icehouse.freeze(
        {
            "numbers": np.arange(5.0),
            "dates": np.array(["1970-01-01", "1970-01-02"], "M8[s]"),
            "scalar": np.float32(1.5),
            "masked": np.ma.array([7, 8], mask=[0, 1]),
        }
    )
    assert other.call(work.look_at_arrays, view) == [
        *("FrozenArray", 2.0, "numpy.ndarray", "FrozenArray", 86400, "<M8[s]", 1.5, 7)
    ]


def test_tables_and_frames_are_records_with_readable_buffers(other: Any) -> None:
    pa = pytest.importorskip("pyarrow")
    pd = pytest.importorskip("pandas")
    sparse = pytest.importorskip("scipy.sparse")
    view = icehouse.freeze(
        {
            "table": pa.table({"a": [1, 2, 3], "b": ["x", "y", "z"]}),
            "frame": pd.DataFrame({"p": [1.5, 2.5]}),
            "matrix": sparse.csr_matrix(np.eye(3)),
        }
    )
    assert other.call(work.look_at_tables, view) == [
        "pyarrow.lib.Table",
        ["a", "b"],
        ["int64", "string"],
        [1, 2, 3],
        "pandas.DataFrame",
        [[1.5, 2.5]],
        "pandas.RangeIndex",
        "scipy.sparse.csr_matrix",
        [0, 1, 2],
    ]
