"""Whom a reader trusts with what (HAZARDS H20, H21), and how a name leads to a class."""

import sys
from collections.abc import Iterable, Mapping
from types import ModuleType
from typing import Any, NamedTuple

from icehouse.store.freezing.refusal import OtherVersion

# Names of the main module: multiprocessing's spawned children know it by the second one.
MAIN_MODULES = ("__main__", "__mp_main__")

# Modules whose classes are public under another name, in some versions and interpreters alone.
FACES = {"_pydatetime": "datetime", "_pydecimal": "decimal", "pathlib._local": "pathlib"}

# Classes that hold data and do nothing when they go: they resolve whoever made the image.
HARMLESS = frozenset(
    {
        *(
            ("builtins", name)
            for name in (
                "bool bytearray bytes complex dict float frozenset int list memoryview "
                "object range set slice str tuple NoneType"
            ).split()
        ),
        *(
            ("collections", name)
            for name in "ChainMap Counter OrderedDict UserDict UserList defaultdict deque".split()
        ),
        ("types", "SimpleNamespace"),
    }
)

# As C sees them, past any metaclass and any `__getattribute__`.
namespace_of = type.__dict__["__dict__"].__get__
_module_namespace: Any = ModuleType.__dict__["__dict__"].__get__  # type: ignore[index]
_own_module = type.__dict__["__module__"].__get__
_own_qualname = type.__dict__["__qualname__"].__get__


class Trust(NamedTuple):
    """What may be made of an image.

    `own`: its producer has our uid, so all that can be imported resolves. Otherwise only
    `classes` do, by "module.qualname". `code`: what runs code when it is made may be made.
    `store`: where the image is, as `Store.attach` or `Store.connect` finds it ("token:..." or
    "socket:PATH"); None for the store of freeze() and for bytes.
    """

    own: bool
    classes: Mapping[str, type] | None
    code: bool
    store: str | None = None


OWN = Trust(own=True, classes=None, code=True)
NONE = Trust(own=False, classes=None, code=False)


def trust_of(
    own: bool, allow_classes: Iterable[type] | None, code: bool, store: str | None = None
) -> Trust:
    """Make the trust for an image from what the caller of `get` said.

    TypeError where `allow_classes` holds something that is no class.
    """
    if allow_classes is None:
        return Trust(own=own, classes=None, code=own or code, store=store)
    classes: dict[str, type] = {}
    for cls in allow_classes:
        if not isinstance(cls, type):
            raise TypeError(f"allow_classes= takes classes, not {cls!r}")
        classes[name_of(cls)] = cls
    return Trust(own=own, classes=classes, code=own or code, store=store)


def reduce_foreign(data: Any, trust: Trust) -> tuple[Any, ...]:
    """Say how a view pickles whose image is trusted with less than our own: with that trust.

    Otherwise passing it on to another process would make code and classes of what a stranger wrote.
    """
    if trust.own:
        from icehouse.native._image import _load_image

        return (_load_image, (data,))
    # A local class has no name that a pickle could follow.
    classes = trust.classes and tuple(
        c for c in trust.classes.values() if "<" not in qualname_of(c)
    )
    return (load_foreign, (data, classes, trust.code))


def load_foreign(data: Any, classes: tuple[type, ...] | None, code: bool) -> Any:
    """Open what `reduce_foreign` wrote."""
    from icehouse.native._image import _open_buffer

    # The buffer may be one that somebody still writes: it is not taken for fixed.
    return _open_buffer(data, False, trust_of(False, classes, code))  # noqa: FBT003


def module_of(cls: type) -> str:
    """Read the module that a class says it is from, "" where it says nothing usable."""
    try:
        found = _own_module(cls)
    except AttributeError:
        return ""
    return FACES.get(found, found) if type(found) is str else ""


def qualname_of(cls: type) -> str:
    """Read the qualified name of a class, whatever its metaclass says."""
    name: str = _own_qualname(cls)
    return name


def name_of(cls: type) -> str:
    """`module.qualname` of a class."""
    return f"{module_of(cls)}.{qualname_of(cls)}"


def resolve_class(
    module: str, qualname: str, trust: Trust, definition: Mapping[str, Any] | None = None
) -> type | None:
    """Find a class by its name, None where it may not or cannot be found.

    Only where the trust allows it is anything imported. The result is a class that itself says
    this very name; no code of it or of its metaclass runs. With a definition, and trust in code, a
    class is made by it that isn't found otherwise (declarations/rebuild.py); None for one of
    another version of Python, ValueError for a damaged one.
    """
    try:
        return resolve_defined(module, qualname, trust, definition)
    except OtherVersion:
        return None


def resolve_defined(
    module: str, qualname: str, trust: Trust, definition: Mapping[str, Any] | None
) -> type | None:
    """Find or make a class; `OtherVersion`, which says so, for a definition of another version."""
    _check_names(module, qualname)
    allowed = trust.classes is not None and f"{module}.{qualname}" in trust.classes
    if definition is None or not trust.code or allowed:
        return find_class(module, qualname, trust)
    from icehouse.store.freezing.registry import load

    made: type | None = load("declarations.rebuild", "rebuild")(module, qualname, definition, trust)
    return made


def class_among(rest: list[Any], module: str, qualname: str, trust: Trust) -> type | None:
    """Find the class of a payload that has its name, and may have the class itself after all else.

    ValueError where what follows is no class.
    """
    if not rest:
        return resolve_class(module, qualname, trust)
    if len(rest) > 1:
        raise ValueError("more follows than a class")
    _check_names(module, qualname)
    # What may not be found, or can't be made, is a record.
    return rest[0] if issubclass(type(rest[0]), type) else None


def find_class(module: str, qualname: str, trust: Trust) -> type | None:
    """Find a class by its name alone."""
    _check_names(module, qualname)
    module = FACES.get(module, module)
    if trust.classes is not None:
        allowed = trust.classes.get(f"{module}.{qualname}")
        if allowed is not None:
            return allowed
    if not trust.own and (module, qualname) not in HARMLESS:
        return None
    found = lookup(module, qualname)
    return found if is_class_named(found, module, qualname) else None


def _check_names(module: Any, qualname: Any) -> None:
    if type(module) is not str or type(qualname) is not str:
        raise ValueError("the name of a class is not text")


def is_class_named(found: Any, module: str, qualname: str) -> bool:
    """Whether something is a class that says this name of itself."""
    if not issubclass(type(found), type) or qualname_of(found) != qualname:
        return False
    said = module_of(found)
    return said == module or (said in MAIN_MODULES and module in MAIN_MODULES)


def lookup(module: str, qualname: str) -> Any:
    """Find what a module holds under a dotted name, None if nothing. Imports the module.

    The way leads through the namespaces of modules and classes alone: attributes that code would
    have to compute are not found.
    """
    _check_names(module, qualname)
    if "<" in qualname:  # <locals>, <lambda>
        return None
    holder = _module(module)
    if holder is None:
        return None
    found: Any = holder
    for part in qualname.split("."):
        if isinstance(found, ModuleType) and found is holder:
            namespace = _module_namespace(found)
        elif issubclass(type(found), type):
            namespace = namespace_of(found)
        else:
            return None
        if part not in namespace:
            return _unnamed(qualname) if module == "builtins" else None
        found = namespace[part]
    return found


def lookup_plain(module: str, qualname: str) -> Any:
    """Find the same; of a static method the function, as whoever asks its class gets it."""
    found = lookup(module, qualname)
    return found.__func__ if type(found) is staticmethod else found


def _unnamed(qualname: str) -> type | None:
    """Find a type of the interpreter that has no name in builtins: NoneType, function, ..."""
    import types

    for value in vars(types).values():
        if type(value) is type and (module_of(value), qualname_of(value)) == ("builtins", qualname):
            return value
    return None


def _module(name: str) -> ModuleType | None:
    if name in MAIN_MODULES:
        found = sys.modules.get(name) or sys.modules.get("__main__")
        return found if isinstance(found, ModuleType) else None
    found = sys.modules.get(name)
    if found is None:
        try:
            __import__(name)
        except Exception:
            # Absent, broken, or not for interpreters with their own GIL: then it can't resolve.
            return None
        found = sys.modules.get(name)
    return found if isinstance(found, ModuleType) else None
