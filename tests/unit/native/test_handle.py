"""Handle: text, bytes, order, hash, pickling."""

import copy
import pickle
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from icehouse import Handle

ALPHABET = set("0123456789abcdefghjkmnpqrstvwxyz")
SIXTEEN = st.binary(min_size=16, max_size=16)


@given(SIXTEEN)
def test_text_and_bytes_go_both_ways(data: bytes) -> None:
    handle = Handle.from_bytes(data)
    text = str(handle)
    assert bytes(handle) == data
    assert len(text) == 30
    assert text.startswith("ih1_")
    assert set(text[4:]) <= ALPHABET
    assert Handle.from_text(text) == handle == Handle(text) == Handle(data) == Handle(handle)
    assert repr(handle) == f"Handle('{text}')"
    assert hash(Handle(text)) == hash(handle)


@given(SIXTEEN, SIXTEEN)
def test_one_order_for_handles_and_texts(a: bytes, b: bytes) -> None:
    first, second = Handle(a), Handle(b)
    assert (first < second) == (str(first) < str(second))
    assert (first <= second) == (str(first) <= str(second))
    assert (first > second) == (second < first)
    assert (first == second) == (a == b)
    assert (first != second) == (a != b)


def test_it_is_no_other_type() -> None:
    handle = Handle(bytes(16))
    assert handle != str(handle)
    assert handle != bytes(handle)
    with pytest.raises(TypeError):
        handle < 1  # type: ignore[operator]  # noqa: B015


@pytest.mark.parametrize(
    "text",
    [
        "",
        "ih1_",
        "config",
        "ih1_" + "0" * 25,
        "ih1_" + "0" * 27,
        "ih1_" + "8" + "0" * 25,
        "ih1_" + "0" * 25 + "u",
        "ih1_" + "0" * 25 + "A",
        "ih1_" + "0" * 25 + "\0",
        "ih1_" + "0" * 25 + "é",
        "IH1_" + "0" * 26,
        " ih1_" + "0" * 26,
    ],
)
def test_other_texts_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="handle"):
        Handle.from_text(text)
    with pytest.raises(ValueError, match="handle"):
        Handle(text)


def test_other_bytes_and_types_are_refused() -> None:
    for size in (0, 15, 17):
        with pytest.raises(ValueError, match="16 bytes"):
            Handle.from_bytes(bytes(size))
    for wrong in (None, 1, 1.5, [1]):
        with pytest.raises(TypeError):
            Handle(wrong)  # type: ignore[arg-type]
        with pytest.raises(TypeError):
            Handle.from_text(wrong)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        Handle()  # type: ignore[call-arg]
    with pytest.raises(TypeError):
        Handle(bytes(16), bytes(16))  # type: ignore[call-arg]
    with pytest.raises(ValueError):
        Handle("ih1_" + "0" * 25 + "\udc80")


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_it_pickles_and_copies(protocol: int) -> None:
    handle = Handle(random.Random(protocol).randbytes(16))
    assert pickle.loads(pickle.dumps(handle, protocol)) == handle
    assert copy.deepcopy(handle) == handle


def test_it_is_immutable_and_has_no_attributes_to_set() -> None:
    handle = Handle(bytes(16))
    with pytest.raises(AttributeError):
        handle.x = 1  # type: ignore[attr-defined]
    with pytest.raises(TypeError):
        Handle.x = 1  # type: ignore[attr-defined]
    assert Handle.__module__ == "icehouse"
    assert {handle: 1}[Handle(bytes(16))] == 1
