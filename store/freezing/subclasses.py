"""Subclasses that users made of value types: kept as real instances of their class.

An object of a subclass of `datetime`, `Decimal`, `Path`, ... is a MADE object of the family
SUBVALUE: its first name is "" and the value is the plain value (`datetime.datetime(...)`), the
others are the attributes that the subclass added. It is made again by the type's own `__new__` and
`__init__`, never by the user's, and attributes are set past any `__setattr__`.
"""

from types import (
    BuiltinFunctionType,
    BuiltinMethodType,
    GetSetDescriptorType,
    MemberDescriptorType,
)
from typing import Any

from icehouse.store.freezing import codes, registry
from icehouse.store.freezing.trust import Trust, module_of, name_of, namespace_of

# Types written in C (where they are) -> the file of their family, whose `remake` makes an instance.
REMAKES = {
    "datetime.date": "dates",
    "datetime.datetime": "dates",
    "datetime.time": "dates",
    "datetime.timedelta": "dates",
    "datetime.tzinfo": "dates",
    "decimal.Decimal": "numbers",
}
# Types written in Python: an instance is made of the slots and the `__dict__` of a plain value.
CLONED = frozenset(
    {
        "fractions.Fraction",
        "uuid.UUID",
        *(
            f"ipaddress.IPv{n}{kind}"
            for n in (4, 6)
            for kind in ("Address", "Interface", "Network")
        ),
        "pathlib.PurePath",
    }
)


def has_finalizer(cls: type) -> bool:
    """Whether collecting an instance would run code of a user."""
    return any("__del__" in namespace_of(base) for base in cls.__mro__)


def declares(cls: type, base: type) -> bool:
    """Whether a class that is nearer in the MRO than `base` says itself how it pickles."""
    own = cls.__mro__[: cls.__mro__.index(base)]
    return any(not _PICKLING.isdisjoint(namespace_of(kind)) for kind in own)


_PICKLING = frozenset({"__reduce__", "__reduce_ex__", "__getinitargs__"})


def rule(cls: type, base: type, plain: Any) -> tuple[Any, ...] | str:
    """Give the rule of a user's subclass. `plain(obj)` is its plain value; None: there is none.

    A class that says itself how it pickles is taken at its word, as reduce.py has it.
    """
    if declares(cls, base):
        reduced: tuple[Any, ...] | str = registry.load("reduce", "rule")(cls)
        return reduced
    if has_finalizer(cls):
        return (
            f"a {name_of(cls)} has __del__, and what comes back would run it: "
            "remove __del__, or register_freezable(type, freeze=, thaw=)"
        )

    def getter(obj: Any) -> tuple[tuple[str, ...], tuple[Any, ...]]:
        attributes = attributes_of(obj, base)
        if plain is None:
            return tuple(attributes), tuple(attributes.values())
        value = plain(obj)
        for name in dict_of(value) or ():  # what the type itself keeps there
            attributes.pop(name, None)
        return ("", *attributes), (value, *attributes.values())

    return ("made", codes.SUBVALUE, getter)


def attributes_of(obj: Any, base: type) -> dict[str, Any]:
    """Read what classes of `obj` beyond `base` add to it: slots, then its `__dict__`."""
    inherited = base.__mro__
    found: dict[str, Any] = {}
    for cls in reversed(type(obj).__mro__):
        if cls in inherited:
            continue
        for name, member in namespace_of(cls).items():
            if type(member) is MemberDescriptorType:
                try:
                    found[name] = member.__get__(obj)
                except AttributeError:  # not set
                    continue
    found.update(dict_of(obj) or {})
    return found


def dict_of(obj: Any) -> dict[str, Any] | None:
    """Find the `__dict__` of an instance, past what its class may say that it is."""
    for cls in type(obj).__mro__:
        holder = namespace_of(cls).get("__dict__")
        if type(holder) is GetSetDescriptorType:
            found: dict[str, Any] = holder.__get__(obj)
            return found
    return None


def set_attributes(obj: Any, base: type, names: Any, values: Any) -> None:
    """Give a new object what attributes_of() found, past any `__setattr__`."""
    namespace = dict_of(obj)
    slots = {
        name: member
        for cls in reversed(type(obj).__mro__)
        if cls not in base.__mro__
        for name, member in namespace_of(cls).items()
        if type(member) is MemberDescriptorType
    }
    for name, value in zip(names, values, strict=True):
        if type(name) is not str:
            raise ValueError("the name of an attribute is text")
        slot = slots.get(name)
        if slot is not None:
            slot.__set__(obj, value)
        elif namespace is not None:
            namespace[name] = value
        # Else the class has no place for it any more.


def make(cls: type, names: Any, values: Any, trust: Trust) -> Any:
    """Make an instance of a user's subclass again."""
    del trust
    if has_finalizer(cls):
        raise ValueError(f"{name_of(cls)} has __del__")
    base = next((kind for kind in cls.__mro__ if _is_known(kind)), None)
    if base is None:
        raise ValueError(f"{name_of(cls)} is no subclass of a type of values")
    plain = None
    if names and names[0] == "":
        plain, names, values = values[0], names[1:], values[1:]
    if name_of(base) == "datetime.tzinfo" and plain is None:
        pass
    elif not isinstance(plain, base) or module_of(type(plain)) != module_of(base):
        raise ValueError(f"a {type(plain).__name__} in place of a {base.__name__}")
    # Where a type usually written in C is one in Python, as on 3.12 in interpreters with a GIL of
    # their own, its constructor would ask the subclass to set attributes.
    if type(namespace_of(base).get("__new__")) in (BuiltinFunctionType, BuiltinMethodType):
        obj = registry.load(REMAKES[name_of(base)], "remake")(base, cls, plain)
    else:
        obj = _clone(cls, plain)
    set_attributes(obj, base, names, values)
    return obj


def _is_known(kind: type) -> bool:
    name = name_of(kind)
    return name in REMAKES or name in CLONED


def _clone(cls: type, plain: Any) -> Any:
    """Copy what a plain value keeps in Python into a new instance of a subclass."""
    obj: Any = object.__new__(cls)
    for base in type(plain).__mro__ if plain is not None else ():
        if base not in cls.__mro__:
            continue
        for name, member in namespace_of(base).items():
            if type(member) is MemberDescriptorType and name != "__weakref__":
                try:
                    member.__set__(obj, member.__get__(plain))
                except AttributeError:  # not set
                    continue
    own = dict_of(obj)
    if own is not None:
        own.update(dict_of(plain) or {})
    return obj
