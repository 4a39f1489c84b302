"""numpy: every kind of array, scalar and dtype comes back as it was, over the image's memory."""

import gc
from typing import Any

import data_cases
import pytest

import icehouse
from icehouse import NotFreezableError, Store

np = pytest.importorskip("numpy")

NUMPY_2 = np.lib.NumpyVersion(np.__version__) >= "2.0.0"
address = data_cases.address


def text_dtypes() -> list[Any]:
    return [np.dtypes.StringDType(), np.dtypes.StringDType(na_object=None)] if NUMPY_2 else []


def arrays() -> list[Any]:
    grid = np.arange(24).reshape(2, 3, 4)
    dates = np.array(["2020-01-01", "NaT", "1969-12-31T23:59"], "M8[s]")
    return [
        *(np.zeros((2, 3), kind) for kind in "? b B h H i I l L q Q e f d g F D G S5 U3".split()),
        *(np.arange(6).astype(kind) for kind in (">i4", ">f8", ">u2", ">c16")),
        np.array(5.5),
        np.array(3, "M8[ns]"),
        np.zeros((0, 3)),
        np.zeros((3, 0), "M8[D]"),
        grid,
        np.asfortranarray(grid),
        grid[:, ::2],
        grid[::-1],
        np.broadcast_to(np.array([1, 2]), (3, 2)),
        dates,
        dates[::2],
        dates.astype(">M8[ms]"),
        np.asfortranarray(np.zeros((2, 3), "m8[D]")),
        np.array([b"ab", b"c\0d"], "S3"),
        np.array(["ü", "\U0001f600"], "U2"),
        np.array([b"12345678"], "V8"),
        np.zeros(2, "i4,f8"),
        np.zeros(2, np.dtype([("a", "i1"), ("b", "f8")], align=True)),
        np.zeros(2, [("when", "M8[s]"), ("what", "i4", (2,))]),
        np.zeros(2, [(("title", "name"), "i4")]),
        np.zeros(2, {"names": ["a", "b"], "formats": ["i4", "i4"], "offsets": [0, 2]}),
        np.asfortranarray(np.ones((2, 3), [("when", "M8[s]"), ("what", "i4")])),
        np.ones(4, [("in", [("x", ">i2"), ("y", "M8[D]")])])[::2],
        np.array([1, "a", None, (2, 3)], object),
        np.array({"a": 1}, object),
        np.empty((2, 0), object),
        *(np.array([["a", "ü" * 40], ["", "b"]], dtype) for dtype in text_dtypes()),
        *([np.array(["a", None], np.dtypes.StringDType(na_object=None))] if NUMPY_2 else []),
    ]


@pytest.mark.parametrize("array", arrays(), ids=lambda a: f"{a.dtype}-{a.shape}")
def test_arrays_come_back_as_they_were(array: Any) -> None:
    found = data_cases.round_trip(array)
    assert type(found) is np.ndarray
    assert found.dtype == array.dtype
    assert found.dtype.fields == array.dtype.fields
    assert found.shape == array.shape
    assert not found.flags.writeable
    np.testing.assert_array_equal(found, array)
    if array.flags.f_contiguous and not array.flags.c_contiguous and array.size:
        assert found.flags.f_contiguous


@pytest.mark.parametrize("array", arrays(), ids=lambda a: f"{a.dtype}-{a.shape}")
def test_thawed_arrays_are_private_and_writable(array: Any) -> None:
    view = icehouse.freeze([array])
    thawed = icehouse.thaw(view)[0]
    assert type(thawed) is np.ndarray
    assert thawed.dtype == array.dtype
    np.testing.assert_array_equal(thawed, array)
    assert thawed.flags.writeable
    if thawed.size:
        thawed.flat[0] = thawed.flat[-1]
    np.testing.assert_array_equal(view[0], array)


@pytest.mark.parametrize(
    "array",
    [
        np.arange(100_000),
        np.arange(100_000).astype("M8[us]"),
        np.zeros(100_000, [("when", "M8[s]"), ("what", "i4")]),
        np.arange(100_000.0).astype("f4").reshape(100, 1000).T,
    ],
    ids=lambda a: str(a.dtype),
)
def test_their_memory_is_the_image(array: Any) -> None:
    view = icehouse.freeze([array])
    inside = data_cases.image_range(view)
    assert address(view[0]) in inside
    assert address(view[0]) == address(view[0])
    assert address(view[0]) % 64 == 0


def test_they_outlive_view_store_and_handle() -> None:
    store = Store("64MiB")
    original = np.arange(100_000).astype("M8[s]")
    handle = store.put({"a": original})
    view = store.get(handle)
    array = view["a"]
    part = array[10:20]
    del view, array
    store.delete(handle)
    filler = store.put(np.zeros(100_000))
    gc.collect()
    assert (part == original[10:20]).all()
    assert filler
    store.close()
    assert (part == original[10:20]).all()


def test_the_last_array_lets_the_image_go() -> None:
    with Store("64MiB") as store:
        handle = store.put({"a": np.arange(100_000).astype("M8[s]")})
        array = store.get(handle)["a"]
        store.delete(handle)
        assert store.usage().images == 0 or store.usage().deleted == 1
        assert store.usage().deleted == 1
        del array
        gc.collect()
        assert store.usage().deleted == 0


def test_an_array_met_twice_is_one() -> None:
    dates = np.arange(10_000).astype("M8[s]")
    view = icehouse.freeze([dates, dates])
    assert address(view[0]) == address(view[1])


# --- subclasses -----------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore::PendingDeprecationWarning")
def test_matrices_record_arrays_and_mapped_files(tmp_path: Any) -> None:
    matrix = np.matrix([[1, 2], [3, 4]])
    found = data_cases.round_trip(matrix)
    assert type(found) is np.matrix
    assert (found * found == matrix * matrix).all()
    records = np.rec.array([(1, 2.5), (3, 4.5)], dtype=[("a", "i4"), ("b", "f8")])
    back = data_cases.round_trip(records)
    assert type(back) is type(records)
    assert back.dtype == records.dtype
    assert back.a.tolist() == [1, 3]
    mapped = np.memmap(tmp_path / "file", "i4", "w+", shape=(10,))
    mapped[:] = 7
    plain = data_cases.round_trip(mapped)
    assert type(plain) is np.ndarray
    assert (plain == 7).all()


def test_subclasses_of_others_are_refused_with_the_reason() -> None:
    class Mine(np.ndarray):  # type: ignore[misc, name-defined, unused-ignore]
        pass

    with pytest.raises(NotFreezableError, match=r"subclass of numpy.ndarray") as caught:
        icehouse.freeze({"here": [np.arange(3).view(Mine)]})
    assert "['here'][0]" in str(caught.value)


@pytest.mark.parametrize("mask", [np.ma.nomask, [0, 1, 0]])
def test_masked_arrays(mask: Any) -> None:
    array = np.ma.array([1.5, 2.5, 3.5], mask=mask, fill_value=-1)
    array.harden_mask()
    found = data_cases.round_trip(array)
    assert type(found) is np.ma.MaskedArray
    assert (found.mask == array.mask).all()
    assert (found.mask is np.ma.nomask) == (array.mask is np.ma.nomask)
    assert found.data.tolist() == array.data.tolist(), "what is under the mask stays"
    assert found.fill_value == -1
    assert found.hardmask
    assert found.sum() == array.sum()
    with pytest.raises(ValueError, match="read-only"):
        found[0] = 3
    assert data_cases.round_trip(np.ma.masked) is np.ma.masked


# --- scalars and dtypes ---------------------------------------------------------------------------


def scalars() -> list[Any]:
    return [
        *(np.dtype(code).type(1) for code in "bBhHiIlLqQefdgFDG"),
        np.array([True])[0],
        np.str_("ü"),
        np.bytes_(b"x"),
        np.float64("nan"),
        np.float16(-0.0),
        np.longdouble(1) / 3,
        np.complex64(1 + 2j),
        np.datetime64("2020-01-01T00", "h"),
        np.datetime64("NaT", "s"),
        np.timedelta64(-3, "D"),
        np.void(b"abc"),
        np.array([(1, 2.5)], [("a", ">i4"), ("b", "f8")])[0],
    ]


@pytest.mark.parametrize("scalar", scalars(), ids=repr)
def test_scalars_keep_their_types(scalar: Any) -> None:
    found = data_cases.round_trip(scalar)
    assert type(found) is type(scalar)
    assert found.dtype == scalar.dtype
    assert found.tobytes() == scalar.tobytes()


@pytest.mark.parametrize(
    "dtype",
    [
        *map(np.dtype, ["f8", ">i4", "U7", "M8[25s]", "V3", "i4,f8"]),
        np.dtype([("a", "i1"), ("b", "f8", (2, 3))], align=True),
        *text_dtypes(),
    ],
    ids=repr,
)
def test_dtypes(dtype: Any) -> None:
    found = data_cases.round_trip(dtype)
    assert found == dtype
    assert type(found) is type(dtype)
    assert found.isalignedstruct == dtype.isalignedstruct


def test_classes_of_numpy_come_back_as_themselves() -> None:
    assert data_cases.round_trip(np.float32) is np.float32
    assert data_cases.round_trip(np.ndarray) is np.ndarray


def test_what_is_frozen_by_nature() -> None:
    assert icehouse.is_frozen(np.float64(1))
    assert icehouse.is_frozen(np.str_("x"))
    assert icehouse.is_frozen(np.dtype("f8"))
    assert not icehouse.is_frozen(np.arange(3))
    assert not icehouse.is_frozen(np.array([(1,)], [("a", "i4")])[0])


# --- refusals -------------------------------------------------------------------------------------


def test_what_can_not_be_frozen_says_why() -> None:
    array = np.empty(1, object)
    array[0] = array
    with pytest.raises(NotFreezableError):
        icehouse.freeze(array)
    with pytest.raises(NotFreezableError, match="fields that are Python objects"):
        icehouse.freeze(np.zeros(2, [("a", object)]))
    with pytest.raises(NotFreezableError) as caught:
        icehouse.freeze({"k": np.array([1, open], object)[:1], "bad": np.array([iter("")], object)})
    assert "['bad']" in str(caught.value)


# --- hostile images (H4) --------------------------------------------------------------------------


@pytest.mark.parametrize("array", arrays(), ids=lambda a: f"{a.dtype}-{a.shape}")
def test_h04_arrays_of_strangers_are_private_copies(array: Any) -> None:
    image = bytearray(icehouse.native._image._image_bytes([array]))
    view = data_cases.opened(image)
    found = view[0]
    before = found.copy()
    image[64:] = bytes(len(image) - 64)
    np.testing.assert_array_equal(found, before)


def test_h04_an_index_array_that_flips_is_a_copy_when_it_is_used() -> None:
    numbers = np.arange(1000)
    image = bytearray(icehouse.native._image._image_bytes([numbers]))
    index = data_cases.opened(image)[0]
    target = np.zeros(1000)
    at = bytes(image).rindex(numbers.tobytes())
    image[at : at + numbers.nbytes] = b"\xff\xff\xff\x7f" * (numbers.nbytes // 4)
    target[index] = 1.0
    assert target.all()
