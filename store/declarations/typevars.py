"""Type variables: classes and functions with type parameters refer to them, and ask who they are.

A type variable is nothing but its identity, so it goes by its name where a module has it, and
otherwise (those of `class C[T]` and of local code) with an id: each interpreter makes one for it.
Its bound, constraints and default go along as far as they freeze.
"""

import os
import typing
from typing import Any

from icehouse.native._image import freeze
from icehouse.store.declarations import identity
from icehouse.store.errors import NotFreezableError
from icehouse.store.freezing import codes
from icehouse.store.freezing.aside import Aside
from icehouse.store.freezing.records import Record
from icehouse.store.freezing.trust import MAIN_MODULES, Trust, lookup

ID_BYTES = 16
_KINDS = ("TypeVar", "ParamSpec", "TypeVarTuple")
_FLAGS = ("covariant", "contravariant", "infer_variance")

_ids: Aside[bytes] = Aside()


def rule(cls: type, base: type) -> tuple[Any, ...] | None:
    """Say how the three kinds freeze."""
    return ("value", codes.TYPE_VAR, payload_of) if cls is base else None


def payload_of(variable: Any) -> tuple[Any, ...]:
    """Write one down: id, kind, name, module, flags, bound, constraints, default."""
    id_ = _ids.get(variable)
    if id_ is None:
        id_ = os.urandom(ID_BYTES)
        _ids.set(variable, id_)
        identity.remember(True, id_, variable)  # noqa: FBT003 - our own
    flags = tuple(bool(getattr(variable, f"__{flag}__", False)) for flag in _FLAGS)
    module = variable.__module__
    return (
        id_,
        type(variable).__name__,
        variable.__name__,
        module if type(module) is str else "",
        flags,
        _kept(variable, "__bound__", None),
        tuple(_kept_value(each) for each in getattr(variable, "__constraints__", ())),
        _default(variable),
    )


def _kept(variable: Any, name: str, default: Any) -> Any:
    """Read what may be computed when it is asked for; what can't be computed is left out."""
    try:
        return _kept_value(getattr(variable, name, default))
    except Exception:
        return default


def _kept_value(value: Any) -> Any:
    try:
        return freeze([value])[0] if value is not None else None
    except NotFreezableError:
        return repr(value)


def _default(variable: Any) -> tuple[Any, ...]:
    """Give the default of a type parameter (3.13), in a tuple that is empty without one."""
    if not getattr(variable, "has_default", bool)():
        return ()
    return (_kept(variable, "__default__", None),)


def open_variable(payload: Any, trust: Trust) -> Any:
    """Find the type variable, or make that of this interpreter; a record without trust in code."""
    id_, kind, name, module, flags, bound, constraints, default = payload
    if type(id_) is not bytes or len(id_) != ID_BYTES or kind not in _KINDS:
        raise ValueError("a type variable has an id of 16 bytes and one of three kinds")
    if type(name) is not str or type(module) is not str:
        raise ValueError("the name of a type variable is not text")
    flags, constraints, default = tuple(flags), tuple(constraints), tuple(default)
    if not trust.code:
        return Record(f"typing.{kind}", ("__name__", "__module__"), (name, module))
    known = identity.find(trust.own, id_)
    if known is None and module and module not in MAIN_MODULES:
        known = lookup(module, name)
    if type(known).__name__ == kind and type(known).__module__ == "typing":
        return known
    made = _make(kind, name, dict(zip(_FLAGS, flags, strict=True)), bound, constraints, default)
    _ids.set(made, id_)
    return identity.remember(trust.own, id_, made)


def _make(
    kind: str,
    name: str,
    flags: dict[str, bool],
    bound: Any,
    constraints: tuple[Any, ...],
    default: tuple[Any, ...],
) -> Any:
    """Make a type variable, with what this version of Python knows of."""
    import sys

    keywords: dict[str, Any] = {"default": default[0]} if default else {}
    if sys.version_info < (3, 13):
        keywords = {}
    if sys.version_info < (3, 12):
        del flags["infer_variance"]
    cls: Any = getattr(typing, kind)
    if kind == "TypeVarTuple":
        return cls(name, **keywords)
    if flags.get("infer_variance") and not (flags["covariant"] or flags["contravariant"]):
        flags = {"infer_variance": True}
    else:
        flags.pop("infer_variance", None)
    if kind == "TypeVar":
        return cls(name, *constraints, bound=bound, **flags, **keywords)
    return cls(name, bound=bound, **flags, **keywords)
