"""Timing several sides of one comparison fairly: interleaved rounds on the same data.

Machines drift (clock frequency, neighbours, caches), so no side is measured in one piece: each
round runs every side once, beginning with another side each time, and what is compared is the ratio
within a round. The median and the quartiles of the rounds are told. Warm-up rounds are thrown away.
Python's cyclic collector is off while the clock runs, for all sides alike: it would slow decoders
that make many objects by up to 40 %, which flatters whoever makes few.
"""

import gc
import statistics
import textwrap
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import repeat
from typing import Any

# Reads a clock, in seconds.
Now = Callable[[], float]
# Does the work so many times and gives the seconds that it took by this clock.
Clock = Callable[[int, Now], float]

# A sample of a fast operation lasts at least this long, so that the clock's own cost vanishes.
SAMPLE_SECONDS_MIN = 0.002
LOOPS_MAX = 1 << 22


@dataclass(frozen=True)
class Side:
    """One contestant: `clock(n, now)` does the work n times and returns its seconds."""

    name: str
    clock: Clock
    # How many operations one run of `clock` counts for: an unrolled statement does several.
    operations: int = 1
    # Work of milliseconds is timed once a sample, and what it made is dropped off the clock.
    once: bool = False


@dataclass(frozen=True)
class Rounds:
    """How long to measure: until `seconds` are spent, within the limits on the number of rounds."""

    seconds: float = 2.0
    rounds_min: int = 7
    rounds_max: int = 151
    warmups: int = 2
    # The processor time of the thread leaves out what a busy machine makes it wait.
    processor_time: bool = False

    @property
    def now(self) -> Now:
        """The clock."""
        return time.thread_time if self.processor_time else time.perf_counter

    @classmethod
    def quick(cls, *, processor_time: bool = False) -> "Rounds":
        """Measure just enough to see that everything runs."""
        return cls(0.02, 2, 5, 1, processor_time)


@dataclass(frozen=True)
class Spread:
    """What the rounds gave: seconds, bytes or a ratio."""

    median: float
    q1: float
    q3: float
    least: float
    rounds: int

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        """Median and quartiles of the values, at least one."""
        if len(values) == 1:
            return cls(values[0], values[0], values[0], values[0], 1)
        q1, median, q3 = statistics.quantiles(values, n=4, method="inclusive")
        return cls(median, q1, q3, min(values), len(values))


@dataclass
class Timing:
    """One side's seconds an operation, round by round."""

    name: str
    loops: int
    seconds: list[float] = field(default_factory=list)

    @property
    def spread(self) -> Spread:
        """Median and quartiles."""
        return Spread.of(self.seconds)


def once(name: str, work: Callable[[], object]) -> Side:
    """Make a side whose work takes long enough to be timed call by call.

    What the work returns is dropped after the clock was read.
    """

    def clock(_: int, now: Now) -> float:
        begin = now()
        made = work()
        seconds = now() - begin
        del made
        return seconds

    return Side(name, clock, once=True)


def statements(name: str, lines: Sequence[str], **names: Any) -> Side:
    """Make a side of short statements, run in a loop as compiled code; time is per statement.

    Few statements are repeated, so that the loop around them costs next to nothing. What they make
    is dropped on the clock, as it would be in a program.
    """
    repeats = max(1, 20 // len(lines))
    body = textwrap.indent("\n".join(list(lines) * repeats), " " * 12)
    # Names become locals, as they would be in the hot loop of a program.
    source = f"""
def make({", ".join(names)}):
    def clock(n, now):
        begin = now()
        for _ in repeat(None, n):
{body}
        return now() - begin
    return clock
"""
    space: dict[str, Any] = {"repeat": repeat}
    exec(compile(source, f"<{name}>", "exec"), space)  # noqa: S102 - our own statements
    return Side(name, space["make"](**names), operations=len(lines) * repeats)


def calibrate(side: Side, now: Now) -> int:
    """How many loops make one sample long enough; a first run that was slow is run again."""
    if side.once:
        return 1
    loops = 1
    side.clock(loops, now)
    while loops < LOOPS_MAX and side.clock(loops, now) < SAMPLE_SECONDS_MIN:
        loops *= 2
    return loops


def compare(sides: Sequence[Side], plan: Rounds) -> list[Timing]:
    """Time all sides in interleaved rounds; the result is in the order of the sides."""
    now = plan.now
    with quiet():
        timings = [Timing(side.name, calibrate(side, now)) for side in sides]
        # Calibration has warmed the fast sides already.
        for side in sides:
            for _ in range(plan.warmups if side.once else 1):
                side.clock(1, now)
        end = time.perf_counter() + plan.seconds
        rounds = 0
        while rounds < plan.rounds_max:
            if rounds >= plan.rounds_min and time.perf_counter() >= end:
                break
            for position in range(len(sides)):
                index = (position + rounds) % len(sides)
                side, timing = sides[index], timings[index]
                seconds = side.clock(timing.loops, now)
                timing.seconds.append(seconds / (timing.loops * side.operations))
            rounds += 1
    return timings


@contextmanager
def quiet() -> Iterator[None]:
    """Turn the cyclic collector off, after it had its turn."""
    was_on = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def ratios(ours: Timing, theirs: Timing) -> Spread:
    """Divide our time by theirs, round by round."""
    return Spread.of([a / b for a, b in zip(ours.seconds, theirs.seconds, strict=True)])
