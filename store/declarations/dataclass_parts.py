"""What dataclasses keep in a class: fields and parameters, as ones that can't be changed."""

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from icehouse.store.declarations import parts

if TYPE_CHECKING:
    from icehouse.store.declarations.classes import ClassItem
    from icehouse.store.declarations.together import Plan

_PARAMETERS: Any = type(
    dataclasses.dataclass(type("_", (), {})).__dataclass_params__  # type: ignore[attr-defined]
)
# Sentinels that generated code is compared with: they are what these names hold.
SENTINELS = {
    id(getattr(dataclasses, name)): ("dataclasses", name)
    for name in ("MISSING", "_HAS_DEFAULT_FACTORY", "KW_ONLY")
}
# What of a field is told to dataclasses.field() again.
SAID = (
    "default",
    "default_factory",
    "init",
    "repr",
    "hash",
    "compare",
    "metadata",
    "kw_only",
    "doc",
)


class FrozenField(dataclasses.Field):  # type: ignore[type-arg]
    """A field of a frozen dataclass."""

    __slots__ = ()

    def __setattr__(self, name: str, value: object) -> None:
        """Refuse."""
        parts.refuse(f"setting {name!r} of a dataclass field")

    def __delattr__(self, name: str) -> None:
        """Refuse."""
        parts.refuse(f"deleting {name!r} of a dataclass field")


class FrozenParams(_PARAMETERS):  # type: ignore[misc]
    """What `@dataclass(...)` of a frozen class was told."""

    __slots__ = ()

    def __setattr__(self, name: str, value: object) -> None:
        """Refuse."""
        parts.refuse(f"setting {name!r} of the parameters of a dataclass")

    def __delattr__(self, name: str) -> None:
        """Refuse."""
        parts.refuse(f"deleting {name!r} of the parameters of a dataclass")


class Fields(dict[str, Any]):
    """`__dataclass_fields__` of a frozen class.

    Encoders written in C want an exact dict, and one that lives on. They get one: a copy, which is
    made anew if somebody changed it.
    """

    __slots__ = ("_items", "_shown")

    def __init__(self, fields: dict[str, Any]) -> None:
        """Keep the fields."""
        if hasattr(self, "_items"):
            parts.refuse("__init__() of the fields of a dataclass")
        super().__init__(fields)
        self._items = tuple(fields.items())
        self._shown = dict(fields)

    def __get__(self, obj: object, owner: type | None = None) -> dict[str, Any]:
        """Show them."""
        shown = self._shown
        if tuple(shown.items()) != self._items:
            shown = self._shown = dict(self._items)
        return shown

    locals().update(
        {
            name: getattr(parts.FixedDict, name)
            for name in (
                *("__setitem__", "__delitem__", "__ior__", "clear", "pop", "popitem"),
                *("setdefault", "update", "__reduce__"),
            )
        }
    )


def plan_member(item: "ClassItem", plan: "Plan", name: str, value: Any) -> Callable[[], Any]:
    """Plan `__dataclass_fields__` or `__dataclass_params__`."""
    if name == "__dataclass_params__":
        return lambda: frozen_params({slot: getattr(value, slot) for slot in params_of(value)})
    fields = {key: _plan_field(item, plan, field) for key, field in value.items()}
    return lambda: Fields({key: make() for key, make in fields.items()})


def params_of(value: Any) -> tuple[str, ...]:
    """List what is kept of the parameters of `@dataclass`."""
    return tuple(_PARAMETERS.__slots__) if value is not None else ()


def unsaid() -> dict[str, Any]:
    """Give what a field is that was told nothing: all of its slots."""
    field: Any = dataclasses.field()
    return {name: getattr(field, name) for name in dataclasses.Field.__slots__}


def frozen_params(values: dict[str, Any]) -> FrozenParams:
    """Make fixed parameters."""
    made: FrozenParams = _filled(FrozenParams, values)
    return made


def frozen_field(values: dict[str, Any]) -> FrozenField:
    """Make a fixed field of all its slots."""
    made: FrozenField = _filled(FrozenField, values)
    return made


def _filled(cls: Any, values: dict[str, Any]) -> Any:
    made = object.__new__(cls)
    for name, value in values.items():
        object.__setattr__(made, name, value)
    return made


def _plan_field(item: "ClassItem", plan: "Plan", field: Any) -> Callable[[], Any]:
    if type(field) is FrozenField:
        return lambda: field
    values = {name: getattr(field, name) for name in dataclasses.Field.__slots__}
    made: dict[str, Callable[[], Any]] = {}
    for name in ("default", "default_factory"):
        value = values[name]
        if id(value) in SENTINELS:
            continue
        planned = item.plan_default(plan, field.name, value)
        if planned is not None:
            made[name] = planned
    return lambda: frozen_field({**values, **{name: make() for name, make in made.items()}})
