"""Members of enumerations, by class and name; composite flags by class and value.

The payload is (module, qualname, name, value), and the class itself where its name leads nowhere.
The value of a named member is there for those who can't find the class, and only if it is a plain
one.
"""

import enum
from typing import Any

from icehouse.store.freezing import codes
from icehouse.store.freezing.builtin import named
from icehouse.store.freezing.records import Record
from icehouse.store.freezing.refusal import Refusal
from icehouse.store.freezing.trust import Trust, class_among, namespace_of

_PLAIN = frozenset({bool, int, float, str, bytes, type(None)})


def rule(cls: type, base: type) -> tuple[Any, ...] | None:
    """Store members of any enumeration."""
    del cls
    return ("value", codes.ENUM, _payload) if base is enum.Enum else None


def _payload(member: Any) -> tuple[Any, ...]:
    cls = type(member)
    module, qualname, rest = named(cls)
    name, value = member._name_, member._value_
    if namespace_of(cls).get("_member_map_", {}).get(name) is member:
        plain = value if type(value) in _PLAIN else None
        return module, qualname, name, plain, *rest
    if not issubclass(cls, enum.Flag):
        raise Refusal(
            f"{cls.__name__} has no member {name!r} that is this one: it was made past the "
            "enumeration, and no other process could find it"
        )
    # Its own value, so that an int of a subclass is stored as the number that it is.
    return module, qualname, None, int(value), *rest


def open_member(payload: Any, trust: Trust) -> Any:
    """Find the member; a record of name and value where its class may not or can't be found."""
    module, qualname, name, value, *rest = payload
    cls = class_among(rest, module, qualname, trust)
    if cls is not None and issubclass(cls, enum.Enum):
        found = _find(cls, name, value)
        if found is not None:
            return found
    return Record(f"{module}.{qualname}", ("name", "value"), (name, value))


def _find(cls: Any, name: Any, value: Any) -> Any:
    """Find a member by name, or a composite flag by value: no code of the enumeration runs."""
    own = namespace_of(cls)
    if name is not None:
        return own.get("_member_map_", {}).get(name)
    if type(value) is not int:
        raise ValueError("a composite flag is stored as a number")
    known = own.get("_value2member_map_", {}).get(value)
    if known is not None or not issubclass(cls, enum.Flag):
        return known
    if own.get("_member_type_") not in (object, int):
        return None  # made by code of the mixed-in type
    try:
        return enum.Flag._missing_.__func__(cls, value)  # type: ignore[attr-defined]
    except ValueError:
        return None  # no such bits here: another version of the class
