"""FrozenBytes behaves as bytes do, whatever the size."""

import collections.abc
import copy
import hashlib
import itertools
import mmap
import operator
import re
import sys
from collections.abc import Callable
from typing import Any

import hypothesis
import hypothesis.strategies as st
import pytest

from icehouse import CorruptImage, FrozenBytes, FrozenError, freeze
from icehouse.native import _image

LARGE = bytes(range(256)) * 300 + b"needle in a haystack \xff\x00" * 10
# A bytearray of any size is a FrozenBytes; bytes are from 64 KiB on.
ORIGINALS = [
    b"",
    b"x",
    b"Hello, World  hello\t\n",
    b"  padded,words,here  ",
    bytes(range(256)),
    b"12345",
    b"aAbB aAbB",
    LARGE,
]


def frozen(content: bytes) -> FrozenBytes:
    view = freeze([content if len(content) > 65_536 else bytearray(content)])[0]
    assert type(view) is FrozenBytes
    return view


@pytest.fixture(params=ORIGINALS, ids=lambda original: f"{len(original)}-{original[:8]!r}")
def original(request: pytest.FixtureRequest) -> bytes:
    return request.param


@pytest.fixture
def view(original: bytes) -> FrozenBytes:
    return frozen(original)


def outcome(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    try:
        return function(*args, **kwargs)
    except Exception as error:
        return type(error)


def test_length_items_and_iteration(original: bytes, view: FrozenBytes) -> None:
    n = len(original)
    assert len(view) == n
    assert bool(view) == bool(original)
    assert list(view) == list(original)
    assert list(reversed(view)) == list(reversed(original))
    assert operator.length_hint(iter(view)) == n
    for i in (0, 1, n - 1, n, -1, -n, -n - 1, 2**63 - 1, -(2**63), 2**64, True, "0", None, 1.0):
        assert outcome(operator.getitem, view, i) == outcome(operator.getitem, original, i)
    assert bytes(view) == original
    assert type(bytes(view)) is bytes
    assert bytearray(view) == original


@pytest.mark.parametrize("step", [None, 1, 2, -1, -3, sys.maxsize, -sys.maxsize - 1])
def test_slices(original: bytes, view: FrozenBytes, step: int | None) -> None:
    bounds = [None, 0, 1, 2, 7, 300, -1, -3, 10**30, -(10**30)]
    for start, stop in itertools.product(bounds, bounds):
        part, wanted = view[start:stop:step], original[start:stop:step]
        assert part == wanted
        assert len(part) == len(wanted)
        if step in (None, 1):
            assert type(part) is FrozenBytes
            assert part[1:4] == wanted[1:4]
            assert part.find(b"e") == wanted.find(b"e")
    with pytest.raises(ValueError):
        view[::0]


def test_slices_copy_nothing_and_are_no_root() -> None:
    view = freeze(bytearray(LARGE))
    assert view.handle is not None
    part = view[10:20]
    assert sys.getsizeof(part) == sys.getsizeof(view) < 200
    assert part.handle is None
    assert _image._locate(part) is None
    assert freeze(part) == LARGE[10:20]
    assert view[:] is view
    assert [*freeze([part, view[:10]])] == [LARGE[10:20], LARGE[:10]]


NEEDLES = [b"", b"e", b"l", b"needle", b"\xff\x00", b"Hello, World", b" ", LARGE, LARGE + b"!"]


@pytest.mark.parametrize("name", ["find", "index", "count", "rfind", "rindex"])
def test_searching(original: bytes, view: FrozenBytes, name: str) -> None:
    bounds: list[Any] = [None, 0, 1, 5, -1, -7, 10**30, -(10**30), len(original), len(original) + 1]
    plain, ours = getattr(original, name), getattr(view, name)
    for needle in [*NEEDLES, 0, 101, 255, bytearray(b"e"), memoryview(b"l"), frozen(b"ello")]:
        asked = bytes(needle) if isinstance(needle, FrozenBytes) else needle
        assert outcome(ours, needle) == outcome(plain, asked)
        for start, stop in itertools.product(bounds, bounds):
            assert outcome(ours, needle, start, stop) == outcome(plain, asked, start, stop)
        assert (needle in view) == (asked in original)
    for bad in [(), ("e",), (256,), (-1,), (b"e", "0"), (b"e", 0, 1, 2), (None,), (10**30,)]:
        wanted = outcome(plain, *bad)
        got = outcome(ours, *bad)
        assert got == wanted or {got, wanted} == {ValueError, OverflowError}
    for bad in ("e", None, 256, -1, 1.5):
        assert outcome(operator.contains, view, bad) == outcome(operator.contains, original, bad)


@pytest.mark.parametrize("name", ["startswith", "endswith"])
def test_affixes(original: bytes, view: FrozenBytes, name: str) -> None:
    plain, ours = getattr(original, name), getattr(view, name)
    affixes: list[Any] = [b"", b"x", b"Hello", b"\n", b"\xff\x00", original, original + b"x", ()]
    affixes += [(b"Q", b"x"), (b"",), "x", (b"no", "x"), 1, None]
    for affix in affixes:
        assert outcome(ours, affix) == outcome(plain, affix)
        for bounds in [(1,), (-3,), (0, 3), (5, 2), (None, None), (10**30,), (len(original),)]:
            assert outcome(ours, affix, *bounds) == outcome(plain, affix, *bounds)


CALLS: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = [
    *((name, (), {}) for name in dir(bytes) if name.startswith("is")),
    *((name, (), {}) for name in ("capitalize", "lower", "upper", "swapcase", "title")),
    *((name, (), {}) for name in ("strip", "lstrip", "rstrip", "split", "rsplit", "hex")),
    *((name, (b" ",), {}) for name in ("strip", "split", "rsplit", "partition", "rpartition")),
    *((name, (30,), {}) for name in ("center", "ljust", "rjust", "zfill")),
    ("center", (30, b"*"), {}),
    ("decode", (), {}),
    ("decode", ("latin-1",), {}),
    ("decode", ("ascii",), {"errors": "replace"}),
    ("decode", ("no such codec",), {}),
    ("expandtabs", (4,), {}),
    ("expandtabs", (), {"tabsize": 2}),
    ("hex", ("-", 2), {}),
    ("hex", (), {"sep": ":", "bytes_per_sep": -3}),
    ("join", ([b"a", bytearray(b"b"), b"c"],), {}),
    ("join", (["a"],), {}),
    ("removeprefix", (b"Hello",), {}),
    ("removesuffix", (b"\n",), {}),
    ("replace", (b"l", b"LL"), {}),
    ("replace", (b"l", b"LL", 1), {}),
    ("split", (), {"maxsplit": 1}),
    ("split", (b",",), {"maxsplit": 1}),
    ("split", (b"",), {}),
    ("splitlines", (), {}),
    ("splitlines", (True,), {}),
    ("translate", (bytes(range(255, -1, -1)),), {}),
    ("translate", (None,), {"delete": b"lo"}),
    ("maketrans", (b"ab", b"cd"), {}),
    ("find", (), {"sub": b"e"}),
]


@pytest.mark.parametrize("call", CALLS, ids=lambda call: f"{call[0]}{call[1]!r:.20}")
def test_methods(original: bytes, view: FrozenBytes, call: Any) -> None:
    name, args, kwargs = call
    wanted = outcome(getattr(original, name), *args, **kwargs)
    got = outcome(getattr(view, name), *args, **kwargs)
    assert got == wanted
    assert type(got) is type(wanted)


def test_every_read_only_name_is_there() -> None:
    absent = {"fromhex", "__init__", "__getnewargs__", "__rmod__"}
    assert set(dir(bytes)) - absent <= set(dir(FrozenBytes))


def test_operators(original: bytes, view: FrozenBytes) -> None:
    for result, wanted in [
        (view + b"abc", original + b"abc"),
        (b"abc" + view, b"abc" + original),
        (view + bytearray(b"abc"), original + b"abc"),
        (view + view, original + original),
        (view * 2, original * 2),
        (2 * view, 2 * original),
        (view * -1, b""),
    ]:
        assert type(result) is bytes
        assert result == wanted
    grown = bytearray(b"abc")
    alias = grown
    grown += view
    assert alias == b"abc" + original
    for bad in ("x", 1, None, [1]):
        with pytest.raises(TypeError):
            view + bad
        with pytest.raises(TypeError):
            operator.concat(view, bad)
    assert b"".join([view, b"x", view]) == original + b"x" + original
    assert frozen(b"%d and %s") % (5, b"x") == b"5 and x"
    with pytest.raises(TypeError):
        5 % view


def test_comparison_both_ways(original: bytes, view: FrozenBytes) -> None:
    others: list[Any] = [original, original[:-1], original + b"\0", b"Hello", b"", b"\xff"]
    compares = (operator.eq, operator.ne, operator.lt, operator.le, operator.gt, operator.ge)
    for compare, other in itertools.product(compares, others):
        wanted = compare(original, other)
        for form in (bytes, bytearray, frozen):
            assert compare(view, form(other)) is wanted
            assert compare(form(other), view) is compare(other, original)
    assert view == memoryview(original)
    assert memoryview(original) == view
    for different in ("", "x", None, 0, [*original], 1.5):
        assert view != different
        with pytest.raises(TypeError):
            operator.lt(view, different)
    if len(original) % 4 == 0 and original:
        assert view != memoryview(original).cast("i")


def test_hash(original: bytes, view: FrozenBytes) -> None:
    assert hash(view) == hash(original)
    assert {original: 1}[view] == 1
    assert {view: 1}[original] == 1


def test_repr_is_bounded() -> None:
    assert repr(frozen(b"abc")) == "FrozenBytes(b'abc')"
    text = repr(frozen(LARGE))
    assert len(text) < 400
    assert str(len(LARGE)) in text
    assert str(frozen(b"abc")) == "FrozenBytes(b'abc')"


def test_buffer_is_in_place_and_read_only(original: bytes, view: FrozenBytes) -> None:
    memory = memoryview(view)
    assert memory == original
    assert memory.readonly
    assert memory.format == "B"
    with pytest.raises(TypeError):
        memory[0:1] = b"x"
    assert hashlib.sha256(view).digest() == hashlib.sha256(original).digest()
    assert re.findall(rb"ell", view) == re.findall(rb"ell", original)
    part = memoryview(view[1:])
    del view
    assert part == original[1:]


def test_copies() -> None:
    view = frozen(LARGE)
    assert copy.copy(view) is view
    assert copy.deepcopy([view])[0] is view


@pytest.mark.parametrize("name", ["append", "extend", "clear", "pop", "insert", "reverse"])
def test_h29_mutators_are_absent_and_say_why(name: str) -> None:
    view = frozen(b"abc")
    assert not hasattr(view, name)
    with pytest.raises(FrozenError, match=rf"FrozenBytes.*{name}"):
        getattr(view, name)


def test_writing() -> None:
    view = frozen(b"abc")
    for write in (
        lambda: operator.setitem(view, 0, 1),
        lambda: operator.delitem(view, 0),
        lambda: setattr(view, "name", 1),
    ):
        with pytest.raises(FrozenError):
            write()
    with pytest.raises(TypeError):
        type(view)()


def test_abstract_classes_and_patterns() -> None:
    view = frozen(b"abc")
    assert isinstance(view, collections.abc.Sequence)
    assert isinstance(view, collections.abc.Hashable)
    match view:
        case [*_]:
            pytest.fail("bytes are no sequence to a pattern")
        case _:
            pass


def test_h04_text_is_decoded_from_a_private_copy() -> None:
    # The image lies in memory that changes: what was exported before stays what it was.
    content = _image._image_bytes(bytearray("grün und blau".encode()))
    image = mmap.mmap(-1, len(content))  # aligned, so that it is opened in place
    image[:] = content
    view = _image._open_buffer(image)
    memory = memoryview(view)
    before, text = bytes(memory), view.decode()
    start = image.find(before)
    image[start : start + 2] = b"XY"
    assert bytes(memory) == before
    assert text == before.decode()
    assert bytes(view)[:2] == b"XY"


def test_a_blob_outside_of_its_image() -> None:
    image = bytearray(_image._image_bytes(LARGE))
    root = int.from_bytes(image[52:56], "little")
    at = root // 2 * 4
    end = len(image)
    for offset, size in [(0, 2**63), (2**63, 8), (end, 1), (0, end + 1), (2**64 - 1, 2)]:
        image[at + 4 : at + 20] = offset.to_bytes(8, "little") + size.to_bytes(8, "little")
        with pytest.raises(CorruptImage):
            _image._open_buffer(bytes(image))


@hypothesis.given(st.binary(), st.binary(max_size=3), st.data())
def test_any_bytes(original: bytes, needle: bytes, data: st.DataObject) -> None:
    view = frozen(original)
    part = data.draw(st.slices(len(original)))
    assert view == original
    assert hash(view) == hash(original)
    assert view[part] == original[part]
    assert view.find(needle) == original.find(needle)
    assert view.count(needle) == original.count(needle)
    assert (needle in view) == (needle in original)
