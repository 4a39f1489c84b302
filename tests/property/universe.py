"""Strategies for values of the standard library's types, the extremes included.

`VALUES` gives any of them, `HASHABLE` those that are keys, `nested()` puts them, shared, into plain
containers. What comes back of each is equal and of the same type.
"""

import datetime as dt
import decimal
import ipaddress as ip
import pathlib
import re
import sys
import types
import uuid
import zoneinfo
from typing import Any

import freezing_samples as samples
from graphs import ATOMS, KEYS, TEXT
from hypothesis import strategies as st

FIXED_ZONES = st.builds(
    dt.timezone,
    st.integers(-86399, 86399).map(lambda seconds: dt.timedelta(seconds=seconds)),
) | st.builds(dt.timezone, st.just(dt.timedelta(hours=1)), st.text(max_size=5))
ZONES = (
    st.none()
    | st.just(dt.UTC)
    | FIXED_ZONES
    | st.sampled_from([zoneinfo.ZoneInfo("UTC"), samples.BERLIN])
    | st.integers(-23, 23).map(samples.Shifted)
)
FOLDS = st.integers(0, 1)
DATES = (
    st.dates()
    | st.timedeltas()
    | st.builds(lambda moment, fold: moment.replace(fold=fold), st.times(timezones=ZONES), FOLDS)
    | st.builds(
        # Not .replace() after the fact: near the ends of time zones have no offset.
        lambda moment, zone, fold: moment.replace(tzinfo=zone, fold=fold),
        st.datetimes(),
        ZONES,
        FOLDS,
    )
    | ZONES.filter(lambda zone: zone is not None)
)
DIGITS = st.lists(st.integers(0, 9), min_size=1, max_size=40).map(tuple)
NUMBERS = (
    st.decimals(allow_nan=False)
    | st.builds(
        lambda sign, digits, exponent: decimal.Decimal((sign, digits, exponent)),
        st.integers(0, 1),
        DIGITS,
        st.integers(-(10**9), 10**9),
    )
    | st.fractions()
)
NETS = (
    st.uuids()
    | st.builds(
        uuid.UUID, int=st.integers(0, 2**128 - 1), is_safe=st.sampled_from(list(uuid.SafeUUID))
    )
    | st.ip_addresses()
    | st.builds(
        lambda a, n: ip.ip_network((a, n), strict=False), st.ip_addresses(v=4), st.integers(0, 32)
    )
    | st.builds(
        lambda a, n: ip.ip_network((a, n), strict=False), st.ip_addresses(v=6), st.integers(0, 128)
    )
    | st.builds(lambda a, n: ip.ip_interface((a, n)), st.ip_addresses(v=6), st.integers(0, 128))
    | st.builds(
        lambda a, s: ip.ip_address(f"{a}%{s}"), st.ip_addresses(v=6), st.sampled_from(["e0", "é"])
    )
)
PARTS = st.lists(
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=6),
    max_size=4,
)
PATHS = PARTS.map(lambda parts: pathlib.PurePosixPath(*parts)) | PARTS.map(
    lambda p: pathlib.Path(*p)
)
if sys.version_info >= (3, 12):  # before, some don't survive their own text
    PATHS |= PARTS.map(lambda parts: pathlib.PureWindowsPath(*parts))
PATTERNS = st.builds(
    lambda text, flags: re.compile(re.escape(text), flags),
    st.text(max_size=8),
    st.sampled_from([0, re.I, re.M | re.S, re.X]),
) | st.binary(max_size=8).map(lambda text: re.compile(re.escape(text)))
ENUMS = (
    st.sampled_from(samples.ENUMS)
    | st.integers(0, 7).map(samples.Perm)
    | st.integers(0, 3).map(samples.Way)
)
STEPS = st.integers(-(2**70), 2**70).filter(bool)
INTS = st.integers(-(2**70), 2**70)
RANGES = st.builds(range, INTS, INTS, STEPS)
SLICES = st.builds(slice, KEYS, KEYS, KEYS)
DERIVED = (
    st.builds(
        lambda value, extra: samples.with_attributes(samples.Money(value), extra=extra),
        st.decimals(allow_nan=False),
        KEYS,
    )
    | TEXT.map(samples.stamp)
    | st.builds(
        lambda parts, tag: samples.with_attributes(samples.Folder(*parts), tag=tag), PARTS, KEYS
    )
    | st.timedeltas().map(lambda delta: samples.Span(delta.days // 2, delta.seconds))
)
NAMED = st.sampled_from([*samples.CLASSES, *samples.SEQUENCES])

HASHABLE: st.SearchStrategy[Any] = st.one_of(
    DATES, NUMBERS, NETS, PATHS, PATTERNS, ENUMS, RANGES, NAMED, DERIVED
)
VALUES = st.one_of(
    HASHABLE,
    SLICES,
    st.dictionaries(TEXT, ATOMS, max_size=4).map(types.MappingProxyType),
)


def containers(items: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Plain containers of `items`, with values of these types as keys too."""
    return st.one_of(
        st.lists(items, max_size=5),
        st.lists(items, max_size=5).map(tuple),
        st.dictionaries(TEXT, items, max_size=5),
        st.dictionaries(HASHABLE | KEYS, items, max_size=12),
        st.sets(HASHABLE, max_size=10),
        st.frozensets(HASHABLE | KEYS, max_size=5),
        st.builds(lambda item: [item, item, (item,)], items),
        st.builds(slice, items, items),
        st.dictionaries(TEXT, items, max_size=3).map(types.MappingProxyType),
    )


def nested() -> st.SearchStrategy[Any]:
    """Trees of containers and values, with shared children."""
    return st.recursive(VALUES | ATOMS, containers, max_leaves=12)
