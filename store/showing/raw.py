"""Images as they lie: words and nodes, without a value being made of any.

Whoever shows what is in an image to others may not decode it: a text may be as long as the store is
large, a dict may have keys that were chosen to collide, a value is made by constructors. Here a
node is described by a few numbers that the reader in C has checked, and what lies in it is read
from the image's bytes piece by piece, each checked again by Python's own bounds. So every step
costs the same whatever the image holds, and nothing of it runs (H20, H21).
"""

import struct
from enum import IntEnum
from typing import Any, NamedTuple

from icehouse.native._image import (
    Handle,
    Store,
    _look_about,
    _look_follow,
    _look_node,
    _look_open,
)
from icehouse.store.errors import CorruptImage

__all__ = ["Kind", "Node", "Raw", "Text", "damage", "open_raw", "text_of"]


class Kind(IntEnum):
    """Kinds of nodes: native/image/format.h."""

    STR_ASCII = 0
    STR_UTF8 = 1
    INT64 = 2
    BIGINT = 3
    FLOAT = 4
    COMPLEX = 5
    BYTES = 6
    BYTES_BLOB = 7
    BYTEARRAY = 8
    BYTEARRAY_BLOB = 9
    LIST = 10
    LIST_PACKED = 11
    LIST_STR = 12
    TUPLE = 13
    TUPLE_PACKED = 14
    TUPLE_STR = 15
    TUPLE_VIEW = 16
    TUPLE_VIEW_PACKED = 17
    TUPLE_VIEW_STR = 18
    DICT_SHAPED = 19
    DICT_PAIRS = 20
    DICT_HASHED = 21
    SHAPE = 22
    SET = 23
    SET_HASHED = 24
    FROZENSET = 25
    FROZENSET_HASHED = 26
    ARRAY = 27
    LINK = 28
    OBJECT = 29
    LAYOUT = 30
    VALUE = 31
    SHORT_STR = 64


# Words below this one that are no ints are constants.
CONSTANTS_END = 32
CONSTANTS: dict[int, Any] = {
    0: None,
    2: False,
    4: True,
    6: "",
    8: (),
    10: b"",
    12: ...,
    14: NotImplemented,
}
# Formats of the elements of packed nodes, by their code.
ELEMENTS = "bBhHiIqQd?"


def damage(offset: int, reason: str) -> CorruptImage:
    """Make the error for damage at an offset, as the reader in C does."""
    error = CorruptImage(f"corrupt image: {reason}, at offset {offset}")
    error.offset, error.reason = offset, reason
    return error


class Node(NamedTuple):
    """A node as it was read; which fields mean something: ih_node in native/image/read.h."""

    kind: int
    code: int
    width: int
    order: int
    shared: bool
    ascii: bool
    capacity: int
    seed: int
    shape: int
    item_size: int
    n: int
    data: int
    text: int
    text_size: int
    shape_at: int
    bytes: int


class Text(NamedTuple):
    """Where a text lies: `size` bytes of UTF-8 at `at`."""

    at: int
    size: int
    ascii: bool


class Raw:
    """One open image. It holds a lease until nobody refers to it."""

    __slots__ = ("_image", "handle", "memory", "root")

    def __init__(self, image: Any) -> None:
        self._image = image
        self.memory = memoryview(image)
        handle, self.root = _look_about(image)
        self.handle: Handle[Any] = handle

    @property
    def size(self) -> int:
        """Bytes of the image, its header included."""
        return self.memory.nbytes

    def word(self, at: int) -> int:
        """Load the word at an offset."""
        found: int = self.unpack("<I", at)
        return found

    def unpack(self, form: str, at: int) -> Any:
        """Load one number; CorruptImage where it is not inside the image."""
        try:
            return struct.unpack_from(form, self.memory, at)[0]
        except (struct.error, OverflowError):
            raise damage(at, "a number outside the image") from None

    def node(self, word: int) -> Node:
        """Describe the node of a word, which is to be none that is a value itself."""
        if word & 1:
            raise damage(0, "a small int where a node must be")
        return Node._make(_look_node(self._image, word))

    def follow(self, link: Node) -> tuple["Raw", int]:
        """Open what a link leads to: the image, and the word of the node in it.

        HandleGone, CorruptImage, StoreUnavailable.
        """
        return Raw(_look_follow(self._image, link.n, link.shape)), link.shape

    def text_item(self, node: Node, i: int) -> Text:
        """Find text `i` of a run of texts."""
        form = {1: "<B", 2: "<H", 4: "<I"}[node.width]
        start = self.unpack(form, node.data + (i - 1) * node.width) if i else 0
        end = self.unpack(form, node.data + i * node.width)
        if not start <= end <= node.text_size:
            raise damage(node.data + i * node.width, "text offset outside its run")
        return Text(node.text + start, end - start, node.ascii)

    def copy(self, at: int, size: int) -> bytes:
        """Copy bytes that are to be inside the image; a short copy is none."""
        found = bytes(self.memory[at : at + size])
        if len(found) != size:
            raise damage(at, "bytes outside the image")
        return found


def open_raw(store: Store, handle: Handle[Any]) -> Raw:
    """Open an image of a store. HandleGone, CorruptImage, StoreUnavailable."""
    return Raw(_look_open(store, handle))


def text_of(raw: Raw, text: Text, most: int) -> tuple[str, bool]:
    """Decode the first characters of a text, at most `most`; and whether these are all of them.

    CorruptImage where they are no UTF-8. O(most).
    """
    taken = min(text.size, most if text.ascii else 4 * most)
    piece = raw.copy(text.at, taken)
    if taken < text.size:
        piece = whole_characters(piece)
    try:
        decoded = piece.decode("ascii" if text.ascii else "utf-8", "surrogatepass")
    except ValueError:
        raise damage(text.at, "text that is not UTF-8") from None
    shown = decoded[:most]
    return shown, len(shown) == len(decoded) and taken == text.size


def whole_characters(piece: bytes) -> bytes:
    """Leave out a character at the end that was cut."""
    for back in range(1, min(4, len(piece)) + 1):
        lead = piece[-back]
        if lead < 0x80:
            return piece
        if lead >= 0xC0:
            wanted = 2 if lead < 0xE0 else 3 if lead < 0xF0 else 4
            return piece if back >= wanted else piece[:-back]
    return piece
