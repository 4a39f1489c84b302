"""Interpreters and processes end, whatever they hold: no crash, no noise, nothing left."""

from pathlib import Path
from typing import Any

import pytest

from icehouse import interpreters

pytestmark = [pytest.mark.slow, pytest.mark.watchdog(300)]
needs_interpreters = pytest.mark.skipif(
    not interpreters.supported(), reason="this Python has no interpreters"
)


@needs_interpreters
def test_an_interpreter_ends_while_another_reads(
    child: Any, soak_factor: int, tmp_path: Path
) -> None:
    child("lives.ends_while_others_read", 15 * soak_factor, str(tmp_path / "stop"))


@needs_interpreters
def test_two_hundred_interpreters_come_and_go(child: Any, soak_factor: int) -> None:
    child("lives.many_lives", 200 * soak_factor)


@needs_interpreters
def test_a_store_is_closed_in_another_interpreter(child: Any) -> None:
    child("lives.closed_elsewhere")
    child("lives.closed_there")


@pytest.mark.parametrize(
    "how", ["plain", "closed", "atexit", "finalizer", "thread", "exit", "interpreter"]
)
def test_a_process_ends_with_everything_open(child: Any, how: str) -> None:
    if how == "interpreter" and not interpreters.supported():
        pytest.skip("this Python has no interpreters")
    # Since 3.14 Python itself warns of interpreters that nobody closed.
    quiet = "ignore:remaining subinterpreters:RuntimeWarning"
    child("lives.leave", how, environment={"PYTHONWARNINGS": quiet})
