"""Large, deep and many."""

import importlib.util
from typing import Any

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.watchdog(300)]


@pytest.mark.skipif(importlib.util.find_spec("numpy") is None, reason="numpy is not installed")
def test_an_array_of_more_than_a_gigabyte(child: Any) -> None:
    child("large.image_over_a_gigabyte", environment={"OPENBLAS_NUM_THREADS": "1"}, seconds=200)


def test_bytes_of_more_than_a_gigabyte(child: Any) -> None:
    child("large.bytes_over_a_gigabyte", seconds=200)


def test_ten_million_ints(child: Any) -> None:
    child("large.list_of_ints", 10_000_000, seconds=200)


def test_a_million_keys(child: Any) -> None:
    child("large.dict_of_keys", 1_000_000, seconds=200)


@pytest.mark.parametrize("kind", ["list", "dict", "tuple", "mixed"])
def test_h24_nested_a_hundred_thousand_deep(child: Any, soak_factor: int, kind: str) -> None:
    child("large.deep", kind, 100_000 * (10 if soak_factor > 1 else 1), seconds=200)


def test_h24_hashable_and_deep(child: Any) -> None:
    child("large.deep_hashable", 100_000)


def test_h24_as_deep_as_python_manages(child: Any) -> None:
    child("large.moderately_deep", 150)


def test_ten_thousand_objects(child: Any, soak_factor: int) -> None:
    child("large.many_objects", 10_000 * (10 if soak_factor > 1 else 1))
