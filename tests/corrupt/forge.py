"""Images made and damaged by hand, and everything that a reader can be asked to do with one."""

import itertools
import random
import struct
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import icehouse
from icehouse.native import _image

START = 64
NODE, SHARED = 0x80, 0x40
COUNT_WIDE = 0xFFFFFF
NONE, FALSE, TRUE, EMPTY_STR, EMPTY_TUPLE, EMPTY_BYTES = 0, 2, 4, 6, 8, 10

# Kinds, as in docs/image-format.md.
STR_ASCII, STR_UTF8, INT64, BIGINT, FLOAT, COMPLEX = range(6)
BYTES, BYTES_BLOB, BYTEARRAY, BYTEARRAY_BLOB = range(6, 10)
LIST, LIST_PACKED, LIST_STR = range(10, 13)
TUPLE, TUPLE_PACKED, TUPLE_STR, TUPLE_VIEW, TUPLE_VIEW_PACKED, TUPLE_VIEW_STR = range(13, 19)
DICT_SHAPED, DICT_PAIRS, DICT_HASHED, SHAPE = range(19, 23)
SET, SET_HASHED, FROZENSET, FROZENSET_HASHED, ARRAY, LINK = range(23, 29)
OBJECT, LAYOUT, VALUE = range(29, 32)
KINDS = 32

# Forms of objects, and the one code of a VALUE that the reader in C knows.
VIEW, CONTAINER, AS_TUPLE, MADE = range(4)
CLASS = 1

# What damage may be called. Anything else, a SystemError for one, is a fault of ours.
REFUSALS = (
    icehouse.CorruptImage,
    TypeError,  # an unhashable key, a value that is not JSON
    ValueError,  # a cycle, an int with too many digits
    LookupError,
    RecursionError,
    MemoryError,
    OverflowError,
    BufferError,
    NotImplementedError,  # what a time zone says whose class is not known
)


def small_int(value: int) -> int:
    """The word of a small int."""
    return (value << 1 | 1) & 0xFFFFFFFF


class Forge:
    """Appends nodes; offsets are known at once, so cycles are easy: `word()` of what comes next."""

    def __init__(self) -> None:
        self.graph = bytearray()

    def word(self, ahead: int = 0) -> int:
        """The word of the node that is appended next, `ahead` bytes further on."""
        return (START + len(self.graph) + ahead) // 4 << 1

    def node(self, kind: int, n: int, body: bytes = b"", *, flags: int = 0) -> int:
        word = self.word()
        count = min(n, COUNT_WIDE)
        self.graph += struct.pack("<I", count << 8 | NODE | flags | kind)
        if n >= COUNT_WIDE:
            self.graph += struct.pack("<Q", n)
        self.raw(body)
        return word

    def words(self, kind: int, *words: int, flags: int = 0, n: int | None = None) -> int:
        body = struct.pack(f"<{len(words)}I", *words)
        return self.node(kind, len(words) if n is None else n, body, flags=flags)

    def raw(self, body: bytes) -> int:
        word = self.word()
        self.graph += body + bytes(-len(body) % 4)
        return word

    def text(self, text: str) -> int:
        """A short string."""
        return self.raw(bytes([len(text)]) + text.encode("ascii"))

    def link(self, index: int, word: int) -> int:
        """A link to the node of `word` in the image that is number `index` of the table."""
        return self.node(LINK, index, struct.pack("<I", word))

    def value(self, code: int, payload: int, *, flags: int = 0) -> int:
        return self.node(VALUE, code, struct.pack("<I", payload), flags=flags)

    def class_(self, module: str, qualname: str) -> int:
        names = self.text(module), self.text(qualname)
        return self.value(CLASS, self.words(TUPLE, *names))

    def layout(
        self, form: int, cls: int, number: int = 0, names: Sequence[str] | None = None
    ) -> int:
        keys = [self.text(name) for name in names or ()]
        shape = NONE if names is None else self.words(SHAPE, *keys)
        return self.words(LAYOUT, cls, number, shape, n=form)

    def object(self, layout: int, *values: int, flags: int = 0) -> int:
        return self.words(OBJECT, layout, *values, n=len(values), flags=flags)

    def image(
        self, root: int, *, graph_size: int | None = None, links: Sequence[bytes] = ()
    ) -> bytes:
        """The image; `links` are handles of 16 bytes."""
        table = b"".join(links) + struct.pack("<I", len(links)) if links else b""
        size = START + len(self.graph) + len(table) if graph_size is None else graph_size
        head = struct.pack("<HBBIQ", 0x4849, 3, bool(links), root, size)
        return bytes(48) + head + bytes(self.graph) + table


def open_image(data: Any) -> Any:
    return _image._open_buffer(data)


def is_view(value: Any) -> bool:
    return type(value).__module__.startswith("icehouse")


def questions(view: Any) -> Iterator[Callable[[], object]]:
    """Whatever can be asked of a value, one by one."""
    yield lambda: repr(view)
    yield lambda: view == view
    yield lambda: view != []
    yield lambda: icehouse.thaw(view)
    yield lambda: view == icehouse.thaw(view)
    yield lambda: icehouse.dumps(view)
    yield lambda: icehouse.dumps(view, indent=1, sort_keys=True, ensure_ascii=False, default=repr)
    yield lambda: len(view)
    yield lambda: "needle" in view
    yield lambda: 3 in view
    yield lambda: (1, "a") in view
    yield lambda: view["key"]
    yield lambda: view[1.0]
    yield lambda: view[-1]
    yield lambda: icehouse.thaw(view[::-2])
    yield lambda: view.index("b")
    yield lambda: view.count(2)
    yield lambda: list(reversed(view))
    yield lambda: view < [1, 2]
    yield lambda: view | {"x": 1}
    yield lambda: view & {1, 2}
    yield lambda: bytes(memoryview(view))
    yield lambda: view.tolist()
    yield lambda: icehouse.freeze([view])
    yield lambda: list(view.items()) == list(view.items())
    if is_view(view):
        yield lambda: hash(view)


def children(view: Any) -> Iterator[Any]:
    if not is_view(view) and type(view) not in (tuple, frozenset):
        return
    try:
        yield from itertools.islice(view, 200)
        if hasattr(view, "values"):
            yield from itertools.islice(view.values(), 200)
    except (*REFUSALS, AttributeError):  # a method of a class that looks for a field
        return


def exercise(data: Any, values_max: int = 60) -> bool:
    """Opens an image and asks everything of everything in it. True if nothing was refused."""
    fine = True
    try:
        todo = [open_image(data)]
    except REFUSALS:
        return False
    for _ in range(values_max):
        if not todo:
            break
        value = todo.pop()
        for ask in questions(value):
            try:
                ask()
            except icehouse.CorruptImage:
                fine = False
            except (*REFUSALS, AttributeError):
                pass  # not every question fits every value
        todo += children(value)
    return fine


INTERESTING = [0, 1, 2, 6, 16, 30, 0x7F, 0x80, 0xFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF]


def mutate(data: bytes, rng: random.Random) -> bytearray:
    """Damages an image in a few places: bytes, words, references, counts, kinds, flags."""
    damaged = bytearray(data)
    for _ in range(rng.choice([1, 1, 1, 2, 3, 8])):
        at = rng.randrange(48, len(damaged))
        aligned = max(48, min(at & ~3, len(damaged) - 4))
        match rng.randrange(7):
            case 0:
                damaged[at] ^= 1 << rng.randrange(8)
            case 1:
                damaged[at] = rng.randrange(256)
            case 2:
                damaged[aligned : aligned + 4] = struct.pack("<I", rng.choice(INTERESTING))
            case 3:  # a reference to somewhere
                target = rng.randrange(START, len(damaged)) // 4 << 1
                damaged[aligned : aligned + 4] = struct.pack("<I", target)
            case 4:  # another node
                kind = rng.randrange(KINDS) | rng.choice([0, SHARED])
                header = rng.randrange(300) << 8 | NODE | kind
                damaged[aligned : aligned + 4] = struct.pack("<I", header)
            case 5:  # the same node with another count
                damaged[aligned + 1 : aligned + 4] = rng.randbytes(3)
            case 6:  # a piece of it somewhere else
                size = rng.randrange(1, 40)
                source = rng.randrange(48, len(damaged))
                piece = damaged[source : source + size]
                damaged[at : at + len(piece)] = piece
    return damaged[: max(len(data), 64)]
