"""FrozenArray: arrays read in place, with numpy and without."""

import array
import collections.abc
import copy
import ctypes
import mmap
import operator
import struct
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

import icehouse
from icehouse import CorruptImage, FrozenArray, FrozenError, freeze
from icehouse.native import _image

CODES = {
    "b": [-128, 127, 0],
    "B": [255, 0, 1],
    "h": [-32768, 32767],
    "H": [65535, 0],
    "i": [-(2**31), 2**31 - 1],
    "I": [2**32 - 1],
    "l": [-(2**63), 2**63 - 1],
    "L": [2**64 - 1],
    "q": [-(2**63), 2**63 - 1, -1],
    "Q": [2**64 - 1],
    "f": [1.5, -0.0, float("inf")],
    "d": [1.1, -1e300],
}


def outcome(function: Callable[..., Any], *args: Any) -> Any:
    try:
        return function(*args)
    except Exception as error:
        return type(error)


def cast(content: bytes, code: str, shape: tuple[int, ...]) -> memoryview:
    return memoryview(content).cast("B").cast(code, shape)


def crafted(
    code: str,
    shape: tuple[int, ...],
    content: bytes,
    *,
    size: int | None = None,
    order: str = "C",
    stored: int | None = None,
) -> bytes:
    """An image whose root is an array (of a memoryview) with whatever record one likes."""
    text = code.encode()
    size = size or max(1, struct.calcsize(code))
    record = 64 + 4 + 24 + 8 * len(shape) + len(text)
    start = (record + 63) // 64 * 64
    node = struct.pack("<I", 27 | 0x80 | len(shape) << 8)
    node += struct.pack("<BBHI", 2, ord(order), len(text), size)
    node += struct.pack("<QQ", start, len(content) if stored is None else stored)
    node += struct.pack(f"<{len(shape)}Q", *shape) + text
    end = (start + len(content) + 3) // 4 * 4
    header = struct.pack("<HBBIQ", 0x4849, 3, 0, 64 // 2, end)
    image = bytes(48) + header + node
    return (image.ljust(start, b"\0") + content).ljust(end, b"\0")


def opened(*args: Any, **kwargs: Any) -> FrozenArray:
    view = _image._open_buffer(crafted(*args, **kwargs))
    assert type(view) is FrozenArray
    return view


# --- one dimension, against array.array ---


@pytest.mark.parametrize("length", [0, 1, 5, 3000])
@pytest.mark.parametrize("code", CODES)
def test_like_array_array(code: str, length: int) -> None:
    original = array.array(code, CODES[code] * length)
    view = freeze(original)
    n = len(original)
    assert type(view) is FrozenArray
    assert (len(view), view.shape, view.ndim, view.size) == (n, (n,), 1, n)
    assert (view.format, view.itemsize) == (code, original.itemsize)
    assert view.nbytes == n * original.itemsize
    assert view.strides == (original.itemsize,)
    assert view.tolist() == original.tolist() == list(view)
    assert view.tobytes() == original.tobytes()
    assert list(reversed(view[:])) == original.tolist()[::-1] if n else True
    for i in (0, 1, n - 1, n, -1, -n, -n - 1, 2**64, "0", None, 1.0):
        assert outcome(operator.getitem, view, i) == outcome(operator.getitem, original, i)
    for part in [slice(None), slice(1, None), slice(None, None, -2), slice(5, 1, -1), slice(9, 3)]:
        assert type(view[part]) is FrozenArray
        assert view[part].tolist() == original[part].tolist()
        assert view[part] == original[part]
    assert view == original
    assert original == view
    assert view == freeze(copy.copy(original))
    assert view != array.array(code, [*original, original[0] if n else 1])
    assert original[0] in view if n else True


def test_characters() -> None:
    code = "w" if sys.version_info >= (3, 13) else "u"
    view = freeze(array.array(code, "grün\0\U0001f600"))
    assert view.tolist() == ["g", "r", "ü", "n", "\0", "\U0001f600"]
    assert view == array.array(code, "grün\0\U0001f600")
    assert array.array(code, "grün\0\U0001f600") == view
    assert view == freeze(array.array(code, "grün\0\U0001f600"))
    assert view[1:3] == array.array(code, "rü")
    for other in (array.array(code, "grun\0\U0001f600"), array.array(code, "g"), b"g" * 24):
        assert view != other
        assert other != view
    assert view != memoryview(view.tobytes())[::2]
    assert (view == memoryview(view)[::2]) is False
    with pytest.raises(CorruptImage, match="Unicode"):
        opened("w", (1,), b"\xff\xff\xff\xff", size=4)[0]
    assert opened("3w", (1,), "ab\0".encode("utf-32-le"), size=12)[0] == "ab"


# --- more dimensions, against memoryview ---


@pytest.mark.parametrize("shape", [(), (4,), (2, 3), (1, 2, 3, 4), (2, 0, 3), (0,)])
@pytest.mark.parametrize("code", ["b", "d", "?", "H"])
def test_like_memoryview(code: str, shape: tuple[int, ...]) -> None:
    count = 1
    for extent in shape:
        count *= extent
    if count == 0:  # memoryview.cast makes none of these
        view = opened(code, shape, b"")
        assert (view.shape, view.nbytes, len(view)) == (shape, 0, shape[0])
        assert view.tolist() == ([[], []] if len(shape) == 3 else [])
        assert view == opened(code, shape, b"")
        assert memoryview(view).shape == shape
        return
    values = [i % 2 for i in range(count)]
    original = cast(struct.pack(f"{count}{code}", *values), code, shape)
    view = freeze(original)
    assert type(view) is FrozenArray
    assert view.shape == original.shape
    assert view.strides == original.strides
    assert view.tolist() == original.tolist()
    assert view == original
    assert original == view
    memory = memoryview(view)
    assert memory.readonly
    assert (memory.format, memory.shape, memory.strides) == (code, shape, original.strides)
    assert memory.tolist() == original.tolist()
    assert memory.tobytes() == view.tobytes() == original.tobytes()


def test_indices_of_many_dimensions() -> None:
    values = list(range(24))
    view = freeze(cast(struct.pack("24i", *values), "i", (2, 3, 4)))
    plain = view.tolist()
    assert view[1].tolist() == plain[1]
    assert view[-1][2][3] == view[1, 2, 3] == view[-1, -1, -1] == 23
    assert view[1, 2].tolist() == plain[1][2]
    assert view[:, 1].tolist() == [rows[1] for rows in plain]
    assert view[..., 0].tolist() == [[row[0] for row in rows] for rows in plain]
    assert view[::-1, :2, 1::2].tolist() == [
        [row[1::2] for row in rows[:2]] for rows in plain[::-1]
    ]
    assert view[()] == view[...] == view
    assert view[1, ..., 2].tolist() == [row[2] for row in plain[1]]
    assert view[0:0].shape == (0, 3, 4)
    assert [row.tolist() for row in view] == plain
    assert memoryview(view[:, ::-1, ::2]).tolist() == view[:, ::-1, ::2].tolist()
    assert view[:, ::-1, ::2].tobytes() == memoryview(view[:, ::-1, ::2]).tobytes()
    for bad in [(2,), (0, 3), (0, 0, -5), (0, 0, 0, 0), (..., ...), 2**70]:
        with pytest.raises(IndexError):
            view[bad]
    for bad in ["0", None, 1.0, (0, None), [0], (True,), True]:
        with pytest.raises(TypeError, match="FrozenArray"):
            view[bad]
    with pytest.raises(ValueError):
        view[::0]
    assert sys.getsizeof(view[1]) < 300
    assert view[1].handle is None
    assert view.handle is not None
    assert _image._locate(view[1]) is None


def test_no_dimensions() -> None:
    view = freeze(cast(struct.pack("d", 2.5), "d", ()))
    assert view[()] == 2.5
    assert view[...].shape == ()
    assert view.tolist() == 2.5
    assert repr(view) == "FrozenArray(2.5, format='d')"
    for refused in (len, iter, list):
        with pytest.raises(TypeError):
            refused(view)
    with pytest.raises(IndexError):
        view[0]


def test_fortran_order() -> None:
    content = struct.pack("6i", 0, 3, 1, 4, 2, 5)
    view = opened("i", (2, 3), content, order="F")
    assert view.strides == (4, 8)
    assert view.tolist() == [[0, 1, 2], [3, 4, 5]]
    assert view.tobytes() == struct.pack("6i", *range(6))
    assert memoryview(view).f_contiguous
    assert not memoryview(view).c_contiguous
    assert view == opened("i", (2, 3), struct.pack("6i", *range(6)))
    assert freeze([view])[0] == view


# --- formats ---


@pytest.mark.parametrize("prefix", ["", "@", "=", "<", ">", "!"])
@pytest.mark.parametrize("code", [*"?bBhHiIlLqQefd"])
def test_formats_of_struct(prefix: str, code: str) -> None:
    values = [1, 0, 0] if code == "?" else [1, 100, 7]
    content = b"".join(struct.pack(prefix + code, value) for value in values)
    view = opened(prefix + code, (3,), content)
    assert view.tolist() == values
    assert (
        list(map(type, view))
        == [type(struct.unpack(prefix + code, content[: view.itemsize])[0])] * 3
    )
    assert view == opened(prefix + code, (3,), content)
    assert view != opened(prefix + code, (3,), content[::-1])


def test_other_formats() -> None:
    assert opened("c", (2,), b"ab").tolist() == [b"a", b"b"]
    assert opened("3s", (2,), b"ab\0def").tolist() == [b"ab\0", b"def"]
    pair = struct.pack("<dd", 1.5, -2.0)
    assert opened("Zd", (1,), pair, size=16).tolist() == [1.5 - 2j]
    assert opened(">Zf", (1,), struct.pack(">ff", 1.5, -2.0), size=8).tolist() == [1.5 - 2j]
    assert opened("T{i:a:d:b:}", (1,), b"x" * 12, size=12).tolist() == [b"x" * 12]
    assert opened("i", (1,), b"x" * 8, size=8).tolist() == [b"x" * 8]
    with pytest.raises(TypeError, match="numpy"):
        opened("g", (1,), bytes(16), size=16)[0]
    nan = struct.pack("d", float("nan"))
    assert opened("d", (1,), nan) != opened("d", (1,), nan)
    assert opened("Zd", (1,), pair, size=16) == opened("Zd", (1,), pair, size=16)


@pytest.mark.parametrize(
    "code", ["O", "P", "&i", "X{}", "T{O:a:}", "T{i:a", "z", "Z", "i\0i", "é", "%"]
)
def test_h04_a_format_that_is_not_plain_data(code: str) -> None:
    # numpy would take the bytes for addresses of objects.
    with pytest.raises(CorruptImage, match="format"):
        opened(code, (1,), bytes(8), size=8)


@pytest.mark.parametrize(
    "shape",
    [
        (3,),
        (2**63,),
        (2**64 - 1,),
        (2**32, 2**32),
        (2**62, 4),
        (0, 2**63),
        (1, 1, 3),
        (2**61, 2**3),
    ],
)
def test_a_shape_larger_than_its_data(shape: tuple[int, ...]) -> None:
    with pytest.raises(CorruptImage):
        opened("d", shape, bytes(16))
    with pytest.raises(CorruptImage):
        opened("d", shape, bytes(16), stored=2**64 - 1)


def test_an_empty_array_of_many_rows_does_not_hang() -> None:
    view = opened("d", (2**40, 2**10, 0), b"")
    assert view.nbytes == 0
    assert view.tobytes() == b""
    assert view == opened("d", (2**40, 2**10, 0), b"")
    assert len(memoryview(view)) == 2**40
    assert view[5].shape == (2**10, 0)
    assert "shape" in repr(view)
    with pytest.raises(ValueError, match="rows"):
        view.tolist()


def test_too_many_dimensions() -> None:
    view = opened("b", (1,) * 64, b"x")
    assert view[(0,) * 64] == ord("x")
    assert memoryview(view).ndim == 64
    with pytest.raises(CorruptImage):
        opened("b", (1,) * 65, b"x")


def test_h04_untrusted_memory_is_exported_as_a_copy() -> None:
    image = crafted("i", (2, 2), struct.pack("4i", 1, 2, 3, 4))
    mapped = mmap.mmap(-1, len(image))  # aligned, so that it is opened in place
    mapped[:] = image
    view = _image._open_buffer(mapped)
    memory = memoryview(view[:, 1])
    mapped[:] = bytes(len(image))
    assert memory.tolist() == [2, 4]
    assert view.tolist() == [[0, 0], [0, 0]]


# --- the rest ---


def test_comparison() -> None:
    view = freeze(array.array("i", [1, 2]))
    assert view == array.array("d", [1.0, 2.0])
    assert view == memoryview(array.array("i", [1, 2]))
    assert freeze(memoryview(b"ab")) == b"ab"
    for different in (
        [1, 2],
        (1, 2),
        None,
        "x",
        1,
        array.array("i", [1]),
        array.array("i", [1, 3]),
    ):
        assert view != different
        assert different != view
    with pytest.raises(TypeError):
        operator.lt(view, view)
    with pytest.raises(TypeError, match="unhashable"):
        hash(view)


def test_writing() -> None:
    view = freeze(array.array("i", [1, 2]))
    for write in (
        lambda: operator.setitem(view, 0, 1),
        lambda: operator.delitem(view, 0),
        lambda: setattr(view, "shape", (2, 1)),
        lambda: view.append,
        lambda: view.byteswap,
        lambda: view.sort,
    ):
        with pytest.raises(FrozenError):
            write()
    assert not hasattr(view, "append")
    assert copy.deepcopy(view) is view
    assert not isinstance(view, collections.abc.MutableSequence)
    with pytest.raises(TypeError):
        memoryview(view)[0] = 5


def test_repr_is_bounded() -> None:
    assert repr(freeze(array.array("i", [1, 2]))) == "FrozenArray([1, 2], format='i')"
    text = repr(freeze(array.array("i", range(1000))))
    assert text == "FrozenArray(shape=(1000,), format='i')"


# --- numpy ---


def test_ndarrays_come_back_as_ndarrays() -> None:
    numpy = pytest.importorskip("numpy")
    arrays = [
        numpy.arange(24).astype(dtype).reshape(2, 3, 4)
        for dtype in ("?", "i1", "u2", "i4", "u8", "f2", "f4", "f8", "c8", "c16", ">i4", "g")
    ]
    arrays += [
        numpy.zeros((0, 3)),
        numpy.array(2.5),
        numpy.asfortranarray(numpy.arange(6.0).reshape(2, 3)),
        numpy.arange(20.0)[::-3],
        numpy.array(["ab", "grün"]),
        numpy.array([b"ab", b"c"]),
        numpy.zeros(3, dtype=[("a", "i4"), ("b", "f8", (2,))]),
        numpy.arange(100_000.0),
    ]
    for original in arrays:
        array_ = freeze([original])[0]
        assert type(array_) is numpy.ndarray
        assert array_.dtype == original.dtype
        assert array_.shape == original.shape
        assert not array_.flags.writeable
        assert not array_.flags.owndata
        assert array_.tobytes() == original.tobytes()
        assert array_.flags.f_contiguous >= original.flags.f_contiguous
        with pytest.raises(ValueError):
            array_.flags.writeable = True


def test_without_numpy() -> None:
    # In a process of its own: an interpreter looks for numpy once.
    code = """
import sys
sys.modules["numpy"] = None
import icehouse
from icehouse.native import _image
image = sys.stdin.buffer.read()
view = _image._open_buffer(image)
assert type(view) is icehouse.FrozenArray, type(view)
assert view.tolist() == [[0.0, 1.0], [2.0, 3.0]]
try:
    view.__array__()
except TypeError as error:
    assert "numpy" in str(error)
else:
    raise AssertionError
"""
    image = bytearray(crafted("d", (2, 2), struct.pack("4d", 0, 1, 2, 3)))
    image[68] = 0  # of an ndarray
    command = [sys.executable, "-c", code]
    subprocess.run(command, input=bytes(image), check=True, timeout=60)


def test_numpy_asks_for_what_it_wants() -> None:
    numpy = pytest.importorskip("numpy")
    view = freeze(array.array("d", [1.5, 2.5]))
    shared = numpy.asarray(view)
    assert shared.dtype == float
    assert not shared.flags.owndata
    assert numpy.asarray(view, dtype="i4").tolist() == [1, 2]
    assert view.__array__().tolist() == [1.5, 2.5]
    assert view.__array__("f4").dtype == numpy.float32
    assert view.__array__(copy=True).flags.writeable
    assert not view.__array__(None, copy=False).flags.writeable
    with pytest.raises(ValueError, match="cop"):
        view.__array__("f4", copy=False)
    assert (view == numpy.array([1.5, 0.0])).tolist() == [True, False]
    assert (numpy.array([1.5, 0.0]) == view).tolist() == [True, False]
    pair = numpy.asarray(freeze(cast(struct.pack("6i", *range(6)), "i", (2, 3)))[:, ::-2])
    assert pair.tolist() == [[2, 0], [5, 3]]


def test_numpy_is_loaded_by_arrays_only() -> None:
    pytest.importorskip("numpy")
    code = """
import sys, array, icehouse
icehouse.freeze({"a": [1, 2.5, "x"], "b": array.array("d", [1.0])})["b"][0]
assert "numpy" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_views_keep_their_image() -> None:
    memory = memoryview(freeze([array.array("d", range(1000))])[0][10:])
    assert memory[0] == 10.0
    assert icehouse.freeze(array.array("d", range(1000)))[5:][0] == 5.0


@pytest.mark.parametrize(
    "code", ["n", "N", "P", "q", "?", *(["e"] if sys.version_info >= (3, 12) else [])]
)
def test_what_is_frozen_can_be_read(code: str) -> None:
    """Every format is either refused when it is frozen, or read again."""
    whole: Any = memoryview(bytes(range(1, 49)))
    source = whole.cast(code)
    if code == "P":
        with pytest.raises(icehouse.NotFreezableError, match="pointers"):
            icehouse.freeze([source])
        return
    view = icehouse.freeze([source])[0]
    assert view.format == code
    assert memoryview(view).tobytes() == source.tobytes()
    assert view.tolist() == source.tolist()


@pytest.mark.parametrize("ctype", ["c_char_p", "c_wchar_p", "c_void_p", "py_object"])
def test_pointers_of_ctypes_are_refused(ctype: str) -> None:
    with pytest.raises(icehouse.NotFreezableError):
        icehouse.freeze([memoryview((getattr(ctypes, ctype) * 3)())])


def test_names_of_fields_are_no_formats() -> None:
    numpy = pytest.importorskip("numpy")
    prices = numpy.array([(1.0, 2.0)], dtype=[("Open", "f8"), ("Price", "f8")])
    view = icehouse.freeze([prices])[0]
    assert view.dtype == prices.dtype
    assert view.tolist() == prices.tolist()
    assert icehouse.freeze([numpy.zeros(1, dtype=[("a&X", "i4")])])[0].dtype.names == ("a&X",)
    with pytest.raises(icehouse.NotFreezableError, match="Python objects"):
        icehouse.freeze([numpy.zeros(1, dtype=[("x", "O")])])


def test_packed_structures() -> None:
    """numpy itself can't read the formats that it writes for these."""
    numpy = pytest.importorskip("numpy")
    points = numpy.array([(1.5, 7), (2.5, 8)], dtype=[("x", "f8"), ("n", "i4")])
    view = icehouse.freeze([points])
    assert view[0].dtype == points.dtype
    assert view[0].tolist() == points.tolist()
    thawed = icehouse.thaw(icehouse.freeze(view))
    assert thawed[0].dtype == points.dtype
    thawed[0]["n"] = 1


def test_structures_that_numpy_cannot_read_at_all() -> None:
    numpy = pytest.importorskip("numpy")
    inner = numpy.dtype([("a", "f8"), ("b", "i1")])
    odd = numpy.zeros(2, dtype=numpy.dtype([("p", inner), ("q", "i1"), ("r", inner)], align=True))
    view = icehouse.freeze([odd, 5])
    assert memoryview(view[0]).tobytes() == odd.tobytes()
    assert icehouse.thaw(view)[1] == 5
    assert memoryview(icehouse.thaw(view)[0]).tobytes() == odd.tobytes()


def test_item_size_that_does_not_fit_its_format() -> None:
    """memoryview reads items by the format: an item of one byte may not call itself eight."""
    image = bytearray(_image._image_bytes([array.array("B", [7])]))
    at = image.rindex(b"B\0\0\0")
    image[at : at + 1] = b"q"
    with pytest.raises(icehouse.CorruptImage, match="format"):
        _image._open_buffer(bytes(image))[0]
