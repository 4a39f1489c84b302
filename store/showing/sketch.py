"""A part of an image as bounded JSON, for a quick look.

What JSON has no word for is an object whose `$type` says what it is, as `icehouse cat` writes it;
`$more` says how much was left out, `$ref` names the way to what this is inside of, `$damaged` what
is wrong with a part.
"""

import base64
import math
from typing import Any, NamedTuple

from icehouse.store.errors import CorruptImage, HandleGone
from icehouse.store.showing import document
from icehouse.store.showing.parts import Parts, Spot, parts_of, type_of
from icehouse.store.showing.raw import text_of
from icehouse.store.showing.words import number_text, scalar_text, value_text

__all__ = ["PREVIEW", "SUMMARY", "Limits", "Sketch"]


class Limits(NamedTuple):
    """How much is shown: levels, items of one container, characters of a text, values in all."""

    depth: int
    items: int
    text: int
    values: int


PREVIEW = Limits(depth=6, items=50, text=200, values=600)
# Of a container beside its siblings.
SUMMARY = Limits(depth=1, items=6, text=24, values=8)
# Characters of a word that is no text: numbers, dates.
WORD_MAX = 200


# Of a list that is written in one line.
LINE_MAX = 80


def is_short(pieces: list[str]) -> bool:
    """Whether all of them go into a line."""
    return sum(map(len, pieces)) + 2 * len(pieces) <= LINE_MAX and not any(
        "\n" in piece for piece in pieces
    )


class Sketch:
    """Writes one value. `is_whole` says afterwards whether all of it was written."""

    def __init__(self, limits: Limits, indent: str | None = None, *, is_key: bool = False) -> None:
        """`indent` is that of one level; without one it is a line for people, with … for more.

        `is_key`: it writes the key of something, whose own keys are left out.
        """
        self._limits = limits
        self._indent = indent
        self._is_key = is_key
        self._left = limits.values
        self._inside: dict[tuple[Any, int], str] = {}
        self.is_whole = True

    def write(self, root: Spot) -> str:
        """Give the text. CorruptImage only where the root itself is damaged."""
        return self._value(root, "$", 0)

    def _value(self, spot: Spot, way: str, depth: int) -> str:
        self._left -= 1
        kind = spot.kind
        if kind in ("null", "bool"):
            return {None: "null", True: "true", False: "false"}[spot.value]
        if kind in ("int", "float"):
            return self._number(spot)
        if kind == "str":
            return self._text(spot)
        if kind == "bytes":
            return self._bytes(spot)
        if kind in ("complex", "ellipsis"):
            return document.tagged(kind, value=repr(spot.value))
        if kind == "value" and (text := value_text(spot)) is not None:
            return document.tagged(type_of(spot), value=self._cut(text))
        return self._container(spot, way, depth)

    def _cut(self, text: str) -> str:
        if len(text) <= WORD_MAX:
            return text
        self.is_whole = False
        return f"{text[:WORD_MAX]}…"

    def _number(self, spot: Spot) -> str:
        value = spot.value
        if isinstance(value, float) and not math.isfinite(value):
            return document.tagged("float", value=repr(value))
        text, is_whole = number_text(spot, WORD_MAX) if spot.kind == "int" else (repr(value), True)
        self.is_whole &= is_whole
        return text if is_whole else document.tagged("int", value=text)

    def _text(self, spot: Spot) -> str:
        most = self._limits.text
        if isinstance(spot.value, str):
            shown, is_whole = spot.value[:most], len(spot.value) <= most
        else:
            shown, is_whole = text_of(spot.raw, spot.value, most)
        self.is_whole &= is_whole
        return document.quoted(shown if is_whole else f"{shown}…")

    def _bytes(self, spot: Spot) -> str:
        at, size, _ = spot.value
        few = spot.raw.copy(at, min(size, self._limits.text))
        told = {"size": size, "base64": base64.b64encode(few).decode()}
        if len(few) < size:
            self.is_whole = False
            told["$more"] = size - len(few)
        return document.tagged(type_of(spot), **told)

    # --- what holds others ---

    def _container(self, spot: Spot, way: str, depth: int) -> str:
        place = (spot.raw.handle, spot.at) if spot.at else None
        if place is not None and place in self._inside:
            return document.compact({"$ref": self._inside[place]})
        parts = parts_of(spot)
        count = parts.size if parts is not None else 0
        is_list = spot.kind in ("list", "tuple", "set", "array")
        ends = "[]" if is_list else "{}"
        before = self._header(spot)
        if parts is None or not count:
            return self._joined(before, depth, ends)
        if depth >= self._limits.depth or self._left <= 0:
            return self._joined(
                [self._more(count, is_list=is_list)], depth, "[]" if is_list else "{}"
            )
        if place is not None:
            self._inside[place] = way
        pieces = before + self._pieces(parts, way, depth, is_list=is_list)
        if place is not None:
            del self._inside[place]
        return self._joined(pieces, depth, ends)

    def _header(self, spot: Spot) -> list[str]:
        """Say the type, where brackets don't."""
        if spot.kind in ("object", "value"):
            return [f'"$type": {document.quoted(type_of(spot))}']
        return []

    def _pieces(self, parts: Parts, way: str, depth: int, *, is_list: bool) -> list[str]:
        pieces = []
        for i in range(parts.size):
            if i >= self._limits.items or self._left <= 0:
                pieces.append(self._more(parts.size - i, is_list=is_list))
                break
            pieces.append(self._piece(parts, i, way, depth, is_list=is_list))
        return pieces

    def _more(self, count: int, *, is_list: bool) -> str:
        """Say that there is more."""
        self.is_whole = False
        if self._indent is None:
            return "…"
        return f'{{"$more": {count}}}' if is_list else f'"$more": {count}'

    def _piece(self, parts: Parts, i: int, way: str, depth: int, *, is_list: bool) -> str:
        try:
            key, value = parts.get(i)
            if is_list:
                return self._value(value, f"{way}[{i}]", depth + 1)
            name = self._name(key, i, is_field=parts.is_fields)
            return f"{name}: {self._value(value, f'{way}.{name}', depth + 1)}"
        except (CorruptImage, HandleGone) as error:
            self.is_whole = False
            told = document.compact({"$damaged": self._cut(str(error))})
            return told if is_list else f"{document.quoted(f'${i}')}: {told}"

    def _name(self, key: int | str | Spot, i: int, *, is_field: bool) -> str:
        """Write a key, as JSON wants it: as a text."""
        if isinstance(key, str):
            return document.quoted(key)
        if not isinstance(key, Spot):
            return document.quoted(str(i))
        found = scalar_text(key, self._limits.text)
        if found is None and self._is_key:
            # Keys in keys in keys: as deep as somebody likes.
            found = "…", False
        elif found is None:
            inner = Sketch(SUMMARY, is_key=True)
            found = inner.write(key), inner.is_whole
        self.is_whole &= found[1]
        return document.quoted(document.field_name(found[0]) if is_field else found[0])

    def _joined(self, pieces: list[str], depth: int, ends: str) -> str:
        if not pieces:
            return ends
        if self._indent is None or (ends == "[]" and is_short(pieces)):
            return f"{ends[0]}{', '.join(pieces)}{ends[1]}"
        line = "\n" + self._indent * (depth + 1)
        return f"{ends[0]}{line}{f',{line}'.join(pieces)}\n{self._indent * depth}{ends[1]}"
