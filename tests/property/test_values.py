"""Values of the standard library's types, as any part of a graph: they come back as they were."""

from typing import Any

from hypothesis import given
from universe import HASHABLE, VALUES, nested

import icehouse


@given(VALUES)
def test_as_the_root(obj: Any) -> None:
    view = icehouse.freeze(obj)
    assert type(view) is type(obj)
    assert view == obj
    assert obj == view


@given(VALUES)
def test_in_a_list_and_a_tuple(obj: Any) -> None:
    view = icehouse.freeze([obj, (obj,), {"a": obj}])
    assert view == [obj, (obj,), {"a": obj}]
    assert type(view[0]) is type(obj)
    assert type(view[1][0]) is type(obj)
    assert icehouse.thaw(view) == [obj, (obj,), {"a": obj}]


@given(HASHABLE)
def test_as_a_key(obj: Any) -> None:
    view = icehouse.freeze({obj: 1, (obj, 2): 2})
    assert view[obj] == 1
    assert view[obj, 2] == 2
    assert obj in view
    assert list(view) == [obj, (obj, 2)]
    assert obj in icehouse.freeze({obj})
    assert hash(view_key := next(iter(view))) == hash(obj)
    assert {view_key: 1}[obj] == 1


@given(nested())
def test_trees(obj: Any) -> None:
    view = icehouse.freeze(obj)
    assert view == obj
    assert obj == view
    thawed = icehouse.thaw(view)
    assert type(thawed) is type(obj)
    assert thawed == obj


@given(nested())
def test_trees_in_a_store(obj: Any) -> None:
    with icehouse.Store(capacity=1 << 24) as store:
        assert store.get(store.put(obj)) == obj
