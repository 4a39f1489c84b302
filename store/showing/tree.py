"""The content of an image level by level: what a reader opens, and its children, page by page.

A way into an image is a text like a JSON pointer: `/users/0/name`. Each step names a field, an item
by its number, or a key of a dict that is a text; `~1` stands for `/` and `~0` for `~`. Any part can
be named by its place instead: `~n3` is the fourth, whatever its key.
"""

import re
import struct
import time
from dataclasses import dataclass

from icehouse.store.errors import CorruptImage, HandleGone
from icehouse.store.showing import document
from icehouse.store.showing.parts import Key, Parts, Spot, parts_of, root_of, type_of
from icehouse.store.showing.raw import CONSTANTS_END, Raw, damage, text_of
from icehouse.store.showing.sketch import PREVIEW, SUMMARY, Sketch
from icehouse.store.showing.words import clean, scalar_text

__all__ = ["Item", "Level", "WayError", "level", "preview"]

TEXT_MAX = 200
KEY_MAX = 100
WAY_MAX = 4000
STEPS_MAX = 250
# Keys are written into ways only where finding them again is cheap, and they are short.
NAMED_MAX = 1000
NAME_MAX = 40
# Characters of longer texts are not counted.
COUNTED_MAX = 1 << 16
PLACE = re.compile(r"~n(\d{1,15})", re.ASCII)
ESCAPES = re.compile(r"~(.?)", re.DOTALL)
INDEXED = ("list", "tuple", "set", "array")
# Steps of a search between two looks at the clock.
STRETCH = 4096


class WayError(LookupError):
    """A way leads nowhere, or is none; the message says where."""


class TooSlowError(Exception):
    """It takes longer than it may."""


@dataclass(frozen=True, slots=True)
class Item:
    """One value, in a few words."""

    key: str | None
    key_kind: str | None
    kind: str
    type: str
    length: int | None
    text: str | None
    is_whole: bool
    has_children: bool
    path: str | None
    link: str | None = None
    same_as: str | None = None


@dataclass(frozen=True, slots=True)
class Level:
    """A value and some of its children; `next` is the number of the first one that follows."""

    item: Item
    items: list[Item]
    next: int | None


@dataclass(slots=True)
class Found:
    """Where a way leads: the value, its key, and the places of what it is inside of."""

    spot: Spot
    key: Key | None
    way: str
    inside: dict[tuple[object, int], str]
    is_field: bool = False


def place_of(spot: Spot) -> tuple[object, int] | None:
    """Name a node; None for what has none."""
    return (spot.raw.handle, spot.at) if spot.at else None


# --- ways ---


def steps_of(way: str) -> list[str]:
    """Split a way; WayError."""
    if not way:
        return []
    if not way.startswith("/"):
        raise WayError(f"a path begins with /, and {clean(way[:60])!r} does not")
    steps = way[1:].split("/")
    if len(way) > WAY_MAX or len(steps) > STEPS_MAX:
        raise WayError(f"a path has at most {STEPS_MAX} steps and {WAY_MAX} characters")
    return steps


def unescape(step: str) -> str:
    """Read a step that is a name; WayError."""

    def one(match: re.Match[str]) -> str:
        if match[1] not in ("0", "1"):
            raise WayError(f"in a path ~ is written ~0, and / is ~1: {clean(step[:60])!r}")
        return "~/"[int(match[1])]

    return ESCAPES.sub(one, step)


def escape(name: str) -> str:
    """Write a name as a step."""
    return name.replace("~", "~0").replace("/", "~1")


def find(raw: Raw, way: str, until: float) -> Found:
    """Follow a way. WayError, CorruptImage, HandleGone; TooSlowError after `until`."""
    found = Found(root_of(raw), None, "", {})
    for step in steps_of(way):
        parts = parts_of(found.spot)
        at = -1 if parts is None else number_of(found.spot, parts, step, until)
        if parts is None or not 0 <= at < parts.size:
            raise WayError(nothing(found, step))
        place = place_of(found.spot)
        if place is not None:
            found.inside.setdefault(place, found.way)
        key, spot = parts.get(at)
        way_there = f"{found.way}/{step}"
        found = Found(spot, key, way_there, found.inside, parts.is_fields)
    return found


def nothing(found: Found, step: str) -> str:
    """Say that a step leads nowhere."""
    here = clean(found.way[-80:]) or "the root"
    return f"{here} is of type {clean(type_of(found.spot))} and has nothing at {clean(step[:60])!r}"


def number_of(spot: Spot, parts: Parts, step: str, until: float) -> int:
    """Find the number of the part that a step names; -1 where there is none."""
    if place := PLACE.fullmatch(step):
        return int(place[1])
    name = unescape(step)
    if spot.kind in INDEXED:
        return int(name) if name.isascii() and name.isdigit() and len(name) < 20 else -1
    if parts.keys is not None and name.isascii() and 0 < len(name) < 128:
        return quick_search(parts, name, until)
    wanted = name.encode("utf-8", "surrogatepass")
    for i in range(parts.size):
        if i % 256 == 0 and time.monotonic() > until:
            raise TooSlowError
        try:
            key = parts.get(i)[0]
        except (CorruptImage, HandleGone):
            continue
        if is_text(key, name, wanted):
            return i
    return -1


def is_text(key: Key, name: str, wanted: bytes) -> bool:
    """Whether a key is this very text."""
    if not isinstance(key, Spot):
        return key == name
    if key.kind != "str" or isinstance(key.value, str) or key.value.size != len(wanted):
        return False
    return key.raw.copy(key.value.at, key.value.size) == wanted


def quick_search(parts: Parts, name: str, until: float) -> int:
    """Look for a short text among the keys of a dict: each costs two loads and a comparison."""
    assert parts.keys is not None
    raw, start, stride = parts.keys
    wanted = bytes([len(name)]) + name.encode()
    stretch = struct.Struct(f"<I{stride - 4}x")
    size = len(wanted)
    memory = raw.memory
    for first in range(0, parts.size, STRETCH):
        if time.monotonic() > until:
            raise TooSlowError
        count = min(STRETCH, parts.size - first)
        begin = start + first * stride
        run = memory[begin : begin + count * stride]
        if run.nbytes != count * stride:
            raise damage(begin, "keys outside the image")
        for i, (word,) in enumerate(stretch.iter_unpack(run)):
            # A word is twice its offset in units of 4 bytes.
            if memory[word * 2 : word * 2 + size] == wanted and is_node(word):
                return first + i
    return -1


def is_node(word: int) -> bool:
    """Whether a word is neither an int nor a constant."""
    return word >= CONSTANTS_END and not word & 1


# --- one level ---


def key_of(key: Key | None, i: int, *, is_field: bool) -> tuple[str | None, str | None]:
    """Write a key, and say what it is: index, field, or the kind of a dict's key."""
    if key is None:
        return None, None
    if isinstance(key, int):
        return str(i), "index"
    if isinstance(key, str):
        return key, "field"
    found = scalar_text(key, KEY_MAX) if key.kind != "array" else None
    text = found[0] if found is not None else Sketch(SUMMARY, is_key=True).write(key)[:KEY_MAX]
    if is_field and key.kind == "str":
        # What stands for a subclass of str or int has a value without a name.
        return document.field_name(text), "field"
    return text, key.kind


def step_to(spot: Spot, parts: Parts, key: Key, i: int) -> str:
    """Write the step that leads to a part."""
    if spot.kind in INDEXED:
        return str(i)
    is_name = isinstance(key, Spot) and key.kind == "str" and parts.keys is not None
    if is_name and parts.size <= NAMED_MAX:
        assert isinstance(key, Spot)
        text, is_whole = text_of(key.raw, key.value, NAME_MAX)
        if is_whole and text.isprintable() and text.isascii():
            return escape(text)
    return f"~n{i}"


def length_of(spot: Spot, parts: Parts | None) -> int | None:
    """Count items, or the characters of a text; None where there is nothing to count."""
    value = spot.value
    if spot.kind == "str":
        if isinstance(value, str):
            return len(value)
        if value.ascii:
            return int(value.size)
        if value.size > COUNTED_MAX:
            return None
        return len(text_of(spot.raw, value, value.size)[0])
    if spot.kind == "bytes":
        return int(value.size)
    if spot.kind == "array":
        return value.shape[0] if value.shape else 1
    if spot.kind in ("list", "tuple", "set", "dict"):
        return parts.size if parts is not None else 0
    return parts.size if spot.kind == "object" and parts is not None else None


def text_in_a_line(spot: Spot) -> tuple[str, bool]:
    """Write a value in a line; of a container the first items."""
    found = scalar_text(spot, TEXT_MAX)
    if found is not None:
        return found
    sketch = Sketch(SUMMARY)
    text = sketch.write(spot)
    if len(text) > TEXT_MAX:
        return f"{text[: TEXT_MAX - 1]}…", False
    return text, sketch.is_whole


def item_of(found: Found, i: int, way: str | None) -> Item:
    """Describe one value. CorruptImage."""
    spot = found.spot
    key, key_kind = key_of(found.key, i, is_field=found.is_field)
    parts = parts_of(spot)
    if spot.kind == "value" and scalar_text(spot, 1) is not None:
        # A date is a date, and not the number that it is stored as.
        parts = None
    text, is_whole = text_in_a_line(spot)
    place = place_of(spot)
    return Item(
        key=key,
        key_kind=key_kind,
        kind=spot.kind,
        type=clean(type_of(spot)),
        length=length_of(spot, parts),
        text=text,
        is_whole=is_whole,
        has_children=parts is not None and parts.size > 0,
        path=way,
        link=str(spot.raw.handle) if spot.is_linked else None,
        same_as=found.inside.get(place) if place is not None else None,
    )


def damaged(i: int, way: str | None, error: Exception) -> Item:
    """Describe what can't be read."""
    text = clean(str(error))[:TEXT_MAX]
    return Item(
        key=str(i),
        key_kind=None,
        kind="damaged",
        type="damaged",
        length=None,
        text=text,
        is_whole=False,
        has_children=False,
        path=way,
    )


def child(found: Found, parts: Parts, i: int) -> Item:
    """Describe one child, or what is wrong with it."""
    way: str | None = f"{found.way}/~n{i}"
    try:
        key, spot = parts.get(i)
        way = f"{found.way}/{step_to(found.spot, parts, key, i)}"
        if len(way) > WAY_MAX or way.count("/") > STEPS_MAX:
            way = None
        return item_of(Found(spot, key, "", found.inside, parts.is_fields), i, way)
    except (CorruptImage, HandleGone) as error:
        return damaged(i, way, error)


def level(raw: Raw, way: str, start: int, limit: int, until: float) -> Level:
    """Describe what a way leads to, and its children from number `start` on, at most `limit`.

    O(limit), wherever the children lie; after `until` fewer, but one at least. WayError for a way
    that leads nowhere, CorruptImage where it leads to damage, HandleGone for a link to what is no
    more, TooSlowError for a key that is not found in time.
    """
    found = find(raw, way, until)
    number = int(found.key) if isinstance(found.key, int) else 0
    own = item_of(found, number, way)
    parts = parts_of(found.spot) if own.has_children else None
    place = place_of(found.spot)
    if place is not None:
        found.inside.setdefault(place, way)
    items: list[Item] = []
    count = parts.size if parts is not None else 0
    at = start
    while parts is not None and at < count and len(items) < limit:
        if items and time.monotonic() > until:
            break
        items.append(child(found, parts, at))
        at += 1
    return Level(own, items, at if at < count else None)


def preview(raw: Raw, way: str, until: float) -> tuple[Item, str, bool]:
    """Describe what a way leads to and write it as bounded JSON; True: that is all of it.

    Errors are those of `level`.
    """
    found = find(raw, way, until)
    number = int(found.key) if isinstance(found.key, int) else 0
    sketch = Sketch(PREVIEW, "  ")
    text = sketch.write(found.spot)
    return item_of(found, number, way), text, sketch.is_whole
