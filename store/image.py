"""Freezing, thawing and the views: the typed face of the compiled module.

How encoders that don't know views are told about them:

* `json`: `json.dumps(x, default=icehouse.json_default)`. For a view as a whole
  `icehouse.dumps(view)` is faster, since it reads the image and makes no Python objects.
* orjson: `orjson.dumps(x, default=icehouse.json_default)`.
* msgspec: `msgspec.json.Encoder(enc_hook=icehouse.enc_hook)`; the same for MessagePack.
* FastAPI: return `fastapi.Response(icehouse.dumps(view), media_type="application/json")`, or,
  for views inside other data, `jsonable_encoder(x, custom_encoder={FrozenDict: thaw, ...})`.
"""

from collections.abc import Callable
from typing import Any, TypeVar, overload

from icehouse.native._image import (
    FrozenArray,
    FrozenBytes,
    FrozenDict,
    FrozenFunction,
    FrozenList,
    FrozenObject,
    FrozenSet,
    FrozenTuple,
    _on_travel,
    _type_name,
    dumps,
    freeze,
    is_frozen,
    json_default,
    same,
    thaw,
)
from icehouse.store.freezing.records import Record

__all__ = [
    "VIEW_TYPES",
    "FrozenArray",
    "FrozenBytes",
    "FrozenDict",
    "FrozenFunction",
    "FrozenList",
    "FrozenObject",
    "FrozenSet",
    "FrozenTuple",
    "Record",
    "dumps",
    "enc_hook",
    "freeze",
    "is_frozen",
    "json_default",
    "register_freezable",
    "same",
    "thaw",
    "type_name",
]

_Type = TypeVar("_Type", bound=type)

# The types of views, for isinstance().
VIEW_TYPES = (
    FrozenArray,
    FrozenBytes,
    FrozenDict,
    FrozenList,
    FrozenObject,
    FrozenSet,
    FrozenTuple,
)


def enc_hook(obj: Any) -> Any:
    """Tell msgspec how to encode a view: `msgspec.json.Encoder(enc_hook=enc_hook)`.

    The view is thawed as a whole: O(size of what it reaches). A SharedField is its value.
    NotImplementedError, as msgspec expects, for anything else.
    """
    if isinstance(obj, VIEW_TYPES):
        return thaw(obj)
    if type(obj).__name__ == "SharedField":
        from icehouse.store.declarations.fields import SharedField

        if isinstance(obj, SharedField):
            return obj.get()
    raise NotImplementedError(f"{type(obj).__name__} is no view of icehouse")


@overload
def register_freezable(
    type: _Type,
    /,
    freeze: Callable[[Any], Any] | None = None,
    thaw: Callable[[Any], Any] | None = None,
) -> _Type: ...


@overload
def register_freezable(
    *,
    freeze: Callable[[Any], Any] | None = None,
    thaw: Callable[[Any], Any] | None = None,
) -> Callable[[_Type], _Type]: ...


def register_freezable(
    type: Any = None,  # noqa: A002 - the name that PEP 795 gives it
    /,
    freeze: Callable[[Any], Any] | None = None,
    thaw: Callable[[Any], Any] | None = None,
) -> Any:
    """Say how objects of a type freeze, and how they come back. Returns the type.

    * With `freeze` and `thaw`: the object is stored as `freeze(obj)`, which may be anything that
      freezes, and comes back as `thaw(frozen)`, whose argument is frozen. `thaw` must be registered
      in the process that opens it too, by the same type; where it isn't, or where the image is
      somebody else's and the type is not in `allow_classes=`, a `Record` comes back whose field
      `frozen` is what `freeze` returned.
    * With `freeze` alone: the object freezes as `freeze(obj)`, and that is what comes back.
    * With neither: the object is made again by what its `__reduce_ex__` says, as pickle does it.
      That is how types written in C are let in, and how a class opts out of being a lazy view.

    It counts for subclasses too, whichever is nearest in the MRO, and for virtual subclasses of an
    abstract class, as functools.singledispatch has it. For one's own class the methods `__freeze__`
    and (a classmethod) `__thaw__` say the same. Registrations are those of one interpreter.

    As a decorator: `@register_freezable` or `@register_freezable(freeze=..., thaw=...)`.

    TypeError where `type` is no class, or for `thaw` without `freeze`; ValueError for a builtin
    type that freezes as it is (`dict`, `str`, ...).
    """
    if type is None:
        return lambda cls: register_freezable(cls, freeze, thaw)
    from icehouse.store.freezing import registrations

    registrations.register(type, freeze, thaw)
    return type


def type_name(x: Any) -> str:
    """Name the type of an object, `module.qualname`.

    Of a view of an instance, and of a `Record`, it is the name of the class that was frozen,
    whether that can be found here or not.
    """
    from icehouse.store.freezing.builtin import record_name
    from icehouse.store.freezing.trust import name_of

    if isinstance(x, Record):
        return record_name(x)
    return _type_name(x) or name_of(type(x))


def _travel(view: Any) -> Any:
    """Load what multiprocessing needs when its first view comes: an import of ours costs nothing.

    Return the reduction of the view for its pickler, None for a pickler that is not of
    multiprocessing.
    """
    from icehouse.store import travel

    return travel.by_reduce_ex(view)


_on_travel(_travel)
