"""Frozen functions: how the private function is made, how it is stored, and how it is opened.

A FrozenFunction runs a private function with globals and cells of its own, which hold what the
original's held when it was frozen. What it is made from is its *declaration*: code, names and
`facts`, whether they were taken from a function here or read from an image. So a function that was
opened is the same as one that was frozen here.

The payload of FUNCTION is a tuple: an id of 16 bytes, the magic number of the bytecode, the
version's text, name, qualname, module, doc, code (marshal), its SHA-256, and the facts: a dict, so
that functions may refer to each other in circles. Its keys, absent where empty:

* `globals`, `closure`: {name: value}; `modules`, `cell_modules`: {name: module's name}; `named`,
  `cell_named`: {name: (module, qualname)}
* `unbound`: names of globals that were not bound; `itself`, `cell_itself`: names of the function
* `defaults`, `kwdefaults`, `attributes`, `annotations`, `type_params`
* `guarded`: names of builtins that must not get at its globals, as `globals`
* `writes`: True where it writes what it captured
* `refused`: why the function can't be called; there is no code then
"""

import builtins
import os
import sys
from collections.abc import Callable, Iterable, Mapping
from importlib.util import MAGIC_NUMBER
from types import CellType, CodeType, FunctionType, MappingProxyType
from typing import Any, NoReturn
from weakref import ref

from icehouse.native._image import CorruptImage, FrozenTuple, _declaration_of, _frozen_function
from icehouse.store.declarations import bytecode, identity
from icehouse.store.errors import FrozenError
from icehouse.store.freezing import codes
from icehouse.store.freezing.records import Record
from icehouse.store.freezing.trust import Trust, lookup_plain

ID_BYTES = 16
# The type's name of a record that stands for a library's function among defaults and attributes.
NAMED_RECORD = "icehouse.named"


def version() -> str:
    """Give the version of this Python, as far as code depends on it."""
    return f"{sys.version_info[0]}.{sys.version_info[1]}"


# --- the declaration -----------------------------------------------------------------------------


class Declaration:
    """What a frozen function is made from."""

    __slots__ = ("code", "facts", "id", "magic", "names", "shell", "version")

    def __init__(
        self,
        id: bytes,  # noqa: A002 - what it is
        magic: bytes,
        version: str,
        names: tuple[str, str, str | None, str | None],
        code: CodeType | bytes | None,
        facts: Mapping[str, Any],
    ) -> None:
        self.id = id
        self.magic = magic
        self.version = version
        self.names = names  # name, qualname, module, doc
        self.code = code  # marshalled in what was opened; None where it can't be called
        self.facts = facts
        self.shell: ref[Any] | None = None  # the FrozenFunction that is made from it

    def make(self, refused: str | None = None) -> Any:
        """Make the FrozenFunction, whose private function is made later."""
        made = _frozen_function(self, None, refused)
        self.shell = ref(made)
        return made

    def itself(self) -> Any:
        """Find the FrozenFunction that it is of."""
        return None if self.shell is None else self.shell()

    def materialise(self) -> FunctionType:
        """Make the private function.

        ImportError where the code is of another version of Python or a module or class that it
        needs can't be imported; CorruptImage for code that is damaged.
        """
        return build(self)

    def payload(self) -> tuple[Any, ...]:
        """Write it down, for an image. O(size of its code)."""
        code = self.code
        if isinstance(code, CodeType):
            import marshal

            code = marshal.dumps(code)
        code = code or b""
        return (
            *(self.id, self.magic, self.version, *self.names),
            *(code, _digest(code), self.facts),
        )


def _digest(code: bytes) -> bytes:
    from icehouse.store.files import sha256

    digest = sha256()
    digest.update(code)
    return digest.digest()


def _names_of(function: FunctionType) -> tuple[str, str, str | None, str | None]:
    module, doc = function.__module__, function.__doc__
    return (
        function.__name__,
        function.__qualname__,
        module if type(module) is str else None,
        doc if type(doc) is str else None,
    )


def declare(function: FunctionType, facts: dict[str, Any], *, callable_: bool) -> Declaration:
    """Start the declaration of a function that is being frozen here."""
    return Declaration(
        os.urandom(ID_BYTES),
        MAGIC_NUMBER,
        version(),
        _names_of(function),
        function.__code__ if callable_ else None,
        facts,
    )


def uncallable(function: FunctionType, reason: str) -> Any:
    """Make the FrozenFunction of one that can't be frozen: calling it raises, saying why."""
    return declare(function, {"refused": reason}, callable_=False).make(reason)


# --- making the private function -----------------------------------------------------------------


class _Globals(dict[str, Any]):
    """The globals of a function that writes captured variables, or reads unbound ones.

    They are the frame's locals too. Up to 3.12, what looks at a frame (a debugger) has its
    variables copied there and back, so that these are kept aside.
    """

    __slots__ = ("aside", "label", "unbound")
    aside: dict[str, Any]
    label: str
    unbound: frozenset[str]

    def __setitem__(self, name: str, value: Any) -> None:
        if name.endswith(bytecode.MARK):
            refuse_write(self.label, "write", name.removesuffix(bytecode.MARK))
        self.aside[name] = value

    def __delitem__(self, name: str) -> None:
        del self.aside[name]

    def __missing__(self, name: str) -> Any:
        if name in self.aside:
            return self.aside[name]
        if name in self.unbound:
            raise NameError(
                f"name {name!r} is not defined: it was not bound when {self.label} was frozen. "
                "Freeze after it is bound, or both together: freeze(f, g)",
                name=name,
            )
        return vars(builtins)[name]


class _DeletingGlobals(_Globals):
    """The same where variables are deleted."""

    __slots__ = ()

    def __getitem__(self, name: str) -> Any:
        if name == bytecode.DELETED:
            frame = sys._getframe(1)  # noqa: SLF001 - whose instruction reads it
            refuse_write(self.label, "delete", bytecode.deleted_at(frame.f_code, frame.f_lasti))
        return dict.__getitem__(self, name) if name in self else self.__missing__(name)


def refuse_write(label: str, what: str, name: str) -> NoReturn:
    """Raise the error for a write of a captured variable."""
    raise FrozenError(
        f"{label} can't {what} the variable {name!r}, which it captured: that was cut from its "
        "scope when the function was frozen. Return the value, or keep it in a SharedField or an "
        "InterpreterLocal"
    )


class _Annotations(dict[str, Any]):
    """The annotations of a private function: read when they are asked for.

    The classes that they name are imported then, and not because the function is called.
    """

    __slots__ = ("_facts",)

    def __init__(self, facts: Mapping[str, Any]) -> None:
        super().__init__()
        self._facts = facts

    def copy(self) -> dict[str, Any]:
        """Give them as an ordinary dict; a class that can't be imported as its name."""
        return {name: _named(value) for name, value in self._facts["annotations"].items()}


def _named(value: Any) -> Any:
    if type(value) is Record and value.type_name == "builtins.type":
        return f"{value['__module__']}.{value['__qualname__']}"
    return value


def build(declared: Declaration) -> FunctionType:
    """Make the private function; see `Declaration.materialise`."""
    facts = declared.facts
    label = f"the frozen function {declared.names[1]}"
    code = _code_of(declared, label)
    if not isinstance(declared.code, CodeType):
        _check_facts(facts, label)
    sealed = bytecode.sealed(code) if facts.get("writes") else code
    space = _space(label, code, sealed, frozenset(facts.get("unbound", ())))
    values = _values(facts, label, "globals", "modules", "named")
    for name in facts.get("itself", ()):
        values[name] = declared.itself()
    dict.update(space, values)
    dict.__setitem__(space, "__builtins__", vars(builtins))
    _guard(space, facts.get("guarded", ()), label)
    cells = _values(facts, label, "closure", "cell_modules", "cell_named")
    for name in facts.get("cell_itself", ()):
        cells[name] = declared.itself()
    closure = tuple(
        CellType(cells[name]) if name in cells else CellType() for name in code.co_freevars
    )
    name, qualname, module, doc = declared.names
    defaults = tuple(resolved(value, label) for value in facts.get("defaults", ()))
    made = FunctionType(sealed, space, name, defaults or None, closure or None)
    made.__qualname__ = qualname
    made.__module__ = module  # type: ignore[assignment]
    made.__doc__ = doc
    if "kwdefaults" in facts:
        kwdefaults = facts["kwdefaults"].items()
        made.__kwdefaults__ = {key: resolved(value, label) for key, value in kwdefaults}
    if "annotations" in facts:
        made.__annotations__ = _Annotations(facts)
    for key, value in facts.get("attributes", {}).items():
        made.__dict__[key] = resolved(value, label)
    if "type_params" in facts:
        setattr(made, "__type_params__", tuple(facts["type_params"]))  # noqa: B010 - since 3.12
    return made


def _code_of(declared: Declaration, label: str) -> CodeType:
    code = declared.code
    if declared.magic != MAGIC_NUMBER:
        raise ImportError(
            f"{label} was frozen by Python {declared.version} and can't run on {version()}: the "
            f"code of a function is that of one version. Freeze it with Python {version()}, or "
            "send its name instead"
        )
    if isinstance(code, CodeType):
        return code
    import marshal

    try:
        found = marshal.loads(code or b"")  # noqa: S302 - trust in code was asked (H21)
    except (ValueError, EOFError, TypeError) as error:
        raise CorruptImage(f"the code of {label} is damaged: {error}") from error
    if type(found) is not CodeType:
        raise CorruptImage(f"the code of {label} is damaged: it is a {type(found).__name__}")
    return found


_DICTS = ("globals", "closure", "kwdefaults", "attributes", "annotations")
_TEXTS = ("modules", "cell_modules")
_PAIRS = ("named", "cell_named")
_NAMES = ("unbound", "itself", "cell_itself", "guarded")
_TUPLES = ("defaults", "type_params")


def _check_facts(facts: Mapping[str, Any], label: str) -> None:
    """Check the shape of what was read from an image."""
    for key in (*_DICTS, *_TEXTS, *_PAIRS, *_NAMES, *_TUPLES):
        part = facts.get(key, None)
        if part is not None and not _is_shaped(key, part):
            raise CorruptImage(f"what {label} captured is damaged: its {key} have no such form")


def _is_shaped(key: str, part: Any) -> bool:
    if key in _TUPLES or key in _NAMES:
        if not isinstance(part, tuple | FrozenTuple):
            return False
        allowed = ("globals", *bytecode.LOCALS)
        return key in _TUPLES or all(
            type(name) is str and (key != "guarded" or name in allowed) for name in part
        )
    if not isinstance(part, Mapping) or not all(type(name) is str for name in part):
        return False
    if key in _TEXTS:
        return all(type(value) is str for value in part.values())
    return key in _DICTS or all(
        type(value) is tuple and len(value) == 2 and all(type(x) is str for x in value)
        for value in part.values()
    )


def _space(label: str, code: CodeType, sealed: CodeType, unbound: frozenset[str]) -> dict[str, Any]:
    if sealed is code and not unbound:
        return {}
    deletes = sealed is not code and bytecode.deletes(sealed)
    space = _DeletingGlobals() if deletes else _Globals()
    space.aside = {}
    space.label = label
    space.unbound = unbound
    return space


def _values(facts: Mapping[str, Any], label: str, plain: str, modules: str, named: str) -> Any:
    """Collect what names hold: values, modules and functions of libraries."""
    found = dict(facts.get(plain, ()))
    for name, value in found.items():
        if type(value) is Record and value.type_name == "builtins.type":
            raise ImportError(
                f"{label} needs the class {value['__module__']}.{value['__qualname__']} as "
                f"{name!r}, which can't be imported here: freeze it along with the function, "
                "freeze(f, C), so that it travels by value"
            )
    for name, module in facts.get(modules, {}).items():
        found[name] = _import(module, name, label)
    for name, (module, qualname) in facts.get(named, {}).items():
        _import(module, name, label)
        value = lookup_plain(module, qualname)
        if value is None:
            raise ImportError(f"{label} needs {module}.{qualname} as {name!r}: there is none here")
        found[name] = value
    return found


def resolved(value: Any, label: str) -> Any:
    """Give a default or attribute; of a library's function the function."""
    if type(value) is not Record or value.type_name != NAMED_RECORD:
        return value
    _import(value["module"], value["qualname"], label)
    found = lookup_plain(value["module"], value["qualname"])
    if found is None:
        raise ImportError(f"{label} needs {value['module']}.{value['qualname']}, which is not here")
    return found


def _import(module: str, name: str, label: str) -> Any:
    found = sys.modules.get(module)
    if found is not None:
        return found
    try:
        __import__(module)
    except ImportError as error:
        raise ImportError(
            f"{label} needs the module {module} as {name!r}, which can't be imported here: {error}",
            name=module,
        ) from error
    return sys.modules[module]


def _guard(space: dict[str, Any], guarded: Iterable[str], label: str) -> None:
    """Bind what would hand out the private globals to what gives copies."""
    for name in guarded:
        if name == "globals":
            dict.__setitem__(space, name, _globals_of(space))
        else:
            dict.__setitem__(space, name, _without_locals(name, label))


def _globals_of(space: dict[str, Any]) -> Callable[[], Any]:
    def globals_() -> Any:
        return MappingProxyType({k: v for k, v in space.items() if k not in ours})

    ours = {"globals", "__builtins__"}
    return globals_


def _without_locals(name: str, label: str) -> Callable[..., Any]:
    original = getattr(builtins, name)

    def guarded(*args: Any, **kwargs: Any) -> Any:
        wanted = {"vars": 1, "dir": 1, "eval": 2, "exec": 2}.get(name)
        if wanted is None or len(args) < wanted:
            raise FrozenError(
                f"{label} can't use {name}() of its own variables, since it writes variables that "
                "it captured: give it what it shall look at"
            )
        return original(*args, **kwargs)

    return guarded


# --- images --------------------------------------------------------------------------------------


def rule(cls: type, base: type) -> tuple[Any, ...] | None:
    """Frozen functions are values of their own."""
    return ("value", codes.FUNCTION, payload_of) if cls is base else None


def payload_of(frozen: Any) -> tuple[Any, ...]:
    """Write a frozen function down."""
    payload: tuple[Any, ...] = _declaration_of(frozen).payload()
    return payload


def open_function(payload: Any, trust: Trust) -> Any:
    """Open a function; a record of its name where trust in code is missing (H21)."""
    id_, magic, version, name, qualname, module, doc, code, digest, facts = payload
    for part in (version, name, qualname):
        if type(part) is not str:
            raise ValueError("the names of a function are not text")
    for part in (module, doc):
        if part is not None and type(part) is not str:
            raise ValueError("the module of a function is not text")
    if type(id_) is not bytes or len(id_) != ID_BYTES or type(magic) is not bytes:
        raise ValueError("the id of a function is not 16 bytes")
    if not isinstance(facts, Mapping):
        raise ValueError("what a function captured is not a dict")
    if not trust.code:
        return Record(
            "builtins.function",
            ("__name__", "__qualname__", "__module__", "__doc__"),
            (name, qualname, module, doc),
        )
    known = identity.find(trust.own, id_)
    if known is not None:
        return known
    # A private copy, so that what was checked is what runs.
    code = bytes(code)
    if digest != _digest(code):
        raise ValueError(f"the code of {qualname} is not what its digest says")
    refused = facts.get("refused")
    if refused is not None and type(refused) is not str:
        raise ValueError("the reason why a function can't be called is not text")
    declared = Declaration(id_, magic, version, (name, qualname, module, doc), code, facts)
    return identity.remember(trust.own, id_, declared.make(refused))
