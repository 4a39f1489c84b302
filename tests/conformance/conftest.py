"""The ways in which a store is reached. Each runs a scenario, a function over the store."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from icehouse import Store, interpreters

# Interpreters import scenarios by name; they take over the path.
HERE = str(Path(__file__).parent)
Runner = Callable[[Callable[[Any], None], Store], None]


@pytest.fixture(scope="session", autouse=True)
def importable_scenarios() -> Iterator[None]:
    sys.path.insert(0, HERE)
    yield
    sys.path.remove(HERE)


def here(scenario: Callable[[Any], None], store: Store) -> None:
    scenario(store)


def attached(scenario: Callable[[Any], None], store: Store) -> None:
    scenario(Store.attach(store.token))


def in_an_interpreter(scenario: Callable[[Any], None], store: Store) -> None:
    interpreters.run(scenario, store)


@pytest.fixture(params=[here, attached, in_an_interpreter], ids=lambda run: run.__name__)
def run(request: pytest.FixtureRequest) -> Runner:
    if request.param is in_an_interpreter and not interpreters.supported():
        pytest.skip("this Python has no interpreters")
    runner: Runner = request.param
    return runner


@pytest.fixture
def store() -> Iterator[Store]:
    with Store(capacity="64MiB") as opened:
        yield opened
        opened.check()
