"""Values of an image in a few words: one line, bounded, whatever they are."""

import datetime
from typing import Any

from icehouse.store.freezing import codes, registry
from icehouse.store.freezing.trust import NONE
from icehouse.store.showing import grids
from icehouse.store.showing.parts import Spot, items_of, parts_of, spot_of, two_names
from icehouse.store.showing.raw import Text, text_of

__all__ = ["clean", "number_text", "scalar_text", "value_text"]

# Longer ints are told by their first digits and their size.
INT_BYTES_MAX = 64
FEW_BYTES = 60
# What a payload may hold for its value to be made: a date, a Decimal, a path, ...
PIECES_MAX = 8
PLAIN_TEXT_MAX = 200
# Values of the standard library whose constructors do nothing but check a few numbers or letters.
MADE = frozenset(
    (
        *(codes.DATE, codes.TIME, codes.DATETIME, codes.TIMEDELTA, codes.TIMEZONE),
        *(codes.DECIMAL, codes.FRACTION, codes.UUID, codes.IP, codes.PATH),
        *(codes.RANGE, codes.SLICE),
    )
)
# Those whose payload is their text, or begins with it.
NAMED = frozenset((codes.ZONEINFO, codes.PATTERN, codes.MODULE))


class UnplainError(Exception):
    """It is not as small and plain as what a value is made of here."""


def clean(text: str) -> str:
    """Write what is not printable as escapes: no controls, no marks of direction, no surrogates."""
    if text.isprintable():
        return text
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode() for char in text
    )


def clipped(text: str, most: int, *, is_whole: bool = True) -> tuple[str, bool]:
    """Bound a text, and say whether it is all."""
    shown = clean(text[: most + 1])
    if is_whole and len(text) <= most and len(shown) <= most:
        return shown, True
    return f"{shown[: most - 1]}…", False


def scalar_text(spot: Spot, most: int) -> tuple[str, bool] | None:
    """Write what holds nothing else; None for what does. CorruptImage. O(most)."""
    kind, value = spot.kind, spot.value
    if kind == "str":
        if isinstance(value, str):
            return clipped(value, most)
        text, is_whole = text_of(spot.raw, value, most)
        return clipped(text, most, is_whole=is_whole)
    if kind == "bytes":
        few = spot.raw.copy(value.at, min(value.size, FEW_BYTES))
        return clipped(repr(few), most, is_whole=len(few) == value.size)
    if kind == "int":
        return number_text(spot, most)
    if kind in ("null", "bool", "float", "complex", "ellipsis"):
        return clipped(repr(value), most)
    if kind == "value":
        found = value_text(spot)
        return None if found is None else clipped(found, most)
    if kind == "array":
        return clipped(grids.described(value), most)
    return None


def number_text(spot: Spot, most: int) -> tuple[str, bool]:
    """Write an int; of a long one the first digits in hexadecimal, and how long it is."""
    value = spot.value
    if isinstance(value, int):
        return clipped(str(value), most)
    raw, at, size = spot.raw, value.at, value.size
    if size <= INT_BYTES_MAX:
        number = int.from_bytes(raw.copy(at, size), "little", signed=True)
        return clipped(str(number), most)
    first = int.from_bytes(raw.copy(at + size - 16, 16), "little", signed=True)
    sign = "-" if first < 0 else ""
    return f"{sign}0x{abs(first):x}… (about {8 * size} bits)", False


# --- values ---


def value_text(spot: Spot) -> str | None:
    """Write a value of the standard library, or the name of a class or member; else None.

    What is made for it is a date, a Decimal or the like, of a few numbers or letters. A payload
    that such a thing can't be made of has no text here; its parts show what it is.
    """
    node, raw = spot.node, spot.raw
    if node is None:
        return None
    if node.n == codes.CLASS:
        return two_names(spot_of(raw, node.shape))
    try:
        if node.n in MADE:
            return made_text(node.n, spot_of(raw, node.shape))
        if node.n in NAMED:
            return named_text(spot_of(raw, node.shape))
        if node.n == codes.ENUM:
            return member_text(spot_of(raw, node.shape))
        if node.n == codes.GLOBAL:
            return two_names(spot_of(raw, node.shape))
    except (UnplainError, ValueError, TypeError, ArithmeticError, LookupError, AttributeError):
        # CorruptImage is a ValueError, too: opening the payload tells of it.
        return None
    return None


def made_text(code: int, payload: Spot) -> str:
    """Make a value of a small payload, and write it."""
    zone = ""
    if code in (codes.TIME, codes.DATETIME) and payload.kind == "tuple":
        payload, inner = exactly(payload, 2)
        # Another time in the place of a zone could hold another one, and so on.
        is_zone = inner.node is not None and inner.node.n in (codes.TIMEZONE, codes.ZONEINFO)
        zone = f" [{(is_zone and value_text(inner)) or 'a zone'}]"
    if code in (codes.RANGE, codes.SLICE):
        start, stop, step = plain(payload)
        shown = f"{start!r}, {stop!r}, {step!r}"
        return f"{'range' if code == codes.RANGE else 'slice'}({shown})"
    made = registry.opener(code)(plain(payload), NONE)
    if isinstance(made, datetime.date | datetime.time):
        return made.isoformat() + zone
    return str(made)


def exactly(payload: Spot, count: int, *, more: bool = False) -> list[Spot]:
    """Give the items of a tuple of so many, or with `more` the first so many; UnplainError."""
    items = items_of(payload)
    if items.size < count or (items.size > count and not more):
        raise UnplainError
    return [items.get(i)[1] for i in range(count)]


def named_text(payload: Spot) -> str:
    """Write a value whose payload is its text, or begins with it."""
    if payload.kind == "tuple":
        payload = exactly(payload, 1, more=True)[0]
    found = plain(payload)
    return found if isinstance(found, str) else repr(found)


def member_text(payload: Spot) -> str:
    """Write a member of an enumeration."""
    cls = two_names(payload).rpartition(".")[2]
    name, value = (plain(part) for part in exactly(payload, 4, more=True)[2:])
    return f"{cls}.{name}" if name is not None else f"{cls}({value!r})"


def plain(spot: Spot, depth: int = 0) -> Any:
    """Make a plain Python value that is small; UnplainError for any other."""
    value = spot.value
    if spot.kind == "int" and isinstance(value, Text):
        if value.size > INT_BYTES_MAX:
            raise UnplainError
        return int.from_bytes(spot.raw.copy(value.at, value.size), "little", signed=True)
    if spot.kind in ("null", "bool", "int", "float", "complex", "ellipsis"):
        return value
    if spot.kind == "str" and isinstance(value, Text):
        text, is_whole = text_of(spot.raw, value, PLAIN_TEXT_MAX)
        if not is_whole:
            raise UnplainError
        return text
    if spot.kind == "bytes" and value.size <= PLAIN_TEXT_MAX:
        return spot.raw.copy(value.at, value.size)
    if spot.kind == "tuple" and depth < 3:
        parts = parts_of(spot)
        if parts is None:
            return ()
        if parts.size <= PIECES_MAX:
            return tuple(plain(parts.get(i)[1], depth + 1) for i in range(parts.size))
    raise UnplainError
