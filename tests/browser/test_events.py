"""The page of events: as they come, in words, without flooding anybody."""

import subprocess
import sys
from typing import Any

import pytest
from sites import SCRIPT


@pytest.mark.parametrize("mode", ["light", "dark", "phone"])
def test_events_come_by_themselves(window: Any, served: Any, mode: str) -> None:
    opened = window(mode)
    page = opened.open("/events")
    log = page.get_by_role("log")
    handle = served.store.put([mode], name=f"{SCRIPT} {mode}")
    log.get_by_role("link", name=f"{SCRIPT} {mode}").wait_for()
    assert str(handle) in log.inner_text()
    served.store.delete(handle, force=True)
    log.get_by_text("An object was deleted").first.wait_for()
    lines = "import icehouse, os; icehouse.connect({!r}).put([1]); os._exit(0)"
    subprocess.run([sys.executable, "-c", lines.format(served.daemon.socket)], check=True)
    log.get_by_text("connected").first.wait_for()
    assert page.title() == "Events · icehouse"
    opened.check()


def test_lines_stay_the_same_lines(window: Any, served: Any) -> None:
    """A screen reader reads what was added, and nothing twice."""
    page = window().open("/events")
    served.store.put([1], name="first")
    first = page.get_by_role("log").get_by_role("link", name="first", exact=True)
    first.wait_for()
    first.evaluate("(link) => { link.closest('li').mark = 1; }")
    served.store.put([2], name="second")
    page.get_by_role("log").get_by_role("link", name="second", exact=True).wait_for()
    assert first.evaluate("(link) => link.closest('li').mark") == 1


def test_a_pause_is_kept_until_it_is_ended(window: Any, served: Any) -> None:
    page = window().open("/events")
    pause = page.get_by_role("button", name="Pause")
    pause.click()
    assert pause.get_attribute("aria-pressed") == "true"
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    served.store.put([1], name="unseen")
    # Another page sees it, so that it has come.
    window().open("/events").get_by_role("link", name="unseen").first.wait_for()
    page.wait_for_timeout(1500)
    assert asked == []
    pause.click()
    page.get_by_role("link", name="unseen").first.wait_for()


def test_events_of_one_kind_without_scripts(window: Any, served: Any) -> None:
    window().open("/events")
    served.store.put([1], name="for names")
    opened = window("phone", scripts=False)
    page = opened.open("/events?show=names")
    # The page asks for itself anew.
    page.get_by_role("link", name="for names").wait_for()
    assert set(page.locator(".event .label").all_inner_texts()) == {"name"}
    page.get_by_role("link", name="clients", exact=True).click()
    assert page.locator(".choices [aria-current]").inner_text() == "clients"


def test_a_page_that_names_events_is_rendered_after_them_alone(window: Any, served: Any) -> None:
    page = window().open("/names")
    page.wait_for_function("() => !document.getElementById('beat').hidden")
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.wait_for_timeout(3500)
    assert len(asked) <= 2, asked
    served.store.put([1], name="news")
    page.get_by_role("link", name="news").wait_for()
    assert any(url.endswith("/names") for url in asked)


def test_a_hidden_page_asks_nothing(window: Any, served: Any) -> None:
    page = window().open("/")
    page.wait_for_function("() => !document.getElementById('beat').hidden")
    page.evaluate(
        "() => { Object.defineProperty(document, 'hidden', { value: true, configurable: true });"
        " document.dispatchEvent(new Event('visibilitychange')); }"
    )
    page.wait_for_timeout(1200)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.wait_for_timeout(2500)
    assert asked == []
    page.evaluate(
        "() => { delete document.hidden; document.dispatchEvent(new Event('visibilitychange')); }"
    )
    page.wait_for_event("request")
