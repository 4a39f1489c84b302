"""Whether a function can run in a worker of `icehouse.interpreters.pool`: asked when it is given.

A function goes by name or frozen. What it needs of modules is tried out in an interpreter of its
own, once for each module and process: some refuse to be imported there (NumPy, cffi, msgspec).
"""

import functools
import sys
import threading
import weakref
from collections.abc import Iterable
from typing import Any

from icehouse.native._image import FrozenFunction, _declaration_of
from icehouse.store.errors import InterpreterError

# Writes {module: why it can't be imported} to a descriptor. A module that is not found is left for
# the call to name: it may be one that only some calls need.
_IMPORT = """
import importlib, os
_refused = {{}}
for _name in {names!r}:
    try:
        importlib.import_module(_name)
    except ModuleNotFoundError:
        pass
    except BaseException as _error:
        _lines = str(_error).split("\\n")
        _said = [_line for _line in _lines if "subinterpreter" in _line] or _lines
        _refused[_name] = f"{{type(_error).__name__}}: {{_said[0].strip()[:200]}}"
os.write({file}, repr(_refused).encode())
"""

_lock = threading.Lock()
_reasons: dict[str, str | None] = {}  # why a module does not load; None: it does, or is not found


def name_of(function: Any) -> str:
    """Name a function in a message: "module.qualname", else its repr()."""
    function = _inner(function)
    module = getattr(function, "__module__", None)
    name = getattr(function, "__qualname__", None)
    return f"{module}.{name}" if module and name else repr(function)


def _inner(function: Any) -> Any:
    """Return what a partial or a bound method calls in the end."""
    while True:
        if isinstance(function, functools.partial):
            function = function.func
        elif hasattr(function, "__func__"):
            function = function.__func__
        else:
            return function


def modules_of(function: Any) -> tuple[str, ...]:
    """Return the names of the modules that a function needs where it is called.

    Of a frozen function: those that it captured, or that hold what it captured by name, and so on
    through the functions and classes that it holds; of any other the one that it is found in.
    """
    function = _inner(function)
    if isinstance(function, FrozenFunction):
        known = _modules.get(function)
        if known is None:
            found: set[str] = set()
            _add_frozen(function, found, set())
            known = _modules[function] = tuple(sorted(found))
        return known
    module = getattr(function, "__module__", None)
    return (module if isinstance(module, str) else type(function).__module__,)


_modules: weakref.WeakKeyDictionary[FrozenFunction, tuple[str, ...]] = weakref.WeakKeyDictionary()


def _add(value: Any, found: set[str], seen: set[int]) -> None:
    """Add the modules that a captured value needs."""
    value = _inner(value)
    if id(value) in seen:
        return
    seen.add(id(value))
    if isinstance(value, FrozenFunction):
        _add_frozen(value, found, seen)
    elif isinstance(value, type):
        _add_class(value, found, seen)
    elif isinstance(value, property):
        for each in (value.fget, value.fset, value.fdel):
            _add(each, found, seen)


def _add_frozen(function: FrozenFunction, found: set[str], seen: set[int]) -> None:
    facts: Any = getattr(_declaration_of(function), "facts", {})
    for key in ("modules", "cell_modules"):
        found.update(facts.get(key, {}).values())
    for key in ("named", "cell_named"):
        found.update(module for module, _ in facts.get(key, {}).values())
    for key in ("globals", "closure", "kwdefaults", "attributes"):
        for value in facts.get(key, {}).values():
            _add(value, found, seen)
    for value in facts.get("defaults", ()):
        _add(value, found, seen)


def _add_class(cls: type, found: set[str], seen: set[int]) -> None:
    """Add the module of a class, or of one that goes by value what its methods need."""
    if cls.__module__ != "__main__" and "<locals>" not in cls.__qualname__:
        found.add(cls.__module__)
        return
    for each in (*cls.__bases__, type(cls), *vars(cls).values()):
        _add(each, found, seen)


def check_importable(function: Any, *, main: bool = False) -> None:
    """TypeError for a function that another interpreter can't find by name, if it isn't frozen.

    `main`: functions of `__main__` are found there, as multiprocessing sees to it.
    """
    function = _inner(function)
    if isinstance(function, FrozenFunction):
        return
    name = getattr(function, "__qualname__", "")
    lost = "<locals>" in name or "<lambda>" in name
    if lost or (not main and getattr(function, "__module__", None) == "__main__"):
        raise not_importable(function)


def not_importable(function: Any) -> TypeError:
    """Make the error for a function that another interpreter can't find by its name."""
    name = getattr(function, "__qualname__", "")
    if "<locals>" in name or "<lambda>" in name:
        advice = "define it at the top level of a module, or pass icehouse.freeze(function)"
    else:
        advice = (
            "it is a function of the script itself (__main__), which no other interpreter can "
            "import; pass icehouse.freeze(function), or move it into a module"
        )
    return TypeError(
        f"{function!r} can't be called in another interpreter, which imports it by name: {advice}"
    )


def check_modules(function: Any) -> None:
    """InterpreterError for a function that needs what loads in no other interpreter.

    The first time for a module this takes an interpreter and what importing takes there.
    """
    names = [name for name in modules_of(function) if name not in _ALWAYS]
    for name in names:
        if name not in _reasons:
            _ask(names)
            break
    for name in names:
        reason = _reasons.get(name)
        if reason is not None:
            raise InterpreterError(
                f"{name_of(function)} can't be called in another interpreter: it needs the module"
                f" {name}, which does not load there ({reason}); use"
                " icehouse.interpreters.pool(..., processes=True)"
            )


# They are in every interpreter, or come from the one that asks.
_ALWAYS = frozenset(("builtins", "sys", "__main__", "icehouse", "operator", "math", "time", "os"))


def _ask(names: Iterable[str]) -> None:
    """Find out about modules that nobody has asked about yet."""
    import ast
    import os

    from icehouse.store.interpreters import Interpreter

    with _lock:
        unknown = [name for name in names if name not in _reasons]
        if not unknown:
            return
        file = os.memfd_create("icehouse-modules", os.MFD_CLOEXEC)
        try:
            with Interpreter() as probe:
                probe.run(_IMPORT.format(names=unknown, file=file))
            refused: dict[str, str] = ast.literal_eval(os.pread(file, 1 << 30, 0).decode())
        finally:
            os.close(file)
        for name in unknown:
            _reasons[name] = refused.get(name)


def check_for_interpreters(function: Any) -> None:
    """All of it, for a worker that is an interpreter."""
    check_importable(function)
    if sys.version_info >= (3, 12):
        check_modules(function)


def check_for_processes(function: Any) -> None:
    """All of it, for a worker that is a process."""
    check_importable(function, main=True)
