"""Polars: frames and series, through Arrow.

Polars keeps its columns in Arrow's layout and gives them to pyarrow without a copy; what comes back
is a real frame over the image's memory. Both directions need pyarrow. Columns of Python objects
have no Arrow form and are refused.
"""

from typing import Any

from icehouse.store.freezing import codes
from icehouse.store.freezing.packages import as_str, package, record
from icehouse.store.freezing.refusal import Refusal
from icehouse.store.freezing.trust import Trust, module_of, name_of


def rule(cls: type, base: type) -> tuple[Any, ...] | str | None:
    """Frames and series; lazy ones hold a plan."""
    del base
    if module_of(cls).partition(".")[0] != "polars":
        return f"{name_of(cls)} is a subclass of a class of Polars; freeze the plain one"
    if cls.__name__ == "LazyFrame":
        return "a LazyFrame holds a plan, not data; freeze frame.collect()"
    getter = {"DataFrame": frame_payload, "Series": series_payload}.get(cls.__name__)
    return None if getter is None else ("value", codes.POLARS, getter)


def _arrow(obj: Any) -> Any:
    """Give the same data as a pyarrow object, in Polars's own layout."""
    polars: Any = package("polars")
    if package("pyarrow") is None:
        raise Refusal("it freezes as an Arrow table, for which pyarrow must be installed")
    columns = [obj] if isinstance(obj, polars.Series) else obj.get_columns()
    for column in columns:
        if column.dtype == polars.Object:
            raise Refusal(f"its column {column.name!r} holds Python objects; use plain values")
    # A series as a frame of one column: only there Polars says all that it knows of its dtype.
    frame = obj.to_frame() if isinstance(obj, polars.Series) else obj
    try:
        return frame.to_arrow(compat_level=polars.CompatLevel.newest())
    except ValueError as error:
        raise Refusal(f"Arrow has no form for one of its dtypes: {error}") from None


def frame_payload(frame: Any) -> dict[str, Any]:
    """Describe a frame as a table."""
    return {"kind": "DataFrame", "height": frame.height, "data": _arrow(frame)}


def series_payload(series: Any) -> dict[str, Any]:
    """Describe a series as a table of one column."""
    return {"kind": "Series", "data": _arrow(series)}


def open_polars(payload: Any, trust: Trust) -> Any:
    """Make the object again over the image's memory; a record where Polars does not load."""
    del trust
    kind = as_str(payload["kind"])
    polars, pyarrow = package("polars"), package("pyarrow")
    if polars is None or pyarrow is None:
        return record(f"polars.{kind}", payload)
    data = payload["data"]
    if kind not in ("DataFrame", "Series") or not isinstance(data, pyarrow.Table):
        raise ValueError("a Polars object without Arrow data")
    frame = polars.from_arrow(data, rechunk=False)
    return frame if kind == "DataFrame" else frame.to_series()
