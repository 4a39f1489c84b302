"""The rules of user-defined types in Python alone: what C is told, what it hands back."""

import collections
import copyreg
import functools
import random
import threading
import types
from typing import Any

import msgspec
import pytest
import user_classes as uc
import user_models as um

import icehouse
from icehouse.store.freezing import anatomy, codes, hooks, registry
from icehouse.store.freezing.records import Record
from icehouse.store.freezing.trust import NONE, OWN


def taken(obj: Any) -> tuple[Any, ...]:
    """What the rule of an object's class makes of it."""
    rule = registry.plain_rule_of(type(obj))
    assert isinstance(rule, tuple), rule
    if rule[0] == "made":
        return (rule[1], *rule[2](obj))
    if rule[0] == "value":
        return rule[1], rule[2](obj)
    assert rule[0] == "state"
    return tuple(rule[1](obj))


def again(obj: Any) -> Any:
    """Take a MADE or a VALUE apart and make it again."""
    rule = registry.plain_rule_of(type(obj))
    if rule[0] == "made":
        family, names, values = taken(obj)
        return hooks.make_object(family, type(obj), names, values, OWN)
    code, payload = taken(obj)
    return hooks.make_value(code, payload, OWN)


@pytest.fixture(autouse=True)
def nothing_ran() -> None:
    uc.RAN.clear()


# --- which rule ---


@pytest.mark.parametrize(
    ("cls", "kind"),
    [
        (uc.Plain, "view"),
        (uc.Point, "view"),
        (uc.Sealed, "view"),
        (uc.Names, "view"),
        (types.SimpleNamespace, "view"),
        (collections.ChainMap, "view"),
        (um.Slim, "view"),
        (um.Checked, "view"),
        (uc.NewArgs, "view"),
        (uc.Stateful, "state"),
        (uc.SlotState, "state"),
        (uc.Restored, "value"),
        (uc.Reduced, "value"),
        (functools.partial, "value"),
        (uc.Stack, "container"),
        (uc.Cache, "container"),
        (uc.Loud, "made"),
        (uc.Careful, "container"),
        (uc.Named, "container"),
        (collections.Counter, "container"),
        (collections.deque, "container"),
        (uc.Chunk, "container"),
        (uc.FrozenTags, "container"),
        (uc.Place, "tuple"),
        (uc.Bare, "tuple"),
        (uc.Triple, "made"),
        (uc.Label, "made"),
        (um.User, "made"),
        (um.Customer, "made"),
        (um.Numbers, "made"),
    ],
)
def test_the_rule_of_a_class(cls: type, kind: str) -> None:
    assert registry.plain_rule_of(cls)[0] == kind


def test_slots_are_listed_once_those_of_bases_first_without_weakref_and_dict() -> None:
    names = [name for name, _ in anatomy.slots(uc.SlottedChild)]
    assert names == ["_Slotted__hidden", "left", "right", "more"]
    assert [name for name, _ in anatomy.slots(uc.Keyed)] == ["key", "value"]
    assert anatomy.slots(collections.deque) == ()


def test_a_slot_that_a_subclass_has_again_is_the_subclass_s() -> None:
    class Again(uc.Slotted):
        __slots__ = ("left",)

    slots = dict(anatomy.slots(Again))
    assert slots["left"].__objclass__ is Again
    assert not anatomy.holds_more(Again, object)


def test_fields_are_read_without_code_of_the_class() -> None:
    class Guarded:
        def __init__(self) -> None:
            self.a = 1

        def __getattribute__(self, name: str) -> Any:
            raise AssertionError(name)

    assert anatomy.fields(Guarded(), Guarded) == {"a": 1}
    child = uc.Mixed(1, 2, 3)
    del child.left
    assert anatomy.fields(child, uc.Mixed) == {"_Slotted__hidden": 7, "right": 2, "extra": 3}


@pytest.mark.parametrize("obj", [threading.Lock(), (i for i in ()), property()])
def test_what_keeps_its_state_in_c_is_refused(obj: Any) -> None:
    reason = registry.plain_rule_of(type(obj))
    assert isinstance(reason, str)


def test_a_class_of_its_own_c_layout_is_no_plain_class() -> None:
    class Lockish(threading.local):
        pass

    assert isinstance(registry.plain_rule_of(Lockish), str)


def test_a_view_type_carries_what_libraries_ask_types_for() -> None:
    info = hooks.view_info(uc.Point)
    # Without the class variable.
    assert list(info["__dataclass_fields__"]) == ["x", "y", "tags"]
    assert info["__match_args__"] == ("x", "y", "tags")
    info = hooks.view_info(um.Slim)
    assert info["__attrs_attrs__"] is um.Slim.__attrs_attrs__
    assert isinstance(info["doubled"], functools.cached_property)
    assert info["doubled"].attrname == "doubled"
    assert "__eq__" in hooks.view_info(collections.deque)
    assert "__eq__" not in hooks.view_info(uc.Stack)


def test_what_a_subclass_defines_comes_before_our_methods_of_c_types() -> None:
    class Own(collections.deque[int]):
        def __repr__(self) -> str:
            return "own"

    info = hooks.view_info(Own)
    assert "__repr__" not in info
    assert "__eq__" in info


# --- containers ---


@pytest.mark.parametrize(
    ("obj", "container"),
    [
        (collections.OrderedDict(a=1, b=2), {"a": 1, "b": 2}),
        (collections.defaultdict(list, {"a": [1]}), {"a": [1]}),
        (collections.deque([1, 2, 3], 5), [1, 2, 3]),
        (uc.Cache(x=1), {"x": 1}),
    ],
)
def test_containers_with_a_getter(obj: Any, container: Any) -> None:
    _, base, _, getter = registry.plain_rule_of(type(obj))
    content, fields = getter(obj)
    assert type(content) is base
    assert content == container
    thawed = hooks.thaw_container(type(obj), content, fields)
    assert type(thawed) is type(obj)
    assert thawed == obj
    assert repr(thawed) == repr(obj)


def test_an_ordered_dict_is_stored_in_its_own_order() -> None:
    obj = collections.OrderedDict(a=1, b=2)
    obj.move_to_end("a")
    content, _ = registry.plain_rule_of(type(obj))[3](obj)
    assert list(content) == ["b", "a"]


def test_h20_containers_thaw_without_methods_of_their_class() -> None:
    watched = uc.WatchedList([1])
    watched.extra = 5  # type: ignore[attr-defined]
    uc.RAN.clear()
    thawed = hooks.thaw_container(uc.WatchedList, [1, 2], {"extra": 5})
    assert uc.RAN == []
    assert list.__len__(thawed) == 2
    assert thawed.extra == 5


def test_an_attribute_without_a_place_is_an_error() -> None:
    with pytest.raises(LookupError, match="has no place for extra"):
        hooks.thaw_container(list, [1], {"extra": 5})
    with pytest.raises(TypeError, match="no container"):
        hooks.thaw_container(uc.Plain, [1], {})


# --- real instances ---


@pytest.mark.parametrize(
    "obj",
    [
        uc.Celsius(21.5),
        uc.Count(10**30),
        uc.Word("grüße"),
        uc.Blob(b"\0\1"),
        uc.Phase(1, -2),
        uc.Triple([1, "a"]),
        um.Coin(5),
        um.Tagged("a", [1]),
        um.Frozen(a=1),
        um.Numbers((1, 2)),
        um.Page[int](items=(1, 2)),
        um.BoxStruct(3),
    ],
)
def test_h22_values_are_made_again_as_they_were(obj: Any) -> None:
    made = again(obj)
    assert type(made) is type(obj)
    assert made is not obj
    assert made == obj
    assert repr(made) == repr(obj)


def test_h22_attributes_of_a_str_come_along() -> None:
    label = uc.Label("stop", "blue")
    uc.RAN.clear()
    made = again(label)
    assert (made, made.color, f"{made:>6}", uc.RAN) == ("stop", "blue", "  stop", [])


def test_h22_a_struct_is_made_without_post_init() -> None:
    user = um.User("Ada", 36, ("x",))
    uc.RAN.clear()
    made = again(user)
    assert uc.RAN == []
    assert msgspec.json.encode(made) == msgspec.json.encode(user)
    assert made.greet() == "I am Ada"


def test_h20_no_finalizer_of_a_real_instance_runs() -> None:
    class Closing(str):
        def __del__(self) -> None:
            uc.ran("Closing.__del__")

    class Ends(tuple[Any, ...]):
        __slots__ = ()

        def __del__(self) -> None:
            uc.ran("Ends.__del__")

    assert "__del__" in registry.plain_rule_of(Closing)
    assert "__del__" in registry.plain_rule_of(Ends)
    made = hooks.make_object(codes.SUBCLASS, Closing, ("",), ("text",), OWN)
    assert type(made) is Record
    assert uc.RAN == []


def test_h22_a_struct_keeps_its_dict() -> None:
    loose = um.Loose(1)
    loose.more = [1]  # type: ignore[attr-defined]
    made = again(loose)
    assert (made.a, made.more) == (1, [1])


def test_a_struct_with_a_field_that_is_not_set_is_refused() -> None:
    user = um.User("Ada")
    del user.age
    with pytest.raises(hooks.Refusal, match="age"):
        taken(user)


def test_h22_a_model_is_made_without_validators() -> None:
    customer = um.Customer(name="Ada", address=um.Address(street="s"), notes=["n"])
    customer._secret = "told"
    assert customer.loud == "ADA"
    uc.RAN.clear()
    made = again(customer)
    assert uc.RAN == []
    assert made == customer
    assert made._secret == "told"
    assert made.model_fields_set == {"name", "address", "notes"}
    assert made.model_dump_json() == customer.model_dump_json()


def test_h22_a_model_keeps_what_is_extra() -> None:
    made = again(um.Open(a=1, b=[2]))
    assert made.model_extra == {"b": [2]}
    assert made.b == [2]


def test_equal_models_are_taken_apart_alike() -> None:
    first = um.Customer(name="a", notes=["n"], marks=(1,))
    second = um.Customer(marks=(1,), notes=["n"], name="a")
    assert taken(first) == taken(second)


def test_an_incomplete_model_is_refused() -> None:
    later = um.Later.model_construct(other=None)
    with pytest.raises(hooks.Refusal, match=r"Later.model_rebuild\(\)"):
        taken(later)


@pytest.mark.parametrize(
    ("family", "cls", "names", "values"),
    [
        (codes.STRUCT, um.User, ("name", "years"), ("Ada", 1)),
        (codes.STRUCT, um.User, ("name",), ("Ada",)),
        (codes.STRUCT, um.User, ("name", "age", "tags", "more"), ("Ada", 1, (), 2)),
        (codes.STRUCT, uc.Plain, ("name",), ("Ada",)),
        (codes.PYDANTIC, um.Address, ("street",), ("s",)),
        (codes.PYDANTIC, um.Address, ("street", "number", "gone"), ("s", 1, 2)),
        (codes.PYDANTIC, uc.Plain, ("street",), ("s",)),
        (codes.SUBCLASS, uc.Word, ("", "color"), ("w", "red")),
        (codes.SUBCLASS, uc.Count, ("",), ("text",)),
    ],
)
def test_a_class_that_has_changed_gives_a_record(
    family: int, cls: type, names: tuple[str, ...], values: tuple[Any, ...]
) -> None:
    made = hooks.make_object(family, cls, names, values, OWN)
    assert type(made) is Record
    assert made.type_name == f"{cls.__module__}.{cls.__qualname__}"
    assert tuple(made) == names


@pytest.mark.parametrize(
    ("names", "values"), [((), ()), (("a",), (1,)), (("",), (None,)), (("",), ([],))]
)
def test_damaged_values_are_errors(names: tuple[str, ...], values: tuple[Any, ...]) -> None:
    with pytest.raises(ValueError, match="value"):
        hooks.make_object(codes.SUBCLASS, uc.Word, names, values, OWN)


# --- classes that say how they pickle ---


def test_reduce_makes_the_object_again() -> None:
    code, payload = taken(uc.Reduced(1, "a"))
    assert code == codes.REDUCE
    assert payload == ("user_classes.Reduced", ("user_classes", "Reduced"), (1, "a"))
    made = hooks.make_value(code, payload, OWN)
    assert type(made) is uc.Reduced
    assert made.values == (1, "a")
    assert again(uc.ReducedEx(0)).value == 4


@pytest.mark.parametrize(
    "obj",
    [
        functools.partial(int, "11", base=2),
        random.Random(5),
        uc.Box[int],
        list[int],
        int | str,
        collections.UserList[int],
    ],
)
def test_what_pickles_through_its_reduction_freezes(obj: Any) -> None:
    made = again(obj)
    assert type(made) is type(obj)
    if isinstance(obj, functools.partial):
        assert made() == 3
    elif isinstance(obj, random.Random):
        assert made.random() == obj.random()
    else:
        assert made == obj


def test_a_reduction_that_is_a_name_leads_to_the_very_object() -> None:
    assert again(uc.SINGLETON) is uc.SINGLETON
    with pytest.raises(hooks.Refusal, match="another object"):
        taken(uc.Singleton())


def test_getstate_alone_is_a_view_of_the_state() -> None:
    assert taken(uc.Stateful(5)) == (("value",), (5,), 0)
    assert taken(uc.SlotState(5)) == (("kept",), (5,), 1)
    with pytest.raises(hooks.Refusal, match="needs a __setstate__"):
        taken(uc.OddState())


def test_with_setstate_the_object_is_made_again() -> None:
    made = again(uc.Restored([1]))
    assert made.value == [1]
    assert made.lock.acquire(blocking=False)


def test_what_a_decorator_writes_is_not_the_class_s_own() -> None:
    assert anatomy.own(uc.Sealed, "__getstate__") is None
    assert anatomy.own(um.Slim, "__setstate__") is None
    assert anatomy.own(uc.Restored, "__getstate__") is not None


def test_copyreg_counts() -> None:
    copyreg.pickle(uc.Registered, lambda obj: (uc.Registered, (obj.value + 1,)))
    try:
        assert again(uc.Registered(1)).value == 2
    finally:
        del copyreg.dispatch_table[uc.Registered]
    assert registry.plain_rule_of(uc.Registered)[0] == "view"


def test_a_reduction_with_items_pairs_and_a_setter() -> None:
    def setter(obj: Any, state: Any) -> None:
        obj.state = state

    class Odd(dict[Any, Any]):
        def extend(self, items: Any) -> None:
            self.items_seen = items

    payload = ("Odd", Odd, (), (1, ("a",), (5,)), (1, 2), (("k",), ("v",)), setter)
    made = hooks.make_value(codes.REDUCE, payload, OWN)
    assert made == {"k": "v"}
    assert made.items_seen == [1, 2]
    assert made.state == {"a": 5}


def test_a_reduction_that_fails_is_a_refusal() -> None:
    with pytest.raises(hooks.Refusal, match=r"Refuses.__reduce_ex__ raised TypeError: can't"):
        taken(uc.Refuses())


def test_h21_a_reduction_runs_only_where_code_is_trusted() -> None:
    made = hooks.make_value(codes.REDUCE, taken(uc.Reduced(1))[1], NONE)
    assert type(made) is Record
    assert made.type_name == "user_classes.Reduced"
    assert made["arguments"] == (1,)


def test_a_reduction_whose_callable_is_gone_gives_a_record() -> None:
    payload = ("user_classes.Gone", ("user_classes", "Gone"), (1,))
    assert type(hooks.make_value(codes.REDUCE, payload, OWN)) is Record
    payload = ("gone.Gone", ("no_such_module_here", "f"), (1,))
    assert type(hooks.make_value(codes.REDUCE, payload, OWN)) is Record


def test_code_that_fails_when_it_makes_an_object_is_said_to() -> None:
    payload = ("user_classes.Version", ("user_classes", "Version"), (1, 2, 3))
    with pytest.raises(icehouse.IcehouseError, match=r"Version could not be made again.*TypeEr"):
        hooks.make_value(codes.REDUCE, payload, OWN)


@pytest.mark.parametrize(
    "payload",
    [(), ("a",), ("a", "b"), (1, ("a", "b"), ()), ("a", ("builtins", "list"), 5), "text" * 3],
)
def test_damaged_reductions_are_errors(payload: Any) -> None:
    with pytest.raises((ValueError, TypeError)):
        hooks.make_value(codes.REDUCE, payload, OWN)


def test_a_bare_object_is_refused_for_it_is_nothing_but_its_identity() -> None:
    with pytest.raises(icehouse.NotFreezableError, match=r"nothing but itself.*enum"):
        icehouse.freeze({"mark": object()})
