"""`@frozen`, `@freezable`, `@unfreezable`, `@explicitly_freezable`: what PEP 795 decorates with.

One declaration may have several of them, and a class has them for the functions and classes in its
body too, but not for those inside the bodies of functions. The inner one counts, in both cases,
but for `@frozen`, which freezes whatever may be frozen:

    outer / inner   frozen   freezable   unfreezable
    frozen          frozen   frozen      NotFreezableError
    freezable       frozen   freezable   unfreezable
    unfreezable     frozen   freezable   unfreezable

`@explicitly_freezable` counts as `@freezable` here. Their arguments, names of captured state, are
joined. A method that is unfreezable does not keep its class from freezing; it can't be called then.
"""

import sys
from collections.abc import Callable, Iterator
from types import FrameType, FunctionType
from typing import Any, TypeVar, overload

from icehouse.native._image import FreezableFunction, FrozenFunction, _freezable_function
from icehouse.store.declarations import status as statuses
from icehouse.store.declarations.status import (
    FREEZABLE_EXPLICIT,
    FREEZABLE_NO,
    FREEZABLE_YES,
    FreezableStatus,
)
from icehouse.store.errors import NotFreezableError
from icehouse.store.freezing import anatomy, refused, registry
from icehouse.store.freezing.refusal import Refusal
from icehouse.store.freezing.trust import name_of

__all__ = ["explicitly_freezable", "freezable", "frozen", "unfreezable"]

_Declaration = TypeVar(
    "_Declaration",
    bound="Callable[..., Any] | property | classmethod[Any, Any, Any] | staticmethod[Any, Any]",
)
# The functions of the property that a function belongs to.
_Accessors = tuple[Any, ...]
_Apply = Callable[[Any, _Accessors], Any]
_Act = Callable[[Any, frozenset[str], _Accessors], Any]


@overload
def frozen(declaration: _Declaration, /) -> _Declaration: ...
@overload
def frozen(*names: str) -> Callable[[_Declaration], _Declaration]: ...
def frozen(*arguments: Any) -> Any:
    """Freeze a function or class at once, where it is declared.

    `@frozen`, or `@frozen("cache", "limits")` with the names of captured state, or of class state,
    that is frozen along with it; `"*"` stands for all. A class freezes in place. Of a function the
    frozen one is returned: its own copy of what it captured, as it was then. Functions that it uses
    freeze too, and functions and classes in the body of a class.

    NotFreezableError where it captured what can't be frozen, or is not named, or does not have what
    is named, and then nothing has changed; where it was declared `@unfreezable` below. TypeError
    for what is neither a function nor a class. It costs a look at the code and a copy of what was
    captured.
    """
    return _decorator(arguments, _freeze_now, "frozen")


@overload
def freezable(declaration: _Declaration, /) -> _Declaration: ...
@overload
def freezable(*names: str) -> Callable[[_Declaration], _Declaration]: ...
def freezable(*arguments: Any) -> Any:
    """Declare that a function or class may be frozen, later, and then with its captured state.

    `@freezable`, or `@freezable("cache", "limits")` with the names of captured state, or of class
    state, that is frozen along with it; `"*"` stands for all. Until it is frozen, as an argument of
    `freeze` or because what is frozen uses it, it works as it did without this; a function freezes
    in place then.

    A name that it does not have is an error when it is frozen. TypeError for what is neither a
    function nor a class. O(1), and O(body) for a class.
    """
    return _decorator(arguments, _later(FREEZABLE_YES), "freezable")


@overload
def explicitly_freezable(declaration: _Declaration, /) -> _Declaration: ...
@overload
def explicitly_freezable(*names: str) -> Callable[[_Declaration], _Declaration]: ...
def explicitly_freezable(*arguments: Any) -> Any:
    """Declare, as `@freezable` does, what may be frozen as an argument of `freeze` alone.

    Where another object reaches it that is being frozen, that fails, unless it was frozen before.
    Instances of such a class are no different, until the class itself is frozen.
    """
    return _decorator(arguments, _later(FREEZABLE_EXPLICIT), "explicitly_freezable")


def unfreezable(declaration: _Declaration, /) -> _Declaration:
    """Declare that a function or class is not to be frozen; nor are instances of the class.

    What is frozen and would reach it is refused. Only a class whose method it is can be frozen all
    the same: there the method can't be called. TypeError for what is neither function nor class.
    """
    if isinstance(declaration, str):
        raise TypeError("@unfreezable takes no names: what it decorates does not freeze")
    return _apply(declaration, _never, "unfreezable")  # type: ignore[no-any-return]


def _decorator(arguments: tuple[Any, ...], act: _Act, by: str) -> Any:
    """Tell `@frozen` from `@frozen("name")`."""
    names: frozenset[str] = frozenset()

    def apply(target: Any, accessors: _Accessors) -> Any:
        return act(target, names, accessors)

    if len(arguments) == 1 and not isinstance(arguments[0], str):
        return _apply(arguments[0], apply, by)
    names = frozenset(_checked(name, by) for name in arguments)
    return lambda declaration: _apply(declaration, apply, by)


def _checked(name: Any, by: str) -> str:
    if not isinstance(name, str):
        raise TypeError(f"@{by} takes one declaration, or names of captured state, not {name!r}")
    if name != statuses.ALL and not name.isidentifier():
        raise ValueError(f'@{by}: {name!r} is no name of a variable; "*" stands for all of them')
    return name


def _apply(declaration: Any, act: _Apply, by: str, accessors: _Accessors = ()) -> Any:
    """Decorate a declaration, or what is in a property, class or static method."""
    kind = type(declaration)
    if kind in (staticmethod, classmethod):
        return kind(_apply(declaration.__func__, act, by, accessors))
    if kind is property:
        accessors = (declaration.fget, declaration.fset, declaration.fdel)
        made = [accessor and _apply(accessor, act, by, accessors) for accessor in accessors]
        return property(made[0], made[1], made[2], declaration.__doc__)
    if kind in (FunctionType, FreezableFunction, FrozenFunction) or issubclass(kind, type):
        return act(declaration, accessors)
    reason = refused.REASONS.get(name_of(kind))
    if reason is not None and callable(declaration):  # functools.lru_cache, a method
        raise NotFreezableError(
            f"@{by}: an object of type {name_of(kind)} does not freeze: {reason}"
        )
    raise TypeError(
        f"@{by} decorates functions and classes, not an object of type {name_of(kind)}; "
        "icehouse.freeze(x) freezes objects, icehouse.set_freezable(x, status) says whether it may"
    )


# --- what each does ------------------------------------------------------------------------------


def _is_frozen(declaration: Any) -> bool:
    if issubclass(type(declaration), type):
        return anatomy.is_immutable(declaration)
    return type(declaration) is FrozenFunction


def _freeze_now(declaration: Any, names: frozenset[str], accessors: _Accessors) -> Any:
    if _is_frozen(declaration):
        return declaration
    if statuses.own_status(declaration) is FREEZABLE_NO:
        raise NotFreezableError(
            f"@frozen can't freeze {statuses.described(declaration)}, which is @unfreezable; "
            "take one of the two away"
        )
    if issubclass(type(declaration), type):
        _check_order(declaration)
    undo = _declare(declaration, names, FREEZABLE_YES, accessors)
    try:
        return registry.load("declarations.together", "freeze")((declaration,), fresh=True)
    except BaseException:
        undo()
        raise


def _check_order(cls: type) -> None:
    """Look for decorators above that would write into the class once it is frozen."""
    frame: FrameType | None = sys._getframe(1)  # noqa: SLF001 - there is no other way
    while frame is not None and frame.f_globals is globals():
        frame = frame.f_back
    if frame is None:
        return
    from icehouse.store.declarations.order import check_order

    try:
        check_order(cls, frame)
    except Refusal as refusal:
        raise NotFreezableError(
            f"@frozen can't freeze {statuses.described(cls)}: {refusal}"
        ) from None


def _later(status: FreezableStatus) -> _Act:
    def act(declaration: Any, names: frozenset[str], accessors: _Accessors) -> Any:
        if _is_frozen(declaration):
            return declaration
        _declare(declaration, names, status, accessors)
        if type(declaration) is not FunctionType:
            return declaration
        if statuses.own_status(declaration) is FREEZABLE_NO:
            return declaration
        return _freezable_function(declaration)

    return act


def _never(declaration: Any, _: _Accessors) -> Any:
    if not _is_frozen(declaration):
        _declare(declaration, frozenset(), FREEZABLE_NO)
    return declaration


def _declare(
    declaration: Any,
    names: frozenset[str],
    status: FreezableStatus,
    accessors: _Accessors = (),
) -> Callable[[], None]:
    """Keep what was said of a declaration and of those in its body. Returns what takes it back.

    Of the names that a property was given, each of its `accessors` needs to have some only.
    """
    own = names
    if own and accessors:
        own = own - registry.load("declarations.occurring", "names_in")(accessors)
    undo = [
        statuses.remember(declaration, names, status),
        statuses.remember_own(declaration, own),
    ]
    # What is in the body of a class is never itself the argument that `EXPLICIT` wants.
    inner = FREEZABLE_NO if status is FREEZABLE_NO else None
    undo += [statuses.remember(member, names, inner) for member in _body(declaration)]

    def take_back() -> None:
        for step in reversed(undo):
            step()

    return take_back


def _body(declaration: Any) -> Iterator[Any]:
    """List the functions and classes that are written in the body of a class, inner ones too."""
    if not issubclass(type(declaration), type):
        return
    within = f"{declaration.__qualname__}."
    for value in list(anatomy.namespace(declaration).values()):
        for member in _functions_of(value):
            is_class = issubclass(type(member), type)
            if not is_class and statuses.function_of(member) is None:
                continue
            if member.__module__ != declaration.__module__ or _is_frozen(member):
                continue
            # An alias of what was declared elsewhere is not in the body.
            if member.__qualname__.startswith(within):
                yield member
                yield from _body(member)


def _functions_of(value: Any) -> tuple[Any, ...]:
    kind = type(value)
    if kind in (staticmethod, classmethod):
        return (value.__func__,)
    if kind is property:
        return (value.fget, value.fset, value.fdel)
    if name_of(kind) == "functools.cached_property":
        return (value.func,)
    return (value,)
