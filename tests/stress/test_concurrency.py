"""Threads and interpreters at the same store, with contents that can be checked."""

from typing import Any

import pytest

from icehouse import interpreters

# So that a run's report says what ran in parallel.
GIL = "own_gil" if interpreters.own_gil() else "one_gil"

pytestmark = pytest.mark.slow


@pytest.mark.watchdog(400)
@pytest.mark.parametrize("gil", [GIL])
def test_threads_and_interpreters_at_random(child: Any, soak_factor: int, gil: str) -> None:
    assert interpreters.own_gil() == (gil == "own_gil")
    child("churn.hammer", 8, 4, "512MiB", None, 5 * soak_factor, 2)


@pytest.mark.watchdog(400)
@pytest.mark.parametrize("gil", [GIL])
def test_at_a_store_that_is_often_full(child: Any, soak_factor: int, gil: str) -> None:
    child("churn.hammer", 8, 4, "12MiB", "1MiB", 3 * soak_factor, 2)


@pytest.mark.watchdog(400)
def test_threads_alone(child: Any, soak_factor: int) -> None:
    child("churn.hammer", 8, 0, "256MiB", "4MiB", 3 * soak_factor, 3)
