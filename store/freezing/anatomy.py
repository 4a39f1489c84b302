"""What a class is made of, read past its metaclass and without running anything of it."""

from types import BuiltinFunctionType, FunctionType, GetSetDescriptorType, MemberDescriptorType
from typing import Any

from icehouse.store.freezing.trust import name_of

# As C sees them: neither a metaclass nor a `__getattribute__` is asked.
namespace = type.__dict__["__dict__"].__get__
mro = type.__dict__["__mro__"].__get__
basicsize = type.__dict__["__basicsize__"].__get__
_flags = type.__dict__["__flags__"].__get__
_dictoffset = type.__dict__["__dictoffset__"].__get__
_weakrefoffset = type.__dict__["__weakrefoffset__"].__get__

# Py_TPFLAGS_IMMUTABLETYPE and Py_TPFLAGS_HEAPTYPE
_IMMUTABLE, _HEAPTYPE = 1 << 8, 1 << 9
POINTER_BYTES = tuple.__itemsize__

# Classes whose way of pickling is ours to know: what they define is not a user's wish.
UNDERSTOOD = frozenset(
    {
        *(
            f"builtins.{name}"
            for name in (
                "bytearray bytes complex dict float frozenset int list object set str tuple"
            ).split()
        ),
        *(f"collections.{name}" for name in "Counter OrderedDict defaultdict deque".split()),
        "types.SimpleNamespace",
        "msgspec.Struct",
        "msgspec._core._StructMixin",
        "pydantic.main.BaseModel",
        "pydantic.root_model.RootModel",
        "typing.Generic",
        "typing.Protocol",
    }
)
# Modules that write `__getstate__` and `__setstate__` into the classes that they make.
GENERATORS = frozenset({"dataclasses", "attr._make"})


def is_immutable(cls: type) -> bool:
    """Whether no attribute of a class can be set: one of the interpreter, or a frozen one."""
    return bool(_flags(cls) & _IMMUTABLE)


def is_heap(cls: type) -> bool:
    """Whether a class was made when the program ran, and not compiled into it."""
    return bool(_flags(cls) & _HEAPTYPE)


def place(cls: type, base: type) -> int:
    """Find the place of a base in the MRO, by identity: a metaclass is not asked what is equal."""
    return next(at for at, kind in enumerate(mro(cls)) if kind is base)


def own(cls: type, name: str) -> Any:
    """Find what a class or a base of it defines as `name` itself; None if that is understood.

    A method that a decorator generated (dataclasses, attrs) is none of its own. A class that takes
    a method away (`__reduce__ = None`) has none.
    """
    for base in mro(cls):
        found = namespace(base).get(name)
        if found is None:
            if name in namespace(base):
                return None
            continue
        if name_of(base) in UNDERSTOOD:
            return None
        if type(found) is FunctionType and found.__module__ in GENERATORS:
            return None
        return found
    return None


def class_attribute(cls: type, name: str, default: Any = None) -> Any:
    """Find what a class or a base of it holds under a name, as it lies in the namespace."""
    for base in mro(cls):
        attributes = namespace(base)
        if name in attributes:
            return attributes[name]
    return default


def slots(cls: type) -> tuple[tuple[str, Any], ...]:
    """List the slots of a class, pairs of name and member descriptor, those of bases first.

    Names are mangled as they are in the class. Of slots of one name the last is meant, as in every
    access. `__dict__` and `__weakref__` are no fields.
    """
    found: dict[str, Any] = {}
    for base in reversed(mro(cls)):
        found.update(_members(base))
    return tuple(found.items())


def all_slots(cls: type) -> int:
    """Count the slots that the instances of a class have, hidden ones too."""
    return sum(len(_members(base)) for base in mro(cls))


def _members(base: type) -> dict[str, Any]:
    attributes = namespace(base)
    # Types written in C have members too, and no such name.
    if "__slots__" not in attributes:
        return {}
    return {
        name: value
        for name, value in attributes.items()
        if type(value) is MemberDescriptorType and value.__name__ == name
    }


def dict_descriptor(cls: type) -> Any:
    """Find what reaches the `__dict__` of instances; None if they have none."""
    for base in mro(cls):
        found = namespace(base).get("__dict__")
        if type(found) in (GetSetDescriptorType, MemberDescriptorType) and base is not type:
            return found
    return None


def new(cls: type) -> Any:
    """Make an instance by the nearest `__new__` written in C; TypeError if there can't be one."""
    for base in mro(cls):
        made_by = namespace(base).get("__new__")
        if type(made_by) is BuiltinFunctionType:
            return made_by(cls)
    raise TypeError(f"nothing makes instances of {name_of(cls)}")


def has_finalizer(cls: type) -> bool:
    """Whether code of a user runs when an instance is collected."""
    return any("__del__" in namespace(base) for base in mro(cls))


def holds_more(cls: type, base: type) -> bool:
    """Whether instances hold something in C beyond `base`, their slots and their `__dict__`.

    The same sum as `object.__reduce_ex__` does.
    """
    size = basicsize(base) + all_slots(cls) * POINTER_BYTES
    size += _added(_dictoffset, cls, base) + _added(_weakrefoffset, cls, base)
    return bool(basicsize(cls) > size)


def _added(offset: Any, cls: type, base: type) -> int:
    """Count the bytes of a pointer that a class adds; none where it lies before the object."""
    return POINTER_BYTES if offset(cls) > 0 and offset(base) == 0 else 0


def fields(obj: Any, cls: type) -> dict[str, Any]:
    """Read the slots that are set and the `__dict__` of an object, without its own code."""
    found: dict[str, Any] = {}
    for name, member in slots(cls):
        try:
            found[name] = member.__get__(obj)
        except AttributeError:
            continue
    attributes = dict_descriptor(cls)
    if attributes is not None:
        found.update(attributes.__get__(obj))
    return found


def fill(obj: Any, cls: type, values: dict[str, Any]) -> None:
    """Give a new object its fields, without its own code; LookupError where one has no place."""
    members = dict(slots(cls))
    rest: dict[str, Any] = {}
    for name, value in values.items():
        if name in members:
            members[name].__set__(obj, value)
        else:
            rest[name] = value
    if rest:
        attributes = dict_descriptor(cls)
        if attributes is None:
            raise LookupError(f"{name_of(cls)} has no place for {', '.join(rest)}")
        attributes.__get__(obj).update(rest)
