"""Classes by reference, records, and what the interpreter itself has."""

from typing import Any

from icehouse.store.freezing import codes
from icehouse.store.freezing.records import Record
from icehouse.store.freezing.refusal import Refusal
from icehouse.store.freezing.trust import (
    OWN,
    Trust,
    module_of,
    qualname_of,
    resolve_class,
)


def rule(cls: type, base: type) -> tuple[Any, ...] | str | None:
    """Classes, of whatever metaclass, and records."""
    if base is type:
        return ("value", codes.CLASS, class_payload)
    if base is Record:
        return ("value", codes.RECORD, record_payload)
    return None


def class_payload(cls: type) -> tuple[str, str]:
    """Name a class; Refusal where its name does not lead back to it."""
    module, qualname = module_of(cls), qualname_of(cls)
    if "<locals>" in qualname:
        raise Refusal(
            f"the class {module}.{qualname} is local to a function, so that no name leads to it; "
            "define it at the top of a module"
        )
    if resolve_class(module, qualname, OWN) is not cls:
        raise Refusal(
            f"{module}.{qualname} is not this class: it must be found under its own name; "
            "set its __module__ and __qualname__ to where it is"
        )
    return module, qualname


def open_class(payload: Any, trust: Trust) -> Any:
    """Find the class again; a record of its name where that may not or can't be."""
    module, qualname = payload
    found = resolve_class(module, qualname, trust)
    if found is None:
        return Record("builtins.type", ("__module__", "__qualname__"), (module, qualname))
    return found


def record_payload(record: Record) -> tuple[Any, ...]:
    """A record that is frozen again stays one."""
    names = tuple(record)
    return Record.type_name.__get__(record), names, tuple(record[name] for name in names)


def open_record(payload: Any, trust: Trust) -> Record:
    """Make the record again."""
    del trust
    type_name, names, values = payload
    return Record(type_name, names, values)
