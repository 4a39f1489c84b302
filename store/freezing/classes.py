"""Plain classes, dataclasses, attrs: lazy views of slots and `__dict__` (HAZARDS H20, H22)."""

import functools
import operator
from collections import namedtuple
from collections.abc import Mapping
from types import FunctionType
from typing import Any

from icehouse.store.freezing import anatomy
from icehouse.store.freezing.records import Record
from icehouse.store.freezing.registry import load
from icehouse.store.freezing.trust import name_of

# The type of the descriptors of fields of named tuples.
tuplegetter = type(vars(namedtuple("_tuplegetter", "field"))["field"])
ATTRS = "__attrs_attrs__"
FIELDS = "__dataclass_fields__"
# Attributes of a class that others look up on the type of an object.
ASKED_OF_TYPES = (
    ATTRS,
    "__attrs_props__",
    FIELDS,
    "__dataclass_params__",
    "__doc__",
    "__match_args__",
)


def rule(cls: type) -> tuple[Any, ...] | str:
    """Instances are their slots and their `__dict__`, unless C keeps more of them."""
    if cls is object:
        return (
            "an object() means nothing but itself, and would be another one for each reader; "
            "use None, a text, or a member of an enum as the mark"
        )
    if anatomy.holds_more(cls, object):
        return (
            f"a {name_of(cls)} keeps its state in C and has no __reduce__ that tells it; "
            "leave it out (by a __getstate__ of the class that holds it), "
            "or say how it freezes: icehouse.register_freezable"
        )
    return ("view", anatomy.slots(cls))


def thaw_object(
    cls: type, names: tuple[str, ...], values: tuple[Any, ...], slots: Mapping[str, Any]
) -> Any:
    """Make an instance of a class whose slots are others than when it was frozen.

    What has no place any more makes a record of it.
    """
    del slots
    try:
        made: Any = anatomy.new(cls)
        anatomy.fill(made, cls, dict(zip(names, values, strict=True)))
    except (TypeError, LookupError):
        return Record(name_of(cls), names, values)
    return made


def view_info(cls: type) -> dict[str, Any]:
    """List what the view type of a class carries in its own namespace.

    Methods and other descriptors among them come before what the class itself has. The type that
    has `__dataclass_fields__` is a base of the view type: see native/module/object_type.c.
    """
    info: dict[str, Any] = {}
    for name in ASKED_OF_TYPES:
        value = anatomy.class_attribute(cls, name)
        if name == "__doc__" and not isinstance(value, str):
            # From 3.15 on that of a dataclass is written when it is first asked for, into the
            # class that it is asked of; anything else here is code of the class.
            lazy = type(value).__module__ == "dataclasses"
            value = type.__getattribute__(cls, name) if lazy else None
        if value is not None:
            info[name] = value
    if FIELDS in info:
        # Of real instances msgspec finds no class variable and no InitVar, since it looks into
        # their `__dict__`; of views it asks for the attribute.
        info[FIELDS] = {
            name: field
            for name, field in info[FIELDS].items()
            if getattr(getattr(field, "_field_type", None), "name", "") == "_FIELD"
        }
    info.update(_cached_properties(cls))
    if issubclass(cls, tuple):
        info.update(_tuple_fields(cls))
    info.update(load("containers", "methods")(cls))
    return info


def _tuple_fields(cls: type) -> dict[str, Any]:
    """Find the fields of a named tuple, whose descriptors read real tuples alone.

    One that is too large to be made whole is a view.
    """
    found: dict[str, Any] = {}
    for base in anatomy.mro(cls):
        for name, value in anatomy.namespace(base).items():
            if type(value) is tuplegetter:
                found.setdefault(name, property(operator.itemgetter(value.__reduce__()[1][0])))
    return found


def _cached_properties(cls: type) -> dict[str, Any]:
    """Find the cached properties of a slotted attrs class, which keeps them in its `__getattr__`.

    That one would write what it computes into a slot, which a view refuses.
    """
    getter = anatomy.class_attribute(cls, "__getattr__")
    if type(getter) is not FunctionType or anatomy.class_attribute(cls, ATTRS) is None:
        return {}
    defaults = getter.__defaults__ or (None,)
    if type(defaults[0]) is not dict:
        return {}
    made: dict[str, Any] = {}
    for name, function in defaults[0].items():
        made[name] = functools.cached_property(function)
        made[name].__set_name__(cls, name)
    return made
