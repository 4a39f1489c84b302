"""What keeps the members of a frozen enumeration from changing: methods that refuse writes.

An enumeration that has members can't be subclassed, so what its class says about writing concerns
its own members alone. Two writes go through, as they are enum's own: those into what is no member
yet (a combination of flags is made when it is first asked for), and the inverse that `~flag` keeps.
"""

import enum
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from icehouse.native._image import FrozenFunction, _frozen_function
from icehouse.store.declarations import members
from icehouse.store.errors import FrozenError
from icehouse.store.freezing import anatomy
from icehouse.store.freezing.trust import module_of

if TYPE_CHECKING:
    from icehouse.store.declarations.classes import ClassItem
    from icehouse.store.declarations.together import Plan

SETATTR, DELATTR = "__setattr__", "__delattr__"


def guarded(cls: type) -> tuple[str, ...]:
    """Say which methods of a class are to be guards: of an enumeration that has members, both."""
    has_members = members.is_enum(cls) and anatomy.namespace(cls).get("_member_map_")
    return (SETATTR, DELATTR) if has_members else ()


def plan(item: "ClassItem", plan: "Plan", name: str, own: Any) -> Callable[[], FrozenFunction]:
    """Plan a guard before a method of the class's own; `own` is None where it has none."""
    names = name, f"{item.source.__qualname__}.{name}", module_of(item.source), None
    planned = None if own is None else members.plan_member(item, plan, name, own)
    return lambda: Guard(names, planned() if planned is not None else own).made()


class Guard:
    """The declaration of a guard, which goes with its class alone."""

    __slots__ = ("names", "own")

    def __init__(self, names: tuple[str, str, str, None], own: Any) -> None:
        self.names = names
        self.own = own

    def payload(self) -> tuple[Any, ...]:
        """Refuse: it is a part of its class."""
        return members.refuse_part(self.names[1])

    def made(self) -> FrozenFunction:
        """Make the frozen function."""
        made = _setting(self.own) if self.names[0] == SETATTR else _deleting(self.own)
        made.__name__, made.__qualname__, made.__module__, _ = self.names
        return _frozen_function(self, made)


def open_guard(names: Any, own: Any) -> FrozenFunction:
    """Make the guard of an enumeration that is made again: of a name, qualname and module."""
    name, qualname, module = names
    if name not in (SETATTR, DELATTR) or type(qualname) is not str or type(module) is not str:
        raise ValueError(f"members of enumerations have no guard {name!r}")
    return Guard((name, qualname, module, None), own).made()


def _setting(own: Any) -> Any:
    def set_attribute(self: Any, name: str, value: object, /) -> None:
        _check(self, "setting", name)
        if own is None:
            super(type(self), self).__setattr__(name, value)
        else:
            _bound(own, self)(name, value)

    return set_attribute


def _deleting(own: Any) -> Any:
    def delete_attribute(self: Any, name: str, /) -> None:
        _check(self, "deleting", name)
        if own is None:
            super(type(self), self).__delattr__(name)
        else:
            _bound(own, self)(name)

    return delete_attribute


def _bound(method: Any, member: Any) -> Any:
    """Bind a method as Python binds what it finds in a class."""
    if hasattr(type(method), "__get__"):
        return type(method).__get__(method, member, type(member))
    return method


def _check(member: Any, what: str, name: str) -> None:
    # By the frame, since what ~flag writes is right, whoever else may write something there.
    frame = sys._getframe(2)  # noqa: SLF001 - whose write it is
    if name == "_inverted_" and frame.f_code is enum.Flag.__invert__.__code__:
        return
    if _is_known(member):
        raise FrozenError(
            f"{member!r} is immutable: {what} attribute {name!r} is refused, since its enumeration "
            "is frozen; keep what changes outside, in a dict whose keys are the members"
        )


def _is_known(member: Any) -> bool:
    """Whether an object is a member, or a combination that is kept, and no other is being made."""
    space = anatomy.namespace(type(member))
    if space["_member_map_"].get(getattr(member, "_name_", None)) is member:
        return True
    try:
        return space["_value2member_map_"].get(getattr(member, "_value_", None)) is member
    except TypeError:
        return False  # an unhashable value: it would be known by its name
