"""Modules inside frozen graphs: held by name, imported by the interpreter that uses them."""

import sys
from types import MappingProxyType, ModuleType
from typing import Any, NoReturn, Self, final

from icehouse.store.errors import FrozenError
from icehouse.store.freezing import codes
from icehouse.store.freezing.records import Record
from icehouse.store.freezing.trust import Trust

__all__ = ["ImmutableModule", "import_module"]

_NAME = "_icehouse_module_name"


@final
class ImmutableModule:
    """A module that is held by its name, so that it may lie inside of what is frozen.

    `ImmutableModule("json")` or `ImmutableModule(json)`. Whichever interpreter asks it for an
    attribute imports the module then, and gets the attribute of its own module, which may be
    mutable: only the reference is frozen. Attributes can't be set or deleted by way of it:
    FrozenError. Two of one name are equal.

    It freezes as it is, and travels to other interpreters and processes; where code is not trusted
    (images of other users, without `trust=True`) a `Record` of the name comes back instead.

    ValueError for what is no absolute name of a module, or a module that its name does not lead
    to; TypeError for anything else. Making one is O(1) and imports nothing; ImportError, when it is
    used, where the module can't be imported.
    """

    __slots__ = ("__weakref__", _NAME)

    def __new__(cls, module: str | ModuleType, /) -> Self:
        """Hold a module by its name."""
        made = object.__new__(cls)
        object.__setattr__(made, _NAME, _name_of(module))
        return made

    def __init_subclass__(cls) -> NoReturn:
        raise TypeError("ImmutableModule can't be subclassed")

    def __getattr__(self, name: str) -> Any:
        # What no class of ours has: all attributes of modules but for the names of special methods.
        if name == _NAME:
            raise AttributeError(name)
        module = _imported(name_of_proxy(self))
        if name == "__dict__":
            return MappingProxyType(vars(module))
        return getattr(module, name)

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise _refused(self, f"setting attribute {name!r}")

    def __delattr__(self, name: str) -> NoReturn:
        raise _refused(self, f"deleting attribute {name!r}")

    def __dir__(self) -> list[str]:
        return dir(_imported(name_of_proxy(self)))

    def __repr__(self) -> str:
        return f"ImmutableModule({name_of_proxy(self)!r})"

    def __eq__(self, other: object) -> bool:
        if isinstance(other, ImmutableModule):
            return name_of_proxy(self) == name_of_proxy(other)
        return NotImplemented

    def __hash__(self) -> int:
        return hash((ImmutableModule, name_of_proxy(self)))

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: object) -> Self:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return (ImmutableModule, (name_of_proxy(self),))


def import_module(name: str) -> ImmutableModule:
    """Import a module and return the proxy that may be frozen: an interpreter-local import.

    Every other interpreter that uses the proxy imports the module for itself. ImportError where
    this one can't.
    """
    proxy = ImmutableModule(name)
    _imported(name)
    return proxy


def name_of_proxy(proxy: ImmutableModule) -> str:
    """Read the name of the module without importing it."""
    name: str = object.__getattribute__(proxy, _NAME)
    return name


def _name_of(module: Any) -> str:
    if isinstance(module, ModuleType):
        name = module.__name__
        spec = getattr(module, "__spec__", None)
        # `python -m package.tool` is `__main__`, and the package's own module would be another.
        if name != "__main__" and spec is not None:
            name = spec.name
        if sys.modules.get(name) is not module:
            raise ValueError(
                f"the module {name!r} is not the one in sys.modules, so that no other interpreter "
                "would find it by its name"
            )
        return name
    if type(module) is not str:
        raise TypeError(
            f"ImmutableModule takes a module or its name, not an object of type "
            f"{type(module).__name__}"
        )
    if not all(part.isidentifier() for part in module.split(".")):
        raise ValueError(f"{module!r} is no absolute name of a module, such as 'os.path'")
    return module


def _imported(name: str) -> ModuleType:
    try:
        __import__(name)
    except ImportError as error:
        error.add_note(f"icehouse.ImmutableModule({name!r}) imports it where it is used")
        raise
    return sys.modules[name]


def _refused(proxy: ImmutableModule, what: str) -> FrozenError:
    name = name_of_proxy(proxy)
    return FrozenError(
        f"the module {name} is held by a frozen reference: {what} is refused; "
        f"import {name} and write to it, in each interpreter that should see it"
    )


# --- freezing and opening ------------------------------------------------------------------------


def rule(cls: type, base: type) -> tuple[Any, ...] | None:
    """Say how proxies freeze: as their name."""
    return ("value", codes.MODULE, name_of_proxy) if cls is base is ImmutableModule else None


def frozen(obj: Any, base: type) -> bool | None:
    """Say that a proxy is immutable by nature."""
    return True if type(obj) is base is ImmutableModule else None


def open_module(payload: Any, trust: Trust) -> Any:
    """Hold the module by its name again; a record of the name without trust in code."""
    if type(payload) is not str:
        raise ValueError("a module is stored as its name")
    proxy = ImmutableModule(payload)
    return proxy if trust.code else Record("icehouse.ImmutableModule", ("name",), (payload,))
