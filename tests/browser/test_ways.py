"""Other ways than a mouse and a script: the keyboard alone, no scripts, a screen reader's view."""

from typing import Any

import pytest


@pytest.fixture(scope="module", autouse=True)
def filled(served: Any) -> Any:
    return served.fill()


def focused(page: Any) -> str:
    return str(page.evaluate("document.activeElement.innerText || document.activeElement.name"))


def tab_to(page: Any, text: str) -> None:
    """Press Tab until this has the focus, which must be seen each time."""
    for _ in range(200):
        page.keyboard.press("Tab")
        outline = page.evaluate(
            "(() => { const style = getComputedStyle(document.activeElement);"
            " return document.activeElement === document.body ||"
            " (style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) >= 2); })()"
        )
        assert outline, f"the focus is not seen on {focused(page)}"
        if focused(page) == text:
            return
    raise AssertionError(f"Tab never comes to {text}")


def test_the_keyboard_alone_finds_an_object(window: Any, served: Any) -> None:
    page = window().open("/")
    page.keyboard.press("Tab")
    assert focused(page) == "Skip to the content"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"
    page.goto(page.url.partition("#")[0])
    tab_to(page, "Names")
    page.keyboard.press("Enter")
    page.wait_for_url("**/names")
    page.keyboard.press("/")
    assert page.evaluate("document.activeElement.name") == "prefix"
    page.keyboard.type("models/")
    page.keyboard.press("Enter")
    page.wait_for_url("**prefix=models**")
    tab_to(page, served.current)
    page.keyboard.press("Enter")
    page.wait_for_url(f"**/objects/{served.current}")
    assert page.locator("h1").inner_text() == served.current


def test_a_slash_that_is_typed_is_a_slash(window: Any) -> None:
    page = window().open("/names")
    field = page.get_by_label("Names that begin with")
    field.focus()
    page.keyboard.type("a/b")
    assert field.input_value() == "a/b"


def test_no_page_needs_scripts(window: Any, served: Any) -> None:
    opened = window("phone", scripts=False)
    page = opened.open("/")
    assert page.locator("#shares tbody tr").count() == 7
    page.get_by_role("link", name="Objects", exact=True).click()
    page.get_by_label("State").select_option("deleted")
    page.get_by_role("button", name="Show").click()
    page.get_by_role("link", name=served.held).click()
    assert page.locator("h1").inner_text() == served.held
    # A button that only a script could serve is not there.
    assert page.locator("main button:visible").count() == 0
    for path in ("/memory", "/clients", "/names"):
        opened.open(path)
        assert page.locator("table tbody tr").count() > 0


@pytest.mark.parametrize("path", ["/", "/objects", "/memory", "/clients", "/names"])
def test_a_screen_reader_has_headings_landmarks_and_tables(window: Any, path: str) -> None:
    page = window("phone").open(path)
    assert page.get_by_role("banner").count() == 1
    assert page.get_by_role("main").count() == 1
    assert page.get_by_role("heading", level=1).count() == 1
    assert page.get_by_role("navigation", name="Pages", exact=True).count() == 1
    assert page.locator("nav [aria-current=page]").count() == 1
    # Also where they look like cards.
    assert page.get_by_role("table").count() > 0
    assert page.get_by_role("columnheader").count() > 2
    assert page.get_by_role("row").count() > 1
    for drawn in page.get_by_role("img").all():
        assert drawn.get_attribute("aria-label")


def test_targets_on_a_phone_are_large_enough(window: Any) -> None:
    """24 pixels each way at least (WCAG 2.2), or enough room around."""
    opened = window("phone")
    for path in ("/", "/objects", "/names"):
        page = opened.open(path)
        small = page.evaluate(
            "[...document.querySelectorAll('nav a, button, select, input, tbody th a')]"
            ".filter((e) => e.checkVisibility() && e.getBoundingClientRect().height < 24)"
            ".map((e) => e.outerHTML)"
        )
        assert small == []
