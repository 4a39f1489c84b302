"""What users say about types: `register_freezable`, and the `__freeze__` protocol."""

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from icehouse.store.freezing import anatomy, codes
from icehouse.store.freezing.records import Record
from icehouse.store.freezing.refusal import Refusal
from icehouse.store.freezing.trust import (
    Trust,
    class_among,
    module_of,
    name_of,
    qualname_of,
    resolve_class,
)

# What freezes without asking anybody.
NEVER_ASKED = frozenset(
    {
        *(bool, bytearray, bytes, complex, dict, float, frozenset, int, list, memoryview),
        *(object, set, str, tuple, type, type(None), type(...), type(NotImplemented)),
    }
)


class Registration(NamedTuple):
    """What was said about a type."""

    freeze: Callable[[Any], Any] | None
    thaw: Callable[[Any], Any] | None


# By id: a metaclass may say what it likes about hash and equality. The type keeps its id.
_by_type: dict[int, tuple[type, Registration]] = {}


def register(
    cls: type,
    freeze: Callable[[Any], Any] | None,
    thaw: Callable[[Any], Any] | None,
) -> None:
    """Keep what `register_freezable` was told; it counts from the next object on."""
    if not isinstance(cls, type):
        raise TypeError(f"register_freezable takes a class, not {cls!r}")
    if any(cls is kind for kind in NEVER_ASKED):
        raise ValueError(
            f"{cls.__name__} can't be registered: icehouse freezes exactly this type itself; "
            "register a subclass of your own"
        )
    for name, function in (("freeze", freeze), ("thaw", thaw)):
        if function is not None and not callable(function):
            raise TypeError(f"{name}= takes a callable, not {function!r}")
    if thaw is not None and freeze is None:
        raise TypeError("thaw= needs freeze=: it is given what that returned")
    _by_type[id(cls)] = cls, Registration(freeze, thaw)
    _next_generation()


def forget(cls: type) -> None:
    """Undo a registration."""
    if _by_type.pop(id(cls), None) is not None:
        _next_generation()


def _next_generation() -> None:
    from icehouse.store.freezing import hooks

    hooks.generation += 1


# --- freezing ------------------------------------------------------------------------------------


def rule(cls: type, base: type) -> tuple[Any, ...] | str | None:
    """Ask a registration of `base`, or its `__freeze__`, about instances of `cls`."""
    if id(base) in _by_type:
        return _registered(cls, base)
    if "__freeze__" in anatomy.namespace(base):
        return _protocol(cls)
    return None


def rule_by_abc(cls: type) -> tuple[Any, ...] | str | None:
    """Ask a registration of an abstract class of which `cls` is a virtual subclass."""
    kinds = [kind for kind, _ in list(_by_type.values())]
    found = [kind for kind in kinds if not _has(anatomy.mro(cls), kind) and issubclass(cls, kind)]
    # The most specific ones: of a class and its base, the class.
    best = [kind for kind in found if not any(_has(anatomy.mro(o)[1:], kind) for o in found)]
    if len(best) > 1:
        names = " and ".join(sorted(map(name_of, best)))
        return f"it is ambiguous which registration counts for {name_of(cls)}: that of {names}"
    return _registered(cls, best[0]) if best else None


def _has(classes: Iterable[type], cls: type) -> bool:
    return any(other is cls for other in classes)


def _registered(cls: type, base: type) -> tuple[Any, ...] | str:
    freeze, thaw = _by_type[id(base)][1]
    if freeze is None:
        # Without functions: by what its `__reduce_ex__` says, as pickle does it.
        from icehouse.store.freezing import reduce

        return reduce.registered(cls)
    if thaw is None:
        return ("as", _another(freeze, f"the freeze= of {name_of(base)}"))
    names = module_of(base), qualname_of(base)
    call = freeze

    def payload(obj: Any) -> tuple[Any, ...]:
        return (*names, call(obj))

    return ("value", codes.REGISTERED, payload)


def _another(freeze: Callable[[Any], Any], what: str) -> Callable[[Any], Any]:
    def getter(obj: Any) -> Any:
        made = freeze(obj)
        if made is obj:
            raise Refusal(f"{what} returned the object itself; it must return what it freezes as")
        return made

    return getter


def _protocol(cls: type) -> tuple[Any, ...] | None:
    if anatomy.class_attribute(cls, "__freeze__") is None:
        return None  # a class that takes away what a base had
    state = _another(type.__getattribute__(cls, "__freeze__"), f"{name_of(cls)}.__freeze__")
    if anatomy.class_attribute(cls, "__thaw__") is None:
        return ("as", state)

    def payload(obj: Any) -> tuple[Any, ...]:
        from icehouse.store.freezing.builtin import named

        module, qualname, rest = named(cls)
        return module, qualname, state(obj), *rest

    return ("value", codes.THAWED, payload)


# --- opening -------------------------------------------------------------------------------------


def open_registered(payload: Any, trust: Trust) -> Any:
    """Call `thaw=` of the registration; a record where there is none here, or it may not be called.

    It may where the type would resolve: for images of our own uid, or if `allow_classes=` has it.
    The module of the type is imported then, which may be what registers it.
    """
    module, qualname, state = payload
    cls = resolve_class(module, qualname, trust)
    if cls is not None:
        _, registration = _by_type.get(id(cls), (None, None))
        if registration is not None and registration.thaw is not None:
            return registration.thaw(state)
    return Record(f"{module}.{qualname}", ("frozen",), (state,))


def open_thawed(payload: Any, trust: Trust) -> Any:
    """Call `__thaw__` of the class; a record where the class may not or can't be found."""
    module, qualname, state, *rest = payload
    cls = class_among(rest, module, qualname, trust)
    if cls is not None and anatomy.class_attribute(cls, "__thaw__") is not None:
        return type.__getattribute__(cls, "__thaw__")(state)
    return Record(f"{module}.{qualname}", ("frozen",), (state,))
