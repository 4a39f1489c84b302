"""Freezing functions: what one captured is planned, and a private function made that holds it.

See declared.py for what a frozen function is made of.
"""

from types import CodeType, FunctionType
from typing import Any
from weakref import ref

from icehouse.native._image import (
    FreezableFunction,
    _fill_function,
    _freeze_in_place,
    _original_of,
    _undo_freeze,
    is_frozen,
)
from icehouse.store.declarations import bytecode, capture, identity, occurring, together
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
from icehouse.store.declarations.declared import NAMED_RECORD, build, declare
from icehouse.store.declarations.together import (
    BaseItem,
    Plan,
    error_of,
    is_callable_declaration,
    label_of,
)
from icehouse.store.freezing import builtin, codes, refused
from icehouse.store.freezing.records import Record
from icehouse.store.freezing.refusal import Refusal
from icehouse.store.freezing.trust import name_of

# Attributes of functions that say how they freeze: they mean nothing for what is frozen.
_NOT_KEPT = frozenset({"__freezable__", "__pre_freeze__"})


# --- freezing ------------------------------------------------------------------------------------


class Holder(BaseItem):
    """An item that holds values."""

    home = ""  # the module of a function

    def keep(self, plan: Plan, group: Any, name: Any, value: Any, path: str) -> None:
        """Hold data: as it is if it is frozen, else what the plan's snapshot makes of it."""
        group[name] = value
        if not is_frozen(value):
            plan.keep(self, value, path, lambda frozen: group.__setitem__(name, frozen))

    def take_value(self, plan: Plan, group: Any, name: Any, value: Any, path: str) -> None:
        """Hold what always may freeze: a default, an attribute, an argument of a partial."""
        if type(value) is FunctionType or name_of(type(value)) in capture.MARKS:
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
        self.in_place = type(source) is FreezableFunction
        self.function: FunctionType = _original_of(source) if self.in_place else source
        self.facts: dict[str, Any] = {}
        self.declaration = declare(self.function, self.facts, callable_=True)
        if self.in_place:
            self.frozen = source
            self.declaration.shell = ref(source)
        else:
            self.frozen = self.declaration.make()
        home = self.function.__globals__.get("__name__")
        self.home = home if type(home) is str else ""
        self.names: frozenset[str] = frozenset()
        # What names will hold that a class, which is just being defined, is going to have.
        self.bound: dict[str, Any] = {}
        self.owner: type | None = None  # the class that it is a method of
        self.fresh = False
        self._made: FunctionType | None = None

    # --- planning ---

    def check(self, plan: Plan) -> None:
        """Find out what it captured, and have that frozen along."""
        from icehouse.store.declarations import status

        plan.alias(self, self.function)
        function, label = self.function, label_of(self.function)
        occurring.check(self.source, self.path)
        named = status.named_state(self.source) | self.names
        names = bytecode.names_of(function.__code__)
        found = capture.uses(function, fresh=self.fresh, names=names)
        allowed = {id(use.value) for use in found if use.kind == STATE and _is_named(use, named)}
        for use in found:
            use = self._foreseen(plan, use)
            self._take(plan, use, f"{self._start(label)}: {use.place} {use.name!r}", allowed)
        for own in ("__name__", "__package__"):
            value = function.__globals__.get(own)
            if type(value) is str:
                self._group("globals").setdefault(own, value)
        self._guard(names)
        self._take_rest(plan, label)

    def _foreseen(self, plan: Plan, use: Use) -> Use:
        """Take what a name will hold for what it holds.

        That is the class that a method is of, and for a function below other decorators what these
        made of it.
        """
        is_own = capture.is_own(self.function, use.name)
        unbound = use.kind == ITSELF
        decorated = plan.freshly_decorated(self, unbound=unbound) if is_own else None
        if decorated is not None and not capture.is_bound_to(self.function, use):
            return use._replace(kind=DECLARATION, value=decorated)
        if use.name in self.bound and (use.kind == UNBOUND or self.fresh):
            return use._replace(kind=CLASS, value=self.bound[use.name])
        owner = self.owner
        if use.kind == CLASS and use.name in ("cls", "__class__") and owner is not None:
            # A decorator that adds slots made the class anew, and its functions know the old one.
            same = (use.value.__module__, use.value.__qualname__)
            if same == (owner.__module__, owner.__qualname__):
                return use._replace(value=owner)
        return use

    def _guard(self, names: bytecode.Names) -> None:
        """Note what must be done to its code and globals when it is made."""
        guarded = ("globals", *bytecode.LOCALS) if names.written else ("globals",)
        space = self.function.__globals__
        found = tuple(name for name in guarded if name in names.read and name not in space)
        if found:
            self.facts["guarded"] = found
        if names.written:
            bytecode.sealed(self.function.__code__)  # it says if that can't be done
            self.facts["writes"] = True

    def _start(self, label: str) -> str:
        return self.path if self.is_argument() else f"{self.path} -> {label}"

    def is_argument(self) -> bool:
        """Whether the way to it begins with it: nothing else has led there."""
        return self.path == label_of(self.function)

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
            obj, reason = capture.refusal_of(use, self.function, is_argument=self.is_argument())
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
        self._made = build(self.declaration)
        if not self.in_place:
            # Nobody else has the shell yet; class methods copy its attributes when they are made.
            _fill_function(self.frozen, self._made)

    def commit(self) -> None:
        """Show it: turn the FreezableFunction into it."""
        made = self._made
        assert made is not None
        identity.remember(True, self.declaration.id, self.frozen)  # noqa: FBT003 - our own
        if self.in_place:
            try:
                _freeze_in_place(self.source, self.declaration, made)
            except BaseException:
                identity.forget(self.declaration.id)
                raise

    def undo(self) -> None:
        """Make it freezable again."""
        identity.forget(self.declaration.id)
        if self.in_place:
            _undo_freeze(self.source, self.function)


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


# --- inside of data ------------------------------------------------------------------------------


def rule_of_function(cls: type, base: type) -> tuple[Any, ...] | None:
    """Functions inside of data freeze with a plan that holds them, and else not at all."""
    return ("value", codes.FUNCTION, _planned) if cls is base else None


def _planned(function: Any) -> tuple[Any, ...]:
    plan = together.current()
    if plan is None:
        named = capture.is_by_name(function)
        raise Refusal(refused.LIBRARY_FUNCTION if named else refused.FUNCTION)
    item = plan.meet_inside(function)
    if not isinstance(item, FunctionItem):
        raise Refusal(refused.FUNCTION)
    return item.declaration.payload()
