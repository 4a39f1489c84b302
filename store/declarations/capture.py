"""What a function captured from its surroundings, and how each of it freezes.

What a name *holds* counts, not how it is written:

* `CONSTANT`: it is frozen, or freezes as a whole without anybody noticing (`list[int]`).
* `BUILTIN`: the interpreter that runs the function has it.
* `MODULE`: held by name, and imported by the interpreter that calls.
* `NAMED`: a function of a library, held by name likewise.
* `CLASS`: one that is not frozen: by name, unless it freezes along.
* `DECLARATION`: a function, method or partial, which freezes along.
* `STATE`: what can change. It freezes, as a snapshot, only where the function's declaration names
  it.

Anything else is refused, with what to do instead.
"""

import builtins
import sys
import sysconfig
from collections.abc import Iterator
from types import CellType, FunctionType, MethodType, ModuleType
from typing import Any, Final, NamedTuple

from icehouse.native._image import (
    FreezableFunction,
    is_frozen,
)
from icehouse.store.declarations.bytecode import Names, names_of
from icehouse.store.freezing import refused, registry
from icehouse.store.freezing.anatomy import mro
from icehouse.store.freezing.refusal import Refusal
from icehouse.store.freezing.trust import (
    MAIN_MODULES,
    lookup_plain,
    module_of,
    name_of,
    qualname_of,
)

CONSTANT: Final = "constant"
BUILTIN: Final = "builtin"
MODULE: Final = "module"
NAMED: Final = "named"
CLASS: Final = "class"
DECLARATION: Final = "declaration"
STATE: Final = "state"
ITSELF: Final = "itself"
UNBOUND: Final = "unbound"

GLOBAL: Final = "global"
CELL: Final = "variable"

# Types of constants that only the freezer knows to be: they are made again by what pickles them.
_MADE_AGAIN = frozenset(
    {
        *("types.GenericAlias", "types.UnionType", "typing.Union"),
        *("typing._SpecialForm", "typing._GenericAlias", "typing._UnionGenericAlias"),
        *("typing._LiteralGenericAlias", "typing._AnnotatedAlias", "typing._CallableGenericAlias"),
        *("typing._SpecialGenericAlias", "typing._TupleType", "typing._CallableType"),
        *("typing._AnyMeta", "typing._TypedCacheSpecialForm", "typing._DeprecatedGenericAlias"),
        *("operator.itemgetter", "operator.attrgetter", "operator.methodcaller"),
        *("typing.TypeVar", "typing.ParamSpec", "typing.TypeVarTuple", "builtins.slice"),
        *("collections.abc._CallableGenericAlias", "typing.ForwardRef"),
    }
)

# Bound in every frozen function: what looks into its globals must not get at the dict itself.
_OURS = frozenset({"__builtins__"})

_LRU = (
    "its cache is mutable state: keep the cache in an InterpreterLocal, or freeze the function "
    "below it, f.__wrapped__"
)
# Marks that code of dataclasses is compared with: these names hold them.
MARKS = {
    "dataclasses._MISSING_TYPE": ("dataclasses", "MISSING"),
    "dataclasses._HAS_DEFAULT_FACTORY_CLASS": ("dataclasses", "_HAS_DEFAULT_FACTORY"),
}

_WITHIN = "pass it as an argument, or have each interpreter make its own: InterpreterLocal(factory)"
# What to say of types whose own reason would not help in a function.
_ADVICE: dict[str, str] = {
    "functools._lru_cache_wrapper": _LRU,
    "os._Environ": (
        "the environment is state of each process: use it through its module (`import os`, then "
        "`os.environ[...]` in the function), or capture the value that you need"
    ),
    "_thread.lock": f"a lock belongs to the threads of one process: {_WITHIN}",
    "_thread.RLock": f"a lock belongs to the threads of one process: {_WITHIN}",
    "_thread._local": (
        "it is another for each thread: use icehouse.InterpreterLocal, which each interpreter has "
        "its own of, or pass the value as an argument"
    ),
    "logging.Logger": (
        "a logger is state of each process: call logging.getLogger(name) in the function, or keep "
        "it in an InterpreterLocal(factory)"
    ),
    "_io._IOBase": (
        "an open file is a position and a descriptor of this process: open it in the function, or "
        "pass what it holds"
    ),
    "icehouse.Store": (
        "a store is open in one process: pass it as an argument, or keep what opens it in an "
        "InterpreterLocal(factory)"
    ),
    "builtins.generator": "a generator is code that is half-way through: pass a list of its items",
}


class Use(NamedTuple):
    """A captured name: where it is, how it freezes, and what it holds.

    `value` is the (module, qualname) of what is NAMED, and the name of a MODULE.
    """

    place: str
    name: str
    kind: str
    value: Any
    soft: bool = False


def uses(function: FunctionType, *, fresh: bool = False, names: Names | None = None) -> list[Use]:
    """List what a function captured.

    `names`: those of its code, where they are known already. `fresh`: it is being decorated, so
    that its own name can't be bound to it yet. What can't be captured at all has the Refusal as its
    value and no kind.
    """
    names = names or names_of(function.__code__)
    home = function.__globals__.get("__name__")
    home = home if type(home) is str else ""
    found = list(_globals(function, names, home, fresh))
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        found.append(_cell(function, name, cell, home, fresh))
    return found


def _globals(function: FunctionType, names: Names, home: str, fresh: bool) -> Iterator[Use]:
    space = function.__globals__
    builtin: dict[str, Any] = getattr(function, "__builtins__")  # noqa: B009 - typeshed may lack it
    for name in (*names.read, *names.soft):
        soft = name in names.soft
        own = is_own(function, name)
        if name in _OURS:
            continue
        if own and (fresh or name not in space or space[name] is function):
            yield Use(GLOBAL, name, ITSELF, None)
        elif name in space:
            yield _use(GLOBAL, name, space[name], home, soft)
        elif name in builtin:
            if not hasattr(builtins, name):
                yield _use(GLOBAL, name, builtin[name], home, soft)
        elif not soft:
            yield Use(GLOBAL, name, UNBOUND, None)


def is_own(function: FunctionType, name: str) -> bool:
    """Whether a name is that of the function, where a definition binds it: not of a method."""
    qualname = function.__qualname__
    return name == function.__name__ and (qualname == name or qualname.endswith(f">.{name}"))


def is_bound_to(function: FunctionType, use: Use) -> bool:
    """Whether a captured name holds the function itself."""
    if use.place == GLOBAL:
        return function.__globals__.get(use.name) is function
    at = function.__code__.co_freevars.index(use.name)
    try:
        return (function.__closure__ or ())[at].cell_contents is function
    except ValueError:
        return False


def _cell(function: FunctionType, name: str, cell: CellType, home: str, fresh: bool) -> Use:
    # A wrapper that took the name of what it wraps has that in a variable of this name.
    own = is_own(function, name) and function.__code__.co_name == name
    try:
        value = cell.cell_contents
    except ValueError:
        return Use(CELL, name, ITSELF if own else UNBOUND, None)
    if own and (fresh or value is function):
        return Use(CELL, name, ITSELF, None)
    return _use(CELL, name, value, home, soft=False)


def _use(place: str, name: str, value: Any, home: str, soft: bool) -> Use:
    try:
        kind, held = classify(value, home)
    except Refusal as refusal:
        return Use(place, name, "", (value, refusal), soft)
    return Use(place, name, kind, held, soft)


# --- what a value is -----------------------------------------------------------------------------


def classify(value: Any, home: str) -> tuple[str, Any]:
    """Say how a captured value freezes in a function of module `home`; Refusal where it can't."""
    cls = type(value)
    if isinstance(value, ModuleType):
        return _module(value)
    if issubclass(cls, type):
        return _class(value)
    if cls in (FunctionType, FreezableFunction):
        return _function(value, home)
    if cls is _BUILTIN_FUNCTION:
        return _builtin(value)
    if cls is MethodType or name_of(cls) == "functools.partial":
        return DECLARATION, value
    if is_frozen(value) or name_of(cls) in _MADE_AGAIN:
        return CONSTANT, value
    if cls is object:
        return _sentinel(value)
    if name_of(cls) in MARKS:
        return NAMED, MARKS[name_of(cls)]
    return _state(value)


_BUILTIN_FUNCTION = type(len)


def _module(module: ModuleType) -> tuple[str, Any]:
    spec = getattr(module, "__spec__", None)
    for name in (module.__name__, getattr(spec, "name", None)):
        if type(name) is str and sys.modules.get(name) is module:
            return MODULE, name
    if type(module) is not ModuleType and is_frozen(module):
        return CONSTANT, module
    raise Refusal(
        f"the module {module.__name__} is not in sys.modules under its name, so that no other "
        "interpreter could import it"
    )


def _class(cls: type) -> tuple[str, Any]:
    return (CONSTANT if is_frozen(cls) else CLASS), cls


def _function(function: Any, home: str) -> tuple[str, Any]:
    if is_by_name(function, home):
        return NAMED, (function.__module__, function.__qualname__)
    return DECLARATION, function


def is_by_name(function: Any, home: str = "") -> bool:
    """Whether a function is that of a library, which knows it by its name."""
    module = function.__module__
    return (
        type(function) is FunctionType
        and type(module) is str
        and is_library(module, home)
        and lookup_plain(module, function.__qualname__) is function
    )


def _builtin(value: Any) -> tuple[str, Any]:
    from icehouse.store.freezing import builtin

    owner = value.__self__
    if owner is None or isinstance(owner, ModuleType | type):
        builtin.global_payload(value)
        return CONSTANT, value
    raise Refusal(
        f"it is a method of an object of type {name_of(type(owner))}: capture the object, or the "
        "module that has it, and take the method where it is called"
    )


def _sentinel(value: object) -> tuple[str, Any]:
    """Find `object()` under the name that a module has for it: it has nothing but its identity."""
    for name, module in list(sys.modules.items()):
        if name in MAIN_MODULES or not isinstance(module, ModuleType):
            continue
        for key, held in list(vars(module).items()):
            if held is value and type(key) is str:
                return NAMED, (name, key)
    raise Refusal(
        "an object() is nothing but its identity, which gets lost where no module that can be "
        "imported holds it: use a member of an Enum, or a class"
    )


def _state(value: Any) -> tuple[str, Any]:
    cls = type(value)
    name = name_of(cls)
    for base in mro(cls):
        advice = _ADVICE.get(name_of(base))
        if advice is not None:
            raise Refusal(advice)
        if name_of(base) in refused.REASONS:
            break
    rule = registry.rule_of(cls)
    if isinstance(rule, str):
        raise Refusal(rule if name in _WEAK else f"{rule}; or {_WITHIN}")
    return STATE, value


_WEAK = frozenset({"weakref.ReferenceType", "weakref.ProxyType", "weakref.CallableProxyType"})


def refusal_of(use: Use, function: FunctionType, *, is_argument: bool) -> tuple[Any, str]:
    """Give what a name holds that was refused, and the reason, with what to do about it.

    `is_argument`: the function was not reached from one that may be of the same package.
    """
    value, reason = use.value, f'it can change: name it, @icehouse.freezable("{use.name}")'
    if not use.kind:
        value, reason = use.value[0], str(use.value[1])
    module = function.__module__
    if is_argument and type(module) is str and is_library(module, ""):
        name = f"{module}.{function.__qualname__}"
        advice = (
            f"{name} is a function of a library, whose variables are not for its users to freeze: "
            f"freeze a function of yours that calls {name}, which it holds by name"
        )
        if module.partition(".")[0] not in sys.stdlib_module_names:
            advice = f"{advice}. Where {module} is yours: {reason}"
        return value, advice
    return value, _state_advice(use) if use.kind else reason


def _state_advice(use: Use) -> str:
    return (
        f"it can change, and what a function captures is cut off when it is frozen. If a frozen "
        f'copy is meant, name it: @icehouse.freezable("{use.name}"). Else pass it as an argument, '
        "or keep it in a SharedField (one for all) or an InterpreterLocal (one an interpreter)"
    )


# --- libraries -----------------------------------------------------------------------------------

_library_paths: tuple[str, ...] | None = None


def is_library(module: str, home: str) -> bool:
    """Whether a module is of the standard library or an installed distribution.

    Not that of the function itself, whose module is `home`: its own package goes along by value.
    """
    top = module.partition(".")[0]
    if module in MAIN_MODULES or top == home.partition(".")[0]:
        return False
    if top in sys.stdlib_module_names or top == "icehouse":
        return True
    file = getattr(sys.modules.get(module), "__file__", None)
    return type(file) is str and file.startswith(_paths())


def _paths() -> tuple[str, ...]:
    global _library_paths
    if _library_paths is None:
        known = (
            sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")
        )
        _library_paths = tuple({f"{path}/" for path in known if path})
    return _library_paths


def class_advice(cls: type) -> str:
    """Say what to do about a class that no name leads to."""
    return (
        f"the class {module_of(cls)}.{qualname_of(cls)} is not frozen, and no name leads to it: "
        f"freeze it too, freeze(f, {cls.__name__}), or decorate it with @icehouse.frozen"
    )
