"""Where a package is not installed: records whose parts can be read, and refusals that say so."""

import subprocess
import sys

import pytest

import icehouse

WITHOUT = """
import sys
for name in {names!r}:
    sys.modules[name] = None  # as if it were not installed
import icehouse
view = icehouse.open_image({path!r})
"""


def read_without(names: list[str], path: str, code: str) -> str:
    """What code prints in a process where these packages do not load, with `view` open."""
    source = WITHOUT.format(names=names, path=path) + code
    done = subprocess.run(
        [sys.executable, "-c", source], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_a_table_is_a_record(tmp_path: object) -> None:
    pa = pytest.importorskip("pyarrow")
    path = f"{tmp_path}/table.ice"
    icehouse.save(icehouse.freeze([pa.table({"a": [1, 2], "b": ["x", None]})]), path)
    code = """
table = view[0]
print(icehouse.type_name(table), list(table.names), table.rows, table.columns[0][0]["length"])
print("pyarrow" in [name for name, module in sys.modules.items() if module is not None])
"""
    assert read_without(["pyarrow"], path, code).splitlines() == [
        "pyarrow.lib.Table ['a', 'b'] 2 2",
        "False",
    ]


def test_a_frame_is_a_record_of_arrays(tmp_path: object) -> None:
    pd = pytest.importorskip("pandas")
    path = f"{tmp_path}/frame.ice"
    icehouse.save(icehouse.freeze([pd.DataFrame({"a": [1.5, 2.5]})]), path)
    code = """
frame = view[0]
print(icehouse.type_name(frame), frame.blocks[0][1].tolist(), icehouse.type_name(frame.index))
"""
    assert read_without(["pandas"], path, code) == (
        "pandas.DataFrame [[1.5, 2.5]] pandas.RangeIndex"
    )


def test_scalars_without_numpy_are_plain(tmp_path: object) -> None:
    np = pytest.importorskip("numpy")
    path = f"{tmp_path}/scalars.ice"
    objects = [np.float32(1.5), np.int8(3), np.str_("x"), np.datetime64(5, "s"), np.arange(3)]
    icehouse.save(icehouse.freeze(objects), path)
    code = """
print(view[0], view[1], view[2], icehouse.type_name(view[3]), view[3].value, view[4].tolist())
"""
    assert read_without(["numpy"], path, code) == "1.5 3 x numpy.generic 5 [0, 1, 2]"
