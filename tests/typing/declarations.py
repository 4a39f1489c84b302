"""Declarations that may freeze, as mypy and pyright see them. Checked by `make types`."""

import functools
import json
from typing import Any, assert_type

import icehouse
from icehouse import immutable


@icehouse.frozen
def twice(x: int) -> int:
    return 2 * x


@icehouse.frozen("limits", "cache")
def bounded(x: int, *, low: float = 0) -> str:
    return f"{x} {low}"


@icehouse.freezable
async def later(x: int) -> list[int]:
    return [x]


@icehouse.explicitly_freezable("*")
class Counter:
    start = 0

    @icehouse.unfreezable
    def step(self, by: int) -> int:
        return self.start + by

    @icehouse.freezable
    @classmethod
    def zero(cls) -> "Counter":
        return cls()

    @property
    @icehouse.freezable
    def name(self) -> str:
        return "counter"


def decorated() -> None:
    assert_type(twice(1), int)
    assert_type(bounded(1, low=2.5), str)
    assert_type(Counter().step(3), int)
    assert_type(Counter.zero(), Counter)
    assert_type(Counter().name, str)
    assert_type(sorted([1], key=twice), list[int])


async def awaited() -> None:
    assert_type(await later(1), list[int])


class Fixed(icehouse.NotFreezable):
    value: int = 0


def statuses() -> None:
    assert_type(icehouse.set_freezable(Fixed(), icehouse.FREEZABLE_NO), Fixed)
    icehouse.set_freezable(Counter, icehouse.FREEZABLE_EXPLICIT)
    with icehouse.disabled(Fixed()) as fixed:
        assert_type(fixed, Fixed)
    number: int = icehouse.FREEZABLE_YES
    print(number, icehouse.FREEZABLE_PROXY)


def fields() -> None:
    counter = icehouse.SharedField(0)
    assert_type(counter, icehouse.SharedField[int])
    assert_type(counter.get(), int)
    assert_type(counter.swap(1), int)
    assert_type(counter.compare_and_swap(1, 2), bool)
    counter.set(3)
    counter.reset()
    counter.set("3")  # type: ignore[arg-type]  # another type of value
    cache = icehouse.InterpreterLocal[dict[str, int]](dict)
    assert_type(cache.get(), dict[str, int])
    cache.set({})
    assert_type(icehouse.InterpreterLocal(3).get(), int)


def modules() -> None:
    proxy = icehouse.ImmutableModule(json)
    proxy.dumps([1])
    assert_type(immutable.import_module("json"), icehouse.ImmutableModule)
    assert_type(immutable.isfrozen(proxy), bool)
    immutable.explicitlyFreezable(twice)


def gross(net: float, *, rate: float = 1.19) -> float:
    return net * rate


def frozen_functions(store: icehouse.Store, function: icehouse.FrozenFunction) -> None:
    assert_type(icehouse.freeze(gross)(5.0, rate=2.0), float)
    assert_type(icehouse.freeze(gross, Counter)(5.0), float)
    assert_type(icehouse.freeze(functools.partial(gross, 5.0))(), float)
    assert_type(icehouse.freeze(Counter), type[Counter])
    assert_type(function(1, 2), Any)
    store.put(function)
    assert_type(store.get(store.put(gross))(5.0), float)
