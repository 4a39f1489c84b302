"""The state, bases and methods of classes that are frozen: what freezes along, what is refused."""

import functools
import threading
import types
from typing import Any, TypeVar

import pytest

import icehouse
from icehouse import FrozenError, NotFreezableError, freeze, is_frozen

T = TypeVar("T")
LOCK = threading.Lock()


# --- state ---------------------------------------------------------------------------------------


def test_plain_class_state_needs_a_decorator_or_a_name() -> None:
    class Plain:
        numbers = [1, 2]  # noqa: RUF012 - mutable, that is the point

    before = dict(Plain.__dict__)
    with pytest.raises(NotFreezableError, match=r"attribute 'numbers'.*@icehouse.freezable"):
        freeze(Plain)
    assert dict(Plain.__dict__) == before
    Plain.other = 1  # type: ignore[attr-defined]

    class Frozen:
        numbers = freeze([3.14])

        def first(self) -> float:
            return self.numbers[0]

    assert freeze(Frozen)().first() == 3.14


def test_state_of_a_decorated_class_becomes_views() -> None:
    @icehouse.frozen
    class Config:
        numbers = [1, 2]  # noqa: RUF012 - mutable, that is the point
        table = {"a": numbers}  # noqa: RUF012

        def read(self) -> Any:
            return self.numbers, self.table["a"]

    numbers, again = Config().read()
    assert numbers == again == [1, 2]
    assert icehouse.same(numbers, again)
    with pytest.raises((TypeError, AttributeError)):
        Config.numbers.append(3)
    with pytest.raises(FrozenError):
        Config.table["b"] = []


def test_a_decorator_with_names_says_which_state() -> None:
    @icehouse.freezable("numbers")
    class Config:
        numbers = [1]  # noqa: RUF012 - mutable, that is the point

    assert freeze(Config).numbers == [1]


def test_state_that_can_not_freeze_says_where_it_is() -> None:
    with pytest.raises(NotFreezableError, match=r"attribute 'lock'.*lock"):

        @icehouse.frozen
        class Config:
            lock = threading.Lock()


def test_modules_types_and_frozen_values_stay_as_they_are() -> None:
    class Holder:
        module = types
        number = int
        alias = list[int]
        variable = T
        made = frozenset({1})

    freeze(Holder)
    assert Holder.module is types
    assert Holder.number is int
    assert Holder.variable is T


def test_descriptors_of_the_user_run_on_a_view() -> None:
    class Positive:
        def __init__(self, limit: int) -> None:
            self.limit = limit

        def __set_name__(self, owner: type, name: str) -> None:
            self.name = name

        def __get__(self, obj: Any, owner: Any = None) -> Any:
            return self if obj is None else obj.__dict__[self.name]

        def __set__(self, obj: Any, value: int) -> None:
            if not 0 < value < self.limit:
                raise ValueError(f"{value} is not below {self.limit}")
            obj.__dict__[self.name] = value

    globals()["Positive"] = Positive
    Positive.__qualname__ = "Positive"
    try:

        @icehouse.frozen
        class Account:
            amount = Positive(10)

        account = Account()
        account.amount = 5
        assert account.amount == 5
        with pytest.raises(ValueError, match="not below 10"):
            account.amount = 11
        assert Account.amount.limit == 10
        with pytest.raises(FrozenError):
            Account.amount.limit = 100
        with pytest.raises(FrozenError):
            Account.__dict__["amount"].view = None
    finally:
        del globals()["Positive"]


# --- bases and methods ---------------------------------------------------------------------------


def test_bases_must_be_frozen_or_freeze_along() -> None:
    class Base2:
        pass

    class Child(Base2):
        pass

    with pytest.raises(NotFreezableError, match=r"base .*Base2.*icehouse.freeze\(Base2, Child\)"):
        freeze(Child)
    assert not is_frozen(Base2)
    freeze(Child, Base2)
    assert is_frozen(Base2)


def test_a_base_that_is_declared_freezable_freezes_along() -> None:
    @icehouse.freezable
    class Base2:
        pass

    class Child(Base2):
        pass

    freeze(Child)
    assert is_frozen(Base2)


def test_a_method_that_can_not_freeze_does_not_fail_the_class() -> None:
    class Mixed:
        def good(self) -> int:
            return 1

        def bad(self) -> Any:
            return LOCK

        @classmethod
        def worse(cls) -> Any:
            return LOCK

        @property
        def worst(self) -> Any:
            return LOCK

        @functools.lru_cache  # noqa: B019 - caches of methods are refused
        def cached(self) -> int:
            return 1

        @icehouse.unfreezable
        def never(self) -> int:
            return 1

    freeze(Mixed)
    mixed = Mixed()
    assert mixed.good() == 1
    for call in (mixed.bad, Mixed.worse, lambda: mixed.worst):
        with pytest.raises(NotFreezableError, match=r"LOCK.*lock belongs to the threads"):
            call()
    with pytest.raises(NotFreezableError, match="InterpreterLocal"):
        mixed.cached()
    with pytest.raises(NotFreezableError, match="unfreezable"):
        mixed.never()


def test_an_inner_class_freezes_along_and_others_do_not() -> None:
    class Outer:
        class Inner:
            def outer(self) -> Any:
                return Outer

        other = NotFreezableError
        plain = threading.Thread

    freeze(Outer)
    assert is_frozen(Outer.Inner)
    assert Outer.Inner().outer() is Outer
    assert not is_frozen(threading.Thread)


def test_another_local_class_must_be_named_too() -> None:
    class Helper:
        pass

    class User:
        helper = Helper

    with pytest.raises(NotFreezableError, match=r"icehouse.freeze\(User, Helper\)"):
        freeze(User)
    freeze(User, Helper)
    assert is_frozen(Helper)


def test_classes_of_libraries_go_by_name_and_stay_as_they_are() -> None:
    before = dict(threading.Thread.__dict__)
    assert freeze(threading.Thread) is threading.Thread
    assert not is_frozen(threading.Thread)
    assert dict(threading.Thread.__dict__) == before


def test_classes_that_refer_to_each_other_freeze_together() -> None:
    class Left:
        def other(self) -> Any:
            return Right

    class Right:
        def other(self) -> Any:
            return Left

    freeze(Left, Right)
    assert Left().other() is Right
    assert Right().other() is Left


def test_metaclasses() -> None:
    class Meta(type):
        def hello(cls) -> str:
            return f"hello {cls.__name__}"

        def __call__(cls, *args: Any) -> Any:
            made = super().__call__(*args)
            made.by = "meta"
            return made

    class Thing(metaclass=Meta):
        pass

    with pytest.raises(NotFreezableError, match=r"metaclass .*Meta.*freeze both"):
        freeze(Thing)
    freeze(Meta, Thing)
    assert Thing.hello() == "hello Thing"
    assert Thing().by == "meta"  # type: ignore[attr-defined]
    with pytest.raises(TypeError):
        Meta.hello = None  # type: ignore[method-assign,assignment]
