"""The annotations of a function, as far as they freeze: else their text."""

from types import FunctionType
from typing import Any

from icehouse.native._image import (
    _freeze_data,
    is_frozen,
)
from icehouse.store.freezing import builtin
from icehouse.store.freezing.refusal import Refusal


def annotations_of(function: FunctionType) -> dict[str, Any]:
    """Give the annotations with values that freeze. Never a reason to fail.

    From 3.14 on they are computed here, and what can't be computed is text.
    """
    return {name: kept(value) for name, value in _raw(function).items() if type(name) is str}


def _raw(function: Any) -> dict[Any, Any]:
    annotate = getattr(function, "__annotate__", None)  # from 3.14 on
    if annotate is None:
        return dict(function.__annotations__)
    try:
        # Not `__annotations__`, which would keep what is found now.
        return dict(annotate(1))
    except Exception:
        from annotationlib import (  # type: ignore[import-not-found,unused-ignore]
            Format,
            call_annotate_function,
        )

        try:
            return dict(call_annotate_function(annotate, Format.STRING))
        except Exception:
            return {}


def kept(value: Any) -> Any:
    """Give an annotation as it freezes, or its text."""
    if issubclass(type(value), type):
        if is_frozen(value):
            return value
        try:
            builtin.class_payload(value)
        except Refusal:
            return value.__qualname__
        return value
    if is_frozen(value):
        return value
    try:
        return _freeze_data([value])[0]
    except Exception:
        # Its own code may raise anything, and an annotation is no reason to fail.
        return repr(value)
