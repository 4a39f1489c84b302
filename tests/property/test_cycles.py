"""H24: a view of a graph that refers to itself, through everything that walks objects: it ends."""

import copy
import io
import json
import pickle
import pprint
import reprlib
from typing import Any

import pytest

import icehouse


def ring() -> dict[str, Any]:
    """A dict in a list in a tuple in that dict, and a list that holds itself."""
    knot: dict[str, Any] = {"name": "knot"}
    knot["pair"] = ([knot], "text")
    knot["self"] = [1]
    knot["self"].append(knot["self"])
    return knot


@pytest.fixture
def view() -> Any:
    return icehouse.freeze(ring())


def test_h24_repr_and_pprint(view: Any) -> None:
    assert repr(view) == (
        "FrozenDict({'name': 'knot', 'pair': ([{...}], 'text'), 'self': [1, [...]]})"
    )
    assert "..." in pprint.pformat(view)
    assert "..." in pprint.pformat({"inside": view}, depth=3)
    assert len(reprlib.repr(view)) < 100


def test_h24_rich(view: Any) -> None:
    console = pytest.importorskip("rich.console", reason="rich is not installed").Console
    out = io.StringIO()
    console(file=out, width=200).print(view)
    assert "knot" in out.getvalue()
    rich_pretty = pytest.importorskip("rich.pretty", reason="rich is not installed")
    assert "knot" in rich_pretty.pretty_repr(view, max_depth=5)


def test_h24_json(view: Any) -> None:
    with pytest.raises(ValueError, match="Circular"):
        icehouse.dumps(view)
    with pytest.raises((ValueError, RecursionError)):
        json.dumps(view, default=icehouse.json_default)


def test_h24_copy_thaw_and_pickle(view: Any) -> None:
    assert copy.copy(view) is view
    assert copy.deepcopy(view) is view
    assert copy.deepcopy({"inside": view})["inside"] is view
    again = icehouse.thaw(view)
    assert again["pair"][0][0] is again
    assert again["self"][1] is again["self"]
    loaded = pickle.loads(pickle.dumps(view))
    assert loaded == view
    assert icehouse.same(loaded["pair"][0][0], loaded)


def test_h24_comparison(view: Any) -> None:
    assert view == view["pair"][0][0]
    assert icehouse.same(view, view["pair"][0][0])
    assert view == icehouse.freeze(ring())
    assert view == ring()
    other = ring()
    other["pair"][0].append(None)
    assert view != icehouse.freeze(other)
    assert view["self"] == view["self"][1][1]
    with pytest.raises(TypeError):
        hash(view["pair"])
