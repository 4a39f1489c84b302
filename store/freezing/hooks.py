"""What the compiled module asks: the thin face of the rules, and its contract with C.

C looks these names up as attributes of this module, once per interpreter, when it meets the first
type that is not a builtin or the first VALUE. It asks `rule_of` once per class and keeps the answer
while `generation` stays the same.

Rules (`rule_of`): a str is the reason for a refusal, else one of

* `("view", slots)`: the fields are the slots, pairs of name and member descriptor, those of bases
  first, then the instance's `__dict__`.
* `("state", getter)`: form VIEW too, of `getter(obj) -> (names, values, how many are slots)`.
* `("container", base, slots, getter)`: the content of the builtin type `base` and fields. `getter`
  is None, or `getter(obj) -> (plain container, {field: value})`.
* `("tuple",)`: a subclass of tuple without instance attributes.
* `("made", family, getter)`: `getter(obj) -> (names, values)`, two tuples.
* `("value", code, getter)`: `getter(obj) -> payload`.
* `("as", getter)`: the object is frozen as `getter(obj)`, and that is what comes back.
* `("before", hook, rule)`: `hook(obj, is_root)` is called first, once for each object and
  freezing; `is_root` is whether the object is an argument of `freeze` or `put`. Then `rule`, one of
  the above, says how it freezes.

Getters and hooks raise `Refusal` where an object can't be frozen though its type can: C makes a
NotFreezableError of it, with the path. Other exceptions of theirs go to the caller as they are.

Declarations (functions, methods, classes that may still change, partials, modules, descriptors)
among the arguments of freeze(), and code that is put, are left to `freeze_declarations`.

What opens (`make_value`, `thaw_value`, `make_object`) raises ValueError, TypeError, LookupError,
ArithmeticError or OverflowError for a payload that can't be of ours: C makes CorruptImage of these.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from icehouse.store.freezing import registry
from icehouse.store.freezing.records import Record
from icehouse.store.freezing.refusal import Refusal
from icehouse.store.freezing.registry import rule_of
from icehouse.store.freezing.trust import (
    Trust,
    name_of,
    reduce_foreign,
    resolve_class,
    trust_of,
)

__all__ = [
    "Record",
    "Refusal",
    "Trust",
    "check_status",
    "class_payload",
    "class_value",
    "freeze_declarations",
    "frozen_by_nature",
    "generation",
    "make_object",
    "make_record",
    "make_value",
    "name_of",
    "reduce_foreign",
    "resolve_class",
    "rule_of",
    "thaw_container",
    "thaw_object",
    "thaw_value",
    "trust_of",
    "view_info",
]

# Grows with each registration: a rule that C keeps for a class is good while this stays the same.
generation = 0


def make_value(code: int, payload: Any, trust: Trust) -> Any:
    """Open a VALUE: the object that its code and payload stand for.

    ValueError for an unknown code; see above for damaged payloads. A class that may not or can't be
    found gives a `Record`.
    """
    return registry.opener(code)(payload, trust)


def thaw_value(code: int, payload: Any, trust: Trust) -> Any:
    """Open a VALUE for thaw(): the mutable original, where it differs from what a view shows.

    `payload` is thawed already.
    """
    return registry.thawer(code)(payload, trust)


def make_object(
    family: int, cls: type, names: tuple[str, ...], values: tuple[Any, ...], trust: Trust
) -> Any:
    """Make an object of form MADE whose class was found. No code of its class runs."""
    return registry.maker(family)(cls, names, values, trust)


def make_record(type_name: str, names: Iterable[str], values: Iterable[Any]) -> Record:
    """Make what stands for an object of form TUPLE or MADE whose class can't be found."""
    return Record(type_name, names, values)


def check_status(obj: Any, is_root: bool) -> None:
    """Check an instance that has a field `__freezable__`.

    Refusal where its status forbids it; ValueError for what is no status.
    """
    registry.load("declarations.status", "check")(obj, is_root)


def class_payload(cls: type) -> tuple[str, str] | tuple[str, str, Mapping[str, Any]]:
    """Say what images call the frozen class of instances: by its names, or these and a definition.

    The definition is a dict or a FrozenDict. Refusal where the class can neither be named nor
    defined.
    """
    payload: Any = registry.load("builtin", "layout_payload")(cls)
    return payload  # type: ignore[no-any-return]


def class_value(cls: type) -> tuple[str, str] | tuple[str, str, Mapping[str, Any]]:
    """Say the same of a frozen class that is itself among what is frozen.

    It has its definition even where it can be imported here: the reader may not have its module.
    """
    payload: Any = class_payload(cls)
    if type(payload) is not tuple or len(payload) != 2:
        return payload  # type: ignore[no-any-return]
    definition = registry.load("builtin", "definition_of")(cls)
    return payload if definition is None else (*payload, definition)


def frozen_by_nature(obj: Any) -> bool:
    """Whether an object that is neither a builtin nor a view is immutable all the same."""
    return registry.frozen_by_nature(obj)


def freeze_declarations(objects: tuple[Any, ...]) -> Any:
    """Freeze objects of which one at least is a declaration; the frozen form of the first."""
    from icehouse.store.declarations.together import freeze

    return freeze(objects)


def thaw_container(cls: type, container: Any, fields: Mapping[str, Any]) -> Any:
    """Make the mutable original of an object of form CONTAINER.

    `container` is its content, thawed: a plain list, dict, ...; `fields` are its other fields.
    """
    return registry.load("containers", "thaw_container")(cls, container, fields)


def thaw_object(
    cls: type,
    names: tuple[str, ...],
    values: tuple[Any, ...],
    slots: Mapping[str, Any],
) -> Any:
    """Make the mutable original of an object of form VIEW whose class C can't make alone."""
    return registry.load("classes", "thaw_object")(cls, names, values, slots)


def view_info(cls: type) -> dict[str, Any]:
    """Attributes that the view type of a class carries itself, for code that asks the type."""
    info: dict[str, Any] = registry.load("classes", "view_info")(cls)
    return info
