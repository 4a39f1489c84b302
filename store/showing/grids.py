"""Arrays as they lie: shape, strides and single elements."""

import re
import struct
from typing import Any, NamedTuple

from icehouse.store.showing.raw import Node, Raw, Text, text_of

__all__ = ["Grid", "grid_of"]

FORMAT_MAX = 64
# What struct reads as numpy does; a Z before it makes it complex.
PLAIN = re.compile(r"(?P<order>[<>=@!|^]?)(?P<complex>Z?)(?P<code>[?bBhHiIlLqQefd])")
TEXT = re.compile(r"(?P<order>[<>=@!|^]?)(?P<count>\d{0,9})w")
TEXT_BYTES_MAX = 400


class Grid(NamedTuple):
    """An array, or a part of one, that begins at an offset of its image."""

    at: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    format: str
    item_size: int

    def part(self, i: int) -> "Grid":
        """Give part `i` along the first dimension."""
        return self._replace(
            at=self.at + i * self.strides[0], shape=self.shape[1:], strides=self.strides[1:]
        )

    def element(self, raw: Raw) -> Any:
        """Read the element of an array without dimensions; None for a format not known here."""
        if match := PLAIN.fullmatch(self.format):
            order = match["order"].replace("|", "=").replace("^", "@")
            code = f"{order}{match['code']}"
            pieces = 2 if match["complex"] else 1
            width = struct.calcsize(code)
            if width * pieces != self.item_size:
                return None
            numbers = [raw.unpack(code, self.at + piece * width) for piece in range(pieces)]
            return complex(*numbers) if match["complex"] else numbers[0]
        if (match := TEXT.fullmatch(self.format)) and self.item_size <= TEXT_BYTES_MAX:
            order = "utf-32-be" if match["order"] in (">", "!") else "utf-32-le"
            return raw.copy(self.at, self.item_size).decode(order, "replace").rstrip("\0")
        return None


def grid_of(raw: Raw, node: Node) -> Grid:
    """Describe an array, whose reader has checked that its data is inside the image."""
    shape = tuple(raw.unpack("<Q", node.shape_at + 8 * i) for i in range(node.n))
    strides = []
    step = node.item_size
    for extent in shape if node.order == ord("F") else reversed(shape):
        strides.append(step)
        step *= extent
    if node.order != ord("F"):
        strides.reverse()
    form = text_of(raw, Text(node.text, node.text_size, ascii=False), FORMAT_MAX)[0]
    return Grid(node.data, shape, tuple(strides), form, node.item_size)


def described(grid: Grid) -> str:
    """Say what an array is, in one line."""
    shape = " x ".join(str(extent) for extent in grid.shape[:16])
    more = " x …" if len(grid.shape) > 16 else ""
    return f"{shape or 'no dimensions'}{more} of format {grid.format!r}"
