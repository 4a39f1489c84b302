"""Images forged to attack one reader each: what must be refused is refused, and nothing hangs."""

import contextlib
import itertools
import mmap
import struct
import sys
from typing import Any

import pytest
from forge import (
    BIGINT,
    BYTES,
    BYTES_BLOB,
    DICT_HASHED,
    DICT_PAIRS,
    DICT_SHAPED,
    EMPTY_STR,
    FROZENSET,
    LIST,
    LIST_PACKED,
    LIST_STR,
    NONE,
    SET,
    SHAPE,
    SHARED,
    STR_ASCII,
    STR_UTF8,
    TUPLE,
    TUPLE_VIEW,
    Forge,
    exercise,
    open_image,
    small_int,
)

import icehouse
from icehouse.native import _image


def refused(forged: bytes, ask: Any = icehouse.thaw) -> None:
    with pytest.raises(icehouse.CorruptImage):
        ask(open_image(forged))


@pytest.mark.parametrize(
    ("at", "value"),
    [
        (48, b"XX"),
        (50, b"\1"),
        (51, b"\1"),
        (51, b"\4"),
        (52, b"\x10\0\0\0"),
        (56, b"\xff" * 8),
        (56, bytes(8)),
    ],
)
def test_header_fields(at: int, value: bytes) -> None:
    data = bytearray(_image._image_bytes([1, "a"]))
    data[at : at + len(value)] = value
    refused(bytes(data))


def test_h04_lying_ascii_flags() -> None:
    forge = Forge()
    long = forge.node(STR_ASCII, 200, b"a" * 199 + b"\xff")
    short = forge.raw(b"\x03a\xffb")
    run = forge.node(LIST_STR, 2, struct.pack("<IIBB2xI", 0x101, 4, 2, 4, 0xFF616161))
    invalid = forge.node(STR_UTF8, 4, b"a\xc0\x80b")
    for value in (long, short, run, invalid):
        refused(forge.image(forge.words(LIST, value)))
        refused(forge.image(forge.words(LIST, value)), lambda view: view[0] and list(view[0]))
        data = open_image(forge.image(forge.words(LIST, value)))
        with contextlib.suppress(icehouse.CorruptImage):
            assert icehouse.dumps(data).isascii()


def test_text_run_with_offsets_that_go_back() -> None:
    forge = Forge()
    run = forge.node(LIST_STR, 3, struct.pack("<IIBBBxI", 0x101, 4, 3, 1, 9, 0x61616161))
    refused(forge.image(run))
    refused(forge.image(run), icehouse.dumps)
    refused(forge.image(run), list)


@pytest.mark.parametrize("kind", [LIST, TUPLE, TUPLE_VIEW, SET, FROZENSET, SHAPE, DICT_PAIRS])
@pytest.mark.parametrize("n", [3, 0xFFFFFE, 2**31, 2**62, 2**64 - 1])
def test_gigantic_counts(kind: int, n: int) -> None:
    forge = Forge()
    refused(forge.image(forge.node(kind, n)))
    forge = Forge()
    refused(forge.image(forge.words(LIST, forge.node(kind, n))))


@pytest.mark.parametrize("n", [2**20 - 1, 2**31, 2**61 + 1, 2**64 - 1])
@pytest.mark.parametrize("code", range(16))
def test_gigantic_packed_counts(code: int, n: int) -> None:
    forge = Forge()
    word = forge.raw(struct.pack("<IQ", 0xFFFFF << 12 | code << 8 | 0x80 | LIST_PACKED, n))
    refused(forge.image(word))


def test_gigantic_blobs() -> None:
    forge = Forge()
    refused(forge.image(forge.node(BYTES_BLOB, 0, struct.pack("<QQ", 64, 2**63))))


def test_h24_list_that_contains_itself_without_the_flag() -> None:
    forge = Forge()
    forged = forge.image(forge.words(LIST, forge.word()))
    refused(forged)
    with pytest.raises(ValueError, match="Circular"):
        icehouse.dumps(open_image(forged))
    exercise(forged)


def test_h24_tuples_that_contain_themselves() -> None:
    for kind, flags in itertools.product([TUPLE, TUPLE_VIEW, FROZENSET], [0, SHARED]):
        forge = Forge()
        loop = forge.words(kind, forge.word(), flags=flags)
        forged = forge.image(forge.words(LIST, loop))
        refused(forged)
        exercise(forged)
        two = Forge()  # a circle of two
        first = two.words(kind, two.word(8), flags=flags)
        two.words(kind, first, flags=flags)
        refused(two.image(two.words(LIST, first)))
        exercise(two.image(first))


def test_h24_a_tuple_that_is_its_own_key() -> None:
    forge = Forge()
    pair = forge.words(TUPLE, forge.word(8), flags=SHARED)
    forge.words(DICT_PAIRS, pair, NONE, n=1, flags=SHARED)
    refused(forge.image(pair))
    exercise(forge.image(pair))


def test_h24_honest_cycles_through_tuples() -> None:
    forge = Forge()
    pair = forge.words(TUPLE, forge.word(8), flags=SHARED)
    forge.words(LIST, pair)
    thawed = icehouse.thaw(open_image(forge.image(forge.words(LIST, pair))))[0]
    assert thawed[0][0] is thawed


@pytest.mark.parametrize("flags", [0, SHARED])
def test_h24_tuples_that_double(flags: int) -> None:
    """2^60 leaves in 61 nodes: followed once each, or refused; never as a key, nor as JSON."""
    forge = Forge()
    word = forge.words(TUPLE_VIEW, small_int(1), small_int(2))
    for _ in range(60):
        word = forge.words(TUPLE_VIEW, word, word, flags=flags)
    forged = forge.image(forge.words(LIST, word))
    if flags:
        thawed = icehouse.thaw(open_image(forged))[0]
        assert thawed[0] is thawed[1]
    else:
        refused(forged)
    with pytest.raises(ValueError, match="JSON text"):
        icehouse.dumps(open_image(forged))
    keyed = forge.image(forge.words(DICT_PAIRS, word, NONE, n=1))
    refused(keyed)
    refused(forge.image(forge.words(SET, word)))


def test_h24_keys_nested_too_deeply_to_hash() -> None:
    forge = Forge()
    word = forge.words(TUPLE_VIEW, small_int(1))
    for _ in range(200_000):
        word = forge.words(TUPLE_VIEW, word)
    refused(forge.image(forge.words(SET, word)))
    refused(forge.image(forge.words(DICT_PAIRS, word, NONE, n=1)))
    thawed = icehouse.thaw(open_image(forge.image(word)))
    assert len(thawed) == 1


def test_h24_shapes_of_shapes() -> None:
    """A shape's key that is a dict with a shape: no recursion, since only text is followed."""
    forge = Forge()
    word = forge.text("key")
    for _ in range(50_000):
        shape = forge.words(SHAPE, word)
        word = forge.words(DICT_SHAPED, shape, NONE, n=1)
    refused(forge.image(word))
    exercise(forge.image(word), 5)


@pytest.mark.parametrize("key", ["list", "dict", "self"])
def test_unhashable_keys(key: str) -> None:
    forge = Forge()
    words = {
        "list": forge.words(LIST, NONE),
        "dict": forge.words(DICT_PAIRS, EMPTY_STR, NONE, n=1),
    }
    word = words.get(key, forge.word())
    forged = forge.image(forge.words(DICT_PAIRS, word, small_int(1), n=1))
    refused(forged)
    exercise(forged)
    exercise(forge.image(forge.words(SET, word)))
    exercise(forge.image(forge.words(LIST, forge.words(FROZENSET, word))))


def test_tables_whose_slots_are_wild() -> None:
    """Full of entries, all of them out of range: a lookup ends."""
    for filler in (b"\xff", b"\x09", b"\x00"):
        forge = Forge()
        keys = [forge.text(f"key{i}") for i in range(9)]
        pairs = [word for key in keys for word in (key, NONE)]
        table = struct.pack("<II", 0, 13) + filler * 13 + bytes(3)
        word = forge.node(DICT_HASHED, 9, table + struct.pack("<18I", *pairs))
        exercise(forge.image(word))


def test_int_of_a_million_digits() -> None:
    forge = Forge()
    data = forge.image(forge.words(LIST, forge.node(BIGINT, 400_000, b"\x55" * 400_000)))
    assert icehouse.thaw(open_image(data))[0].bit_length() == 8 * 400_000 - 1
    with pytest.raises(ValueError, match="digits"):
        icehouse.dumps(open_image(data))


def test_references_to_the_middle_of_nodes() -> None:
    data = _image._image_bytes([{"key": [1, "b", (2.5, "x")]}, [2**40, "ü"]])
    for offset in range(64, len(data), 4):
        damaged = bytearray(data)
        damaged[52:56] = struct.pack("<I", offset // 4 << 1)
        exercise(damaged)


def test_thaw_keeps_to_a_budget_where_giants_overlap() -> None:
    """Every word is the header of a list that reaches to the end: 2^64 ways, all refused."""
    forge = Forge()
    forge.raw(b"".join(struct.pack("<I", (4999 - i) << 8 | 0x80 | LIST) for i in range(5000)))
    refused(forge.image(64 // 4 << 1))
    exercise(forge.image(64 // 4 << 1), 5)


def test_no_reference_is_lost_by_refusals() -> None:
    forge = Forge()
    bad = forge.words(LIST, forge.node(STR_ASCII, 4, b"a\xff\xff\xff"))
    shape = forge.words(SHAPE, forge.text("key"))
    inner = forge.words(DICT_SHAPED, shape, bad, n=1)
    forged = forge.image(forge.words(DICT_PAIRS, forge.words(TUPLE, NONE), inner, n=1))
    view = open_image(forged)
    before = sys.getrefcount(None)
    for _ in range(200):
        with pytest.raises(icehouse.CorruptImage):
            icehouse.thaw(view)
        with pytest.raises((icehouse.CorruptImage, TypeError)):
            icehouse.dumps(view)
    assert abs(sys.getrefcount(None) - before) < 100 or sys.getrefcount(None) > 2**30


def test_h04_a_shape_that_loses_its_keys_while_it_is_read() -> None:
    """The root, so that no text is there yet when its keys are written."""
    forge = Forge()
    shape = forge.words(SHAPE, forge.text("key"))
    image = mmap.mmap(-1, 4096)
    image.write(forge.image(forge.words(DICT_SHAPED, shape, NONE, n=1)))
    view = open_image(image)
    assert icehouse.dumps(view) == '{"key": null}'
    at = (shape >> 1) * 4
    image[at + 1 : at + 4] = bytes(3)
    with pytest.raises(icehouse.CorruptImage):
        icehouse.dumps(view)


def test_h24_a_copy_is_no_larger_than_its_image() -> None:
    """Thousands of nodes over the same bytes would be copied thousands of times."""
    forge = Forge()
    words = [forge.node(BYTES, 12_000) for _ in range(3000)]
    forge.raw(bytes(12_000))
    view = open_image(forge.image(forge.words(LIST, *words)))
    assert len(view[7]) == 12_000
    with pytest.raises(icehouse.CorruptImage, match="overlap"):
        _image._image_bytes(view)
    with pytest.raises(icehouse.CorruptImage, match="overlap"):
        icehouse.freeze([view])
