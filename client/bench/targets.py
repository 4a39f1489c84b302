"""What each measurement must reach, and what it aims at."""

from dataclasses import dataclass
from typing import Literal

Measure = Literal["ratio", "seconds", "bytes"]


@dataclass(frozen=True)
class Limit:
    """A bound from above on a ratio to another side, or on seconds or bytes of our own."""

    value: float
    text: str
    # The side that a ratio is to; not used for seconds and bytes.
    against: str = ""

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True)
class Target:
    """The bound that must hold and the one that we would like to reach."""

    measure: Measure
    must: Limit
    aim: Limit


def ratio(against: str, must: float, aim: float, *, aim_against: str = "") -> Target:
    """Bounds on our time or size divided by another side's."""
    return Target(
        "ratio",
        Limit(must, ratio_text(must), against),
        Limit(aim, ratio_text(aim), aim_against or against),
    )


def ratio_text(value: float) -> str:
    """Say a bound on a ratio as people say it."""
    if value == 1:
        return "as fast"
    if value < 1:
        return f"{1 / value:.3g}x faster"
    return f"within {value:.3g}x"


def seconds(must: float, aim: float) -> Target:
    """Bounds on our own time."""
    return Target("seconds", Limit(must, seconds_text(must)), Limit(aim, seconds_text(aim)))


def size(must: float, aim: float) -> Target:
    """Bounds on our size divided by pickle's."""
    return Target(
        "ratio",
        Limit(must, f"{must:g} of pickle", "pickle"),
        Limit(aim, f"{aim:g} of pickle", "pickle"),
    )


def memory(must: float, aim: float) -> Target:
    """Bounds on bytes."""
    return Target("bytes", Limit(must, bytes_text(must)), Limit(aim, bytes_text(aim)))


def seconds_text(value: float) -> str:
    """Seconds with a unit that fits, to three digits."""
    for factor, unit in ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs")):
        if abs(value) >= factor:
            return f"{value / factor:.3g} {unit}"
    return f"{value / 1e-9:.3g} ns"


def bytes_text(value: float) -> str:
    """Bytes with a decimal unit that fits, to three digits."""
    for factor, unit in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if abs(value) >= factor:
            return f"{value / factor:.3g} {unit}"
    return f"{value:.0f} B"


FREEZE = Target(
    "ratio",
    Limit(0.5, "2x faster than pickle", "pickle"),
    Limit(1.0, "as msgspec", "msgspec"),
)
GET = seconds(1e-6, 300e-9)
LOOKUP = ratio("native", 4, 2)
WALK = ratio("native", 3, 1.5)
THAW = ratio("pickle", 1, 0.5)
SMALL_PUT = seconds(5e-6, 1.5e-6)
ARRAY_PUT = Target(
    "ratio",
    Limit(1 / 0.70, "70 % of memcpy", "memcpy"),
    Limit(1 / 0.95, "95 % of memcpy", "memcpy"),
)
ARRAY_GET = seconds(5e-6, 5e-6)
READER = memory(2e6, 200e3)
FREEZE_INSTANCES = ratio("pickle", 0.2, 0.1)
INSTANCE_FIELD = seconds(1e-6, 300e-9)
INSTANCES_SIZE = size(1.25, 1.1)
SIZES = {
    "twitter": size(1.25, 1.1),
    "github": size(1.25, 1.1),
    "canada": size(1.25, 1.1),
    "citm_catalog": size(1.25, 1.1),
    "unicode": size(1.4, 1.2),
    "pairs": size(2.0, 1.6),
}
