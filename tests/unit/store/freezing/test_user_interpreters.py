"""User-defined types in interpreters with a GIL of their own, where extensions may not load."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import user_classes as uc
import user_models as um

import icehouse
from icehouse import interpreters

HERE = str(Path(__file__).parent)
TESTS = str(Path(__file__).parents[3])
sys.path.insert(0, HERE)
import object_work as work  # noqa: E402

sys.path.remove(HERE)
pytestmark = pytest.mark.skipif(not interpreters.supported(), reason="no interpreters here")


@pytest.fixture
def other(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.syspath_prepend(HERE)
    monkeypatch.syspath_prepend(TESTS)
    with interpreters.Interpreter() as interpreter:
        yield interpreter


def test_views_and_instances_there(other: Any) -> None:
    view = icehouse.freeze(work.objects())
    assert other.call(work.look, view) == "all there"


def test_what_is_made_there_is_read_here(other: Any) -> None:
    view = other.call(work.made)
    assert isinstance(view["point"], uc.Point)
    assert view["point"] == uc.Point(1, 2, ["t"])
    assert view["reduced"] == uc.Reduced(1)
    assert view["stack"].top() == 2


def test_structs_and_models_are_records_where_they_do_not_load(other: Any) -> None:
    view = icehouse.freeze({"user": um.User("Ada", 36), "model": um.Address(street="s")})
    assert other.call(work.look_at_models, view) == ["Ada", 36, "s"]
