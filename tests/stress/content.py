"""Objects that follow from a number, so that whoever reads one knows what it must hold.

Nothing is imported here: this runs in interpreters where little loads.
"""

from collections.abc import Callable
from typing import Any

MASK = (1 << 64) - 1


class Dice:
    """A small generator of numbers (splitmix64), the same everywhere."""

    def __init__(self, seed: int) -> None:
        self.state = seed & MASK

    def __call__(self, below: int) -> int:
        self.state = (self.state + 0x9E3779B97F4A7C15) & MASK
        x = self.state
        x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & MASK
        x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & MASK
        return (x ^ (x >> 31)) % below


def text(dice: Dice, longest: int) -> str:
    letters = "abcdefgh" if dice(2) else "aé漢\U0001f600 "
    return "".join(letters[dice(len(letters))] for _ in range(dice(longest)))


def leaf(dice: Dice) -> Any:
    kinds: list[Callable[[], Any]] = [
        lambda: None,
        lambda: bool(dice(2)),
        lambda: dice(200) - 100,
        lambda: dice(1 << 62) << dice(100),
        lambda: dice(1 << 40) / 7,
        lambda: text(dice, 20),
        lambda: bytes([dice(256)]) * dice(40),
        lambda: (dice(9), text(dice, 5)),
    ]
    return kinds[dice(len(kinds))]()


def records(dice: Dice) -> list[dict[str, Any]]:
    return [{"id": i, "name": text(dice, 8), "score": leaf(dice)} for i in range(dice(40))]


def nested(dice: Dice, depth: int = 4) -> Any:
    if depth == 0 or dice(5) == 0:
        return leaf(dice)
    items = [nested(dice, depth - 1) for _ in range(dice(5))]
    kind = dice(3)
    if kind == 0:
        return items
    if kind == 1:
        return {text(dice, 6) + str(i): item for i, item in enumerate(items)}
    return tuple(items)


def big(dice: Dice) -> bytes:
    """More than 64 KiB, so that it is read in place; now and then a segment of its own."""
    return bytes([dice(256), dice(256), dice(256)]) * (30_000 * (40 if dice(8) == 0 else 1))


def shared(dice: Dice) -> Any:
    child = [leaf(dice), leaf(dice)]
    loop: list[Any] = [child, child]
    return {"a": child, "b": [child, loop]}


BODIES: list[Callable[[Dice], Any]] = [
    records,
    nested,
    nested,
    shared,
    big,
    lambda dice: [dice(1 << (8 * (1 + dice(4)))) for _ in range(dice(3000))],
    lambda dice: [dice(1000) / 8 for _ in range(dice(500))],
    lambda dice: [text(dice, 12) for _ in range(dice(200))],
    lambda dice: {text(dice, 9) + str(i): i for i in range(dice(300))},
    lambda dice: {leaf(dice) for _ in range(dice(60))},
]


def make(seed: int) -> dict[str, Any]:
    """The object of a number."""
    dice = Dice(seed)
    body = BODIES[dice(len(BODIES))](dice)
    return {"seed": seed, "body": body, "check": dice(1 << 30)}


def verify(view: Any, seed: int) -> None:
    """Assert that a view (or its thawed copy) holds what its number says."""
    expected = make(seed)
    assert view["seed"] == seed, (view["seed"], seed)
    assert view["check"] == expected["check"], seed
    assert view == expected, seed
