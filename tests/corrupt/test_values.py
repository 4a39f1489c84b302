"""Forged values, and objects that are made whole: what is refused, and what may be made."""

import datetime
import enum
import sys
import tempfile
import threading
import types
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from forge import (
    AS_TUPLE,
    CONTAINER,
    DICT_PAIRS,
    LAYOUT,
    LIST,
    MADE,
    NONE,
    OBJECT,
    SET,
    SHARED,
    TRUE,
    TUPLE,
    TUPLE_VIEW,
    VALUE,
    VIEW,
    Forge,
    exercise,
    open_image,
    small_int,
)

import icehouse
from icehouse.native import _image
from icehouse.store.freezing import codes
from icehouse.store.freezing.trust import OWN, trust_of


class Point(NamedTuple):
    x: Any
    y: Any


class Colour(enum.Enum):
    RED = 1


class Loud(tuple[Any, ...]):
    """A subclass of tuple whose code must not run."""

    def __new__(cls, *_items: Any) -> "Loud":
        raise AssertionError("__new__ was called")

    def __init__(self, *_items: Any) -> None:
        raise AssertionError("__init__ was called")


MODULE = __name__


@pytest.fixture(autouse=True)
def importable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where --import-mode=importlib does not leave it."""
    monkeypatch.setitem(sys.modules, MODULE, sys.modules.get(MODULE) or _this_module())


def _this_module() -> types.ModuleType:
    module = types.ModuleType(MODULE)
    module.__dict__.update(Point=Point, Colour=Colour, Loud=Loud)
    return module


def trusted(data: bytes) -> Any:
    return _image._open_buffer(data, False, OWN)  # noqa: FBT003 - positional only


def allowing(data: bytes, *classes: type) -> Any:
    return _image._open_buffer(data, False, trust_of(False, classes, False))  # noqa: FBT003


def point(forge: Forge, *items: int, qualname: str = "Point", flags: int = 0) -> int:
    layout = forge.layout(AS_TUPLE, forge.class_(MODULE, qualname))
    return forge.object(layout, *items, flags=flags)


def slices(forge: Forge, depth: int, *, flags: int) -> int:
    """A slice of slices of slices: 3 ** depth parts in `depth` nodes."""
    word = forge.value(codes.SLICE, forge.words(TUPLE, NONE, NONE, NONE), flags=flags)
    for _ in range(depth):
        word = forge.value(codes.SLICE, forge.words(TUPLE, word, word, word), flags=flags)
    return word


# --- tuples ------------------------------------------------------------------------------------


def test_h22_a_named_tuple_is_a_real_instance() -> None:
    forge = Forge()
    word = point(forge, small_int(1), forge.words(LIST, NONE))
    data = forge.image(forge.words(LIST, word))
    _image._validate(data)
    made = trusted(data)[0]
    assert type(made) is Point
    assert made == (1, [None])
    assert made.y == [None]
    assert type(made.y) is icehouse.FrozenList
    assert hash(Point(1, 2)) == hash(trusted(forge.image(point(forge, small_int(1), small_int(2)))))
    assert icehouse.thaw(trusted(data)) == [Point(1, [None])]
    assert type(icehouse.thaw(trusted(data))[0].y) is list


def test_h20_no_code_of_a_tuples_class_runs() -> None:
    forge = Forge()
    data = forge.image(forge.words(LIST, point(forge, small_int(1), qualname="Loud")))
    made = trusted(data)[0]
    assert type(made) is Loud
    assert tuple(made) == (1,)
    assert type(icehouse.thaw(trusted(data))[0]) is Loud


@pytest.mark.parametrize(
    ("module", "qualname"),
    [
        ("time", "struct_time"),  # more in C than its items: reading them would be out of bounds
        ("os", "stat_result"),
        ("builtins", "int"),
        ("builtins", "str"),
        ("tempfile", "_TemporaryFileCloser"),
        ("threading", "Thread"),
        ("no_such_module", "C"),
        ("builtins", "print"),
        ("builtins", "__class__"),
        ("os", "__dict__"),
        ("", ""),
        ("sys", "modules"),
        ("builtins", "tuple.__new__"),
    ],
)
@pytest.mark.parametrize("form", [AS_TUPLE, MADE])
def test_h20_classes_that_are_none_or_unfit(module: str, qualname: str, form: int) -> None:
    """Even where the image is trusted: a record, or a refusal; nothing is called or crashes."""
    names = ["a", "b"] if form == MADE else None
    forge = Forge()
    pair = [forge.text(text) if text else 6 for text in (module, qualname)]
    cls = forge.value(codes.CLASS, forge.words(TUPLE, *pair))
    layout = forge.layout(form, cls, codes.SUBCLASS if form == MADE else 0, names)
    data = forge.image(forge.words(LIST, forge.object(layout, small_int(1), small_int(2))))
    exercise(data)
    for opened in (open_image(data), trusted(data)):
        try:
            made = opened[0]
        except icehouse.CorruptImage:
            continue
        repr(made)
        assert made == made


def test_h20_untrusted_images_give_records() -> None:
    forge = Forge()
    word = point(forge, small_int(1), small_int(2))
    data = forge.image(forge.words(LIST, word, word))
    record = open_image(data)[0]
    assert type(record) is icehouse.Record
    assert record.type_name == f"{MODULE}.Point"
    assert record == open_image(data)[1]
    assert list(dict(record).values()) == [1, 2]
    assert type(allowing(data, Point)[0]) is Point
    assert type(allowing(data, Colour)[0]) is icehouse.Record
    # What was resolved for one reader is not for another, whoever comes first.
    assert type(open_image(data)[0]) is icehouse.Record
    assert type(trusted(data)[0]) is Point
    assert type(open_image(data)[0]) is icehouse.Record


def test_h24_named_tuples_inside_themselves() -> None:
    for flags in (0, SHARED):
        forge = Forge()
        layout = forge.layout(AS_TUPLE, forge.class_(MODULE, "Point"))
        forge.object(layout, forge.word(), small_int(1), flags=flags)
        loop = forge.word(-16)
        data = forge.image(forge.words(LIST, loop))
        with pytest.raises((icehouse.CorruptImage, RecursionError)):
            trusted(data)[0]
        exercise(data)


def test_h24_named_tuples_that_double() -> None:
    for flags in (0, SHARED):
        forge = Forge()
        layout = forge.layout(AS_TUPLE, forge.class_(MODULE, "Point"))
        word = forge.object(layout, NONE, NONE, flags=flags)
        for _ in range(60):
            word = forge.object(layout, word, word, flags=flags)
        data = forge.image(forge.words(LIST, word))
        with pytest.raises(icehouse.CorruptImage):
            trusted(data)[0]
        exercise(data)


# --- values ------------------------------------------------------------------------------------


def test_unknown_codes_are_damage_that_names_its_place() -> None:
    forge = Forge()
    word = forge.value(999_999, NONE)
    with pytest.raises(icehouse.CorruptImage) as caught:
        open_image(forge.image(forge.words(LIST, word)))[0]
    assert caught.value.offset == (word >> 1) * 4
    assert "999999" in caught.value.reason
    assert isinstance(caught.value.__cause__, ValueError)


PAYLOADS = [NONE, TRUE, small_int(-1), 6, 8, 10, 12]


@pytest.mark.parametrize("code", [*range(40), 255, 0xFFFFFE, 2**40])
def test_h21_every_code_over_every_payload(code: int) -> None:
    """Whatever a payload is: CorruptImage, a record, or a value; never another exception."""
    forge = Forge()
    long = forge.text("a text")
    words = [
        *PAYLOADS,
        long,
        forge.words(LIST, NONE),
        forge.words(DICT_PAIRS, long, NONE, n=1),
        forge.words(TUPLE, long, long),
        forge.words(TUPLE, long, long, long, long),
        forge.words(TUPLE, small_int(5), NONE, NONE),
        forge.words(TUPLE, small_int(1), small_int(0)),
        forge.value(codes.CLASS, forge.words(TUPLE, long, long)),
    ]
    data = forge.image(forge.words(LIST, *(forge.value(code, word) for word in words)))
    view = open_image(data)
    for i in range(len(words)):
        try:
            made = view[i]
        except icehouse.CorruptImage as error:
            assert error.reason  # noqa: PT017
        else:
            repr(made)
    exercise(data)


def test_layouts_and_shapes_in_places_of_values() -> None:
    forge = Forge()
    layout = forge.layout(VIEW, forge.class_("m", "C"))
    for word in (
        forge.words(LIST, layout),
        forge.value(codes.DATE, layout),
        forge.words(DICT_PAIRS, layout, NONE, n=1),
        forge.words(SET, layout),
        forge.object(forge.layout(MADE, forge.class_("m", "C"), 1, ["a"]), layout),
        forge.object(forge.layout(CONTAINER, forge.class_("m", "C"), 0, []), layout),
    ):
        data = forge.image(forge.words(LIST, word))
        with pytest.raises(icehouse.CorruptImage, match=r"layout|container"):
            _image._validate(data)
        exercise(data)


@pytest.mark.parametrize("form", range(5))
@pytest.mark.parametrize("kind", [LIST, VALUE, LAYOUT, OBJECT])
def test_layouts_that_are_none(form: int, kind: int) -> None:
    """Classes, shapes and layouts replaced by nodes of other kinds, and by themselves."""
    for part in range(3):
        forge = Forge()
        other = forge.words(kind, NONE, NONE, NONE, n=1)
        cls = forge.class_(MODULE, "Point")
        parts = [cls, 0, NONE]
        parts[part] = other if part != 1 else 0xFFFFFFFF
        layout = forge.words(LAYOUT, *parts, n=form)
        exercise(forge.image(forge.words(LIST, forge.object(layout, NONE, NONE))))
        exercise(forge.image(forge.words(LIST, forge.object(other, NONE, NONE))))
        exercise(forge.image(forge.words(LIST, forge.object(forge.word(), NONE, NONE))))


@pytest.mark.parametrize("flags", [0, SHARED])
def test_h24_values_inside_themselves(flags: int) -> None:
    forge = Forge()
    forge.words(TUPLE, forge.word(16), NONE, NONE)
    loop = forge.value(codes.SLICE, forge.word(-16), flags=flags)
    data = forge.image(forge.words(LIST, loop))
    with pytest.raises(icehouse.CorruptImage, match="needed to make itself"):
        trusted(data)[0]
    with pytest.raises(icehouse.CorruptImage, match="needed to make itself"):
        repr(open_image(data))
    exercise(data)


@pytest.mark.parametrize("flags", [0, SHARED])
def test_h24_values_that_multiply(flags: int) -> None:
    """3 ** 60 parts: of others they are refused, of our own made once if they say so."""
    forge = Forge()
    data = forge.image(forge.words(LIST, slices(forge, 60, flags=flags)))
    with pytest.raises(icehouse.CorruptImage):
        open_image(data)[0]
    if flags:
        made = trusted(data)[0]
        assert made.start is made.stop
        assert icehouse.thaw(trusted(data))[0].start is not None
    else:
        with pytest.raises(icehouse.CorruptImage):
            trusted(data)[0]
    assert "too large" in repr(trusted(data))
    exercise(data)


def test_h24_values_nested_without_end() -> None:
    forge = Forge()
    word = forge.value(codes.SLICE, forge.words(TUPLE, NONE, NONE, NONE))
    for _ in range(100_000):
        word = forge.value(codes.SLICE, forge.words(TUPLE, word, NONE, NONE))
    data = forge.image(forge.words(LIST, word))
    with pytest.raises(RecursionError):
        trusted(data)[0]
    assert "too large" in repr(trusted(data))


def test_h24_payloads_that_lead_back_through_lists() -> None:
    """What makes a value reads its list, whose items are the value again."""
    forge = Forge()
    value = forge.word(8)
    forge.words(LIST, value)
    forge.value(codes.FROZENDICT, forge.word(-8))
    data = forge.image(forge.words(LIST, value))
    exercise(data)
    for flags in (0, SHARED):
        forge = Forge()
        word = forge.value(codes.REGISTERED, forge.words(TUPLE, NONE, NONE), flags=flags)
        for _ in range(60):
            word = forge.value(codes.REDUCE, forge.words(LIST, word, word), flags=flags)
        exercise(forge.image(forge.words(LIST, word)), 5)


def test_h24_views_inside_values_inside_views() -> None:
    """Each level of such a cycle takes C's stack: it must end before that does."""
    forge = Forge()
    payload = forge.words(TUPLE, forge.word(16 + 8), NONE, NONE)
    value = forge.value(codes.SLICE, payload)
    loop = forge.words(LIST, value)
    data = forge.image(loop)
    # Two buffers: one and the same would be the same node.
    left, right = trusted(data), trusted(bytes(bytearray(data)))
    assert "..." in repr(left)
    assert left == left
    with pytest.raises(RecursionError):
        assert left == right
    with pytest.raises(RecursionError):
        assert left < right
    with pytest.raises((RecursionError, ValueError)):
        icehouse.thaw(left)
    exercise(data)
    hashed = Forge()
    payload = hashed.words(TUPLE, hashed.word(16 + 8), NONE, NONE)
    value = hashed.value(codes.SLICE, payload)
    data = hashed.image(hashed.words(TUPLE_VIEW, value))
    with pytest.raises((RecursionError, TypeError)):
        hash(trusted(data))
    exercise(data)


def test_h21_repr_makes_no_code() -> None:
    forge = Forge()
    callable_ = forge.value(
        codes.GLOBAL, forge.words(TUPLE, forge.text("os"), forge.text("getpid"))
    )
    data = forge.image(forge.words(LIST, callable_))
    assert "built-in function" not in repr(trusted(data))
    assert "getpid" in repr(trusted(data))


def test_shared_values_are_one_object_within_one_access() -> None:
    forge = Forge()
    date = forge.value(codes.DATE, small_int(738_000), flags=SHARED)
    made = trusted(forge.image(forge.value(codes.SLICE, forge.words(TUPLE, date, date, NONE))))
    assert made.start is made.stop
    assert made.start == datetime.date.fromordinal(738_000)


def test_h23_tables_of_values_find_what_python_finds() -> None:
    forge = Forge()
    keys = [forge.value(codes.DATE, small_int(738_000 + i)) for i in range(3)]
    pairs = [word for i, key in enumerate(keys) for word in (key, small_int(i))]
    view = trusted(forge.image(forge.words(DICT_PAIRS, *pairs, n=3)))
    original = {datetime.date.fromordinal(738_000 + i): i for i in range(3)}
    assert view == original
    assert original == dict(view)
    for day, i in original.items():
        assert view[day] == i
    assert datetime.date(1, 1, 1) not in view
    assert "text" not in view
    assert 3 not in view
    with pytest.raises(TypeError):
        view[[]]


def test_long_tuples_are_real_with_native() -> None:
    store = icehouse.Store()
    inner = tuple(range(5000))
    deep = [(inner, inner, b"x" * 100_000), tuple(str(i) for i in range(5000))]
    handle = store.put(deep)
    view = store.get(handle, native=True)
    item = view[0]
    assert type(item) is tuple
    assert type(item[0]) is tuple
    assert item[0] is item[1]
    assert type(item[2]) is bytes
    assert type(view[1]) is tuple
    assert view == deep
    plain = store.get(handle)
    assert type(plain[0]) is icehouse.FrozenTuple
    assert plain == view


def test_h24_long_tuples_that_double_with_native() -> None:
    forge = Forge()
    word = forge.words(TUPLE_VIEW, NONE, NONE)
    for _ in range(60):
        word = forge.words(TUPLE_VIEW, word, word)
    data = forge.image(forge.words(LIST, word))
    exercise(data, 2)


def test_threads_make_values_apart() -> None:
    """Each has a budget and a memo of its own."""
    forge = Forge()
    view = trusted(forge.image(forge.words(LIST, slices(forge, 8, flags=SHARED))))
    failures: list[BaseException] = []

    def work() -> None:
        try:
            for _ in range(300):
                assert view[0].start.stop.step is not None
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


def test_h20_temporary_files_survive_hostile_layouts() -> None:
    with tempfile.NamedTemporaryFile() as file:
        forge = Forge()
        name = forge.text(file.name)
        for form in (VIEW, MADE):
            layout = forge.layout(
                form,
                forge.class_("tempfile", "_TemporaryFileCloser"),
                codes.SUBCLASS if form == MADE else 0,
                ["name", "delete", "close_called"],
            )
            data = forge.image(forge.words(LIST, forge.object(layout, name, TRUE, 2)))
            exercise(data)
            view = open_image(data)
            for _ in range(3):
                _ = repr(view), view == view
            del view
        assert Path(file.name).read_bytes() == b""
