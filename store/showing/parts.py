"""What a word of an image leads to, and the parts of that: described, never made.

A `Spot` is one value where it lies, or an element that has no node of its own. `parts_of` gives
what it holds by number, each found in the same time wherever it is and however many there are.
"""

import functools
import struct
from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

from icehouse.store.freezing import codes
from icehouse.store.showing import grids
from icehouse.store.showing.raw import (
    CONSTANTS,
    CONSTANTS_END,
    ELEMENTS,
    Kind,
    Node,
    Raw,
    Text,
    damage,
    text_of,
)

__all__ = ["Key", "Parts", "Spot", "name_of_class", "parts_of", "root_of", "spot_of", "type_of"]

# Of a class's module and qualified name.
NAME_MAX = 200

KINDS: dict[int, str] = {
    **dict.fromkeys((Kind.SHORT_STR, Kind.STR_ASCII, Kind.STR_UTF8), "str"),
    **dict.fromkeys((Kind.INT64, Kind.BIGINT), "int"),
    Kind.FLOAT: "float",
    Kind.COMPLEX: "complex",
    **dict.fromkeys((Kind.BYTES, Kind.BYTES_BLOB), "bytes"),
    **dict.fromkeys((Kind.BYTEARRAY, Kind.BYTEARRAY_BLOB), "bytes"),
    **dict.fromkeys((Kind.LIST, Kind.LIST_PACKED, Kind.LIST_STR), "list"),
    **dict.fromkeys((Kind.TUPLE, Kind.TUPLE_PACKED, Kind.TUPLE_STR), "tuple"),
    **dict.fromkeys((Kind.TUPLE_VIEW, Kind.TUPLE_VIEW_PACKED, Kind.TUPLE_VIEW_STR), "tuple"),
    **dict.fromkeys((Kind.DICT_SHAPED, Kind.DICT_PAIRS, Kind.DICT_HASHED), "dict"),
    **dict.fromkeys((Kind.SET, Kind.SET_HASHED), "set"),
    **dict.fromkeys((Kind.FROZENSET, Kind.FROZENSET_HASHED), "set"),
    Kind.ARRAY: "array",
    Kind.OBJECT: "object",
    Kind.VALUE: "value",
}
# Kinds of nodes whose type is not called as their kind is.
TYPES: dict[int, str] = {
    **dict.fromkeys((Kind.BYTEARRAY, Kind.BYTEARRAY_BLOB), "bytearray"),
    **dict.fromkeys((Kind.FROZENSET, Kind.FROZENSET_HASHED), "frozenset"),
}
ORIGINS = ("numpy.ndarray", "array.array", "memoryview")
PACKED = (Kind.LIST_PACKED, Kind.TUPLE_PACKED, Kind.TUPLE_VIEW_PACKED)
TEXT_RUNS = (Kind.LIST_STR, Kind.TUPLE_STR, Kind.TUPLE_VIEW_STR)
FORM_VIEW, FORM_CONTAINER, FORM_TUPLE, FORM_MADE = range(4)
# What a value is of, by its code.
VALUE_TYPES = {
    codes.CLASS: "type",
    codes.GLOBAL: "builtin_function_or_method",
    codes.DATE: "datetime.date",
    codes.TIME: "datetime.time",
    codes.DATETIME: "datetime.datetime",
    codes.TIMEDELTA: "datetime.timedelta",
    codes.TIMEZONE: "datetime.timezone",
    codes.ZONEINFO: "zoneinfo.ZoneInfo",
    codes.DECIMAL: "decimal.Decimal",
    codes.FRACTION: "fractions.Fraction",
    codes.UUID: "uuid.UUID",
    codes.IP: "ipaddress",
    codes.PATH: "pathlib.PurePath",
    codes.PATTERN: "re.Pattern",
    codes.RANGE: "range",
    codes.SLICE: "slice",
    codes.MAPPING_PROXY: "mappingproxy",
    codes.REDUCE: "object that is made by __reduce__",
    codes.FROZENDICT: "frozendict",
    codes.NUMPY_SCALAR: "numpy.generic",
    codes.NDARRAY: "numpy.ndarray",
    codes.MASKED_ARRAY: "numpy.ma.MaskedArray",
    codes.ARROW: "pyarrow",
    codes.PANDAS: "pandas",
    codes.POLARS: "polars",
    codes.SPARSE: "scipy.sparse",
    codes.TORCH: "torch",
    codes.FUNCTION: "function",
    codes.PARTIAL: "functools.partial",
    codes.MODULE: "module",
    codes.SHARED_FIELD: "icehouse.SharedField",
    codes.INTERPRETER_LOCAL: "icehouse.InterpreterLocal",
    codes.TYPE_VAR: "typing.TypeVar",
}
# Values whose payload begins with module and qualified name of their type, or with its whole name.
NAMED_BY_TWO = (codes.ENUM, codes.STRUCT_SEQUENCE, codes.THAWED, codes.EXCEPTION)
NAMED_BY_ONE = (codes.REGISTERED, codes.RECORD)
# What the items of payloads are that are tuples: store/freezing/codes.py.
ITEMS = {
    codes.GLOBAL: ("module", "qualname"),
    codes.ENUM: ("module", "qualname", "name", "value"),
    codes.STRUCT_SEQUENCE: ("module", "qualname", "items", "hidden"),
    codes.EXCEPTION: (
        *("module", "qualname", "args", "attributes", "natives"),
        *("cause", "context", "suppress"),
    ),
    codes.REGISTERED: ("type", "frozen"),
    codes.THAWED: ("module", "qualname", "frozen"),
    codes.PARTIAL: ("function", "args", "keywords", "attributes"),
    codes.SHARED_FIELD: ("id", "initial", "place", "value_when_written"),
    codes.INTERPRETER_LOCAL: ("id", "value", "factory"),
    codes.RANGE: ("start", "stop", "step"),
    codes.SLICE: ("start", "stop", "step"),
}
# Those that are shown as the dict that they hold.
DICTS = (codes.MAPPING_PROXY, codes.FROZENDICT)


class Spot(NamedTuple):
    """One value of an image.

    `kind` says what it is made of: null, bool, int, float, complex, ellipsis, str, bytes, list,
    tuple, dict, set, array, object, value. `value` is a number itself; of str and bytes it is where
    they lie (`Text`), of a part of an array a `Grid`. `at` is the offset of its node, 0 where it
    has none; `is_linked` says that it was behind a link and so in another image.
    """

    raw: Raw
    kind: str
    value: Any = None
    node: Node | None = None
    at: int = 0
    is_linked: bool = False


# Of a part: its index, the name of a field or what we call it, or a key of a dict.
Key: TypeAlias = int | str | Spot


class Parts(NamedTuple):
    """What a value holds: `get(i)` gives key and value of each, for i from 0 to size - 1.

    `keys` says where the words of keys lie among which a text can be looked for: image, offset and
    stride. Numbers outside the range are the caller's mistake, and read what lies there.
    """

    size: int
    get: Callable[[int], tuple[Key, Spot]]
    keys: tuple[Raw, int, int] | None = None
    is_fields: bool = False


def root_of(raw: Raw) -> Spot:
    """Describe the root of an image. CorruptImage."""
    return spot_of(raw, raw.root)


def spot_of(raw: Raw, word: int) -> Spot:
    """Describe what a word leads to; a link is followed. CorruptImage, HandleGone."""
    if word & 1:
        return Spot(raw, "int", (word >> 1) - ((word & 0x80000000) and 0x80000000))
    if word < CONSTANTS_END:
        return constant_of(raw, word)
    node = raw.node(word)
    is_linked = node.kind == Kind.LINK
    if is_linked:
        raw, word = raw.follow(node)
        node = raw.node(word)
    kind = KINDS.get(node.kind)
    at = (word >> 1) * 4
    if kind is None:
        raise damage(at, "a node of this kind stands for no value")
    return Spot(raw, kind, plain_of(raw, node), node, at, is_linked)


def constant_of(raw: Raw, word: int) -> Spot:
    """Describe a constant."""
    if word not in CONSTANTS:
        raise damage(word, "a reserved constant")
    value = CONSTANTS[word]
    if value == "":
        return Spot(raw, "str", Text(0, 0, ascii=True))
    if value == b"":
        return Spot(raw, "bytes", Text(0, 0, ascii=False))
    kinds = {type(None): "null", bool: "bool", tuple: "tuple"}
    return Spot(raw, kinds.get(type(value), "ellipsis"), value)


def plain_of(raw: Raw, node: Node) -> Any:
    """Read what is small, and say where texts and bytes lie."""
    match node.kind:
        case Kind.INT64:
            return raw.unpack("<q", node.data)
        case Kind.FLOAT:
            return raw.unpack("<d", node.data)
        case Kind.COMPLEX:
            return complex(raw.unpack("<d", node.data), raw.unpack("<d", node.data + 8))
        case Kind.ARRAY:
            return grids.grid_of(raw, node)
        case kind if kind < Kind.LIST or kind == Kind.SHORT_STR:
            # Of a big int, too.
            return Text(node.data, node.n, node.ascii or kind == Kind.STR_ASCII)
    return None


# --- names of types ---


def text_in(spot: Spot, at: int = 0) -> str:
    """Read a text that names something; CorruptImage where there is none."""
    if spot.kind != "str":
        raise damage(spot.at or at, "a name that is not text")
    return text_of(spot.raw, spot.value, NAME_MAX)[0]


def name_of_class(raw: Raw, word: int) -> str:
    """Read the name of the class that a word of a layout, or of a value, stands for."""
    spot = spot_of(raw, word)
    if spot.node is None or spot.node.kind != Kind.VALUE or spot.node.n != codes.CLASS:
        raise damage(spot.at, "a layout without a class")
    return two_names(spot_of(spot.raw, spot.node.shape))


def items_of(spot: Spot) -> Parts:
    """Give the items of a tuple that is part of the format; CorruptImage where it is none.

    Nothing else is looked into, so that no chain of values leads anywhere.
    """
    if spot.kind != "tuple":
        raise damage(spot.at, "something else than a tuple")
    return parts_of(spot) or Parts(0, lambda i: (i, spot))


def two_names(payload: Spot) -> str:
    """Read "module.qualname", as the payload of a class and of others begins with them."""
    items = items_of(payload)
    if items.size < 2:
        raise damage(payload.at, "a class without a name")
    module, qualname = (text_in(items.get(i)[1], payload.at) for i in (0, 1))
    return f"{module}.{qualname}".removeprefix("builtins.")


def type_of(spot: Spot) -> str:
    """Name the type that was frozen. CorruptImage. O(1)."""
    node = spot.node
    if node is None:
        return {"null": "NoneType", "value": "object"}.get(spot.kind, spot.kind)
    if node.kind == Kind.OBJECT:
        return name_of_class(spot.raw, layout_of(spot.raw, node).capacity)
    if node.kind == Kind.ARRAY:
        return ORIGINS[node.code] if node.code < len(ORIGINS) else "array"
    if node.kind == Kind.VALUE:
        return value_type(spot.raw, node)
    return TYPES.get(node.kind, spot.kind)


def value_type(raw: Raw, node: Node) -> str:
    """Name the type of a value."""
    if node.n in NAMED_BY_TWO:
        return two_names(spot_of(raw, node.shape))
    if node.n in NAMED_BY_ONE:
        payload = spot_of(raw, node.shape)
        items = items_of(payload)
        if not items.size:
            raise damage(payload.at, "a value without the name of its type")
        return text_in(items.get(0)[1], payload.at)
    found = VALUE_TYPES.get(node.n)
    if found is None:
        raise damage(node.data, "a value of an unknown code")
    return found


# --- parts ---


def parts_of(spot: Spot) -> Parts | None:
    """Give what a value holds; None for what holds nothing. CorruptImage. O(1)."""
    node, raw = spot.node, spot.raw
    if isinstance(spot.value, grids.Grid):
        return grid_parts(spot)
    if node is None:
        return None
    kind = node.kind
    if kind in PACKED:
        return Parts(node.n, functools.partial(packed_part, raw, node))
    if kind in TEXT_RUNS:
        return Parts(node.n, lambda i: (i, Spot(raw, "str", raw.text_item(node, i))))
    if kind in (Kind.DICT_PAIRS, Kind.DICT_HASHED):
        return Parts(node.n, functools.partial(pair, raw, node.data), (raw, node.data, 8))
    if kind == Kind.DICT_SHAPED:
        shape = shape_of(raw, node.shape, node.n)
        keyed = functools.partial(named, raw, shape.data, node.data)
        return Parts(node.n, keyed, (raw, shape.data, 4))
    if kind == Kind.OBJECT:
        return object_parts(spot)
    if kind == Kind.VALUE:
        return value_parts(raw, node)
    if spot.kind in ("list", "tuple", "set"):
        return word_parts(raw, node.data, node.n)
    return None


def word_parts(raw: Raw, data: int, count: int) -> Parts:
    """Give words that have no key."""
    return Parts(count, lambda i: (i, spot_of(raw, raw.word(data + 4 * i))))


def packed_part(raw: Raw, node: Node, i: int) -> tuple[Key, Spot]:
    """Give an element of a packed node."""
    value = raw.unpack(f"<{ELEMENTS[node.code]}", node.data + i * node.width)
    return i, Spot(raw, type(value).__name__, value)


def pair(raw: Raw, data: int, i: int) -> tuple[Key, Spot]:
    """Give an entry of a dict."""
    at = data + 8 * i
    return spot_of(raw, raw.word(at)), spot_of(raw, raw.word(at + 4))


def named(raw: Raw, names: int, values: int, i: int) -> tuple[Key, Spot]:
    """Give an entry whose name lies elsewhere than its value."""
    return spot_of(raw, raw.word(names + 4 * i)), spot_of(raw, raw.word(values + 4 * i))


def shape_of(raw: Raw, word: int, count: int) -> Node:
    """Read a SHAPE of so many names."""
    shape = raw.node(word)
    if shape.kind != Kind.SHAPE or shape.n != count:
        raise damage((word >> 1) * 4, "names that are not those of what has them")
    return shape


def layout_of(raw: Raw, node: Node) -> Node:
    """Read the LAYOUT of an object."""
    layout = raw.node(node.shape)
    if layout.kind != Kind.LAYOUT:
        raise damage((node.shape >> 1) * 4, "an object without a layout")
    return layout


def object_parts(spot: Spot) -> Parts:
    """Give the content of an instance, if it is a container, then its fields."""
    raw, node = spot.raw, spot.node
    assert node is not None
    layout = layout_of(raw, node)
    if layout.n == FORM_TUPLE:
        return word_parts(raw, node.data, node.n)
    if layout.n > FORM_MADE:
        raise damage(spot.at, "an object of an unknown form")
    first = int(layout.n == FORM_CONTAINER)
    count = node.n - first
    if count < 0:
        raise damage(spot.at, "a container without content")
    # No names: the word of None.
    names = shape_of(raw, layout.shape, count).data if layout.shape or count else 0

    def get(i: int) -> tuple[Key, Spot]:
        if i < first:
            return "$items", spot_of(raw, raw.word(node.data))
        return named(raw, names - 4 * first, node.data, i)

    return Parts(node.n, get, None if first else (raw, names, 4), is_fields=True)


def value_parts(raw: Raw, node: Node) -> Parts | None:
    """Give what the payload of a value holds; of a record its fields."""
    if node.n == codes.CLASS:
        # Its name is all: a definition is code.
        return None
    payload = spot_of(raw, node.shape)
    if node.n == codes.RECORD:
        return record_parts(payload)
    # A value in a value is opened by itself: chains of them are as long as somebody likes.
    parts = None if payload.kind == "value" else parts_of(payload)
    if parts is None or not parts.size:
        return Parts(1, lambda _: ("$payload", payload), is_fields=True)
    if node.n in DICTS:
        return parts
    names = ITEMS.get(node.n, ())
    if payload.kind != "tuple" or not names:
        return parts._replace(is_fields=True)

    def get(i: int) -> tuple[Key, Spot]:
        key, spot = parts.get(i)
        return names[i] if i < len(names) else key, spot

    return Parts(parts.size, get, is_fields=True)


def record_parts(payload: Spot) -> Parts:
    """Give the fields of a record: its payload is (type's name, names, values)."""
    items = items_of(payload)
    if items.size != 3:
        raise damage(payload.at, "a record without names and values")
    names, values = (items_of(items.get(i)[1]) for i in (1, 2))
    if names.size != values.size:
        raise damage(payload.at, "a record with more names than values")
    return Parts(names.size, lambda i: (names.get(i)[1], values.get(i)[1]), is_fields=True)


def grid_parts(spot: Spot) -> Parts | None:
    """Give the parts of an array: arrays of one dimension less, then its elements."""
    grid: grids.Grid = spot.value
    if not grid.shape:
        return None

    def get(i: int) -> tuple[Key, Spot]:
        inner = grid.part(i)
        if inner.shape:
            return i, Spot(spot.raw, "array", inner)
        return i, element_of(spot.raw, inner)

    return Parts(grid.shape[0], get)


def element_of(raw: Raw, grid: grids.Grid) -> Spot:
    """Read one element of an array; as bytes where its format is none that we know."""
    try:
        value = grid.element(raw)
    except (struct.error, ValueError, OverflowError):
        value = None
    if value is None or isinstance(value, bytes):
        return Spot(raw, "bytes", Text(grid.at, grid.item_size, ascii=False))
    return Spot(raw, "str" if isinstance(value, str) else type(value).__name__, value)
