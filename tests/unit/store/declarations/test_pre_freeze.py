"""`__pre_freeze__`: called once, before the object is read; may veto, change it, freeze parts."""

import _thread
import collections
import dataclasses
import types
from decimal import Decimal
from typing import Any

import pytest

import icehouse
from icehouse import FREEZABLE_NO, NotFreezableError, set_freezable
from icehouse.store.declarations import status

CALLS: list[object] = []


@pytest.fixture(autouse=True)
def nothing_was_called() -> None:
    CALLS.clear()


class Noting:
    def __init__(self, **fields: Any) -> None:
        self.__dict__.update(fields)

    def __pre_freeze__(self) -> None:
        CALLS.append(self)


class Slotted:
    __slots__ = ("name", "other")

    def __pre_freeze__(self) -> None:
        CALLS.append(self)


class Items(list[Any]):
    def __pre_freeze__(self) -> None:
        CALLS.append(self)
        self.append("added")


class Amount(Decimal):
    def __pre_freeze__(self) -> None:
        CALLS.append(self)


@dataclasses.dataclass
class Cache:
    rows: list[int]
    total: int | None = None

    def __pre_freeze__(self) -> None:
        CALLS.append(self)
        self.total = sum(self.rows)


class Vetoing:
    def __pre_freeze__(self) -> None:
        CALLS.append(self)
        raise LookupError("not now")


def test_it_comes_before_the_object_is_read() -> None:
    cache = Cache([1, 2])
    assert icehouse.freeze([cache])[0].total == 3
    assert cache.total == 3
    assert [cache] == CALLS
    items = Items([1])
    assert icehouse.freeze({"a": items})["a"] == [1, "added"]


def test_once_for_each_object_and_freezing() -> None:
    shared = Noting()
    outer = Noting(a=shared, b=[shared, {"c": shared}])
    icehouse.freeze(outer, shared)
    assert [outer, shared] == CALLS
    CALLS.clear()
    icehouse.freeze(shared)
    icehouse.freeze(shared)
    assert [shared, shared] == CALLS


def test_equal_objects_are_asked_each() -> None:
    amounts = [Amount(1), Amount(1)]
    icehouse.freeze(amounts)
    assert [id(obj) for obj in CALLS] == [id(obj) for obj in amounts]


def test_in_cycles() -> None:
    first, second, third = Noting(name="first"), Noting(name="second"), Slotted()
    first.next, second.next = second, [third]
    third.name, third.other = "third", {"first": first}
    view = icehouse.freeze(first)
    assert [first, second, third] == CALLS
    assert icehouse.same(view.next.next[0].other["first"], view)


def test_wherever_the_object_lies() -> None:
    objects = [Noting() for _ in range(6)]
    graph = {
        "list": [objects[0]],
        "tuple": (1, (objects[1],)),
        "deque": collections.deque([objects[2]]),
        "ordered": collections.OrderedDict(a=objects[3]),
        "namespace": types.SimpleNamespace(a=objects[4]),
        "proxy": types.MappingProxyType({"a": objects[5]}),
    }
    icehouse.freeze(graph)
    assert sorted(map(id, CALLS)) == sorted(map(id, objects))


def test_its_exception_passes_and_is_a_veto() -> None:
    with pytest.raises(LookupError, match="not now"):
        icehouse.freeze([1, {"a": Vetoing()}])
    with icehouse.Store(capacity=1 << 20) as store:
        with pytest.raises(LookupError, match="not now"):
            store.put(Vetoing(), name="a")
        assert store.get("a", None) is None


def test_a_veto_by_a_refusal_of_ours() -> None:
    class Asking:
        def __pre_freeze__(self) -> None:
            raise NotFreezableError("ask me later")

    with pytest.raises(NotFreezableError, match="ask me later"):
        icehouse.freeze([Asking()])


def test_what_was_called_before_a_failure_stays_called() -> None:
    cache = Cache([1, 2])
    with pytest.raises(LookupError):
        icehouse.freeze(cache, Vetoing())
    assert cache.total == 3
    assert not icehouse.is_frozen(cache)


def test_it_may_freeze_parts_which_stay_frozen() -> None:
    class Owner:
        def __init__(self) -> None:
            self.rows: Any = [1]

        def __pre_freeze__(self) -> None:
            self.rows = icehouse.freeze(self.rows)

    owner = Owner()
    with pytest.raises(LookupError):
        icehouse.freeze([owner, Vetoing()])
    assert icehouse.is_frozen(owner.rows)
    assert icehouse.freeze([owner])[0].rows == [1]


def test_it_may_freeze_what_is_being_frozen() -> None:
    class Loop:
        depth = 0

        def __pre_freeze__(self) -> None:
            if Loop.depth == 0:
                Loop.depth = 1
                icehouse.freeze([self])

    assert icehouse.type_name(icehouse.freeze([Loop()])[0]).endswith("Loop")
    assert Loop.depth == 1


def test_it_may_replace_and_drop_the_parts_of_a_graph() -> None:
    class Shrinking:
        def __init__(self) -> None:
            self.parts: Any = [Noting(number=number) for number in range(50)]

        def __pre_freeze__(self) -> None:
            self.parts = (self.parts[0], [self])

    obj = Shrinking()
    view = icehouse.freeze({"a": obj, "b": obj})
    assert view["a"].parts[0].number == 0
    assert icehouse.same(view["a"].parts[1][0], view["b"])


def test_a_status_that_forbids_comes_first() -> None:
    obj = set_freezable(Noting(), FREEZABLE_NO)
    with pytest.raises(NotFreezableError, match="FREEZABLE_NO"):
        icehouse.freeze([obj])
    assert CALLS == []


def test_a_subclass_may_take_it_away() -> None:
    class Quiet(Noting):
        __pre_freeze__ = None  # type: ignore[assignment]

    class Static:
        @staticmethod
        def __pre_freeze__() -> None:
            CALLS.append("static")

    icehouse.freeze([Quiet(), Static()])
    assert CALLS == ["static"]


def test_that_of_an_instance_alone_does_not_count() -> None:
    obj = Noting(__pre_freeze__=1)
    icehouse.freeze(obj)
    assert [obj] == CALLS


def test_what_is_frozen_is_not_asked_again() -> None:
    view = icehouse.freeze([Noting()])
    CALLS.clear()
    icehouse.freeze(view, view[0], {"a": view})
    assert CALLS == []


def test_classes_in_data_are_not_asked() -> None:
    icehouse.freeze([Asked, Noting])
    assert CALLS == []


class Meta(type):
    def __pre_freeze__(cls) -> None:
        CALLS.append(cls)


class Asked(metaclass=Meta):
    pass


def test_before_asks_functions_and_classes_too() -> None:
    def function() -> None:
        return None

    function.__pre_freeze__ = lambda: CALLS.append("function")  # type: ignore[attr-defined]
    status.before(function, True)  # noqa: FBT003 - as the freezer calls it
    status.before(Asked, True)  # noqa: FBT003 - as the freezer calls it
    status.before(Noting, True)  # noqa: FBT003 - as the freezer calls it
    assert ["function", Asked] == CALLS


def test_a_veto_counts_though_the_hook_froze_the_object() -> None:
    @icehouse.freezable
    def declared() -> int:
        return 1

    def hook() -> None:
        CALLS.append(icehouse.freeze(declared))
        raise LookupError("all the same")

    declared.__pre_freeze__ = hook
    with pytest.raises(LookupError, match="all the same"):
        icehouse.freeze(declared)
    assert icehouse.is_frozen(declared)
    assert [declared] == CALLS
    assert icehouse.freeze(declared) is declared  # it is frozen, and not asked again


def test_a_veto_of_data_counts_though_its_hook_froze_what_holds_it() -> None:
    class Data:
        def __pre_freeze__(self) -> None:
            icehouse.freeze(Holding)
            raise NotFreezableError("not with me")

    @icehouse.freezable("*")
    class Holding:
        data = Data()
        number = 1

    # Met by the inner freezing too, where it is running already and counts as asked.
    with pytest.raises(NotFreezableError, match="not with me"):
        icehouse.freeze(Holding)
    assert icehouse.is_frozen(Holding)


@pytest.mark.parametrize("hook", ["__pre_freeze__", "__freeze__"])
def test_a_freezing_inside_that_fails_is_not_taken_for_the_outer_one(hook: str) -> None:
    class Data:
        pass

    def nested(self: Any) -> Any:
        return icehouse.freeze([1, 2, 3, _thread.allocate_lock()])

    setattr(Data, hook, nested)

    @icehouse.freezable("*")
    class Holding:
        data = Data()

    with pytest.raises(NotFreezableError, match=r"cannot freeze root\[3\]") as caught:
        icehouse.freeze(Holding)
    [note] = caught.value.__notes__
    assert note.startswith("while freezing class Holding: attribute 'data', an object of type")
