"""Freezing, thawing and the views: the typed face of the compiled module.

How encoders that don't know views are told about them:

* `json`: `json.dumps(x, default=icehouse.json_default)`. For a view as a whole
  `icehouse.dumps(view)` is faster, since it reads the image and makes no Python objects.
* orjson: `orjson.dumps(x, default=icehouse.json_default)`.
* msgspec: `msgspec.json.Encoder(enc_hook=icehouse.enc_hook)`; the same for MessagePack.
* FastAPI: return `fastapi.Response(icehouse.dumps(view), media_type="application/json")`, or,
  for views inside other data, `jsonable_encoder(x, custom_encoder={FrozenDict: thaw, ...})`.
"""

from typing import Any

from icehouse.native._image import (
    FrozenArray,
    FrozenBytes,
    FrozenDict,
    FrozenList,
    FrozenSet,
    FrozenTuple,
    _on_travel,
    dumps,
    freeze,
    is_frozen,
    json_default,
    same,
    thaw,
)

__all__ = [
    "VIEW_TYPES",
    "FrozenArray",
    "FrozenBytes",
    "FrozenDict",
    "FrozenList",
    "FrozenSet",
    "FrozenTuple",
    "dumps",
    "enc_hook",
    "freeze",
    "is_frozen",
    "json_default",
    "same",
    "thaw",
]

# The types of views, for isinstance().
VIEW_TYPES = (FrozenArray, FrozenBytes, FrozenDict, FrozenList, FrozenSet, FrozenTuple)


def enc_hook(obj: Any) -> Any:
    """Tell msgspec how to encode a view: `msgspec.json.Encoder(enc_hook=enc_hook)`.

    The view is thawed as a whole: O(size of what it reaches). NotImplementedError, as msgspec
    expects, for anything that is no view.
    """
    if isinstance(obj, VIEW_TYPES):
        return thaw(obj)
    raise NotImplementedError(f"{type(obj).__name__} is no view of icehouse")


def _travel(view: Any) -> Any:
    """Load what multiprocessing needs when its first view comes: an import of ours costs nothing.

    Return the reduction of the view for its pickler, None for a pickler that is not of
    multiprocessing.
    """
    from icehouse.store import travel

    return travel.by_reduce_ex(view)


_on_travel(_travel)
