"""Subclasses that users made of value types: kept as real instances of their class.

An object of a subclass of `datetime`, `Decimal`, `Path`, ... is a MADE object of the family
SUBVALUE: its first name is "" and the value is the plain value (`datetime.datetime(...)`), the
others are the attributes that the subclass added. It is made again by the type's own `__new__` and
`__init__`, never by the user's, and attributes are set past any `__setattr__`.
"""

from collections.abc import Callable
from types import BuiltinFunctionType, MemberDescriptorType
from typing import Any, NamedTuple

from icehouse.store.freezing import anatomy, codes, registry
from icehouse.store.freezing.records import Record
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


def declares(cls: type, base: type) -> bool:
    """Whether a class that is nearer in the MRO than `base` says itself how it pickles."""
    own = cls.__mro__[: anatomy.place(cls, base)]
    return any(not _PICKLING.isdisjoint(namespace_of(kind)) for kind in own)


_PICKLING = frozenset({"__reduce__", "__reduce_ex__", "__getinitargs__"})


def rule(cls: type, base: type, plain: Any) -> tuple[Any, ...] | str:
    """Give the rule of a user's subclass. `plain(obj)` is its plain value; None: there is none.

    A class that says itself how it pickles is taken at its word, as reduce.py has it.
    """
    if declares(cls, base):
        reduced: tuple[Any, ...] | str = registry.load("reduce", "rule")(cls)
        return reduced
    if anatomy.has_finalizer(cls):
        return (
            f"a {name_of(cls)} has __del__, and what comes back would run it: "
            "remove __del__, or register_freezable(type, freeze=, thaw=)"
        )

    slots = slots_of(cls, base)
    namespace = anatomy.dict_descriptor(cls)

    def getter(obj: Any) -> tuple[tuple[str, ...], tuple[Any, ...]]:
        attributes = _read(obj, slots, namespace)
        if plain is None:
            return tuple(attributes), tuple(attributes.values())
        value = plain(obj)
        for name in dict_of(value) or ():  # what the type itself keeps there
            attributes.pop(name, None)
        return ("", *attributes), (value, *attributes.values())

    return ("made", codes.SUBVALUE, getter)


def slots_of(cls: type, base: type) -> dict[str, Any]:
    """Find the slots of classes beyond `base`, by name."""
    return {
        name: member
        for kind in reversed(anatomy.mro(cls))
        if kind not in base.__mro__
        for name, member in namespace_of(kind).items()
        if type(member) is MemberDescriptorType
    }


def _read(obj: Any, slots: dict[str, Any], namespace: Any) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, member in slots.items():
        try:
            found[name] = member.__get__(obj)
        except AttributeError:  # not set
            continue
    if namespace is not None:
        found.update(namespace.__get__(obj))
    return found


def attributes_of(obj: Any, base: type) -> dict[str, Any]:
    """Read what classes of `obj` beyond `base` add to it: slots, then its `__dict__`."""
    cls = type(obj)
    return _read(obj, slots_of(cls, base), anatomy.dict_descriptor(cls))


def dict_of(obj: Any) -> dict[str, Any] | None:
    """Find the `__dict__` of an instance, past what its class may say that it is."""
    holder = anatomy.dict_descriptor(type(obj))
    return None if holder is None else holder.__get__(obj)


def set_attributes(obj: Any, slots: dict[str, Any], names: Any, values: Any) -> bool:
    """Give a new object its attributes, past any `__setattr__`; False: one has no place there."""
    if not names:
        return True
    namespace = dict_of(obj)
    for name, value in zip(names, values, strict=True):
        if type(name) is not str:
            raise ValueError("the name of an attribute is text")
        slot = slots.get(name)
        if slot is not None:
            slot.__set__(obj, value)
        elif namespace is not None:
            namespace[name] = value
        else:
            return False
    return True


class _Plan(NamedTuple):
    """What is the same for all instances of a class."""

    base: type
    # None: the plain value is cloned.
    remake: Callable[[type, type, Any], Any] | None
    slots: dict[str, Any]


# By id, since a metaclass may say what it likes about hash and equality. The class keeps its id.
_plans: dict[int, tuple[type, _Plan]] = {}
_PLANS_MAX = 256


def _plan(cls: type) -> _Plan:
    base = next((kind for kind in cls.__mro__ if _is_known(kind)), None)
    if base is None:
        raise ValueError(f"{name_of(cls)} is no subclass of a type of values")
    # Where a type usually written in C is one in Python, as on 3.12 in interpreters with a GIL of
    # their own, its constructor would ask the subclass to set attributes.
    in_c = type(namespace_of(base).get("__new__")) is BuiltinFunctionType
    remake = registry.load(REMAKES[name_of(base)], "remake") if in_c else None
    if len(_plans) >= _PLANS_MAX:
        _plans.clear()
    made = _Plan(base, remake, slots_of(cls, base))
    _plans[id(cls)] = cls, made
    return made


def make(cls: type, names: Any, values: Any, trust: Trust) -> Any:
    """Make an instance of a user's subclass again; a record if its class has changed too much."""
    del trust
    if anatomy.has_finalizer(cls):
        raise ValueError(f"{name_of(cls)} has __del__")
    known = _plans.get(id(cls))
    base, remake, slots = _plan(cls) if known is None else known[1]
    plain, rest, contents = None, names, values
    if names and names[0] == "":
        plain, rest, contents = values[0], names[1:], values[1:]
    if plain is None and name_of(base) == "datetime.tzinfo":
        pass
    elif not isinstance(plain, base) or module_of(type(plain)) != module_of(base):
        raise ValueError(f"a {type(plain).__name__} in place of a {base.__name__}")
    obj = _clone(cls, plain) if remake is None else remake(base, cls, plain)
    if not set_attributes(obj, slots, rest, contents):
        return Record(name_of(cls), names, values)
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
