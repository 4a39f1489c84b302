"""Decimal and Fraction."""

from typing import Any

from icehouse.store.freezing import codes, subclasses
from icehouse.store.freezing.trust import Trust


def rule(cls: type, base: type) -> tuple[Any, ...] | str | None:
    """Store a Decimal by its text, which holds sign, exponent and every kind of NaN exactly."""
    import decimal

    if base is not decimal.Decimal:
        return None
    if cls is base:
        return ("value", codes.DECIMAL, decimal.Decimal.__str__)
    return subclasses.rule(cls, base, _plain_decimal)


def rule_of_fraction(cls: type, base: type) -> tuple[Any, ...] | str | None:
    """Store a Fraction by its numerator and denominator."""
    import fractions

    if base is not fractions.Fraction:
        return None
    if cls is base:
        return ("value", codes.FRACTION, _fraction_payload)
    return subclasses.rule(cls, base, _plain_fraction)


def _plain_decimal(obj: Any) -> Any:
    import decimal

    return decimal.Decimal(decimal.Decimal.__str__(obj))


def _fraction_payload(obj: Any) -> tuple[int, int]:
    return obj.numerator, obj.denominator


def _plain_fraction(obj: Any) -> Any:
    from fractions import Fraction

    numerator: Any = Fraction.numerator
    denominator: Any = Fraction.denominator
    return Fraction(numerator.__get__(obj), denominator.__get__(obj))


def open_decimal(payload: Any, trust: Trust) -> Any:
    """Open a Decimal; the context has no say in it."""
    del trust
    import decimal

    if type(payload) is not str:
        raise ValueError("a Decimal is stored as text")
    return decimal.Decimal(payload)


def open_fraction(payload: Any, trust: Trust) -> Any:
    """Open a Fraction."""
    del trust
    import fractions

    numerator, denominator = payload
    if type(numerator) is not int or type(denominator) is not int:
        raise ValueError("a Fraction is stored as two ints")
    return fractions.Fraction(numerator, denominator)


def remake(base: Any, cls: Any, plain: Any) -> Any:
    """Make an instance of a subclass of Decimal of a plain one."""
    return base.__new__(cls, plain)
