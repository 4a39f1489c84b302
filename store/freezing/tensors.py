"""torch: tensors on the CPU.

torch has no read-only tensors, and frees itself from numpy's flag: so a tensor is never an alias of
shared memory. What comes back is writable and private: a copy-on-write mapping of the image where
one is to be had (icehouse.cow), else a copy. Each access makes a fresh one.
"""

from typing import Any

from icehouse.store.freezing import codes
from icehouse.store.freezing.packages import as_int, as_str, package, record
from icehouse.store.freezing.refusal import Refusal
from icehouse.store.freezing.trust import Trust, name_of

# dtypes that numpy has not, and the integers of their width.
_FOREIGN = {
    "bfloat16": "int16",
    "float8_e4m3fn": "uint8",
    "float8_e4m3fnuz": "uint8",
    "float8_e5m2": "uint8",
    "float8_e5m2fnuz": "uint8",
    "float8_e8m0fnu": "uint8",
}


def rule(cls: type, base: type) -> tuple[Any, ...] | str | None:
    """Tensors and parameters; devices, dtypes and shapes."""
    del base
    name = name_of(cls)
    getter = {
        "torch.Tensor": tensor_payload,
        "torch.nn.parameter.Parameter": parameter_payload,
        "torch.dtype": dtype_payload,
        "torch.device": device_payload,
        "torch.Size": size_payload,
    }.get(name)
    if getter is None:
        return f"{name} is a subclass of torch.Tensor; freeze its data: x.detach()"
    return ("value", codes.TORCH, getter)


def tensor_payload(tensor: Any) -> dict[str, Any]:
    """Describe the memory of a dense tensor on the CPU, as an array."""
    torch: Any = package("torch")
    if tensor.device.type != "cpu":
        raise Refusal(f"it is on the device {tensor.device}; freeze tensor.cpu()")
    if tensor.layout is not torch.strided or tensor.is_quantized:
        raise Refusal("it is sparse or quantized; freeze its parts")
    plain = tensor.detach().resolve_conj().resolve_neg()
    name = str(plain.dtype).partition(".")[2]
    if name in _FOREIGN:
        plain = plain.view(getattr(torch, _FOREIGN[name]))
    return {
        "kind": "tensor",
        "dtype": name,
        "grad": bool(tensor.requires_grad),
        "data": plain.numpy(),
    }


def parameter_payload(parameter: Any) -> dict[str, Any]:
    """Describe a parameter of a module."""
    return {**tensor_payload(parameter), "kind": "parameter"}


def dtype_payload(dtype: Any) -> dict[str, Any]:
    """Describe a dtype by its name."""
    return {"kind": "dtype", "dtype": str(dtype).partition(".")[2]}


def device_payload(device: Any) -> dict[str, Any]:
    """Describe a device by its name."""
    return {"kind": "device", "device": str(device)}


def size_payload(size: Any) -> dict[str, Any]:
    """Describe a shape."""
    return {"kind": "size", "size": tuple(int(n) for n in size)}


def open_tensor(payload: Any, trust: Trust) -> Any:
    """Make the tensor again over private memory; a record where torch does not load."""
    del trust
    kind = as_str(payload["kind"])
    torch = package("torch")
    if torch is None:
        return record(f"torch.{kind.capitalize()}", payload)
    if kind == "size":
        return torch.Size(as_int(n) for n in payload["size"])
    if kind == "device":
        return torch.device(as_str(payload["device"]))
    dtype = getattr(torch, as_str(payload["dtype"]), None)
    if not isinstance(dtype, torch.dtype):
        raise ValueError("a tensor of a dtype that torch does not have")
    if kind == "dtype":
        return dtype
    tensor = _private(torch, payload["data"])
    if tensor.dtype != dtype:
        tensor = tensor.view(dtype)
    if kind == "parameter":
        return torch.nn.Parameter(tensor, requires_grad=bool(payload["grad"]))
    if payload["grad"]:
        tensor.requires_grad_()
    return tensor


def _private(torch: Any, data: Any) -> Any:
    from icehouse.store.cow import cow

    numpy: Any = package("numpy")
    if not isinstance(data, numpy.ndarray):
        raise ValueError("a tensor without an array")
    # A thawed array is private and writable as it is.
    return torch.from_numpy(data if data.flags.writeable else cow(data))
