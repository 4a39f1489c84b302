"""Classes that say themselves how they pickle: `__reduce__`, `__getstate__`, `copyreg`.

The rule, for a class that has no registered rule and no `__freeze__`:

1. `copyreg.pickle(cls, ...)`, or a `__reduce_ex__` or `__reduce__` that the class or a base of it
   defines: the object is made again by what that returned, whenever it is opened. That runs code,
   so it needs an image of our own uid, or `trust=True`; else a `Record` comes back.
2. `__getstate__` without `__setstate__`: a lazy view of that state, which is a dict, or a pair of
   dicts (`__dict__` and slots), or None. Nothing runs when it is read.
3. `__setstate__`: as 1, by way of `object.__reduce_ex__`.
4. None of these: a lazy view of the slots and the `__dict__`. `__getnewargs__` is not asked, since
   nothing calls `__new__`.

What dataclasses, attrs, pydantic, msgspec and the builtin types define does not count as the
class's own.

The payload of REDUCE: (type's name, callable, args, state, items, pairs, setter), without the last
ones where they are None. `callable` is (module, qualname), or an object if it has no such name;
`args` None says that the callable itself is meant. `items` and `pairs` (keys, values) are for
`extend` and for item assignment. A state that is a dict of names is (1, names, values), a pair of
those is (2, dict or None, slots or None), any other (0, state). Tuples are not lazy, so that a ring
of such objects, which could not be made again, is refused when it is frozen.
"""

import copyreg
from collections.abc import Callable
from types import BuiltinFunctionType, FunctionType
from typing import Any

from icehouse.native._image import (
    CorruptImage,
    FrozenBytes,
    FrozenDict,
    FrozenList,
    FrozenSet,
    FrozenTuple,
    IcehouseError,
)
from icehouse.store.freezing import anatomy, codes
from icehouse.store.freezing.records import Record
from icehouse.store.freezing.refusal import Refusal
from icehouse.store.freezing.trust import Trust, lookup, module_of, name_of, qualname_of

# Highest protocol that needs no buffers beside the pickle.
PROTOCOL = 4

NOTHING, NAMED, PAIR, OTHER = None, 1, 2, 0


def rule(cls: type) -> tuple[Any, ...] | str | None:
    """How a class wants to be taken apart; None if it does not say."""
    # By identity: looking the class up would ask its metaclass for a hash.
    table = list(copyreg.dispatch_table.items())
    registered = next((function for kind, function in table if kind is cls), None)
    if registered is not None:
        return ("value", codes.REDUCE, _getter(registered, f"what copyreg has for {name_of(cls)}"))
    for name in ("__reduce_ex__", "__reduce__"):
        if anatomy.own(cls, name) is not None:
            return ("value", codes.REDUCE, _getter(_reduce, f"{name_of(cls)}.{name}"))
    if anatomy.own(cls, "__setstate__") is not None:
        return ("value", codes.REDUCE, _getter(_reduce, f"{name_of(cls)}.__getstate__"))
    if anatomy.own(cls, "__getstate__") is None:
        return None
    if anatomy.holds_more(cls, object):
        return ("value", codes.REDUCE, _getter(_reduce, f"{name_of(cls)}.__getstate__"))
    return ("state", _state)


def registered(cls: type) -> tuple[Any, ...]:
    """Give the rule of a class that `register_freezable` lets through its `__reduce_ex__`."""
    return ("value", codes.REDUCE, _getter(_reduce, f"{name_of(cls)}.__reduce_ex__"))


def _reduce(obj: Any) -> Any:
    return obj.__reduce_ex__(PROTOCOL)


def _call(function: Callable[[Any], Any], obj: Any, what: str) -> Any:
    """Call code of the class. What pickle would say is the reason of a refusal."""
    try:
        return function(obj)
    except (TypeError, NotImplementedError) as error:
        raise Refusal(f"{what} raised {type(error).__name__}: {error}") from error


# --- taking apart ---


def _getter(function: Callable[[Any], Any], what: str) -> Callable[[Any], tuple[Any, ...]]:
    def getter(obj: Any) -> tuple[Any, ...]:
        reduced = _call(function, obj, what)
        type_name = name_of(type(obj))
        if type(reduced) is str:
            return (type_name, _global(obj, reduced), None)
        if type(reduced) is not tuple or not 2 <= len(reduced) <= 6:
            raise Refusal(f"{what} must return a str or a tuple of 2 to 6 items")
        call, args, state, items, pairs, setter = _padded(reduced, 6)
        if type(args) is not tuple:
            raise Refusal(f"{what} must return a tuple of arguments, not {type(args).__name__}")
        payload: tuple[Any, ...] = (
            type_name,
            reference(call) or call,
            args,
            pack_state(state),
            None if items is None else tuple(items),
            None if pairs is None else tuple(zip(*pairs, strict=True)) or None,
            None if setter is None else reference(setter) or setter,
        )
        while payload[-1] is None:
            payload = payload[:-1]
        return payload

    return getter


def _padded(parts: tuple[Any, ...], count: int) -> tuple[Any, ...]:
    return parts + (None,) * (count - len(parts))


def _state(obj: Any) -> tuple[tuple[str, ...], tuple[Any, ...], int]:
    """Give the fields of a lazy view: names, values, and how many of them are slots."""
    what = f"{name_of(type(obj))}.__getstate__"
    found = _call(lambda obj: obj.__getstate__(), obj, what)
    pair = type(found) is tuple and len(found) == 2
    state: Any = (found[0] if pair else found) or {}
    slots: Any = (found[1] if pair else None) or {}
    if not _named(state) or not _named(slots):
        raise Refusal(
            f"{what} returned no dict of names; with such a state the class needs a __setstate__"
        )
    fields = {**slots, **{name: value for name, value in state.items() if name not in slots}}
    return tuple(fields), tuple(fields.values()), len(slots)


def _named(state: Any) -> bool:
    return type(state) is dict and all(type(name) is str for name in state)


def pack_state(state: Any) -> Any:
    """Write a state so that no lazy container is in it that pickle would not see as one."""
    if state is None:
        return NOTHING
    if _named(state):
        return (NAMED, tuple(state), tuple(state.values()))
    if type(state) is tuple and len(state) == 2 and all(s is None or _named(s) for s in state):
        return (PAIR, *(None if s is None else (tuple(s), tuple(s.values())) for s in state))
    return (OTHER, state)


def reference(obj: Any) -> tuple[str, str] | None:
    """Find the name that leads to a class or function; None if none does."""
    if isinstance(obj, type):
        module, qualname = module_of(obj), qualname_of(obj)
    elif type(obj) in (FunctionType, BuiltinFunctionType):
        module, qualname = obj.__module__ or "builtins", obj.__qualname__
    else:
        return None
    return (module, qualname) if lookup(module, qualname) is obj else None


def _global(obj: Any, name: str) -> tuple[str, str]:
    """Where an object lies whose reduction is a name."""
    import pickle

    try:
        module: str = pickle.whichmodule(obj, name)  # type: ignore[attr-defined]
    except pickle.PicklingError:
        # From 3.14 on pickle itself looks whether the name leads there.
        module = getattr(obj, "__module__", None) or "__main__"
    if lookup(module, name) is not obj:
        raise Refusal(f"its reduction says that it is {module}.{name}, which is another object")
    return module, name


# --- making again ---


def make(payload: Any, trust: Trust) -> Any:
    """Make the object again, by its own code. What it is made of is frozen, one level down.

    Lists, dicts and sets among the arguments are real, since code written in C asks for them, and
    so is the state itself; what they hold is frozen.
    """
    return _make(payload, trust, _one_level)


def thaw(payload: Any, trust: Trust) -> Any:
    """Make the object again of mutable parts."""
    return _make(payload, trust, lambda part: part)


def _make(payload: Any, trust: Trust, soften: Callable[[Any], Any]) -> Any:
    parts = tuple(payload)
    if not 3 <= len(parts) <= 7 or type(parts[0]) is not str:
        raise ValueError("a reduced object has a name, a callable, arguments and up to four more")
    type_name, call, args, state, items, pairs, setter = _padded(parts, 7)
    record = Record(type_name, ("callable", "arguments", "state"), (call, args, state))
    if not trust.code:
        return record
    function = _found(call)
    if function is None or (args is not None and not callable(function)):
        return record
    if args is None:
        return function
    arguments = [soften(argument) for argument in args]
    if type_name in _LISTS_INSIDE:
        arguments = [tuple(map(soften, a)) if type(a) is tuple else a for a in arguments]
    if any(_unresolved(argument) for argument in arguments):
        return record
    entries = [] if items is None else [*items]
    mapped = [] if pairs is None else [*zip(*pairs, strict=True)]
    loaded = _unpack_state(state, soften)
    how = _found(setter) if setter is not None else None
    try:
        return _build(function(*arguments), loaded, entries, mapped, how)
    except ImportError:
        return record
    except Exception as error:
        raise IcehouseError(
            f"a {type_name} could not be made again: its own code raised "
            f"{type(error).__name__}: {error}"
        ) from error


# Whose parameters are a list in a tuple among the arguments, and must be one.
_LISTS_INSIDE = frozenset({"collections.abc._CallableGenericAlias", "typing._CallableGenericAlias"})


def _found(named: Any) -> Any:
    if type(named) is tuple and len(named) == 2 and all(type(part) is str for part in named):
        return lookup(*named)
    return named


def _unresolved(argument: Any) -> bool:
    """Whether an argument stands for a class that can't be found here."""
    return type(argument) is Record and Record.type_name.__get__(argument) == "builtins.type"


def _unpack_state(state: Any, soften: Callable[[Any], Any]) -> Any:
    """Give a tuple of the state, None for none. The values of a dict of names stay as they are."""
    if state is None:
        return None
    parts = tuple(state)
    if len(parts) == 3 and parts[0] == NAMED:
        return (dict(zip(parts[1], parts[2], strict=True)),)
    if len(parts) == 3 and parts[0] == PAIR:
        return (
            tuple(None if part is None else dict(zip(*part, strict=True)) for part in parts[1:]),
        )
    if len(parts) == 2 and parts[0] == OTHER:
        whole = soften(parts[1])
        return (tuple(map(soften, whole)) if type(whole) is tuple else whole,)
    raise ValueError("the state of a reduced object has no such form")


def _build(made: Any, loaded: Any, items: list[Any], pairs: list[Any], setter: Any) -> Any:
    """Do what unpickling does after the call, in its order."""
    if items:
        extend = getattr(made, "extend", None)
        if extend is not None:
            extend(items)
        else:
            for item in items:
                made.append(item)
    for key, value in pairs:
        made[key] = value
    if loaded is None:
        return made
    (state,) = loaded
    if setter is not None:
        setter(made, state)
        return made
    own = getattr(made, "__setstate__", None)
    if own is not None:
        own(state)
        return made
    slots = None
    if type(state) is tuple and len(state) == 2:
        state, slots = state
    if state:
        made.__dict__.update(state)
    for name, value in (slots or {}).items():
        setattr(made, name, value)
    return made


# What a frozen container becomes: a builtin one of what it holds. dict(view) would look each key up
# again, and one that is made for each reader and has its identity for a hash is not found then.
SOFT: dict[type, Callable[[Any], Any]] = {
    FrozenBytes: bytes,
    FrozenDict: lambda view: dict(view.items()),
    FrozenList: list,
    FrozenSet: set,
    FrozenTuple: tuple,
}


def _one_level(part: Any) -> Any:
    change = next((SOFT[kind] for kind in SOFT if type(part) is kind), None)
    if change is None:
        return part
    try:
        return change(part)
    except (CorruptImage, TypeError):
        # It holds what is being made here, a ring, or a key that has no hash once it is frozen: the
        # frozen one can wait until it is read. So can damage.
        return part
