"""deploy/grafana: what Grafana's own schema of dashboards says of it.

The schema is that of grafana-foundation-sdk, which Grafana generates from its sources.
"""

import copy
import importlib
import json
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pydantic = pytest.importorskip("pydantic", reason="no pydantic: pip install pydantic")
REASON = "no schema of Grafana's: pip install grafana-foundation-sdk"
pytest.importorskip("grafana_foundation_sdk", reason=REASON)
models = importlib.import_module("grafana_foundation_sdk.models.dashboard")
encoder = importlib.import_module("grafana_foundation_sdk.cog.encoder")
plugins = importlib.import_module("grafana_foundation_sdk.cog.plugins")


@pytest.fixture
def board(root: Path) -> dict[str, Any]:
    found = json.loads((root / "deploy" / "grafana" / "icehouse.json").read_text())
    assert isinstance(found, dict)
    return found


def unknown(written: Any, understood: Any, at: str = "") -> Iterator[str]:
    """What stands in the file and not in what was made of it: the schema has no such thing."""
    if isinstance(written, dict) and isinstance(understood, dict):
        for key, value in written.items():
            if key in understood:
                yield from unknown(value, understood[key], f"{at}.{key}")
            else:
                yield f"{at}.{key}"
    elif isinstance(written, list) and isinstance(understood, list):
        for index, pair in enumerate(zip(written, understood, strict=True)):
            yield from unknown(*pair, f"{at}[{index}]")
    elif written != understood:
        yield at


def objects(value: Any, at: str = "") -> Iterator[tuple[str, Any]]:
    """Every object of the schema's in what was made of the file."""
    if isinstance(value, list):
        for index, item in enumerate(value):
            yield from objects(item, f"{at}[{index}]")
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from objects(item, f"{at}.{key}")
    elif hasattr(type(value), "from_json"):
        yield at, value
        for key, item in vars(value).items():
            yield from objects(item, f"{at}.{key}")


def wrong(understood: Any) -> Iterator[str]:
    """Fields whose values are not of the type that the schema says."""
    anything = pydantic.ConfigDict(arbitrary_types_allowed=True)
    checks: dict[Any, Any] = {}
    for at, made in objects(understood):
        for name, hint in typing.get_type_hints(type(made)).items():
            if hint not in checks:
                checks[hint] = pydantic.TypeAdapter(hint, config=anything)
            try:
                checks[hint].validate_python(getattr(made, name))
            except pydantic.ValidationError:
                yield f"{at}.{name}"


def faults(board: dict[str, Any]) -> list[str]:
    plugins.register_default_plugins()
    understood = models.Dashboard.from_json(board)
    again = json.loads(encoder.JSONEncoder().encode(understood))
    return [*unknown(board, again), *wrong(understood)]


def test_it_is_a_dashboard_of_grafanas(board: dict[str, Any]) -> None:
    assert faults(board) == []


def test_the_schema_finds_what_is_wrong(board: dict[str, Any]) -> None:
    def spoiled(spoil: Any) -> list[str]:
        other = copy.deepcopy(board)
        spoil(other)
        return faults(other)

    assert spoiled(lambda b: b.update(refresh=30)) == [".refresh"]
    assert spoiled(lambda b: b.update(tag="x")) == [".tag"]
    assert spoiled(lambda b: b["panels"][0]["options"].update(graphModes="area")) == [
        ".panels[0].options.graphModes"
    ]
    assert spoiled(lambda b: b["panels"][0]["gridPos"].update(x="left")) == [
        ".panels[0].grid_pos.x"
    ]
    assert spoiled(lambda b: b["panels"][1]["targets"][0].update(expr=3)) == [
        ".panels[1].targets[0].expr"
    ]
