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
* `refused`: why the function can't be called; there is no code then
"""

import builtins
import os
import sys
from collections.abc import Callable, Mapping
from importlib.util import MAGIC_NUMBER
from types import CellType, CodeType, FunctionType, MappingProxyType
from typing import Any, NoReturn
from weakref import ref

from icehouse.native import _image
from icehouse.store.declarations import bytecode, capture, identity, together
from icehouse.store.declarations.annotations import annotations_of
from icehouse.store.declarations.capture import (
    CLASS,
    CONSTANT,
    DECLARATION,
    GLOBAL,
    ITSELF,
    MODULE,
    NAMED,
    STATE,
    UNBOUND,
    Use,
)
from icehouse.store.declarations.together import (
    BaseItem,
    Plan,
    error_of,
    is_callable_declaration,
    label_of,
)
from icehouse.store.errors import FrozenError
from icehouse.store.freezing import builtin, codes
from icehouse.store.freezing.records import Record
from icehouse.store.freezing.refusal import Refusal
from icehouse.store.freezing.trust import Trust, lookup

ID_BYTES = 16
# The type's name of a record that stands for a library's function among defaults and attributes.
NAMED_RECORD = "icehouse.named"
# Attributes of functions that say how they freeze: they mean nothing for what is frozen.
_NOT_KEPT = frozenset({"__freezable__", "__pre_freeze__"})


def _version() -> str:
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
        made = _image._frozen_function(self, None, refused)
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
        return _build(self)

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


def _declaration(function: FunctionType, facts: dict[str, Any], *, callable_: bool) -> Declaration:
    return Declaration(
        os.urandom(ID_BYTES),
        MAGIC_NUMBER,
        _version(),
        _names_of(function),
        function.__code__ if callable_ else None,
        facts,
    )


def uncallable(function: FunctionType, reason: str) -> Any:
    """Make the FrozenFunction of one that can't be frozen: calling it raises, saying why."""
    return _declaration(function, {"refused": reason}, callable_=False).make(reason)


# --- making the private function -----------------------------------------------------------------


class _Globals(dict[str, Any]):
    """The globals of a function that writes captured variables, or reads unbound ones."""

    __slots__ = ("label", "unbound")
    label: str
    unbound: frozenset[str]

    def __setitem__(self, name: str, value: Any) -> None:
        if name.endswith(bytecode.MARK):
            refuse_write(self.label, "write", name.removesuffix(bytecode.MARK))
        # What else comes here is a debugger's or locals()'s: the variables of a frame.

    def __missing__(self, name: str) -> Any:
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
            frame = sys._getframe(1)
            refuse_write(
                self.label, "delete", bytecode.deleted_at(frame.f_code, frame.f_lasti)
            )
        return dict.__getitem__(self, name) if name in self else self.__missing__(name)


def refuse_write(label: str, what: str, name: str) -> NoReturn:
    """Raise the error for a write of a captured variable."""
    raise FrozenError(
        f"{label} can't {what} the variable {name!r}, which it captured: that was cut from its "
        "scope when the function was frozen. Return the value, or keep it in a SharedField or an "
        "InterpreterLocal"
    )


def _build(declared: Declaration) -> FunctionType:
    facts = declared.facts
    label = f"the frozen function {declared.names[1]}"
    code = _code_of(declared, label)
    sealed = bytecode.sealed(code)
    space = _space(label, code, sealed, frozenset(facts.get("unbound", ())))
    values = _values(facts, label, "globals", "modules", "named")
    for name in facts.get("itself", ()):
        values[name] = declared.itself()
    dict.update(space, values)
    dict.__setitem__(space, "__builtins__", vars(builtins))
    _guard(space, code, sealed is not code, label)
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
    made.__annotations__ = dict(facts.get("annotations", ()))
    for key, value in facts.get("attributes", {}).items():
        made.__dict__[key] = resolved(value, label)
    if "type_params" in facts:
        made.__type_params__ = tuple(facts["type_params"])
    return made


def _code_of(declared: Declaration, label: str) -> CodeType:
    code = declared.code
    if declared.magic != MAGIC_NUMBER:
        raise ImportError(
            f"{label} was frozen by Python {declared.version} and can't run on {_version()}: the "
            f"code of a function is that of one version. Freeze it with Python {_version()}, or "
            "send its name instead"
        )
    if isinstance(code, CodeType):
        return code
    import marshal

    try:
        found = marshal.loads(code or b"")
    except (ValueError, EOFError, TypeError) as error:
        raise _image.CorruptImage(f"the code of {label} is damaged: {error}") from error
    if type(found) is not CodeType:
        raise _image.CorruptImage(f"the code of {label} is damaged: it is a {type(found).__name__}")
    return found


def _space(
    label: str, code: CodeType, sealed: CodeType, unbound: frozenset[str]
) -> dict[str, Any]:
    if sealed is code and not unbound:
        return {}
    deletes = sealed is not code and bytecode.deletes(sealed)
    space = _DeletingGlobals() if deletes else _Globals()
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
        value = lookup(module, qualname)
        if value is None:
            raise ImportError(f"{label} needs {module}.{qualname} as {name!r}: there is none here")
        found[name] = value
    return found


def resolved(value: Any, label: str) -> Any:
    """Give a default or attribute; of a library's function the function."""
    if type(value) is not Record or value.type_name != NAMED_RECORD:
        return value
    _import(value["module"], value["qualname"], label)
    found = lookup(value["module"], value["qualname"])
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


def _guard(space: dict[str, Any], code: CodeType, is_sealed: bool, label: str) -> None:
    """Bind what would hand out the private globals to what gives copies."""
    names = bytecode.names_of(code).read
    if "globals" in names and "globals" not in space:

        def globals_() -> Any:
            return MappingProxyType({k: v for k, v in space.items() if k not in ours})

        dict.__setitem__(space, "globals", globals_)
    ours = {"globals", "__builtins__"} - set(() if "globals" in names else ("globals",))
    if is_sealed:
        for name in bytecode.LOCALS:
            if name in names and name not in space:
                dict.__setitem__(space, name, _without_locals(name, label))


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


# --- freezing ------------------------------------------------------------------------------------


class Holder(BaseItem):
    """An item that holds values."""

    home = ""  # the module of a function

    def keep(self, plan: Plan, group: Any, name: Any, value: Any, path: str) -> None:
        """Hold data: as it is if it is frozen, else what the plan's snapshot makes of it."""
        group[name] = value
        if not _image.is_frozen(value):
            plan.keep(self, value, path, lambda frozen: group.__setitem__(name, frozen))

    def take_value(self, plan: Plan, group: Any, name: Any, value: Any, path: str) -> None:
        """Hold what always may freeze: a default, an attribute, an argument of a partial."""
        if type(value) is FunctionType:
            kind, held = capture.classify(value, self.home)
            if kind == NAMED:
                group[name] = Record(NAMED_RECORD, ("module", "qualname"), held)
                return
        if is_callable_declaration(value):
            group[name] = plan.reach(self, value, path)
        else:
            self.keep(plan, group, name, value, path)


class FunctionItem(Holder):
    """A function that is being frozen: copied, or in place if it is a FreezableFunction.

    `names` are those of captured state that may freeze, beside what was said of the function
    itself; `fresh` that it is just being defined, by a decorator.
    """

    def __init__(self, source: Any, path: str, plan: Plan) -> None:
        super().__init__(source, path, plan)
        self.in_place = type(source) is _image.FreezableFunction
        self.function: FunctionType = _image._original_of(source) if self.in_place else source
        self.facts: dict[str, Any] = {}
        self.declaration = _declaration(self.function, self.facts, callable_=True)
        if self.in_place:
            self.frozen = source
            self.declaration.shell = ref(source)
        else:
            self.frozen = self.declaration.make()
        home = self.function.__globals__.get("__name__")
        self.home = home if type(home) is str else ""
        self.names: frozenset[str] = frozenset()
        self.fresh = False
        self._made: FunctionType | None = None

    # --- planning ---

    def check(self, plan: Plan) -> None:
        """Find out what it captured, and have that frozen along."""
        from icehouse.store.declarations import status

        plan.alias(self, self.function)
        function, label = self.function, label_of(self.function)
        named = status.named_state(self.source) | self.names
        found = capture.uses(function, fresh=self.fresh)
        allowed = {id(use.value) for use in found if use.kind == STATE and _is_named(use, named)}
        for use in found:
            self._take(plan, use, f"{self._start(label)}: {use.place} {use.name!r}", allowed)
        for own in ("__name__", "__package__"):
            value = function.__globals__.get(own)
            if type(value) is str:
                self._group("globals").setdefault(own, value)
        bytecode.sealed(function.__code__)
        self._take_rest(plan, label)

    def _start(self, label: str) -> str:
        return self.path if self.path == label else f"{self.path} -> {label}"

    def _group(self, key: str) -> dict[str, Any]:
        group: dict[str, Any] = self.facts.setdefault(key, {})
        return group

    def _take(self, plan: Plan, use: Use, path: str, allowed: set[int]) -> None:
        is_global = use.place == GLOBAL
        values = self._group("globals" if is_global else "closure")
        kind, value = use.kind, use.value
        if kind == CONSTANT:
            values[use.name] = value
        elif kind in (MODULE, NAMED):
            key = "modules" if kind == MODULE else "named"
            self._group(key if is_global else f"cell_{key}")[use.name] = value
        elif kind == ITSELF:
            key = "itself" if is_global else "cell_itself"
            self.facts[key] = (*self.facts.get(key, ()), use.name)
        elif kind == UNBOUND:
            self._take_unbound(use, path, is_global)
        elif kind == CLASS:
            self._take_class(plan, use, path, values)
        elif kind == DECLARATION:
            values[use.name] = plan.reach(self, value, path)
        elif kind == STATE and id(value) in allowed:
            self.keep(plan, values, use.name, value, path)
        elif not use.soft:
            obj = value if kind else value[0]
            reason = capture.advice_for_state(use) if kind else str(value[1])
            raise error_of(path, obj, reason, self.source)

    def _take_unbound(self, use: Use, path: str, is_global: bool) -> None:
        if is_global:
            self.facts["unbound"] = (*self.facts.get("unbound", ()), use.name)
        elif use.name == "__class__":
            raise error_of(
                path,
                self.source,
                "it uses super() or __class__, and its class is not there yet: decorate it with "
                "@icehouse.freezable, and freeze the class",
                self.source,
            )

    def _take_class(self, plan: Plan, use: Use, path: str, values: dict[str, Any]) -> None:
        if plan.item_of(use.value) is not None:
            values[use.name] = plan.reach(self, use.value, path)
            return
        try:
            builtin.class_payload(use.value)
        except Refusal:
            if use.soft:
                return
            raise error_of(path, use.value, capture.class_advice(use.value), self.source) from None
        values[use.name] = use.value

    def _take_rest(self, plan: Plan, label: str) -> None:
        """Take defaults, attributes, annotations and type parameters."""
        function, start = self.function, self._start(label)
        if function.__defaults__:
            defaults = _Indexed(self.facts, "defaults", len(function.__defaults__))
            for at, value in enumerate(function.__defaults__):
                name = _argument(function.__code__, at - len(function.__defaults__))
                self.take_value(plan, defaults, at, value, f"{start}: default of {name!r}")
        for name, value in (function.__kwdefaults__ or {}).items():
            group = self._group("kwdefaults")
            self.take_value(plan, group, name, value, f"{start}: default of {name!r}")
        for name, value in list(function.__dict__.items()):
            if name not in _NOT_KEPT:
                group = self._group("attributes")
                self.take_value(plan, group, name, value, f"{start}: attribute {name!r}")
        annotations = annotations_of(function)
        if annotations:
            self.facts["annotations"] = annotations
        params = getattr(function, "__type_params__", ())
        if params:
            self.facts["type_params"] = params

    # --- freezing ---

    def prepare(self) -> None:
        """Make the private function."""
        for key in [key for key, value in self.facts.items() if value == {}]:
            del self.facts[key]
        self._made = _build(self.declaration)

    def commit(self) -> None:
        """Show it: fill the shell, or turn the FreezableFunction into it."""
        made = self._made
        assert made is not None
        if self.in_place:
            _image._freeze_in_place(self.source, self.declaration, made)
        else:
            _image._fill_function(self.frozen, made)
        identity.remember(True, self.declaration.id, self.frozen)  # noqa: FBT003 - our own

    def undo(self) -> None:
        """Make it freezable again."""
        identity.forget(self.declaration.id)
        if self.in_place:
            _image._undo_freeze(self.source, self.function)


class _Indexed:
    """A place in a tuple of the facts, which `_keep` sets as one of a dict."""

    def __init__(self, facts: dict[str, Any], key: str, count: int) -> None:
        self._facts = facts
        self._key = key
        facts[key] = (None,) * count

    def __setitem__(self, at: int, value: Any) -> None:
        items = list(self._facts[self._key])
        items[at] = value
        self._facts[self._key] = tuple(items)


def _is_named(use: Use, named: frozenset[str]) -> bool:
    return use.name in named or "*" in named


def _argument(code: CodeType, from_end: int) -> str:
    return code.co_varnames[: code.co_argcount][from_end]


# --- images --------------------------------------------------------------------------------------


def rule(cls: type, base: type) -> tuple[Any, ...] | None:
    """Frozen functions are values of their own."""
    return ("value", codes.FUNCTION, payload_of) if cls is base else None


def payload_of(frozen: Any) -> tuple[Any, ...]:
    """Write a frozen function down."""
    payload: tuple[Any, ...] = _image._declaration_of(frozen).payload()
    return payload


def rule_of_function(cls: type, base: type) -> tuple[Any, ...] | None:
    """Functions inside of data freeze with a plan that holds them, and else not at all."""
    return ("value", codes.FUNCTION, _planned) if cls is base else None


def _planned(function: Any) -> tuple[Any, ...]:
    plan = together.current()
    if plan is None:
        raise Refusal(together.UNFROZEN)
    item = plan.meet_inside(function)
    if not isinstance(item, FunctionItem):
        raise Refusal(together.UNFROZEN)
    return item.declaration.payload()


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
