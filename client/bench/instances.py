"""A million instances of one class: what users have where a benchmark has dicts."""

import pickle
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import icehouse
from icehouse.client.bench import targets
from icehouse.client.bench.cases import PICKLE_PROTOCOL
from icehouse.client.bench.fixed import Bench
from icehouse.client.bench.harness import once, statements
from icehouse.client.bench.result import OURS, Result

COUNT = 1_000_000
COUNT_QUICK = 2_000


@dataclass
class Reading:
    """Five fields, as a row of measurements has."""

    number: int
    name: str
    value: float
    valid: bool
    unit: str


def readings(count: int) -> list[Reading]:
    """So many instances; names differ, units don't."""
    return [Reading(i, f"sensor-{i % 1000}", i * 0.25, i % 7 != 0, "kPa") for i in range(count)]


def instances(bench: Bench) -> Iterator[Result]:
    """Freeze, read, thaw and weigh a list of dataclass instances."""
    count = COUNT_QUICK if bench.quick else COUNT
    label = f"{count:,} dataclass instances"
    native = readings(count)
    pickled = pickle.dumps(native, PICKLE_PROTOCOL)
    sides = [
        once(OURS, lambda: icehouse.freeze(native)),
        once("pickle", lambda: pickle.dumps(native, PICKLE_PROTOCOL)),
    ]
    yield from bench.timed("freeze", label, sides, targets.FREEZE_INSTANCES)

    handle = bench.store.put(native)
    yield from reading(bench, label, native, pickled, bench.store.get(handle))
    amounts = {OURS: [float(bench.store.stat(handle).size)], "pickle": [float(len(pickled))]}
    if not bench.only:
        yield Result.counted("size", label, amounts, targets.INSTANCES_SIZE)
    bench.store.delete(handle)
    bench.store.trim()


def reading(
    bench: Bench, label: str, native: list[Reading], pickled: bytes, view: Any
) -> Iterator[Result]:
    """One field of one instance, and everything."""
    half = len(native) // 2
    for field in ("number", "name", "value"):
        line = f"view[{half}].{field}"
        sides = [
            statements(OURS, [line], view=view),
            statements("native", [line], view=native),
        ]
        yield from bench.timed(f"view[i].{field}", label, sides, targets.INSTANCE_FIELD)
    sides = [
        once(OURS, lambda: icehouse.thaw(view)),
        once("pickle", lambda: pickle.loads(pickled)),  # noqa: S301 - our own bytes
    ]
    yield from bench.timed("thaw", label, sides, targets.THAW)
