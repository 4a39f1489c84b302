"""What may freeze: statuses of objects, NotFreezable, disabled; and how long a status lives."""

import array
import collections
import copy
import dataclasses
import gc
import sys
import threading
import types
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any

import pytest

import icehouse
from icehouse import (
    FREEZABLE_EXPLICIT,
    FREEZABLE_NO,
    FREEZABLE_PROXY,
    FREEZABLE_YES,
    NotFreezable,
    NotFreezableError,
    disabled,
    set_freezable,
)
from icehouse.store.declarations import status
from icehouse.store.freezing import asked


class Plain:
    def __init__(self, value: object = 1) -> None:
        self.value = value


class Slotted:
    __slots__ = ("__weakref__", "value")

    def __init__(self) -> None:
        self.value = 1


class Marked:
    """Has a slot of the very name."""

    __slots__ = ("__freezable__", "value")

    def __init__(self) -> None:
        self.value = 1


@dataclasses.dataclass(frozen=True)
class Record:
    value: int = 1


class Named(dict[str, int]):
    pass


class Amount(Decimal):
    pass


class Word(str):
    __slots__ = ("__dict__",)


class Ordered(collections.OrderedDict[str, int]):
    pass


class Reduced:
    def __init__(self) -> None:
        self.value = 1

    def __reduce__(self) -> tuple[Any, ...]:
        return Reduced, ()


class Stated:
    def __getstate__(self) -> dict[str, int]:
        return {"value": 1}


MAKERS: list[Callable[[], Any]] = [
    Plain,
    Slotted,
    Marked,
    Record,
    Named,
    Amount,
    Word,
    Reduced,
    Stated,
    lambda: collections.OrderedDict(a=1),
    lambda: types.SimpleNamespace(value=1),
]
kinds = pytest.mark.parametrize("make", MAKERS, ids=lambda make: type(make()).__name__)


def freezes(*objects: Any) -> bool:
    """Whether it does, for the reason that tests here look at."""
    try:
        icehouse.freeze(*objects)
    except NotFreezableError as error:
        if any(why in str(error) for why in ("FREEZABLE_", "disabled", "opts out")):
            return False
        raise
    return True


# --- each status of each kind of object, as root, as child, as both ------------------------------


@kinds
def test_what_has_no_status_freezes(make: Callable[[], Any]) -> None:
    obj = make()
    assert status.status_of(obj) is None
    assert freezes(obj)
    assert freezes([obj])


@kinds
@pytest.mark.parametrize("given", [FREEZABLE_YES, FREEZABLE_PROXY, 0, 3])
def test_yes_and_proxy_freeze(make: Callable[[], Any], given: int) -> None:
    obj = make()
    assert set_freezable(obj, given) is obj
    assert status.status_of(obj) == given
    assert freezes(obj)
    assert freezes([obj])
    assert freezes([obj], obj)


@kinds
@pytest.mark.parametrize("given", [FREEZABLE_NO, 1])
def test_no_freezes_nowhere(make: Callable[[], Any], given: int) -> None:
    obj = make()
    assert freezes(obj)
    set_freezable(obj, given)
    assert not freezes(obj)
    assert not freezes([obj])
    assert not freezes({"a": (1, [obj])})
    assert not freezes(obj, [obj])
    assert freezes(make())
    set_freezable(obj, FREEZABLE_YES)
    assert freezes([obj])


@kinds
def test_explicit_freezes_as_an_argument(make: Callable[[], Any]) -> None:
    obj = make()
    set_freezable(obj, FREEZABLE_EXPLICIT)
    assert freezes(obj)
    assert not freezes([obj])
    assert freezes(obj, [obj])
    assert freezes([obj], obj)
    assert not freezes([obj], make())


def test_put_is_as_freeze() -> None:
    explicit = set_freezable(Plain(), FREEZABLE_EXPLICIT)
    with icehouse.Store(capacity=1 << 20) as store:
        assert store.get(store.put(explicit)).value == 1
        with pytest.raises(NotFreezableError, match="FREEZABLE_EXPLICIT"):
            store.put({"a": explicit})
        with pytest.raises(NotFreezableError, match="FREEZABLE_NO"):
            store.put([set_freezable(Plain(), FREEZABLE_NO)])


def test_the_error_names_the_path() -> None:
    obj = set_freezable(Plain(), FREEZABLE_NO)
    with pytest.raises(NotFreezableError, match=r"\['a'\]\[1\]") as caught:
        icehouse.freeze({"a": [1, obj]})
    assert "Plain" in str(caught.value)


def test_one_of_many_instances() -> None:
    for make in (Plain, Slotted):
        objects = [make() for _ in range(100)]
        assert freezes(objects)
        set_freezable(objects[50], FREEZABLE_NO)
        assert not freezes(objects)
        del objects[50]
        assert freezes(objects)


# --- where a status is kept ----------------------------------------------------------------------


def test_it_is_the_attribute_where_there_can_be_one() -> None:
    for obj in (Plain(), Marked(), Record(), Named(), types.SimpleNamespace()):
        set_freezable(obj, FREEZABLE_NO)
        assert obj.__freezable__ == FREEZABLE_NO
        assert type(obj.__freezable__) is int


def test_the_attribute_itself_counts() -> None:
    for make in (Plain, Marked, Named):
        obj: Any = make()
        obj.__freezable__ = FREEZABLE_NO
        assert not freezes([obj])
        obj.__freezable__ = FREEZABLE_EXPLICIT
        assert not freezes([obj])
        assert icehouse.freeze(obj).__freezable__ == FREEZABLE_EXPLICIT
        obj.__freezable__ = True
        assert freezes([obj])
        del obj.__freezable__
        assert freezes([obj])


@pytest.mark.parametrize("make", [Stated, Reduced, Ordered, ValueError])
def test_the_attribute_counts_where_other_fields_do_not(make: Callable[[], Any]) -> None:
    obj = make()
    obj.__freezable__ = FREEZABLE_NO
    assert not freezes([obj])
    assert freezes([make()])
    obj.__freezable__ = FREEZABLE_EXPLICIT
    assert freezes(obj)
    assert not freezes([obj])


def test_a_property_counts() -> None:
    class Busy:
        busy = True

        @property
        def __freezable__(self) -> int:
            return FREEZABLE_NO if self.busy else FREEZABLE_YES

    obj = Busy()
    assert not freezes([obj])
    obj.busy = False
    assert freezes([obj])


def test_models_have_theirs_aside() -> None:
    pytest.importorskip("pydantic")
    import user_models as um

    model = um.Address(street="s")
    set_freezable(model, FREEZABLE_EXPLICIT)
    assert not freezes([model])
    assert icehouse.freeze(model) == model == um.Address(street="s")
    assert freezes([um.Address(street="s")])


def test_nothing_else_of_the_object_runs() -> None:
    class Loud:
        def __getattribute__(self, name: str) -> Any:
            raise AssertionError(name)

        def __setattr__(self, name: str, value: object) -> None:
            raise AssertionError(name)

        def __eq__(self, other: object) -> bool:
            raise AssertionError

        __hash__ = None  # type: ignore[assignment]

    obj = set_freezable(Loud(), FREEZABLE_EXPLICIT)
    assert status.status_of(obj) is FREEZABLE_EXPLICIT
    assert not freezes([obj])


def test_it_survives_no_longer_than_its_object() -> None:
    gc.collect()
    before = len(status._statuses)
    for _ in range(1000):
        obj = set_freezable(Slotted(), FREEZABLE_NO)
        assert not freezes(obj)
        del obj
        # Likely at the same address.
        assert freezes(Slotted())
    assert len(status._statuses) == before


def test_it_is_by_identity() -> None:
    class Equal:
        __slots__ = ("__weakref__",)

        def __eq__(self, other: object) -> bool:
            return True

        def __hash__(self) -> int:
            return 1

    first, second = Equal(), Equal()
    set_freezable(first, FREEZABLE_NO)
    assert not freezes(first)
    assert freezes(second)
    assert status.status_of(copy.copy(first)) is None


def test_a_class_that_is_watched_can_go() -> None:
    def make() -> None:
        class Local:
            __slots__ = ("__weakref__",)

        set_freezable(Local(), FREEZABLE_NO)

    gc.collect()
    before = len(asked.watched)
    make()
    assert len(asked.watched) == before + 1
    gc.collect()
    assert len(asked.watched) == before


# --- classes -------------------------------------------------------------------------------------


@pytest.mark.parametrize("bare", [True, False])
def test_the_status_of_a_class_counts_for_instances_and_subclasses(bare: bool) -> None:
    class Base:
        if bare:
            __slots__ = ()

    class Derived(Base):
        pass

    assert freezes([Base(), Derived()])
    set_freezable(Base, FREEZABLE_NO)
    assert status.status_of(Derived) is FREEZABLE_NO
    assert not freezes([Base()])
    assert not freezes([Derived()])
    set_freezable(Derived, FREEZABLE_YES)
    assert freezes([Derived()])
    set_freezable(Base, FREEZABLE_EXPLICIT)
    assert freezes(Base())
    assert not freezes([Base()])
    set_freezable(Base, FREEZABLE_PROXY)
    assert freezes([Base()])


def test_an_instance_has_its_own() -> None:
    class Closed:
        __freezable__ = FREEZABLE_NO

    class Closing:
        __freezable__ = FREEZABLE_NO
        __slots__ = ("__weakref__",)

    for make in (Closed, Closing):
        obj = make()
        assert not freezes(obj)
        set_freezable(obj, FREEZABLE_YES)
        assert freezes([obj])
        assert not freezes(make())


def test_a_class_that_takes_a_status_away() -> None:
    class Closed:
        __freezable__: int | None = FREEZABLE_NO

    class Open(Closed):
        __freezable__ = None

    assert not freezes(Closed())
    assert freezes(Open())


def test_classes_inside_data_go_by_name_whatever_their_status() -> None:
    set_freezable(Closed, FREEZABLE_NO)
    assert icehouse.freeze([Closed])[0] is Closed


class Closed:
    pass


def test_not_freezable_opts_out() -> None:
    class Lock(NotFreezable):
        pass

    class Fine(Lock):
        __freezable__ = FREEZABLE_YES
        __slots__ = ("x",)

    class List(NotFreezable, list[int]):
        pass

    for cls in (NotFreezable, Lock, Fine, List):
        assert not freezes(cls())
        assert not freezes([cls()])
        with pytest.raises(NotFreezableError, match="opts out"):
            icehouse.freeze({"a": cls()})
    assert not freezes(set_freezable(Lock(), FREEZABLE_YES))


# --- modules, and functions, in themselves -------------------------------------------------------


def test_statuses_of_functions_and_modules_are_kept() -> None:
    module = types.ModuleType("some_module")
    for given in status.FreezableStatus:

        def function() -> None:
            return None

        set_freezable(function, given)
        assert status.status_of(function) is given
        assert function.__freezable__ == given  # type: ignore[attr-defined]
        set_freezable(module, given)
        assert status.status_of(module) is given


@pytest.fixture
def module() -> Iterator[types.ModuleType]:
    made = types.ModuleType("a_module_of_tests")
    exec(
        "def function(): return 1\n"
        "class Class: state = []\n"
        "def outer():\n def local(): return 1\n return local",
        vars(made),
    )
    sys.modules[made.__name__] = made
    yield made
    del sys.modules[made.__name__]


def test_that_of_a_module_is_that_of_its_members(module: types.ModuleType) -> None:
    assert not status.decorated(module.Class)
    for given in status.FreezableStatus:
        set_freezable(module, given)
        assert status.status_of(module.function) is given
        assert status.status_of(module.Class) is given
        assert status.status_of(module.outer()) is None
        assert status.decorated(module.Class) is (given in (FREEZABLE_YES, FREEZABLE_EXPLICIT))
    set_freezable(module.function, FREEZABLE_NO)
    vars(module)["__freezable__"] = True
    assert status.status_of(module.function) is FREEZABLE_NO
    assert status.status_of(module.Class) is FREEZABLE_YES
    # It is about declarations: an instance is data.
    set_freezable(module, FREEZABLE_NO)
    assert freezes(module.Class())


@pytest.mark.parametrize("value", [1, 0, 2, 7, False, "yes", 1.0])
def test_a_bare_number_in_a_module_is_refused(module: types.ModuleType, value: object) -> None:
    vars(module)["__freezable__"] = value
    with pytest.raises(ValueError, match=r"a_module_of_tests.*FREEZABLE_YES") as caught:
        status.status_of(module.function)
    if value in (0, 1) and type(value) is int:
        assert "PEP 795" in str(caught.value)
        assert "prototype" in str(caught.value)


# --- what is no status, and what can't have one --------------------------------------------------


@pytest.mark.parametrize("value", [4, -1, "YES", None, True, 1.0])
def test_an_invalid_status(value: Any) -> None:
    for obj in (Plain(), Slotted(), Plain, freezes, types, []):
        with pytest.raises(ValueError, match="FREEZABLE_YES"):
            set_freezable(obj, value)


@pytest.mark.parametrize("value", [4, "YES", False])
def test_an_invalid_attribute(value: object) -> None:
    obj = Plain()
    obj.__dict__["__freezable__"] = value
    with pytest.raises(ValueError, match="Plain has the status"):
        icehouse.freeze([obj])

    class Wrong:
        __freezable__ = value

    with pytest.raises(ValueError, match="Wrong has the status"):
        icehouse.freeze([Wrong()])


def test_what_allows_neither() -> None:
    class Bare:
        __slots__ = ("value",)

    for obj in (Bare(), [], {}, set(), bytearray(), ([],), array.array("b"), memoryview(b"")):
        with pytest.raises(TypeError, match="neither an attribute nor a weak reference"):
            set_freezable(obj, FREEZABLE_NO)


@pytest.mark.parametrize("obj", [None, 1, "a", (1, 2), int, len, icehouse.freeze([1])], ids=repr)
def test_what_is_frozen(obj: object) -> None:
    with pytest.raises(TypeError, match="frozen already"):
        set_freezable(obj, FREEZABLE_NO)
    with pytest.raises(TypeError, match="frozen already"):
        disabled(obj)


# --- disabled ------------------------------------------------------------------------------------


@kinds
def test_disabled(make: Callable[[], Any]) -> None:
    obj = make()
    if type(obj) is types.SimpleNamespace or isinstance(obj, collections.OrderedDict):
        assert freezes(obj)
    with disabled(obj) as entered:
        assert entered is obj
        assert not freezes(obj)
        assert not freezes([obj])
        assert freezes([make()])
    assert freezes([obj])


def test_disabled_nests_and_restores_after_an_error() -> None:
    obj = set_freezable(Plain(), FREEZABLE_EXPLICIT)
    with disabled(obj):
        with pytest.raises(ZeroDivisionError), disabled(obj):
            raise ZeroDivisionError
        assert not freezes(obj)
    assert freezes(obj)
    assert status.status_of(obj) is FREEZABLE_EXPLICIT
    assert not freezes([obj])
    assert status._disabled == {}


def test_one_context_may_be_entered_twice() -> None:
    obj = Plain()
    context = disabled(obj)
    with context:
        with context:
            assert not freezes(obj)
        assert not freezes(obj)
    assert freezes(obj)


def test_disabled_class() -> None:
    class Base:
        pass

    class Derived(Base):
        pass

    assert freezes(Derived())
    with disabled(Base):
        assert not freezes(Base())
        assert not freezes([Derived()])
    assert freezes([Derived(), Base()])


def test_disabled_of_a_builtin_container_is_refused() -> None:
    for obj in ([], {}, set(), bytearray(), array.array("b")):
        with pytest.raises(TypeError, match="builtin type"):
            disabled(obj)


def test_disabled_from_many_threads() -> None:
    obj = Slotted()
    failures: list[str] = []
    start = threading.Barrier(4)

    def work() -> None:
        start.wait()
        for _ in range(500):
            with disabled(obj):
                try:
                    icehouse.freeze(obj)
                    failures.append("it froze")
                except NotFreezableError:
                    pass

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert status._disabled == {}
    assert freezes(obj)
