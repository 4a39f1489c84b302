"""The keyboard alone: where Tab goes, what is seen of the focus, and that it stays."""

from typing import Any

import pytest

# What Tab can come to, in the order of the document.
TABBABLE = (
    "[...document.querySelectorAll('a[href], button, input, select, summary')]"
    ".filter((e) => e.checkVisibility() && !e.disabled)"
)
# Which of them has the focus, whether that is seen, and whether it is in the window itself.
AT = f"""() => {{
  const focused = document.activeElement, style = getComputedStyle(focused);
  const box = focused.getClientRects()[0];
  const there = document.elementFromPoint(box.x + box.width / 2, box.y + box.height / 2);
  return {{
    at: {TABBABLE}.indexOf(focused),
    seen: style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 2,
    within: there !== null && (focused.contains(there) || there.contains(focused)),
    what: focused.outerHTML.slice(0, 200),
  }};
}}"""
RENDERED = (
    "() => new Promise((done) =>"
    " document.addEventListener('icehouse:rendered', () => done(), { once: true }))"
)


@pytest.fixture(scope="module", autouse=True)
def filled(served: Any) -> Any:
    store = served.store
    handle = store.put({"a": {"b": [1, 2]}, "c": "d"}, name="kept")
    served.kept.append(store.get(handle))
    for number in range(3):
        store.bind("moving", store.put([number]))
    served.handle = str(handle)
    served.long = str(store.put([{"at": i} for i in range(150)]))
    return served


def pages(served: Any) -> dict[str, str]:
    """An address of each page."""
    stat = served.store.stat(served.handle)
    session = served.get("/api/v1/clients")["items"][0]["session"]
    segment = served.get(f"/api/v1/objects/{stat.handle}")["segment"]
    return {
        "overview": "/",
        "objects": "/objects?min_size=1",
        "object": f"/objects/{served.handle}",
        "memory": "/memory",
        "segment": f"/memory/{segment}",
        "clients": "/clients",
        "client": f"/clients/{session}",
        "names": "/names",
        "history": "/names/history?name=moving",
        "events": "/events",
        "failure": "/objects/nonsense",
    }


KEYS = (
    *("overview", "objects", "object", "memory", "segment", "clients", "client", "names"),
    *("history", "events", "failure"),
)


@pytest.mark.parametrize("mode", ["light", "phone"])
@pytest.mark.parametrize("key", KEYS)
def test_tab_goes_through_a_page_in_its_order(
    window: Any, served: Any, key: str, mode: str
) -> None:
    page = window(mode).open(pages(served)[key], 404 if key == "failure" else 200)
    page.wait_for_function("() => document.getElementById('forget') !== null")
    many = page.evaluate(f"() => {TABBABLE}.length")
    assert many >= 9
    last = -1
    for _ in range(many):
        page.keyboard.press("Tab")
        found = page.evaluate(AT)
        assert found["at"] == last + 1, found
        assert found["seen"], found
        assert found["within"], found
        last += 1
    # And back again.
    page.keyboard.press("Shift+Tab")
    assert page.evaluate(AT)["at"] == last - 1


@pytest.mark.parametrize(("key", "name"), [("objects", "q"), ("names", "prefix")])
def test_a_slash_goes_to_the_search(window: Any, served: Any, key: str, name: str) -> None:
    page = window("phone").open(pages(served)[key])
    page.keyboard.press("Tab")
    page.keyboard.press("/")
    assert page.evaluate("document.activeElement.name") == name
    # Within it, it is a letter; what is there is replaced.
    page.keyboard.type("a/b")
    assert page.evaluate("document.activeElement.value") == "a/b"


def test_a_slash_elsewhere_does_nothing(window: Any, served: Any) -> None:
    page = window().open("/clients")
    page.keyboard.press("Tab")
    before = page.evaluate(AT)
    page.keyboard.press("/")
    assert page.evaluate(AT) == before


def test_the_focus_stays_while_the_page_is_rendered_anew(window: Any, served: Any) -> None:
    page = window().open("/clients")
    link = page.locator("tbody th a").first
    link.focus()
    for _ in range(2):
        page.evaluate(RENDERED)
        assert link.evaluate("(link) => link === document.activeElement")


def test_the_focus_goes_on_where_it_was_when_that_is_no_more(window: Any, served: Any) -> None:
    handle = served.store.put(["short-lived"])
    opened = window()
    opened.expect("status of 410")
    page = opened.open(f"/objects/{handle}")
    button = page.get_by_role("button", name="Expire…")
    button.focus()
    served.store.delete(handle)
    # Whether it is gone, or held for a moment: nothing can be done with it.
    button.wait_for(state="detached")
    assert page.evaluate("() => document.activeElement.id") == "main"


def test_a_tree_is_walked_by_keys(window: Any, served: Any) -> None:
    page = window().open(f"/objects/{served.handle}")
    page.locator("#content summary").first.focus()
    # What was opened keeps the focus, and what is in it comes next.
    for key in ("a", "b"):
        page.keyboard.press("Enter")
        page.wait_for_function(
            "() => document.activeElement.parentElement.querySelector('.tree') !== null"
        )
        assert page.locator(":focus .key").inner_text() == key
        if key == "a":
            page.keyboard.press("Tab")
    assert page.locator("#content .leaf").all_inner_texts() == ["0: int 1", "1: int 2", "c: str d"]
    page.keyboard.press("Space")
    assert page.locator("#content .leaf:visible").count() == 1


def test_what_follows_is_come_to_by_keys(window: Any, served: Any) -> None:
    page = window().open(f"/objects/{served.long}")
    page.get_by_role("link", name="What follows").focus()
    page.keyboard.press("Enter")
    # The first that is new has the focus.
    page.wait_for_function(
        "() => document.activeElement.querySelector('.key')?.textContent === '100'"
    )


def test_what_changes_by_itself_is_told_to_screen_readers(window: Any, served: Any) -> None:
    page = window().open("/events")
    for place, role in (("#pulse", "status"), ("#said", "status"), ("#lost", "alert")):
        assert page.locator(place).get_attribute("role") == role
        assert page.locator(place).evaluate("(place) => place.checkVisibility()")
    log = page.get_by_role("log", name="Events, the newest first")
    assert log.get_attribute("aria-live") == "polite"
    served.store.put(["heard"], name="heard")
    log.get_by_role("link", name="heard").wait_for()
    # The numbers of a page that is rendered each second are told to nobody unasked.
    page = window().open("/")
    assert page.locator("main [aria-live], main [role=status], main [role=alert]").count() == 0
