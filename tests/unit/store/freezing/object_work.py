"""What test_user_interpreters.py calls in other interpreters."""

from typing import Any

import user_classes as uc

import icehouse


def objects() -> dict[str, Any]:
    return {
        "plain": uc.Plain("ada", tags=["x"]),
        "slots": uc.SlottedChild(1, 2, 3),
        "point": uc.Point(1, 2, ["t"]),
        "stack": uc.Stack([1, 2]),
        "place": uc.Place("p", (1, 2)),
        "label": uc.Label("l", "blue"),
        "reduced": uc.Reduced(1),
        "state": uc.Stateful(5),
    }


def look(view: Any) -> str:
    assert isinstance(view["plain"], uc.Plain)
    assert view["plain"].greet() == "ada greets you"
    assert view["slots"].hidden() == 7
    assert view["point"] == uc.Point(1, 2, ["t"])
    assert view["stack"].top() == 2
    assert type(view["place"]) is uc.Place
    assert view["label"].color == "blue"
    assert view["reduced"] == uc.Reduced(1)
    assert view["state"].value == 5
    assert icehouse.thaw(view)["point"] == uc.Point(1, 2, ["t"])
    return "all there"


def made() -> Any:
    return icehouse.freeze(objects())


def look_at_models(view: Any) -> list[Any]:
    """Real instances, or records with the same fields."""
    return [view["user"].name, view["user"].age, view["model"].street]
