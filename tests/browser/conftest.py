"""A real browser over a real daemon: Debian's chromium, driven by Playwright."""

import importlib.util
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
sys.path.append(str(HERE))
CHROMIUM = os.environ.get("ICEHOUSE_CHROMIUM") or shutil.which("chromium")
MISSING = [
    f"{needed} is not installed: pip install 'icehouse[service,browser]'"
    for needed in ("fastapi", "jinja2", "uvicorn", "playwright", "axe_playwright_python")
    if importlib.util.find_spec(needed) is None
]
if CHROMIUM is None:
    MISSING.append("chromium is not installed: apt-get install chromium")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All of them are slow, and skip where there is no browser."""
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.slow)
            item.add_marker(pytest.mark.watchdog(600))
            if MISSING:
                item.add_marker(pytest.mark.skip(reason=MISSING[0]))


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    """The browser; each test opens windows of its own in it.

    Not for the whole session: Playwright's event loop runs in this thread as long as it is open,
    and tests elsewhere could run none of their own.
    """
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        # Without a sandbox, since tests may run as root; without anything that calls home.
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM,
            args=["--no-sandbox", "--disable-background-networking", "--disable-component-update"],
        )
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def config() -> dict[str, Any]:
    """How the daemon of a module is configured beside what all have."""
    return {}


@pytest.fixture(scope="module")
def served(config: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A daemon with its dashboard."""
    from sites import Site

    with Site(tmp_path_factory.mktemp("site"), **{"capacity": "64MiB", **config}) as site:
        yield site


@pytest.fixture
def window(chromium: Any, served: Any) -> Iterator[Any]:
    """Opens windows in a mode; all of them are looked through at the end for what went wrong."""
    from windows import Windows

    with Windows(chromium, served.address) as windows:
        yield windows
