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

from icehouse.store.freezing import asked, codes, ecosystem, refused, registrations
from icehouse.store.freezing.anatomy import mro
from icehouse.store.freezing.trust import module_of, name_of, qualname_of

# A type's name, as it is in an MRO -> the file of its family.
FAMILIES: dict[str, str | tuple[str, str]] = {
    # Members of enumerations are ints, dates and what not, so this is asked first: see FIRST.
    "enum.Enum": "enums",
    "builtins.type": "builtin",
    "xml.etree.ElementTree.Element": "trees",
    "builtins.range": "builtin",
    "builtins.slice": "builtin",
    "builtins.mappingproxy": "builtin",
    "builtins.frozendict": "builtin",
    "icehouse.Record": "builtin",
    "icehouse.store.declarations.fields.SharedField": "declarations.fields",
    "icehouse.store.declarations.fields.InterpreterLocal": "declarations.fields",
    **dict.fromkeys(
        (
            *("builtins.builtin_function_or_method", "builtins.method_descriptor"),
            *("builtins.wrapper_descriptor", "builtins.classmethod_descriptor"),
        ),
        ("builtin", "rule_of_function"),
    ),
    **dict.fromkeys(
        (
            *("time.struct_time", "os.stat_result", "os.statvfs_result", "os.terminal_size"),
            *("posix.times_result", "posix.uname_result", "resource.struct_rusage"),
            *("pwd.struct_passwd", "grp.struct_group"),
        ),
        ("builtin", "rule_of_sequence"),
    ),
    "builtins.BaseException": "exceptions",
    "datetime.date": "dates",
    "datetime.datetime": "dates",
    "datetime.time": "dates",
    "datetime.timedelta": "dates",
    "datetime.timezone": "dates",
    "datetime.tzinfo": "dates",
    "zoneinfo.ZoneInfo": ("dates", "rule_of_zone"),
    "decimal.Decimal": "numbers",
    "fractions.Fraction": ("numbers", "rule_of_fraction"),
    "uuid.UUID": ("net", "rule_of_uuid"),
    "ipaddress.IPv4Address": "net",
    "ipaddress.IPv4Interface": "net",
    "ipaddress.IPv4Network": "net",
    "ipaddress.IPv6Address": "net",
    "ipaddress.IPv6Interface": "net",
    "ipaddress.IPv6Network": "net",
    "pathlib.PurePath": "paths",
    "re.Pattern": "text",
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
    **dict.fromkeys(
        ("typing.TypeVar", "typing.ParamSpec", "typing.TypeVarTuple"), "declarations.typevars"
    ),
    "icehouse.store.declarations.modules.ImmutableModule": "declarations.modules",
    "icehouse.FrozenFunction": "declarations.declared",
    "icehouse.FreezableFunction": ("declarations.functions", "rule_of_function"),
    "builtins.function": ("declarations.functions", "rule_of_function"),
    "builtins.method": ("declarations.partials", "rule_of_method"),
    "icehouse.store.declarations.partials.FrozenPartial": "declarations.partials",
    **ecosystem.FAMILIES,
}

# Files whose `rule(cls)` is asked in this order about classes without a family: the first that
# does not return None decides.
STRUCTURES: list[str] = ["capsules", "iterators", "reduce", "classes"]

# Families that come before those of classes nearer in the MRO.
FIRST = ("enum.Enum",)

# A type's name -> the file of its family that knows whether objects are immutable by nature.
FROZEN: dict[str, str] = {
    **dict.fromkeys(
        (
            *("builtins.range", "builtins.slice", "builtins.mappingproxy", "builtins.type"),
            *("builtins.builtin_function_or_method", "builtins.method_descriptor"),
            *("builtins.wrapper_descriptor", "builtins.classmethod_descriptor"),
            *("icehouse.Record", "enum.Enum", "zoneinfo.ZoneInfo"),
            *("decimal.Decimal", "fractions.Fraction", "uuid.UUID", "re.Pattern"),
            *("ipaddress.IPv4Address", "ipaddress.IPv4Interface", "ipaddress.IPv4Network"),
            *("ipaddress.IPv6Address", "ipaddress.IPv6Interface", "ipaddress.IPv6Network"),
            *("pathlib.PurePosixPath", "pathlib.PureWindowsPath", "pathlib.PosixPath"),
        ),
        "builtin",
    ),
    "icehouse.store.declarations.fields.SharedField": "declarations.fields",
    "icehouse.store.declarations.fields.InterpreterLocal": "declarations.fields",
    "datetime.date": "dates",
    "datetime.datetime": "dates",
    "datetime.time": "dates",
    "datetime.timedelta": "dates",
    "datetime.timezone": "dates",
    "icehouse.store.declarations.modules.ImmutableModule": "declarations.modules",
    "icehouse.store.declarations.partials.FrozenPartial": "declarations.partials",
    "builtins.method": "declarations.partials",
    **ecosystem.FROZEN,
}

# A code of VALUE -> file and function that opens it.
OPENERS: dict[int, tuple[str, str]] = {
    codes.CLASS: ("builtin", "open_class"),
    codes.GLOBAL: ("builtin", "open_global"),
    codes.ENUM: ("enums", "open_member"),
    codes.DATE: ("dates", "open_date"),
    codes.TIME: ("dates", "open_time"),
    codes.DATETIME: ("dates", "open_datetime"),
    codes.TIMEDELTA: ("dates", "open_timedelta"),
    codes.TIMEZONE: ("dates", "open_timezone"),
    codes.ZONEINFO: ("dates", "open_zone"),
    codes.DECIMAL: ("numbers", "open_decimal"),
    codes.FRACTION: ("numbers", "open_fraction"),
    codes.UUID: ("net", "open_uuid"),
    codes.IP: ("net", "open_ip"),
    codes.PATH: ("paths", "open_path"),
    codes.PATTERN: ("text", "open_pattern"),
    codes.RANGE: ("builtin", "open_range"),
    codes.SLICE: ("builtin", "open_slice"),
    codes.MAPPING_PROXY: ("builtin", "open_proxy"),
    codes.STRUCT_SEQUENCE: ("builtin", "open_sequence"),
    codes.REGISTERED: ("registrations", "open_registered"),
    codes.THAWED: ("registrations", "open_thawed"),
    codes.EXCEPTION: ("exceptions", "open_exception"),
    codes.RECORD: ("builtin", "open_record"),
    codes.FROZENDICT: ("builtin", "open_frozendict"),
    codes.REDUCE: ("reduce", "make"),
    codes.FUNCTION: ("declarations.declared", "open_function"),
    codes.PARTIAL: ("declarations.partials", "open_partial"),
    codes.MODULE: ("declarations.modules", "open_module"),
    codes.SHARED_FIELD: ("declarations.fields", "open_shared"),
    codes.INTERPRETER_LOCAL: ("declarations.fields", "open_local"),
    codes.TYPE_VAR: ("declarations.typevars", "open_variable"),
    **ecosystem.OPENERS,
}
# The same for thaw(), where it differs. Classes and declarations it opens as they are.
THAWERS: dict[int, tuple[str, str]] = {
    codes.REDUCE: ("reduce", "thaw"),
    **ecosystem.THAWERS,
}

# A family of MADE -> file and function that makes one.
MAKERS: dict[int, tuple[str, str]] = {
    codes.STRUCT: ("made", "make_struct"),
    codes.PYDANTIC: ("made", "make_model"),
    codes.SUBCLASS: ("made", "make_subclass"),
    codes.CONTENT: ("containers", "make"),
    codes.SUBVALUE: ("subclasses", "make"),
}

_loaded: dict[tuple[str, str], Callable[..., Any]] = {}


def load(file: str, function: str) -> Callable[..., Any]:
    """Import a family's file and get a function of it; one with a dot lies below `store`."""
    found = _loaded.get((file, function))
    if found is None:
        place = file if "." in file else f"freezing.{file}"
        module = __import__(f"icehouse.store.{place}", fromlist=[function])
        found = _loaded[file, function] = getattr(module, function)
    return found


def rule_of(cls: type) -> tuple[Any, ...] | str:
    """Say how instances of exactly this class freeze; a str is the reason why they don't.

    Where they may have a status, or have a `__pre_freeze__`, that comes first.
    """
    rule = plain_rule_of(cls)
    if type(rule) is not tuple or any(base is type for base in mro(cls)):
        return rule  # classes inside data go by their name: that freezes nothing
    if not module_of(cls) and rule[0] in ("view", "state", "container", "tuple", "made"):
        return nameless(cls)
    hook = asked.hook_of(cls, rule, known=name_of(cls) in FAMILIES)
    return rule if hook is None else ("before", hook, rule)


def finds_attribute(cls: type) -> bool:
    """Whether an attribute `__freezable__` of instances of the class is found when they freeze."""
    rule = plain_rule_of(cls)
    known = name_of(cls) in FAMILIES
    return type(rule) is not tuple or asked.finds_attribute(cls, rule, known=known)


def nameless(cls: type) -> str:
    """Say why a class whose `__module__` is no text does not freeze, nor its instances."""
    return (
        f"the __module__ of its class {qualname_of(cls)} is no text, so that no name leads to the "
        "class: set it to the name of the module that holds it"
    )


def plain_rule_of(cls: type) -> tuple[Any, ...] | str:
    """Say how instances of this class freeze, whatever their status is.

    What a class nearer in the MRO says counts more; of one class a registration, then its
    `__freeze__`, then its family. Then come registrations of abstract classes, then structures.
    """
    bases = mro(cls)
    names = [name_of(base) for base in bases]
    rule: tuple[Any, ...] | str | None
    waits = not set(FIRST).isdisjoint(names)
    for base, name in zip(bases, names, strict=True):
        rule = registrations.rule(cls, base)
        waits = waits and name not in FIRST
        if rule is None and name in FAMILIES and not waits:
            rule = _ask(FAMILIES[name], cls, base)
        elif rule is None and name in refused.REASONS:
            rule = refused.rule(cls, base)
        if rule is not None:
            return rule
    rule = registrations.rule_by_abc(cls)
    if rule is not None:
        return rule
    for file in STRUCTURES:
        rule = load(file, "rule")(cls)
        if rule is not None:
            return rule
    return f"no rule says how a {name_of(cls)} freezes"


def _ask(family: str | tuple[str, str], cls: type, base: type) -> tuple[Any, ...] | str | None:
    file, function = (family, "rule") if isinstance(family, str) else family
    rule: tuple[Any, ...] | str | None = load(file, function)(cls, base)
    return rule


def opener(code: int) -> Callable[..., Any]:
    """Find what opens a VALUE; ValueError for a code that there isn't."""
    try:
        return load(*OPENERS[code])
    except KeyError:
        raise ValueError(f"there is no value of code {code}") from None


def thawer(code: int) -> Callable[..., Any]:
    """Find what opens a VALUE for thaw()."""
    where = THAWERS.get(code)
    return opener(code) if where is None else load(*where)


def maker(family: int) -> Callable[..., Any]:
    """Find what makes a MADE object; ValueError for a family that there isn't."""
    try:
        return load(*MAKERS[family])
    except KeyError:
        raise ValueError(f"there is no family {family} of objects") from None


def frozen_by_nature(obj: Any) -> bool:
    """Whether the family of a type says that this object is immutable by nature."""
    names = [name_of(base) for base in mro(type(obj))]
    for name in FIRST:
        if name in names:
            return True
    for base, name in zip(mro(type(obj)), names, strict=True):
        file = FROZEN.get(name)
        if file is not None:
            answer: bool | None = load(file, "frozen")(obj, base)
            if answer is not None:
                return answer
    return False
