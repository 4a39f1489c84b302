"""Names, types and texts that want to be more than text: they never are (H20, H21)."""

from typing import Any

import pytest
from sites import BIDI, HOSTILE, LONG, SCRIPT

PAGES = ["/", "/objects", "/memory", "/clients", "/names", "/events"]


@pytest.fixture(scope="module", autouse=True)
def filled(served: Any) -> Any:
    return served.fill_with_hostile()


@pytest.mark.parametrize("mode", ["light", "dark", "phone"])
def test_h20_names_stay_text(window: Any, served: Any, mode: str) -> None:
    opened = window(mode)
    for path in PAGES:
        page = opened.open(path)
        assert "taken" not in page.title()
        assert page.locator("main script, main img, main [onerror], main [onload]").count() == 0
        opened.check()
    page = opened.open("/names")
    shown = page.locator("tbody th").all_inner_texts()
    assert SCRIPT in shown
    assert LONG in shown
    # What turns the direction of text is written out, never done.
    assert "\\u202egnp.exe\\u202c\\u2066x\\u2069" in shown
    assert not any(char in "".join(shown) for char in BIDI if not char.isprintable())
    assert not any(name.startswith("49") or "x49" in name for name in shown)


def test_every_name_leads_to_its_object(window: Any, served: Any) -> None:
    opened = window()
    for name in HOSTILE:
        page = opened.open("/names")
        page.get_by_label("Names that begin with").fill(name)
        page.get_by_role("button", name="Show").click()
        page.wait_for_url("**prefix=**")
        handle = str(served.store.stat(name).handle)
        page.get_by_role("link", name=handle).click()
        page.wait_for_url(f"**/objects/{handle}")
        assert page.locator("h1").inner_text() == handle


def test_what_somebody_typed_stays_text(window: Any) -> None:
    from urllib.parse import quote

    opened = window()
    page = opened.open(f"/names?prefix={quote(SCRIPT + 'x')}")
    assert SCRIPT in page.locator("main").inner_text()
    page = opened.open(f"/{quote(SCRIPT)}", 404)
    assert SCRIPT in page.locator("main").inner_text()
    page = opened.open(f"/objects/{quote(SCRIPT, safe='')}", 404)
    assert "taken" not in page.title()
