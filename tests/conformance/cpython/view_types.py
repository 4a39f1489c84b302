"""Our views in the place of the types that CPython's tests are about.

Two ways. An adapter is called as the builtin type would be and gives the view of what that makes:
for tests that ask for `type2test`. Where tests write displays instead (`[1, 2]`, `{"a": 1}`), the
module is compiled again with each of them frozen.
"""

import ast
import importlib.util
import sys
from types import ModuleType
from typing import Any

import icehouse
from icehouse.store.image import VIEW_TYPES

# More than a real tuple may have: what is sliced from it is a FrozenTuple however small.
FILLER = tuple(range(5000))


# How many views were made: a case that made none says nothing about them.
MADE = [0]


ATOMS = (
    *(type(None), bool, int, float, complex, str, bytes, bytearray, range, slice),
    *(type(...), type(NotImplemented), *VIEW_TYPES),
)


class ForeignError(Exception):
    """Something in a container is an instance of a class of the tests.

    Such instances are copied by freezing, and what these tests do with them (count calls, compare
    by identity, raise from `__eq__`, change the container meanwhile) is about the very instance.
    """


def check_plain(value: Any, met: set[int]) -> None:
    """Raise ForeignError unless a value is made of builtin types alone."""
    kind = type(value)
    if kind in ATOMS or id(value) in met:
        return
    if kind not in (list, tuple, dict, set, frozenset):
        raise ForeignError(kind.__name__)
    met.add(id(value))
    for item in value:
        check_plain(item, met)
    for item in value.values() if kind is dict else ():
        check_plain(item, met)


def freeze(value: Any) -> Any:
    check_plain(value, set())
    return icehouse.freeze(value)


def frozen_list(*args: Any, **options: Any) -> Any:
    return freeze(list(*args, **options))


def frozen_tuple(*args: Any, **options: Any) -> Any:
    value = tuple(*args, **options)
    # freeze() gives a tuple of what is frozen back as it is; from a list it comes as a view.
    return freeze([value + FILLER])[0][: len(value)]


def frozen_dict(*args: Any, **options: Any) -> Any:
    return freeze(dict(*args, **options))


def frozen_set(*args: Any, **options: Any) -> Any:
    return freeze(set(*args, **options))


def frozen_frozenset(*args: Any, **options: Any) -> Any:
    return freeze([frozenset(*args, **options)])[0]


def frozen_bytes(*args: Any, **options: Any) -> Any:
    # Small bytes come back as they are, what was a bytearray as FrozenBytes.
    return freeze(bytearray(bytes(*args, **options)))


class Adapted(type):
    """The type of adapters: they make views, and pass for the view's type."""

    view: type
    make: Any

    def __call__(cls, *args: Any, **options: Any) -> Any:
        view = cls.make(*args, **options)
        MADE[0] += 1
        return view

    def __instancecheck__(cls, value: object) -> bool:
        return isinstance(value, cls.view)

    def __subclasscheck__(cls, other: type) -> bool:
        return issubclass(other, cls.view)

    def __eq__(cls, other: object) -> bool:
        return other is cls or other is cls.view

    def __hash__(cls) -> int:
        return hash(cls.view)

    def __getattr__(cls, name: str) -> Any:
        return getattr(cls.view, name)


def adapter(view: type, make: Any) -> Any:
    """A class that tests take for the type under test."""
    return Adapted(view.__name__, (), {"view": view, "make": staticmethod(make)})


LIST = adapter(icehouse.FrozenList, frozen_list)
TUPLE = adapter(icehouse.FrozenTuple, frozen_tuple)
DICT = adapter(icehouse.FrozenDict, frozen_dict)
SET = adapter(icehouse.FrozenSet, frozen_set)
FROZENSET = adapter(icehouse.FrozenSet, frozen_frozenset)
BYTES = adapter(icehouse.FrozenBytes, frozen_bytes)


def freeze_display(value: Any) -> Any:
    """What stands for a display; as it is where something in it does not freeze."""
    try:
        view = frozen_frozenset(value) if type(value) is frozenset else freeze(value)
    except (icehouse.NotFreezableError, ForeignError):
        return value
    MADE[0] += 1
    return view


class Displays(ast.NodeTransformer):
    """Freezes lists, dicts and sets where they are written down."""

    kinds = (ast.List, ast.Dict, ast.Set, ast.ListComp, ast.DictComp, ast.SetComp)
    names = ("list", "dict", "set", "frozenset")

    def generic_visit(self, node: ast.AST) -> ast.AST:
        super().generic_visit(node)
        match node:
            case ast.List(ctx=ast.Store() | ast.Del()):
                return node
            case ast.Call(func=ast.Name(id=name)) if name in self.names:
                pass
            case _ if not isinstance(node, self.kinds):
                return node
        return ast.copy_location(ast.Call(ast.Name("_freeze_display", LOAD), [node], []), node)


LOAD = ast.Load()


def with_frozen_displays(name: str) -> ModuleType:
    """A module of CPython's tests, compiled with its displays frozen inside functions."""
    spec = importlib.util.find_spec(name)
    assert spec is not None
    assert spec.origin is not None
    with open(spec.origin, "rb") as file:  # noqa: PTH123
        tree = ast.parse(file.read(), spec.origin)
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            node.body = [Displays().visit(statement) for statement in node.body]
    module = ModuleType(f"{name}_frozen")
    module.__file__ = spec.origin
    module._freeze_display = freeze_display  # type: ignore[attr-defined]
    sys.modules[module.__name__] = module
    exec(compile(ast.fix_missing_locations(tree), spec.origin, "exec"), module.__dict__)
    return module
