"""Damaged images of real objects: CorruptImage or some value, never a crash, never without end."""

import array
import contextlib
import datetime
import random
import uuid
from collections import OrderedDict, deque
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

import hypothesis
import hypothesis.strategies as st
import pytest
from forge import INTERESTING, REFUSALS, exercise, mutate, open_image

import icehouse
from icehouse.native import _image


def cyclic() -> list[Any]:
    loop: list[Any] = [1, "b"]
    loop += [loop, {"self": loop}, (loop, 2)]
    return loop


class Pair(NamedTuple):
    left: Any
    right: Any


class Plain:
    def __init__(self, **fields: Any) -> None:
        self.__dict__.update(fields)


DAY = datetime.date(2024, 1, 1)
OBJECTS: dict[str, Any] = {
    "words": [None, True, 1, -5, 2**40, 2**200, 1.5, 2j, ..., "a", "ü", "long " * 40, b"x", ()],
    "packed": [[1, 2, 3], [1.5, 2.5], [2**40, 1], [True, False, True], list(range(1000))],
    "text": [
        ["a", "b", "c"],
        ["ü", "", "\U0001f600"],
        ["x" * 300, "y"],
        [f"n{i}" for i in range(99)],
    ],
    "tuples": ((1, (2, ("a", "b"))), ("key", 1.5), tuple(range(30)), ((),), (None, "x")),
    "records": [{"key": i, "name": f"n{i}", "at": [i, i + 0.5]} for i in range(12)],
    "pairs": {"key": {1: 2, None: 3}, 1.5: {(1, "a"): "b"}, b"k": {True: False}},
    "hashed": {f"key{i}": i for i in range(40)},
    "shaped": [dict.fromkeys((f"k{i}" for i in range(20)), j) for j in range(3)],
    "numbers": {i * 7: str(i) for i in range(30)} | {0.5: "half", (1, "a"): "tuple"},
    "sets": [{1, 2, 3}, frozenset("abc"), set(range(50)), frozenset({(1, 2), "b", None})],
    "shared": [[1, 2, ["b"]]] * 3,
    "cyclic": cyclic(),
    "buffers": [bytearray(b"abc"), b"z" * 70000, array.array("d", [1, 2]), memoryview(b"12345678")],
    "values": [DAY, datetime.timedelta(1), uuid.UUID(int=7), Decimal("1.5"), slice(1, DAY)] * 2,
    "value keys": [{uuid.UUID(int=i): i for i in range(12)}, {DAY: {DAY, 1}}, (DAY, (DAY, "x"))],
    "named": [Pair(1, [Pair("a", DAY), Pair(Pair(None, ()), {})]), Pair],
    "objects": [Plain(a=1, b=[DAY]), Plain(a=2, b=Plain()), OrderedDict(x=1), deque([1, DAY], 5)],
    "arrays": [array.array("i", range(3000)), memoryview(bytes(24)).cast("i", [2, 3])],
}
IMAGES = {name: _image._image_bytes(value) for name, value in OBJECTS.items()}


@pytest.mark.parametrize("name", list(OBJECTS))
def test_undamaged_images_answer_everything(name: str) -> None:
    assert exercise(IMAGES[name])


@pytest.mark.parametrize("name", list(OBJECTS))
def test_h04_random_damage(name: str, soak_factor: int) -> None:
    rng = random.Random(name)
    rounds = 150 if len(IMAGES[name]) < 20_000 else 30
    for _ in range(rounds * soak_factor):
        exercise(mutate(IMAGES[name], rng), 25)


@pytest.mark.parametrize(
    "name", ["words", "records", "tuples", "sets", "cyclic", "values", "named", "objects"]
)
def test_h04_every_word_of_a_small_image(name: str) -> None:
    data = IMAGES[name]
    for at in range(48, min(len(data), 400), 4):
        for value in (*INTERESTING[::3], 64 // 4 << 1, 0x8A, 0x02FFCD):
            damaged = bytearray(data)
            damaged[at : at + 4] = value.to_bytes(4, "little")
            exercise(damaged, 6)


@pytest.mark.parametrize("name", ["words", "hashed", "packed"])
def test_images_that_end_too_early(name: str) -> None:
    data = IMAGES[name]
    for size in [*range(0, 200, 3), *range(200, len(data), 97)]:
        exercise(data[:size], 10)


GOLDEN = sorted((Path(__file__).parent.parent / "compat" / "images").glob("*/*.ih"))


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_h04_h20_h21_damaged_golden_images(path: Path, soak_factor: int) -> None:
    """Every kind of node and value, as from a file: nothing of a user's classes is trusted."""
    rng = random.Random(path.stem)
    data = path.read_bytes()
    for _ in range((60 if len(data) < 5_000 else 8) * soak_factor):
        damaged = mutate(data, rng)
        if path.stem.startswith(("pandas", "polars", "sparse", "arrow", "numpy")):
            # What these packages answer to our questions is theirs; numpy's own SystemError is that
            # of an item which is text beyond Unicode.
            with contextlib.suppress(*REFUSALS, SystemError):
                repr(icehouse.thaw(open_image(damaged)))
        else:
            exercise(damaged, 15)


changes = st.lists(
    st.tuples(st.integers(48, 2000), st.sampled_from([1, 4]), st.integers(0, 2**32 - 1)),
    min_size=1,
    max_size=6,
)


@hypothesis.given(st.sampled_from([n for n in OBJECTS if n != "buffers"]), changes)
@hypothesis.settings(max_examples=200, suppress_health_check=list(hypothesis.HealthCheck))
def test_h04_chosen_damage(name: str, places: list[tuple[int, int, int]]) -> None:
    damaged = bytearray(IMAGES[name])
    for at, width, value in places:
        where = at % (len(damaged) - 52) + 48
        damaged[where : where + width] = (value % 256**width).to_bytes(width, "little")
    exercise(damaged, 20)
