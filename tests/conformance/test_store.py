"""One suite for everything that calls itself a store: see scenarios.py, and conftest.py for how."""

import importlib
import sys
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
def test_h09_reading(scenario: Callable[[Any], None], run: Any, store: Store) -> None:
    scenarios.prepare(store)
    held = store.get("data")
    run(scenario, store)
    assert held == scenarios.DATA


@pytest.mark.parametrize("scenario", scenarios.CONNECTED, ids=lambda scenario: scenario.__name__)
def test_connected(scenario: Callable[[Any], None], run: Any, store: Store) -> None:
    run(scenario, store)
