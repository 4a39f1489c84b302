"""Links of hostile images: to nothing, to what is no view, in a circle, into a thicket."""

import ctypes
import random
import re
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from forge import (
    DICT_PAIRS,
    FROZENSET,
    LIST,
    NONE,
    SET,
    SHARED,
    TUPLE,
    TUPLE_VIEW,
    TUPLE_VIEW_PACKED,
    Forge,
    exercise,
    mutate,
    open_image,
    small_int,
)

import icehouse
from icehouse.native import _image

VALUE = {"list": ["x" * 100, *range(300)], "dict": {str(i): (i, "y") for i in range(100)}}
ROOT = 64 // 4 << 1  # of an image whose first node is its root


@pytest.fixture
def store() -> Iterator[icehouse.Store]:
    with icehouse.Store(capacity=64 << 20) as opened:
        yield opened


class Scribbler:
    """Images of a store whose bytes are ours to choose, as a hostile producer's are.

    A place is put as a list of small numbers, so that its view gives away where it lies; then the
    writable mapping of the same file is found.
    """

    def __init__(self, store: icehouse.Store, room: int = 1 << 14) -> None:
        self.handle = store.put([1, *[200] * room])
        self.room = room
        view = store.get(self.handle)
        offset, inode = _place(_address(view))
        unit = int.from_bytes(bytes(self.handle)[:3], "little")
        # Segments are mapped whole: the image is `unit` units behind the file's start.
        self.base = _writable(inode, unit * 64)
        assert 0 < offset - unit * 64 < 256

    def write(self, image: bytes) -> None:
        """Everything behind the arena's part of the header."""
        assert len(image) < self.room
        ctypes.memmove(self.base + 48, image[48:], len(image) - 48)


def _address(view: Any) -> int:
    buffer = _PyBuffer()
    ctypes.pythonapi.PyObject_GetBuffer(ctypes.py_object(view), ctypes.byref(buffer), 0)
    address = int(buffer.buf)
    ctypes.pythonapi.PyBuffer_Release(ctypes.byref(buffer))
    return address


class _PyBuffer(ctypes.Structure):
    _fields_ = (
        ("buf", ctypes.c_void_p),
        ("obj", ctypes.py_object),
        ("rest", ctypes.c_byte * 128),
    )


MAPPING = re.compile(r"(\w+)-(\w+) (\S+) (\w+) \S+ (\d+)")


def _mappings() -> Iterator[tuple[int, int, str, int, int]]:
    for line in Path("/proc/self/maps").read_text().splitlines():
        if match := MAPPING.match(line):
            start, end, flags, offset, inode = match.groups()
            yield int(start, 16), int(end, 16), flags, int(offset, 16), int(inode)


def _place(address: int) -> tuple[int, int]:
    """Offset in its file and the file's number."""
    for start, end, _flags, offset, inode in _mappings():
        if start <= address < end:
            return address - start + offset, inode
    raise AssertionError("no such mapping")


def _writable(inode: int, at: int) -> int:
    for start, end, flags, offset, number in _mappings():
        if number == inode and "w" in flags and offset <= at < offset + end - start:
            return start + at - offset
    raise AssertionError("no writable mapping")


def refused(ask: Any, *kinds: type[Exception]) -> None:
    with pytest.raises(kinds or icehouse.CorruptImage):
        ask()


def linking(word: int, *links: bytes, kind: int = LIST, flags: int = 0) -> bytes:
    """A container of one link, to `word` of the first handle."""
    forge = Forge()
    root = forge.words(kind, forge.word(8), flags=flags)
    forge.link(0, word)
    return forge.image(root, links=links)


def test_a_forged_link_reads_like_an_honest_one(store: icehouse.Store) -> None:
    target = store.get(store.put(VALUE))
    word = _image._locate(target["list"])[1]
    forged = linking(word, bytes(target.handle))
    _image._validate(forged)
    assert open_image(forged) == [VALUE["list"]]
    assert exercise(forged)


def test_links_to_what_is_gone(store: icehouse.Store) -> None:
    handle = store.put(VALUE)
    forged = linking(ROOT, bytes(handle))
    store.delete(handle)
    for ask in (icehouse.thaw, repr, icehouse.dumps, list, lambda view: view == [[1]]):
        with pytest.raises(icehouse.HandleGone, match=str(handle)):
            ask(open_image(forged))
    for wrong in (bytes(16), b"\xff" * 16, bytes(handle)[:8] + bytes(8)):
        refused(lambda wrong=wrong: list(open_image(linking(ROOT, wrong))), icehouse.HandleGone)


def test_links_to_what_is_no_view(store: icehouse.Store) -> None:
    forge = Forge()
    words = [
        forge.text("short"),
        forge.words(TUPLE, small_int(1)),
        forge.node(2, 0, bytes(8)),
        forge.link(0, ROOT),
        0x7FFFFFF0,
        forge.word(),
    ]
    place = Scribbler(store)
    place.write(forge.image(words[1], links=[bytes(place.handle)]))
    for word in words:
        forged = linking(word, bytes(place.handle))
        for ask in (icehouse.thaw, repr, icehouse.dumps, list, lambda view: view == [[1]]):
            refused(lambda ask=ask, forged=forged: ask(open_image(forged)))


def test_roots_and_keys_that_are_links(store: icehouse.Store) -> None:
    handle = bytes(store.put([*range(300)]))
    forge = Forge()
    root = forge.link(0, ROOT)
    forged = forge.image(root, links=[handle])
    refused(lambda: _image._validate(forged))
    exercise(forged)
    for kind in (SET, FROZENSET):
        forged = linking(ROOT, handle, kind=kind)
        refused(lambda forged=forged: _image._validate(forged))
        refused(lambda forged=forged: icehouse.thaw(open_image(forged)))
        exercise(forged)
    forge = Forge()
    key = forge.link(0, ROOT)
    forged = forge.image(forge.words(DICT_PAIRS, key, NONE, n=1), links=[handle])
    refused(lambda: _image._validate(forged))
    refused(lambda: icehouse.thaw(open_image(forged)))
    exercise(forged)


@pytest.mark.parametrize("kind", [LIST, TUPLE_VIEW, FROZENSET, SET])
@pytest.mark.parametrize("flags", [0, SHARED])
@pytest.mark.parametrize("length", [1, 2, 5])
def test_h24_circles_of_links(store: icehouse.Store, kind: int, flags: int, length: int) -> None:
    places = [Scribbler(store) for _ in range(length)]
    for place, following in zip(places, places[1:] + places[:1], strict=True):
        place.write(linking(ROOT, bytes(following.handle), kind=kind, flags=flags))
    views = [store.get(place.handle) for place in places]
    view = views[0]
    assert "..." in repr(view)
    if kind == LIST:  # a list may hold itself
        thawed = icehouse.thaw(views[0])
        assert thawed[0][0][0] is not None
    else:
        refused(lambda: icehouse.thaw(view))
    if kind in (LIST, TUPLE_VIEW):
        refused(lambda: icehouse.dumps(view), ValueError)
        assert view == store.get(places[-1].handle)
        at = view
        for _ in range(50_000):
            at = at[0]
        del at
    if kind in (TUPLE_VIEW, FROZENSET):
        refused(lambda: hash(view))
    exercise(linking(ROOT, bytes(places[0].handle)))


def test_h24_links_into_a_thicket(store: icehouse.Store) -> None:
    """Tuples that overlap, each reached by a link of its own: the work is bounded by bytes."""
    count = 30_000
    places = [Scribbler(store, 4 * count + 4096) for _ in range(2)]
    for number, place in enumerate(places):
        thicket = Forge()
        for i in range(count):  # bools up to the end, but for the padding
            reach = 4 * (count - 1 - i) - 64 - number
            thicket.raw(struct.pack("<I", max(reach, 0) << 12 | 0x980 | TUPLE_VIEW_PACKED))
        place.write(thicket.image(ROOT))
    views = []
    for place in places:
        forge = Forge()
        links = [forge.link(0, ROOT + 2 * i) for i in range(2000)]
        root = forge.words(TUPLE_VIEW, *links)
        views.append(open_image(forge.image(root, links=[bytes(place.handle)])))
    refused(lambda: icehouse.thaw(views[0]))
    refused(lambda: hash(views[0]))
    assert views[0] != views[1]  # of other lengths
    places[1].write(bytes(48) + ctypes.string_at(places[0].base + 48, 4 * count + 16))
    with pytest.raises(icehouse.CorruptImage):
        assert views[0] == views[1]
    repr(views[0])


def test_targets_that_are_damaged(store: icehouse.Store, soak_factor: int) -> None:
    """Both sides of a link are damaged at random; whatever happens is said, and nothing hangs."""
    rng = random.Random(5)
    good = _image._image_bytes(VALUE)
    place = Scribbler(store, len(good) + 64)
    forge = Forge()
    links = [forge.link(0, word) for word in range(ROOT, len(good) // 2, 2)[:200]]
    sound = forge.image(
        forge.words(LIST, *links), links=[bytes(place.handle), bytes(store.put(VALUE))]
    )
    for _ in range(150 * soak_factor):
        place.write(bytes(mutate(good, rng)) if rng.random() < 0.8 else good)
        exercise(mutate(sound, rng) if rng.random() < 0.5 else sound, 30)


def test_h24_tables_of_links_that_lie() -> None:
    forge = Forge()
    root = forge.words(LIST, forge.word(8))
    forge.link(0, ROOT)
    fine = bytearray(forge.image(root, links=[b"\1" * 16]))
    for size in (0, 2, 3, 2048, 2049, 1 << 31, (1 << 32) - 1):
        fine[-4:] = struct.pack("<I", size)
        refused(lambda: open_image(bytes(fine)))
