"""Frozen functions and classes in parallel interpreters: no crash, no leak, the same results."""

from typing import Any

import pytest

from icehouse import interpreters

pytestmark = [pytest.mark.slow, pytest.mark.watchdog(300)]


@pytest.mark.skipif(not interpreters.supported(), reason="this Python has no interpreters")
@pytest.mark.parametrize("freeze_results", [False, True], ids=["plain", "frozen"])
def test_frozen_work_in_four_interpreters(
    child: Any, soak_factor: int, freeze_results: bool
) -> None:
    child("pool_lives.work_for", 3 * soak_factor, freeze_results)
