"""One suite for everything that calls itself a store: see scenarios.py."""

import importlib
import os
import signal
import sys
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from icehouse import Store

sys.path.insert(0, str(Path(__file__).parent))
scenarios = importlib.import_module("scenarios")
sys.path.pop(0)


@pytest.mark.parametrize("scenario", scenarios.WRITING, ids=lambda scenario: scenario.__name__)
def test_writing(scenario: Callable[[Any], None], run: Any, store: Store) -> None:
    run(scenario, store)


@pytest.mark.parametrize("scenario", scenarios.READING, ids=lambda scenario: scenario.__name__)
def test_reading(scenario: Callable[[Any], None], run: Any, store: Store) -> None:
    scenarios.prepare(store)
    run(scenario, store)


def forked(function: Callable[[], None]) -> None:
    """Run it in a forked child; what it raises there fails here."""
    with warnings.catch_warnings():
        # The watchdog is a thread that only prints.
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        try:
            function()
        except BaseException:
            traceback.print_exc()
            sys.stderr.flush()
            os._exit(1)
        os._exit(0)
    try:
        _, status = os.waitpid(child, 0)
    except BaseException:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        raise
    assert status == 0


@pytest.mark.parametrize("scenario", scenarios.READING, ids=lambda scenario: scenario.__name__)
def test_h09_reading_in_a_forked_child(scenario: Callable[[Any], None], store: Store) -> None:
    scenarios.prepare(store)
    held = store.get("data")
    forked(lambda: scenario(store))
    assert held == scenarios.DATA
    scenario(store)
