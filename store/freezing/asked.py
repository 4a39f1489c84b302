"""What is asked about an object before it is read: its status, its `__pre_freeze__`.

Nothing is asked about most: their class says nothing of the kind, and C sees a field of the name
`__freezable__` where fields are what is frozen.
"""

from collections.abc import Callable
from types import MemberDescriptorType
from typing import Any

from icehouse.store.freezing import codes
from icehouse.store.freezing.anatomy import dict_descriptor, mro, namespace
from icehouse.store.freezing.aside import Aside

Rule = tuple[Any, ...]
Hook = Callable[[Any, bool], None]

# Classes whose instances are asked for their status each, since one of them has it elsewhere than
# where C would see it.
watched: Aside[bool] = Aside()


def hook_of(cls: type, rule: Rule, *, known: bool) -> Hook | None:
    """Find what must be called for each instance of a class; None: nothing.

    `known`: the class itself is one of icehouse's families, not one that somebody wrote.
    """
    prepares = any("__pre_freeze__" in namespace(base) for base in mro(cls))
    # The status comes before that, and C would see it after it.
    seen = _is_seen(rule) and not prepares
    if _may_forbid(cls, seen):
        return _before
    if prepares:
        return _prepare
    return _before_if_marked if not seen and _is_looked_for(cls, rule, known) else None


def finds_attribute(cls: type, rule: Rule, *, known: bool) -> bool:
    """Whether an attribute `__freezable__` of instances of the class is found when they freeze."""
    return _is_seen(rule) or _is_looked_for(cls, rule, known)


def _is_seen(rule: Rule) -> bool:
    """Whether C sees the fields of the instances, as they are."""
    return rule[0] in ("view", "made", "tuple") or (rule[0] == "container" and rule[3] is None)


def _is_looked_for(cls: type, rule: Rule, known: bool) -> bool:
    """Whether it is a class of somebody who may set it, and whose fields C doesn't see."""
    codes_of_users = (codes.REDUCE, codes.REGISTERED, codes.THAWED, codes.EXCEPTION)
    by_code = rule[0] == "value" and rule[1] in codes_of_users
    of_users = by_code or rule[0] in ("state", "as", "container")
    return of_users and not known and dict_descriptor(cls) is not None


def _may_forbid(cls: type, seen: bool) -> bool:
    """Whether the status of the class, or one that is kept aside, may be anything but a yes."""
    for base in mro(cls):
        if watched.get(base) is not None:
            return True
        status = namespace(base).get("__freezable__")
        is_slot = type(status) is MemberDescriptorType
        if status is None or status is True or (is_slot and seen):
            continue
        if type(status) is bool or not isinstance(status, int) or status not in (0, 3):
            return True
    return False


def _statuses() -> Any:
    from icehouse.store.declarations import status

    return status


def _before(obj: Any, is_root: bool) -> None:
    _statuses().before(obj, is_root)


def _before_if_marked(obj: Any, is_root: bool) -> None:
    if "__freezable__" in object.__getattribute__(obj, "__dict__"):
        _statuses().check(obj, is_root)


def _prepare(obj: Any, is_root: bool) -> None:
    status = _statuses()
    try:
        marked = "__freezable__" in object.__getattribute__(obj, "__dict__")
    except AttributeError:
        marked = False
    if marked:
        status.check(obj, is_root)
    status.pre_freeze(obj)
