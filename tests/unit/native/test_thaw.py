"""thaw: ordinary mutable objects again, with identity and cycles, at any depth."""

import array
import gc
import random
from collections.abc import Callable
from typing import Any

import pytest

import icehouse

VALUES: list[Any] = [
    [],
    {},
    [1, 2, 3],
    [1.5, 2.5, float("inf")],
    ["a", "b", "ü", "\U0001f600" * 20, "\ud800"],
    [True, False, None, ..., NotImplemented],
    [2**62, 2**100, -(2**63), -1, 0, 2**64 - 1],
    {"a": 1, "b": [1, {"c": 2}]},
    {1: 2, 2.5: 3, (1, 2): 4, frozenset([1]): 5, None: 1, b"x": 6},
    {str(i): i for i in range(100)},
    [{"x": i, "y": [i, i], "z": "q" * i} for i in range(50)],
    {1, 2, 3},
    set(range(100)),
    frozenset("abc"),
    frozenset(range(100)),
    [b"x", b"y" * 100_000, bytearray(b"zz"), 1j],
    ("a", [1], {"b": {2}}),
    [tuple(range(10_000)), ((), ((),))],
    [array.array("d", [1.5, 2.5]), array.array("i")],
]


def same_types(a: object, b: object) -> bool:
    if type(a) is not type(b):
        return False
    if isinstance(a, list | tuple):
        assert isinstance(b, list | tuple)
        return all(map(same_types, a, b))
    if isinstance(a, dict):
        assert isinstance(b, dict)
        return same_types(list(a.items()), list(b.items()))
    return True


@pytest.mark.parametrize("value", VALUES, ids=range(len(VALUES)))
def test_round_trip(value: Any) -> None:
    thawed = icehouse.thaw(icehouse.freeze([value]))[0]
    assert thawed == value
    assert same_types(thawed, value)


@pytest.mark.parametrize("name", ["twitter", "citm_catalog", "canada", "github"])
def test_corpora(name: str, corpus: Callable[[str], Any]) -> None:
    value = corpus(name)
    assert icehouse.thaw(icehouse.freeze(value)) == value


def test_identity_is_kept() -> None:
    inner = [1]
    text = "text " * 50
    thawed = icehouse.thaw(icehouse.freeze([inner, inner, (inner,), text, text]))
    assert thawed[0] is thawed[1] is thawed[2][0]
    assert thawed[3] is thawed[4]
    equal = ["".join(["text ", "ü"] * 50) for _ in range(1000)]
    assert icehouse.thaw(icehouse.freeze([[text] for text in equal])) == [[text] for text in equal]
    thawed[0].append(2)
    assert thawed[1] == [1, 2]


def test_long_keys_of_many_shapes() -> None:
    long = "größe" * 100
    value = [[{long: i, f"k{i}": 1}, {long: 1, f"k{i}": i}] for i in range(500)]
    assert icehouse.thaw(icehouse.freeze(value)) == value


def test_h24_cycles() -> None:
    loop: Any = []
    loop.append(loop)
    thawed = icehouse.thaw(icehouse.freeze(loop))
    assert thawed[0] is thawed

    pair: Any = ([],)
    pair[0].append(pair)
    thawed = icehouse.thaw(icehouse.freeze([pair]))[0]
    assert thawed[0][0] is thawed

    table: Any = {}
    table["self"] = table
    table["pair"] = (table,)
    thawed = icehouse.thaw(icehouse.freeze(table))
    assert thawed["self"] is thawed["pair"][0] is thawed


@pytest.mark.parametrize("wrap", [lambda x: [x], lambda x: {"k": x}, lambda x: (x,)])
def test_h24_depth(wrap: Callable[[Any], Any]) -> None:
    value: Any = None
    for _ in range(100_000):
        value = wrap(value)
    thawed = icehouse.thaw(icehouse.freeze([value]))[0]
    for _ in range(100_000):
        [thawed] = thawed.values() if isinstance(thawed, dict) else thawed
    assert thawed is None


def test_slices() -> None:
    rng = random.Random(1)
    for value in (list(range(300)), [[i] for i in range(300)], [f"n{i}" for i in range(300)]):
        view = icehouse.freeze(value)
        for _ in range(100):
            start, stop = rng.randrange(-400, 400), rng.randrange(-400, 400)
            part = slice(start, stop, rng.choice([1, 2, 7, -1, -3]))
            assert icehouse.thaw(view[part]) == value[part]


def test_plain_objects() -> None:
    for plain in (1, "a", [1], {"a": 1}, (1, (2,)), frozenset([1])):
        assert icehouse.thaw(plain) is plain
    view = icehouse.freeze([1])
    thawed = icehouse.thaw((view, 2, (view,), frozenset([icehouse.freeze(frozenset([3]))])))
    assert thawed == ([1], 2, ([1],), frozenset([frozenset([3])]))
    assert thawed[0] is thawed[2][0]
    assert type(thawed[0]) is list


def test_the_collector_is_left_as_it_was() -> None:
    view = icehouse.freeze([[i] for i in range(1000)])
    assert gc.isenabled()
    icehouse.thaw(view)
    assert gc.isenabled()
    gc.disable()
    try:
        icehouse.thaw(view)
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_arrays_are_writable_copies() -> None:
    numpy = pytest.importorskip("numpy")
    original = numpy.arange(6, dtype="i2").reshape(2, 3)
    view = icehouse.freeze({"a": original, "f": numpy.asfortranarray(original)})
    thawed = icehouse.thaw(view)
    assert thawed["f"].flags.f_contiguous
    thawed["a"][0, 0] = 9
    assert (numpy.asarray(view["a"]) == original).all()
    assert (thawed["f"] == original).all()
