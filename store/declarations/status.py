"""Whether something may be frozen: `set_freezable`, `__freezable__`, NotFreezable, disabled.

A status is kept as the attribute `__freezable__` where an object takes one, else aside, weakly and
by identity. That of a class counts for its instances and subclasses too, that of a module for the
functions and classes that are defined in it.

What decorators said besides, the names of captured state, is kept aside for the class or function.
"""

import _thread
import enum
import sys
from collections.abc import Callable
from types import FunctionType, ModuleType, TracebackType
from typing import Any, Final, Generic, Literal, TypeVar

from icehouse.native._image import FreezableFunction, _original_of, is_frozen
from icehouse.store.freezing import anatomy, asked, codes, hooks, registrations, registry
from icehouse.store.freezing.aside import Aside
from icehouse.store.freezing.refusal import Refusal
from icehouse.store.freezing.trust import name_of

_Obj = TypeVar("_Obj")

ATTRIBUTE: Final = "__freezable__"
HOOK: Final = "__pre_freeze__"
ALL: Final = "*"

_module_namespace: Any = ModuleType.__dict__["__dict__"].__get__  # type: ignore[index]


class FreezableStatus(enum.IntEnum):
    """Whether, and how, an object may be frozen; the numbers are those of PEP 795's prototype.

    * `YES`: it may. So may what has no status.
    * `NO`: it may not.
    * `EXPLICIT`: only as an argument of `freeze` (or `put`), not because another object reaches it.
    * `PROXY`: reserved by the PEP; it means what having no status means.
    """

    YES = 0
    NO = 1
    EXPLICIT = 2
    PROXY = 3


FREEZABLE_YES: Final = FreezableStatus.YES
FREEZABLE_NO: Final = FreezableStatus.NO
FREEZABLE_EXPLICIT: Final = FreezableStatus.EXPLICIT
FREEZABLE_PROXY: Final = FreezableStatus.PROXY


class NotFreezable:
    """A base class that opts out: neither it, nor a subclass, nor an instance of these freezes."""

    __slots__ = ()
    __freezable__ = int(FREEZABLE_NO)


_statuses: Aside[FreezableStatus] = Aside()
_names: Aside[frozenset[str]] = Aside()
# Those of them that were given for the declaration itself, not for a class around it.
_own_names: Aside[frozenset[str]] = Aside()


# --- reading -------------------------------------------------------------------------------------


def status_of(obj: Any) -> FreezableStatus | None:
    """Find the status of an object, class, function or module; None where nothing says one.

    Of an instance it is its own or that of its class; of functions and classes their own, then that
    of the module that defines them. No code of the object runs but a property `__freezable__`.
    ValueError for a `__freezable__` that is no status.
    """
    if issubclass(type(obj), ModuleType):
        return _module_status(obj)
    if issubclass(type(obj), type):
        found = as_status(anatomy.class_attribute(obj, ATTRIBUTE), obj)
        return _status_by_module(obj) if found is None else found
    function = function_of(obj)
    if function is not None:
        found = as_status(function.__dict__.get(ATTRIBUTE), obj)
        return _status_by_module(function) if found is None else found
    aside = _statuses.get(obj)
    if aside is not None:
        return aside
    try:
        value = object.__getattribute__(obj, ATTRIBUTE)
    except AttributeError:
        return None
    status = as_status(value, obj)
    if status is FREEZABLE_EXPLICIT and anatomy.is_immutable(type(obj)) and not _has_own(obj):
        return None  # that was said of the class, and has been done
    return status


def _has_own(obj: Any) -> bool:
    """Whether the status of an object is not the one that its class has."""
    if hasattr(type(anatomy.class_attribute(type(obj), ATTRIBUTE)), "__get__"):
        return True  # a slot, or a property
    attributes = anatomy.dict_descriptor(type(obj))
    return attributes is not None and ATTRIBUTE in attributes.__get__(obj)


def function_of(obj: Any) -> FunctionType | None:
    """Find the Python function that an object is, or wraps while it is not yet frozen."""
    if type(obj) is FunctionType:
        return obj
    if type(obj) is FreezableFunction:
        return _original_of(obj)
    return None


def as_status(value: Any, holder: Any) -> FreezableStatus | None:
    """Read what somebody gave as a status; ValueError where it is none."""
    if value is None:
        return None
    if value is True:
        return FREEZABLE_YES
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= 3:
        return FreezableStatus(value)
    raise ValueError(
        f"{described(holder)} has the status {value!r}; a status is one of "
        "icehouse.FREEZABLE_YES, FREEZABLE_NO, FREEZABLE_EXPLICIT and FREEZABLE_PROXY"
    )


def _module_status(module: ModuleType) -> FreezableStatus | None:
    """Read `__freezable__` of a module, where a bare number could mean two things."""
    value = _module_namespace(module).get(ATTRIBUTE)
    if value is None or value is True or isinstance(value, FreezableStatus):
        return as_status(value, module)
    meanings = {
        0: ", which is FREEZABLE_YES in the prototype of PEP 795 and no status in its text",
        1: ", which means yes in the text of PEP 795 and FREEZABLE_NO in its prototype",
    }
    text = "" if isinstance(value, bool) or value not in (0, 1) else meanings[value]
    raise ValueError(
        f"the module {module.__name__} has __freezable__ = {value!r}{text}; write True, "
        "or one of icehouse.FREEZABLE_YES, FREEZABLE_NO and FREEZABLE_EXPLICIT by its name"
    )


def _status_by_module(declaration: Any) -> FreezableStatus | None:
    """Read the status that a function or class has from its module; none if it is a local one."""
    name = declaration.__module__
    module = sys.modules.get(name) if type(name) is str else None
    if not isinstance(module, ModuleType) or "<locals>" in declaration.__qualname__:
        return None
    return _module_status(module)


def named_state(obj: Any) -> frozenset[str]:
    """Find the names that decorators gave of the captured state that may freeze; "*": all."""
    function = function_of(obj)
    return _names.get(obj if function is None else function) or frozenset()


def own_names(obj: Any) -> frozenset[str]:
    """Find the names that decorators of this very function or class gave, "*" left out."""
    function = function_of(obj)
    return (_own_names.get(obj if function is None else function) or frozenset()) - {ALL}


def decorated(obj: Any) -> bool:
    """Whether a function or class was declared freezable: its class state may be frozen then.

    By a decorator, also of the class in whose body it is, by a status of its own, or by its
    module's.
    """
    own = own_status(obj)
    if own is None:
        function = function_of(obj)
        if _names.get(obj if function is None else function) is not None:
            return True
        own = _status_by_module(obj)
    return own in (FREEZABLE_YES, FREEZABLE_EXPLICIT)


def own_status(declaration: Any) -> FreezableStatus | None:
    """Find the status of a class or function itself: not that of a base class or its module."""
    function = function_of(declaration)
    attributes = anatomy.namespace(declaration) if function is None else function.__dict__
    return as_status(attributes.get(ATTRIBUTE), declaration)


# --- writing -------------------------------------------------------------------------------------


def set_freezable(obj: _Obj, status: int) -> _Obj:
    """Say whether an object, class, function or module may be frozen. Returns the object.

    `status` is one of FREEZABLE_YES, NO, EXPLICIT and PROXY; that of a class counts for its
    instances and subclasses, that of a module for the functions and classes defined in it. It is
    stored as `__freezable__` where the object takes it, else aside for as long as the object lives.
    O(1). Where many instances of a class are frozen and the status of one of them had to be stored
    aside, each of them costs a call more from then on.

    ValueError for what is no status; TypeError for an object that takes neither an attribute nor a
    weak reference (a list, say), and for what is frozen already.
    """
    if type(status) not in (int, FreezableStatus) or not 0 <= status <= 3:
        raise ValueError(
            f"{status!r} is no status; use icehouse.FREEZABLE_YES, FREEZABLE_NO, "
            "FREEZABLE_EXPLICIT or FREEZABLE_PROXY"
        )
    if is_frozen(obj):
        raise TypeError(f"{described(obj)} is frozen already: no status can be set")
    found = FreezableStatus(status)
    if issubclass(type(obj), ModuleType):
        # Not the number: what that means in a module depends on whom one asks.
        _module_namespace(obj)[ATTRIBUTE] = found
    elif issubclass(type(obj), type) or function_of(obj) is not None:
        _set_of_declaration(obj, found)
    else:
        _set_of_instance(obj, found)
    return obj


def _set_of_declaration(declaration: Any, status: FreezableStatus | None) -> None:
    function = function_of(declaration)
    if function is not None:
        if status is None:
            function.__dict__.pop(ATTRIBUTE, None)
        else:
            function.__dict__[ATTRIBUTE] = int(status)
        return
    # Past the metaclass, as everything here.
    if status is not None:
        type.__setattr__(declaration, ATTRIBUTE, int(status))
    elif ATTRIBUTE in anatomy.namespace(declaration):
        type.__delattr__(declaration, ATTRIBUTE)
    hooks.generation += 1


def remember(
    declaration: Any, names: frozenset[str], status: FreezableStatus | None
) -> Callable[[], None]:
    """Keep what a decorator said of a class or function. Returns what takes it back.

    The names are joined with what others said; the status is kept where it has none of its own.
    """
    function = function_of(declaration)
    target: Any = declaration if function is None else function
    before = _names.get(target)
    _names.set(target, names | (before or frozenset()))
    sets = status is not None and own_status(declaration) is None
    if sets:
        _set_of_declaration(declaration, status)

    def take_back() -> None:
        if before is None:
            _names.forget(target)
        else:
            _names.set(target, before)
        if sets:
            _set_of_declaration(declaration, None)

    return take_back


def remember_own(declaration: Any, names: frozenset[str]) -> Callable[[], None]:
    """Keep which names must occur in a class or function. Returns what takes it back."""
    function = function_of(declaration)
    target: Any = declaration if function is None else function
    before = _own_names.get(target)
    if names:
        _own_names.set(target, names | (before or frozenset()))

    def take_back() -> None:
        if before is None:
            _own_names.forget(target)
        else:
            _own_names.set(target, before)

    return take_back


def _set_of_instance(obj: Any, status: FreezableStatus) -> None:
    if not _set_attribute(obj, status):
        try:
            if not is_asked(type(obj)):
                raise TypeError
            _statuses.set(obj, status)
        except TypeError:
            raise _has_no_place(obj) from None
    elif registry.finds_attribute(type(obj)):
        return
    watch(type(obj))


def _set_attribute(obj: Any, status: FreezableStatus) -> bool:
    """Set `__freezable__`, without code of the class; False where that can't be."""
    rule = registry.plain_rule_of(type(obj))
    if rule[:2] == ("made", codes.PYDANTIC):
        return False  # its `__dict__` is for its fields alone
    try:
        object.__setattr__(obj, ATTRIBUTE, int(status))
    except (AttributeError, TypeError):
        return False
    return True


def _has_no_place(obj: Any) -> TypeError:
    return TypeError(
        f"{described(obj)} takes neither an attribute nor a weak reference that would be asked, so "
        'that no status can be kept for it; add "__weakref__" to the __slots__ of its class, '
        "use a subclass, or set the status of its class or of what holds it"
    )


def is_asked(cls: type) -> bool:
    """Whether the freezer asks about instances of a class, and not just copies them."""
    kinds = registrations.NEVER_ASKED
    return not any(cls is kind for kind in kinds) and name_of(cls) != "array.array"


def watch(cls: type) -> None:
    """Have the freezer ask about each instance of a class from now on."""
    if asked.watched.get(cls) is None:
        asked.watched.set(cls, value=True)
        hooks.generation += 1


# --- disabled ------------------------------------------------------------------------------------

_lock = _thread.RLock()
# By id: the object, which lives as long as it is here, and how often it is disabled.
_disabled: dict[int, tuple[Any, int]] = {}


class disabled(Generic[_Obj]):  # noqa: N801 - the name that PEP 795 gives it
    """Within `with disabled(obj):` the object can't be frozen, by any thread of the interpreter.

    It nests, and what the status of the object is otherwise does not change. Of a class its
    instances can't be frozen either. TypeError for lists, dicts and other exact builtin types, of
    which the freezer asks nobody, and for what is frozen already.
    """

    def __init__(self, obj: _Obj) -> None:
        if is_frozen(obj):
            raise TypeError(f"{described(obj)} is frozen already: that can't be disabled")
        if not is_asked(type(obj)) and type(obj) is not type:
            raise TypeError(
                f"{described(obj)} is of a builtin type, for which freezing can't be disabled; "
                "use a subclass, or disable the object that holds it"
            )
        self._obj = obj

    def __enter__(self) -> _Obj:
        obj: Any = self._obj
        watch(obj if issubclass(type(obj), type) else type(obj))
        with _lock:
            _, times = _disabled.get(id(obj), (obj, 0))
            _disabled[id(obj)] = obj, times + 1
        return self._obj

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> Literal[False]:
        obj = self._obj
        with _lock:
            _, times = _disabled[id(obj)]
            if times == 1:
                del _disabled[id(obj)]
            else:
                _disabled[id(obj)] = obj, times - 1
        return False


def _is_disabled(obj: Any) -> bool:
    if not _disabled:
        return False
    if issubclass(type(obj), type):
        return id(obj) in _disabled
    return id(obj) in _disabled or any(id(cls) in _disabled for cls in anatomy.mro(type(obj)))


# --- one freezing --------------------------------------------------------------------------------

_current = _thread._local()  # noqa: SLF001 - threading.local, without what else threading loads


class asking:  # noqa: N801 - a context manager, named as what it does
    """While declarations freeze, and their data in several pieces: it is one freezing all the same.

    So an argument is one in each piece, and no `__pre_freeze__` is called twice.
    """

    def __init__(self, arguments: tuple[Any, ...]) -> None:
        self.arguments = {id(obj): obj for obj in arguments}
        self.prepared: dict[int, Any] = {}
        self.veto: BaseException | None = None  # what the latest hook raised
        self._outer: asking | None = None

    def __enter__(self) -> None:
        self._outer = getattr(_current, "freezing", None)
        _current.freezing = self

    def __exit__(self, *error: object) -> None:
        _current.freezing = self._outer
        self.veto = None  # whose traceback leads back here


def _is_argument(obj: Any) -> bool:
    freezing: asking | None = getattr(_current, "freezing", None)
    return freezing is not None and id(obj) in freezing.arguments


# --- asking --------------------------------------------------------------------------------------


def check(obj: Any, is_root: bool) -> None:
    """Raise Refusal where an object may not be frozen, or not because another one reaches it.

    `is_root`: it is an argument of `freeze` or `put`. ValueError for a `__freezable__` that is no
    status.
    """
    if _is_disabled(obj):
        raise Refusal("freezing it is disabled for now, by icehouse.disabled(); try again after it")
    cls = obj if issubclass(type(obj), type) else type(obj)
    if any(base is NotFreezable for base in anatomy.mro(cls)):
        raise Refusal("its class opts out of freezing, by its base class icehouse.NotFreezable")
    status = status_of(obj)
    if status is FREEZABLE_NO:
        raise Refusal(
            "its status is FREEZABLE_NO (icehouse.set_freezable, @unfreezable or __freezable__); "
            "leave it out, or change its status"
        )
    if status is FREEZABLE_EXPLICIT and not is_root and not _is_argument(obj):
        raise Refusal(
            "its status is FREEZABLE_EXPLICIT, so that it freezes only where it is an argument of "
            "freeze() itself: name it there too"
        )


def before(obj: Any, is_root: bool) -> None:
    """Do what comes before an object is read: check its status, then call its `__pre_freeze__`.

    What that raises goes to the caller of `freeze`: it is a veto.
    """
    check(obj, is_root)
    pre_freeze(obj)


def pre_freeze(obj: Any) -> None:
    """Call the `__pre_freeze__` of an object, a function, or the metaclass of a class."""
    function = function_of(obj)
    hook: Any
    if function is not None:
        hook = function.__dict__.get(HOOK)
    else:
        hook = anatomy.class_attribute(type(obj), HOOK)
        if hasattr(type(hook), "__get__"):
            hook = type(hook).__get__(hook, obj, type(obj))
    if hook is None:
        return
    freezing: asking | None = getattr(_current, "freezing", None)
    if freezing is not None:
        if id(obj) in freezing.prepared:
            return
        freezing.prepared[id(obj)] = obj
    running: set[int] = _current.__dict__.setdefault("running", set())
    if id(obj) in running:
        # It freezes what leads back to the object, which is read as it is by now.
        return
    running.add(id(obj))
    try:
        # What the hook freezes is another freezing.
        with asking(()):
            hook()
    except BaseException as error:
        if freezing is not None:
            # A veto is one again when this is tried again.
            freezing.prepared.pop(id(obj), None)
            freezing.veto = error
        raise
    finally:
        running.discard(id(obj))


def described(obj: Any) -> str:
    """Name an object, for messages."""
    if issubclass(type(obj), ModuleType):
        return f"the module {obj.__name__}"
    if issubclass(type(obj), type):
        return f"the class {name_of(obj)}"
    function = function_of(obj)
    if function is not None:
        return f"the function {function.__qualname__}"
    return f"an object of type {name_of(type(obj))}"
