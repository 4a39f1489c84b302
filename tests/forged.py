"""Images with objects in them, written by hand: they test readers without the freezer."""

import collections
import struct
import sys
from pathlib import Path
from typing import Any

from icehouse.native import _image

sys.path.append(str(Path(__file__).parent / "corrupt"))

from forge import (
    BYTES,
    CLASS,
    CONTAINER,
    DICT_PAIRS,
    FALSE,
    FLOAT,
    FROZENSET,
    LAYOUT,
    LIST,
    NONE,
    OBJECT,
    SET,
    SHAPE,
    SHARED,
    STR_ASCII,
    STR_UTF8,
    TRUE,
    TUPLE,
    VALUE,
    VIEW,
    Forge,
    small_int,
)

CONTAINERS = (list, dict, set, frozenset, tuple, bytes)


def slots_of(cls: type) -> list[str]:
    """The names of a class's slots in MRO order, mangled."""
    return [
        name
        for base in cls.__mro__
        if "__slots__" in vars(base)
        for name, found in vars(base).items()
        if type(found).__name__ == "member_descriptor"
    ]


def fields_of(obj: Any) -> tuple[dict[str, Any], int]:
    """The fields of an instance, and how many of them are slots."""
    slots = {name: getattr(obj, name) for name in slots_of(type(obj)) if hasattr(obj, name)}
    return {**slots, **getattr(obj, "__dict__", {})}, len(slots)


class Writer(Forge):
    """Writes plain data, instances of classes, and subclasses of containers.

    Every container and object is flagged as shared, so that sharing and cycles are kept.
    """

    def __init__(self) -> None:
        super().__init__()
        self.known: dict[int, int] = {}
        self.layouts: dict[tuple[Any, ...], int] = {}
        self.keep: list[object] = []

    def text_node(self, text: str) -> int:
        raw = text.encode("utf-8", "surrogatepass")
        if not raw:
            return 6
        if len(raw) < 128 and text.isascii():
            return self.text(text)
        return self.node(STR_ASCII if text.isascii() else STR_UTF8, len(raw), raw)

    def class_of(self, module: str, qualname: str) -> int:
        """A class by its name, which may be long."""
        pair = self.words(TUPLE, self.text_node(module), self.text_node(qualname))
        return self.node(VALUE, CLASS, struct.pack("<I", pair))

    def layout_of(
        self, module: str, qualname: str, names: list[str], form: int = VIEW, number: int = 0
    ) -> int:
        """A LAYOUT; one for each of its kind."""
        key = (module, qualname, tuple(names), form, number)
        if key not in self.layouts:
            shape = self.shape(names) if names else NONE
            cls = self.class_of(module, qualname)
            self.layouts[key] = self.words(LAYOUT, cls, number, shape, n=form)
        return self.layouts[key]

    def shape(self, names: list[str]) -> int:
        """A SHAPE of any size, without a table that leads anywhere."""
        words = [self.text_node(name) for name in names]
        if len(words) <= 8:
            return self.words(SHAPE, *words)
        capacity = len(words) + len(words) // 3 + 1
        table = struct.pack("<II", 0xFFFFFFFF, capacity)
        table += bytes(-(-capacity * (1 if len(words) < 127 else 2) // 4) * 4)
        return self.node(SHAPE, len(words), table + struct.pack(f"<{len(words)}I", *words))

    def _reserve(self, obj: object, kind: int, n: int, words: int) -> int:
        """A node whose words are filled in later: what it holds may lead back to it."""
        self.keep.append(obj)
        word = self.node(kind, n, bytes(4 * words), flags=SHARED)
        self.known[id(obj)] = word
        return word

    def _fill(self, word: int, words: list[int]) -> int:
        at = (word >> 1) * 4 - 64 + 4
        self.graph[at : at + 4 * len(words)] = struct.pack(f"<{len(words)}I", *words)
        return word

    def put(self, obj: Any) -> int:
        """The word of an object."""
        cls = type(obj)
        if obj is None:
            return NONE
        if cls is bool:
            return TRUE if obj else FALSE
        if cls is int:
            return small_int(obj)
        if cls is float:
            return self.node(FLOAT, 1, struct.pack("<d", obj))
        if cls is str:
            return self.text_node(obj)
        if cls is bytes:
            return self.node(BYTES, len(obj), obj) if obj else 10
        if isinstance(obj, type):
            return self.class_of(obj.__module__, obj.__qualname__)
        if id(obj) in self.known:
            return self.known[id(obj)]
        if cls is tuple:
            return self.words(TUPLE, *[self.put(item) for item in obj]) if obj else 8
        if cls in (list, set, frozenset):
            kind = LIST if cls is list else SET if cls is set else FROZENSET
            word = self._reserve(obj, kind, len(obj), len(obj))
            return self._fill(word, [self.put(item) for item in obj])
        if cls is dict:
            assert len(obj) <= 8
            word = self._reserve(obj, DICT_PAIRS, len(obj), 2 * len(obj))
            return self._fill(word, [self.put(item) for pair in obj.items() for item in pair])
        return self._put_instance(obj)

    def _put_instance(self, obj: Any) -> int:
        cls = type(obj)
        fields, slots = fields_of(obj)
        content: list[Any] = []
        if isinstance(obj, collections.deque):
            content, fields = [list(obj)], {"maxlen": obj.maxlen, **fields}
        elif isinstance(obj, collections.defaultdict):
            content, fields = [dict(obj)], {"default_factory": obj.default_factory, **fields}
        else:
            for base in CONTAINERS:
                if isinstance(obj, base):
                    content = [base.copy(obj) if hasattr(base, "copy") else base(obj)]
        layout = self.layout_of(
            cls.__module__,
            cls.__qualname__,
            list(fields),
            CONTAINER if content else VIEW,
            slots,
        )
        values = [*content, *fields.values()]
        word = self._reserve(obj, OBJECT, len(values), len(values) + 1)
        return self._fill(word, [layout, *[self.put(value) for value in values]])


def image_of(obj: Any) -> bytes:
    """An image of an object, as the freezer could have made it."""
    writer = Writer()
    return writer.image(writer.put(obj))


def view_of(obj: Any) -> Any:
    """What the image opens as, where its producer is trusted."""
    return _image._load_image(image_of(obj))


def distrusted_view_of(obj: Any) -> Any:
    """The same of an image of somebody else."""
    return _image._open_buffer(image_of(obj))
