"""Frozen functions as values: in stores, pickles and frozen data."""

import functools
import pickle

import pytest

import icehouse
from icehouse.native import _image


def given(x: int, y: int = 2) -> int:
    return x + y


def test_a_store_says_what_it_holds() -> None:
    held = {
        "function": given,
        "partial": functools.partial(given, 1),
        "module": icehouse.ImmutableModule("json"),
        "SharedField": icehouse.SharedField(1),
        "InterpreterLocal": icehouse.InterpreterLocal(1),
        "type": int,
    }
    with icehouse.Store() as store:
        assert [store.stat(store.put(each)).type for each in held.values()] == list(held)


def test_h21_without_trust_in_code_there_is_a_record() -> None:
    data = _image._image_bytes([icehouse.freeze(given)])
    [record] = _image._open_buffer(data)
    assert type(record) is icehouse.Record
    assert icehouse.thaw(_image._open_buffer(data)) == [record]


def test_thawed_data_holds_the_frozen_function() -> None:
    f = icehouse.freeze(given)
    data = icehouse.thaw(icehouse.freeze({"f": f, "g": [f, f]}))
    assert data == {"f": f, "g": [f, f]}
    assert data["f"](1) == 3
    assert icehouse.thaw(f) is f


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_it_pickles_by_value(protocol: int) -> None:
    f = icehouse.freeze(given)
    again = pickle.loads(pickle.dumps([f, f], protocol))
    assert again[0] is again[1] is f
    assert again[0](1) == 3
