"""What every test has: a watchdog, the public corpora, and the long forms of `make soak`."""

import faulthandler
import json
import lzma
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest

ROOT = Path(__file__).resolve().parent.parent
SHARED = Path(os.environ.get("ICEHOUSE_SHARED", ROOT.parent / "shared"))
SOAKING = os.environ.get("ICEHOUSE_SOAK", "") not in ("", "0")
WATCHDOG_SECONDS = 120
# How long after its alarm a test that does not answer is killed, and the whole run with it.
GRACE_SECONDS = 30

hypothesis.settings.register_profile("default", deadline=None, print_blob=True)
hypothesis.settings.register_profile("soak", deadline=None, print_blob=True, max_examples=20_000)
hypothesis.settings.load_profile("soak" if SOAKING else "default")


class WatchdogError(Exception):
    """The test took longer than it may."""


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """Stops a test that hangs: first politely, then, if C code holds the GIL, the whole run."""
    marker = item.get_closest_marker("watchdog")
    seconds = marker.args[0] if marker else WATCHDOG_SECONDS * (10 if SOAKING else 1)

    def bark(signum: int, frame: object) -> None:
        faulthandler.dump_traceback(all_threads=True)
        raise WatchdogError(f"{item.nodeid} took more than {seconds} s")

    before = signal.signal(signal.SIGALRM, bark)
    signal.alarm(seconds)
    faulthandler.dump_traceback_later(seconds + GRACE_SECONDS, exit=True)
    try:
        return (yield)
    finally:
        faulthandler.cancel_dump_traceback_later()
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@pytest.fixture(scope="session")
def root() -> Path:
    """The folder of the repository."""
    return ROOT


@pytest.fixture(scope="session")
def soak_factor() -> int:
    """How many times longer than usual a seeded loop should run."""
    return 20 if SOAKING else 1


@pytest.fixture(scope="session")
def corpus_text() -> Callable[[str], str]:
    """Gives the text of a public corpus by name, or skips where the data is not at hand."""

    def load(name: str) -> str:
        path = SHARED / "data" / f"{name}.xz"
        if not path.exists():
            pytest.skip(f"no {name}.xz: set ICEHOUSE_SHARED to the folder that has data/")
        return lzma.decompress(path.read_bytes()).decode()

    return load


@pytest.fixture(scope="session")
def corpus(corpus_text: Callable[[str], str]) -> Callable[[str], Any]:
    """Gives a parsed JSON corpus: twitter, citm_catalog, github or canada."""

    def load(name: str) -> Any:
        return json.loads(corpus_text(f"{name}.json"))

    return load
