"""What is in an object, a segment, a process and a name, opened step by step."""

import re
from typing import Any

import pytest

MODES = ["light", "dark", "phone"]


@pytest.fixture(scope="module", autouse=True)
def filled(served: Any) -> Any:
    served.fill()
    store = served.store
    deep: Any = "the end"
    for number in range(30):
        deep = {"level": number, "in": deep}
    served.deep = str(store.put(deep, name="deep"))
    served.long = str(store.put([{"at": i} for i in range(250)], name="long"))
    for number in range(5):
        store.bind("moving", store.put([number]))
    return served


def branch(place: Any, key: str) -> Any:
    """What opens the value of a key."""
    return place.locator("summary").filter(has=place.page.locator(f".key >> text=/^{key}$/"))


@pytest.mark.parametrize("mode", MODES)
def test_a_tree_is_opened_in_place(window: Any, served: Any, mode: str) -> None:
    opened = window(mode)
    page = opened.open(f"/objects/{served.current}")
    content = page.locator("#content")
    assert content.locator(".tree > li").count() == 1
    branch(content, "model").click()
    branch(content, "layers").click()
    content.locator(".leaf").nth(1).wait_for()
    assert content.locator(".leaf").all_inner_texts() == ["0: int 64", "1: int 64"]
    opened.check()
    # What is opened stays so while the rest of the page is kept up to date.
    page.wait_for_function("() => document.getElementById('beat').textContent !== ''")
    assert content.locator(".leaf").count() == 2
    assert page.url.endswith(served.current)


def test_a_tree_is_opened_to_its_end(window: Any, served: Any) -> None:
    page = window().open(f"/objects/{served.deep}")
    for _ in range(29):
        page.locator("details:not([open]) > summary").click()
        page.locator("details:not([open]) > summary, .leaf:has-text('the end')").first.wait_for()
    assert page.locator("#content .leaf .str").inner_text() == "the end"


def test_a_long_level_comes_in_pages(window: Any, served: Any) -> None:
    page = window().open(f"/objects/{served.long}")
    rows = page.locator("#content .tree > li")
    for _ in range(2):
        before = rows.count()
        page.get_by_role("link", name="What follows").click()
        page.wait_for_function(
            "(before) => document.querySelectorAll('#content .tree > li').length > before",
            arg=before,
        )
    assert page.locator("#content .tree > li > details").count() == 250


def test_a_tree_is_walked_without_scripts(window: Any, served: Any) -> None:
    page = window("phone", scripts=False).open(f"/objects/{served.current}")
    for step in ("model", "layers"):
        branch(page.locator("#content"), step).click()
        page.get_by_role("link", name="Open", exact=True).click()
    assert "path=%2Fmodel%2Flayers" in page.url
    assert page.locator("#content .leaf").all_inner_texts() == ["0: int 64", "1: int 64"]
    page.get_by_role("link", name="The whole").click()
    assert "path" not in page.url


def test_a_tree_is_opened_by_keys(window: Any, served: Any) -> None:
    page = window().open(f"/objects/{served.current}")
    page.locator("#content summary").focus()
    page.keyboard.press("Enter")
    branch(page.locator("#content"), "layers").wait_for()
    page.keyboard.press("Tab")
    page.keyboard.press("Space")
    page.locator("#content .leaf").first.wait_for()


@pytest.mark.parametrize("mode", MODES)
def test_a_segment_is_drawn_and_told(window: Any, served: Any, mode: str) -> None:
    opened = window(mode)
    page = opened.open("/memory")
    opened.check()
    page.locator("tbody th a").first.click()
    page.wait_for_url(re.compile(r"/memory/\d+"))
    opened.check()
    assert page.locator("svg.map .block.live").count() > 10
    assert "deleted and held" in page.locator("svg.map").get_attribute("aria-label")
    page.locator("a.handle").first.click()
    page.wait_for_url(re.compile(r"/objects/ih1_"))


@pytest.mark.parametrize("mode", MODES)
def test_a_process_has_a_page(window: Any, served: Any, mode: str) -> None:
    opened = window(mode)
    page = opened.open(f"/objects/{served.current}")
    page.locator("#holders-title ~ table a").click()
    page.wait_for_url(re.compile(r"/clients/\d+"))
    opened.check()
    main = page.locator("main").inner_text()
    assert "pytest" in main
    assert served.current in main
    assert served.held in main


@pytest.mark.parametrize("mode", MODES)
def test_a_name_has_a_history(window: Any, served: Any, mode: str) -> None:
    opened = window(mode)
    page = opened.open("/names/history?name=moving")
    opened.check()
    assert page.locator("tbody th").all_inner_texts() == ["5", "4", "3", "2", "1"]
    assert "pytest" in page.locator("tbody").inner_text()
    for path, status, said in (
        ("/names/history?name=never", 404, "never bound"),
        ("/clients/99", 404, "No process has this session"),
        ("/memory/99", 404, "There is no such segment"),
        ("/memory/x", 404, "There is no such segment"),
    ):
        assert said in opened.open(path, status).locator("main").inner_text()
        opened.check()
