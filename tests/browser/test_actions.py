"""What the pages can do: every action, with a token that is asked for once and kept in the tab."""

from typing import Any

import pytest

from icehouse.server.tokens import make

TOKENS = {role: make(role, role) for role in ("reader", "producer", "admin")}


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("tokens")
    file = folder / "tokens"
    file.write_text("".join(line for _, line in TOKENS.values()))
    file.chmod(0o600)
    return {"admin_tokens": str(file), "spill": str(folder / "spill")}


def act(page: Any, name: str, token: str | None = "admin", **fields: str) -> None:
    """Press a button and answer what it asks."""
    page.get_by_role("button", name=name, exact=True).click()
    dialog = page.get_by_role("dialog")
    dialog.wait_for()
    for label, text in fields.items():
        dialog.get_by_label(label.replace("_", " ")).fill(text)
    if token is not None:
        dialog.get_by_label("Token").fill(TOKENS[token][0])
    dialog.locator("button.main").click()


def said(page: Any, text: str) -> None:
    page.locator("#said", has_text=text).wait_for()


@pytest.mark.parametrize("mode", ["light", "dark", "phone"])
def test_pin_and_unpin_ask_for_the_token_once(window: Any, served: Any, mode: str) -> None:
    handle = served.store.put([mode])
    opened = window(mode)
    page = opened.open(f"/objects/{handle}")
    act(page, "Pin")
    said(page, "Pinned.")
    assert served.store.stat(handle).pinned
    # The second time nothing is asked.
    page.get_by_role("button", name="Unpin", exact=True).click()
    said(page, "Unpinned.")
    assert not served.store.stat(handle).pinned
    assert page.evaluate("() => document.cookie + JSON.stringify(localStorage)") == "{}"
    opened.check()
    page.get_by_role("button", name="forget the token").click()
    assert page.evaluate("() => sessionStorage.length") == 0
    page.get_by_role("button", name="Pin", exact=True).click()
    page.get_by_role("dialog").get_by_label("Token").wait_for()
    opened.check()
    page.keyboard.press("Escape")
    assert page.get_by_role("dialog").count() == 0
    assert page.evaluate("() => document.activeElement.textContent") == "Pin"


def test_wrong_tokens_and_small_roles_are_told(window: Any, served: Any) -> None:
    handle = served.store.put(["kept"])
    opened = window()
    opened.expect("status of 401")
    opened.expect("status of 403")
    page = opened.open(f"/objects/{handle}")
    page.get_by_role("button", name="Delete…").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Token").fill("nonsense")
    dialog.locator("button.main").click()
    dialog.get_by_role("alert").get_by_text("This token is not known").wait_for()
    opened.check()
    dialog.get_by_label("Token").fill(TOKENS["reader"][0])
    dialog.locator("button.main").click()
    dialog.get_by_role("alert").get_by_text("The daemon does not allow this").wait_for()
    assert served.store.stat(handle).size > 0
    dialog.get_by_label("Token").fill(TOKENS["admin"][0])
    dialog.locator("button.main").click()
    opened.expect("status of 410")
    said(page, "Deleted.")


def test_delete_takes_names_with_it(window: Any, served: Any) -> None:
    handle = served.store.put(["doomed"], name="doomed")
    opened = window()
    opened.expect("status of 410")
    page = opened.open(f"/objects/{handle}")
    act(page, "Delete…")
    said(page, "Deleted.")
    assert not served.store.names("doomed")


def test_expire(window: Any, served: Any) -> None:
    handle = served.store.put(["for a while"])
    page = window().open(f"/objects/{handle}")
    act(page, "Expire…", Seconds_from_now="7200")
    said(page, "It will expire.")
    page.get_by_text("in 1").first.wait_for()
    assert served.store.stat(handle).expires is not None


def test_evict_and_spill(window: Any, served: Any) -> None:
    opened = window()
    opened.expect("status of 410")
    evictable = served.store.put(b"e" * 3_000_000, evictable=True)
    page = opened.open(f"/objects/{evictable}")
    act(page, "Evict…")
    said(page, "Evicted.")
    large = served.store.put(b"s" * 3_000_000, name="large")
    page = opened.open(f"/objects/{large}")
    act(page, "Spill…", token=None)
    said(page, "Spilled.")
    page.locator(".lead .state.spilled").wait_for()


def test_names_are_renamed_bound_and_unbound(window: Any, served: Any) -> None:
    first, second = served.store.put([1], name="a name/of ours"), served.store.put([2])
    opened = window()
    opened.expect("status of 404")
    opened.expect("status of 409")
    page = opened.open("/names/history?name=a%20name%2Fof%20ours")
    act(page, "Bind…", Handle=str(second))
    said(page, "Bound.")
    assert str(served.store.stat("a name/of ours").handle) == str(second)
    # Somebody else binds it meanwhile: what was seen is not what would be changed.
    page.get_by_role("button", name="Rename…").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("New name").fill("another name")
    served.store.bind("a name/of ours", first)
    dialog.locator("button.main").click()
    dialog.get_by_role("alert").get_by_text("not as it was expected").wait_for()
    opened.check()
    dialog.get_by_role("button", name="Cancel").click()
    page.get_by_text("version 3").wait_for()
    act(page, "Rename…", token=None, New_name="another name")
    said(page, "Renamed.")
    assert str(served.store.stat("another name").handle) == str(first)
    page = opened.open("/names/history?name=another%20name")
    act(page, "Unbind…", token=None)
    said(page, "Unbound.")
    assert not served.store.names("another name")


def test_gc(window: Any, served: Any) -> None:
    page = window("phone").open("/memory")
    act(page, "Collect garbage…")
    said(page, "Collected.")


def test_the_keyboard_alone_deletes(window: Any, served: Any) -> None:
    handle = served.store.put(["by keys"])
    opened = window()
    opened.expect("status of 410")
    page = opened.open(f"/objects/{handle}")
    page.get_by_role("button", name="Delete…").focus()
    page.keyboard.press("Enter")
    page.keyboard.type(TOKENS["admin"][0])
    page.keyboard.press("Enter")
    said(page, "Deleted.")


def test_without_scripts_there_are_no_buttons(window: Any, served: Any) -> None:
    handle = served.store.put(["no scripts"])
    page = window(scripts=False).open(f"/objects/{handle}")
    assert page.locator("button:visible").count() == 0
    assert f"icehouse rm {handle}" in page.locator("main").inner_text()
