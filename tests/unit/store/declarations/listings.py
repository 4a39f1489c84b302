"""Declarations of the listings of PEP 795, at the top of a module as programs have them."""

import random
import threading
from collections import namedtuple
from typing import Any

import icehouse

# --- 2 -------------------------------------------------------------------------------------------


def roll_by_module(sides: int) -> int:
    return random.randint(1, sides)


generator = random.Random(4)


def roll_by_object(sides: int) -> int:
    return generator.randint(1, sides)


# --- 3 -------------------------------------------------------------------------------------------


class Die:
    def __init__(self, sides: int) -> None:
        self.set_sides(sides)

    def set_sides(self, sides: int) -> None:
        self.sides = sides

    def roll(self) -> int:
        return random.randint(1, self.sides)


# --- 4, 7 ----------------------------------------------------------------------------------------

x = 42


def get_x() -> int:
    return x


y = 1


@icehouse.freezable
def get_y() -> int:
    return y


# --- 5 -------------------------------------------------------------------------------------------


class Foo:
    def __init__(self, value: Any) -> None:
        self.value = value

    def bar(self) -> Any:
        return self.value


# --- 6, 23 ---------------------------------------------------------------------------------------


def gcd(a: int, b: int) -> int:
    while b:
        a, b = b, a % b
    return a


class Fraction:
    def __init__(self, numerator: int, denominator: int) -> None:
        divisor = gcd(numerator, denominator)
        self.n = numerator // divisor
        self.d = denominator // divisor

    def __add__(self, other: "Fraction") -> "Fraction":
        return Fraction(self.n * other.d + other.n * self.d, self.d * other.d)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Fraction) and (self.n, self.d) == (other.n, other.d)

    __hash__ = None  # type: ignore[assignment]


# --- 8 to 10 -------------------------------------------------------------------------------------


def counted() -> type:
    """A class that counts its instances in a shared field."""

    @icehouse.freezable
    class Counted:
        instances = icehouse.SharedField(0)

        def __init__(self) -> None:
            while True:
                n = self.instances.get()
                if self.instances.compare_and_swap(n, n + 1):
                    break

    return Counted


made = []


@icehouse.frozen
def make_cache() -> dict[int, int]:
    return {}


cache = icehouse.InterpreterLocal(make_cache)


@icehouse.freezable
def fib(n: int) -> int:
    known = cache.get()
    if n not in known:
        known[n] = n if n < 2 else fib(n - 1) + fib(n - 2)
    return known[n]


# --- 18, 19 --------------------------------------------------------------------------------------

shared_list = [1, 2]


@icehouse.freezable("shared_list")
def total() -> int:
    return sum(shared_list)


def grow() -> int:
    shared_list.append(3)
    return len(shared_list)


def pure(a: int, b: int) -> int:
    return a + b


def calling(a: int) -> int:
    return pure(a, a)


frozen_list = icehouse.freeze([3.14])


def reading() -> float:
    return frozen_list[0]


def appending() -> None:
    frozen_list.append(1)  # type: ignore[attr-defined]


# --- 22 ------------------------------------------------------------------------------------------

lock = threading.Lock()


@icehouse.freezable
class Partly:
    pi = icehouse.freeze([3.14])

    def good(self) -> float:
        return self.pi[0]

    def bad(self) -> bool:
        return lock.locked()

    @icehouse.unfreezable
    def never(self) -> int:
        return 1


class Stateful:
    """Its state can change, and no decorator says that it may freeze."""

    items = [1, 2]  # noqa: RUF012 - that is the point


@icehouse.freezable
class Declared:
    items = [1, 2]  # noqa: RUF012


# --- 24 ------------------------------------------------------------------------------------------


class A:
    def other(self) -> "B":
        return B()


class B:
    def other(self) -> A:
        return A()


Point = namedtuple("Point", "x y")
