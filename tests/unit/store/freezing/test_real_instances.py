"""H22: what comes back as a real, shallow instance whose children are frozen."""

import json
import pickle
import time
from typing import Any

import msgspec
import pydantic
import pytest
import user_classes as uc
import user_models as um

import icehouse

VALUES: list[Any] = [
    uc.Celsius(21.5),
    uc.Count(5),
    uc.Count(10**30),
    uc.Word("grüße"),
    uc.Label("stop", "blue"),
    uc.Blob(b"\0\1"),
    uc.Blob(b"x" * 100_000),
    uc.Phase(1, -2),
    uc.Triple([1, "a", (2, 3)]),
    uc.Bare([1, 2.5]),
    uc.Place("home", (1, 2)),
    uc.Old(1, "b"),
    um.User("Ada", 36, ("x",)),
    um.Coin(5),
    um.Tagged("a", 1),
    um.BoxStruct(3),
    um.Address(street="s"),
    um.Customer(name="Ada", address=um.Address(street="s"), marks=(1, 2)),
    um.Open(a=1, b=2),
    um.Frozen(a=1),
    um.Numbers((1, 2)),
    um.Page[int](items=(1, 2)),
]


@pytest.fixture(autouse=True)
def nothing_ran() -> None:
    uc.RAN.clear()


@pytest.mark.parametrize("value", VALUES, ids=lambda value: type(value).__name__)
def test_h22_real_instances(value: Any) -> None:
    made = icehouse.freeze([value])[0]
    assert type(made) is type(value)
    assert made == value
    assert value == made
    assert repr(made).replace("FrozenList([])", "[]") == repr(value)
    assert uc.RAN == []
    thawed = icehouse.thaw(icehouse.freeze([value, value]))
    assert type(thawed[0]) is type(value)
    assert thawed[0] == value
    assert thawed[0] is thawed[1]
    assert uc.RAN == []
    assert pickle.loads(pickle.dumps(made)) == value
    try:
        expected = hash(value)
    except TypeError:
        return
    assert hash(made) == expected


def test_h22_formats_and_encodes_through_c() -> None:
    celsius, count, label, place = icehouse.freeze(
        [uc.Celsius(21.5), uc.Count(7), uc.Label("x", "blue"), uc.Place("home", (1, 2))]
    )
    assert f"{celsius:.2f}" == "21.50"
    assert celsius.fahrenheit == 70.7
    assert celsius.unit == "C"
    assert celsius + 1 == 22.5
    assert json.dumps([celsius, count, label, place]) == '[21.5, 7, "x", ["home", [1, 2]]]'
    assert f"{label:>4}" == "   x"
    assert label.color == "blue"
    assert [10, 20, 30, 40, 50, 60, 70, 80][count] == 80
    assert "%s %d".__mod__((label, count)) == "x 7"
    assert "-".join([label, label]) == "x-x"
    assert str(place) == "home at (1, 2)"
    assert place._replace(name="away").name == "away"
    assert place._asdict() == {"name": "home", "position": (1, 2)}


def test_h22_struct_encoding_and_comparison() -> None:
    user = um.User("Ada", 36, ("x", "y"))
    uc.RAN.clear()
    made = icehouse.freeze({"u": user})["u"]
    assert msgspec.json.encode(made) == msgspec.json.encode(user)
    assert msgspec.msgpack.encode(made) == msgspec.msgpack.encode(user)
    assert msgspec.structs.asdict(made) == msgspec.structs.asdict(user)
    assert msgspec.structs.replace(made, age=5).age == 5
    assert made.greet() == "I am Ada"
    assert icehouse.freeze([um.Coin(1), um.Coin(2)])[0] < um.Coin(2)
    tagged = icehouse.freeze([um.Tagged("a")])[0]
    assert msgspec.json.decode(msgspec.json.encode(tagged)) == {"type": "t", "firstName": "a"}
    admin = um.Admin("Bo", rights=["all"])
    made = icehouse.freeze([admin])[0]
    assert isinstance(made.rights, icehouse.FrozenList)
    assert msgspec.json.encode(made, enc_hook=icehouse.enc_hook) == msgspec.json.encode(admin)
    loose = um.Loose(1)
    loose.more = [2]  # type: ignore[attr-defined]
    assert icehouse.freeze([loose])[0].more == [2]


def test_h22_model_dump_and_fields_set() -> None:
    customer = um.Customer(name="Ada", address=um.Address(street="s"), marks=(1, 2))
    customer._secret = "told"
    uc.RAN.clear()
    made = icehouse.freeze({"c": customer})["c"]
    plain = {"name", "address", "marks", "initial"}
    assert made.model_dump(include=plain) == customer.model_dump(include=plain)
    assert made.model_dump_json(include=plain) == customer.model_dump_json(include=plain)
    assert made.model_fields_set == customer.model_fields_set
    assert made._secret == "told"
    assert made.loud == "ADA"
    assert made.initial == "A"
    assert isinstance(made.address, um.Address)
    assert uc.RAN == []
    thawed = icehouse.thaw(icehouse.freeze([customer]))[0]
    assert thawed.model_dump() == customer.model_dump()
    assert type(thawed.notes) is list
    assert made.model_copy(update={"name": "Bo"}).name == "Bo"


def test_models_with_frozen_lists_dump_with_a_fallback() -> None:
    made = icehouse.freeze([um.Customer(name="Ada", notes=["a"])])[0]
    assert isinstance(made.notes, icehouse.FrozenList)
    text = made.model_dump_json(fallback=icehouse.json_default, warnings=False)
    assert json.loads(text)["notes"] == ["a"]


def test_models_with_extra_fields() -> None:
    made = icehouse.freeze([um.Open(a=1, b=2)])[0]
    assert made.model_dump() == {"a": 1, "b": 2}
    assert made.b == 2


def test_an_incomplete_model_is_refused() -> None:
    with pytest.raises(icehouse.NotFreezableError, match=r"\[0\].*model_rebuild"):
        icehouse.freeze([um.Later.model_construct(other=None)])


def test_children_are_frozen_and_shared() -> None:
    shared = [1]
    view = icehouse.freeze([uc.Triple([shared, shared]), um.BoxStruct(shared)])
    triple, box = view
    assert isinstance(triple[0], icehouse.FrozenList)
    assert icehouse.same(triple[0], triple[1])
    assert icehouse.same(triple[0], box.content)
    thawed = icehouse.thaw(view)
    assert thawed[0][0] is thawed[1].content


def test_attributes_of_tuples_come_along() -> None:
    triple = uc.Triple([1])
    triple.note = ["n"]  # type: ignore[attr-defined]
    made = icehouse.freeze([triple])[0]
    assert (made, made.note) == ((1,), ["n"])


def test_real_instances_are_keys() -> None:
    data = {um.Coin(1): "a", uc.Place("p"): "b", uc.Word("w"): "c", um.Frozen(a=1): "d"}
    view = icehouse.freeze(data)
    assert view[um.Coin(1)] == "a"
    assert view[uc.Place("p")] == "b"
    assert view["w"] == "c"
    assert view[um.Frozen(a=1)] == "d"
    assert dict(view) == data
    assert icehouse.thaw(view) == data


def test_h24_many_shared_tuples_are_made_once() -> None:
    node: Any = uc.Bare([1])
    for _ in range(60):
        node = uc.Bare([node, node])
    made = icehouse.freeze([node])[0]
    for _ in range(60):
        assert type(made[0]) is type(made[1])
        made = made[0]
    assert made[0] == 1


def test_a_ring_of_real_instances_is_refused() -> None:
    user = um.BoxStruct(None)
    user.content = user
    with pytest.raises(icehouse.NotFreezableError, match="refers to itself"):
        icehouse.freeze([user])
    box = um.BoxStruct([])
    box.content.append(box)
    made = icehouse.freeze([box])[0]
    assert type(made.content[0]) is um.BoxStruct
    thawed = icehouse.thaw(icehouse.freeze([box]))[0]
    assert thawed.content[0] is thawed


def test_structseqs_and_subclasses_of_models() -> None:
    now = time.localtime(0)
    assert icehouse.freeze([now])[0] == now

    class Local(pydantic.BaseModel):
        a: int

    record = icehouse.freeze([Local(a=1)])[0]
    assert type(record) is icehouse.Record
    assert record.a == 1


def test_huge_tuples_of_subclasses() -> None:
    big = uc.Bare(range(100_000))
    made = icehouse.freeze([big])[0]
    assert isinstance(made, (uc.Bare, icehouse.FrozenObject))
    assert len(made) == 100_000
    assert made[99_999] == 99_999
    assert made.total() == sum(range(100_000))
    place = uc.Place("p", tuple(range(100_000)))  # type: ignore[arg-type]
    assert icehouse.freeze([place])[0].position[99_999] == 99_999
