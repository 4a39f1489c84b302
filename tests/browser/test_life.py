"""Pages that stay open: they follow the store, and tell of a daemon or admin process that dies."""

import os
import signal
from typing import Any

from daemons import wait_until


def test_an_empty_store_says_what_to_do(window: Any, served: Any) -> None:
    opened = window()
    for path, said in (
        ("/", "The store is empty"),
        ("/objects", "icehouse put"),
        ("/memory", "nobody has put anything yet"),
        ("/names", "No name is bound"),
    ):
        assert said in opened.open(path).locator("main").inner_text()
        opened.check()


def test_an_open_page_follows_the_store(window: Any, served: Any) -> None:
    opened = window()
    page = opened.open("/names")
    page.evaluate("window.mark = 1")
    field = page.get_by_label("Names that begin with")
    field.fill("half a na")
    for number in range(3):
        served.store.put([number], name=f"follow {number}")
    page.get_by_text("follow 2").wait_for()
    # The page is the same one: what somebody typed and where the focus is stay.
    assert page.evaluate("window.mark") == 1
    assert field.input_value() == "half a na"
    assert page.evaluate("document.activeElement.name") == "prefix"
    opened.check()


def test_a_daemon_that_dies_is_told_and_comes_back(window: Any, served: Any) -> None:
    opened = window()
    opened.expect("status of 503")
    page = opened.open("/")
    daemon = served.daemon
    before = daemon.daemon_pid()
    # The keeper can't start another while it is stopped itself.
    os.kill(daemon.keeper_pid, signal.SIGSTOP)
    try:
        os.kill(before, signal.SIGKILL)
        page.get_by_role("heading", name="The daemon does not answer").wait_for()
        assert "daemon away" in page.locator("header").inner_text()
        opened.check()
        # Who comes only now is told too, with scripts or without.
        other = window(scripts=False)
        assert "tries again" in other.open("/objects", 503).locator("main").inner_text()
    finally:
        os.kill(daemon.keeper_pid, signal.SIGCONT)
    page.locator("#shares").wait_for()
    assert "daemon answers" in page.locator("header").inner_text()
    # Without scripts the page asks again by itself as well.
    other.page.get_by_role("heading", name="Objects").wait_for()
    assert daemon.wait_for_another(before) != before


def test_an_admin_process_that_dies_is_told(window: Any, served: Any) -> None:
    opened = window()
    opened.expect("ERR_CONNECTION_REFUSED")
    opened.expect("ERR_INCOMPLETE_CHUNKED_ENCODING")
    page = opened.open("/clients")
    daemon = served.daemon
    os.kill(daemon.keeper_pid, signal.SIGSTOP)
    try:
        os.kill(wait_until(daemon.admin_pid, "an admin process"), signal.SIGKILL)
        page.get_by_text("The admin process does not answer").wait_for()
        opened.check()
    finally:
        os.kill(daemon.keeper_pid, signal.SIGCONT)
