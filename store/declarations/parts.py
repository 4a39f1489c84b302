"""What takes the place of the mutable parts of a class: dicts, lists, properties and their like.

They are of the builtin types, since code asks `isinstance(x, property)` and C code looks into
dicts, and refuse whatever changes them. Who calls a method of the builtin type past them
(`dict.__setitem__(C._field_defaults, ...)`, `property.__init__(C.p, ...)`) gets in, as through
`gc`: these are the documented doors.
"""

import contextlib
import functools
import threading
from collections.abc import Callable, Iterable, Iterator
from types import MappingProxyType
from typing import Any, NoReturn

from icehouse.store.errors import FrozenError


def refuse(what: str) -> NoReturn:
    """Raise FrozenError for a part of a frozen class."""
    raise FrozenError(
        f"{what} is refused: it belongs to a frozen class, which can't change; "
        "make a subclass of it instead"
    )


def _refusing(kind: str, name: str) -> Callable[..., NoReturn]:
    def method(*args: object, **keywords: object) -> NoReturn:
        del args, keywords
        refuse(f"{name}() of a {kind}")

    method.__name__ = name
    return method


def _closed(kind: str, names: str) -> dict[str, Callable[..., NoReturn]]:
    return {name: _refusing(kind, name) for name in names.split()}


class FixedDict(dict[Any, Any]):
    """A dict that stays as it was made."""

    __slots__ = ()

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle as the plain dict that it equals."""
        return dict, (dict(self),)

    locals().update(
        _closed(
            "dict",
            "__init__ __setitem__ __delitem__ __ior__ clear pop popitem setdefault update",
        )
    )


class FixedAnnotations(FixedDict):
    """The annotations of a class: whoever asks the class gets a copy of their own."""

    __slots__ = ()

    def __get__(self, obj: object, owner: type | None = None) -> FixedDict:
        """Copy them: even what gets past the methods changes nothing."""
        del obj, owner
        return fixed_dict(self, FixedDict)


class FixedList(list[Any]):
    """A list that stays as it was made."""

    __slots__ = ()

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle as the plain list that it equals."""
        return list, (list(self),)

    locals().update(
        _closed(
            "list",
            "__init__ __setitem__ __delitem__ __iadd__ __imul__ append clear extend insert pop "
            "remove reverse sort",
        )
    )


def fixed_dict(items: Any, cls: type[FixedDict] = FixedDict) -> FixedDict:
    """Make a FixedDict of a mapping."""
    made = dict.__new__(cls)
    dict.update(made, items)
    return made


def fixed_list(items: Iterable[Any]) -> FixedList:
    """Make a FixedList of what an iterable gives."""
    made = list.__new__(FixedList)
    list.extend(made, items)
    return made


# --- descriptors ---------------------------------------------------------------------------------


class _Open:
    """What has a `__dict__`."""


_dict_of: Callable[[Any], dict[str, Any]] = vars(_Open)["__dict__"].__get__


# A `__dict__` that can't be written. Each class needs it, as Python gives each class its own.
_shown: Any = property(lambda self: MappingProxyType(_dict_of(self)))


class Sealed(_Open):
    """Mixed into a descriptor: from `seal` on its attributes are fixed, and `__init__` refused."""

    __dict__ = _shown

    def __setattr__(self, name: str, value: object) -> None:
        if "sealed" in self.__dict__:
            refuse(f"setting {name!r} of a {type(self).__name__}")
        super().__setattr__(name, value)

    def __delattr__(self, name: str) -> None:
        refuse(f"deleting {name!r} of a {type(self).__name__}")

    def _check_open(self) -> None:
        if "sealed" in self.__dict__:
            refuse(f"__init__() of a {type(self).__name__}")


def seal(made: Any) -> Any:
    """Fix the attributes of a descriptor that was just made, and return it."""
    _dict_of(made)["sealed"] = True
    return made


class FrozenProperty(Sealed, property):
    """A property of a frozen class, with frozen functions."""

    __dict__ = _shown

    def __init__(self, *args: Any) -> None:
        """`property(fget, fset, fdel, doc)`."""
        self._check_open()
        super().__init__(*args)
        # Before 3.12 that of this class hides it.
        _dict_of(self)["__doc__"] = args[3] if len(args) > 3 else None

    def _other(self, fget: Any, fset: Any, fdel: Any) -> property:
        return property(fget, fset, fdel, self.__doc__)

    def getter(self, fget: Any, /) -> property:
        """Make an ordinary property like this one, for a subclass."""
        return self._other(fget, self.fset, self.fdel)

    def setter(self, fset: Any, /) -> property:
        """Make an ordinary property like this one, for a subclass."""
        return self._other(self.fget, fset, self.fdel)

    def deleter(self, fdel: Any, /) -> property:
        """Make an ordinary property like this one, for a subclass."""
        return self._other(self.fget, self.fset, fdel)


class FrozenClassMethod(Sealed, classmethod):  # type: ignore[type-arg]
    """A class method of a frozen class."""

    __dict__ = _shown

    def __init__(self, function: Any) -> None:
        """`classmethod(function)`."""
        self._check_open()
        super().__init__(function)


class FrozenSubclassHook(FrozenClassMethod):
    """`__init_subclass__` of a frozen class: not called for classes that are made again."""

    __dict__ = _shown

    def __get__(self, obj: Any, owner: type | None = None) -> Any:
        """Bind it, or what does nothing."""
        if getattr(_local, "quiet", 0):
            return _nothing
        return super().__get__(obj, owner)


def _nothing(**keywords: object) -> None:
    del keywords


_local = threading.local()


@contextlib.contextmanager
def no_subclass_hooks() -> Iterator[None]:
    """Within it, this thread makes subclasses of frozen classes without telling these."""
    _local.quiet = getattr(_local, "quiet", 0) + 1
    try:
        yield
    finally:
        _local.quiet -= 1


class FrozenStaticMethod(Sealed, staticmethod):  # type: ignore[type-arg]
    """A static method of a frozen class."""

    __dict__ = _shown

    def __init__(self, function: Any) -> None:
        """`staticmethod(function)`."""
        self._check_open()
        super().__init__(function)


class FrozenCachedProperty(Sealed, functools.cached_property):  # type: ignore[type-arg]
    """A cached property of a frozen class: what it computes lies in the instance, as ever."""

    __dict__ = _shown

    def __init__(self, func: Any, attrname: str | None, doc: str | None) -> None:
        """Like `functools.cached_property(func)`, with the name that it has in its class."""
        self._check_open()
        super().__init__(func)
        self.attrname = attrname
        self.__doc__ = doc

    def __set_name__(self, owner: type, name: str) -> None:
        """Take a name where it has none yet."""
        if self.attrname != name:
            super().__set_name__(owner, name)


class FrozenPartialMethod(Sealed, functools.partialmethod):  # type: ignore[type-arg]
    """A partial method of a frozen class, with frozen arguments."""

    __dict__ = _shown

    def __new__(cls, func: Any, args: tuple[Any, ...], keywords: dict[str, Any]) -> Any:
        """Make `functools.partialmethod(func, *args, **keywords)`."""
        made = object.__new__(cls)
        _dict_of(made).update(functools.partialmethod(func, *args, **keywords).__dict__)
        made.keywords = fixed_dict(keywords)
        return made

    def __init__(self, *arguments: object) -> None:
        """Nothing is left to do, which some versions do here."""
        del arguments
        self._check_open()


class FrozenDispatchMethod(Sealed, functools.singledispatchmethod):  # type: ignore[type-arg]
    """A method that is chosen by the type of its first argument: no type can be added."""

    __dict__ = _shown

    def __init__(self, func: Any, registry: Iterable[tuple[type, Any]]) -> None:
        """`registry`: pairs of a class and the frozen function for it."""
        self._check_open()
        super().__init__(func)
        dispatcher = self.dispatcher
        self.registry = tuple(registry)
        for cls, function in self.registry:
            dispatcher.register(cls, function)
        self.dispatcher = _Dispatcher(dispatcher.dispatch)  # type: ignore[assignment]

    def __get__(self, obj: Any, cls: Any = None) -> Any:
        """Bind it. Nothing is kept for the next time, as there is no place for it."""
        dispatch, name = self.dispatcher.dispatch, self.func.__name__

        def method(*args: Any, **keywords: Any) -> Any:
            if not args:
                raise TypeError(f"{name} requires at least 1 positional argument")
            return dispatch(args[0].__class__).__get__(obj, cls)(*args, **keywords)

        method.__name__ = name
        method.__doc__ = self.func.__doc__
        return method

    def register(self, cls: Any, method: Any = None) -> NoReturn:
        """Refuse: a subclass can have a method of its own."""
        del cls, method
        refuse("register() of a method")


class _Dispatcher:
    """All of a single-dispatch function that does not change it."""

    __slots__ = ("__call__", "dispatch")

    def __init__(self, dispatch: Callable[[type], Any]) -> None:
        self.dispatch = dispatch


class FrozenDescriptor(Sealed):
    """A descriptor of a class of the user's, frozen: its methods run on a view of it."""

    __dict__ = _shown

    def __init__(self, view: Any, cls: type) -> None:
        """`view` is what it froze to, `cls` its class."""
        self._check_open()
        self.view = view
        self.cls = cls

    def __get__(self, obj: object, owner: type | None = None) -> Any:
        """Do what the class of the descriptor says."""
        method = getattr(self.cls, "__get__", None)
        return self if method is None else method(self.view, obj, owner)

    def __getattr__(self, name: str) -> Any:
        """Read the attributes of the descriptor."""
        if name in ("view", "cls") or name.startswith("__"):
            raise AttributeError(name)
        return getattr(self.view, name)


class FrozenDataDescriptor(FrozenDescriptor):
    """One that decides about writing, too."""

    __dict__ = _shown

    def __set__(self, obj: object, value: object) -> None:
        """Do what the class of the descriptor says."""
        _method(self.cls, "__set__")(self.view, obj, value)

    def __delete__(self, obj: object) -> None:
        """Do what the class of the descriptor says."""
        _method(self.cls, "__delete__")(self.view, obj)


def _method(cls: type, name: str) -> Any:
    found = getattr(cls, name, None)
    if found is None:
        raise AttributeError(name)
    return found
