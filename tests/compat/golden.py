"""What is in the golden images, and how an opened one is compared with it.

    python golden.py write FOLDER    saves every value as an image
    python golden.py read FOLDER     opens them and compares; prints what is wrong, exit status 1

`values(package)` makes the values from scratch, so nothing is compared with what an image says of
itself. A value whose package is missing is not written, and not read.
"""

import datetime
import functools
import importlib.util
import ipaddress
import os
import pathlib
import re
import sys
import time
import types
import uuid
import zoneinfo
from array import array
from collections import ChainMap, Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from typing import Any

import golden_types as kinds

import icehouse

UTC = datetime.timezone.utc  # noqa: UP017 - by its oldest name
LONG = "a long text in ASCII, far beyond what a short string holds. " * 4
TEXTS = [f"text number {number} of many" for number in range(40)] + ["größer"]
BIG = 64 << 10  # the most bytes that come back as bytes


def cycle() -> Any:
    ring: list[Any] = [1]
    ring.append({"ring": ring})
    return ring


def chained() -> Any:
    error = kinds.Oops("what", 3)
    error.__cause__ = KeyError("why")
    error.add_note("a note")
    return error


# A name -> what makes the value. The names are those of the files.
PLAIN: dict[str, Callable[[], Any]] = {
    "constants": lambda: [None, False, True, "", (), b"", ..., NotImplemented],
    "ints": lambda: [0, -1, 2**30 - 1, -(2**30), 2**30, -(2**62), 2**63, -(2**200), "end"],
    "floats": lambda: [0.5, -0.0, float("inf"), 1e300, 1 + 2j, "end"],
    "texts": lambda: [LONG, "grün", "\ud800", "日本語" * 100, "short", "\x00", None],
    "bytes": lambda: [b"small", bytearray(b"changeable"), bytes(BIG), None],
    "bytes blob": lambda: b"\x07" * (BIG + 1),
    "bytearray blob": lambda: bytearray(b"\x08" * (BIG + 1)),
    "lists": lambda: [[], [None, "a"], [1, 2, 300], ["a", "bb", "grün"], [LONG, LONG + "b"], TEXTS],
    "packed lists": lambda: [
        [1, -2, 3],
        [200, 201],
        [-300, 300],
        [60000, 1],
        [-70000, 70000],
        [4_000_000_000, 0],
        [-(2**40), 1],
        [2**64 - 1, 0],
        [0.5, 1.5],
        [True, False, True],
        list(range(2000)),
    ],
    "tuples": lambda: [(), (1, "a", None), (1, 2, 3), ("a", "b", "c"), ((1,), [2]), tuple(TEXTS)],
    "large tuple": lambda: [tuple([None, "x"] * 2100)],
    "large packed tuple": lambda: [tuple(range(4200))],
    "large tuple of texts": lambda: [tuple(f"{number:x}" for number in range(4200))],
    "dicts": lambda: [
        {},
        {"a": 1},
        {1: 2, None: 3, (1, "x"): 4, 2.5: 5, b"k": 6, frozenset({1}): 7},
        {f"key{number}": number for number in range(40)},
        {number: str(number) for number in range(40)},
        [{"id": number, "name": f"n{number}"} for number in range(5)],
        [{f"k{letter}": 1 for letter in "abcdefghijkl"} for _ in range(3)],
    ],
    "sets": lambda: [set(), {1, "a"}, frozenset({1, 2}), set(range(40)), frozenset("abcdefghijkl")],
    "foreign keys": lambda: {datetime.date(2026, 1, 2): 1, kinds.Colour.RED: 2},
    "cycle": cycle,
    "arrays": lambda: [array("d", [1.5, 2.5]), array("i", range(9)), memoryview(b"abc")],
    "class": lambda: [kinds.Point, list, dict],
    "function": lambda: [len, sum],
    "members": lambda: [kinds.Colour.RED, kinds.Colour.BLUE, kinds.Rights.READ | 2],
    "dates": lambda: [
        datetime.date(2026, 11, 27),
        datetime.time(1, 2, 3, 4),
        datetime.time(1, 2, tzinfo=UTC, fold=1),
        datetime.datetime(2026, 11, 27, 5, 6, 7, 8),
        datetime.datetime(2026, 11, 27, tzinfo=UTC),
        datetime.timedelta(-1, 2, 3),
        datetime.timezone(datetime.timedelta(hours=2), "there"),
    ],
    "zone": lambda: datetime.datetime(2026, 7, 1, tzinfo=zoneinfo.ZoneInfo("UTC")),
    "numbers": lambda: [Decimal("1.50"), Decimal("-Infinity"), Fraction(3, 7)],
    "uuid": lambda: [uuid.UUID(int=7), uuid.UUID("6ba7b810-9dad-11d1-80b4-00c04fd430c8")],
    "addresses": lambda: [
        ipaddress.ip_address("127.0.0.1"),
        ipaddress.ip_network("10.0.0.0/8"),
        ipaddress.ip_interface("fe80::1%eth0/64"),
    ],
    "paths": lambda: [pathlib.PurePosixPath("/a/b"), pathlib.PureWindowsPath("C:/x")],
    "pattern": lambda: [re.compile("a+", re.IGNORECASE), re.compile(b"b")],
    "ranges": lambda: [range(3), range(10, 0, -3), slice(1, None, 2)],
    "proxy": lambda: [types.MappingProxyType({"a": [1]})],
    "struct sequence": lambda: time.struct_time((2026, 11, 27, 5, 6, 7, 4, 331, 0)),
    "dataclass": lambda: [kinds.Point(1, [2, 3]), kinds.Point(4), kinds.Point(5, kinds.Point(6))],
    "plain object": lambda: kinds.Plain(a=1, b=["x"]),
    "slots": lambda: kinds.Slotted(),
    "list subclass": lambda: kinds.Shouting("abc"),
    "dict subclass": lambda: kinds.Attributed({"a": 1}, note="remark"),
    "containers": lambda: [
        OrderedDict(a=1, b=2),
        defaultdict(list, {"a": [1]}),
        Counter("hello"),
        deque([1, 2], maxlen=5),
        ChainMap({"a": 1}, {"b": 2}),
        types.SimpleNamespace(a=1),
    ],
    "namedtuple": lambda: kinds.Pair(1, ["x"]),
    "str subclass": lambda: labelled(),
    "date subclass": lambda: kinds.Holiday(2026, 12, 25),
    "calling subclass": lambda: kinds.Lowered(A=1),
    "sealed": lambda: kinds.Sealed([1, 2]),
    "reduced": lambda: kinds.Reduced({"a": 1}),
    "registered": lambda: kinds.Money(5),
    "exception": chained,
    "record": lambda: icehouse.Record("shop.Item", ("name", "price"), ("pen", 3)),
    "shared field": lambda: [icehouse.SharedField(("one", 1)), icehouse.SharedField(None)],
    "type variable": lambda: [kinds.Element],
    "module": lambda: [icehouse.ImmutableModule("json"), icehouse.ImmutableModule("not.there")],
    "interpreter local": lambda: [icehouse.InterpreterLocal(2.5), icehouse.InterpreterLocal(dict)],
    "frozen function": lambda: icehouse.freeze(kinds.weighed),
    "frozen partial": lambda: icehouse.freeze(functools.partial(kinds.weighed, 2, more=[1])),
    "frozendict by hand": lambda: ByHand("FROZENDICT", {"a": [1, 2]}),
    "torch by hand": lambda: ByHand("TORCH", {"kind": "size", "size": (2, 3)}),
}


def labelled() -> Any:
    label = kinds.Label("text")
    label.colour = ["red"]
    return label


class ByHand:
    """A VALUE whose own type is of a later Python, or of a package that is too large to install."""

    def __init__(self, code: str, payload: Any) -> None:
        self.code, self.payload = code, payload


def numpy_values() -> dict[str, Any]:
    import numpy as np

    masked = np.ma.masked_array([1, 2, 3], mask=[False, True, False])
    return {
        "numpy array": np.arange(12, dtype="i4").reshape(3, 4),
        "numpy fortran": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        "numpy large": np.arange(2000, dtype="u2"),
        "numpy structured": np.array([(1, 2.5)], dtype=[("a", "i4"), ("b", "f8")]),
        "numpy dates": np.array(["2026-11-27", "NaT"], dtype="M8[D]"),
        "numpy texts": np.array(["a", "bcd"]),
        "numpy scalar": [np.float32(1.5), np.int64(-3)],
        "numpy masked": masked,
    }


def pandas_values() -> dict[str, Any]:
    import pandas as pd

    frame = pd.DataFrame({"a": [1, 2], "b": ["x", "y"]}, index=[10, 20])
    return {"pandas frame": frame, "pandas series": pd.Series([1.5, None], name="s")}


def polars_values() -> dict[str, Any]:
    import polars as pl

    return {"polars frame": pl.DataFrame({"a": [1, None], "b": ["x", "y"]})}


def pyarrow_values() -> dict[str, Any]:
    import pyarrow as pa

    return {"arrow table": pa.table({"a": [1, 2, None], "b": ["x", "y", "z"]})}


def scipy_values() -> dict[str, Any]:
    from scipy import sparse

    return {"sparse matrix": sparse.csr_array([[0, 1.5], [2.5, 0]])}


def msgspec_values() -> dict[str, Any]:
    import golden_structs

    return {"struct": golden_structs.Item(name="pen", tags=["a"])}


def pydantic_values() -> dict[str, Any]:
    import golden_models

    return {"pydantic model": golden_models.Item(name="pen", tags=["a"])}


PACKAGES: dict[str, Callable[[], dict[str, Any]]] = {
    "numpy": numpy_values,
    "pandas": pandas_values,
    "polars": polars_values,
    "pyarrow": pyarrow_values,
    "scipy": scipy_values,
    "msgspec": msgspec_values,
    "pydantic": pydantic_values,
}


def values(package: str) -> dict[str, Any]:
    """The values that need a package, "" those that need none."""
    if not package:
        return {name: make() for name, make in PLAIN.items()}
    return PACKAGES[package]()


def available(package: str) -> bool:
    return not package or importlib.util.find_spec(package) is not None


def known() -> dict[str, Any]:
    """Every value that this interpreter can make."""
    return {
        name: value
        for package in ("", *PACKAGES)
        if available(package)
        for name, value in values(package).items()
    }


# --- comparing -------------------------------------------------------------------------------


def same(found: Any, wanted: Any) -> bool:
    """Whether a thawed object is what was frozen: of the same type, with equal contents."""
    if isinstance(wanted, ByHand):
        return by_hand_is(found, wanted)
    if isinstance(wanted, icehouse.FrozenFunction | functools.partial):
        return same_code(found, wanted)
    if isinstance(wanted, memoryview):
        return bytes(found) == wanted.tobytes()
    if type(found) is not type(wanted):
        return False
    module = type(wanted).__module__.partition(".")[0]
    if module == "numpy":
        return same_arrays(found, wanted)
    if module in ("pandas", "polars", "pyarrow"):
        return bool(found.equals(wanted))
    if module == "scipy":
        return bool((found != wanted).nnz == 0)
    if isinstance(wanted, BaseException):
        notes = getattr(found, "__notes__", None) == getattr(wanted, "__notes__", None)
        cause = repr(found.__cause__) == repr(wanted.__cause__)
        return notes and cause and found.args == wanted.args
    if isinstance(wanted, slice | types.MappingProxyType | defaultdict | deque | kinds.Label):
        return repr(found) == repr(wanted) and vars_of(found) == vars_of(wanted)
    if isinstance(wanted, icehouse.ImmutableModule):
        return bool(found == wanted)  # of a module that isn't there no more can be asked
    if isinstance(wanted, icehouse.SharedField | icehouse.InterpreterLocal):
        return same(found.get(), wanted.get())
    if type(wanted) in (list, tuple):
        return len(found) == len(wanted) and all(map(same, found, wanted))
    if type(wanted) is float or type(wanted) is complex:
        return repr(found) == repr(wanted)
    if isinstance(wanted, dict):
        return list(found.items()) == list(wanted.items()) and vars_of(found) == vars_of(wanted)
    return bool(found == wanted) and vars_of(found) == vars_of(wanted)


def vars_of(value: Any) -> dict[str, Any]:
    return getattr(value, "__dict__", {}) if not isinstance(value, type) else {}


def same_code(found: Any, wanted: Any) -> bool:
    """Functions answer alike; those of another version show their names, and say so when called."""
    if type(found) is not type(wanted):
        return False
    if isinstance(wanted, functools.partial):
        same_parts = found.args == wanted.args and found.keywords == wanted.keywords
        return same_parts and same_code(found.func, wanted.func)
    try:
        answers = found(3) == wanted(3)
    except ImportError as error:
        answers = "was frozen by Python 3" in str(error) and "can't run on" in str(error)
    names = ("__name__", "__qualname__", "__module__", "__doc__")
    return answers and all(getattr(found, name) == getattr(wanted, name) for name in names)


def same_arrays(found: Any, wanted: Any) -> bool:
    import numpy as np

    if np.ma.isMaskedArray(wanted):
        return bool((found.mask == wanted.mask).all()) and found.tolist() == wanted.tolist()
    return bool(
        found.dtype == wanted.dtype
        and found.shape == wanted.shape
        and np.array_equal(found, wanted, equal_nan=wanted.dtype.kind in "mM")
    )


def by_hand_is(found: Any, wanted: ByHand) -> bool:
    if wanted.code == "TORCH":
        if available("torch"):
            return type(found).__name__ == "Size" and tuple(found) == wanted.payload["size"]
        return type(found) is icehouse.Record and "torch" in icehouse.type_name(found)
    return dict(found) == wanted.payload


def cyclic(found: Any) -> bool:
    return found[0] == 1 and found[1]["ring"] is found


def wrong(name: str, wanted: Any, path: pathlib.Path) -> str | None:
    """What is wrong with an image, None if nothing is."""
    try:
        opened = icehouse.open_image(path, trust=True)
        found = icehouse.thaw(opened)
        if not (cyclic(found) if name == "cycle" else same(found, wanted)):
            return f"{name}: {found!r:.200} is not {wanted!r:.200}"
        untrusted = icehouse.open_image(path)
        repr(untrusted), icehouse.thaw(untrusted)
    except Exception as error:
        return f"{name}: {type(error).__name__}: {error}"
    return None


# --- files -----------------------------------------------------------------------------------


def save(value: Any, path: pathlib.Path) -> None:
    if isinstance(value, ByHand):
        save_by_hand(value, path)
    else:
        icehouse.save(value, path)


def save_by_hand(value: ByHand, path: pathlib.Path) -> None:
    """A proxy of the same payload has the same image, but for the code of the value."""
    from icehouse.native import _image
    from icehouse.store import files
    from icehouse.store.freezing import codes

    image = bytearray(_image._image_bytes(types.MappingProxyType(value.payload)))
    root = int.from_bytes(image[52:56], "little")
    place = (root >> 1) * 4
    assert image[place + 1] == codes.MAPPING_PROXY
    image[place + 1] = getattr(codes, value.code)
    files.write_image(memoryview(image), path)


def file_of(folder: pathlib.Path, name: str) -> pathlib.Path:
    return folder / f"{name.replace(' ', '-')}.ih"


def write(folder: pathlib.Path) -> int:
    folder.mkdir(parents=True, exist_ok=True)
    for name, value in known().items():
        save(value, file_of(folder, name))
    return 0


def read(folder: pathlib.Path) -> int:
    problems = []
    for name, value in known().items():
        path = file_of(folder, name)
        if path.exists():
            problems.append(wrong(name, value, path))
    found = [problem for problem in problems if problem is not None]
    print("\n".join(found) if found else f"{len(problems)} images are as they should be")
    return 1 if found else 0


if __name__ == "__main__":
    os.environ.setdefault("PYTHONUTF8", "1")
    sys.exit({"write": write, "read": read}[sys.argv[1]](pathlib.Path(sys.argv[2])))
