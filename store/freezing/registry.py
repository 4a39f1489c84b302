"""Which rule a type has: registrations, the `__freeze__` protocol, families, plain classes.

The internal interface of a family of types (one file beside this one):

* `rule(cls, base) -> tuple | str | None`: the rule of instances of exactly `cls`, as `hooks` hands
  it on. `base` is the class of the MRO of `cls` for which the family is listed in FAMILIES: `cls`
  itself, or a base of a user's class. A str is the reason for a refusal; None: this class is not of
  the family (the name was a coincidence), or it has nothing against what comes later in the MRO.
* Openers: `function(payload, trust) -> object`, listed in OPENERS by code. They check the shape of
  the payload, which may be hostile, and raise ValueError, TypeError, ... for damage.
* Makers: `function(cls, names, values, trust) -> object`, listed in MAKERS by family of MADE.
* `frozen(obj, base) -> bool | None` for types listed in FROZEN: whether an object is immutable by
  nature; None: the family can't say.

Names are looked up before anything is imported, so a family is loaded when its type is met.
"""

from collections.abc import Callable
from typing import Any

from icehouse.store.freezing import codes
from icehouse.store.freezing.trust import name_of

# A type's name, as it is in an MRO -> the file of its family.
FAMILIES: dict[str, str] = {
    "builtins.type": "builtin",
    "icehouse.store.freezing.records.Record": "builtin",
    # Subclasses of builtin containers, and the containers of collections.
    "builtins.bytearray": "containers",
    "builtins.dict": "containers",
    "builtins.frozenset": "containers",
    "builtins.list": "containers",
    "builtins.set": "containers",
    "collections.OrderedDict": "containers",
    "collections.defaultdict": "containers",
    "collections.deque": "containers",
    "types.SimpleNamespace": "containers",
    # Real, shallow instances.
    "builtins.bytes": "made",
    "builtins.complex": "made",
    "builtins.float": "made",
    "builtins.int": "made",
    "builtins.str": "made",
    "builtins.tuple": "made",
    "msgspec.Struct": "made",
    "pydantic.main.BaseModel": "made",
}

# Files whose `rule(cls)` is asked in this order about classes without a family: the first that
# does not return None decides.
STRUCTURES: list[str] = ["reduce", "classes"]

# A type's name -> the file of its family that knows whether objects are immutable by nature.
FROZEN: dict[str, str] = {}

# A code of VALUE -> file and function that opens it.
OPENERS: dict[int, tuple[str, str]] = {
    codes.CLASS: ("builtin", "open_class"),
    codes.RECORD: ("builtin", "open_record"),
    codes.REDUCE: ("reduce", "make"),
}
# The same for thaw(), where it differs.
THAWERS: dict[int, tuple[str, str]] = {
    codes.REDUCE: ("reduce", "thaw"),
}

# A family of MADE -> file and function that makes one.
MAKERS: dict[int, tuple[str, str]] = {
    codes.STRUCT: ("made", "make_struct"),
    codes.PYDANTIC: ("made", "make_model"),
    codes.SUBCLASS: ("made", "make_subclass"),
}

_loaded: dict[tuple[str, str], Callable[..., Any]] = {}


def load(file: str, function: str) -> Callable[..., Any]:
    """A function of a family's file; imports the file."""
    found = _loaded.get((file, function))
    if found is None:
        module = __import__(f"icehouse.store.freezing.{file}", fromlist=[function])
        found = _loaded[file, function] = getattr(module, function)
    return found


def rule_of(cls: type) -> tuple[Any, ...] | str:
    """How instances of exactly this class freeze; a str is the reason why they don't."""
    for base in cls.__mro__:
        file = FAMILIES.get(name_of(base))
        if file is not None:
            rule: tuple[Any, ...] | str | None = load(file, "rule")(cls, base)
            if rule is not None:
                return rule
    for file in STRUCTURES:
        rule = load(file, "rule")(cls)
        if rule is not None:
            return rule
    return f"no rule says how a {name_of(cls)} freezes"


def opener(code: int) -> Callable[..., Any]:
    """What opens a VALUE; ValueError for a code that there isn't."""
    try:
        return load(*OPENERS[code])
    except KeyError:
        raise ValueError(f"there is no value of code {code}") from None


def thawer(code: int) -> Callable[..., Any]:
    """What opens a VALUE for thaw()."""
    where = THAWERS.get(code)
    return opener(code) if where is None else load(*where)


def maker(family: int) -> Callable[..., Any]:
    """What makes a MADE object; ValueError for a family that there isn't."""
    try:
        return load(*MAKERS[family])
    except KeyError:
        raise ValueError(f"there is no family {family} of objects") from None


def frozen_by_nature(obj: Any) -> bool:
    """Whether the family of a type says that this object is immutable by nature."""
    for base in type(obj).__mro__:
        file = FROZEN.get(name_of(base))
        if file is not None:
            answer: bool | None = load(file, "frozen")(obj, base)
            if answer is not None:
                return answer
    return False
