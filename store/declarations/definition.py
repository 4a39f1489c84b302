"""What a frozen class is made of, written down, so that it can be made again elsewhere.

The definition of a class is a dict. It is read off the frozen class, whose namespace can't change
any more, so nothing of it is kept. Its keys:

* `id` (16 bytes), `magic` and `version` of the Python whose code its functions are;
* `name`, `qualname`, `module`, `doc`; entries of the `bases` and the `metaclass`;
* `print`: what a class of the same name is compared with, to see whether it is this one;
* `space`: {name: entry}, all of the namespace that is not made by making the class;
* `members` of an enumeration: a list of (name, entry of the value, {attribute: entry}).

An *entry* is a tuple that begins with its kind; `open_entry` in rebuild.py has the other half.
"""

import types
from collections.abc import Callable
from importlib.util import MAGIC_NUMBER
from typing import Any

from icehouse.native._image import FrozenFunction, _declaration_of
from icehouse.store.declarations import classes, enum_parts, members, parts
from icehouse.store.declarations.annotations import kept
from icehouse.store.declarations.capture import MARKS, is_by_name, is_library
from icehouse.store.declarations.declared import version
from icehouse.store.freezing import anatomy
from icehouse.store.freezing.classes import tuplegetter
from icehouse.store.freezing.refusal import Refusal
from icehouse.store.freezing.trust import (
    MAIN_MODULES,
    OWN,
    lookup,
    module_of,
    name_of,
    qualname_of,
    resolve_class,
)

# What making a class makes.
_MADE = frozenset(
    {
        *("__dict__", "__weakref__", "__module__", "__qualname__", "__doc__", "__slotnames__"),
        *("_abc_impl", "__subclasshook__", "__msgspec_cache__", "__freezable__"),
        *("__classcell__", "__classdictcell__", "__conditional_annotations__"),
    }
)
# Classes that C or a package keeps more of than can be read off.
_REFUSED = {
    "__struct_fields__": "a msgspec Struct",
    "__pydantic_fields__": "a pydantic model",
    "__pydantic_complete__": "a pydantic dataclass",
    "__attrs_attrs__": "an attrs class",
    "__required_keys__": "a TypedDict",
}


def is_by_value(cls: type) -> bool:
    """Whether a class was frozen by us and no name leads to it that means the same elsewhere."""
    if classes.id_of(cls) is None:
        return False
    module, qualname = module_of(cls), qualname_of(cls)
    return module in MAIN_MODULES or resolve_class(module, qualname, OWN) is not cls


def definition_of(cls: type) -> dict[str, Any] | None:
    """Write a frozen class down; None for one that was not frozen by us.

    Refusal for one that can't be made again by what can be read off it.
    """
    id_ = classes.id_of(cls)
    if id_ is None:
        return None
    space = anatomy.namespace(cls)
    for mark, what in _REFUSED.items():
        if mark in space or (mark == "__struct_fields__" and name_of(type(cls)) in _STRUCTS):
            raise Refusal(
                f"{cls.__qualname__} is {what}, which can't be made again from what its class "
                "holds; define it in a module that can be imported where it is used"
            )
    is_enum = members.is_enum(cls)
    own_members = list(_members(cls)) if is_enum else []
    skipped = _MADE | ({name for name, _, _ in own_members} | members.ENUMS if is_enum else set())
    if is_enum:
        skipped |= {"__new__"} if _is_enums_new(space.get("__new__")) else set()
    doc = space.get("__doc__")
    return {
        "id": id_,
        "magic": MAGIC_NUMBER,
        "version": version(),
        "name": cls.__name__,
        "qualname": qualname_of(cls),
        "module": module_of(cls),
        "doc": doc if type(doc) is str else None,
        "bases": [entry(base) for base in cls.__bases__],
        "metaclass": entry(type(cls)),
        "print": fingerprint(cls),
        "space": {
            name: _member_entry(cls, name, value)
            for name, value in space.items()
            if name not in skipped and not _is_slot(name, value)
        },
        **({"members": own_members, "enum": _enum_facts(cls)} if is_enum else {}),
    }


_STRUCTS = ("msgspec.StructMeta", "msgspec._core.StructMeta")


def _is_slot(name: str, value: Any) -> bool:
    return type(value) is types.MemberDescriptorType and value.__name__ == name


# --- enumerations --------------------------------------------------------------------------------


def _members(cls: Any) -> Any:
    """List the members of an enumeration, aliases too: each with its value and its attributes."""
    for name, member in cls._member_map_.items():
        attributes = {
            key: entry(value) for key, value in member.__dict__.items() if key not in _MEMBERS
        }
        yield name, entry(member._value_), attributes


# What the enumeration itself writes into its members.
_MEMBERS = ("_value_", "_name_", "__objclass__", "_sort_order_", "_inverted_", "_args_")


def _is_enums_new(value: Any) -> bool:
    return getattr(value, "__module__", None) == "enum"


def _enum_facts(cls: Any) -> dict[str, Any]:
    """Say what making the enumeration again must be told, or would find otherwise."""
    space = anatomy.namespace(cls)
    boundary = space.get("_boundary_")
    return {
        "boundary": None if boundary is None else boundary.name,
        "use_args": bool(space.get("_use_args_")),
        "value_repr": entry(space.get("_value_repr_")),
        "new_member": entry(space.get("_new_member_")),
        "member_type": entry(space.get("_member_type_", object)),
    }


# --- entries -------------------------------------------------------------------------------------


def _member_entry(cls: type, name: str, value: Any) -> tuple[Any, ...]:
    if type(value) is parts.FixedAnnotations:
        return "annotations", {key: kept(each) for key, each in value.items()}
    if name == "__orig_bases__":
        return "tuple", [entry(each) for each in value]
    try:
        return entry(value)
    except Refusal as refusal:
        raise Refusal(f"{cls.__qualname__}.{name}: {refusal}") from None


def entry(value: Any) -> tuple[Any, ...]:
    """Write one entry of a namespace, or a part of one, as a tuple that begins with its kind."""
    kind = type(value)
    if kind is FrozenFunction:
        declared = _declaration_of(value)
        if type(declared) is members.RecursiveRepr:
            return "recursive_repr", declared.function, declared.fill
        if type(declared) is enum_parts.Guard:
            own = declared.own
            return "guard", declared.names[:3], None if own is None else entry(own)
        return "function", value
    write = _KINDS.get(kind)
    if write is not None:
        return write(value)
    if name_of(kind) in MARKS:
        return ("named", *MARKS[name_of(kind)])
    if kind is types.FunctionType:
        return _function(value)
    if isinstance(value, types.ModuleType):
        return "module", value.__name__
    if issubclass(kind, type) and _is_librarys(value):
        return "named", module_of(value), qualname_of(value)
    if kind.__module__ == "icehouse.store.declarations.dataclass_parts":
        return _of_dataclass(value)
    if name_of(kind) in ("enum.property", "types.DynamicClassAttribute"):
        return "dynamic", name_of(kind), *(entry(f) for f in (value.fget, value.fset, value.fdel))
    return "value", value


def _is_librarys(cls: type) -> bool:
    return is_library(module_of(cls), "") and lookup(module_of(cls), qualname_of(cls)) is cls


def _function(value: Any) -> tuple[Any, ...]:
    if is_by_name(value):
        return "named", value.__module__, value.__qualname__
    raise Refusal("it is a function that was not frozen")


def _property(value: property) -> tuple[Any, ...]:
    name = getattr(value, "__name__", None)
    functions = (entry(function) for function in (value.fget, value.fset, value.fdel))
    return ("property", *functions, value.__doc__, name if type(name) is str else None)


def _wrapped(kind: str) -> Callable[[Any], tuple[Any, ...]]:
    return lambda value: (kind, entry(value.__func__))


_KINDS: dict[type, Callable[[Any], tuple[Any, ...]]] = {
    parts.FrozenProperty: _property,
    property: _property,
    parts.FrozenClassMethod: _wrapped("classmethod"),
    parts.FrozenSubclassHook: _wrapped("subclass_hook"),
    parts.FrozenStaticMethod: _wrapped("staticmethod"),
    classmethod: _wrapped("classmethod"),
    staticmethod: _wrapped("staticmethod"),
    parts.FrozenCachedProperty: lambda value: (
        *("cached_property", entry(value.func), value.attrname, value.__doc__),
    ),
    parts.FrozenPartialMethod: lambda value: (
        *("partialmethod", entry(value.func), [entry(each) for each in value.args]),
        {key: entry(each) for key, each in value.keywords.items()},
    ),
    parts.FrozenDispatchMethod: lambda value: (
        *("singledispatchmethod", entry(value.func)),
        [(cls, entry(function)) for cls, function in value.registry],
    ),
    parts.FrozenDescriptor: lambda value: ("descriptor", value.view, value.cls),
    parts.FrozenDataDescriptor: lambda value: ("data_descriptor", value.view, value.cls),
    parts.FixedDict: lambda value: ("fixed_dict", dict(value)),
    parts.FixedList: lambda value: ("fixed_list", list(value)),
    tuplegetter: lambda value: ("tuplegetter", *value.__reduce__()[1]),
}


def _of_dataclass(value: Any) -> tuple[Any, ...]:
    from icehouse.store.declarations import dataclass_parts as dc

    if type(value) is dc.FrozenParams:
        return "params", {name: entry(getattr(value, name)) for name in dc.params_of(value)}
    fields = {}
    for name, field in value.items():
        told = {key: entry(getattr(field, key)) for key in dc.SAID if hasattr(field, key)}
        told["metadata"] = "value", dict(field.metadata)
        type_ = field.type
        kind = getattr(field, "_field_type")  # noqa: B009 - it has no public name
        fields[name] = field.name, kept(type_), kind.name, told
    return "fields", fields


# --- what tells classes of one name apart ---------------------------------------------------------


def fingerprint(cls: type) -> bytes:
    """Digest what a class says: its names, and of its functions the names, constants and code.

    The same whether or not it is frozen, and in each process that ran the same definition.
    """
    from icehouse.store.files import sha256

    skipped = _MADE | members.INTERPRETERS | members.ENUMS
    said: list[str] = [qualname_of(cls), *(qualname_of(base) for base in cls.__bases__)]
    for name, value in sorted(anatomy.namespace(cls).items()):
        if name in skipped or (name.startswith("__") and name in _WRITTEN):
            continue
        said.append(name)
        for function in _functions_of(value):
            said.extend(_said(function.__code__))
    digest = sha256()
    digest.update("\0".join(said).encode("utf-8", "surrogatepass"))
    return bytes(digest.digest())


_WRITTEN = members.DATACLASS_METHODS - {"__init__"} | {
    *("__annotations__", "__annotations_cache__", "__annotate_func__", "__annotate__")
}


def _functions_of(value: Any) -> list[Any]:
    kind = type(value)
    if kind is FrozenFunction:
        declared = _declaration_of(value)
        code = getattr(declared, "code", None)
        return [value] if type(code) is types.CodeType else []
    if kind is types.FunctionType:
        return [value]
    if isinstance(value, classmethod | staticmethod):
        return _functions_of(value.__func__)
    if isinstance(value, property):
        return [each for f in (value.fget, value.fset, value.fdel) for each in _functions_of(f)]
    return []


def _said(code: types.CodeType) -> list[str]:
    return [
        ",".join((*code.co_varnames, "", *code.co_names)),
        code.co_code.hex(),
        *(
            part
            for const in code.co_consts
            if type(const) is types.CodeType
            for part in _said(const)
        ),
        *(_constant(const) for const in code.co_consts if type(const) is not types.CodeType),
    ]


def _constant(const: Any) -> str:
    """Write a constant: what is in a set comes in another order in each process."""
    if type(const) is tuple:
        return f"({', '.join(map(_constant, const))})"
    if type(const) is frozenset:
        return f"{{{', '.join(sorted(map(_constant, const)))}}}"
    return repr(const)
