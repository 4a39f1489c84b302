"""Rules of the standard library's types, without an image: taken apart and made again, compared."""

import datetime as dt
import decimal
import os
import pickle
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import freezing_samples as samples
import pytest
from pairs import opened, taken

from icehouse import Record, interpreters
from icehouse.store.freezing import hooks
from icehouse.store.freezing.trust import NONE, OWN

HERE = Path(__file__).parent
TESTS = HERE.parents[2]


def name(obj: Any) -> str:
    return f"{type(obj).__name__} {obj!r}"[:60]


def attributes(obj: Any) -> Any:
    return getattr(obj, "__dict__", None) if not isinstance(obj, type) else None


def assert_same(back: Any, obj: Any) -> None:
    assert type(back) is type(obj)
    assert back == obj
    assert attributes(back) == attributes(obj)
    assert repr(back) == repr(obj)
    try:
        expected = hash(obj)
    except TypeError:
        return
    assert hash(back) == expected


@pytest.mark.parametrize("obj", samples.COMPARABLE, ids=name)
def test_made_again_it_is_equal_and_of_its_type(obj: Any) -> None:
    assert_same(opened(taken(obj), OWN), obj)


@pytest.mark.parametrize("obj", samples.NANS, ids=name)
def test_every_kind_of_decimal_nan(obj: decimal.Decimal) -> None:
    back = opened(taken(obj), OWN)
    assert back.as_tuple() == obj.as_tuple()


@pytest.mark.parametrize("obj", samples.REDUCED, ids=name)
def test_what_says_itself_how_it_pickles(obj: Any) -> None:
    back = opened(taken(obj), OWN)
    assert type(back) is type(obj)
    assert repr(back) == repr(obj)
    assert type(opened(taken(obj), NONE)) is Record


def test_a_random_generator_goes_on_where_it_was() -> None:
    obj = samples.generator()
    back = opened(taken(obj), OWN)
    assert [back.random() for _ in range(5)] == [obj.random() for _ in range(5)]


def test_the_decimal_context_has_no_say() -> None:
    obj = decimal.Decimal("1.23456789012345678901234567890123456789")
    with decimal.localcontext() as context:
        context.prec = 3
        context.traps[decimal.Inexact] = True
        context.capitals = 0
        assert opened(taken(obj), OWN).as_tuple() == obj.as_tuple()
        assert opened(taken(decimal.Decimal("1E+99")), OWN) == decimal.Decimal("1E+99")


def test_utc_is_utc_itself_and_zones_are_the_cached_ones() -> None:
    assert opened(taken(dt.UTC), OWN) is dt.UTC
    assert opened(taken(samples.BERLIN), OWN) is samples.BERLIN


def test_zones_without_a_key_are_refused(tmp_path: Path) -> None:
    found = next(
        Path(folder, "UTC") for folder in samples.zoneinfo.TZPATH if Path(folder, "UTC").is_file()
    )
    with found.open("rb") as file:
        nameless = samples.zoneinfo.ZoneInfo.from_file(file)
    with pytest.raises(hooks.Refusal, match="read from a file"):
        taken(nameless)
    with found.open("rb") as file:
        named = samples.zoneinfo.ZoneInfo.from_file(file, key="UTC")
    with pytest.raises(hooks.Refusal, match="read from a file"):
        taken(named)
    with pytest.raises(hooks.Refusal, match="no_cache"):
        taken(dt.datetime(2020, 1, 1, tzinfo=samples.zoneinfo.ZoneInfo.no_cache("UTC")))


def test_a_zone_that_this_machine_does_not_know_says_so_when_it_is_asked() -> None:
    zone = hooks.make_value(9, "Nowhere/At_All", OWN)
    assert "Nowhere/At_All" in repr(zone)
    moment = dt.datetime(2020, 1, 1, tzinfo=zone)
    with pytest.raises(NotImplementedError, match="Nowhere/At_All"):
        moment.utcoffset()
    assert pickle.loads(pickle.dumps(moment)).tzinfo is not None


def test_a_pattern_that_prints_when_it_is_compiled_is_silent_when_it_is_opened(
    capsys: pytest.CaptureFixture[str],
) -> None:
    loud = re.compile("a+", re.DEBUG)
    assert capsys.readouterr().out
    assert opened(taken(loud), OWN).match("aa")
    assert capsys.readouterr().out == ""


def test_windows_paths_stay_what_they_are() -> None:
    windows = hooks.make_value(14, (3, "C:\\x"), OWN)
    assert repr(windows) == "PureWindowsPath('C:/x')"


def test_wrapped_mappings_show_a_frozen_dict() -> None:
    import types

    proxy = types.MappingProxyType({"a": 1})
    assert taken(proxy).payload == {"a": 1}
    assert opened(taken(proxy), OWN) == proxy


DAMAGED = [
    (4, 0),
    (4, "x"),
    (4, 10**9),
    (5, b"\x18\0\0\0\0\0"),
    (5, b"\0\0\0"),
    (6, b"\0\0\x01\x01\0\0\0\0\0\0"),
    (6, b"\x07\xe4\x0d\x01\0\0\0\0\0\0"),
    (6, b"\x07\xe4\x01\xff\xff\0\0\0\0\0"),
    (6, (b"\x07\xe4\x01\x01\0\0\0\0\0\0",)),
    (6, None),
    (7, (1, 2)),
    (7, (10**9, 0, 0)),
    (7, (1.5, 0, 0)),
    (8, 10**12),
    (8, (0, 5)),
    (9, "../../etc/passwd"),
    (9, 5),
    (10, "1.2.3"),
    (10, 1.5),
    (11, (1, 0)),
    (11, ("1", 2)),
    (12, b"short"),
    (12, (b"\0" * 16, "nonsense")),
    (13, (9, b"\0\0\0\0")),
    (13, (0, b"\0" * 16)),
    (13, (2, b"\x0a\0\0\x01", 8)),
    (13, (2, b"\x0a\0\0\0", 77)),
    (13, (True, None)),
    (14, (0, 5)),
    (14, (7, "x")),
    (15, ("(", 0)),
    (15, ("a", 1 << 40)),
    (15, (5, 0)),
    (16, (0, 1, 0)),
    (16, (0, 1.5, 1)),
    (17, (1, 2)),
    (18, 5),
    (19, ("os", "stat_result")),
    (1, ("a",)),
    (1, (1, 2)),
    (2, (1, 2)),
    (3, ("m", "q")),
    (21, 5),
    (22, 5),
    (23, ()),
    (24, ("x", ("a",), ())),
    (25, 5),
    (26, None),
    (0, None),
    (-1, None),
]


@pytest.mark.parametrize(("code", "payload"), DAMAGED)
def test_damaged_payloads_raise_what_becomes_corrupt_image(code: int, payload: Any) -> None:
    for trust in (OWN, NONE):
        with pytest.raises((ValueError, TypeError, LookupError, ArithmeticError)):
            hooks.make_value(code, payload, trust)


@pytest.mark.parametrize(
    "payload",
    [("enum", "Enum", "x", 1), ("os", "path", "x", 1), ("builtins", "int", None, 5)],
)
def test_h20_an_enum_of_a_class_that_is_none_is_a_record(payload: Any) -> None:
    assert type(hooks.make_value(3, payload, OWN)) is Record


def test_an_enum_without_the_member_is_a_record() -> None:
    gone = taken(samples.Color.RED)._replace(
        payload=(*taken(samples.Color.RED).payload[:2], "X", 9)
    )
    back = opened(gone, OWN)
    assert (back.name, back.value) == ("X", 9)
    assert back.type_name == f"{samples.__name__}.Color"


def test_flags_with_bits_that_the_class_does_not_have_are_records() -> None:
    module, qualname = taken(samples.Way.IN).payload[:2]
    assert type(hooks.make_value(3, (module, qualname, None, 1 << 70), OWN)) is Record
    assert hooks.make_value(3, (module, qualname, None, 3), OWN) is samples.Way.BOTH


# --- other interpreters, other processes ---

COMPARE = """
import pickle, sys
sys.path.insert(0, sys.argv[1])
import freezing_samples as samples
from pairs import opened
from icehouse.store.freezing.trust import OWN
with open(sys.argv[2], "rb") as file:
    parts = pickle.load(file)
for part, obj in zip(parts, samples.COMPARABLE, strict=True):
    back = opened(part, OWN)
    assert type(back) is type(obj), (back, obj)
    assert back == obj, (back, obj)
    try:
        {obj: 1}[back]
    except TypeError:
        pass
print(len(parts))
"""


def test_h23_across_processes_with_another_salt(tmp_path: Path) -> None:
    file = tmp_path / "parts"
    file.write_bytes(pickle.dumps([taken(obj) for obj in samples.COMPARABLE]))
    command = [sys.executable, "-c", COMPARE, str(TESTS), str(file)]
    env = os.environ | {"PYTHONHASHSEED": "77"}
    done = subprocess.run(command, capture_output=True, text=True, env=env)
    assert done.stdout.strip() == str(len(samples.COMPARABLE)), done.stderr


def all_round_trips() -> int:
    for obj in samples.COMPARABLE:
        back = opened(taken(obj), OWN)
        assert type(back) is type(obj), obj
        assert back == obj, obj
    return len(samples.COMPARABLE)


@pytest.mark.skipif(not interpreters.supported(), reason="this Python has no interpreters")
def test_in_an_interpreter_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(HERE))
    import test_standard_rules as importable

    with interpreters.Interpreter() as other:
        assert other.call(importable.all_round_trips) == len(samples.COMPARABLE)


LEAN = """
import sys
import icehouse
assert "icehouse.store.freezing.hooks" not in sys.modules
before = set(sys.modules)
from icehouse.store.freezing import hooks
hooks.rule_of(type("C", (), {"__module__": "m"}))
print(*sorted(set(sys.modules) - before))
"""


def test_rules_load_nothing_of_what_nobody_has_met() -> None:
    done = subprocess.run([sys.executable, "-c", LEAN], capture_output=True, text=True, check=True)
    loaded = done.stdout.split()
    heavy = "decimal datetime uuid ipaddress pathlib re zoneinfo fractions numpy msgspec pydantic"
    assert not set(loaded) & set(heavy.split())
    assert "icehouse.store.freezing.dates" not in loaded


@pytest.mark.parametrize(
    "obj",
    [
        *samples.NUMBERS,
        *samples.NETS,
        *samples.PATHS,
        *samples.PATTERNS,
        *samples.ENUMS,
        dt.date(2020, 1, 1),
        dt.UTC,
        dt.datetime(2020, 1, 1, tzinfo=samples.BERLIN),
        range(3),
        slice(1, 2),
        int,
        len,
        Record("a.B", ("x",), (1,)),
    ],
    ids=name,
)
def test_values_are_frozen_by_nature(obj: Any) -> None:
    assert hooks.frozen_by_nature(obj)


@pytest.mark.parametrize(
    "obj",
    [
        slice([1]),
        samples.Color,
        samples.DERIVED[3],
        dt.datetime(2020, 1, 1, tzinfo=samples.Shifted(1)),
        type("M", (), {})(),
        ValueError(1),
        __import__("types").MappingProxyType({}),
    ],
    ids=name,
)
def test_what_can_change_is_not(obj: Any) -> None:
    assert not hooks.frozen_by_nature(obj)
