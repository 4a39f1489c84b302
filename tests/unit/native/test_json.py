"""dumps: the very text of json.dumps, straight from the image."""

import json
import math
import random
import struct
from collections.abc import Callable
from typing import Any

import pytest

import icehouse

VALUES: list[Any] = [
    [],
    {},
    {"b": 1, "a": [1, [], {}, ()], 'ü"\\\n\x7f\x00\U0001f600\ud800': [True, None, 1.5, 2**80, -5]},
    [["a", 'b"', "ü"], [1, 2], (1, 2.0), [2**63, 2**64 - 1], [-(2**63)], [True, False]],
    {"x" * 200: "y" * 5000 + '"'},
    [{"q": 1, "p": 2}] * 3,
    {str(i): i for i in range(20, 0, -1)},
    ["".join(map(chr, range(0x300))), "\ud83d\ude00", ""],
    [float("nan"), float("inf"), -float("inf"), -0.0, [1e16, 1e-5, 0.1]],
]
OPTIONS: list[dict[str, Any]] = [
    {},
    {"indent": 2},
    {"indent": "\t", "sort_keys": True},
    {"indent": 0},
    {"ensure_ascii": False},
    {"separators": (",", ":")},
    {"separators": ("é", "☃")},
    {"sort_keys": True},
    {"skipkeys": True},
]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("value", VALUES, ids=range(len(VALUES)))
def test_same_text_as_json(value: Any, options: dict[str, Any]) -> None:
    assert icehouse.dumps(icehouse.freeze(value), **options) == json.dumps(value, **options)


def test_keys_become_strings() -> None:
    value = {0: 2, 3.5: 4, True: 5, None: 6, 2**70: 7, float("inf"): 8}
    assert icehouse.dumps(icehouse.freeze(value)) == json.dumps(value)
    numbers = {3: 1, 1: 2, 2.5: 3}
    frozen = icehouse.freeze(numbers)
    assert icehouse.dumps(frozen, sort_keys=True) == json.dumps(numbers, sort_keys=True)
    with pytest.raises(TypeError, match="'<' not supported"):
        icehouse.dumps(icehouse.freeze({1: 1, "a": 2}), sort_keys=True)


@pytest.mark.parametrize("name", ["twitter", "citm_catalog", "canada", "github"])
def test_corpora(name: str, corpus: Callable[[str], Any]) -> None:
    value = corpus(name)
    assert icehouse.dumps(icehouse.freeze(value)) == json.dumps(value)


def number(rng: random.Random) -> float:
    """Numbers near every border of the shortest decimal."""
    match rng.randrange(7):
        case 0:
            return math.nextafter(10.0 ** rng.randrange(-5, 17), rng.choice([0, 1e99]))
        case 1:
            return 2.0 ** rng.randrange(-15, 52) * rng.choice([1, 1 + 2**-52, 1 - 2**-53])
        case 2:
            return float(f"{10 ** rng.uniform(-4.1, 15.1):.{rng.randrange(1, 18)}g}")
        case 3:
            return rng.randrange(10**17) / 10 ** rng.randrange(3, 20)
        case 4:
            return rng.randrange(2**53) / 2 ** rng.randrange(60)
        case 5:
            return -(10 ** rng.uniform(-4.1, 15.1))
        case _:
            return float(struct.unpack("d", rng.randbytes(8))[0])


def test_floats_as_repr_writes_them(soak_factor: int) -> None:
    rng = random.Random(1)
    for _ in range(soak_factor):
        numbers = [number(rng) for _ in range(100_000)]
        assert icehouse.dumps(icehouse.freeze(numbers)) == json.dumps(numbers)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"a": [1, {2}]}, r"Object of type set is not JSON serializable, at view\['a'\]\[1\]"),
        ([b"x"], r"Object of type bytes .* at view\[0\]"),
        ([1j], "complex"),
        ([{(1, 2): 3}], "keys must be str, int, float, bool or None, not tuple"),
    ],
)
def test_what_is_not_json(value: Any, message: str) -> None:
    with pytest.raises(TypeError, match=message):
        icehouse.dumps(icehouse.freeze(value))


def test_default_is_asked_with_thawed_values() -> None:
    assert icehouse.dumps(icehouse.freeze({"a": {1}}), default=list) == '{"a": [1]}'
    assert icehouse.dumps([1, icehouse.freeze([{2}])], default=list) == "[1, [[2]]]"


def test_views_among_plain_objects() -> None:
    view = icehouse.freeze({"a": [1]})
    assert icehouse.dumps([view, {"z": view}]) == '[{"a": [1]}, {"z": {"a": [1]}}]'
    assert json.dumps([view], default=icehouse.json_default) == '[{"a": [1]}]'
    with pytest.raises(TypeError, match="not JSON serializable"):
        json.dumps([object()], default=icehouse.json_default)


def test_nan_can_be_refused() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        icehouse.dumps(icehouse.freeze([math.nan]), allow_nan=False)


def test_h24_cycles_and_depth() -> None:
    loop: list[Any] = [1]
    loop.append({"loop": loop})
    with pytest.raises(ValueError, match="Circular reference detected"):
        icehouse.dumps(icehouse.freeze(loop))
    deep: Any = None
    for _ in range(100_000):
        deep = {"k": [deep]}
    assert icehouse.dumps(icehouse.freeze(deep)) == '{"k": [' * 100_000 + "null" + "]}" * 100_000
    twice = [[1, 2, "x"]] * 2
    assert icehouse.dumps(icehouse.freeze(twice)) == json.dumps(twice)


def test_slices() -> None:
    value = [[i, "x"] for i in range(100)]
    view = icehouse.freeze(value)
    assert icehouse.dumps(view[::-3]) == json.dumps(value[::-3])
    assert icehouse.dumps(icehouse.freeze(list(range(99)))[5:9]) == "[5, 6, 7, 8]"
    assert icehouse.dumps(view[5:5]) == "[]"


def test_parts_that_are_no_nodes_are_refused_too() -> None:
    view = icehouse.freeze({"bytes": b"x" * 100_000, "array": memoryview(b"abcd").cast("h")})
    for part in (view["bytes"][1:5], view["array"][1:]):
        with pytest.raises(TypeError, match="not JSON serializable"):
            icehouse.dumps(part)
        assert icehouse.dumps(part, default=lambda found: len(found)) == str(len(part))
