"""Damaged images of arrays, tables and frames: CorruptImage or something usable, never a crash."""

import datetime
import random
import warnings
from collections.abc import Callable
from typing import Any

import data_cases
import pytest

import icehouse
from icehouse.native import _image

np = pytest.importorskip("numpy")


def numpy_things() -> list[Any]:
    return [
        np.arange(5).astype("M8[s]"),
        np.zeros(3, [(("t", "n"), "i4"), ("when", "M8[D]")]),
        np.array([1, "a", None], object),
        np.ma.array([1, 2], mask=[0, 1]),
        np.float32(1.5),
        np.datetime64("2020", "s"),
        np.dtype([("a", "i1"), ("b", "f8", (2,))], align=True),
    ]


def arrow_things() -> list[Any]:
    pa = pytest.importorskip("pyarrow")
    return [
        pa.array(["a", None, "ccc"]),
        pa.array([[1, 2], None, [3]]),
        pa.array(["a", "b", "a"]).dictionary_encode(),
        pa.table({"a": [{"x": 1, "y": "z"}, None], "b": [True, False]}),
        pa.RunEndEncodedArray.from_arrays([2, 5], pa.array(["x", "y"])),
    ]


def pandas_things() -> list[Any]:
    pd = pytest.importorskip("pandas")
    return [
        pd.DataFrame({"a": [1, 2], "b": [1.5, 2.5], "c": pd.Categorical(["x", "y"])}),
        pd.Series(pd.date_range("2020", periods=3, tz="UTC"), name="s"),
        pd.MultiIndex.from_product([["x", "y"], [1, 2]]),
        pd.DataFrame({"p": pd.period_range("2020", periods=2, freq="M")}, index=["q", "r"]),
        pd.arrays.SparseArray([0, 1, 0, 2]),
        pd.Timestamp("2020", tz=datetime.UTC),
        pd.array([1, None], dtype="Int64"),
    ]


def sparse_things() -> list[Any]:
    sparse = pytest.importorskip("scipy.sparse")
    dense = np.tri(6)
    return [getattr(sparse, f"{form}_array")(dense) for form in ("csr", "bsr", "coo", "dia", "lil")]


def polars_things() -> list[Any]:
    pytest.importorskip("pyarrow")
    pl = pytest.importorskip("polars")
    return [pl.DataFrame({"a": [1, None], "b": ["x", "y" * 20], "c": [[1], [2, 3]]})]


def use(obj: Any) -> None:
    """Touch all of it: what was checked when it was opened must hold."""
    for name in ("to_pylist", "tolist", "toarray", "rows", "to_numpy"):
        method = getattr(obj, name, None)
        if method is not None:
            method()
            break
    repr(obj)


def damaged(image: bytes, dice: random.Random) -> bytearray:
    copy = bytearray(image)
    for _ in range(dice.choice((1, 1, 2, 4))):
        at = dice.randrange(48, len(copy))
        copy[at] = dice.choice((0, 1, 0x7F, 0x80, 0xFF, dice.randrange(256), copy[at] ^ 1))
    return copy


@pytest.mark.slow
@pytest.mark.parametrize(
    "things",
    [numpy_things, arrow_things, pandas_things, sparse_things, polars_things],
    ids=lambda f: f.__name__,
)
def test_h04_damage_is_found_or_harmless(things: Callable[[], list[Any]], soak_factor: int) -> None:
    seed = random.randrange(1 << 32)
    print("seed", seed)
    dice = random.Random(seed)
    for thing in things():
        image = _image._image_bytes([thing])
        outcomes = {"opened": 0, "refused": 0}
        for _ in range(120 * soak_factor):
            copy = damaged(image, dice)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                try:
                    found = data_cases.opened(copy)[0]
                except (icehouse.CorruptImage, MemoryError, IndexError, TypeError):
                    outcomes["refused"] += 1
                    continue
                outcomes["opened"] += 1
                try:
                    use(found)
                except Exception:  # Odd values have no text; a crash is what we look for.
                    continue
        assert outcomes["opened"]
        assert outcomes["refused"]
