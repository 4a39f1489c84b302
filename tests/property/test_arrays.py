"""Hypothesis: arrays and scalars of any dtype that numpy can nest, in any shape and layout."""

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import icehouse
from icehouse.native import _image

np = pytest.importorskip("numpy")
hnp = pytest.importorskip("hypothesis.extra.numpy")

DTYPES = hnp.nested_dtypes(max_leaves=5, max_itemsize=64)
SHAPES = hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4)


def parts(draw: Any, array: Any) -> Any:
    """The array in another layout: a part, turned round, in Fortran order."""
    if array.ndim == 0:
        return array
    kind = draw(st.sampled_from(["whole", "fortran", "transposed", "reversed", "strided"]))
    if kind == "fortran":
        return np.asfortranarray(array)
    if kind == "transposed":
        return array.T
    return {"reversed": array[::-1], "strided": array[..., ::2]}.get(kind, array)


@settings(suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(st.data())
def test_any_array_comes_back(data: Any) -> None:
    dtype = data.draw(DTYPES)
    shape = data.draw(SHAPES)
    size = int(np.prod(shape)) * dtype.itemsize
    raw = data.draw(st.binary(min_size=size, max_size=size))
    plain = np.frombuffer(raw, "u1")
    try:
        array = plain.view(dtype).reshape(shape) if size else np.zeros(shape, dtype)
    except TypeError:
        return
    array = parts(data.draw, array)
    found = icehouse.freeze([array])[0]
    assert type(found) is np.ndarray
    assert found.dtype == dtype
    assert found.shape == array.shape
    assert found.tobytes() == array.tobytes()
    assert not found.flags.writeable
    stranger = _image._open_buffer(bytearray(_image._image_bytes([array])))[0]
    assert stranger.dtype == dtype
    assert stranger.tobytes() == array.tobytes()


@settings(suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(st.data())
def test_any_scalar_and_dtype_come_back(data: Any) -> None:
    dtype = data.draw(DTYPES)
    assert icehouse.freeze([dtype])[0] == dtype
    if dtype.subdtype is not None or dtype.itemsize == 0:
        return
    raw = data.draw(st.binary(min_size=dtype.itemsize, max_size=dtype.itemsize))
    scalar = np.frombuffer(raw, dtype)[0]
    found = icehouse.freeze([scalar])[0]
    assert type(found) is type(scalar)
    assert found.dtype == scalar.dtype
    assert found.tobytes() == scalar.tobytes()
