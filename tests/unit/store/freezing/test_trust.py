"""H20, H21: which names lead to which classes, for whom; and that no code runs on the way."""

import collections
import pickle
import sys
import types
from typing import Any

import freezing_samples as samples
import pytest
from pairs import opened, taken

import icehouse
from icehouse import Record
from icehouse.store.freezing import hooks, registry
from icehouse.store.freezing.trust import NONE, OWN, resolve_class, trust_of


class Loud(type):
    """A metaclass that must not be asked."""

    def __getattribute__(cls, name: str) -> Any:
        raise AssertionError(f"a metaclass was asked for {name}")

    def __call__(cls, *args: Any) -> Any:
        raise AssertionError("a metaclass was called")

    def __instancecheck__(cls, obj: object) -> bool:
        raise AssertionError("a metaclass was asked")

    __subclasscheck__ = __instancecheck__


class Quiet(metaclass=Loud):
    pass


class Holder:
    class Inner:
        pass

    alias = Inner
    number = 5


def make_local() -> type:
    class Local:
        pass

    return Local


LOCAL = make_local()


def test_h20_classes_are_found_by_module_and_qualified_name() -> None:
    assert resolve_class("builtins", "int", OWN) is int
    assert resolve_class(__name__, "Holder.Inner", OWN) is Holder.Inner
    assert resolve_class("collections", "OrderedDict", OWN) is collections.OrderedDict


@pytest.mark.parametrize(
    ("module", "qualname"),
    [
        ("builtins", "len"),
        ("builtins", "nothing"),
        ("builtins", ""),
        ("builtins", "int.real"),
        ("no_such_module_anywhere", "X"),
        ("", "X"),
        ("..", "X"),
        ("os", "path"),
        ("os", "PathLike.__class__"),
        ("os.path", "os"),
        (__name__, "Holder.alias"),
        (__name__, "Holder.number"),
        (__name__, "LOCAL"),
        (__name__, "make_local.<locals>.Local"),
        (__name__, "samples.Color"),
        ("typing", "List"),
    ],
)
def test_h20_what_is_no_class_or_says_another_name_does_not_resolve(
    module: str, qualname: str
) -> None:
    assert resolve_class(module, qualname, OWN) is None


@pytest.mark.parametrize(("module", "qualname"), [(1, "x"), ("x", None), (b"x", "x")])
def test_a_name_that_is_no_text_is_damage(module: Any, qualname: Any) -> None:
    with pytest.raises(ValueError, match="not text"):
        resolve_class(module, qualname, OWN)


def test_h20_no_metaclass_is_asked() -> None:
    assert resolve_class(__name__, "Quiet", OWN) is Quiet
    assert hooks.name_of(Quiet) == f"{__name__}.Quiet"


def test_h20_others_images_resolve_nothing_but_what_is_allowed() -> None:
    assert resolve_class(__name__, "Holder", NONE) is None
    assert resolve_class("tempfile", "_TemporaryFileCloser", NONE) is None
    allowed = trust_of(own=False, allow_classes=[Holder], code=False)
    assert resolve_class(__name__, "Holder", allowed) is Holder
    assert resolve_class(__name__, "Holder.Inner", allowed) is None


def test_h20_others_images_import_nothing() -> None:
    assert "this" not in sys.modules
    assert resolve_class("this", "C", NONE) is None
    assert (
        resolve_class("antigravity", "C", trust_of(own=False, allow_classes=[Holder], code=True))
        is None
    )
    assert "this" not in sys.modules
    assert "antigravity" not in sys.modules


def test_plain_containers_resolve_for_everybody() -> None:
    assert resolve_class("builtins", "dict", NONE) is dict
    assert resolve_class("collections", "deque", NONE) is not None
    assert resolve_class("builtins", "open", NONE) is None


def test_a_module_that_fails_to_load_resolves_nothing(tmp_path: Any, monkeypatch: Any) -> None:
    (tmp_path / "broken_for_icehouse.py").write_text("raise RuntimeError('no')\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert resolve_class("broken_for_icehouse", "X", OWN) is None


def test_the_main_module_under_both_of_its_names(monkeypatch: pytest.MonkeyPatch) -> None:
    for here, there in (("__main__", "__mp_main__"), ("__mp_main__", "__main__")):
        main = types.ModuleType(here)
        cls = type("Thing", (), {"__module__": here})
        main.Thing = cls  # type: ignore[attr-defined]
        # As multiprocessing's spawned children have it.
        monkeypatch.setitem(sys.modules, "__main__", main)
        monkeypatch.delitem(sys.modules, "__mp_main__", raising=False)
        assert resolve_class(there, "Thing", OWN) is cls
        assert resolve_class(here, "Thing", OWN) is cls


def test_allow_classes_takes_classes() -> None:
    with pytest.raises(TypeError, match="takes classes, not 'x'"):
        trust_of(own=False, allow_classes=["x"], code=False)  # type: ignore[list-item]


@pytest.mark.parametrize(
    "obj",
    [*samples.ENUMS, *samples.DERIVED, samples.Color, len, dict.fromkeys],
    ids=lambda obj: repr(obj)[:40],
)
def test_h20_without_trust_a_record_comes_back(obj: Any) -> None:
    back = opened(taken(obj), NONE)
    assert type(back) is Record
    assert icehouse.type_name(back)


@pytest.mark.parametrize(
    "obj",
    [*samples.DATES, *samples.NUMBERS, *samples.NETS, *samples.PATHS, *samples.PATTERNS],
    ids=lambda obj: repr(obj)[:40],
)
def test_values_of_the_standard_library_need_no_trust(obj: Any) -> None:
    back = opened(taken(obj), NONE)
    assert type(back) is type(obj)
    if not isinstance(getattr(obj, "tzinfo", None), samples.Shifted):
        assert back == obj


def test_h20_a_time_zone_that_may_not_be_found_says_so_when_it_is_asked() -> None:
    back = opened(taken(samples.dt.datetime(2020, 1, 1, tzinfo=samples.Shifted(2))), NONE)
    assert (back.year, back.hour) == (2020, 0)
    with pytest.raises(NotImplementedError, match="allow_classes"):
        back.utcoffset()


def test_h20_allowed_enums_and_subclasses_come_back() -> None:
    allowed = trust_of(own=False, allow_classes=[samples.Color, samples.Money], code=False)
    assert opened(taken(samples.Color.RED), allowed) is samples.Color.RED
    assert type(opened(taken(samples.DERIVED[4]), allowed)) is samples.Money
    assert type(opened(taken(samples.Level.LOW), allowed)) is Record


class Gadget(Exception):
    """What a hostile image may not make: its finalizer would run."""

    closed = False

    def __del__(self) -> None:
        Gadget.closed = True


def test_h20_finalizers_never_run() -> None:
    payload = (__name__, "Gadget", ("x",), {}, {}, None, None, False)
    assert type(hooks.make_value(23, payload, OWN)) is Record
    assert not Gadget.closed
    assert "__del__" in registry.plain_rule_of(Gadget)
    with pytest.raises(ValueError, match="__del__"):
        hooks.make_object(4, Gadget, ("",), (1,), OWN)


def test_h21_what_runs_code_needs_trust_in_code() -> None:
    boom = ("builtins.x", ("builtins", "exec"), ("raise AssertionError('code ran')",))
    assert type(hooks.make_value(20, boom, NONE)) is Record
    allowed = trust_of(own=False, allow_classes=[Holder], code=False)
    assert type(hooks.make_value(20, boom, allowed)) is Record
    assert type(hooks.make_value(2, ("os", "system"), allowed)) is Record
    assert type(hooks.make_value(23, taken(ValueError(1)).payload, allowed)) is Record
    with pytest.raises(Exception, match="code ran"):
        hooks.make_value(20, boom, trust_of(own=False, allow_classes=None, code=True))


def test_h21_trust_in_code_does_not_resolve_classes_of_others() -> None:
    assert (
        type(opened(taken(samples.Color.RED), trust_of(own=False, allow_classes=None, code=True)))
        is Record
    )


# --- records ---


def test_records() -> None:
    record = Record("shop.Item", ("name", "price"), ("pen", [1]))
    assert (record.name, record["price"], record.type_name) == ("pen", [1], "shop.Item")
    assert dict(record) == {"name": "pen", "price": [1]}
    assert (len(record), list(record), "name" in record, "x" in record) == (
        2,
        ["name", "price"],
        True,
        False,
    )
    assert repr(record) == "<Record of shop.Item: name='pen', price=[1]>"
    assert "price" in dir(record)
    assert pickle.loads(pickle.dumps(record)) == record
    assert icehouse.type_name(record) == "shop.Item"
    with pytest.raises(AttributeError, match=r"shop\.Item has no field 'x'"):
        _ = record.x
    with pytest.raises(KeyError):
        record["x"]
    with pytest.raises(TypeError):
        hash(record)


def test_records_compare_by_type_and_fields() -> None:
    make = Record
    assert make("a.B", ("x",), (1,)) == make("a.B", ("x",), (1.0,))
    assert hash(make("a.B", ("x",), (1,))) == hash(make("a.B", ("x",), (1.0,)))
    assert make("a.B", ("x",), (1,)) != make("a.C", ("x",), (1,))
    assert make("a.B", ("x",), (1,)) != make("a.B", ("y",), (1,))
    assert make("a.B", ("x",), (1,)) != 1


def test_records_refuse_writes() -> None:
    record = Record("a.B", ("x",), (1,))
    for write in (
        lambda: setattr(record, "x", 2),
        lambda: setattr(record, "new", 2),
        lambda: delattr(record, "x"),
    ):
        with pytest.raises(icehouse.FrozenError, match="Record"):
            write()


def test_records_match_patterns() -> None:
    match Record("a.Point", ("x", "y"), (1, 2)):
        case Record(type_name="a.Point", x=1, y=y):
            assert y == 2
        case _:
            raise AssertionError("no match")


def test_fields_with_the_names_of_records_own_are_read_as_items() -> None:
    record = Record("a.B", ("type_name", "keys"), (1, 2))
    assert (record["type_name"], record["keys"]) == (1, 2)
    assert record.type_name == "a.B"


def test_a_record_that_is_frozen_again_is_the_same() -> None:
    record = Record("a.B", ("x", ""), (1, (2,)))
    assert opened(taken(record), NONE) == record


@pytest.mark.parametrize(
    ("type_name", "names", "values"),
    [(1, (), ()), ("x", (1,), (1,)), ("x", ("a", "b"), (1,))],
)
def test_records_of_damage(type_name: Any, names: Any, values: Any) -> None:
    with pytest.raises((TypeError, ValueError)):
        Record(type_name, names, values)
