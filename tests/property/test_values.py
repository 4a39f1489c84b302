"""Values of the standard library's types, as any part of a graph: they come back as they were."""

from typing import Any

import freezing_samples as samples
from graphs import ATOMS, TEXT
from hypothesis import given
from hypothesis import strategies as st
from pairs import Value, opened, taken
from universe import HASHABLE, VALUES, nested

import icehouse
from icehouse.store.freezing import codes, hooks, registry


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


# Whatever a payload is, opening it raises what becomes CorruptImage, or gives an object.
PARTS = ATOMS | st.sampled_from(
    ["os", "builtins", "int", "freezing_samples", "Color", "RED", "utc"]
)
PAYLOADS = st.recursive(
    PARTS,
    lambda parts: (
        st.lists(parts, max_size=8).map(tuple)
        | st.lists(parts, max_size=3)
        | st.dictionaries(TEXT, parts, max_size=3)
    ),
    max_leaves=12,
)
CODES = sorted(code for code in registry.OPENERS if code < codes.NUMPY_SCALAR)


def try_to_open(code: int, payload: Any, *, own: bool) -> None:
    # Where code may run, a REDUCE calls whatever it names.
    own = own and code != codes.REDUCE
    trust = hooks.trust_of(own=own, allow_classes=None, code=own)
    for opening in (hooks.make_value, hooks.thaw_value):
        try:
            opening(code, payload, trust)
        except (ValueError, TypeError, LookupError, ArithmeticError):
            continue


@given(st.sampled_from(CODES), PAYLOADS, st.booleans())
def test_payloads_of_damage(code: int, payload: Any, own: bool) -> None:
    try_to_open(code, payload, own=own)


HONEST = [
    value
    for value in map(taken, [*samples.COMPARABLE, ValueError("x"), OSError(2, "x", "y")])
    if isinstance(value, Value)
]


@given(st.sampled_from(HONEST), st.integers(0, 12), PAYLOADS, st.booleans())
def test_payloads_with_one_part_changed(value: Value, at: int, part: Any, own: bool) -> None:
    payload = opened(value.payload, hooks.trust_of(own=True, allow_classes=None, code=True))
    if isinstance(payload, tuple) and payload:
        at %= len(payload)
        payload = (*payload[:at], part, *payload[at + 1 :])
    elif isinstance(payload, bytes) and payload:
        at %= len(payload)
        payload = payload[:at] + bytes([len(repr(part)) * 37 % 256]) + payload[at + 1 :]
    else:
        payload = (payload, part)
    try_to_open(value.code, payload, own=own)
