"""`python -m benchmarks.pools`: icehouse.interpreters.pool against pools that pickle.

Both sides of a comparison run in one process on the same data, in interleaved rounds, with two
workers each, and a call goes to each worker at the same time. A worker reads what it was given,
and what comes back is read here. Told are medians of a round, in ms, small calls in µs each.

    python -m benchmarks.pools [--rounds 9] [--only twitter] [--json]
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from concurrent import futures
from multiprocessing import get_context
from typing import Any

import icehouse
from benchmarks.pools.work import add, give, hold, load, look, walk
from icehouse import interpreters

WORKERS = 2
SMALL_CALLS = 50  # in a round; few, so that a busy machine lets many rounds be

# --- measuring ------------------------------------------------------------------------------------

Side = tuple[str, Callable[[], Any]]


def median_times(sides: list[Side], rounds: int) -> dict[str, float]:
    """Time each side in each round, beginning with another one each time; seconds."""
    times: dict[str, list[float]] = {name: [] for name, _ in sides}
    answers = {repr(run()) for _, run in sides}
    assert len(answers) == 1, f"the sides disagree: {answers}"
    for turn in range(rounds):
        first = turn % len(sides)
        for name, run in sides[first:] + sides[:first]:
            start = time.perf_counter()
            run()
            times[name].append(time.perf_counter() - start)
    return {name: statistics.median(each) for name, each in times.items()}


def both(pool: futures.Executor, function: Callable[..., Any], *args: Any) -> list[Any]:
    """Call once on each worker."""
    return [call.result() for call in [pool.submit(function, *args) for _ in range(WORKERS)]]


def pools(**options: Any) -> dict[str, futures.Executor]:
    """Make one of each kind."""
    made: dict[str, futures.Executor] = {
        "icehouse": interpreters.pool(WORKERS, **options),
        "icehouse, processes": interpreters.pool(WORKERS, processes=True, **options),
        "ProcessPoolExecutor": futures.ProcessPoolExecutor(
            WORKERS, mp_context=get_context("spawn"), **options
        ),
    }
    if sys.version_info >= (3, 14):
        made["InterpreterPoolExecutor"] = futures.InterpreterPoolExecutor(WORKERS, **options)
    return made


def argument_sides(
    made: dict[str, futures.Executor], function: Callable[[Any], int], data: Any, view: Any
) -> Iterator[Side]:
    """List who is given the data, and how."""
    for kind, pool in made.items():
        if kind.startswith("icehouse"):
            yield f"{kind}: frozen", lambda pool=pool: both(pool, function, view)
            yield (
                f"{kind}: frozen in the round",
                lambda pool=pool: both(pool, function, icehouse.freeze(data)),
            )
        yield f"{kind}: plain", lambda pool=pool: both(pool, function, data)


def arguments(name: str, rounds: int) -> Iterator[tuple[str, dict[str, float]]]:
    """Measure a large argument."""
    data = load(name)
    view = icehouse.freeze(data)
    made = pools()
    for function in (look, walk):
        sides = list(argument_sides(made, function, data, view))
        yield f"argument {name}, {function.__name__}", median_times(sides, rounds)
    for pool in made.values():
        pool.shutdown()


def results(name: str, rounds: int) -> Iterator[tuple[str, dict[str, float]]]:
    """Measure a large result."""
    options: dict[str, Any] = {"initializer": hold, "initargs": (name,)}
    made = pools(**options)
    made["icehouse: frozen"] = interpreters.pool(WORKERS, freeze_results=True, **options)
    made["icehouse, processes: frozen"] = interpreters.pool(
        WORKERS, processes=True, freeze_results=True, **options
    )
    sides: list[Side] = [
        (
            kind if "frozen" in kind else f"{kind}: plain",
            lambda pool=pool: [look(each) for each in both(pool, give)],
        )
        for kind, pool in made.items()
    ]
    yield f"result {name}, look", median_times(sides, rounds)
    for pool in made.values():
        pool.shutdown()


def small(rounds: int) -> Iterator[tuple[str, dict[str, float]]]:
    """Measure small ints: one call after the other, and many at once."""
    made = pools()
    view = icehouse.freeze({"a": [1, 2, 3]})

    def one_by_one(pool: futures.Executor, *args: Any) -> int:
        function = add if args else len
        args = args or (view,)
        return sum(pool.submit(function, *args).result() for _ in range(SMALL_CALLS))

    def at_once(pool: futures.Executor) -> int:
        return sum(pool.map(add, range(SMALL_CALLS), range(SMALL_CALLS)))

    sides: list[Side] = [(kind, lambda p=pool: one_by_one(p, 1, 2)) for kind, pool in made.items()]
    yield "small ints, one by one", per_call(median_times(sides, rounds))
    sides = [(kind, lambda p=pool: at_once(p)) for kind, pool in made.items()]
    yield "small ints, map", per_call(median_times(sides, rounds))
    sides = [
        (kind, lambda p=pool: one_by_one(p))
        for kind, pool in made.items()
        if kind.startswith("icehouse")
    ]
    yield "a small view, one by one", per_call(median_times(sides, rounds))
    for pool in made.values():
        pool.shutdown()


def per_call(times: dict[str, float]) -> dict[str, float]:
    """Turn times of a round into times of a call, a thousand times: told in ms, so in µs."""
    return {name: seconds / SMALL_CALLS * 1000 for name, seconds in times.items()}


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--only", help="cases with this in their name: small, twitter, ...")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    cases: list[tuple[str, Callable[[], Iterator[tuple[str, dict[str, float]]]]]] = [
        ("small", lambda: small(options.rounds * 10))
    ]
    for name in ("twitter", "citm_catalog", "million keys"):
        rounds = options.rounds if name != "million keys" else max(3, options.rounds // 3)
        cases.append((f"argument {name}", lambda n=name, r=rounds: arguments(n, r)))
        cases.append((f"result {name}", lambda n=name, r=rounds: results(n, r)))
    found = {}
    for name, run in cases:
        if options.only and options.only not in name:
            continue
        for title, times in run():
            found[title] = times
            if not options.json:
                unit = "µs a call" if title.startswith(("small", "a small")) else "ms"
                print(f"{title} ({unit})", flush=True)
                for side, seconds in times.items():
                    print(f"    {side:36} {seconds * 1000:10.2f}", flush=True)
    if options.json:
        print(json.dumps({"python": sys.version, "seconds": found}, indent=1))


if __name__ == "__main__":
    main()
