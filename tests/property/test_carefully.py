"""A graph is written alike, whether code of others may run meanwhile or not."""

import collections
import dataclasses
from typing import Any

import pytest
from graphs import ATOMS, KEYS, TEXT
from hypothesis import given
from hypothesis import strategies as st

import icehouse
from icehouse.native import _image
from tests.unit.native.nodes import Image
from tests.unit.native.rules import ruling, slots_of, view


@dataclasses.dataclass
class Plain:
    value: Any


@dataclasses.dataclass(slots=True)
class Slotted:
    left: Any
    right: Any


Pair = collections.namedtuple("Pair", "left right")


class Items(list[Any]):
    pass


class Table(dict[Any, Any]):
    pass


class Asked:
    """What takes Python code to read."""


def rule_of(cls: type) -> Any:
    if cls in (Items, Table):
        return ("container", cls.__mro__[1], slots_of(cls), None)
    if cls is Asked:
        return ("value", 77, lambda _: None)
    return ("tuple",) if cls is Pair else view(cls) if cls in (Plain, Slotted) else None


@pytest.fixture(autouse=True, scope="module")
def _rules() -> Any:
    with ruling(rule_of):
        yield


def with_fields(obj: Any, fields: dict[str, Any]) -> Any:
    vars(obj).update(fields)
    return obj


def users(items: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    fields = st.dictionaries(TEXT, items, max_size=12)
    return st.one_of(
        st.builds(Plain, items),
        st.builds(with_fields, st.builds(Plain, items), fields),
        st.builds(Slotted, items, items),
        st.builds(Pair, items, items),
        st.builds(with_fields, st.lists(items, max_size=5).map(Items), fields),
        st.dictionaries(KEYS, items, max_size=12).map(Table),
        st.lists(items, max_size=5),
        st.lists(items, max_size=5).map(tuple),
        st.dictionaries(TEXT, items, max_size=12),
        items.map(lambda item: [item, {"again": item}]),
    )


GRAPHS = st.recursive(ATOMS | KEYS, users, max_leaves=25)


@given(graph=GRAPHS)
def test_quickly_and_carefully(graph: Any) -> None:
    quick = Image(_image._image_bytes([graph, None]))
    careful = Image(_image._image_bytes([graph, Asked()]))
    assert quick.decode()[0] == careful.decode()[0]
    copied = Image(_image._image_bytes([icehouse.freeze([graph]), None]))
    assert copied.decode()[0] == [quick.decode()[0]]
