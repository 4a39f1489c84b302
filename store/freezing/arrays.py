"""numpy: arrays that have no PEP 3118 buffer, masked arrays, subclasses, scalars, dtypes.

Arrays of numbers, bools, text and bytes never come here: the compiled module freezes their buffers
and hands out read-only ndarrays over shared memory. What comes here keeps its data as such an array
of plain items, and is a view of it again when opened:

* datetime64, timedelta64: an array of int64;
* structures with such fields, or with titles, gaps or overlaps: an array of bytes;
* StringDType and objects: their items in a list, in C order, and the shape. They are made anew at
  each access, O(items), since numpy keeps them on its own heap.

Shapes, order (C or Fortran) and dtypes stay; strides do not: what is contiguous in neither order is
stored in C order, broadcast arrays at their full size.
"""

from typing import Any

from icehouse.store.freezing import codes
from icehouse.store.freezing.dtypes import build, describe, holds_objects
from icehouse.store.freezing.packages import as_int, package, record
from icehouse.store.freezing.refusal import Refusal
from icehouse.store.freezing.trust import Trust, module_of, name_of

# Subclasses that are only another face of the same memory: made with ndarray.view().
_FACES = {
    "numpy.matrix": "matrix",
    "numpy.rec.recarray": "recarray",
    "numpy.recarray": "recarray",
    "numpy.char.chararray": "chararray",
    "numpy.chararray": "chararray",
}


def rule(cls: type, base: type) -> tuple[Any, ...] | str | None:
    """Arrays, scalars and dtypes of numpy; not subclasses made by others."""
    name = name_of(base)
    ours = module_of(cls).partition(".")[0] == "numpy"
    if name == "numpy.ndarray":
        if cls is base:
            return ("value", codes.NDARRAY, array_payload)
        if name_of(cls) in _FACES:
            return ("value", codes.NDARRAY, face_payload)
        if name_of(cls) in ("numpy.memmap", "numpy.core.memmap.memmap"):
            return ("as", plain_array)
        return (
            f"{name_of(cls)} is a subclass of numpy.ndarray, whose meaning only its package knows; "
            "freeze numpy.asarray(x), or register_freezable() the class"
        )
    if name in ("numpy.ma.MaskedArray", "numpy.ma.core.MaskedArray"):
        if cls is base:
            return ("value", codes.MASKED_ARRAY, masked_payload)
        return None if ours else f"{name_of(cls)} is a subclass of numpy.ma.MaskedArray"
    if name in ("numpy.ma.core.MaskedConstant", "numpy.ma.MaskedConstant"):
        return ("value", codes.MASKED_ARRAY, constant_payload)
    if not ours:
        return None
    if name in ("numpy.generic", "numpy.str_", "numpy.bytes_"):
        return ("value", codes.NUMPY_SCALAR, scalar_payload)
    if name == "numpy.dtype":
        return ("value", codes.NUMPY_SCALAR, dtype_payload)
    return None


def frozen(obj: Any, base: type) -> bool | None:
    """Scalars but for structured ones, and dtypes, can't be changed."""
    if module_of(type(obj)).partition(".")[0] != "numpy":
        return None
    if name_of(base) == "numpy.dtype":
        return True
    return str(obj.dtype.kind) not in "VO"


# ---- arrays ------------------------------------------------------------------------------------


def plain_array(array: Any) -> Any:
    """Give an exact ndarray over the same memory."""
    return package("numpy").asarray(array)


def array_payload(array: Any) -> dict[str, Any]:
    """Take apart an array that exports no buffer, or one that would not come back as it is."""
    dtype = array.dtype
    description = describe(dtype)
    if dtype.kind in "Mm":
        return {"dtype": description, "data": array.view(dtype.str[0] + "i8")}
    if dtype.kind == "T":
        return {"dtype": description, "shape": array.shape, "items": _texts(array)}
    if dtype.kind == "O":
        items = array.ravel().tolist() if array.ndim else [array.item()]
        if any(item is array for item in items):
            raise Refusal("it holds itself: an array of objects must be made whole; use a list")
        return {"dtype": description, "shape": array.shape, "items": items}
    if holds_objects(dtype):
        raise Refusal("it has fields that are Python objects; use one array for each field")
    return {"dtype": description, **_raw(array)}


def _texts(array: Any) -> list[Any]:
    items: list[Any] = array.ravel().tolist() if array.ndim else [array.item()]
    return (
        items
        if not hasattr(array.dtype, "na_object")
        else [item if type(item) is str else None for item in items]
    )


def _raw(array: Any) -> dict[str, Any]:
    """Give the memory of an array as bytes, with its shape and order."""
    numpy: Any = package("numpy")
    order = "F" if array.flags.f_contiguous and not array.flags.c_contiguous else "C"
    flat = numpy.asarray(array, order=order)
    if order == "F":
        flat = flat.T
    size = flat.dtype.itemsize * flat.size
    data = flat.reshape(-1).view(f"V{flat.dtype.itemsize}").view("u1") if size else b""
    return {"shape": array.shape, "order": order, "data": data}


def open_array(payload: Any, trust: Trust) -> Any:
    """Make the array again, read-only; a record of its parts where numpy does not load."""
    del trust
    numpy = package("numpy")
    if numpy is None:
        # An array of plain items is a FrozenArray here, and says more than a record of it.
        return record("numpy.ndarray", payload)
    array = thaw_array(payload, None)
    # A view does not write into what it is a view of, but it must not look writable either.
    array.flags.writeable = False
    return array


def thaw_array(payload: Any, trust: Trust | None) -> Any:
    """Make the array again; writable where the data is."""
    del trust
    numpy: Any = package("numpy")
    if numpy is None:
        return record("numpy.ndarray", payload)
    dtype = build(numpy, payload["dtype"])
    if "items" in payload:
        array = _from_items(numpy, payload, dtype)
    elif "shape" in payload:
        array = _from_bytes(numpy, payload, dtype)
    else:
        data = numpy.asarray(payload["data"])
        if holds_objects(dtype) or dtype.itemsize != data.dtype.itemsize:
            raise ValueError("the items of an array are not of its dtype")
        array = data.view(dtype)
    face = payload.get("face")
    if face is None:
        return array
    if face not in _FACES.values():
        raise ValueError("an array of a class that numpy does not have")
    maker = numpy.char.chararray if face == "chararray" else getattr(numpy, face)
    return array.view(maker)


def _shape(payload: Any) -> tuple[int, ...]:
    return tuple(as_int(n) for n in payload["shape"])


def _from_bytes(numpy: Any, payload: Any, dtype: Any) -> Any:
    if holds_objects(dtype):
        raise ValueError("bytes can't be objects")
    shape, data = _shape(payload), payload["data"]
    if payload["order"] == "F":
        return numpy.ndarray(shape[::-1], dtype, data).T
    return numpy.ndarray(shape, dtype, data)


def _from_items(numpy: Any, payload: Any, dtype: Any) -> Any:
    items, shape = payload["items"], _shape(payload)
    count = 1
    for n in shape:
        count *= n
    if len(items) != count:
        raise ValueError("an array has not as many items as its shape says")
    if dtype.kind not in "OT":
        raise ValueError("only texts and objects are kept as items")
    array = numpy.empty(count, dtype)
    missing = getattr(dtype, "na_object", None)
    for i, item in enumerate(items):
        array[i] = missing if item is None and dtype.kind == "T" else item
    return array.reshape(shape)


def face_payload(array: Any) -> dict[str, Any]:
    """Take apart a matrix or a record array."""
    numpy: Any = package("numpy")
    plain = array.view(numpy.ndarray)
    if plain.dtype.type is numpy.record:
        plain = plain.view(numpy.dtype((numpy.void, plain.dtype)))
    if not holds_objects(plain.dtype) and plain.dtype.kind not in "Mm":
        payload = {"dtype": describe(plain.dtype), **_raw(plain)}
    else:
        payload = array_payload(plain)
    return {**payload, "face": _FACES[name_of(type(array))]}


# ---- masked arrays -----------------------------------------------------------------------------


def masked_payload(array: Any) -> dict[str, Any]:
    """Take apart a masked array; its data below the mask is kept."""
    numpy: Any = package("numpy")
    mask = None if array.mask is numpy.ma.nomask else numpy.asarray(array.mask)
    fill = getattr(array, "_fill_value", None)
    return {
        "data": numpy.asarray(array.data),
        "mask": mask,
        "fill": None if fill is None else numpy.asarray(fill),
        "hard": bool(array.hardmask),
    }


def constant_payload(constant: Any) -> dict[str, Any]:
    """Describe the one `numpy.ma.masked`."""
    del constant
    return {"data": None}


def open_masked(payload: Any, trust: Trust) -> Any:
    """Make the masked array again, over read-only data and mask."""
    del trust
    numpy: Any = package("numpy")
    if numpy is None:
        return record("numpy.ma.MaskedArray", payload)
    masked = numpy.ma
    if payload["data"] is None:
        return masked.masked
    data, mask = payload["data"], payload["mask"]
    if not isinstance(data, numpy.ndarray) or not (mask is None or isinstance(mask, numpy.ndarray)):
        raise ValueError("a masked array without arrays")
    array = masked.array(
        data, mask=masked.nomask if mask is None else mask, copy=False, keep_mask=False
    )
    if payload["hard"]:
        array.harden_mask()
    if payload["fill"] is not None:
        array.fill_value = numpy.asarray(payload["fill"])[()]
    return array


# ---- scalars and dtypes ------------------------------------------------------------------------


def scalar_payload(scalar: Any) -> dict[str, Any]:
    """Describe a scalar as the plain number or text that it is, or its bytes."""
    dtype = scalar.dtype
    if holds_objects(dtype):
        raise Refusal("it holds Python objects; use a tuple")
    description = describe(dtype)
    if dtype.kind in "Mm":
        return {"dtype": description, "value": int(scalar.view("i8"))}
    value = scalar.item()
    if dtype.kind in "biufcSU" and type(value) in (bool, int, float, complex, str, bytes):
        if value != value:
            # The bits of a NaN mean something to some, and conversions between widths change them.
            return {"dtype": description, "value": value, "bytes": scalar.tobytes()}
        return {"dtype": description, "value": value}
    return {"dtype": description, "bytes": scalar.tobytes()}


def dtype_payload(dtype: Any) -> dict[str, Any]:
    """Describe a dtype."""
    return {"dtype": describe(dtype)}


def open_scalar(payload: Any, trust: Trust) -> Any:
    """Make the scalar again; where numpy does not load, the plain value of a plain one."""
    del trust
    numpy: Any = package("numpy")
    if numpy is None:
        return _without_numpy(payload)
    dtype = build(numpy, payload["dtype"])
    if "value" not in payload and "bytes" not in payload:
        return dtype
    if holds_objects(dtype):
        raise ValueError("a scalar that holds objects")
    if "bytes" in payload:
        return numpy.frombuffer(bytes(payload["bytes"]), dtype, count=1)[0]
    value = payload["value"]
    if dtype.kind in "Mm":
        return numpy.array(as_int(value), "i8").view(dtype.newbyteorder("="))[()]
    return numpy.array(value, dtype)[()]


def _without_numpy(payload: Any) -> Any:
    description, value = payload["dtype"], payload.get("value")
    if value is not None and type(description) is str and description[1] not in "Mm":
        return value
    kind = "numpy.dtype" if "value" not in payload and "bytes" not in payload else "numpy.generic"
    return record(kind, payload)
