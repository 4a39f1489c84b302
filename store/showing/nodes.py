"""What values of an image are made of, for those who print and select: no code of theirs runs.

Images are opened with no trust whatever (H20, H21): instances come as views and records that know
their type's name, arrays as FrozenArray, and what stays a value is of the standard library.
"""

import sys
from collections.abc import Iterator, Mapping, Sequence, Set
from itertools import islice
from typing import TYPE_CHECKING, Any

from icehouse.native._image import _image_of, _locate, _open_wary
from icehouse.store import image
from icehouse.store.freezing.trust import NONE

if TYPE_CHECKING:
    from icehouse.store.handle import Handle

# Arrays and tables are shown from their bytes. A library that made objects of them would copy them
# whole, and run code of its own that is meant for its own user's data.
LIBRARIES = ("numpy", "pandas", "polars", "pyarrow", "scipy", "torch")
# Bytes of an image whose text may be held as a whole.
SMALL = 64 * 2**20
VIEW_NAMES: dict[type, str] = {
    image.FrozenArray: "array",
    image.FrozenBytes: "bytes",
    image.FrozenDict: "dict",
    image.FrozenList: "list",
    image.FrozenSet: "set",
    image.FrozenTuple: "tuple",
}
# Containers of the standard library whose content says everything.
PLAIN_CONTAINERS = frozenset(
    f"collections.{name}" for name in ("OrderedDict", "Counter", "deque", "defaultdict")
)


def forget_libraries() -> None:
    """Let none of the libraries be found that make objects of arrays and tables."""
    for name in LIBRARIES:
        sys.modules.setdefault(name, None)  # type: ignore[arg-type] # what import takes for absent


def remember_libraries() -> None:
    """Let them be found again."""
    for name in LIBRARIES:
        if sys.modules.get(name, name) is None:
            del sys.modules[name]


def open_image(handle: "Handle[Any]") -> Any:
    """Open an image whose maker is trusted with nothing, be it this very user."""
    forget_libraries()
    return _open_wary(handle, NONE)


def is_small(handle: "Handle[Any]") -> bool:
    """Whether an image, with nothing that it links to, is small enough to be held as text."""
    opened = _image_of(handle)
    return opened is not None and memoryview(opened).nbytes <= SMALL


def fields_of(value: Any) -> Mapping[str, Any] | None:
    """Give the fields of an instance; None for what is none."""
    if isinstance(value, image.Record):
        return dict(value)
    if is_instance(value):
        return dict(vars(value))
    return None


def is_instance(value: Any) -> bool:
    """Whether it is the view of an instance, whatever it says that its class is."""
    return image.FrozenObject in type(value).__mro__


def kind_of(value: Any) -> str:
    """Say what holds its content: "dict", "list", "set", "array", or "" for what holds nothing."""
    kind = type(value)
    if kind in (str, bytes, image.FrozenBytes, image.Record):
        return ""
    if kind is image.FrozenArray:
        return "array"
    if is_instance(value):
        return content_kind(value)
    if issubclass(kind, Mapping):
        return "dict"
    if issubclass(kind, Set):
        return "set"
    if issubclass(kind, Sequence) and kind is not range:
        return "list"
    return ""


def content_kind(value: Any) -> str:
    """Find by trying what the content of an instance is whose class may not be known."""
    if not hasattr(type(value), "__iter__"):
        return ""
    # A class that is known is of the standard library here, and says what it is.
    for kind, name in ((Mapping, "dict"), (Set, "set"), (Sequence, "list")):
        if isinstance(value, kind):
            return name
    try:
        value[0:0]
    except TypeError:
        pass
    except LookupError:
        return "dict"
    else:
        return "list"
    for first in value:
        try:
            value[first]
        except TypeError:
            return "set"
        return "dict"
    return "list"


def type_of(value: Any) -> str:
    """Name the type that was frozen."""
    if type(value) in VIEW_NAMES:
        return VIEW_NAMES[type(value)]
    return image.type_name(value).removeprefix("builtins.")


def items_of(value: Any, kind: str) -> Iterator[tuple[Any, Any]]:
    """Give keys and values of a dict, else indexes and items."""
    if kind == "dict":
        return ((key, value[key]) for key in value)
    if kind == "array" and not value.shape:
        return iter([(0, value[()])])
    return enumerate(value)


def length_of(value: Any, kind: str) -> int:
    """Count the items."""
    return 1 if kind == "array" and not value.shape else len(value)


def identity_of(value: Any) -> Any:
    """Name a node, so that cycles are noticed; None for what can't close one."""
    return _locate(value)


def some_keys(value: Any, most: int = 8) -> str:
    """List some keys, for messages."""
    keys = [repr(key) for key in islice(value, most + 1)]
    return ", ".join(keys[:most]) + (", ..." if len(keys) > most else "")
