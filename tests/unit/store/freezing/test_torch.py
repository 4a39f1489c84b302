"""torch: tensors come back private and writable, never as aliases of shared memory."""

from typing import Any

import data_cases
import pytest

import icehouse
from icehouse import NotFreezableError, Store

torch = pytest.importorskip("torch")
np = pytest.importorskip("numpy")

DTYPES = "bool uint8 int8 int16 int32 int64 float16 bfloat16 float32 float64 complex64 complex128"


@pytest.mark.parametrize("name", DTYPES.split())
def test_tensors_of_every_dtype(name: str) -> None:
    tensor = torch.arange(6).reshape(2, 3).to(getattr(torch, name))
    for found in (data_cases.round_trip(tensor), data_cases.stranger(tensor)):
        assert type(found) is torch.Tensor
        assert found.dtype == tensor.dtype
        assert found.shape == tensor.shape
        assert torch.equal(found, tensor)


def test_shapes_strides_and_gradients() -> None:
    grid = torch.arange(24.0).reshape(4, 6)
    for tensor in (grid.T, grid[:, ::2], torch.tensor(5), torch.zeros(0, 3), grid.conj()):
        assert torch.equal(data_cases.round_trip(tensor), tensor)
    wanted = torch.ones(3, requires_grad=True)
    assert data_cases.round_trip(wanted).requires_grad
    parameter = torch.nn.Parameter(torch.ones(2, 3))
    found = data_cases.round_trip(parameter)
    assert type(found) is torch.nn.Parameter
    assert torch.equal(found, parameter)


def test_h04_a_tensor_is_never_an_alias() -> None:
    with Store("64MiB") as store:
        handle = store.put({"t": torch.arange(100_000)})
        view = store.get(handle)
        found = view["t"]
        found += 1
        assert found[0] == 1
        assert view["t"][0] == 0
        assert store.get(handle)["t"][5] == 5
        store.delete(handle)
        del view
        assert found[99_999] == 100_000
    assert found[99_999] == 100_000


def test_a_state_dict_comes_back() -> None:
    model = torch.nn.Linear(5, 3)
    found = icehouse.freeze(dict(model.state_dict()))
    other = torch.nn.Linear(5, 3)
    other.load_state_dict({key: found[key] for key in found})
    assert torch.equal(other.weight, model.weight)


@pytest.mark.parametrize(
    "value", [torch.float32, torch.device("cpu"), torch.Size([2, 3])], ids=repr
)
def test_dtypes_devices_and_sizes(value: Any) -> None:
    found = data_cases.round_trip(value)
    assert found == value
    assert type(found) is type(value)


def test_what_can_not_be_frozen_says_why() -> None:
    with pytest.raises(NotFreezableError, match="sparse or quantized"):
        icehouse.freeze([torch.eye(3).to_sparse()])
    with pytest.raises(NotFreezableError, match="device"):
        icehouse.freeze([torch.empty(3, device="meta")])
