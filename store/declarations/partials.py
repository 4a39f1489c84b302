"""Bound methods and functools.partial, frozen.

A method object is immutable as it is where its function and its object are: it freezes only if its
object is frozen already. A partial is not, so what comes back is a FrozenPartial.
"""

import functools
from types import FunctionType, MappingProxyType, MethodType
from typing import Any, NoReturn

from icehouse.native._image import (
    _image_bytes,
    _load_image,
    is_frozen,
)
from icehouse.store.declarations import together
from icehouse.store.declarations.declared import NAMED_RECORD, resolved
from icehouse.store.declarations.functions import Holder
from icehouse.store.declarations.together import Plan
from icehouse.store.errors import FrozenError
from icehouse.store.freezing import codes, refused
from icehouse.store.freezing.records import Record
from icehouse.store.freezing.refusal import Refusal
from icehouse.store.freezing.trust import Trust, name_of

# --- methods -------------------------------------------------------------------------------------


class MethodItem(Holder):
    """A method of a frozen object."""

    def __init__(self, source: MethodType, path: str, plan: Plan) -> None:
        super().__init__(source, path, plan)
        owner: Any = source.__self__
        function: Any = source.__func__
        if not is_frozen(owner):
            if issubclass(type(owner), type):
                raise Refusal(
                    f"it is a method of the class {name_of(owner)}, which is not frozen: freeze "
                    "the class first, or use the method through the class"
                )
            raise Refusal(
                f"it is a method of an object of type {name_of(type(owner))}, which is not frozen: "
                "freeze the object first, and take the method of what freeze() returned"
            )
        if together.is_callable_declaration(function):
            function = plan.reach(self, function, f"{path} -> {together.label_of(function)}")
        elif not is_frozen(function):
            raise Refusal(f"its function is an object of type {name_of(type(function))}")
        self.frozen = MethodType(function, owner)


def rule_of_method(cls: type, base: type) -> tuple[Any, ...] | None:
    """Methods of frozen objects, whose function is frozen too."""
    return ("value", codes.REDUCE, _method_payload) if cls is base else None


def _method_payload(method: Any) -> tuple[Any, ...]:
    plan = together.current()
    if plan is not None and not is_frozen(method):
        method = plan.meet_inside(method).frozen
    if not is_frozen(method):
        raise Refusal(refused.METHOD)
    return ("builtins.method", ("types", "MethodType"), (method.__func__, method.__self__))


# --- partials ------------------------------------------------------------------------------------


def _kind(_: object) -> type:
    return functools.partial


class FrozenPartial:
    """A functools.partial that can't be changed: function, arguments and attributes are frozen.

    It passes `isinstance(x, functools.partial)`, and calling it costs a little more than that.
    """

    __slots__ = ("__weakref__", "_partial")

    # What isinstance() and inspect ask. The property of object could be assigned.
    __class__ = property(_kind)  # pyright: ignore[reportIncompatibleMethodOverride]

    def __call__(self, /, *args: Any, **keywords: Any) -> Any:
        """Call the function."""
        return _partial_of(self)(*args, **keywords)

    @property
    def func(self) -> Any:
        """The function that is called."""
        return _partial_of(self).func

    @property
    def args(self) -> tuple[Any, ...]:
        """The arguments that come first."""
        args: tuple[Any, ...] = _partial_of(self).args
        return args

    @property
    def keywords(self) -> MappingProxyType[str, Any]:
        """The keyword arguments that a call may replace."""
        return MappingProxyType(dict(_partial_of(self).keywords))

    @property
    def __dict__(self) -> Any:  # type: ignore[override]
        return MappingProxyType(dict(vars(_partial_of(self))))

    def __getattr__(self, name: str) -> Any:
        try:
            return vars(_partial_of(self))[name]
        except KeyError:
            raise AttributeError(f"a frozen partial has no attribute {name!r}") from None

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise FrozenError(f"can't assign {name!r} to {self!r}: it is frozen")

    def __delattr__(self, name: str) -> NoReturn:
        raise FrozenError(f"can't delete {name!r} of {self!r}: it is frozen")

    def __repr__(self) -> str:
        partial = _partial_of(self)
        shown = [repr(partial.func), *map(repr, partial.args)]
        shown += [f"{name}={value!r}" for name, value in partial.keywords.items()]
        return f"<frozen partial {', '.join(shown)}>"

    def __copy__(self) -> "FrozenPartial":
        return self

    def __deepcopy__(self, memo: object) -> "FrozenPartial":
        return self

    def __reduce_ex__(self, protocol: object) -> Any:
        return _load_image, (_image_bytes(self),)


# The one way to what it holds; the class has no attribute that leads there.
_slot: Any = vars(FrozenPartial)["_partial"]
delattr(FrozenPartial, "_partial")


def _partial_of(frozen: FrozenPartial) -> Any:
    return _slot.__get__(frozen)


class PartialItem(Holder):
    """A functools.partial: function and arguments freeze along."""

    def __init__(self, source: Any, path: str, plan: Plan) -> None:
        super().__init__(source, path, plan)
        self.frozen = object.__new__(FrozenPartial)
        self.parts: dict[Any, Any] = {}
        self.attributes: dict[str, Any] = {}

    def check(self, plan: Plan) -> None:
        """Have function and arguments frozen; they always may be, as defaults of a function."""
        source, parts = self.source, self.parts
        self.take_value(plan, parts, "func", source.func, f"{self.path}: function")
        for at, value in enumerate(source.args):
            self.take_value(plan, parts, at, value, f"{self.path}: argument {at}")
        for name, value in source.keywords.items():
            self.take_value(plan, parts, f"={name}", value, f"{self.path}: argument {name!r}")
        for name, value in vars(source).items():
            path = f"{self.path}: attribute {name!r}"
            self.take_value(plan, self.attributes, name, value, path)

    def prepare(self) -> None:
        """Fill the shell."""
        parts = self.parts
        args = [parts[at] for at in range(len(self.source.args))]
        keywords = {name: parts[f"={name}"] for name in self.source.keywords}
        _fill(self.frozen, parts["func"], args, keywords, self.attributes)


def _fill(frozen: FrozenPartial, func: Any, args: Any, keywords: Any, attributes: Any) -> None:
    """Make the real partial. Functions of libraries, held by name, are looked up here."""
    label = "a frozen partial"
    func, *args = (resolved(value, label) for value in (func, *args))
    if not callable(func):
        raise ValueError("a partial is stored with what it calls")
    keywords = {name: resolved(value, label) for name, value in keywords.items()}
    made = functools.partial(func, *args, **keywords)
    vars(made).update({name: resolved(value, label) for name, value in attributes.items()})
    _slot.__set__(frozen, made)


def rule(cls: type, base: type) -> tuple[Any, ...] | None:
    """Say how frozen partials freeze."""
    return ("value", codes.PARTIAL, _payload) if cls is base is FrozenPartial else None


def frozen(obj: Any, base: type) -> bool | None:
    """Whether a method is immutable by nature; a frozen partial is."""
    if base is MethodType:
        return is_frozen(obj.__func__) and is_frozen(obj.__self__)
    return base is FrozenPartial


def _payload(obj: Any) -> tuple[Any, ...]:
    partial = _partial_of(obj)
    return (
        _by_name(partial.func),
        tuple(map(_by_name, partial.args)),
        {name: _by_name(value) for name, value in partial.keywords.items()},
        {name: _by_name(value) for name, value in vars(partial).items()},
    )


def _by_name(value: Any) -> Any:
    """Write a function of a library, the only kind here that is not frozen, as its name."""
    if type(value) is not FunctionType:
        return value
    return Record(NAMED_RECORD, ("module", "qualname"), (value.__module__, value.__qualname__))


def open_partial(payload: Any, trust: Trust) -> Any:
    """Open a partial; a record where trust in code is missing (H21)."""
    func, args, keywords, attributes = payload
    args, keywords, attributes = tuple(args), dict(keywords), dict(attributes)
    if not trust.code:
        return Record("functools.partial", ("func", "args", "keywords"), (func, args, keywords))
    made = object.__new__(FrozenPartial)
    _fill(made, func, args, keywords, attributes)
    return made
