"""What other interpreters and processes do with frozen functions in test_function_travel.py."""

import importlib
import multiprocessing
import random
import sys
import types
from pathlib import Path
from typing import Any

import icehouse

MODULES = 10
FUNCTIONS = 200


def open_and_call(ref: str, *args: Any) -> Any:
    """Open a function by the text of its handle and call it."""
    return icehouse.get(ref)(*args)


def is_same(ref: str, function: Any) -> bool:
    return icehouse.get(ref) is function and icehouse.get(ref) is icehouse.get(ref)


def call(function: Any, *args: Any) -> Any:
    return function(*args)


def identity(function: Any) -> Any:
    return function


def answer(results: Any, function: Any, args: Any) -> None:
    """Call a function in a process that multiprocessing started."""
    try:
        results.put((True, function(*args)))
    except BaseException as error:
        results.put((False, f"{type(error).__name__}: {error}"))


def sent(way: str, function: Any, *args: Any) -> Any:
    """What a function returns in a process of its own."""
    context: Any = multiprocessing.get_context(way)
    results = context.Queue()
    process = context.Process(target=answer, args=(results, function, args))
    process.start()
    succeeded, result = results.get(timeout=60)
    process.join()
    assert succeeded, result
    return result


def main_module(source: str) -> dict[str, Any]:
    """Run source as `__main__` would, in a module that no other process can import."""
    module = types.ModuleType("only_here")
    sys.modules["only_here"] = module
    exec(compile(source, "only_here", "exec"), vars(module))
    return vars(module)


SOURCE = """
import math
FACTOR = 3
def helper(x):
    return x * FACTOR
def work(x, y=(1, 2)):
    def inner(z):
        return helper(z) + len(y)
    return [inner(z) for z in range(x)], math.isqrt(x)
"""


def processes(way: str) -> None:
    """A function travels to a process that can't import its module."""
    work = main_module(SOURCE)["work"]
    frozen = icehouse.freeze(work)
    assert sent(way, frozen, 4) == work(4)
    big = icehouse.freeze(list(range(100_000)))
    pick = icehouse.freeze(lambda at: big[at])
    assert sent(way, pick, 77_777) == 77_777
    with icehouse.Store("16MiB") as store:
        held = store.get(store.put({"f": frozen}))
        assert sent(way, icehouse.freeze(lambda: held["f"](4)), *()) == work(4)


def graph(seed: int) -> None:
    """200 functions over 10 modules that refer to each other, circles included."""
    chance = random.Random(seed)
    modules = []
    for number in range(MODULES):
        module: Any = types.ModuleType(f"generated_{number}")
        module.BASE = number
        module.TABLE = tuple(range(number, number + 5))
        sys.modules[module.__name__] = module
        modules.append(module)
    places = [(modules[n % MODULES], f"function_{n}") for n in range(FUNCTIONS)]
    for n, (module, name) in enumerate(places):
        used = [*chance.sample(range(FUNCTIONS), 3), (n + 1) % FUNCTIONS]
        imports = "\n".join(
            f"import {places[k][0].__name__}" for k in used if places[k][0] is not module
        )
        # Some are reached by their name in this module, others by that of another.
        calls = " + ".join(f"f{k}(depth - 1, x + {k})" for k in used)
        source = (
            f"{imports}\ndef {name}(depth, x=0, *, step={n}):\n"
            f"    if depth <= 0:\n        return (x * step + BASE + sum(TABLE)) % 1009\n"
            f"    def inner():\n        return {calls}\n"
            f"    return (inner() + len([y for y in TABLE if y > BASE])) % 1009\n"
        )
        exec(compile(source, module.__name__, "exec"), vars(module))
        module.__dict__.setdefault("uses", []).extend((k, n) for k in used)
    for module in modules:
        for k, _ in module.uses:
            setattr(module, f"f{k}", getattr(places[k][0], places[k][1]))
        del module.uses
    first = getattr(places[0][0], places[0][1])
    frozen = icehouse.freeze(first)
    wanted = first(4)
    assert frozen(4) == wanted
    assert sent("spawn", frozen, 4) == wanted
    assert count(frozen) == FUNCTIONS
    for module in modules:
        module.BASE = 1000
    assert frozen(4) == wanted != first(4)


def count(function: Any) -> int:
    """How many frozen functions one reaches."""
    seen: dict[int, Any] = {}
    waiting = [function]
    while waiting:
        found = waiting.pop()
        if id(found) not in seen:
            seen[id(found)] = found
            waiting += [v for v in found.__globals__.values() if type(v) is type(function)]
    return len(seen)


def through_the_daemon(socket: str, name: str, wanted: Any, *args: Any) -> None:
    """Get a function by its name from the daemon's store and call it."""
    with icehouse.connect(socket) as store:
        function = store.get(name)
        assert function is store.get(name)
        assert function(*args) == wanted
        with_it = store.get(store.put({"again": function}))
        assert with_it["again"] is function


def imports_nothing(folder: str) -> None:
    """Data does not load what functions need."""
    assert Path(folder).is_dir()
    icehouse.thaw(icehouse.freeze({"a": [1]}))
    assert not [name for name in sys.modules if "declarations" in name]
    importlib.import_module("icehouse.store.declarations.functions")
