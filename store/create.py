"""Arrays that are built in the store: `with store.create(shape, dtype) as a:`."""

from collections.abc import Iterable
from operator import index
from types import TracebackType
from typing import Any

from icehouse.native._image import Handle, Store

__all__ = ["Creation", "create"]

# Smaller ones are made in private memory and copied at the end: a memory file of their own would
# take longer.
_BUILT_MIN = 256 << 10


class Creation:
    """What `store.create()` gives: a context manager over an array that is being made.

    `array` is the writable array, and what entering gives. At the end it is sealed; `handle` is its
    handle then, as it is of what `put` returns. An exception takes all back.
    """

    def __init__(self, store: Store, array: Any, building: Any, options: dict[str, Any]) -> None:
        """Made by store.create()."""
        self._store = store
        self._building = building
        self._options = options
        self._handle: Handle | None = None
        self._ended = False
        self.array = array

    @property
    def handle(self) -> Handle:
        """The handle of the sealed array. ValueError before the end, or if it failed."""
        if self._handle is None:
            state = "was taken back" if self._ended else "is not sealed yet: leave the with block"
            raise ValueError(f"this array {state}")
        return self._handle

    def __enter__(self) -> Any:
        """Give the writable array. Once only."""
        if self._ended:
            raise ValueError("this array is sealed or taken back; create another")
        return self.array

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Seal the array, or give its memory back after an exception."""
        if kind is None:
            self.seal()
        else:
            self.abandon()

    def seal(self) -> Handle:
        """End the making and put the array, as leaving the with block does; returns its handle."""
        if self._ended:
            raise ValueError("this array is sealed or taken back; create another")
        self._ended = True
        try:
            made = self.array if self._building is None else self._building.seal()
            self._handle = handle = self._store.put(made, **self._options)
        finally:
            self._close()
        return handle

    def abandon(self) -> None:
        """Give the memory back; what was handed out then reads as zeros, if it was in the store."""
        self._ended = True
        if self._building is not None:
            self._building.abandon()
        self._close()

    def _close(self) -> None:
        """Later writes would be lost: the array itself refuses them."""
        if hasattr(self.array, "flags"):
            self.array.flags.writeable = False


def create(
    self: Store,
    shape: int | Iterable[int],
    dtype: Any = "float64",
    *,
    order: str = "C",
    name: str | None = None,
    ttl: Any = None,
    pin: bool = False,
    evictable: bool = False,
) -> Creation:
    """Make an array in the store, without a copy.

    `with (made := store.create((1000, 64), "f4", name="x")) as a:` gives a writable ndarray of
    zeros (a memoryview where numpy does not load). When the block ends it is sealed, and
    `made.handle` names it. From 256 KiB on it lies in a segment of its own that nobody at all can
    write afterwards, as with `put(seal=True)`; smaller ones are copied once, at the end. `name`,
    `ttl`, `pin` and `evictable` are those of `put`.

    Views of `a` that are still about when it is sealed do no harm: `a` itself becomes read-only,
    and writes through others reach private copies of the pages. A forked child must not touch `a`
    while it is being made: the memory is not there, and the child would crash.

    An exception inside the block takes the array back. TypeError for a dtype of objects, dates or
    strings of no fixed size; StoreFull and the other errors of `put`.
    """
    shape = _shape(shape)
    if order not in ("C", "F"):
        raise ValueError(f"order is 'C' or 'F', not {order!r}")
    kept: dict[str, Any] = {"pin": pin}
    kept.update({key: each for key, each in (("name", name), ("ttl", ttl)) if each is not None})
    layout = _Layout(shape, dtype, order)
    if layout.bytes < _BUILT_MIN:
        if evictable:
            kept["evictable"] = True
        return Creation(self, layout.private(), None, kept)
    building = self._build(shape, layout.format, layout.item_size, order, evictable)
    return Creation(self, layout.over(building), building, kept)


def _shape(shape: Any) -> tuple[int, ...]:
    lengths: tuple[int, ...]
    try:
        lengths = (index(shape),)
    except TypeError:
        lengths = tuple(index(n) for n in shape)
    if any(n < 0 for n in lengths):
        raise ValueError(f"a shape has no lengths below 0: {lengths}")
    return lengths


class _Layout:
    """What an array looks like, with numpy or without."""

    def __init__(self, shape: tuple[int, ...], dtype: Any, order: str) -> None:
        from icehouse.store.freezing.packages import package

        self.numpy = package("numpy")
        self.shape, self.order = shape, order
        if self.numpy is not None:
            self.dtype = self.numpy.dtype(dtype)
            self.item_size: int = self.dtype.itemsize
            self.format = self._format()
        else:
            if order != "C":
                raise ValueError("without numpy there is no other order than 'C'")
            self.format, self.item_size = _plain_format(dtype)
        self.bytes = self.item_size
        for n in shape:
            self.bytes *= n

    def _format(self) -> str:
        try:
            if not self.dtype.hasobject:
                return memoryview(self.numpy.empty(0, self.dtype)).format
        except (ValueError, TypeError):
            pass
        raise TypeError(
            f"an array of dtype {self.dtype} can't be made in a store: make one of plain numbers "
            "and view it (int64 for dates), or put() the finished array"
        )

    def private(self) -> Any:
        if self.numpy is not None:
            return self.numpy.zeros(self.shape, self.dtype, order=self.order)
        return self.over(bytearray(self.bytes))

    def over(self, memory: Any) -> Any:
        if self.numpy is not None:
            return self.numpy.ndarray(self.shape, self.dtype, memory, order=self.order)
        flat: Any = memoryview(memory).cast("B")
        return flat.cast(self.format, self.shape)


# What numpy calls the formats of memoryview.cast(), for interpreters without it.
_NAMES = {
    "bool": "?",
    "int8": "b",
    "uint8": "B",
    "int16": "h",
    "uint16": "H",
    "int32": "i",
    "uint32": "I",
    "int64": "q",
    "uint64": "Q",
    "float32": "f",
    "float64": "d",
}
_CODES = {
    f"{kind}{size}": code
    for kind, size, code in (
        ("i", 1, "b"),
        ("u", 1, "B"),
        ("i", 2, "h"),
        ("u", 2, "H"),
        ("i", 4, "i"),
        ("u", 4, "I"),
        ("i", 8, "q"),
        ("u", 8, "Q"),
        ("f", 4, "f"),
        ("f", 8, "d"),
        ("b", 1, "?"),
    )
}


def _plain_format(dtype: Any) -> tuple[str, int]:
    import struct

    text = str({float: "float64", int: "int64", bool: "bool"}.get(dtype, dtype))
    code = _NAMES.get(text) or _CODES.get(text.lstrip("<=|"))
    if code is None:
        raise TypeError(f"without numpy there is no dtype {dtype!r}; give one such as 'float64'")
    return code, struct.calcsize(code)
