"""Reads images as docs/image-format.md has them, without the code that reads them otherwise."""

import itertools
import struct
from typing import Any, NamedTuple

CONSTANTS = {0: None, 1: False, 2: True, 3: "", 4: (), 5: b"", 6: ..., 7: NotImplemented}
ELEMENTS = "bBhHiIqQd?"
FORMS = ("VIEW", "CONTAINER", "TUPLE", "MADE")


class Node(NamedTuple):
    """A node, by the word that leads to it; its parts are words too."""

    kind: str
    n: int
    parts: Any
    shared: bool


class Instance(NamedTuple):
    """An OBJECT with its layout followed: names and values are decoded, cycles are words."""

    form: str
    number: int
    name: tuple[str, str]
    names: tuple[str, ...]
    values: tuple[Any, ...]


class Value(NamedTuple):
    code: int
    payload: Any


KINDS = (
    "STR_ASCII STR_UTF8 INT64 BIGINT FLOAT COMPLEX BYTES BYTES_BLOB BYTEARRAY BYTEARRAY_BLOB LIST "
    "LIST_PACKED LIST_STR TUPLE TUPLE_PACKED TUPLE_STR TUPLE_VIEW TUPLE_VIEW_PACKED "
    "TUPLE_VIEW_STR DICT_SHAPED DICT_PAIRS DICT_HASHED SHAPE SET SET_HASHED FROZENSET "
    "FROZENSET_HASHED ARRAY LINK OBJECT LAYOUT VALUE"
).split()


class Image:
    """The bytes of an image."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        magic, version, _flags, self.root, self.graph = struct.unpack_from("<HBBIQ", data, 48)
        assert magic == 0x4849
        assert version == 3

    def _word(self, at: int) -> int:
        return int.from_bytes(self.data[at : at + 4], "little")

    def _words(self, at: int, n: int) -> tuple[int, ...]:
        return struct.unpack_from(f"<{n}I", self.data, at)

    def _behind_table(self, at: int, n: int) -> int:
        width = 1 if n < 127 else 2 if n < 32767 else 4
        return at + 8 + ((n + n // 3 + 1) * width + 3) // 4 * 4

    def node(self, word: int) -> Node:
        """The node that a word leads to."""
        at = (word >> 1) * 4
        first = self.data[at]
        if first < 0x80:
            return Node("STR_ASCII", first, self.data[at + 1 : at + 1 + first], shared=False)
        kind, shared = KINDS[first & 63], bool(first & 64)
        n = self._word(at) >> 8
        at += 4
        if kind.endswith("_PACKED"):
            return Node(kind, *self._packed(at, n), shared)
        if n == 0xFFFFFF:
            n = int.from_bytes(self.data[at : at + 8], "little")
            at += 8
        return Node(kind, n, self._parts(kind, at, n), shared)

    def _packed(self, at: int, n: int) -> tuple[int, Any]:
        code, n = ELEMENTS[n & 15], n >> 4
        width = struct.calcsize(code)
        size = n * width
        aligned = 64 if size >= 4096 else max(width, 4) if size >= 64 else 4
        return n, struct.unpack_from(f"<{n}{code}", self.data, -(-at // aligned) * aligned)

    def _run(self, at: int, n: int) -> list[str]:
        width = self._word(at) & 255
        ends = [
            0,
            *(
                int.from_bytes(self.data[i : i + width], "little")
                for i in range(at + 8, at + 8 + n * width, width)
            ),
        ]
        text = at + 8 + (n * width + 3) // 4 * 4
        return [
            self.data[text + a : text + b].decode("utf-8", "surrogatepass")
            for a, b in itertools.pairwise(ends)
        ]

    def _parts(self, kind: str, at: int, n: int) -> Any:
        if kind.startswith("STR_") or kind in ("BIGINT", "BYTES", "BYTEARRAY"):
            return self.data[at : at + n]
        if kind.endswith("_STR"):
            return self._run(at, n)
        if kind.endswith("_BLOB"):
            return struct.unpack_from("<QQ", self.data, at)
        if kind in ("INT64", "FLOAT"):
            return struct.unpack_from("<q" if kind == "INT64" else "<d", self.data, at)[0]
        if kind in ("DICT_SHAPED", "OBJECT"):
            return self._words(at, n + 1)
        if kind == "LAYOUT":
            return self._words(at, 3)
        if kind in ("LINK", "VALUE"):
            return self._word(at)
        if kind.endswith("_HASHED") or (kind == "SHAPE" and n > 8):
            seed = self._word(at)
            pairs = 2 if kind.startswith("DICT") else 1
            return seed, self._words(self._behind_table(at, n), n * pairs)
        return self._words(at, n * 2 if kind == "DICT_PAIRS" else n)

    def decode(self, word: int | None = None) -> Any:
        """What a word stands for: plain values, Instance and Value. No cycles."""
        word = self.root if word is None else word
        if word & 1:
            return (word if word < 1 << 31 else word - (1 << 32)) >> 1
        if word < 32:
            return CONSTANTS[word >> 1]
        node = self.node(word)
        kind, parts = node.kind, node.parts
        if kind.startswith("STR_"):
            return parts.decode("utf-8", "surrogatepass")
        if kind == "BIGINT":
            return int.from_bytes(parts, "little", signed=True)
        if kind == "OBJECT":
            return self._instance(parts)
        if kind == "VALUE":
            return Value(node.n, self.decode(parts))
        if kind == "DICT_SHAPED":
            return dict(zip(self._names(parts[0]), map(self.decode, parts[1:]), strict=True))
        if kind in ("DICT_PAIRS", "DICT_HASHED"):
            words = parts[1] if kind == "DICT_HASHED" else parts
            items = [self.decode(w) for w in words]
            return dict(zip(items[::2], items[1::2], strict=True))
        if kind.startswith(("LIST", "TUPLE")):
            made = list if kind.startswith("LIST") else tuple
            return (
                made(parts)
                if "_" in kind.removeprefix("TUPLE_VIEW")
                else made(map(self.decode, parts))
            )
        if "SET" in kind:
            words = parts[1] if kind.endswith("HASHED") else parts
            made_set = frozenset if kind.startswith("F") else set
            return made_set(map(self.decode, words))
        return bytearray(parts) if kind == "BYTEARRAY" else parts

    def _names(self, shape: int) -> tuple[str, ...]:
        if shape == 0:
            return ()
        node = self.node(shape)
        words = node.parts[1] if node.n > 8 else node.parts
        return tuple(map(self.decode, words))

    def _instance(self, parts: tuple[int, ...]) -> Instance:
        layout = self.node(parts[0])
        assert layout.kind == "LAYOUT"
        named, number, shape = layout.parts
        name = self.decode(named)
        assert name.code == 1
        values = tuple(map(self.decode, parts[1:]))
        return Instance(FORMS[layout.n], number, name.payload, self._names(shape), values)
