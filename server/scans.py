"""What a scan looks for, and what it gives: ih_scan, ih_stat and ih_run of catalog.h."""

import struct
from typing import NamedTuple

from icehouse.native._arena import ffi

EVERYTHING = 2**64 - 1
ANY_ROOT = (EVERYTHING, EVERYTHING, EVERYTHING, EVERYTHING)
# Of the classes of segments, IH_CLASS_*, six bits.
ANY_CLASS = 0x3F
# An ih_stat, as far as it is read here.
STAT = struct.Struct("QQQQQIIII???16s")
STAT_PAD = ffi.sizeof("ih_stat") - STAT.size
STATS = struct.Struct(f"{STAT.format}{STAT_PAD}x")
RUN = struct.Struct("QQQQQQQQII")


class Scan(NamedTuple):
    """What ih_catalog_scan() looks for; all bounds are inclusive."""

    size_min: int = 0
    size_max: int = EVERYTHING
    created_min: int = 0
    created_max: int = EVERYTHING
    roots: tuple[int, int, int, int] = ANY_ROOT
    segments: tuple[int, ...] | None = None
    """Ids, ascending; None: all."""
    living: int = 0
    dying: int = 0
    sort: int = 0
    after: tuple[int, int] = (0, 0)
    before: tuple[int, int] = (EVERYTHING, EVERYTHING)


class Run(NamedTuple):
    """A run of bytes of a segment."""

    offset: int
    bytes: int
    images: int
    live_bytes: int
    dying_bytes: int
    size: int
    locator: int
    nonce: int
    state: int
