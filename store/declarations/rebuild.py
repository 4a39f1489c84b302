"""Frozen classes from their definitions (definition.py): made once in each interpreter.

No code of a class runs when it is made again: neither its metaclass's nor an `__init_subclass__`
of its bases, nor what makes the members of an enumeration. What these did is in the definition. The
class is made empty, by the nearest metaclass of the interpreter or a library, and its namespace is
filled in then; so classes and functions may refer to each other, as each is known from the moment
that it exists.
"""

import contextlib
import os
import threading
import types
from collections.abc import Iterator, Mapping
from importlib.util import MAGIC_NUMBER
from typing import Any

from icehouse.native._image import _freeze_class
from icehouse.store.declarations import classes, declared, enum_parts, identity, members, parts
from icehouse.store.declarations.capture import is_library
from icehouse.store.freezing import anatomy, hooks
from icehouse.store.freezing.records import Record
from icehouse.store.freezing.refusal import OtherVersion
from icehouse.store.freezing.trust import (
    MAIN_MODULES,
    Trust,
    find_class,
    lookup_plain,
    module_of,
)

# How long to wait for another thread that makes classes. It may wait for an import of ours.
_PATIENCE_S = 10.0
_lock = threading.RLock()
_local = threading.local()
# Methods of bases that would run when the members of an enumeration are made.
_PAST_BASES = ("__setattr__", "__getattribute__")
# What a class needs when it is made; all else is filled in.
_FIRST = ("__slots__", "__orig_bases__", "_is_protocol", "__total__")


def rebuild(module: str, qualname: str, definition: Any, trust: Trust) -> type | None:
    """Find or make the class of a definition, for an image that is trusted with code.

    A class of that name counts that is here anyway: by any module but the main one, or if it says
    the same. None where it can't be made, since a base or its metaclass is not to be found.
    `OtherVersion` for a definition of another version of Python, ValueError for a damaged one.
    """
    if not isinstance(definition, Mapping):
        raise ValueError("the definition of a class is not a dict")
    id_ = definition["id"]
    if type(id_) is not bytes or len(id_) != classes.ID_BYTES:
        raise ValueError("the id of a class is not 16 bytes")
    found = identity.find(trust.own, id_)
    if found is None:
        found = _here(definition, module, qualname, trust)
    if found is not None:
        return found if issubclass(type(found), type) else None
    version = definition["version"]
    if definition["magic"] != MAGIC_NUMBER:
        raise OtherVersion(
            f"the class {module}.{qualname} was frozen by Python {version} and can't be made by "
            f"Python {declared.version()}: the code of its functions is that of one version. "
            f"Freeze it with Python {declared.version()}, or import its module here"
        )
    with _building() as building:
        key = trust.own, id_
        if key not in building:
            # Another thread may have made it while this one waited.
            found = identity.find(trust.own, id_)
            return _made(definition, trust, building, key) if found is None else found
        found = building[key]
        if found is None:
            raise ValueError("a class is needed to make itself")
        return found


def _renew() -> None:
    """Forget the lock of a thread that a forked child does not have."""
    global _lock
    _lock = threading.RLock()


os.register_at_fork(after_in_child=_renew)

_Building = dict[tuple[bool, bytes], type | None]


def _made(
    definition: Any, trust: Trust, building: _Building, key: tuple[bool, bytes]
) -> type | None:
    """Make a class; what its definition leads back to finds it from the moment that it exists."""
    building[key] = None
    try:
        try:
            maker = _Maker(definition)
        except ImportError:
            return None
        cls = maker.made()
        if cls is None:
            return None
        building[key] = cls
        maker.fill(cls)
        _freeze_class(cls)
    finally:
        del building[key]
    classes.remember(cls, key[1])
    hooks.generation += 1
    return identity.remember(trust.own, key[1], cls)  # type: ignore[no-any-return]


def _here(definition: Any, module: str, qualname: str, trust: Trust) -> type | None:
    """Find the class by its name; in the main module only one that says the same."""
    found = find_class(module, qualname, trust)
    if found is None or module not in MAIN_MODULES:
        return found
    from icehouse.store.declarations.definition import fingerprint

    return found if fingerprint(found) == definition["print"] else None


@contextlib.contextmanager
def _building() -> Iterator["_Building"]:
    """Make classes one thread at a time; what this thread is at: None until the class exists."""
    lock = _lock
    held = lock.acquire(timeout=_PATIENCE_S)
    try:
        building: _Building | None = getattr(_local, "building", None)
        if building is None:
            building = _local.building = {}
        yield building
    finally:
        if held:
            lock.release()


class _Maker:
    """Makes one class."""

    def __init__(self, definition: Any) -> None:
        self._definition = definition
        self._space = definition["space"]
        for key in ("name", "qualname", "module"):
            if type(definition[key]) is not str:
                raise ValueError("the name of a class is not text")
        self._bases = tuple(open_entry(entry) for entry in definition["bases"])
        self._meta = open_entry(definition["metaclass"])

    def made(self) -> type | None:
        """Make it, without its namespace; None where a class that it needs is not here."""
        if not all(issubclass(type(each), type) for each in (*self._bases, self._meta)):
            if all(isinstance(each, type | Record) for each in (*self._bases, self._meta)):
                return None
            raise ValueError("the bases of a class are not classes")
        if not issubclass(self._meta, type):
            raise ValueError("the metaclass of a class is not one")
        with parts.no_subclass_hooks():
            return self._made_enum() if "members" in self._definition else self._made()

    # --- making it -------------------------------------------------------------------------------

    def _first(self) -> dict[str, Any]:
        definition = self._definition
        space = {
            "__module__": definition["module"],
            "__qualname__": definition["qualname"],
            "__doc__": definition["doc"],
        }
        for name in _FIRST:
            if name in self._space:
                space[name] = open_entry(self._space[name])
        return space

    def _made(self) -> type:
        name = self._definition["name"]
        made: type = _library(self._meta, "__new__")(self._meta, name, self._bases, self._first())
        init = _library(self._meta, "__init__")
        if init is not type.__init__:
            init(made, name, self._bases, dict(anatomy.namespace(made)))
        return made

    def _made_enum(self) -> type:
        """Make an enumeration of ready-made members: neither `__new__` nor `__init__` runs."""
        import enum

        name, facts = self._definition["name"], self._definition["enum"]
        told = [
            (key, open_entry(value), {k: open_entry(v) for k, v in attributes.items()})
            for key, value, attributes in self._definition["members"]
        ]
        member_type = open_entry(facts["member_type"])
        space: Any = enum.EnumType.__prepare__(name, self._bases)
        for key, value in self._first().items():
            space[key] = value
        # Members are numbered, and their number is what making them is told.
        space["__new__"] = _member_maker(told, member_type)
        space["__init__"] = _nothing
        for key in _PAST_BASES:  # enum writes into the members, and reads them
            space[key] = getattr(object, key)
        for at, (key, _, _) in enumerate(told):
            space[key] = (_Number(at),)
        keywords = {}
        if facts["boundary"] is not None:
            keywords["boundary"] = enum.FlagBoundary[facts["boundary"]]
        make = _library(self._meta, "__new__")
        made: Any = make(self._meta, name, self._bases, space, **keywords)
        self._mend_enum(made, facts)
        return made  # type: ignore[no-any-return]

    def _mend_enum(self, made: Any, facts: Any) -> None:
        """Put in place what making the members again has found otherwise."""
        for name in ("__init__", *_PAST_BASES):
            type.__delattr__(made, name)
        for name in ("__new_member__", "_new_member_"):
            if name in anatomy.namespace(made):
                type.__setattr__(made, name, open_entry(facts["new_member"]))
        type.__setattr__(made, "_use_args_", facts["use_args"])
        type.__setattr__(made, "_value_repr_", open_entry(facts["value_repr"]))
        for member in made._member_map_.values():
            member.__dict__.pop("_args_", None)
        fixed: dict[type, Any] = {dict: parts.fixed_dict, list: parts.fixed_list}
        for name, value in list(anatomy.namespace(made).items()):
            if members.enum_state(made, name) == "fixed" and type(value) in fixed:
                type.__setattr__(made, name, fixed[type(value)](value))

    def fill(self, cls: Any) -> None:
        """Fill its namespace."""
        for name, entry in self._space.items():
            if type(name) is not str:
                raise ValueError("the name of an attribute is not text")
            if name in _FIRST:
                continue
            value: Any = open_entry(entry)
            if type(value) is parts.FrozenProperty and hasattr(value, "__set_name__"):
                _set_name(value, cls, name)
            type.__setattr__(cls, name, value)


def _set_name(value: Any, cls: type, name: str) -> None:
    value.__set_name__(cls, name)


def _nothing(member: Any, number: Any) -> None:
    del member, number


class _Number(int):
    """The number of a member, which nothing takes for its value."""


def _member_maker(told: list[Any], member_type: Any) -> Any:
    def new(cls: Any, number: int) -> Any:
        _, value, attributes = told[number]
        if member_type is object:
            made = object.__new__(cls)
        else:
            base = _library_class(member_type)
            made = base.__new__(cls, value)
        made._value_ = value
        made.__dict__.update(attributes)
        return made

    return new


def _library_class(cls: type) -> Any:
    """Find the class of the interpreter or a library below one of the user's."""
    return next(base for base in anatomy.mro(cls) if classes.id_of(base) is None)


def _library(meta: type, name: str) -> Any:
    """Find a method of a metaclass that is not the user's."""
    for base in anatomy.mro(meta):
        if name in anatomy.namespace(base) and (base is type or is_library(module_of(base), "")):
            return type.__getattribute__(base, name)
    return getattr(type, name)


# --- entries -------------------------------------------------------------------------------------


def open_entry(entry: Any) -> Any:
    """Make what an entry of a definition stands for; ValueError for what is none."""
    kind, *rest = tuple(entry)
    opener = _OPENERS.get(kind)
    if opener is None:
        raise ValueError(f"there is no entry of kind {kind!r} in the definition of a class")
    return opener(*rest)


def _value(value: Any) -> Any:
    return value


def _named(module: str, qualname: str) -> Any:
    found = lookup_plain(module, qualname)
    if found is None:
        raise ImportError(f"a frozen class needs {module}.{qualname}, which is not here")
    return found


def _module(name: str) -> Any:
    import importlib

    return importlib.import_module(name)


def _recursive_repr(function: Any, fill: str) -> Any:
    return members.RecursiveRepr(function, fill).made()


def _property(fget: Any, fset: Any, fdel: Any, doc: Any, name: Any) -> Any:
    made = parts.FrozenProperty(open_entry(fget), open_entry(fset), open_entry(fdel), doc)
    del name
    return parts.seal(made)


def _method(cls: Any) -> Any:
    def open_method(function: Any) -> Any:
        opened = open_entry(function)
        try:
            return parts.seal(cls(opened))
        except ImportError as error:
            # Methods of classes copy attributes, for which the function must be there.
            reason = f"{opened.__qualname__} can't be called here: {error}"
            return parts.seal(cls(declared.uncallable(opened, reason)))

    return open_method


def _cached(function: Any, name: Any, doc: Any) -> Any:
    return parts.seal(parts.FrozenCachedProperty(open_entry(function), name, doc))


def _partial(function: Any, arguments: Any, keywords: Any) -> Any:
    return parts.seal(
        parts.FrozenPartialMethod(
            open_entry(function),
            tuple(open_entry(each) for each in arguments),
            {key: open_entry(each) for key, each in keywords.items()},
        )
    )


def _dispatch(function: Any, registry: Any) -> Any:
    found = [(cls, open_entry(each)) for cls, each in registry]
    return parts.seal(parts.FrozenDispatchMethod(open_entry(function), found))


def _dynamic(kind: str, fget: Any, fset: Any, fdel: Any) -> Any:
    import enum

    cls: Any = enum.property if kind == "enum.property" else types.DynamicClassAttribute
    return cls(open_entry(fget), open_entry(fset), open_entry(fdel))


def _tuplegetter(index: int, doc: str) -> Any:
    from icehouse.store.freezing.classes import tuplegetter

    return tuplegetter(index, doc)


def _params(values: Any) -> Any:
    from icehouse.store.declarations import dataclass_parts as dc

    return dc.frozen_params({name: open_entry(each) for name, each in values.items()})


def _fields(fields: Any) -> Any:
    import dataclasses

    from icehouse.store.declarations import dataclass_parts as dc

    made = {}
    for key, (name, type_, kind, told) in fields.items():
        if kind not in ("_FIELD", "_FIELD_CLASSVAR", "_FIELD_INITVAR"):
            raise ValueError(f"there is no kind {kind!r} of dataclass fields")
        values = dc.unsaid()
        for each, entry in told.items():
            if each not in values:
                raise ValueError(f"a dataclass field has no {each!r}")
            values[each] = open_entry(entry)
        values["metadata"] = types.MappingProxyType(dict(values["metadata"]))
        values.update(name=name, type=type_, _field_type=getattr(dataclasses, kind))
        made[key] = dc.frozen_field(values)
    return dc.Fields(made)


_OPENERS: dict[Any, Any] = {
    "value": _value,
    "function": _value,
    "named": _named,
    "module": _module,
    "recursive_repr": _recursive_repr,
    "guard": lambda names, own: enum_parts.open_guard(names, own and open_entry(own)),
    "property": _property,
    "classmethod": _method(parts.FrozenClassMethod),
    "subclass_hook": _method(parts.FrozenSubclassHook),
    "staticmethod": _method(parts.FrozenStaticMethod),
    "cached_property": _cached,
    "partialmethod": _partial,
    "singledispatchmethod": _dispatch,
    "dynamic": _dynamic,
    "descriptor": lambda view, cls: parts.seal(parts.FrozenDescriptor(view, cls)),
    "data_descriptor": lambda view, cls: parts.seal(parts.FrozenDataDescriptor(view, cls)),
    "annotations": lambda values: parts.fixed_dict(values, parts.FixedAnnotations),
    "tuple": lambda entries: tuple(open_entry(each) for each in entries),
    "fixed_dict": parts.fixed_dict,
    "fixed_list": parts.fixed_list,
    "tuplegetter": _tuplegetter,
    "params": _params,
    "fields": _fields,
}
