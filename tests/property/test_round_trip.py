"""freeze and thaw over random graphs: equal, of the same types, of the same identity structure."""

import copy
import json
import pickle
import random
import threading
from collections.abc import Callable
from typing import Any

import pytest
from graphs import ATOMS, KEYS, TREES, graphs, random_graph, same_shape
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import icehouse
from icehouse.native import _image

THOROUGH = settings(
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    deadline=None,
)


@THOROUGH
@given(TREES)
def test_trees_survive(value: Any) -> None:
    view = icehouse.freeze(value)
    assert view == value
    assert value == view
    assert (view != value) is False
    assert same_shape(icehouse.thaw(view), value)
    assert icehouse.is_frozen(view)


@THOROUGH
@given(graphs())
def test_h24_graphs_with_cycles_survive(value: Any) -> None:
    view = icehouse.freeze(value)
    again = icehouse.thaw(view)
    assert same_shape(again, value)
    assert view == icehouse.freeze(again)
    assert copy.deepcopy(view) is view
    repr(view)


@pytest.mark.watchdog(600)
def test_many_random_graphs_survive(soak_factor: int) -> None:
    for seed in range(20_000 * soak_factor):
        value = random_graph(random.Random(seed))
        view = icehouse.freeze(value)
        again = icehouse.thaw(view)
        assert same_shape(again, value), seed
        assert icehouse.freeze(again) == view, seed


@THOROUGH
@given(graphs(cycles=False))
def test_views_compare_with_what_they_were_made_of(value: Any) -> None:
    view = icehouse.freeze(value)
    assert view == value
    assert value == view
    assert same_shape(pickle.loads(pickle.dumps(icehouse.thaw(view))), value)
    assert pickle.loads(pickle.dumps(view)) == view


@THOROUGH
@given(st.dictionaries(KEYS, ATOMS, min_size=1, max_size=60), st.lists(KEYS, max_size=20))
def test_h23_lookup_finds_what_a_dict_finds(mapping: dict[Any, Any], others: list[Any]) -> None:
    view = icehouse.freeze(mapping)
    for key in [*mapping, *others, *(float(k) for k in mapping if isinstance(k, bool))]:
        assert (key in view) == (key in mapping)
        assert view.get(key, ...) == mapping.get(key, ...)
    assert list(view) == list(mapping)
    assert list(view.items()) == list(mapping.items())


@THOROUGH
@given(st.sets(KEYS, max_size=60), st.lists(KEYS, max_size=20))
def test_h23_membership_is_that_of_a_set(members: set[Any], others: list[Any]) -> None:
    view = icehouse.freeze(members)
    for key in [*members, *others]:
        assert (key in view) == (key in members)
    assert hash(icehouse.freeze(frozenset(members))) == hash(frozenset(members))


@THOROUGH
@given(TREES)
def test_bytes_of_an_image_are_valid_and_open_alike(value: Any) -> None:
    data = _image._image_bytes(value)
    _image._validate(data)
    assert _image._open_buffer(data) == value
    assert _image._image_bytes(_image._open_buffer(data)) is not None


@THOROUGH
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
        lambda items: (
            st.lists(items, max_size=5) | st.dictionaries(st.text(max_size=5), items, max_size=5)
        ),
        max_leaves=20,
    )
)
def test_dumps_writes_what_json_writes(value: Any) -> None:
    assert icehouse.dumps(icehouse.freeze(value)) == json.dumps(value)
    assert icehouse.dumps(icehouse.freeze(value), indent=1) == json.dumps(value, indent=1)


@pytest.mark.parametrize("name", ["twitter", "citm_catalog", "github", "canada"])
def test_corpora_survive(name: str, corpus: Callable[[str], Any]) -> None:
    value = corpus(name)
    view = icehouse.freeze(value)
    assert view == value
    assert value == view
    assert same_shape(icehouse.thaw(view), value)
    assert icehouse.dumps(view) == json.dumps(value)
    with icehouse.Store() as store:
        assert store.get(store.put(value)) == value
        assert store.get(store.put(view)) == value
        part = next(iter(view.values())) if isinstance(value, dict) else view[0]
        whole = next(iter(value.values())) if isinstance(value, dict) else value[0]
        assert store.get(store.put(part)) == whole
        store.check()


def test_naughty_strings_survive(corpus_text: Callable[[str], str]) -> None:
    lines = corpus_text("blns.txt").splitlines()
    view = icehouse.freeze({"lines": lines, "index": {line: len(line) for line in lines}})
    assert list(view["lines"]) == lines
    assert all(view["index"][line] == len(line) for line in lines)
    assert icehouse.thaw(view)["lines"] == lines


def test_freezing_does_not_disturb_a_list_that_another_thread_changes() -> None:
    """The snapshot is of one moment: the sum of the two never changes."""
    ledger = [[1000, 0] for _ in range(200)]
    accounts = {"ledger": ledger, "done": False}

    def move() -> None:
        while not accounts["done"]:
            for account in ledger:
                account[0], account[1] = account[1], account[0]

    thread = threading.Thread(target=move)
    thread.start()
    try:
        for _ in range(200):
            view = icehouse.freeze(ledger)
            assert all(account[0] + account[1] == 1000 for account in view)
    finally:
        accounts["done"] = True
        thread.join()
