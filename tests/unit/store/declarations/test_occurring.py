"""Names given to decorators: those that a declaration does not have are refused."""

import functools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar

import pytest

import icehouse
from icehouse import NotFreezableError, explicitly_freezable, freezable, freeze, frozen, is_frozen
from icehouse.store.declarations import status

LIMITS = [1, 2]
NAMES = {"a": 1}
later_written = 0


def refused(decorate: Callable[[], Any]) -> str:
    with pytest.raises(NotFreezableError) as caught:
        decorate()
    return str(caught.value)


def fresh() -> Callable[[], Any]:
    def function() -> Any:
        return LIMITS, NAMES

    return function


def test_a_misspelt_name_is_refused_when_a_function_freezes() -> None:
    function = fresh()
    said = refused(lambda: frozen("LIMITS", "NAMES", "LIMTIS", "NAMSE")(function))
    assert "its decorator names 'LIMTIS', 'NAMSE', which it does not use" in said
    assert status.own_names(function) == status.named_state(function) == frozenset()
    assert frozen("LIMITS", "NAMES")(function)() == ([1, 2], {"a": 1})


@pytest.mark.parametrize("decorator", [freezable, explicitly_freezable])
def test_it_is_refused_later_where_it_freezes_later(decorator: Any) -> None:
    function = decorator("*", "LIMTIS")(fresh())
    assert function() == ([1, 2], {"a": 1})
    assert "'LIMTIS'" in refused(lambda: freeze(function))
    assert not is_frozen(function)
    report = icehouse.explain_freeze(function)
    assert "LIMTIS" in str(report)


def test_all_and_what_is_written_or_used_inside_are_names_it_has() -> None:
    cell = [1]

    def writes(default: Any = LIMITS) -> Any:
        global later_written
        later_written = 1
        return lambda: (default, cell, [LIMITS for _ in range(2)])

    assert is_frozen(frozen("*", "later_written", "default", "cell", "LIMITS")(writes))


def test_a_name_may_be_that_of_a_wrapped_function() -> None:
    fixed = freeze([1])

    def plain() -> Any:
        return fixed

    def decorated(inner: Callable[[], Any]) -> Callable[[], Any]:
        @functools.wraps(inner)
        def wrapper() -> Any:
            return inner()

        return wrapper

    assert frozen("fixed")(decorated(plain))() == [1]
    assert "'fixde'" in refused(lambda: frozen("fixde")(decorated(plain)))


def test_a_misspelt_name_is_refused_of_a_class() -> None:
    class Prices:
        prices: ClassVar = {"tea": 3}

        def of(self, what: str) -> int:
            return self.prices[what] + LIMITS[0]

    said = refused(lambda: frozen("pirces", "LIMITS")(Prices))
    assert "'pirces'" in said
    assert "'LIMITS'" not in said
    Prices.prices = {"tea": 4}  # it is as it was
    assert is_frozen(frozen("prices", "LIMITS")(Prices))
    assert Prices().of("tea") == 5


def test_names_of_a_class_are_those_of_all_in_its_body() -> None:
    @frozen("LIMITS", "NAMES", "size", "made", "__hidden", "table", "inner_state", "cell")
    @dataclass
    class Outer(Base):
        size: int
        made: list[int] = field(default_factory=list)
        __hidden = (1, [2])

        class Inner:
            inner_state: ClassVar = [1]

            @property
            def names(self) -> Any:
                return NAMES

        @functools.cached_property
        def limits(self) -> Any:
            return LIMITS

        @staticmethod
        def table_of() -> Any:
            return [cell for _ in range(1)]

    assert is_frozen(Outer)
    assert Outer.Inner().names == {"a": 1}


cell = [3]


@freezable
class Base:
    table: ClassVar = {1: 2}


def test_names_of_a_class_need_not_be_in_each_of_its_functions() -> None:
    @frozen("LIMITS", "NAMES")
    class Two:
        def limits(self) -> Any:
            return LIMITS

        @freezable("NAMES")
        def names(self) -> Any:
            return NAMES

    assert Two().limits() == [1, 2]

    class Wrong:
        @freezable("NAMSE")
        def names(self) -> Any:
            return NAMES

    # As other methods that don't freeze: the class does, and the method can't be called.
    assert is_frozen(frozen("NAMES")(Wrong))
    assert "'NAMSE'" in refused(Wrong().names)


def test_names_of_a_property_may_be_in_any_of_its_functions() -> None:
    def get(self: Any) -> Any:
        return LIMITS

    def put(self: Any, value: Any) -> None:
        NAMES["a"] = value

    both = frozen("LIMITS", "NAMES")(property(get, put))
    assert is_frozen(both.fget)
    assert is_frozen(both.fset)
    assert "'NAMSE'" in refused(lambda: frozen("LIMITS", "NAMSE")(property(get, put)))
