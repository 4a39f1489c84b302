"""The types of datetime and zoneinfo.

Payloads: DATE is the ordinal. TIME and DATETIME are bytes, or the pair of bytes and tzinfo:

    time        hour (bit 7: fold), minute, second, microsecond (3 bytes, big-endian)
    datetime    year (2), month (bit 7: fold), day, hour, minute, second, microsecond (3)

They look like what pickle stores, but every field goes through the constructor, which checks it.
"""

import datetime
import sys
from typing import Any

from icehouse.store.freezing import codes, subclasses
from icehouse.store.freezing.refusal import Refusal
from icehouse.store.freezing.trust import Trust, name_of

_FOLD = 0x80


def rule(cls: type, base: type) -> tuple[Any, ...] | str | None:
    """Say what these types and subclasses of users freeze as."""
    if cls is base and cls in _EXACT:
        return ("value", *_EXACT[cls])
    if base in _PLAIN:
        return subclasses.rule(cls, base, _PLAIN[base])
    if base is datetime.tzinfo and cls is not base:
        # A real one is needed: datetime takes no views as its zone.
        return subclasses.rule(cls, base, None)
    return None


def import_zoneinfo() -> Any:
    """Import zoneinfo, in interpreters too where its part in C does not load.

    On 3.12 datetime is the one in Python in interpreters with a GIL of their own. Importing
    zoneinfo there fails, and has all other interpreters crash when they use a zone: its part in C
    forgets where the datetime of the process is. Its part in Python works.
    """
    if "zoneinfo" not in sys.modules and not hasattr(datetime, "datetime_CAPI"):
        vars(sys)["modules"]["_zoneinfo"] = None  # it can't be imported from now on
    import zoneinfo

    return zoneinfo


def rule_of_zone(cls: type, base: type) -> tuple[Any, ...] | str | None:
    """ZoneInfo: zones that have a key, by that key."""
    zoneinfo = import_zoneinfo()
    if base is not zoneinfo.ZoneInfo:
        return None
    if cls is not base:
        return (
            f"a {name_of(cls)} is a kind of ZoneInfo that no other process can make: use ZoneInfo, "
            "or register_freezable(type, freeze=, thaw=)"
        )
    return ("value", codes.ZONEINFO, _zone_payload)


# --- freezing ------------------------------------------------------------------------------------


def _time_payload(obj: datetime.time) -> Any:
    micro = obj.microsecond
    packed = bytes(
        (
            obj.hour | obj.fold * _FOLD,
            obj.minute,
            obj.second,
            micro >> 16,
            micro >> 8 & 255,
            micro & 255,
        )
    )
    return packed if obj.tzinfo is None else (packed, obj.tzinfo)


def _datetime_payload(obj: datetime.datetime) -> Any:
    year, micro = obj.year, obj.microsecond
    packed = bytes(
        (
            year >> 8,
            year & 255,
            obj.month | obj.fold * _FOLD,
            obj.day,
            obj.hour,
            obj.minute,
            obj.second,
            micro >> 16,
            micro >> 8 & 255,
            micro & 255,
        )
    )
    return packed if obj.tzinfo is None else (packed, obj.tzinfo)


def _timedelta_payload(obj: datetime.timedelta) -> Any:
    return obj.days, obj.seconds, obj.microseconds


def _timezone_payload(obj: datetime.timezone) -> Any:
    # (offset,) or (offset, name): what was given to the constructor.
    given = obj.__getinitargs__()  # type: ignore[attr-defined]
    offset = given[0] // datetime.timedelta(microseconds=1)
    return offset if len(given) == 1 else (offset, given[1])


def _zone_payload(obj: Any) -> str:
    key = obj.key
    # How it was made is only told to pickle, which refuses zones that were read from a file.
    try:
        cached = obj.__reduce__()[1][1]
    except Exception:
        cached = False
    if type(key) is not str or not cached:
        raise Refusal(
            "this ZoneInfo was read from a file or made by no_cache, and zones compare by "
            f"identity: what came back would not be equal to it. Use ZoneInfo({key or 'key'!r})"
        )
    return key


# --- opening -------------------------------------------------------------------------------------


def open_date(payload: Any, trust: Trust) -> datetime.date:
    """Open a date."""
    del trust
    return datetime.date.fromordinal(_integer(payload))


def _with_zone(payload: Any, size: int) -> tuple[bytes, datetime.tzinfo | None]:
    """Split the payload of a time or datetime."""
    if type(payload) is bytes:
        packed, zone = payload, None
    else:
        packed, zone = payload
        if not isinstance(zone, datetime.tzinfo):
            # Its class could not be found here: what it knows can't be used.
            zone = _Unknown(zone)
    if type(packed) is not bytes or len(packed) != size:
        raise ValueError(f"a time takes {size} bytes")
    return packed, zone


class _Unknown(datetime.tzinfo):
    """A time zone whose class can't be found here. It says so when its offset is asked for."""

    def __init__(self, record: Any = None) -> None:
        self._record = record

    def utcoffset(self, dt: Any) -> Any:
        raise NotImplementedError(
            f"the class of this time zone can't be found here, or may not (allow_classes=): {self}"
        )

    dst = utcoffset

    def tzname(self, _dt: Any) -> str:
        return repr(self)

    def __repr__(self) -> str:
        return f"<unknown time zone: {self._record!r}>"


def open_time(payload: Any, trust: Trust) -> datetime.time:
    """Open a time."""
    del trust
    p, zone = _with_zone(payload, 6)
    micro = p[3] << 16 | p[4] << 8 | p[5]
    return datetime.time(p[0] & 0x7F, p[1], p[2], micro, zone, fold=p[0] >> 7)


def open_datetime(payload: Any, trust: Trust) -> datetime.datetime:
    """Open a datetime."""
    del trust
    p, zone = _with_zone(payload, 10)
    micro = p[7] << 16 | p[8] << 8 | p[9]
    return datetime.datetime(
        p[0] << 8 | p[1], p[2] & 0x7F, p[3], p[4], p[5], p[6], micro, zone, fold=p[2] >> 7
    )


def open_timedelta(payload: Any, trust: Trust) -> datetime.timedelta:
    """Open a timedelta."""
    del trust
    days, seconds, micro = payload
    return datetime.timedelta(_integer(days), _integer(seconds), _integer(micro))


def open_timezone(payload: Any, trust: Trust) -> datetime.timezone:
    """Open a timezone; the one of offset 0 without a name is `timezone.utc` itself."""
    del trust
    if type(payload) is int:
        return datetime.timezone(datetime.timedelta(microseconds=payload))
    offset, name = payload
    return datetime.timezone(datetime.timedelta(microseconds=_integer(offset)), name)


def open_zone(payload: Any, trust: Trust) -> Any:
    """Look up a zone by its key; a fixed text where this machine's database has it not."""
    del trust
    zoneinfo = import_zoneinfo()
    if type(payload) is not str:
        raise ValueError("the key of a zone is text")
    try:
        return zoneinfo.ZoneInfo(payload)
    except (zoneinfo.ZoneInfoNotFoundError, OSError):
        return _Unknown(f"zoneinfo.ZoneInfo({payload!r})")


def _integer(value: Any) -> int:
    if type(value) is not int:
        raise ValueError(f"{type(value).__name__} in place of an int")
    return value


def frozen(obj: Any, base: type) -> bool:
    """Whether an object is immutable by nature: exact types with a zone that is."""
    if type(obj) is not base:
        return False
    zone = getattr(obj, "tzinfo", None)
    return zone is None or type(zone) is datetime.timezone or name_of(type(zone)) == ZONE


ZONE = "zoneinfo.ZoneInfo"

_EXACT: dict[type, tuple[int, Any]] = {
    datetime.date: (codes.DATE, datetime.date.toordinal),
    datetime.time: (codes.TIME, _time_payload),
    datetime.datetime: (codes.DATETIME, _datetime_payload),
    datetime.timedelta: (codes.TIMEDELTA, _timedelta_payload),
    datetime.timezone: (codes.TIMEZONE, _timezone_payload),
}


# --- subclasses: the value that is theirs as one of the plain type, and back ----------------------


def _fields(obj: Any, cls: Any, names: str) -> list[Any]:
    """Fields past what a subclass may have made of these names."""
    return [getattr(cls, name).__get__(obj) for name in names.split()]


_DATETIME = "year month day hour minute second microsecond tzinfo"
_TIME = "hour minute second microsecond tzinfo"
_DELTA = "days seconds microseconds"


def _plain_date(obj: datetime.date) -> datetime.date:
    return datetime.date(*_fields(obj, datetime.date, "year month day"))


def _plain_datetime(obj: datetime.datetime) -> datetime.datetime:
    cls = datetime.datetime
    return cls(*_fields(obj, cls, _DATETIME), fold=_fields(obj, cls, "fold")[0])


def _plain_time(obj: datetime.time) -> datetime.time:
    cls = datetime.time
    return cls(*_fields(obj, cls, _TIME), fold=_fields(obj, cls, "fold")[0])


def _plain_delta(obj: datetime.timedelta) -> datetime.timedelta:
    return datetime.timedelta(*_fields(obj, datetime.timedelta, _DELTA))


def _as_date(cls: Any, plain: datetime.date) -> Any:
    return datetime.date.__new__(cls, plain.year, plain.month, plain.day)


def _as_datetime(cls: Any, plain: datetime.datetime) -> Any:
    fields = [getattr(plain, name) for name in _DATETIME.split()]
    return datetime.datetime.__new__(cls, *fields, fold=plain.fold)


def _as_time(cls: Any, plain: datetime.time) -> Any:
    fields = [getattr(plain, name) for name in _TIME.split()]
    return datetime.time.__new__(cls, *fields, fold=plain.fold)


def _as_delta(cls: Any, plain: datetime.timedelta) -> Any:
    return datetime.timedelta.__new__(cls, plain.days, plain.seconds, plain.microseconds)


_PLAIN: dict[type, Any] = {
    datetime.date: _plain_date,
    datetime.datetime: _plain_datetime,
    datetime.time: _plain_time,
    datetime.timedelta: _plain_delta,
}

_REMAKE: dict[type, Any] = {
    datetime.date: _as_date,
    datetime.datetime: _as_datetime,
    datetime.time: _as_time,
    datetime.timedelta: _as_delta,
    datetime.tzinfo: lambda cls, _plain: datetime.tzinfo.__new__(cls),
}


def remake(base: type, cls: type, plain: Any) -> Any:
    """Make an instance of a subclass of one of these types of a plain one."""
    return _REMAKE[base](cls, plain)
