"""The type of an image's root, as far as it can be told without decoding anything.

Bytes of an image are its producer's, who may be hostile: one word and one byte are read, and are
looked up in a table. docs/image-format.md has the layout; a test compares the table with what the
extension says.
"""

import os

__all__ = ["ROOTS", "root_type"]

CONSTANTS = (
    *("NoneType", "bool", "bool", "str", "tuple", "bytes"),
    *("ellipsis", "NotImplementedType"),
)
# By the number of the node's kind; shapes are never roots.
KINDS: tuple[str | None, ...] = (
    *("str", "str", "int", "int", "float", "complex"),
    *("bytes", "bytes", "bytearray", "bytearray"),
    *("list", "list", "list", "tuple", "tuple", "tuple", "tuple", "tuple", "tuple"),
    *("dict", "dict", "dict", None),
    *("set", "set", "frozenset", "frozenset", "array"),
)
# The same by the numbers of ih_catalog_scan(), None: no type, or not known.
ROOTS: tuple[str | None, ...] = (
    *CONSTANTS,
    *[None] * (16 - len(CONSTANTS)),
    "int",
    "str",
    *[None] * 46,
    *KINDS,
    *[None] * (192 - len(KINDS)),
)
UNSEEN = 254
MAGIC = b"IH"
NODE_BIT = 0x80
KIND_MASK = 0x3F
UNIT = 64


def root_type(header: bytes, fd: int, locator: int, size: int) -> str | None:
    """Name the type of an image by its 16 bytes of header and its segment's file; None: unknown."""
    if header[:2] != MAGIC:
        return None
    root = int.from_bytes(header[4:8], "little")
    if root & 1:
        return "int"
    if root >> 1 < len(CONSTANTS):
        return CONSTANTS[root >> 1]
    offset = (root >> 1) * 4
    if offset >= size:
        return None
    try:
        first = os.pread(fd, 1, (locator & 0xFFFFFF) * UNIT + offset)
    except OSError:
        return None
    if not first:
        return None
    if not first[0] & NODE_BIT:
        return "str"
    kind = first[0] & KIND_MASK
    return KINDS[kind] if kind < len(KINDS) else None
