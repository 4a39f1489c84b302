"""Real, shallow instances (HAZARDS H22): Structs, pydantic models, subclasses of builtin values.

They compare, encode and format through their layout in C, so that a view would not do. They are
made without their class's `__new__`, `__init__`, validators or `__post_init__`; what they hold is
frozen.
"""

from collections.abc import Callable, Mapping
from typing import Any

from icehouse.native._image import FrozenBytes, FrozenTuple, _bare_instance
from icehouse.store.freezing import anatomy, codes, registry
from icehouse.store.freezing.containers import declares
from icehouse.store.freezing.records import Record
from icehouse.store.freezing.refusal import Refusal
from icehouse.store.freezing.trust import Trust, name_of

Fields = tuple[tuple[str, ...], tuple[Any, ...]]

# What gives the plain value of an instance of a subclass, without the subclass's own methods.
PLAIN: dict[type, Callable[[Any], Any]] = {
    bytes: bytes.__bytes__,
    complex: complex.__complex__,
    float: float.__float__,
    int: int.__int__,
    str: str.__str__,
    tuple: lambda obj: tuple.__getitem__(obj, slice(None)),
}
# The name under which that value is stored, which no attribute has.
VALUE = ""

PYDANTIC_EXTRA = "__pydantic_extra__"
PYDANTIC_SET = "__pydantic_fields_set__"
PYDANTIC_PRIVATE = "__pydantic_private__"


def rule(cls: type, base: type) -> tuple[Any, ...] | str | None:
    """Which family a class is of; None where another family of its MRO knows better."""
    if base is tuple:
        sequence: tuple[Any, ...] | None = registry.load("builtin", "rule_of_sequence")(cls, cls)
        if sequence is not None:
            return sequence
    if declares(cls):
        return None
    if anatomy.has_finalizer(cls):
        return (
            f"a {name_of(cls)} would come back as a real instance, whose __del__ would run: "
            "take __del__ away, or say how it freezes: icehouse.register_freezable"
        )
    if name_of(base) == "msgspec.Struct":
        return ("made", codes.STRUCT, _struct_getter(cls))
    if name_of(base) == "pydantic.main.BaseModel":
        return ("made", codes.PYDANTIC, _model)
    bases = anatomy.mro(cls)
    later = bases[anatomy.place(cls, base) + 1 :]
    if base not in PLAIN or any(_others(parent) for parent in later):
        return None
    if base is tuple and anatomy.dict_descriptor(cls) is None:
        return ("tuple",)
    return ("made", codes.SUBCLASS, _subclass_getter(cls, base))


def _others(base: type) -> bool:
    """Whether a class of an MRO is of a family of another file: enums are ints and more."""
    return registry.FAMILIES.get(name_of(base), "made") != "made"


# --- subclasses of str, int, float, bytes, complex, tuple ---


def _subclass_getter(cls: type, base: type) -> Callable[[Any], Fields]:
    plain = PLAIN[base]
    attributes = anatomy.dict_descriptor(cls)

    def getter(obj: Any) -> Fields:
        if attributes is None:
            return (VALUE,), (plain(obj),)
        rest = attributes.__get__(obj)
        return (VALUE, *rest), (plain(obj), *rest.values())

    return getter


def make_subclass(cls: type, names: tuple[str, ...], values: tuple[Any, ...], trust: Trust) -> Any:
    """Make an instance of a subclass of a builtin value type, by that type alone."""
    del trust
    if not names or names[0] != VALUE:
        raise ValueError("an object without its value")
    value = values[0]
    base = next((kind for kind in PLAIN if isinstance(value, kind)), None)
    if base is None:
        # A very large tuple or bytes opens as a view.
        base = {FrozenBytes: bytes, FrozenTuple: tuple}.get(type(value))
    if base is None:
        raise ValueError("the value of an object is of another type")
    if not issubclass(cls, base) or anatomy.has_finalizer(cls):
        return Record(name_of(cls), names, values)
    arguments = (value.real, value.imag) if base is complex else (value,)
    made = _new(base, cls, *arguments)
    return _with_fields(made, cls, names, values)


def _new(base: Any, cls: type, *arguments: Any) -> Any:
    return base.__new__(cls, *arguments)


def _with_fields(made: Any, cls: type, names: tuple[str, ...], values: tuple[Any, ...]) -> Any:
    if len(names) > 1:
        attributes = anatomy.dict_descriptor(cls)
        if attributes is None:
            return Record(name_of(cls), names, values)
        attributes.__get__(made).update(zip(names[1:], values[1:], strict=True))
    return made


# --- msgspec ---


def _struct_getter(cls: type) -> Callable[[Any], Fields]:
    names = _struct_fields(cls)
    members = tuple(anatomy.class_attribute(cls, name).__get__ for name in names)
    attributes = anatomy.dict_descriptor(cls)

    def getter(obj: Any) -> Fields:
        try:
            values = tuple([get(obj) for get in members])
        except AttributeError as error:
            raise Refusal(f"a field of this Struct is not set: {error}") from None
        rest = attributes.__get__(obj) if attributes is not None else None
        return ((*names, *rest), (*values, *rest.values())) if rest else (names, values)

    return getter


def _struct_fields(cls: type) -> tuple[str, ...]:
    import msgspec

    # Of the metaclass of all Structs, whatever a metaclass derived from it says.
    member: Any = anatomy.namespace(type(msgspec.Struct))["__struct_fields__"]
    names: tuple[str, ...] = member.__get__(cls)
    return names


def make_struct(cls: type, names: tuple[str, ...], values: tuple[Any, ...], trust: Trust) -> Any:
    """Make a Struct by setting its fields; neither defaults nor `__post_init__` run.

    A class whose fields have changed gives a record.
    """
    del trust
    import msgspec

    if not issubclass(cls, msgspec.Struct) or anatomy.has_finalizer(cls):
        return Record(name_of(cls), names, values)
    wanted = _struct_fields(cls)
    attributes = anatomy.dict_descriptor(cls)
    rest = dict(zip(names[len(wanted) :], values[len(wanted) :], strict=True))
    if names[: len(wanted)] != wanted or (rest and attributes is None):
        return Record(name_of(cls), names, values)
    made = _bare_instance(cls)
    for name, value in zip(wanted, values, strict=False):
        anatomy.class_attribute(cls, name).__set__(made, value)
    if rest:
        attributes.__get__(made).update(rest)
    return made


# --- pydantic ---


def _model(obj: Any) -> Fields:
    cls = type(obj)
    if not getattr(cls, "__pydantic_complete__", False):
        raise Refusal(
            f"the model {name_of(cls)} is not complete: a type that it names was not defined yet. "
            f"Call {cls.__qualname__}.model_rebuild() when it is"
        )
    found = anatomy.fields(obj, cls)
    special = {
        name: found.pop(name, None) for name in (PYDANTIC_EXTRA, PYDANTIC_SET, PYDANTIC_PRIVATE)
    }
    was_set = special[PYDANTIC_SET]
    if was_set is not None:
        # In the order of the fields, so that equal models make equal images.
        known = [name for name in found if name in was_set]
        special[PYDANTIC_SET] = (*known, *sorted(was_set.difference(known)))
    return (*found, *special), (*found.values(), *special.values())


def make_model(cls: type, names: tuple[str, ...], values: tuple[Any, ...], trust: Trust) -> Any:
    """Make a pydantic model by setting its fields; no validator and no `__init__` runs.

    A class whose fields have changed gives a record.
    """
    del trust
    from pydantic import BaseModel

    found = dict(zip(names, values, strict=True))
    if not issubclass(cls, BaseModel) or anatomy.has_finalizer(cls):
        return Record(name_of(cls), names, values)
    extra, was_set, private = (
        found.pop(name, None) for name in (PYDANTIC_EXTRA, PYDANTIC_SET, PYDANTIC_PRIVATE)
    )
    wanted = anatomy.class_attribute(cls, "__pydantic_fields__") or {}
    if not _fits(cls, found, wanted):
        return Record(name_of(cls), names, values)
    try:
        made = object.__new__(cls)
    except TypeError:  # It has become abstract.
        return Record(name_of(cls), names, values)
    base = anatomy.namespace(BaseModel)
    base["__dict__"].__set__(made, found)
    base[PYDANTIC_SET].__set__(made, set(was_set) if was_set is not None else set())
    base[PYDANTIC_EXTRA].__set__(made, _real_dict(extra))
    base[PYDANTIC_PRIVATE].__set__(made, _real_dict(private))
    return made


def _real_dict(found: Any) -> dict[str, Any] | None:
    """Make a dict, which is what the serializer reads it as. One of thaw() is filled later."""
    return found if found is None or type(found) is dict else dict(found)


def _fits(cls: type, found: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    """Whether a model's fields are those of its class; what it has cached may come on top."""
    return all(name in found for name in wanted) and all(
        name in wanted or type(anatomy.class_attribute(cls, name)).__name__ == "cached_property"
        for name in found
    )
