"""Views as pandas objects (HAZARDS H27)."""

from typing import Any

from icehouse.store.image import FrozenArray, FrozenDict, FrozenList, FrozenTuple, thaw

__all__ = ["to_pandas"]


def to_pandas(view: Any) -> Any:
    """Make a pandas object of a view; `pandas.DataFrame(view)` would be silently wrong.

    A dict of columns (lists, arrays, tuples) becomes a DataFrame with those columns, a list of
    dicts one with a row for each, another list or array a Series. Lists of floats and arrays
    are not copied, everything else is; what is a pandas, Polars or pyarrow object comes back
    as the pandas object of the same content. ImportError without pandas; TypeError for anything
    else.
    """
    import numpy
    import pandas  # pyright: ignore[reportMissingImports]

    if isinstance(view, pandas.DataFrame | pandas.Series | pandas.Index):
        return view
    if hasattr(view, "to_pandas"):
        return view.to_pandas()
    if isinstance(view, FrozenDict | dict):
        columns = {key: _column(value) for key, value in view.items()}
        return pandas.DataFrame(columns, copy=False)
    if isinstance(view, FrozenList | FrozenTuple | list | tuple):
        column = _column(view)
        rows = isinstance(column, list) and column and isinstance(column[0], dict)
        return pandas.DataFrame(column) if rows else pandas.Series(column, copy=False)
    if isinstance(view, FrozenArray):
        return pandas.Series(_column(view), copy=False)
    if isinstance(view, numpy.ndarray):
        made = pandas.Series if view.ndim == 1 else pandas.DataFrame
        return made(view, copy=False)
    plain = thaw(view)
    if plain is view:
        raise TypeError(f"to_pandas() takes views of dicts, lists and arrays, not {type(view)}")
    return pandas.DataFrame(plain)


def _column(value: Any) -> Any:
    """Give a column: an array over the image where the values lie packed, else a list."""
    import numpy

    if isinstance(value, numpy.ndarray):
        return value
    if isinstance(value, FrozenArray):
        return numpy.asarray(value)
    if isinstance(value, FrozenList | FrozenTuple):
        try:
            packed = numpy.asarray(memoryview(value))
        except (TypeError, BufferError):
            return thaw(value)
        # Small numbers lie in narrow items, in which sums would overflow.
        narrow = packed.dtype.kind in "iu" and packed.dtype.itemsize < 8
        return packed.astype("i8") if narrow else packed
    return thaw(value)
