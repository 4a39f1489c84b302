"""Every form, choice and list in every mode, and what it leaves: some, none, not understood."""

import re
from typing import Any

import pytest

from icehouse import Handle

MODES = ["light", "dark", "phone"]


@pytest.fixture(scope="module", autouse=True)
def filled(served: Any) -> Any:
    return served.fill()


def handles(page: Any) -> list[str]:
    return list(page.locator("tbody a.handle").all_inner_texts())


@pytest.mark.parametrize("mode", MODES)
def test_the_form_of_objects(window: Any, served: Any, mode: str) -> None:
    opened = window(mode)
    page = opened.open("/objects")
    page.get_by_text("More filters").click()
    opened.check()
    page.get_by_label("Search by handle, name or type").fill("runs/0")
    page.get_by_label("Order").select_option("largest first")
    page.locator("select[name=type]").select_option("dict")
    page.get_by_label("At most").fill("1MB")
    page.get_by_label("Younger than").fill("1d")
    page.get_by_label("A page has").select_option("100")
    page.get_by_role("button", name="Show").click()
    page.wait_for_url("**q=runs**")
    found = handles(page)
    assert len(found) == 34
    sizes = [served.store.stat(Handle.from_text(text)).size for text in found]
    assert sizes == sorted(sizes, reverse=True)
    # What was chosen stays chosen.
    assert page.get_by_label("Younger than").input_value() == "1d"
    opened.check()
    page.get_by_label("Name begins with").fill("nothing/")
    page.get_by_role("button", name="Show").click()
    page.get_by_text("Nothing is so.").wait_for()
    opened.check()
    opened.expect("status of 400")
    for label in ("pid", "At least", "Older than"):
        page.get_by_label(re.compile(label)).fill("x")
    page.get_by_role("button", name="Show").click()
    page.get_by_text("Nothing is shown while a field").wait_for()
    assert page.locator("[aria-invalid]").count() == 3
    opened.check()


@pytest.mark.parametrize("mode", MODES)
def test_a_state_and_the_pages_of_a_list(window: Any, served: Any, mode: str) -> None:
    opened = window(mode)
    page = opened.open("/objects")
    page.get_by_label("State").select_option("unowned")
    page.get_by_role("button", name="Show").click()
    page.wait_for_url("**state=orphan**")
    assert len(handles(page)) == 20
    opened.check()
    page = opened.open("/objects")
    first = handles(page)
    page.get_by_role("link", name="Next page").click()
    page.get_by_role("link", name="First page").wait_for()
    assert not set(first) & set(handles(page))
    opened.check()
    page.get_by_role("link", name="First page").click()
    page.wait_for_url(re.compile("/objects$"))
    assert handles(page) == first


@pytest.mark.parametrize("mode", MODES)
def test_the_form_of_names(window: Any, served: Any, mode: str) -> None:
    opened = window(mode)
    page = opened.open("/names")
    field = page.get_by_label("Names that begin with")
    field.fill("runs/00")
    page.get_by_role("button", name="Show").click()
    page.wait_for_url("**prefix=runs**")
    assert page.locator("tbody tr").count() == 4
    opened.check()
    field.fill("nobody/has/this")
    field.press("Enter")
    page.get_by_text("No name begins with").wait_for()
    opened.check()
    page.get_by_role("link", name="All names").click()
    page.get_by_role("link", name="models/current").wait_for()


@pytest.mark.parametrize("mode", MODES)
def test_the_choices_of_events(window: Any, served: Any, mode: str) -> None:
    opened = window(mode)
    page = opened.open("/events")
    served.store.put([mode], name=f"chosen in {mode}")
    page.get_by_role("link", name=f"chosen in {mode}").first.wait_for()
    for kind in ("objects", "names", "clients", "trouble", "all"):
        page.get_by_role("navigation", name="Which events").get_by_text(kind, exact=True).click()
        page.locator(".choices [aria-current]", has_text=kind).wait_for()
        opened.check()
    pause = page.get_by_role("button", name="Pause")
    pause.click()
    assert pause.get_attribute("aria-pressed") == "true"
    opened.check()
