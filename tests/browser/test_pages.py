"""Every page in light, dark and on a phone: usable by anybody, and alone on this machine."""

from typing import Any

import pytest
from windows import Window

MODES = ["light", "dark", "phone", "dark phone"]
PAGES = ["/", "/objects", "/objects?state=deleted", "/memory", "/clients", "/names", "/events"]


@pytest.fixture(scope="module", autouse=True)
def filled(served: Any) -> Any:
    return served.fill().fill_with_hostile()


def test_what_should_not_be_is_seen(chromium: Any, served: Any) -> None:
    """All other tests rest on it."""
    opened = Window(chromium, served.address, "light")
    page = opened.open("/")
    # Outside of what is rendered anew each second.
    page.evaluate("document.body.append(document.createElement('input'))")
    with pytest.raises(AssertionError, match="label"):
        opened.check()
    page.evaluate(
        "document.body.lastElementChild.remove();"
        "document.querySelector('footer').insertAdjacentHTML("
        "  'beforeend', '<div><b>over what stands beside</b></div>');"
        "document.querySelector('footer div b').attributeStyleMap.set('display', 'block');"
        "document.querySelector('footer div b').attributeStyleMap.set('width', '1px');"
    )
    with pytest.raises(AssertionError, match="beside"):
        opened.check()
    page.evaluate("document.body.style.minWidth = '2000px'")
    with pytest.raises(AssertionError, match="wide"):
        opened.check()
    page.evaluate("document.body.lastElementChild.outerHTML = '<p onclick=1 style=color:red>a</p>'")
    page.evaluate("fetch('https://example.invalid/').catch(() => 0)")
    with pytest.raises(AssertionError) as failure:
        opened.close()
    for part in ("style-src", "script-src", "connect-src", "console: "):
        assert part in str(failure.value), part


@pytest.mark.parametrize("mode", MODES)
def test_every_page_is_for_everybody(window: Any, mode: str) -> None:
    opened = window(mode)
    for path in PAGES:
        opened.open(path)
        opened.check()


@pytest.mark.parametrize("mode", MODES)
def test_one_object_is_for_everybody(window: Any, served: Any, mode: str) -> None:
    opened = window(mode)
    for handle in (served.current, served.held):
        page = opened.open(f"/objects/{handle}")
        assert page.locator("h1").inner_text() == handle
        opened.check()


@pytest.mark.parametrize("mode", MODES)
def test_pages_about_failures_are_for_everybody(window: Any, mode: str) -> None:
    opened = window(mode)
    for path, status, said in (
        ("/objects/nonsense", 404, "not a handle"),
        ("/objects/ih1_" + "0" * 26, 404, "No image has this handle"),
        ("/objects?cursor=!!", 400, "Cursor: not one"),
        ("/nothing", 404, "/nothing is no page"),
    ):
        page = opened.open(path, status)
        assert said in page.locator("main").inner_text()
        opened.check()


def test_the_overview_has_the_numbers_of_the_api(window: Any, served: Any) -> None:
    page = window().open("/")
    row = page.locator("#shares tr", has_text="Deleted, held")
    assert row.locator("td").nth(0).inner_text() == "1"
    assert "3.8" in row.locator("td").nth(1).inner_text()
    assert "64 MiB" in page.locator("main").inner_text().replace("\u202f", " ")
    # What is drawn is beside what is written.
    assert page.locator("svg.bar rect.deleted").count() == 1
    assert page.locator("#traffic tbody tr").count() == page.locator("#traffic svg.line").count()


def test_a_list_is_paged_to_its_end(window: Any, served: Any) -> None:
    page = window().open("/objects")
    seen: list[str] = []
    while True:
        seen += page.locator("tbody a.handle").all_inner_texts()
        following = page.get_by_role("link", name="Next page")
        if not following.count():
            break
        following.click()
        page.wait_for_load_state()
    assert len(seen) == len(set(seen))
    assert served.current in seen
    assert len(seen) > 120
    page.get_by_role("link", name="First page").click()
    assert page.locator("tbody a.handle").first.inner_text() == seen[0]


def test_lists_are_filtered_by_forms(window: Any, served: Any) -> None:
    page = window().open("/objects")
    page.get_by_label("State").select_option("deleted")
    page.get_by_role("button", name="Show").click()
    page.wait_for_url("**state=deleted**")
    assert page.locator("tbody a.handle").all_inner_texts() == [served.held]
    page.goto(page.url.partition("/objects")[0] + "/names")
    page.get_by_label("Names that begin with").fill("models/")
    page.keyboard.press("Enter")
    page.wait_for_url("**prefix=models**")
    assert page.locator("tbody th").all_inner_texts() == ["models/current"]
    page.get_by_role("link", name=served.current).click()
    page.wait_for_url(f"**/objects/{served.current}")
    assert "pinned" in page.locator("main").inner_text()


def test_what_has_an_address_for_good_is_asked_for_once(window: Any) -> None:
    opened = window()
    page = opened.open("/")
    links = page.evaluate(
        "performance.getEntriesByType('resource').map((entry) => entry.name)"
        ".filter((name) => name.includes('/static/'))"
    )
    assert any(link.endswith("/icehouse.css") for link in links)
    for link in links:
        answer = opened.context.request.get(link)
        assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"
        again = opened.context.request.get(link, headers={"If-None-Match": answer.headers["etag"]})
        assert (again.status, again.body()) == (304, b"")
        stale = link.replace(link.split("/")[-2], "0" * 16)
        assert opened.context.request.get(stale).status == 404


def test_objects_are_found_and_sorted(window: Any, served: Any) -> None:
    opened = window()
    page = opened.open("/objects")
    page.keyboard.press("/")
    page.keyboard.type("models/")
    page.keyboard.press("Enter")
    page.wait_for_url("**q=models**")
    assert page.locator("tbody a.handle").all_inner_texts() == [served.current]
    opened.check()
    page = opened.open("/objects")
    page.get_by_role("columnheader", name="Size").get_by_role("link").click()
    page.wait_for_url("**sort=-size**")
    assert page.get_by_role("columnheader", name="Size").get_attribute("aria-sort") == "descending"
    assert page.locator("tbody a.handle").first.inner_text() == served.held
    page.get_by_role("columnheader", name="Size").get_by_role("link").click()
    page.wait_for_url("**sort=size**")
    assert page.locator("tbody a.handle").last.inner_text() != served.held
    page.get_by_text("More filters").click()
    page.get_by_label("At least").fill("1MB")
    page.get_by_role("button", name="Show").click()
    page.wait_for_url("**min_size=1MB**")
    assert page.locator("tbody a.handle").all_inner_texts() == [served.held]
    opened.check()
    # What can't be understood is told beside its field.
    page = opened.open("/objects?min_size=huge&min_age=never&pid=x", 400)
    field = page.get_by_label("At least")
    assert field.get_attribute("aria-invalid") == "true"
    told = page.locator(f"#{field.get_attribute('aria-describedby')}")
    assert "64KiB" in told.inner_text()
    opened.check()
