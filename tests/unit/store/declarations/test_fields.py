"""SharedField and InterpreterLocal in one process: what they hold, how they freeze and open."""

import copy
import gc
import json
import os
import pickle
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import icehouse
from icehouse.native import _image
from icehouse.store.freezing import hooks
from icehouse.store.freezing.codes import INTERPRETER_LOCAL, SHARED_FIELD
from icehouse.store.freezing.trust import NONE, OWN, trust_of

sys.path.insert(0, str(Path(__file__).parent))
import fields_work as work

NAN = float("nan")


@pytest.fixture
def store() -> Iterator[icehouse.Store]:
    with icehouse.Store("64MiB") as made:
        yield made
        if not made.closed:
            made.check()


# --- what it holds -------------------------------------------------------------------------------


def test_it_holds_what_is_set() -> None:
    field: icehouse.SharedField[Any] = icehouse.SharedField(1)
    assert field.get() == 1
    field.set("two")
    assert field.get() == "two"
    assert field.swap(3.5) == "two"
    assert field.get() == 3.5
    assert field.compare_and_swap(3.5, None)
    assert not field.compare_and_swap(3.5, 4)
    assert field.get() is None


@pytest.mark.parametrize("value", [[1], {}, set(), bytearray(), ([],), object(), {1: 2}.keys()])
def test_mutable_values_are_refused(value: Any) -> None:
    field: icehouse.SharedField[Any] = icehouse.SharedField(None)
    for refused in (
        lambda: icehouse.SharedField(value),
        lambda: field.set(value),
        lambda: field.swap(value),
        lambda: field.compare_and_swap(None, value),
    ):
        with pytest.raises(TypeError, match=r"frozen values only.*icehouse\.freeze"):
            refused()
    assert field.get() is None


def test_it_holds_views_and_what_they_are_of(store: icehouse.Store) -> None:
    config = icehouse.freeze({"a": [1, {2: (3, [4])}]})
    field: icehouse.SharedField[Any] = icehouse.SharedField(config)
    assert field.get() is config
    store.put(field)
    assert field.get() == config
    large = store.get(store.put(list(range(10_000))))
    used = store.usage().used
    field.set(large)
    assert icehouse.same(field.get(), large), "it is linked to, not copied"
    assert store.usage().used < used + 1000
    field.set((1, large, "x"))
    assert icehouse.same(field.get()[1], large)


def test_it_holds_arrays_that_are_read_in_place(store: icehouse.Store) -> None:
    numpy = pytest.importorskip("numpy")
    field: icehouse.SharedField[Any] = icehouse.SharedField(icehouse.freeze(numpy.arange(3)))
    store.put(field)
    assert field.get().tolist() == [0, 1, 2]
    assert field.compare_and_swap(field.get(), 1)
    field.set(icehouse.freeze(numpy.arange(2)))
    assert not field.compare_and_swap(icehouse.freeze(numpy.arange(3)), 0)
    assert field.compare_and_swap(icehouse.freeze(numpy.arange(2)), 0)
    with pytest.raises(TypeError, match="ndarray is not"):
        field.set(numpy.arange(3))


def test_what_it_held_is_freed_and_what_is_read_stays(store: icehouse.Store) -> None:
    field: icehouse.SharedField[Any] = icehouse.SharedField(icehouse.freeze(["first"]))
    store.put({"field": field})
    field.set(icehouse.freeze(["second"]))
    read = field.get()
    images = store.usage().images
    for number in range(5000):
        field.set((number, "x" * (number % 500)))
    assert store.usage().images == images + 1
    assert read == ["second"], "a view keeps what the field has lost"
    del read
    store.trim()
    assert store.usage().images == images


def test_reset_gives_its_memory_back(store: icehouse.Store) -> None:
    field: icehouse.SharedField[Any] = icehouse.SharedField("first")
    store.put(field)
    before = store.usage()
    field.set("second")
    assert (store.usage().names, store.usage().images) == (before.names + 1, before.images + 1)
    field.reset()
    field.reset()
    assert field.get() == "first"
    assert (store.usage().names, store.usage().images) == (before.names, before.images)
    assert field.compare_and_swap("first", "third")


def test_a_field_holds_fields(store: icehouse.Store) -> None:
    inner = icehouse.SharedField(1)
    outer: icehouse.SharedField[Any] = icehouse.SharedField((inner, "x"))
    view = store.get(store.put([outer]))
    assert view[0].get()[0] is inner
    inner.set(2)
    assert view[0].get()[0].get() == 2
    outer.set(inner)
    assert outer.get().get() == 2


@pytest.mark.parametrize(
    ("held", "old", "swapped"),
    [
        (1, 1, True),
        (1, True, False),
        (1, 1.0, False),
        (0.5, 0.5, True),
        (NAN, NAN, True),
        ("text", "te" + "xt", True),
        ((1, ("a", None)), (1, ("a", None)), True),
        ((1, ("a", None)), (True, ("a", None)), False),
        ((1,), (1, 2), False),
        (10**30, 10**30, True),
        (frozenset({"a", "b"}), frozenset({"b", "a"}), True),
        (icehouse.freeze([1, 2]), icehouse.freeze([1, 2]), True),
        (icehouse.freeze([1, 2]), icehouse.freeze([1, 3]), False),
        (icehouse.freeze([1, 2]), (1, 2), False),
        (None, None, True),
    ],
)
def test_compare_and_swap_knows_what_was_seen(
    store: icehouse.Store, held: Any, old: Any, swapped: bool
) -> None:
    for put in (False, True):
        field: icehouse.SharedField[Any] = icehouse.SharedField(held)
        if put:
            store.put(field)
            field.set(held)
        assert field.compare_and_swap(old, "new") is swapped
        assert field.compare_and_swap(field.get(), "other"), "what get() gave is what it holds"


# --- in frozen graphs ----------------------------------------------------------------------------


def test_it_stays_mutable_inside_a_frozen_graph() -> None:
    field = icehouse.SharedField(0)
    graph = {"count": field, "again": [field], "tuple": (1, field)}
    view = icehouse.freeze(graph)
    assert view["count"] is view["again"][0] is view["tuple"][1] is field
    view["count"].set(5)
    assert field.get() == 5
    assert "SharedField" in repr(view)


def test_what_counts_as_frozen() -> None:
    field, local = icehouse.SharedField(0), icehouse.InterpreterLocal(0)
    assert icehouse.is_frozen(field)
    assert icehouse.is_frozen((field, local))
    assert icehouse.freeze(field) is field
    assert copy.copy(field) is copy.deepcopy(field) is field
    assert copy.deepcopy(local) is local
    assert icehouse.thaw(field) is field


def test_thaw_gives_the_same_field(store: icehouse.Store) -> None:
    field: icehouse.SharedField[Any] = icehouse.SharedField(icehouse.freeze([1]))
    view = store.get(store.put({"field": field, "local": icehouse.InterpreterLocal(2)}))
    thawed = icehouse.thaw(view)
    assert type(thawed) is dict
    assert thawed["field"] is field
    del field, thawed
    gc.collect()
    thawed = icehouse.thaw(view)
    assert type(thawed["field"].get()) is icehouse.FrozenList
    assert thawed["local"].get() == 2


def test_json_has_the_value_of_a_field(store: icehouse.Store) -> None:
    field: icehouse.SharedField[Any] = icehouse.SharedField(icehouse.freeze([1]))
    view = store.get(store.put({"field": field}))
    field.set(icehouse.freeze({"a": (1, 2)}))
    assert json.loads(icehouse.dumps(view)) == {"field": {"a": [1, 2]}}
    assert json.dumps([field], default=icehouse.json_default) == '[{"a": [1, 2]}]'
    with pytest.raises(TypeError, match="InterpreterLocal"):
        icehouse.dumps(icehouse.freeze([icehouse.InterpreterLocal(1)]))


def test_identity_and_hash() -> None:
    one, other = icehouse.SharedField(0), icehouse.SharedField(0)
    assert one == one
    assert one != other
    assert one != 0
    assert len({one, other, pickle.loads(pickle.dumps(one))}) == 2
    assert icehouse.freeze({one: 1})[one] == 1
    assert one != icehouse.InterpreterLocal(0)


def test_repr_is_bounded_and_reads_nothing(store: icehouse.Store) -> None:
    field = icehouse.SharedField("x" * 100_000)
    store.put(field)
    store.close()
    assert len(repr(field)) < 200
    assert "SharedField" in repr(field)
    assert "InterpreterLocal" in repr(icehouse.InterpreterLocal(0))


def test_they_are_final() -> None:
    class Mine(icehouse.SharedField[int]):  # type: ignore[misc]
        pass

    with pytest.raises(icehouse.NotFreezableError, match="SharedField is final"):
        icehouse.freeze([Mine(1)])


def test_a_field_that_holds_itself() -> None:
    field: icehouse.SharedField[Any] = icehouse.SharedField(0)
    icehouse.freeze([field])
    field.set((field,))
    assert field.get()[0] is field
    with pytest.raises(icehouse.NotFreezableError, match="refers to itself"):
        icehouse.freeze([field])
    field.set(1)
    assert icehouse.freeze([field])[0] is field


def test_fields_of_a_store_may_refer_to_each_other(store: icehouse.Store) -> None:
    left: icehouse.SharedField[Any] = icehouse.SharedField(None)
    right: icehouse.SharedField[Any] = icehouse.SharedField((left,))
    view = store.get(store.put({"left": left, "right": right}))
    left.set(right)
    assert view["left"].get().get()[0] is left
    assert store.get(store.put([left]))[0].get() is right


# --- stores --------------------------------------------------------------------------------------


def test_put_first_into_a_store_it_is_that_store_s(store: icehouse.Store) -> None:
    field = icehouse.SharedField(0)
    view = icehouse.freeze([field])
    field.set(7)
    handle = store.put({"view": view, "field": field})
    got = store.get(handle)
    assert got["view"][0] is got["field"] is field
    field.set(8)
    assert store.usage().names == 1, "a name of the store, which no list shows"
    assert store.names() == {}
    assert all(stat.names == () for stat in store.ls())
    store.close()
    with pytest.raises(icehouse.StoreClosed):
        field.get()


def test_in_a_second_store_it_is_another_field(store: icehouse.Store) -> None:
    field = icehouse.SharedField(0)
    store.put(field)
    field.set(5)
    with icehouse.Store("1MiB") as second:
        copied = second.get(second.put([field, field]))
        assert copied[0] is copied[1]
        assert copied[0] is not field
        assert copied[0].get() == 5
        copied[0].set(6)
        assert field.get() == 5
        again = second.get(second.put(copied))
        assert again[0] is copied[0], "in one store it is one field"
        other = second.get(second.put(store.get(store.put({"field": field}))))
        assert other["field"].get() == 5


@pytest.mark.parametrize("way", ["field", "view"])
def test_h16_a_copy_has_the_current_value(store: icehouse.Store, way: str) -> None:
    field = icehouse.SharedField(0)
    frozen = icehouse.freeze({"field": field, "data": list(range(1000))})
    field.set(3)
    handle = store.put(field if way == "field" else frozen)
    here = icehouse.SharedField(0)
    assert here.get() == 0
    work.set_field(field, 4)
    got = store.get(handle)
    assert (got if way == "field" else got["field"]).get() == 4


def test_h16_a_file_has_the_current_value(store: icehouse.Store, tmp_path: Path) -> None:
    field = icehouse.SharedField("first")
    view = store.get(store.put({"field": field}))
    field.set("second")
    icehouse.save(view, tmp_path / "image")
    record = icehouse.open_image(tmp_path / "image")["field"]
    assert type(record) is icehouse.Record
    assert record.value_when_written == "second"
    assert icehouse.open_image(tmp_path / "image", trust=True)["field"] is field
    store.close()
    del field, view, record
    gc.collect()
    alone = icehouse.open_image(tmp_path / "image", trust=True)["field"]
    assert alone.get() == "second", "its store is gone, so it has a cell of its own"
    alone.set("third")
    assert alone.get() == "third"


def test_pickles_refer_to_the_field(store: icehouse.Store) -> None:
    field = icehouse.SharedField(1)
    assert pickle.loads(pickle.dumps(field)) is field
    view = store.get(store.put([field]))
    data = pickle.dumps((field, view))
    del field
    back, copied = pickle.loads(data)
    assert copied[0] is back
    back.set(2)
    assert view[0].get() == 2


def test_users_cannot_reach_the_names_of_cells(store: icehouse.Store) -> None:
    field = icehouse.SharedField(1)
    handle = store.put(field)
    field.set(2)
    name = f"ih1_cell_{field._id.hex()}"
    for call in (
        lambda: store.bind(name, handle),
        lambda: store.put(1, name=name),
        lambda: store.get(name),
        lambda: store.lookup(name),
        lambda: store.delete(name),
        lambda: next(store.watch(name)),
    ):
        with pytest.raises(ValueError, match="ih1_"):
            call()
    assert field.get() == 2


def test_scopes_don_t_take_its_value(store: icehouse.Store) -> None:
    field = icehouse.SharedField(1)
    store.put(field)
    with store.scope():
        field.set(2)
    assert field.get() == 2


def test_many_threads_count() -> None:
    field = icehouse.SharedField(0)
    threads = [threading.Thread(target=work.count, args=(field, 500)) for _ in range(4)]
    with icehouse.Store("1MiB") as store:
        for thread in threads[:2]:
            thread.start()
        # It moves under their hands.
        store.put(field)
        for thread in threads[2:]:
            thread.start()
        for thread in threads:
            thread.join()
        assert field.get() == 2000


# --- strangers -----------------------------------------------------------------------------------


def test_h20_a_stranger_s_image_gives_a_record() -> None:
    field: icehouse.SharedField[Any] = icehouse.SharedField(icehouse.freeze([1]))
    local = icehouse.InterpreterLocal(2)
    factory: icehouse.InterpreterLocal[Any] = icehouse.InterpreterLocal(dict)
    data = _image._image_bytes({"field": field, "local": local, "factory": factory})
    strange = opened(data, NONE)
    assert type(strange["factory"]) is icehouse.Record
    assert type(strange["field"]) is type(strange["local"]) is icehouse.Record
    assert icehouse.type_name(strange["field"]) == "icehouse.SharedField"
    assert strange["field"].value_when_written == [1]
    assert strange["local"].value == 2
    assert opened(data, trust_of(own=False, allow_classes=None, code=True))["field"] is field
    assert opened(data, OWN)["field"] is field


def opened(data: bytes, trust: Any) -> Any:
    return _image._open_buffer(data, False, trust)  # noqa: FBT003 - positional only


ID = bytes(range(16))


@pytest.mark.parametrize("trust", [NONE, OWN])
@pytest.mark.parametrize(
    "payload",
    [
        None,
        3,
        (),
        [],
        (ID,),
        (ID, 1),
        "abcd",
        [ID, 1, None],
        (ID[:-1], 1, None),
        ("x" * 16, 1, None),
        (ID, 1, 5),
        (ID, 1, b"token:x"),
        (ID, 1, None, 1, 1),
    ],
)
def test_damaged_payloads(payload: Any, trust: Any) -> None:
    with pytest.raises((ValueError, TypeError)):
        hooks.make_value(SHARED_FIELD, payload, trust)
    if payload not in ((ID, 1, 5), (ID, 1, b"token:x"), [ID, 1, None]):
        with pytest.raises((ValueError, TypeError)):
            hooks.make_value(INTERPRETER_LOCAL, payload, trust)


def test_the_factory_of_a_local_can_be_called() -> None:
    with pytest.raises(ValueError, match="can't be called"):
        hooks.make_value(INTERPRETER_LOCAL, (ID, None, 5), OWN)
    assert type(hooks.make_value(INTERPRETER_LOCAL, (ID, None, 5), NONE)) is icehouse.Record


@pytest.mark.parametrize(
    "place", ["", "nowhere", "token:", "token:ihs1_0", "socket:", "socket:/nowhere/socket", "x" * 9]
)
def test_places_that_are_none(place: str) -> None:
    made = hooks.make_value(SHARED_FIELD, (os.urandom(16), 1, place), OWN)
    for call in (made.get, lambda: made.set(2), lambda: made.swap(2)):
        with pytest.raises(icehouse.StoreUnavailable, match=r"connect\(\)"):
            call()
    with pytest.raises(icehouse.NotFreezableError):
        icehouse.freeze([made])
