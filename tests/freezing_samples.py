"""Objects of every type of the standard library that freezes, and classes derived of them.

At the top of a module, since classes come back by name. Imported by tests of the rules, by the
strategies of tests/property/universe.py, and in other interpreters.
"""

import builtins
import datetime as dt
import decimal
import enum
import fractions
import functools
import ipaddress as ip
import operator
import os
import pathlib
import random
import re
import time
import types
import uuid
from typing import Any

from icehouse.store.freezing.dates import import_zoneinfo

zoneinfo = import_zoneinfo()
D = decimal.Decimal
BERLIN = zoneinfo.ZoneInfo("Europe/Berlin")


class Color(enum.Enum):
    RED = 1
    CRIMSON = 1  # noqa: PIE796 - an alias
    MIXED = [1, 2]  # noqa: RUF012 - can't be hashed
    GREEN = "green"

    def shout(self) -> str:
        return self.name.upper()


class Perm(enum.IntFlag):
    R = 4
    W = 2
    X = 1


class Way(enum.Flag):
    IN = 1
    OUT = 2
    BOTH = 3


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


class Unit(enum.StrEnum):
    METRE = "m"


class Day(dt.date, enum.Enum):
    FIRST = (2020, 1, 1)


class Outer:
    class Inner(enum.Enum):
        A = "a"


class Stamp(dt.datetime):
    """A subclass with a slot; what a user did to the constructor must not be run."""

    __slots__ = ("note",)

    def __new__(cls, *args: Any, **kwargs: Any) -> "Stamp":
        raise AssertionError("code of a user ran")

    if hasattr(dt, "datetime_CAPI"):  # the one in Python sets its own attributes by this

        def __setattr__(self, name: str, value: Any) -> None:
            raise AssertionError("code of a user ran")


def stamp(note: Any) -> Stamp:
    made = dt.datetime.__new__(Stamp, 2020, 2, 29, 1, 2, 3, 4, dt.UTC, fold=1)
    Stamp.__dict__["note"].__set__(made, note)
    return made


class Moment(dt.time):
    pass


class Holiday(dt.date):
    pass


class Span(dt.timedelta):
    pass


class Money(decimal.Decimal):
    pass


class Ratio(fractions.Fraction):
    """A subclass of a type written in Python, whose constructor sets attributes."""

    making = True

    def __setattr__(self, name: str, value: Any) -> None:
        assert Ratio.making, "code of a user ran"
        object.__setattr__(self, name, value)


def ratio(numerator: int, denominator: int) -> Ratio:
    Ratio.making = True
    try:
        return Ratio(numerator, denominator)
    finally:
        Ratio.making = False


class Key(uuid.UUID):
    pass


class Host(ip.IPv6Interface):
    pass


class Net(ip.IPv4Network):
    pass


class Folder(type(pathlib.Path())):  # type: ignore[misc]
    pass


class Shifted(dt.tzinfo):
    def __init__(self, hours: int) -> None:
        self.hours = hours

    def utcoffset(self, when: Any) -> dt.timedelta:
        return dt.timedelta(hours=self.hours)

    dst = utcoffset

    def tzname(self, when: Any) -> str:
        return f"shifted by {self.hours}"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Shifted) and self.hours == other.hours

    def __hash__(self) -> int:
        return hash(self.hours)

    def __repr__(self) -> str:
        return f"Shifted({self.hours})"


def with_attributes(obj: Any, **attributes: Any) -> Any:
    obj.__dict__.update(attributes)
    return obj


DATES = [
    dt.date.min,
    dt.date(2024, 2, 29),
    dt.time(),
    dt.time(23, 59, 59, 999999, fold=1),
    dt.time(1, 2, tzinfo=dt.UTC),
    dt.datetime.min,
    dt.datetime.max,
    dt.datetime(2020, 10, 25, 2, 30, tzinfo=BERLIN, fold=1),
    dt.datetime(2020, 1, 1, tzinfo=dt.timezone(dt.timedelta(hours=-3), "west")),
    dt.datetime(2020, 1, 1, tzinfo=Shifted(2)),
    dt.timedelta.min,
    dt.timedelta(-1, 2, 3),
    dt.timedelta.max,
    dt.UTC,
    dt.timezone(dt.timedelta(hours=5, minutes=45, microseconds=1)),
    dt.timezone(dt.timedelta(0), "zero"),
    BERLIN,
    zoneinfo.ZoneInfo("UTC"),
]
NUMBERS = [
    *(D(text) for text in ("0", "-0", "1.10", "-1E-7", "1E+999999999", "Infinity", "-Infinity")),
    D("9" * 60),
    fractions.Fraction(-3, 7),
    fractions.Fraction(2**80, 3),
]
# They are not equal to themselves; one raises when it is compared.
NANS = [D("NaN"), D("-NaN123"), D("sNaN"), D("sNaN7")]
NETS = [
    uuid.UUID(int=0),
    uuid.UUID("12345678-1234-5678-1234-567812345678"),
    uuid.UUID(int=9, is_safe=uuid.SafeUUID.safe),
    ip.ip_address("192.0.2.1"),
    ip.ip_address("2001:db8::1"),
    ip.ip_address("fe80::1%eth0"),
    ip.ip_network("10.0.0.0/8"),
    ip.ip_network("2001:db8::/32"),
    ip.ip_network("0.0.0.0/0"),
    ip.IPv6Network("fe80::%eth0/64"),
    ip.ip_interface("192.0.2.1/24"),
    ip.ip_interface("2001:db8::1/64"),
    ip.ip_interface("fe80::1%eth0/64"),
]
PATHS = [
    pathlib.Path("/usr/lib"),
    pathlib.Path(),
    pathlib.Path("a/../b"),
    pathlib.PurePosixPath("//x/y"),
    pathlib.PureWindowsPath("C:/Users/x"),
    pathlib.PureWindowsPath("//host/share/x"),
    pathlib.Path("/tmp/\udcff"),
]
PATTERNS = [re.compile("a(?P<x>b)+", re.I | re.M), re.compile(b"\xff", re.S), re.compile("(?x) a")]
ENUMS = [
    *Color,
    Color.CRIMSON,
    Perm.R,
    Perm.R | Perm.X,
    Perm(0),
    Perm(64),
    Way.IN,
    Way.BOTH,
    ~Way.IN,
    Way(0),
    Level.HIGH,
    Unit.METRE,
    Day.FIRST,
    Outer.Inner.A,
    re.I | re.M,
]
BUILTINS = [
    range(0),
    range(10, -5, -3),
    range(2**70),
    slice(None),
    slice(1, "x", (2,)),
    types.MappingProxyType({"a": 1, (1, 2): None}),
]
CLASSES = [
    int,
    type(None),
    types.FunctionType,
    dt.datetime,
    pathlib.Path,
    Color,
    Outer.Inner,
    len,
    str.upper,
    dict.fromkeys,
    int.__add__,
    bytes.fromhex,
    operator.itemgetter,
]
SEQUENCES = [
    time.gmtime(0),
    os.stat_result(tuple(range(10)), {"st_atime": 1.5, "st_blksize": 4096}),
    os.terminal_size((80, 24)),
]
DERIVED = [
    stamp(("note", 1)),
    with_attributes(Moment(1, 2, fold=1), why="because"),
    with_attributes(Holiday(2024, 12, 25), name="x"),
    with_attributes(Span(1, 2, 3), unit="s"),
    with_attributes(Money("1.50"), currency="EUR"),
    with_attributes(ratio(1, 3), of="x"),
    Key(int=7),
    with_attributes(Host("fe80::1%eth0/64"), name="me"),
    with_attributes(Net("10.0.0.0/8"), name="ours"),
    with_attributes(Folder("/a/b"), tag="x"),
    Shifted(3),
]
# Made again by their own `__reduce__`.
REDUCED = [functools.partial(int, "11", base=2), list[int], int | str]

# From Python 3.15.
FROZENDICTS = (
    [vars(builtins)["frozendict"]({"b": 1, "a": (2,)}), vars(builtins)["frozendict"]()]
    if hasattr(builtins, "frozendict")
    else []
)

COMPARABLE: list[Any] = [
    *DATES,
    *NUMBERS,
    *NETS,
    *PATHS,
    *PATTERNS,
    *ENUMS,
    *BUILTINS,
    *CLASSES,
    *SEQUENCES,
    *DERIVED,
    *FROZENDICTS,
]


def generator() -> random.Random:
    made = random.Random(5)
    made.random()
    return made
