"""Pages that stay open: they follow the store, and tell of a daemon or admin process that dies."""

import contextlib
import os
import signal
from typing import Any

import pytest
from daemons import wait_until
from sites import free_port

MODES = ["light", "dark", "phone"]


@pytest.fixture(scope="module")
def config() -> dict[str, Any]:
    # An admin process that starts again is to be where the pages look for it.
    return {"http": f"127.0.0.1:{free_port()}"}


def follows(page: Any) -> None:
    """Wait until the page is kept up to date."""
    page.wait_for_function("() => !document.getElementById('beat').hidden")


@pytest.mark.parametrize("mode", MODES)
def test_an_empty_store_says_what_to_do(window: Any, served: Any, mode: str) -> None:
    opened = window(mode)
    for path, said in (
        ("/", "The store is empty"),
        ("/objects", "icehouse put"),
        ("/memory", "nobody has put anything yet"),
        ("/names", "No name is bound"),
        ("/events", "Nothing has happened"),
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
    windows = [window(mode) for mode in MODES]
    for opened in windows:
        opened.expect("status of 503")
        opened.open("/")
    daemon = served.daemon
    before = daemon.daemon_pid()
    # The keeper can't start another while it is stopped itself.
    os.kill(daemon.keeper_pid, signal.SIGSTOP)
    try:
        os.kill(before, signal.SIGKILL)
        for opened in windows:
            page = opened.page
            page.get_by_role("heading", name="The daemon does not answer").wait_for()
            assert page.locator("#pulse").inner_text() == "daemon away"
            opened.check()
        # Who comes only now is told too, with scripts or without.
        other = window(scripts=False)
        assert "tries again" in other.open("/objects", 503).locator("main").inner_text()
    finally:
        os.kill(daemon.keeper_pid, signal.SIGCONT)
    for opened in windows:
        opened.page.locator("#shares").wait_for()
        assert opened.page.locator("#pulse").inner_text() == "daemon answers"
    # Without scripts the page asks again by itself as well.
    other.page.get_by_role("heading", name="Objects").wait_for()
    assert daemon.wait_for_another(before) != before


def test_events_go_on_with_the_next_daemon(window: Any, served: Any) -> None:
    opened = window()
    opened.expect("status of 503")
    page = opened.page
    streams: list[str] = []
    page.on("request", lambda asked: "events" in asked.url and streams.append(asked.url))
    opened.open("/names")
    follows(page)
    served.daemon.wait_for_another(served.daemon.kill())
    for number in range(3):
        # Only an event has the page ask anew.
        served.store.put([number], name=f"after the daemon {number}")
        page.get_by_text(f"after the daemon {number}").wait_for()
    assert len(streams) == 1


def test_an_admin_process_that_dies_is_told_and_comes_back(window: Any, served: Any) -> None:
    windows = [window(mode) for mode in MODES]
    for opened in windows:
        for part in ("CONNECTION_REFUSED", "CONNECTION_RESET", "EMPTY_RESPONSE"):
            opened.expect(f"net::ERR_{part}")
        opened.expect("net::ERR_INCOMPLETE_CHUNKED_ENCODING")
        opened.open("/names")
        follows(opened.page)
    daemon = served.daemon
    os.kill(daemon.keeper_pid, signal.SIGSTOP)
    with contextlib.ExitStack() as expected:
        try:
            os.kill(wait_until(daemon.admin_pid, "an admin process"), signal.SIGKILL)
            for opened in windows:
                opened.page.get_by_role("alert").get_by_text("does not answer").wait_for()
                opened.check()
                # The stream of events comes back by itself.
                stream = opened.page.expect_response(
                    lambda answer: answer.url.endswith("/events") and answer.status == 200
                )
                expected.enter_context(stream)
        finally:
            os.kill(daemon.keeper_pid, signal.SIGCONT)
    for at, opened in enumerate(windows):
        opened.page.wait_for_function("() => !document.getElementById('lost').textContent")
        served.store.put([at], name=f"after the admin process {at}")
        opened.page.get_by_text(f"after the admin process {at}").wait_for()


@pytest.mark.parametrize("path", ["/", "/events", "/names"])
def test_a_page_that_is_open_for_long_stays_as_large(window: Any, served: Any, path: str) -> None:
    page = window().open(path)
    follows(page)
    debugger = page.context.new_cdp_session(page)
    debugger.send("Performance.enable")
    module = page.evaluate(
        "performance.getEntriesByType('resource').map((entry) => entry.name)"
        ".find((name) => name.endsWith('/refresh.js'))"
    )

    def work(begin: int) -> dict[str, float]:
        """Have things happen, and the page rendered anew many times; what it takes then."""
        for number in range(begin, begin + 250):
            served.store.bind(f"often {number % 40}", served.store.put([number], ttl=1.0))
        page.evaluate(
            "async (module) => { const { refresh } = await import(module);"
            " for (let at = 0; at < 25; at++) await refresh(); }",
            module,
        )
        debugger.send("HeapProfiler.collectGarbage")
        told = debugger.send("Performance.getMetrics")["metrics"]
        return {one["name"]: one["value"] for one in told}

    work(0)
    before = work(250)
    after = [work(500 + 250 * at) for at in range(3)][-1]
    assert after["JSEventListeners"] <= before["JSEventListeners"]
    # Of five times as much that happened.
    assert after["Nodes"] < 1.5 * before["Nodes"]
    assert after["JSHeapUsedSize"] < 1.5 * before["JSHeapUsedSize"]
    assert page.locator("main li, main tr").count() <= 260
