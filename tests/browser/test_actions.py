"""What the pages can do: every action, with a token that is asked for once and kept in the tab."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple
from urllib.parse import quote

import pytest
from daemons import wait_until

from icehouse.server.tokens import make

TOKENS = {role: make(role, role) for role in ("reader", "producer", "admin")}
MODES = ["light", "dark", "phone"]
LARGE = b"l" * 3_000_000


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


class Given(NamedTuple):
    """What a test acts on: a store, and an object of its own with a name of its own."""

    store: Any
    handle: Any
    name: str

    @property
    def other(self) -> str:
        """Another name of the test's own."""
        return f"{self.name} otherwise"

    @property
    def page(self) -> str:
        """Where the object is shown."""
        return f"/objects/{self.handle}"

    @property
    def history(self) -> str:
        """Where the name is shown."""
        return f"/names/history?name={quote(self.name, safe='')}"

    @property
    def lives(self) -> bool:
        """Whether the object can be opened."""
        return self.store.get(self.handle, None) is not None

    def means(self, name: str) -> str:
        """What a name is bound to; empty if to nothing."""
        found = dict.fromkeys(self.store.names(name))
        return str(self.store.stat(name).handle) if name in found else ""


class Action(NamedTuple):
    """A button on a page, what to write beside it, what is said then, and what is so then."""

    button: str
    done: str
    holds: Callable[[Given], bool]
    fields: Callable[[Given], dict[str, str]] = lambda given: {}
    """By label."""
    place: Callable[[Given], str] = lambda given: given.page
    value: Any = None
    how: Mapping[str, Any] = MappingProxyType({"named": True})
    """Of the object: how it is put; `named`: under the test's name."""
    ends: bool = False
    """Whether the object is gone then, so that its page says so."""


ACTIONS = {
    "pin": Action("Pin", "Pinned.", lambda given: given.store.stat(given.handle).pinned),
    "unpin": Action(
        "Unpin",
        "Unpinned.",
        lambda given: not given.store.stat(given.handle).pinned,
        how={"pin": True},
    ),
    "expire": Action(
        "Expire…",
        "It will expire.",
        lambda given: given.store.stat(given.handle).expires is not None,
        lambda given: {"Seconds from now": "7200"},
    ),
    "live": Action(
        "Expire…",
        "It lives for ever.",
        lambda given: given.store.stat(given.handle).expires is None,
        lambda given: {"Seconds from now": "0"},
        how={"ttl": 900.0},
    ),
    "name": Action(
        "Name…",
        "Named.",
        lambda given: given.means(given.other) == str(given.handle),
        lambda given: {"Name": given.other},
    ),
    "evict": Action(
        "Evict…",
        "Evicted.",
        lambda given: not given.lives,
        value=LARGE,
        how={"evictable": True},
        ends=True,
    ),
    "spill": Action(
        "Spill…",
        "Spilled.",
        lambda given: given.store.stat(given.handle).state == "spilled",
        value=LARGE,
    ),
    "delete": Action("Delete…", "Deleted.", lambda given: not given.lives, ends=True),
    "rename": Action(
        "Rename…",
        "Renamed.",
        lambda given: given.means(given.other) == str(given.handle) and not given.means(given.name),
        lambda given: {"New name": given.other},
        lambda given: given.history,
    ),
    "bind": Action(
        "Bind…",
        "Bound.",
        lambda given: given.means(given.name) not in ("", str(given.handle)),
        lambda given: {"Handle": str(given.store.put(["another"]))},
        lambda given: given.history,
    ),
    "unbind": Action(
        "Unbind…",
        "Unbound.",
        lambda given: not given.means(given.name),
        place=lambda given: given.history,
    ),
    "gc": Action(
        "Collect garbage…", "Collected.", lambda given: given.lives, place=lambda given: "/memory"
    ),
}


def given_for(store: Any, action: Action, name: str) -> Given:
    how = dict(action.how)
    if how.pop("named", False):
        how["name"] = name
    value = action.value if action.value is not None else {"what": name}
    return Given(store, store.put(value, **how), name)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("key", ACTIONS)
def test_every_state_of_an_action_is_for_everybody(
    window: Any, served: Any, mode: str, key: str
) -> None:
    action = ACTIONS[key]
    given = given_for(served.store, action, f"{key}/in {mode}?é#")
    opened = window(mode)
    opened.expect("status of 403")
    if action.ends:
        opened.expect("status of 410")
    page = opened.open(action.place(given))
    page.get_by_role("button", name=action.button, exact=True).click()
    dialog = page.get_by_role("dialog")
    for label, text in action.fields(given).items():
        dialog.get_by_label(label).fill(text)
    # The token is asked for;
    dialog.get_by_label("Token").fill(TOKENS["reader"][0])
    opened.check()
    dialog.locator("button.main").click()
    # what is wrong is told, and nothing was done;
    dialog.get_by_role("alert").get_by_text("The daemon does not allow this.").wait_for()
    opened.check()
    assert given.lives
    dialog.get_by_label("Token").fill(TOKENS["admin"][0])
    dialog.locator("button.main").click()
    # it is done, and told.
    said(page, action.done)
    assert dialog.count() == 0
    wait_until(lambda: action.holds(given), f"{key} to hold")
    page.wait_for_function("() => !document.querySelector('[data-post]:disabled')")
    opened.check()


@pytest.mark.parametrize("mode", MODES)
def test_the_token_is_asked_for_once(window: Any, served: Any, mode: str) -> None:
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
    # What can't be undone is asked all the same.
    page.get_by_role("button", name="Delete…").click()
    dialog = page.get_by_role("dialog")
    dialog.wait_for()
    assert dialog.get_by_label("Token").count() == 0
    opened.check()
    dialog.get_by_role("button", name="Cancel").click()
    assert served.store.stat(handle).size > 0
    assert page.evaluate("() => document.cookie + JSON.stringify(localStorage)") == "{}"
    page.get_by_role("button", name="forget the token").click()
    said(page, "The token is forgotten.")
    assert page.evaluate("() => sessionStorage.length") == 0
    page.get_by_role("button", name="Pin", exact=True).click()
    dialog.get_by_label("Token").wait_for()
    page.keyboard.press("Escape")
    assert dialog.count() == 0
    assert page.evaluate("() => document.activeElement.textContent") == "Pin"
    opened.check()


@pytest.mark.parametrize("mode", MODES)
def test_wrong_tokens_and_small_roles_are_told(window: Any, served: Any, mode: str) -> None:
    handle = served.store.put(["kept"])
    opened = window(mode)
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


def test_what_goes_with_an_object_is_told_before(window: Any, served: Any) -> None:
    store = served.store
    handle = store.put(["doomed"], name="doomed")
    store.bind("doomed too", handle)
    view = store.get(handle)
    opened = window()
    opened.expect("status of 410")
    page = opened.open(f"/objects/{handle}")
    page.get_by_role("button", name="Delete…").click()
    told = page.get_by_role("dialog").inner_text()
    assert "its 2 names go with it" in told
    assert "1 process has a view of it" in told
    page.keyboard.press("Escape")
    act(page, "Delete…")
    said(page, "Deleted.")
    assert not store.names("doomed")
    assert view[0] == "doomed"


@pytest.mark.parametrize("mode", MODES)
def test_what_changed_meanwhile_is_not_changed_again(window: Any, served: Any, mode: str) -> None:
    name = f"a name/of ours {mode}"
    first, second = served.store.put([1], name=name), served.store.put([2])
    opened = window(mode)
    opened.expect("status of 409")
    page = opened.open(f"/names/history?name={quote(name)}")
    act(page, "Bind…", Handle=str(second))
    said(page, "Bound.")
    # Somebody else binds it meanwhile: what was seen is not what would be changed.
    page.get_by_role("button", name="Rename…").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("New name").fill("another name")
    served.store.bind(name, first)
    dialog.locator("button.main").click()
    dialog.get_by_role("alert").get_by_text("not as it was expected").wait_for()
    opened.check()
    dialog.get_by_role("button", name="Cancel").click()
    page.get_by_text("version 3").wait_for()
    assert served.store.stat(name).handle == first


@pytest.mark.parametrize("mode", MODES)
def test_names_that_can_not_be_given(window: Any, served: Any, mode: str) -> None:
    handle = served.store.put([mode], name=f"taken in {mode}")
    opened = window(mode)
    opened.expect("status of 409")
    opened.expect("status of 400")
    page = opened.open(f"/objects/{handle}")
    act(page, "Name…", Name=f"taken in {mode}")
    dialog = page.get_by_role("dialog")
    dialog.get_by_role("alert").get_by_text("not as it was expected").wait_for()
    opened.check()
    for name in ("..", "ih1_looks like a handle"):
        dialog.get_by_label("Name").fill(name)
        dialog.locator("button.main").click()
        message = "of dots alone" if name == ".." else "ih1_"
        dialog.get_by_role("alert").get_by_text(message).wait_for()
    # Nothing is sent without a name.
    dialog.get_by_label("Name").fill("")
    dialog.locator("button.main").click()
    assert dialog.evaluate("(dialog) => dialog.querySelector('input:invalid').name") == "name"
    assert list(served.store.stat(handle).names) == [f"taken in {mode}"]


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
    # The button is no more: the keyboard goes on at the content.
    page.wait_for_function("() => document.activeElement.id === 'main'")


def test_the_focus_stays_on_what_was_done(window: Any, served: Any) -> None:
    handle = served.store.put(["focus"])
    page = window().open(f"/objects/{handle}")
    act(page, "Pin")
    for at, name in enumerate(["Unpin", "Pin", "Unpin"]):
        said(page, "Unpinned." if at % 2 else "Pinned.")
        page.wait_for_function(f"() => document.activeElement.textContent === '{name}'")
        page.keyboard.press("Enter")


def test_what_was_done_is_told_where_it_is_heard(window: Any, served: Any) -> None:
    """Behind an open dialog, and in what appears with its text, screen readers hear nothing."""
    handle = served.store.put(["aloud"])
    page = window().open(f"/objects/{handle}")
    page.evaluate(
        "() => { window.heard = []; const place = document.getElementById('said');"
        " new MutationObserver(() => window.heard.push([place.textContent,"
        "  document.querySelector('dialog[open]') === null, place.checkVisibility()]))"
        "  .observe(place, { childList: true }); window.before = place.checkVisibility(); }"
    )
    assert page.locator("#said").get_attribute("role") == "status"
    act(page, "Pin")
    said(page, "Pinned.")
    assert page.evaluate("() => window.before")
    assert page.evaluate("() => window.heard.pop()") == ["Pinned.", True, True]


def test_without_scripts_there_are_no_buttons(window: Any, served: Any) -> None:
    handle = served.store.put(["no scripts"])
    page = window(scripts=False).open(f"/objects/{handle}")
    assert page.locator("button:visible").count() == 0
    assert f"icehouse rm {handle}" in page.locator("main").inner_text()


def test_every_action_of_the_api_has_a_button() -> None:
    pytest.importorskip("fastapi")
    from icehouse.server.admin.routes_actions import router

    offered = {getattr(route, "path", "").rpartition("/")[2] for route in router.routes}
    assert offered
    assert offered <= set(ACTIONS)
