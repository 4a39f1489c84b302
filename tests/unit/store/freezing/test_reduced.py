"""Classes that say themselves how they pickle."""

import copyreg
import functools
import random
import socket
from typing import Any

import pytest
import user_classes as uc

import icehouse


def test_reduce_makes_a_real_instance() -> None:
    view = icehouse.freeze([uc.Reduced(1, [2])])
    made = view[0]
    assert type(made) is uc.Reduced
    assert made.values == (1, [2])
    assert made.lock.acquire(blocking=False)
    thawed = icehouse.thaw(view)[0]
    assert type(thawed) is uc.Reduced
    assert type(thawed.values[1]) is list
    assert icehouse.freeze([uc.ReducedEx(1)])[0].value == 4


def test_arguments_are_real_one_level_down() -> None:
    made = icehouse.freeze([uc.Reduced([1, [2]], {"k": {"l": 3}}, {1})])[0]
    outer, mapping, items = made.values
    assert (type(outer), type(mapping), type(items)) == (list, dict, set)
    assert isinstance(outer[1], icehouse.FrozenList)
    assert isinstance(mapping["k"], icehouse.FrozenDict)


def test_arguments_with_keys_that_are_made_for_each_reader() -> None:
    key = (0, functools.partial(int, "11", base=2))
    (mapping,) = icehouse.freeze([uc.Reduced({key: 1})])[0].values
    ((zero, partial),) = mapping
    assert (zero, partial(), list(mapping.values())) == (0, 3, [1])


def test_getstate_without_setstate_is_a_lazy_view_of_the_state() -> None:
    view = icehouse.freeze(uc.Stateful([1, 2]))
    assert isinstance(view, icehouse.FrozenObject)
    assert isinstance(view, uc.Stateful)
    assert view.value == [1, 2]
    assert not hasattr(view, "lock")
    thawed = icehouse.thaw(view)
    assert type(thawed) is uc.Stateful
    assert vars(thawed) == {"value": [1, 2]}
    slots = icehouse.freeze(uc.SlotState([1]))
    assert slots.kept == [1]
    assert not hasattr(slots, "left")
    assert icehouse.thaw(slots).kept == [1]
    with pytest.raises(icehouse.NotFreezableError, match="__setstate__"):
        icehouse.freeze([uc.OddState()])


def test_with_setstate_a_real_instance_is_made() -> None:
    made = icehouse.freeze([uc.Restored([1])])[0]
    assert type(made) is uc.Restored
    assert made.value == [1]
    assert made.lock.acquire(blocking=False)
    assert type(icehouse.thaw(icehouse.freeze([uc.Restored([1])]))[0].value) is list


def test_copyreg() -> None:
    copyreg.pickle(uc.Registered, lambda obj: (uc.Registered, (obj.value + 1,)))
    try:
        assert icehouse.freeze([uc.Registered(1)])[0].value == 2
    finally:
        del copyreg.dispatch_table[uc.Registered]


def test_what_the_library_reduces() -> None:
    view = icehouse.freeze([functools.partial(int, base=2), random.Random(5), uc.SINGLETON])
    assert view[0]("11") == 3
    assert view[1].random() == random.Random(5).random()
    assert view[2] is uc.SINGLETON


def test_refusals_name_the_path_and_what_the_class_said() -> None:
    with pytest.raises(icehouse.NotFreezableError, match=r"\['r'\].*can't pickle this"):
        icehouse.freeze({"r": uc.Refuses()})
    left, right = socket.socketpair()
    with left, right, pytest.raises(icehouse.NotFreezableError, match=r"\['s'\].*socket"):
        icehouse.freeze({"s": left})


def test_a_ring_through_setstate_is_refused() -> None:
    one, other = uc.Ring(), uc.Ring()
    one.other, other.other = other, one
    with pytest.raises(icehouse.NotFreezableError, match="refers to itself"):
        icehouse.freeze([one])
    one.other = [other]
    other.other = [one]
    made = icehouse.freeze([one])[0]
    assert type(made.other[0].other[0]) is uc.Ring


def test_sharing_is_kept() -> None:
    shared: Any = uc.Reduced(1)
    thawed = icehouse.thaw(icehouse.freeze([shared, shared]))
    assert thawed[0] is thawed[1]


def test_each_access_makes_its_own() -> None:
    view = icehouse.freeze([uc.Restored(1)])
    view[0].value = 5
    assert view[0].value == 1


def test_h21_code_that_fails_is_no_damage() -> None:
    failing = uc.Reduced(1)
    view = icehouse.freeze([failing])
    original = uc.Reduced.__init__
    uc.Reduced.__init__ = None  # type: ignore[method-assign,assignment]
    try:
        with pytest.raises(icehouse.IcehouseError, match=r"Reduced could not be made again"):
            view[0]
    finally:
        uc.Reduced.__init__ = original  # type: ignore[method-assign]


class Member:
    """Says with what it is made; members may hold one another."""

    def __init__(self, others: Any) -> None:
        self.others = others

    def __reduce__(self) -> Any:
        return (Member, (self.others,))


def test_rings_through_a_list_of_arguments_stay_frozen_where_they_close() -> None:
    alone = Member([])
    alone.others.append(alone)
    view = icehouse.freeze(alone)
    assert type(view) is Member
    assert type(view.others[0]) is Member
    first, second = Member([]), Member({})
    first.others.append(second)
    second.others["back"] = first
    opened = icehouse.freeze([first, second])
    assert type(opened[0].others) is list
    assert type(opened[0].others[0].others["back"].others[0]) is Member
    assert type(opened[1].others["back"].others[0].others["back"]) is Member
