"""What there is in the namespace of a class, and what takes its place when the class is frozen.

The kinds of entries:

* functions become frozen functions; one that can't be frozen becomes one that can't be called;
* properties, class and static methods, cached properties, partial and single-dispatch methods
  become their like over frozen functions (parts.py);
* what the interpreter and the standard library keep in classes stays, dicts and lists of it as
  ones that refuse to change. Caches that they write while the class is used stay as they are:
  `_value2member_map_` of a Flag (it makes its combinations when they are first asked for),
  `_abc_impl` (registered and seen subclasses), `__subclasshook__` of protocols, and all that
  pydantic keeps;
* functions that a class took over from the standard library or an installed package
  (`functools.total_ordering`, `enum.Enum`) stay those of that package;
* everything else is state of the class, frozen as data if it may be.
"""

import functools
import types
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NoReturn, TypeAlias

from icehouse.native._image import FreezableFunction, FrozenFunction, _frozen_function, is_frozen
from icehouse.store.declarations import declared, parts, status
from icehouse.store.declarations.capture import is_by_name, is_library
from icehouse.store.declarations.together import error_of, label_of
from icehouse.store.freezing import anatomy
from icehouse.store.freezing.classes import tuplegetter
from icehouse.store.freezing.refusal import Refusal
from icehouse.store.freezing.trust import module_of, name_of

if TYPE_CHECKING:
    from icehouse.store.declarations.classes import ClassItem
    from icehouse.store.declarations.descriptors import DescriptorItem
    from icehouse.store.declarations.together import Plan

    # What has members planned: a class, or a property and its like by itself.
    Holder: TypeAlias = ClassItem | DescriptorItem

# Makes what takes the place of an entry, once all is known to freeze. None: the entry stays.
Make = Callable[[], Any]

_DESCRIPTORS_OF_C = (
    types.MemberDescriptorType,
    types.GetSetDescriptorType,
    types.WrapperDescriptorType,
    types.MethodDescriptorType,
    types.ClassMethodDescriptorType,
    types.BuiltinFunctionType,
    tuplegetter,
)
# What Python keeps in a class itself, and never changes once the class is made.
INTERPRETERS = frozenset(
    """
    __abstractmethods__ __dict__ __doc__ __firstlineno__ __match_args__ __module__ __qualname__
    __orig_bases__ __parameters__ __static_attributes__ __type_params__ __weakref__ __slotnames__
    _abc_impl _is_protocol _is_runtime_protocol __final__ __freezable__ __pre_freeze_done__
    __classcell__ __classdictcell__ __attrs_attrs__ __attrs_props__ __attrs_own_setattr__
    __struct_fields__ __struct_defaults__ __struct_config__ __msgspec_cache__
    __total__ __required_keys__ __optional_keys__ __readonly_keys__ __mutable_keys__ __closed__
    __extra_items__
    """.split()
)
# Those that are mutable: they are replaced by ones that are not.
_FIXED: dict[type, Callable[[Any], Any]] = {
    dict: parts.fixed_dict,
    list: parts.fixed_list,
    set: frozenset,
}
_LIBRARY = ("__protocol_attrs__", "__non_callable_proto_members__", "_field_defaults", "__slots__")


# What enumerations keep.
ENUMS = frozenset(
    """
    _all_bits_ _boundary_ _flag_mask_ _hashable_values_ _inverted_ _member_map_ _member_names_
    _member_type_ _singles_mask_ _unhashable_values_ _unhashable_values_map_ _use_args_
    _value2member_map_ _value_repr_
    """.split()
)
# The files of methods that attrs writes begin so.
ATTRS_FILE = "<attrs generated"
# Methods that dataclass() writes.
DATACLASS_METHODS = frozenset(
    "__init__ __repr__ __eq__ __lt__ __le__ __gt__ __ge__ __hash__ __setattr__ __delattr__".split()
)


class Written:
    """The declaration of a method that a decorator wrote, which goes with its class alone."""

    __slots__ = ("names",)

    def __init__(self, function: Any) -> None:
        self.names = tuple(
            getattr(function, name)
            for name in ("__name__", "__qualname__", "__module__", "__doc__")
        )

    def payload(self) -> tuple[Any, ...]:
        """Refuse: it is a part of its class."""
        refuse_part(self.names[1])

    def of_attrs(self, function: types.FunctionType) -> FrozenFunction:
        """Freeze a method that attrs wrote: it captured what attrs needs, and nothing else."""
        generated = function.__code__.co_filename.startswith(ATTRS_FILE)
        made = types.FunctionType(
            function.__code__,
            dict(function.__globals__) if generated else function.__globals__,
            function.__name__,
            function.__defaults__,
            tuple(types.CellType(cell.cell_contents) for cell in function.__closure__ or ()),
        )
        made.__kwdefaults__ = function.__kwdefaults__ and dict(function.__kwdefaults__)
        made.__annotations__ = dict(function.__annotations__)
        made.__qualname__, made.__module__ = function.__qualname__, function.__module__
        made.__dict__.update(function.__dict__)
        return _frozen_function(self, made)


def refuse_part(name: str) -> NoReturn:
    """Raise the Refusal for a method that goes nowhere without its class."""
    raise Refusal(f"{name} is a part of its class, and goes nowhere without it: freeze the class")


class RecursiveRepr(Written):
    """A `__repr__` that shows itself as "..." inside of itself, as dataclasses have it."""

    __slots__ = ("fill", "function")

    def __init__(self, function: FrozenFunction, fill: str) -> None:
        super().__init__(function)
        self.function = function
        self.fill = fill

    def made(self) -> FrozenFunction:
        """Make the frozen function."""
        import reprlib

        wrapped = reprlib.recursive_repr(self.fill)(self.function)
        return _frozen_function(self, wrapped)  # type: ignore[call-overload,no-any-return]


def plan_member(item: "ClassItem", plan: "Plan", name: str, value: Any) -> Make | None:
    """Plan what takes the place of one entry; NotFreezableError where that can't be."""
    if name in INTERPRETERS or is_package_state(item.source, name):
        return None
    kept = enum_state(item.source, name)
    if kept == "cache":
        return None
    if name in ("__annotations__", "__annotations_cache__"):
        return lambda: parts.fixed_dict(value, parts.FixedAnnotations)
    if name in ("__dataclass_fields__", "__dataclass_params__"):
        from icehouse.store.declarations import dataclass_parts

        return dataclass_parts.plan_member(item, plan, name, value)
    if name in _LIBRARY or kept:
        fix = _FIXED.get(type(value))
        return None if fix is None else lambda: fix(value)
    return plan_value(item, plan, name, value)


def is_package_state(cls: type, name: str) -> bool:
    """Whether an entry is what pydantic keeps in its models, and writes while they are used."""
    if name.startswith("__pydantic_") or name in (
        *("model_config", "__class_vars__", "__private_attributes__", "__signature__"),
    ):
        return any(name_of(base) == "pydantic.main.BaseModel" for base in anatomy.mro(cls))
    return False


def enum_state(cls: type, name: str) -> str:
    """Say whether an entry is what enumerations keep of their members: "" if it is not.

    "cache": they write it while the class is used.
    """
    if not (name.startswith("_") and name.endswith("_") and not name.startswith("__")):
        return ""
    if name not in ENUMS or not is_enum(cls):
        return ""
    is_flag = any(name_of(base) == "enum.Flag" for base in anatomy.mro(cls))
    return "cache" if name == "_value2member_map_" and is_flag else "fixed"


def is_enum(cls: type) -> bool:
    """Whether a class is an enumeration: enum is not imported for it."""
    return any(name_of(base) == "enum.Enum" for base in anatomy.mro(cls))


def plan_value(item: "Holder", plan: "Plan", name: str, value: Any) -> Make | None:
    """Plan an entry by what it is."""
    kind = type(value)
    if kind is types.FunctionType or kind is FreezableFunction:
        return plan_function(item, plan, name, value)
    if kind is FrozenFunction or isinstance(value, _DESCRIPTORS_OF_C):
        return None
    wrapper = _WRAPPERS.get(kind)
    if wrapper is None:
        wrapper = _rare_wrapper(kind)
    if wrapper is not None:
        return wrapper(item, plan, name, value)
    if issubclass(kind, type):
        return _plan_class(item, plan, name, value)
    if isinstance(value, parts.Sealed) or _is_member(item.source, value) or is_fixed(value):
        return None
    if name_of(kind) == "functools._lru_cache_wrapper":
        reason = (
            "a cache of functools is state that the frozen class would share with everybody; take "
            "the decorator away, or keep the cache in an icehouse.InterpreterLocal"
        )
        return lambda: declared.uncallable(value.__wrapped__, reason)
    return _plan_state(item, plan, name, value)


def is_fixed(value: Any) -> bool:
    """Whether a value can stay as it is: frozen, a module (held by name), or what typing made."""
    kind = type(value)
    if isinstance(value, types.ModuleType) or kind in (types.GenericAlias, types.UnionType):
        return True
    if module_of(kind) == "typing":
        return True
    return is_frozen(value)


def _path(item: "Holder", name: str) -> str:
    return f"{item.path}: attribute {name!r}"


# --- functions -----------------------------------------------------------------------------------


def plan_function(item: "Holder", plan: "Plan", name: str, value: Any) -> Make | None:
    """Plan a function: frozen, or uncallable."""
    if is_by_name(value, item.home) or value.__qualname__.endswith("<locals>._proto_hook"):
        return None
    repeated = recursive_repr_of(value)
    if repeated is not None:
        function, fill = repeated
        inner = plan_function(item, plan, name, function) or (lambda: function)
        return lambda: _recursive(inner(), fill)
    if _is_of_attrs(value):
        return lambda: Written(value).of_attrs(value)
    planned: Any = plan.attempt(item, value, label_of(value))
    item.adopt(planned, value)

    def make() -> Any:
        if planned.failure is None:
            return planned.frozen
        function = status.function_of(value) or value
        return declared.uncallable(function, str(planned.failure))

    return make


def _is_of_attrs(function: Any) -> bool:
    if type(function) is not types.FunctionType:
        return False
    written = function.__code__.co_filename.startswith(ATTRS_FILE)
    return written or str(function.__globals__.get("__name__")).partition(".")[0] == "attr"


def _recursive(function: Any, fill: str) -> Any:
    return RecursiveRepr(function, fill).made() if type(function) is FrozenFunction else function


def recursive_repr_of(function: Any) -> tuple[Any, str] | None:
    """Look into a `__repr__` that reprlib or dataclasses have wrapped; None for others."""
    if type(function) is not types.FunctionType or not function.__closure__:
        return None
    variables = dict(zip(function.__code__.co_freevars, function.__closure__, strict=True))
    if "repr_running" not in variables or "user_function" not in variables:
        return None
    if function.__globals__.get("__name__") not in ("reprlib", "dataclasses"):
        return None
    fill = variables["fillvalue"].cell_contents if "fillvalue" in variables else "..."
    return variables["user_function"].cell_contents, fill


# --- wrappers ------------------------------------------------------------------------------------


def _inner(item: "Holder", plan: "Plan", name: str, value: Any) -> Make:
    """Plan what is in a wrapper; what stays is given back as it is."""
    return plan_value(item, plan, name, value) or (lambda: value)


def _plan_property(item: "Holder", plan: "Plan", name: str, value: property) -> Make:
    functions = [_inner(item, plan, name, f) for f in (value.fget, value.fset, value.fdel)]

    def make() -> Any:
        made: Any = parts.FrozenProperty(*(function() for function in functions), value.__doc__)
        name = getattr(value, "__name__", None)
        if name is not None and hasattr(made, "__set_name__"):  # 3.13: what errors say
            made.__set_name__(item.source, name)
        return parts.seal(made)

    return make


def _plan_method(item: "Holder", plan: "Plan", name: str, value: Any) -> Make | None:
    planned = plan_value(item, plan, name, value.__func__)
    if planned is None and type(value.__func__) is types.FunctionType:
        return None  # of the standard library
    function = planned or (lambda: value.__func__)
    cls: Any = parts.FrozenStaticMethod
    if isinstance(value, classmethod):
        is_hook = name == "__init_subclass__"
        cls = parts.FrozenSubclassHook if is_hook else parts.FrozenClassMethod
    return lambda: parts.seal(cls(function()))


def _plan_cached(item: "Holder", plan: "Plan", name: str, value: Any) -> Make:
    function = _inner(item, plan, name, value.func)
    return lambda: parts.seal(parts.FrozenCachedProperty(function(), value.attrname, value.__doc__))


def _plan_partial(item: "Holder", plan: "Plan", name: str, value: Any) -> Make:
    function = _inner(item, plan, name, value.func)
    arguments = [_argument(item, plan, name, each) for each in value.args]
    keywords = {key: _argument(item, plan, name, each) for key, each in value.keywords.items()}
    return lambda: parts.seal(
        parts.FrozenPartialMethod(
            function(),
            tuple(each() for each in arguments),
            {key: each() for key, each in keywords.items()},
        )
    )


def _argument(item: "Holder", plan: "Plan", name: str, value: Any) -> Make:
    if type(value) in (types.FunctionType, FreezableFunction) or is_frozen(value):
        return _inner(item, plan, name, value)
    return _kept(item, plan, name, value)


def _plan_dispatch(item: "Holder", plan: "Plan", name: str, value: Any) -> Make:
    function = _inner(item, plan, name, value.func)
    registered = [
        (cls, _inner(item, plan, name, each))
        for cls, each in value.dispatcher.registry.items()
        if cls is not object
    ]
    return lambda: parts.seal(
        parts.FrozenDispatchMethod(function(), [(cls, each()) for cls, each in registered])
    )


_WRAPPERS: dict[type, Callable[..., Make | None]] = {
    property: _plan_property,
    classmethod: _plan_method,
    staticmethod: _plan_method,
    functools.cached_property: _plan_cached,
    functools.partialmethod: _plan_partial,
    functools.singledispatchmethod: _plan_dispatch,
}


def _rare_wrapper(kind: type) -> Callable[..., Make | None] | None:
    """Find how the deprecated wrappers of abc, and those of enum and types, are replaced."""
    name = name_of(kind)
    if name == "abc.abstractproperty":
        return _plan_property
    if name in ("abc.abstractclassmethod", "abc.abstractstaticmethod"):
        return _plan_method
    if name in ("enum.property", "types.DynamicClassAttribute"):
        return _plan_dynamic
    return None


def _plan_dynamic(item: "Holder", plan: "Plan", name: str, value: Any) -> Make | None:
    accessors = {key: getattr(value, key) for key in ("fget", "fset", "fdel")}
    planned = {
        key: made
        for key, accessor in accessors.items()
        if accessor is not None
        if (made := plan_value(item, plan, name, accessor)) is not None
    }
    if not planned:
        return None

    def make() -> Any:
        import copy

        made = copy.copy(value)
        for key, accessor in planned.items():
            setattr(made, key, accessor())
        return made

    return make


# --- classes and state ---------------------------------------------------------------------------


def _plan_class(item: "Holder", plan: "Plan", name: str, value: type) -> Make | None:
    """Plan a class in the namespace of another: its own, frozen with it, or one that it knows."""
    if anatomy.is_immutable(value) or is_library(module_of(value), item.home):
        return None
    inner = value.__qualname__.startswith(f"{item.source.__qualname__}.")
    if inner and value.__module__ == item.source.__module__:
        plan.reach(item, value, f"{item.path}.{name}")
        item.adopt_class(plan.item_of(value))
        return None
    if plan.item_of(value) is not None:
        plan.reach(item, value, f"{item.path}.{name}")
    elif "<locals>" in value.__qualname__:
        raise error_of(
            _path(item, name),
            value,
            f"the class {value.__qualname__} is local to a function, so that no name leads to it; "
            f"freeze both: icehouse.freeze({item.source.__name__}, {value.__name__})",
            item.source,
        )
    return None


def _is_member(cls: type, value: Any) -> bool:
    """Whether a value is a member of the enumeration itself."""
    return type(value) is cls and is_enum(cls)


def _plan_state(item: "Holder", plan: "Plan", name: str, value: Any) -> Make:
    cls = item.source
    if not item.may_freeze(name):
        raise error_of(
            _path(item, name),
            value,
            f"it is mutable state of the class {cls.__qualname__}, which is not declared "
            "freezable; decorate the class (@icehouse.frozen or @icehouse.freezable), freeze the "
            f"value ({name} = icehouse.freeze(...)), or hold it in an icehouse.SharedField or "
            "InterpreterLocal",
            cls,
        )
    if not any(hasattr(type(value), hook) for hook in ("__get__", "__set__", "__delete__")):
        return _kept(item, plan, name, value)
    kind = type(value)
    if issubclass(kind, (property, classmethod, staticmethod)):
        raise Refusal(
            f"its attribute {name!r} is a {name_of(kind)}, a kind of descriptor that keeps "
            "functions where they can't be frozen; use a plain property, classmethod or "
            "staticmethod"
        )
    view = _kept(item, plan, name, value)
    data = hasattr(kind, "__set__") or hasattr(kind, "__delete__")
    wrapper = parts.FrozenDataDescriptor if data else parts.FrozenDescriptor
    return lambda: parts.seal(wrapper(view(), kind))


def _kept(item: "Holder", plan: "Plan", name: str, value: Any) -> Make:
    found: list[Any] = []
    plan.keep(
        item, value, _path(item, name), lambda frozen: found.__setitem__(slice(None), [frozen])
    )
    return lambda: found[0]
