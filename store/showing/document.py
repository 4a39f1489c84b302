"""Values of an image as JSON, piece by piece, so that no more is ever held than one of them.

What JSON has no word for is an object whose `$type` says what it is; `$ref` is the way to a
container that this is inside of, `$more` how many items a bounded document leaves out.
"""

import base64
import datetime
import decimal
import fractions
import ipaddress
import json
import math
import pathlib
import re
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

from icehouse.store import image
from icehouse.store.errors import CorruptImage
from icehouse.store.showing import nodes

# Of bytes, at a time; a multiple of 3.
CHUNK = 3 * 64 * 1024
# Longer numbers take Python too long as decimal ones.
DIGITS_BITS_MAX = 14_000
DEPTH_MAX = 10_000
# What is written before a value, the step that leads to it, and the value.
Entry: TypeAlias = tuple[str | None, str, Any]
# Their text says everything.
TEXTS = (
    decimal.Decimal,
    fractions.Fraction,
    uuid.UUID,
    pathlib.PurePath,
    datetime.tzinfo,
    ipaddress.IPv4Address,
    ipaddress.IPv6Address,
    ipaddress.IPv4Network,
    ipaddress.IPv6Network,
    ipaddress.IPv4Interface,
    ipaddress.IPv6Interface,
)


@dataclass(frozen=True)
class Bounds:
    """How much is shown; None: all."""

    depth: int | None = None
    items: int | None = None
    text: int | None = None
    values: int | None = None


ALL = Bounds()
SOME = Bounds(depth=8, items=100, text=2000, values=2000)


def quoted(text: str) -> str:
    """Write a text, with escapes for what a terminal would obey or UTF-8 doesn't have."""
    written = json.dumps(text, ensure_ascii=False)
    if written.isprintable():
        return written
    return "".join(char if char.isprintable() else json.dumps(char)[1:-1] for char in written)


def number(value: float) -> str:
    """Write a number that JSON knows, else an object."""
    if isinstance(value, int):
        if value.bit_length() > DIGITS_BITS_MAX:
            return tagged("int", hex=hex(value))
        return repr(int(value))
    return repr(value) if math.isfinite(value) else tagged("float", value=repr(value))


def tagged(kind: str, **parts: Any) -> str:
    """Write an object that says what it is."""
    return compact({"$type": kind, **parts})


def compact(document: Any) -> str:
    """Write a small document."""
    return json.dumps(document, separators=(",", ":"))


def scalar(value: Any) -> str | None:
    """Write what holds nothing else, but for texts and bytes; None for what does."""
    if value is None or value is True or value is False:
        return {None: "null", True: "true", False: "false"}[value]
    kind = type(value)
    if kind in (int, float):
        return number(value)
    if kind is complex:
        return tagged("complex", real=repr(value.real), imag=repr(value.imag))
    if kind in (range, slice):
        parts = (value.start, value.stop, value.step)
        shown = [part if isinstance(part, int | None) else repr(part) for part in parts]
        return tagged(kind.__name__, start=shown[0], stop=shown[1], step=shown[2])
    if isinstance(value, datetime.datetime | datetime.date | datetime.time):
        return quoted(value.isoformat())
    if isinstance(value, TEXTS):
        return quoted(str(value))
    return other(value)


def other(value: Any) -> str | None:
    """Write the rarer values; None for what holds others."""
    if isinstance(value, datetime.timedelta):
        return tagged("datetime.timedelta", seconds=value.total_seconds())
    if isinstance(value, re.Pattern):
        pattern = value.pattern
        shown = pattern if isinstance(pattern, str) else pattern.decode("latin-1")
        return tagged("re.Pattern", pattern=shown, flags=value.flags)
    if isinstance(value, type):
        return tagged("type", name=image.type_name(value) if value is type else name_of(value))
    if not nodes.kind_of(value) and nodes.fields_of(value) is None:
        return tagged(nodes.type_of(value))
    return None


def name_of(cls: type) -> str:
    """Name a class."""
    return (
        f"{type.__dict__['__module__'].__get__(cls)}.{type.__dict__['__qualname__'].__get__(cls)}"
    )


def field_name(name: str) -> str:
    """Name a field so that it can't be taken for a word of ours; a bare value has no name."""
    return "$value" if not name else f"${name}" if name.startswith("$") else name


def quick(value: Any) -> str | None:
    """Give the compact text of JSON-like data straight from its image; None for what isn't that.

    The text is held as a whole.
    """
    if type(value) not in (image.FrozenDict, image.FrozenList):
        return None
    try:
        text = image.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
        try:
            text.encode()
        except UnicodeEncodeError:
            # A lone surrogate, which UTF-8 doesn't have.
            return image.dumps(value, separators=(",", ":"))
        return text
    except (TypeError, ValueError, RecursionError) as error:
        if isinstance(error, CorruptImage):
            raise
        return None


def step_text(key: Any) -> str:
    """Write a key as a step of a selector."""
    if isinstance(key, str) and key.isidentifier():
        return f".{key}"
    return f"[{quoted(key) if isinstance(key, str) else key_text(key)}]"


def key_text(key: Any) -> str:
    """Write a key of a dict as the text that JSON wants."""
    if isinstance(key, str):
        return quoted(str(key))
    return quoted("".join(Writer(SOME).pieces(key)))


class Written(str):
    """What is JSON already."""

    __slots__ = ()


class Content(NamedTuple):
    """What an instance holds as a container, beside its fields."""

    value: Any
    kind: str


class Frame(NamedTuple):
    """A container that is being written."""

    entries: Iterator[Entry]
    close: str
    path: str
    identity: Any


class Writer:
    """Writes one value. `indent` is that of one level; None: all in one line."""

    def __init__(self, bounds: Bounds = ALL, indent: str | None = None) -> None:
        self._bounds = bounds
        self._indent = indent
        self._stack: list[Frame] = []
        # Where the containers are that this is inside of.
        self._inside: dict[Any, str] = {}
        self._written = 0
        self.is_partial = False

    def pieces(self, root: Any) -> Iterator[str]:
        """Give the text, in pieces."""
        yield from self._value(root, "$")
        stack = self._stack
        is_first = True
        depth = 0
        while stack:
            # A container that was begun just now has nothing in it yet.
            is_first, depth = len(stack) > depth, len(stack)
            frame = stack[-1]
            entry = next(frame.entries, None)
            if entry is None:
                stack.pop()
                self._inside.pop(frame.identity, None)
                yield frame.close if is_first else self._line() + frame.close
                continue
            before, step, value = entry
            yield self._line() if is_first else f",{self._line()}"
            if before is not None:
                yield before
            yield from self._value(value, frame.path + step)

    def _line(self) -> str:
        if self._indent is None:
            return ""
        return "\n" + self._indent * len(self._stack)

    def _value(self, value: Any, path: str) -> Iterator[str]:
        """Write a value, or begin one that holds others."""
        self._written += 1
        if isinstance(value, Written):
            yield value
        elif isinstance(value, Content):
            yield self._open(value.value, value.kind, path, None)
        elif type(value) is str:
            yield self._text(value)
        elif type(value) in (bytes, image.FrozenBytes):
            yield from self._bytes(value)
        elif (text := scalar(value)) is not None:
            yield text
        else:
            yield self._begin(value, path)

    def _text(self, value: str) -> str:
        most = self._bounds.text
        if most is None or len(value) <= most:
            return quoted(value)
        self.is_partial = True
        return quoted(f"{value[:most]}... ({len(value) - most} more)")

    def _bytes(self, value: Any) -> Iterator[str]:
        size, most = len(value), self._bounds.text
        shown = size if most is None else min(size, most)
        self.is_partial |= shown < size
        kind = nodes.type_of(value)
        yield f'{{"$type":{quoted(kind)},"size":{size},"base64":"'
        for at in range(0, shown, CHUNK):
            yield base64.b64encode(bytes(value[at : min(at + CHUNK, shown)])).decode()
        yield f'","$more":{size - shown}}}' if shown < size else '"}'

    # --- what holds others ---

    def _begin(self, value: Any, path: str) -> str:
        kind, fields = nodes.kind_of(value), nodes.fields_of(value)
        depth = len(self._stack)
        identity = nodes.identity_of(value)
        if identity is not None and identity in self._inside:
            return compact({"$ref": self._inside[identity]})
        bounds = self._bounds
        over = bounds.values is not None and self._written > bounds.values
        if over or depth >= (bounds.depth or DEPTH_MAX):
            count = len(fields or ()) + (nodes.length_of(value, kind) if kind else 0)
            if count:
                self.is_partial = True
                more = compact({"$more": count})
                return more if fields is not None or kind == "dict" else f"[{more}]"
        name = nodes.type_of(value)
        if fields is not None and name not in nodes.PLAIN_CONTAINERS:
            entries = self._instance(value, name, kind, fields)
            return self._push(entries, "{}", path, identity)
        return self._open(value, kind, path, identity)

    def _open(self, value: Any, kind: str, path: str, identity: Any) -> str:
        if kind == "dict":
            return self._push(self._pairs(value), "{}", path, identity)
        return self._push(self._items(value, kind), "[]", path, identity)

    def _push(self, entries: Iterator[Entry], ends: str, path: str, identity: Any) -> str:
        if identity is not None:
            self._inside[identity] = path
        self._stack.append(Frame(entries, ends[1], path, identity))
        return ends[0]

    def _is_enough(self, shown: int) -> bool:
        bounds = self._bounds
        return (bounds.items is not None and shown >= bounds.items) or (
            bounds.values is not None and self._written >= bounds.values
        )

    def _instance(self, value: Any, name: str, kind: str, fields: Any) -> Iterator[Entry]:
        """Write an instance: its type, its fields, then what it contains, if it is a container."""
        yield self._key("$type"), "", name
        shown = 0
        for key, part in fields.items():
            if self._is_enough(shown):
                break
            # A field may be called anything.
            yield self._key(field_name(key)), step_text(key), part
            shown += 1
        if shown < len(fields):
            self.is_partial = True
            yield self._key("$more"), "", len(fields) - shown
        if kind:
            yield self._key("$items"), "", Content(value, kind)

    def _pairs(self, value: Any) -> Iterator[Entry]:
        for shown, (key, part) in enumerate(nodes.items_of(value, "dict")):
            if self._is_enough(shown):
                self.is_partial = True
                yield self._key("$more"), "", len(value) - shown
                return
            yield f"{key_text(key)}{self._colon()}", step_text(key), part

    def _items(self, value: Any, kind: str) -> Iterator[Entry]:
        length = nodes.length_of(value, kind)
        for shown, (index, item) in enumerate(nodes.items_of(value, kind)):
            if self._is_enough(shown):
                self.is_partial = True
                yield None, "", Written(compact({"$more": length - shown}))
                return
            yield None, f"[{index}]", item

    def _key(self, name: str) -> str:
        return f"{quoted(name)}{self._colon()}"

    def _colon(self) -> str:
        return ":" if self._indent is None else ": "
