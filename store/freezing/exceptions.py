"""Exceptions: type, arguments, attributes, notes, and the chain of causes, without tracebacks.

The payload is a tuple: module and qualname of the class, its `args`, its `__dict__` (`__notes__`
included) and slots, what the interpreter's own classes keep beside `args` (`filename` of an
OSError, ...), the payloads of `__cause__` and `__context__` or None, `__suppress_context__`.

An exception is made again by the `__new__` and `__init__` of its first builtin base, so no code of
its class runs. Making one needs trust in code all the same (HAZARDS H21).
"""

from types import GetSetDescriptorType, MemberDescriptorType
from typing import Any

from icehouse.store.freezing import anatomy, registry, subclasses
from icehouse.store.freezing.anatomy import mro
from icehouse.store.freezing.builtin import named
from icehouse.store.freezing.codes import EXCEPTION
from icehouse.store.freezing.records import Record
from icehouse.store.freezing.refusal import Refusal
from icehouse.store.freezing.trust import Trust, class_among, name_of, namespace_of

# How many causes and contexts are kept of a chain.
LINKS_MAX = 32
# What the interpreter's classes have that is not kept: `obj` of an AttributeError is any object at
# all, and is only there to suggest names; the others follow from `args`.
_LEFT_OUT = frozenset({"args", "obj", "message", "exceptions"})


def rule(cls: type, base: type) -> tuple[Any, ...] | str | None:
    """Exceptions of every class that has no finalizer."""
    if base is not BaseException:
        return None
    if subclasses.declares(cls, _own_base(cls)):
        reduced: tuple[Any, ...] | str = registry.load("reduce", "rule")(cls)
        return reduced
    if anatomy.has_finalizer(cls):
        return f"a {name_of(cls)} has __del__, and what comes back would run it"
    return ("value", EXCEPTION, _payload)


def _own_base(cls: type) -> Any:
    """Find the first class of the interpreter itself among the bases."""
    return next(base for base in mro(cls) if not anatomy.is_heap(base))


def _natives(cls: type) -> dict[str, Any]:
    """List what the interpreter's classes below BaseException keep: descriptors by name."""
    found: dict[str, Any] = {}
    for base in reversed(mro(cls)):
        if anatomy.is_heap(base) or base in BaseException.__mro__:
            continue
        for name, member in namespace_of(base).items():
            if name in _LEFT_OUT or name.startswith("__"):
                continue
            if type(member) in (MemberDescriptorType, GetSetDescriptorType):
                found[name] = member
    return found


def _payload(exc: BaseException, met: set[int] | None = None) -> tuple[Any, ...]:
    met = set() if met is None else met
    met.add(id(exc))
    cls = type(exc)
    module, qualname, rest = named(cls)
    natives = {}
    for name, member in _natives(cls).items():
        try:
            value = member.__get__(exc)
        except (AttributeError, TypeError):  # not set
            continue
        if value is not None:
            natives[name] = value
    return (
        module,
        qualname,
        BaseException.args.__get__(exc),  # type: ignore[attr-defined]
        subclasses.attributes_of(exc, _own_base(cls)),
        natives,
        _link(exc.__cause__, met),
        _link(exc.__context__, met),
        exc.__suppress_context__,
        *rest,
    )


def _link(exc: BaseException | None, met: set[int]) -> tuple[Any, ...] | None:
    """Take a cause apart; a chain that is too long, leads back or has no names ends here."""
    if exc is None or id(exc) in met or len(met) >= LINKS_MAX:
        return None
    try:
        return _payload(exc, met)
    except Refusal:
        return None


def open_exception(payload: Any, trust: Trust) -> Any:
    """Make the exception again; a record where its class, or trust in code, is missing."""
    module, qualname, args, attributes, natives, cause, context, suppress, *rest = payload
    cls = class_among(rest, module, qualname, trust) if trust.code else None
    made = None
    if cls is not None and issubclass(cls, BaseException):
        made = _make(cls, tuple(args), dict(attributes), dict(natives))
    if made is None:
        names = ["args", *dict(attributes), *dict(natives)]
        values = [tuple(args), *dict(attributes).values(), *dict(natives).values()]
        return Record(f"{module}.{qualname}", names, values)
    for name, link in (("__cause__", cause), ("__context__", context)):
        found = None if link is None else open_exception(link, trust)
        if isinstance(found, BaseException):
            setattr_plain(made, name, found)
    made.__suppress_context__ = bool(suppress)
    return made


def setattr_plain(exc: BaseException, name: str, value: Any) -> None:
    """Set what BaseException itself has, past what a class may do in `__setattr__`."""
    namespace_of(BaseException)[name].__set__(exc, value)


def _make(cls: Any, args: tuple[Any, ...], attributes: Any, natives: Any) -> Any:
    """Make an exception without code of its class; None if the class isn't what it was."""
    base: Any = _own_base(cls)
    if subclasses.declares(cls, base) or anatomy.has_finalizer(cls):
        return None
    try:
        made = base.__new__(cls, *args)
        base.__init__(made, *args)
    except TypeError:
        # Not the arguments of the builtin base: a class of a user hands it others.
        try:
            made = base.__new__(cls)
        except TypeError:
            return None
    namespace_of(BaseException)["args"].__set__(made, args)
    known = _natives(cls)
    for name, value in natives.items():
        if name in known:
            try:
                known[name].__set__(made, value)
            except (AttributeError, TypeError):  # read-only here, or not of this version's type
                continue
    # What has no place in the class any more is left out.
    slots = subclasses.slots_of(cls, base)
    subclasses.set_attributes(made, slots, attributes, attributes.values())
    return made
