"""Programs of test_pools.py: frozen functions and classes at work in several interpreters."""

import gc
import itertools
import json
import random
import time
from typing import Any

import icehouse
from icehouse import Store, interpreters

WORKERS = 4
# More than this much more at the end than after a third of the time is a leak.
GROWTH_MAX = 48 << 20


def resident() -> int:
    """Bytes of memory that this process has."""
    with open("/proc/self/statm") as file:  # noqa: PTH123 - as others here
        return int(file.read().split()[1]) * 4096


def local_class() -> Any:
    """Make a frozen class that can't be imported, so that it travels by value."""

    @icehouse.frozen
    class Account:
        rate = icehouse.freeze([3, 7])

        def __init__(self, owner: str, amounts: list[int]) -> None:
            self.owner = owner
            self.amounts = amounts

        @property
        def total(self) -> int:
            return sum(self.amounts)

        def grown(self) -> "Account":
            return type(self)(self.owner, [each * self.rate[1] for each in self.amounts])

        @classmethod
        def empty(cls) -> "Account":
            return cls("nobody", [])

    return Account


def functions(seed: int) -> list[Any]:
    """Freeze functions that use each other, data, a module and a class; new ones each time."""
    chosen = random.Random(seed)
    table = icehouse.freeze({f"k{i}": chosen.randrange(1000) for i in range(50)})
    account = local_class()

    def key(number: int) -> str:
        return f"k{number % len(table)}"

    def look(numbers: Any) -> int:
        return sum(table[key(number)] for number in numbers)

    def accounts(numbers: Any) -> Any:
        made = [account(key(number), [number, number + 1]) for number in numbers]
        grown = [each.grown().total for each in made]
        return {"totals": grown, "empty": account.empty().total, "text": json.dumps(grown)}

    def counter(numbers: Any) -> list[int]:
        def each() -> Any:
            last = seed
            for number in numbers:
                last = (last * 31 + number) % 1_000_003
                yield last

        return list(each())

    def failing(numbers: Any) -> None:
        raise LookupError(look(numbers))

    return [icehouse.freeze(each) for each in (look, accounts, counter, failing)]


def outcome(call: Any) -> Any:
    """Reduce a call to what can be compared."""
    try:
        return call()
    except LookupError as error:
        return repr(error)


def put_and_get(token: str, numbers: Any) -> int:
    """Use a store of the process."""
    store = Store.attach(token)
    handle = store.put({"numbers": numbers, "copy": list(numbers)})
    view = store.get(handle)
    found = sum(view["numbers"]) + sum(view["copy"])
    del view
    store.delete(handle)
    store.close()
    return int(found)


def work(pool: Any, store: Store, seed: int) -> None:
    """Have all of it called on all workers at once, and compare with what comes out here."""
    made = functions(seed)
    numbers = store.freeze([(seed * 7 + i) % 5000 for i in range(200)])
    wanted = [outcome(lambda function=function: function(numbers)) for function in made]
    calls = [(index, pool.submit(function, numbers)) for index, function in enumerate(made * 4)]
    stored = [pool.submit(put_and_get, store.token, numbers) for _ in range(WORKERS)]
    for index, call in calls:
        found = outcome(call.result)
        assert found == wanted[index % len(made)], (seed, index, found)
    assert {call.result() for call in stored} == {2 * sum(numbers)}, seed


def check_nothing_left(store: Store) -> None:
    gc.collect()
    usage = store.usage()
    assert (usage.images, usage.leases) == (0, 0), usage
    store.check()


def work_for(seconds: float, freeze_results: bool) -> None:
    """Pools come and go, and one works for the rest of the time; nothing is left of any.

    Memory is compared within that one: each interpreter that ends leaves some to Python.
    """
    options: dict[str, Any] = {"freeze_results": freeze_results}
    seeds = itertools.count()
    with Store("64MiB") as store:
        for _ in range(3):
            with interpreters.pool(WORKERS, **options) as pool:
                work(pool, store, next(seeds))
            check_nothing_left(store)
        with interpreters.pool(WORKERS, **options) as pool:
            memory = 0
            for part in range(3):
                end = time.monotonic() + seconds / 3
                while time.monotonic() < end:
                    work(pool, store, next(seeds))
                for call in [pool.submit(gc.collect) for _ in range(4 * WORKERS)]:
                    call.result()
                check_nothing_left(store)
                memory = resident() if part == 0 else memory
            grown = resident() - memory
        check_nothing_left(store)
    assert grown < GROWTH_MAX, f"{memory} bytes after a third of the time, then {grown} more"
