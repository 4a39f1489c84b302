"""scipy.sparse: matrices and arrays, by the arrays that they are made of.

csr, csc, bsr, coo and dia come back over the image's memory; lil and dok are stored as coo and made
anew. The dtype of the indices and what is known of their order stay as they were.

Index arrays of a hostile producer would crash scipy (HAZARDS H4): those of another user's images
are private copies, and are checked in full.
"""

from typing import Any

from icehouse.store.freezing import codes
from icehouse.store.freezing.packages import as_int, as_str, in_place, package, record
from icehouse.store.freezing.trust import Trust, module_of, name_of

_COMPRESSED = ("csr", "csc", "bsr")
_FORMATS = (*_COMPRESSED, "coo", "dia", "lil", "dok")
_KNOWN = ("has_sorted_indices", "has_canonical_format")


def rule(cls: type, base: type) -> tuple[Any, ...] | str | None:
    """Decide on what scipy itself defines: for each format a matrix and an array."""
    del base
    if module_of(cls).partition(".")[0] != "scipy":
        return f"{name_of(cls)} is a subclass of a sparse array; freeze the plain one"
    form, _, kind = cls.__name__.partition("_")
    if form in _FORMATS and kind in ("matrix", "array"):
        return ("value", codes.SPARSE, payload_of)
    return None


def payload_of(matrix: Any) -> dict[str, Any]:
    """Take a sparse matrix apart."""
    form, _, kind = type(matrix).__name__.partition("_")
    parts: dict[str, Any] = {"format": form, "kind": kind, "shape": tuple(matrix.shape)}
    if form in ("lil", "dok"):
        matrix = matrix.tocoo()
    elif form in (*_COMPRESSED, "coo"):
        # What scipy has found out of the order of indices: asking it would be O(n).
        parts["known"] = {
            name: bool(vars(matrix)["_" + name]) for name in _KNOWN if "_" + name in vars(matrix)
        }
        if form == "coo":
            parts["known"] = {"has_canonical_format": bool(matrix.has_canonical_format)}
    parts["data"] = matrix.data
    if form in _COMPRESSED:
        parts["indices"], parts["indptr"] = matrix.indices, matrix.indptr
    elif form == "dia":
        parts["offsets"] = matrix.offsets
    else:
        parts["coords"] = list(getattr(matrix, "coords", None) or (matrix.row, matrix.col))
    return parts


def open_sparse(payload: Any, trust: Trust) -> Any:
    """Make the matrix again; a record of its arrays where scipy does not load."""
    form, kind = as_str(payload["format"]), as_str(payload["kind"])
    sparse = package("scipy.sparse")
    if sparse is None:
        return record(f"scipy.sparse.{form}_{kind}", payload)
    if form not in _FORMATS or kind not in ("matrix", "array"):
        raise ValueError(f"there is no sparse {kind} of format {form!r}")
    shape = tuple(as_int(n) for n in payload["shape"])
    data = _part(payload, "data", "?biufcSUV")
    if form in _COMPRESSED:
        matrix = _compressed(sparse, form, kind, shape, data, payload)
    elif form == "dia":
        offsets = _part(payload, "offsets", "i")
        return getattr(sparse, f"dia_{kind}")((data, offsets), shape=shape, copy=False)
    else:
        matrix = _coordinates(sparse, kind, shape, data, payload)
    if not in_place(trust):
        _check(matrix, form, shape)
    return matrix if form in (*_COMPRESSED, "coo") else matrix.asformat(form)


def _part(payload: Any, name: str, kinds: str) -> Any:
    numpy: Any = package("numpy")
    array = payload[name]
    if not isinstance(array, numpy.ndarray) or array.dtype.kind not in kinds:
        raise ValueError(f"the {name} of a sparse array are of another type")
    return array


def _compressed(
    sparse: Any, form: str, kind: str, shape: tuple[int, ...], data: Any, payload: Any
) -> Any:
    maker = getattr(sparse, f"{form}_{kind}")
    if form == "bsr":
        if data.ndim != 3:
            raise ValueError("the blocks of a sparse array have three dimensions")
        matrix = maker(shape, dtype=data.dtype, blocksize=data.shape[1:])
    else:
        matrix = maker(shape, dtype=data.dtype)
    # The constructor would copy indices into a narrower type.
    matrix.data = data
    matrix.indices, matrix.indptr = _part(payload, "indices", "i"), _part(payload, "indptr", "i")
    for name, value in payload.get("known", {}).items():
        if name in _KNOWN:
            setattr(matrix, name, bool(value))
    return matrix


def _coordinates(sparse: Any, kind: str, shape: tuple[int, ...], data: Any, payload: Any) -> Any:
    numpy: Any = package("numpy")
    coords = tuple(payload["coords"])
    if len(coords) != len(shape) or not all(
        isinstance(coord, numpy.ndarray) and coord.dtype.kind == "i" and coord.shape == data.shape
        for coord in coords
    ):
        raise ValueError("the coordinates of a sparse array are not one for each of its values")
    matrix = getattr(sparse, f"coo_{kind}")(shape, dtype=data.dtype)
    matrix.data = data
    if hasattr(matrix, "coords"):
        matrix.coords = coords
    else:
        matrix.row, matrix.col = coords
    matrix.has_canonical_format = bool(payload.get("known", {}).get("has_canonical_format", False))
    return matrix


def _check(matrix: Any, form: str, shape: tuple[int, ...]) -> None:
    """Every index of what a stranger made; ValueError."""
    if form in _COMPRESSED:
        for name in _KNOWN:
            vars(matrix).pop("_" + name, None)
        matrix.check_format(full_check=True)
        return
    matrix.has_canonical_format = False
    for coord, n in zip(
        getattr(matrix, "coords", None) or (matrix.row, matrix.col), shape, strict=True
    ):
        if coord.size and not 0 <= coord.min() <= coord.max() < n:
            raise ValueError("coordinates of a sparse array outside of it")
