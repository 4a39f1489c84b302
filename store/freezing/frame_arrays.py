"""pandas: extension arrays, scalars, dtypes."""

from typing import Any

from icehouse.store.freezing.packages import as_int, as_str, in_place, package
from icehouse.store.freezing.refusal import Refusal
from icehouse.store.freezing.trust import Trust

_MASKED = frozenset(("IntegerArray", "FloatingArray", "BooleanArray"))


def checked(pandas: Any, data: Any) -> Any:
    """Check the values of a column; ValueError for what can't be."""
    numpy: Any = package("numpy")
    if not isinstance(data, numpy.ndarray | pandas.api.extensions.ExtensionArray):
        raise ValueError("a column of a frame is no array")
    return data


def is_scalar(obj: Any) -> bool:
    """Whether it is one of pandas's immutable scalars."""
    return type(obj).__name__ in ("Timestamp", "Timedelta", "Period", "NAType", "NaTType")


# ---- taking apart ------------------------------------------------------------------------------


def _categorical(array: Any) -> dict[str, Any]:
    return {
        "codes": array.codes,
        "categories": array.categories,
        "ordered": bool(array.ordered),
    }


def _times(array: Any) -> dict[str, Any]:
    return {"data": array.asi8, "dtype": _time_dtype(array.dtype)}


def _time_dtype(dtype: Any) -> str:
    """Give the text of a dtype of times, from which pandas makes it again."""
    pandas: Any = package("pandas")
    text = str(dtype)
    try:
        same = pandas.api.types.pandas_dtype(text) == dtype
    except (TypeError, ValueError, LookupError):
        same = False
    if not same:
        raise Refusal(f"{text} does not say its time zone or frequency by name; convert it")
    return text


def _masked(array: Any) -> dict[str, Any]:
    return {"data": array._data, "mask": array._mask}


def _interval(array: Any) -> dict[str, Any]:
    return {"left": array._left, "right": array._right, "closed": array.closed}


def _string_dtype(dtype: Any) -> dict[str, Any]:
    pandas: Any = package("pandas")
    return {"storage": dtype.storage, "nan": dtype.na_value is not pandas.NA}


def _strings(array: Any) -> dict[str, Any]:
    items = [item if type(item) is str else None for item in array._ndarray.tolist()]
    return {"items": items, **_string_dtype(array.dtype)}


def _arrow_strings(array: Any) -> dict[str, Any]:
    return {"data": array._pa_array, **_string_dtype(array.dtype)}


def _arrow(array: Any) -> dict[str, Any]:
    return {"data": array._pa_array}


def _sparse(array: Any) -> dict[str, Any]:
    return {
        "data": array.sp_values,
        "indices": array.sp_index.indices,
        "length": len(array),
        "fill": array.fill_value,
        "block": type(array.sp_index).__name__ == "BlockIndex",
    }


def _plain(array: Any) -> dict[str, Any]:
    return {"data": array._ndarray}


def _timestamp(stamp: Any) -> dict[str, Any]:
    text = None
    if stamp.tz is not None:
        pandas: Any = package("pandas")
        text = _time_dtype(pandas.DatetimeTZDtype(stamp.unit, stamp.tz)).split(", ", 1)[1][:-1]
    return {"value": int(stamp.asm8.view("i8")), "unit": stamp.unit, "zone": text}


def _timedelta(delta: Any) -> dict[str, Any]:
    return {"value": int(delta.asm8.view("i8")), "unit": delta.unit}


def _period(period: Any) -> dict[str, Any]:
    return {"ordinal": period.ordinal, "freq": period.freqstr}


def _bounds(interval: Any) -> dict[str, Any]:
    return {"left": interval.left, "right": interval.right, "closed": interval.closed}


def _nothing(obj: Any) -> dict[str, Any]:
    del obj
    return {}


def _offset(offset: Any) -> dict[str, Any]:
    frequencies: Any = package("pandas.tseries.frequencies")
    try:
        same = frequencies.to_offset(offset.freqstr) == offset
    except ValueError:
        same = False
    if not same:
        raise Refusal(f"no text says what {offset!r} is; keep its arguments instead")
    return {"freq": offset.freqstr}


def _dtype(dtype: Any) -> dict[str, Any]:
    name = type(dtype).__name__
    if name == "CategoricalDtype":
        return {"categories": dtype.categories, "ordered": bool(dtype.ordered)}
    if name == "StringDtype":
        return _string_dtype(dtype)
    if name == "ArrowDtype":
        return {"arrow": dtype.pyarrow_dtype}
    if name == "SparseDtype":
        return {"subtype": dtype.subtype, "fill": dtype.fill_value}
    return {"text": _time_dtype(dtype)}


_ARRAYS = {
    "Categorical": _categorical,
    "DatetimeArray": _times,
    "TimedeltaArray": _times,
    "PeriodArray": _times,
    "IntervalArray": _interval,
    "StringArray": _strings,
    "ArrowStringArray": _arrow_strings,
    "ArrowExtensionArray": _arrow,
    "SparseArray": _sparse,
    "NumpyExtensionArray": _plain,
    **dict.fromkeys(_MASKED, _masked),
}
_SCALARS = {
    "Timestamp": _timestamp,
    "Timedelta": _timedelta,
    "Period": _period,
    "Interval": _bounds,
    "NAType": _nothing,
    "NaTType": _nothing,
}


def getter_of(cls: type) -> Any:
    """Find what takes instances of a class of pandas apart; None where nothing does."""
    name = cls.__name__
    parts = _ARRAYS.get(name) or _SCALARS.get(name)
    kind = name
    if parts is None:
        bases = {base.__name__ for base in cls.__mro__}
        if "BaseOffset" in bases:
            kind, parts = "Offset", _offset
        elif "ExtensionDtype" in bases:
            kind, parts = "dtype", _dtype
        else:
            return None

    def getter(obj: Any) -> dict[str, Any]:
        return {"kind": kind, **parts(obj)}

    return getter


# ---- putting together --------------------------------------------------------------------------


def _ndarray(value: Any, kinds: str) -> Any:
    numpy: Any = package("numpy")
    if not isinstance(value, numpy.ndarray) or value.dtype.kind not in kinds:
        raise ValueError("an extension array over something else than it needs")
    return value


def _make_categorical(pandas: Any, payload: Any, trust: Trust) -> Any:
    dtype = pandas.CategoricalDtype(payload["categories"], payload["ordered"])
    codes = _ndarray(payload["codes"], "i")
    if in_place(trust):
        return pandas.Categorical._simple_new(codes, dtype)
    if codes.size and not -1 <= codes.min() <= codes.max() < len(dtype.categories):
        raise ValueError("codes of a Categorical that are no categories")
    return pandas.Categorical._simple_new(codes, dtype)


def _make_times(pandas: Any, kind: str, payload: Any) -> Any:
    dtype = pandas.api.types.pandas_dtype(as_str(payload["dtype"]))
    data = _ndarray(payload["data"], "i")
    maker = getattr(pandas.arrays, kind)
    if data.dtype != "i8":
        raise ValueError("times that are not 64 bits wide")
    if kind == "PeriodArray":
        return maker._simple_new(data, dtype=dtype)
    letter = "M" if kind == "DatetimeArray" else "m"
    unit = getattr(dtype, "unit", None) or as_str(payload["dtype"])[:-1].rpartition("[")[2]
    return maker._simple_new(data.view(f"{letter}8[{unit}]"), dtype=dtype)


def _make_string_dtype(pandas: Any, payload: Any) -> Any:
    if not payload["nan"]:
        return pandas.StringDtype(as_str(payload["storage"]))
    numpy: Any = package("numpy")
    return pandas.StringDtype(as_str(payload["storage"]), na_value=numpy.nan)


def _make_sparse(pandas: Any, payload: Any) -> Any:
    sparse: Any = package("pandas._libs.sparse")
    index = sparse.IntIndex(as_int(payload["length"]), _ndarray(payload["indices"], "i"))
    data = checked(pandas, payload["data"])
    if index.npoints != len(data):
        raise ValueError("a SparseArray has more or fewer values than places")
    if payload["block"]:
        index = index.to_block_index()
    dtype = pandas.SparseDtype(data.dtype, payload["fill"])
    return pandas.arrays.SparseArray._simple_new(data, index, dtype)


def _arrow_data(payload: Any) -> Any:
    pyarrow: Any = package("pyarrow")
    data = payload["data"]
    if pyarrow is None or not isinstance(data, pyarrow.ChunkedArray):
        raise ValueError("an Arrow-backed array without Arrow data")
    return data


def _make_array(pandas: Any, kind: str, payload: Any, trust: Trust) -> Any:
    if kind == "Categorical":
        return _make_categorical(pandas, payload, trust)
    if kind in ("DatetimeArray", "TimedeltaArray", "PeriodArray"):
        return _make_times(pandas, kind, payload)
    if kind == "SparseArray":
        return _make_sparse(pandas, payload)
    if kind == "StringArray":
        return pandas.array(list(payload["items"]), dtype=_make_string_dtype(pandas, payload))
    maker = getattr(pandas.arrays, kind)
    if kind in _MASKED:
        return maker(checked(pandas, payload["data"]), _ndarray(payload["mask"], "b"), copy=False)
    if kind == "IntervalArray":
        left, right = (checked(pandas, payload[side]) for side in ("left", "right"))
        return maker.from_arrays(left, right, closed=as_str(payload["closed"]), copy=False)
    if kind == "ArrowStringArray":
        dtype = {"dtype": _make_string_dtype(pandas, payload)} if payload["nan"] else {}
        return maker(_arrow_data(payload), **dtype)
    if kind == "ArrowExtensionArray":
        return maker(_arrow_data(payload))
    return maker(checked(pandas, payload["data"]))


def _make_scalar(pandas: Any, kind: str, payload: Any) -> Any:
    numpy: Any = package("numpy")
    if kind == "NAType":
        return pandas.NA
    if kind == "NaTType":
        return pandas.NaT
    if kind == "Timestamp":
        stamp = pandas.Timestamp(numpy.datetime64(as_int(payload["value"]), payload["unit"]))
        zone = payload["zone"]
        return stamp if zone is None else stamp.tz_localize("UTC").tz_convert(as_str(zone))
    if kind == "Timedelta":
        return pandas.Timedelta(numpy.timedelta64(as_int(payload["value"]), payload["unit"]))
    if kind == "Period":
        return pandas.Period(ordinal=as_int(payload["ordinal"]), freq=as_str(payload["freq"]))
    return pandas.Interval(payload["left"], payload["right"], closed=as_str(payload["closed"]))


def _make_dtype(pandas: Any, payload: Any) -> Any:
    if "categories" in payload:
        return pandas.CategoricalDtype(payload["categories"], payload["ordered"])
    if "storage" in payload:
        return _make_string_dtype(pandas, payload)
    if "arrow" in payload:
        return pandas.ArrowDtype(payload["arrow"])
    if "subtype" in payload:
        return pandas.SparseDtype(payload["subtype"], payload["fill"])
    return pandas.api.types.pandas_dtype(as_str(payload["text"]))


def make(pandas: Any, kind: str, payload: Any, trust: Trust) -> Any:
    """Make an extension array, a scalar, an offset or a dtype; ValueError for another kind."""
    if kind in _ARRAYS:
        return _make_array(pandas, kind, payload, trust)
    if kind in _SCALARS:
        return _make_scalar(pandas, kind, payload)
    if kind == "Offset":
        return pandas.tseries.frequencies.to_offset(as_str(payload["freq"]))
    if kind == "dtype":
        return _make_dtype(pandas, payload)
    raise ValueError(f"pandas has no {kind!r}")
