"""Which names occur in a function or class: a decorator that names others was misspelt.

What occurs is more than what freezes by its name: a name that is written, parameters, the members
of bases, and what is inside of what a decorator made of a method. Nothing that may be meant is
refused.
"""

from collections.abc import Iterable
from types import CodeType
from typing import Any

from icehouse.store.declarations import status
from icehouse.store.declarations.together import error_of
from icehouse.store.freezing import anatomy

# Where decorators of the standard library keep the functions that they wrap.
_INSIDE = ("__func__", "fget", "fset", "fdel", "func", "dispatcher")


def check(declaration: Any, path: str, more: Iterable[str] = ()) -> None:
    """Raise NotFreezableError if a decorator of this declaration named what it does not have.

    `more`: names that it has besides. O(its code and members) if names were given at all.
    """
    named = status.own_names(declaration)
    if not named:
        return
    unknown = sorted(named.difference(names_in((declaration,)), more))
    if not unknown:
        return
    is_class = issubclass(type(declaration), type)
    said = ", ".join(map(repr, unknown))
    raise error_of(
        path,
        declaration,
        f"its decorator names {said}, which "
        + ("it does not have, nor does a function of it capture" if is_class else "it does not use")
        + "; correct the name, or take it away",
        declaration,
    )


def names_in(declarations: Iterable[Any]) -> frozenset[str]:
    """List the names that occur in functions and classes, and in what is inside of them."""
    found: set[str] = set()
    seen: dict[int, Any] = {}
    waiting = [each for each in declarations if each is not None]
    while waiting:
        each = waiting.pop()
        if id(each) in seen:
            continue
        seen[id(each)] = each
        function = status.function_of(each)
        if issubclass(type(each), type):
            for base in anatomy.mro(each):
                namespace = anatomy.namespace(base)
                found.update(namespace, _annotated(namespace))
                # Bases of others are not under this decorator: of these the names alone.
                waiting += namespace.values() if base is each else ()
        elif function is not None:
            found |= _of_code(function.__code__)
            waiting += _held(function.__dict__)
        else:
            waiting += _wrapped(each)
    # What begins with two underscores has the name of its class before it.
    found.update(
        f"__{rest}"
        for start, _, rest in (name.partition("__") for name in tuple(found))
        if start.startswith("_") and rest
    )
    return frozenset(found)


def _annotated(namespace: Any) -> Iterable[str]:
    annotations = namespace.get("__annotations__")
    return annotations if type(annotations) is dict else ()


def _of_code(code: CodeType) -> set[str]:
    """List what code, and code inside of it, may use of outside: parameters and attributes too."""
    # Defaults freeze without a name, but who gives one means them.
    parameters = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
    found = {*code.co_names, *code.co_freevars, *parameters}
    for inner in code.co_consts:
        if isinstance(inner, CodeType):
            found |= _of_code(inner)
    return found


def _wrapped(value: Any) -> list[Any]:
    """List the functions inside of what a decorator made, without running code of it."""
    if type(value).__module__ in ("builtins", "functools"):
        inside = [getattr(value, name, None) for name in (*_INSIDE, "__wrapped__")]
        return [each for each in inside if callable(each)]
    attributes = anatomy.dict_descriptor(type(value))
    return [] if attributes is None else _held(attributes.__get__(value))


def _held(attributes: Any) -> list[Any]:
    """List the functions that attributes hold."""
    if type(attributes) is not dict:
        return []
    return [each for each in attributes.values() if status.function_of(each) is not None]
