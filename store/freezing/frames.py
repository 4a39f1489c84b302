"""pandas: frames, series and indexes, as blocks of arrays.

A frame keeps its blocks: one array for all columns of one dtype where pandas has it so, or an
extension array for a column. What comes back is a real frame over read-only memory: writing into an
array of it raises ValueError, while new columns and new frames are the caller's own. Object columns
are made anew at each access, O(rows); Arrow-backed ones (the default for text in pandas 3 where
pyarrow is installed) are not.
"""

from typing import Any

from icehouse.store.freezing import codes, frame_arrays
from icehouse.store.freezing.packages import as_int, as_str, in_place, package, record
from icehouse.store.freezing.trust import Trust, module_of, name_of

_INDEXES = frozenset(
    "Index DatetimeIndex TimedeltaIndex PeriodIndex CategoricalIndex IntervalIndex".split()
)


def rule(cls: type, base: type) -> tuple[Any, ...] | str | None:
    """Decide on what pandas itself defines; subclasses by others mean more than their columns."""
    del base
    if module_of(cls).partition(".")[0] != "pandas":
        return (
            f"{name_of(cls)} is a subclass of a class of pandas, whose meaning only its package "
            "knows; freeze a plain frame of it, or register_freezable() the class"
        )
    getter = _GETTERS.get(cls.__name__) or frame_arrays.getter_of(cls)
    if getter is None:
        return f"there is no frozen form of a {name_of(cls)}; freeze the frame or series itself"
    return ("value", codes.PANDAS, getter)


def frozen(obj: Any, base: type) -> bool | None:
    """Timestamps and their like are immutable."""
    del base
    return True if frame_arrays.is_scalar(obj) else None


# ---- taking apart ------------------------------------------------------------------------------


def frame_payload(frame: Any) -> dict[str, Any]:
    """Take a frame apart into its blocks."""
    blocks = [(block.mgr_locs.as_array.tolist(), block.values) for block in frame._mgr.blocks]
    return {
        "kind": "DataFrame",
        "columns": frame.columns,
        "index": frame.index,
        "blocks": blocks,
        **_extras(frame),
    }


def series_payload(series: Any) -> dict[str, Any]:
    """Take a series apart."""
    return {
        "kind": "Series",
        "name": series.name,
        "index": series.index,
        "data": series._values,
        **_extras(series),
    }


def _extras(obj: Any) -> dict[str, Any]:
    extras: dict[str, Any] = {}
    if obj.attrs:
        extras["attrs"] = dict(obj.attrs)
    if not obj.flags.allows_duplicate_labels:
        extras["unique"] = True
    return extras


def index_payload(index: Any) -> dict[str, Any]:
    """Take an index apart."""
    parts = {"kind": type(index).__name__, "name": index.name, "data": index._values}
    if isinstance(index, _pandas().DatetimeIndex | _pandas().TimedeltaIndex):
        parts["freq"] = None if index.freq is None else index.freq.freqstr
    return parts


def _pandas() -> Any:
    return package("pandas")


def range_payload(index: Any) -> dict[str, Any]:
    """Describe a range: three numbers."""
    return {
        "kind": "RangeIndex",
        "name": index.name,
        "range": (index.start, index.stop, index.step),
    }


def multi_payload(index: Any) -> dict[str, Any]:
    """Levels and codes of a MultiIndex."""
    numpy: Any = package("numpy")
    return {
        "kind": "MultiIndex",
        "names": tuple(index.names),
        "levels": list(index.levels),
        "codes": [numpy.asarray(code) for code in index.codes],
    }


_GETTERS = {
    "DataFrame": frame_payload,
    "Series": series_payload,
    "RangeIndex": range_payload,
    "MultiIndex": multi_payload,
    **dict.fromkeys(_INDEXES, index_payload),
}


# ---- putting together --------------------------------------------------------------------------


def open_pandas(payload: Any, trust: Trust) -> Any:
    """Make the object again; a record of its parts where pandas does not load."""
    kind = as_str(payload["kind"])
    pandas = package("pandas")
    if pandas is None:
        return record(f"pandas.{kind}", payload)
    if kind == "DataFrame":
        return _with_extras(_frame(pandas, payload), payload)
    if kind == "Series":
        return _with_extras(_series(pandas, payload), payload)
    if kind in _INDEXES:
        return _index(pandas, kind, payload, trust)
    if kind == "RangeIndex":
        start, stop, step = (as_int(n) for n in payload["range"])
        return pandas.RangeIndex(start, stop, step, name=payload["name"])
    if kind == "MultiIndex":
        return _multi(pandas, payload, trust)
    return frame_arrays.make(pandas, kind, payload, trust)


def _with_extras(made: Any, payload: Any) -> Any:
    if "attrs" in payload:
        made.attrs = dict(payload["attrs"])
    if "unique" in payload:
        made.flags.allows_duplicate_labels = False
    return made


def _part(pandas: Any, payload: Any, name: str) -> Any:
    """Get an index that a payload must have."""
    index = payload[name]
    if not isinstance(index, pandas.Index):
        raise ValueError(f"the {name} of a frame is no index")
    return index


def _frame(pandas: Any, payload: Any) -> Any:
    numpy: Any = package("numpy")
    columns, index = _part(pandas, payload, "columns"), _part(pandas, payload, "index")
    blocks: list[Any] = []
    places: list[int] = []
    for place, data in payload["blocks"]:
        array = frame_arrays.checked(pandas, data)
        two = array.ndim == 2
        if array.shape[-1] != len(index) or (array.shape[0] if two else 1) != len(place):
            raise ValueError("a block of a frame has another shape than its index and columns")
        places.extend(as_int(at) for at in place)
        blocks.append((array, numpy.array(place, "i8")))
    if sorted(places) != list(range(len(columns))):
        raise ValueError("the blocks of a frame are not its columns")
    internals = package("pandas.api.internals")
    maker = getattr(internals, "create_dataframe_from_blocks", None)
    if maker is not None:
        return maker(blocks, index=index, columns=columns)
    return _from_columns(pandas, blocks, index, columns)


def _from_columns(pandas: Any, blocks: Any, index: Any, columns: Any) -> Any:
    """Without a public way to give blocks: as many arrays as there are columns, still no copy."""
    found: dict[int, Any] = {}
    for array, place in blocks:
        for row, at in enumerate(place.tolist()):
            found[at] = array[row] if array.ndim == 2 else array
    frame = pandas.DataFrame({at: found[at] for at in sorted(found)}, index=index, copy=False)
    frame.columns = columns
    return frame


def _series(pandas: Any, payload: Any) -> Any:
    data, index = frame_arrays.checked(pandas, payload["data"]), _part(pandas, payload, "index")
    return pandas.Series(data, index=index, name=payload["name"], dtype=data.dtype, copy=False)


def _index(pandas: Any, kind: str, payload: Any, trust: Trust) -> Any:
    data = frame_arrays.checked(pandas, payload["data"])
    if data.ndim != 1 or (kind != "Index" and not hasattr(data, "_from_sequence")):
        raise ValueError(f"the content of a {kind} is of another type")
    index = getattr(pandas, kind)._simple_new(data, name=payload["name"])
    freq = payload.get("freq")
    if freq is not None and not in_place(trust):
        index.freq = as_str(freq)  # which compares it with every item
    elif freq is not None:
        # pandas 3 keeps it in the index, pandas 2 in its array.
        holder = index if hasattr(type(index), "_freq") else index._data
        holder._freq = pandas.tseries.frequencies.to_offset(as_str(freq))
    return index


def _multi(pandas: Any, payload: Any, trust: Trust) -> Any:
    return pandas.MultiIndex(
        levels=list(payload["levels"]),
        codes=list(payload["codes"]),
        names=list(payload["names"]),
        copy=False,
        verify_integrity=not in_place(trust),
    )
