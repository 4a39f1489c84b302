"""What the interpreter itself has: classes and builtin functions by reference, range, slice, ..."""

import gc
import sys
from types import MappingProxyType, MemberDescriptorType, ModuleType
from typing import Any

from icehouse.native._image import FrozenDict
from icehouse.store.freezing import anatomy, codes
from icehouse.store.freezing.records import Record
from icehouse.store.freezing.refusal import Refusal
from icehouse.store.freezing.trust import (
    OWN,
    Trust,
    lookup,
    module_of,
    name_of,
    namespace_of,
    qualname_of,
    resolve_class,
    resolve_defined,
)


def rule(cls: type, base: type) -> tuple[Any, ...] | str | None:
    """Classes of whatever metaclass, records, and types of the interpreter."""
    if base is type:
        return ("value", codes.CLASS, class_payload)
    if base is Record:
        return ("value", codes.RECORD, record_payload)
    if cls is not base:
        return None
    if base is range:
        return ("value", codes.RANGE, _bounds)
    if base is slice:
        return ("value", codes.SLICE, _bounds)
    if base is MappingProxyType:
        return ("value", codes.MAPPING_PROXY, _behind)
    if base.__name__ == "frozendict" and base.__module__ == "builtins":
        return ("value", codes.FROZENDICT, dict)
    return None


# --- classes -------------------------------------------------------------------------------------


def class_payload(cls: type) -> tuple[Any, ...]:
    """Name a class, and define one that was frozen and is not of a library.

    So it is there where no name leads to it, too. Refusal where its name does not lead back to it,
    and it is not frozen.
    """
    definition = definition_of(cls)
    if definition is None:
        return class_name(cls)
    return module_of(cls), qualname_of(cls), definition


def layout_payload(cls: type) -> tuple[Any, ...]:
    """Name the class of instances, which is defined only if no name leads to it.

    Data whose class can be imported is no larger because the class is frozen.
    """
    if is_by_value(cls):
        return class_payload(cls)
    return class_name(cls)


def named(cls: type) -> tuple[str, str, tuple[type, ...]]:
    """Name a class for a payload that has its name: module, qualname, and what follows them.

    That is the class itself where its name leads nowhere, but it is frozen.
    """
    if is_by_value(cls):
        return module_of(cls), qualname_of(cls), (cls,)
    return (*class_name(cls), ())


def class_name(cls: type) -> tuple[str, str]:
    """Name a class; Refusal where its name does not lead back to it."""
    module, qualname = module_of(cls), qualname_of(cls)
    if "<locals>" in qualname:
        raise Refusal(
            f"the class {module}.{qualname} is local to a function, so that no name leads to it; "
            "define it at the top of a module, or freeze it too: icehouse.freeze(C)"
        )
    if resolve_class(module, qualname, OWN) is cls:
        return module, qualname
    if not module:
        raise Refusal(
            f"the __module__ of the class {qualname} is no text, so that no name leads to it: "
            "set it to the name of the module that holds it"
        )
    raise Refusal(
        f"{module}.{qualname} is not this class, so that no name leads to it; "
        "set its __module__ and __qualname__ to where it is"
    )


def is_by_value(cls: type) -> bool:
    """Whether a class is frozen, and no name leads to it that means the same elsewhere."""
    if not _is_frozen_here(cls):
        return False
    from icehouse.store.declarations import definition

    return definition.is_by_value(cls)


def definition_of(cls: type) -> dict[str, Any] | None:
    """Write down a class that was frozen by us; None for all others."""
    if not _is_frozen_here(cls):
        return None
    from icehouse.store.declarations import definition

    return definition.definition_of(cls)


def _is_frozen_here(cls: type) -> bool:
    """Whether a class may be one that we froze. What froze it has been imported then."""
    frozen = anatomy.is_immutable(cls) and anatomy.is_heap(cls)
    return frozen and "icehouse.store.declarations.classes" in sys.modules


def open_class(payload: Any, trust: Trust) -> Any:
    """Find the class again, or make it by its definition; a record where that may not or can't be.

    ImportError, which says so, for a definition of another version of Python.
    """
    if type(payload) is not tuple:
        raise ValueError("a class is stored as a tuple")
    module, qualname, *rest = payload
    if len(rest) > 1 or (rest and type(rest[0]) is not FrozenDict):
        raise ValueError("a class is stored as its names and a definition, which is a dict")
    found = resolve_defined(module, qualname, trust, rest[0] if rest else None)
    if found is None:
        return Record("builtins.type", ("__module__", "__qualname__"), (module, qualname))
    return found


# --- functions -----------------------------------------------------------------------------------


def rule_of_function(cls: type, base: type) -> tuple[Any, ...] | None:
    """Builtin functions and the methods of builtin classes, by name."""
    if cls is base and cls in _FUNCTIONS:
        return ("value", codes.GLOBAL, global_payload)
    return None


_FUNCTIONS = (type(len), type(str.upper), type(int.__add__), type(dict.__dict__["fromkeys"]))


def global_payload(obj: Any) -> tuple[str, str]:
    """Name what a module holds; Refusal where no name leads to it."""
    qualname: str = obj.__qualname__
    holder = getattr(obj, "__objclass__", None) or getattr(obj, "__self__", None)
    module = getattr(obj, "__module__", None)
    if isinstance(holder, type):
        module = module_of(holder)
    if not isinstance(module, str) or (found := find_global(module, qualname)) is None:
        raise Refusal(
            f"{qualname} is the method of an object, and no name leads to it: "
            "freeze the object, and take its method where it is used"
        )
    if found is not obj and found != obj:
        raise Refusal(f"{module}.{qualname} is another object: no name leads to this one")
    return module, qualname


def find_global(module: str, qualname: str) -> Any:
    """Follow a name, class methods of builtin classes bound to their class; None: nothing."""
    found = lookup(module, qualname)
    if type(found) in (type(dict.__dict__["fromkeys"]), classmethod, staticmethod):
        return found.__get__(None, lookup(module, qualname.rpartition(".")[0]))
    return found


def open_global(payload: Any, trust: Trust) -> Any:
    """Find it again; a record of its name without trust in code, or where it isn't found."""
    module, qualname = payload
    if type(module) is not str or type(qualname) is not str:
        raise ValueError("a name is text")
    found = find_global(module, qualname) if trust.code else None
    if found is None:
        return Record(
            "builtins.builtin_function_or_method",
            ("__module__", "__qualname__"),
            (module, qualname),
        )
    return found


# --- records -------------------------------------------------------------------------------------


def record_payload(record: Record) -> tuple[Any, ...]:
    """Take a record apart: frozen again it stays one."""
    names = tuple(record)
    return record_name(record), names, tuple(record[name] for name in names)


def record_name(record: Record) -> str:
    """Read the name of the type of a record."""
    name: str = namespace_of(Record)["type_name"].fget(record)
    return name


def open_record(payload: Any, trust: Trust) -> Record:
    """Make the record again."""
    del trust
    type_name, names, values = payload
    return Record(type_name, names, values)


# --- range, slice, mappings ----------------------------------------------------------------------


def _bounds(obj: Any) -> tuple[Any, Any, Any]:
    return obj.start, obj.stop, obj.step


def _behind(proxy: Any) -> Any:
    """Give what a mapping proxy shows: a view as it is, since its items are made anew each time.

    A proxy in a circle would otherwise give new proxies for ever.
    """
    (mapping,) = gc.get_referents(proxy)
    return mapping if type(mapping) is FrozenDict else dict(proxy)


def open_range(payload: Any, trust: Trust) -> range:
    """Open a range."""
    del trust
    start, stop, step = payload
    if not type(start) is type(stop) is type(step) is int:
        raise ValueError("a range is stored as three ints")
    return range(start, stop, step)


def open_slice(payload: Any, trust: Trust) -> slice:
    """Open a slice, of whatever it is of."""
    del trust
    start, stop, step = payload
    return slice(start, stop, step)


def open_proxy(payload: Any, trust: Trust) -> Any:
    """Open a MappingProxyType: over a FrozenDict, or a dict for thaw()."""
    del trust
    if not hasattr(type(payload), "keys"):
        raise ValueError("a mapping proxy is stored as a dict")
    return MappingProxyType(payload)


def open_frozendict(payload: Any, trust: Trust) -> Any:
    """Open a frozendict as one of its values; on Python before 3.15, the view that holds them."""
    del trust
    if not hasattr(type(payload), "keys"):
        raise ValueError("a frozendict is stored as a dict")
    made = getattr(sys.modules["builtins"], "frozendict", None)
    return payload if made is None else made(payload)


# --- struct sequences ----------------------------------------------------------------------------


def rule_of_sequence(cls: type, base: type) -> tuple[Any, ...] | None:
    """time.struct_time, os.stat_result and their like: tuples with names, made in C."""
    if cls is base and is_sequence(cls):
        return ("value", codes.STRUCT_SEQUENCE, _sequence_payload)
    return None


def is_sequence(cls: type) -> bool:
    """Whether a class is a tuple with names that is made in C."""
    attributes = namespace_of(cls)
    counts = ("n_fields", "n_sequence_fields", "n_unnamed_fields")
    made_in_c = cls.__bases__ == (tuple,) and "__slots__" not in attributes
    return made_in_c and all(type(attributes.get(name)) is int for name in counts)


def _sequence_payload(obj: Any) -> tuple[str, str, tuple[Any, ...], dict[str, Any]]:
    module, qualname = _found_as(obj)
    return module, qualname, tuple(obj), _hidden(obj)


def _hidden(obj: Any) -> dict[str, Any]:
    """Read the fields that are no items."""
    cls = type(obj)
    return {
        name: member.__get__(obj)
        for name, member in namespace_of(cls).items()
        if type(member) is MemberDescriptorType and name not in cls.__match_args__
    }


# Where types are found that say the name of the C module behind.
_FACES = {"posix": "os"}


def _found_as(obj: Any) -> tuple[str, str]:
    cls = type(obj)
    module, qualname = module_of(cls), qualname_of(cls)
    module = _FACES.get(module, module)
    if _sequence_type(module, qualname) is not cls:
        raise Refusal(f"no name leads to {module}.{qualname}: freeze tuple(x)")
    if "__new__" not in namespace_of(cls) and lookup(module, qualname) is not obj:
        raise Refusal(f"the interpreter makes no other {module}.{qualname}: freeze tuple(x)")
    return module, qualname


def _sequence_type(module: str, qualname: str) -> type | None:
    """Find the type: `sys` has `float_info` itself under its name."""
    found = lookup(module, qualname)
    cls = found if isinstance(found, type) else type(found)
    return cls if type(cls) is type and is_sequence(cls) and qualname_of(cls) == qualname else None


def open_sequence(payload: Any, trust: Trust) -> Any:
    """Make a struct sequence again; a plain record where its type isn't found."""
    module, qualname, items, hidden = payload
    items, hidden = tuple(items), dict(hidden)
    if type(module) is not str or type(qualname) is not str:
        raise ValueError("a name is text")
    harmless = trust.own or module in ("os", "sys", "time")
    cls: Any = _sequence_type(module, qualname) if harmless else None
    names = [f"item{number}" for number in range(len(items))]
    if cls is not None and "__new__" not in namespace_of(cls):
        # There is one of it, which says something of this interpreter: sys.version_info.
        only = lookup(module, qualname)
        if cls is type(only) and tuple(only) == items and _hidden(only) == hidden:
            return only
        said = cls.__match_args__
        names = list(said) if len(said) == len(items) else names
    elif cls is not None:
        try:
            # One of a single field has a constructor of its own: os.sched_param.
            return cls(*items) if len(items) == 1 else cls(items, hidden)
        except TypeError:  # another number of fields: another version
            pass
    return Record(f"{module}.{qualname}", [*names, *hidden], [*items, *hidden.values()])


# --- what is immutable by nature -----------------------------------------------------------------


def frozen(obj: Any, base: type) -> bool | None:
    """Whether an object of a type that is listed in FROZEN is immutable by nature."""
    if base is type:
        return anatomy.is_immutable(obj)
    if base is MappingProxyType:
        from icehouse.store.image import is_frozen

        return all(is_frozen(mapping) for mapping in gc.get_referents(obj))
    if base is slice:
        from icehouse.store.image import is_frozen

        return all(is_frozen(part) for part in _bounds(obj))
    if type(obj) is base is type(len):
        # Many are methods: of an object that may change.
        from icehouse.store.image import is_frozen

        owner = getattr(obj, "__self__", None)
        return owner is None or isinstance(owner, ModuleType | type) or is_frozen(owner)
    return type(obj) is base or name_of(base) in ("enum.Enum", name_of(Record))
