"""Forged objects: layouts that lie, classes that must not be had, names that mean something."""

import gc
import mmap
import random
import struct
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from forge import (
    BYTES,
    CLASS,
    CONTAINER,
    DICT_PAIRS,
    EMPTY_BYTES,
    EMPTY_STR,
    EMPTY_TUPLE,
    LAYOUT,
    LIST,
    MADE,
    NONE,
    OBJECT,
    REFUSALS,
    SHAPE,
    SHARED,
    TUPLE,
    VALUE,
    VIEW,
    Forge,
    exercise,
    mutate,
    open_image,
    small_int,
)

import icehouse
from icehouse.native import _image

sys.path.append(str(Path(__file__).parents[1]))

from forged import Writer, image_of

ONE = small_int(1)


class Target:
    """What forged images name; each way of running it is seen."""

    events: list[str] = []  # noqa: RUF012 - of the class, on purpose

    def __new__(cls) -> "Target":
        cls.events.append("new")
        return object.__new__(cls)

    def __del__(self) -> None:
        self.events.append("del")

    def __init_subclass__(cls) -> None:
        cls.events.append("subclass")


class Pair:
    def __init__(self, a: Any, b: Any) -> None:
        self.a = a
        self.b = b


class Items(list[Any]):
    pass


class Slotted:
    __slots__ = ("a", "b")

    def __init__(self) -> None:
        self.a = self.b = self


def refused(data: bytes, *, trusted: bool = True) -> str:
    """Everything of it is refused; the reason."""
    for opening in (open_image, _image._load_image) if trusted else (open_image,):
        with pytest.raises(icehouse.CorruptImage) as caught:
            opening(data)
        reason = str(caught.value.reason)
    return reason


def one_object(build: Callable[[Forge], tuple[int, list[int]]]) -> bytes:
    forge = Forge()
    layout, values = build(forge)
    return forge.image(forge.object(layout, *values))


def a_class(forge: Forge) -> int:
    return forge.class_(__name__, "Pair")


def test_layouts_that_are_none() -> None:
    for word in (ONE, NONE, EMPTY_STR, 30, 0xFFFFFFF0):
        reason = refused(one_object(lambda _, word=word: (word, [])))
        assert "layout" in reason or "reference" in reason
    assert "layout" in refused(one_object(lambda forge: (forge.words(LIST, ONE), [])))
    forge = Forge()
    itself = forge.word()
    assert "layout" in refused(forge.image(forge.object(itself)))


def test_classes_that_are_none() -> None:
    def classes(forge: Forge) -> list[int]:
        text = forge.text("x")
        pair = forge.words(TUPLE, text, text)
        ahead = forge.word(4 * 4)
        return [
            ONE,
            NONE,
            text,
            pair,
            forge.value(CLASS + 1, pair),
            forge.value(CLASS, ONE),
            forge.value(CLASS, EMPTY_TUPLE),
            forge.value(CLASS, forge.words(TUPLE, text)),
            forge.value(CLASS, forge.words(TUPLE, text, text, text)),
            forge.value(CLASS, forge.words(TUPLE, text, ONE)),
            forge.value(CLASS, forge.words(LIST, text, text)),
            forge.value(CLASS, ahead),
        ]

    for i in range(12):
        reason = refused(one_object(lambda forge, i=i: (forge.layout(VIEW, classes(forge)[i]), [])))
        assert "class" in reason or "name" in reason or "reference" in reason, (i, reason)


def test_h24_a_class_that_needs_the_object_itself() -> None:
    forge = Forge()
    # OBJECT -> LAYOUT -> VALUE -> TUPLE -> OBJECT
    start = forge.word()
    layout, value, pair = forge.word(8), forge.word(24), forge.word(32)
    forge.words(OBJECT, layout, n=0)
    forge.words(LAYOUT, value, 0, NONE, n=VIEW)
    forge.words(VALUE, pair, n=CLASS)
    forge.words(TUPLE, start, start)
    assert "name" in refused(forge.image(start))


def test_names_that_are_none() -> None:
    def shaped(forge: Forge, i: int) -> tuple[int, list[int]]:
        text = forge.text("a")
        shape = [
            ONE,
            EMPTY_STR,
            forge.words(LIST, text),
            forge.words(SHAPE, text, text),
            forge.words(SHAPE, ONE),
            forge.words(SHAPE, forge.words(LIST, text)),
            forge.words(SHAPE, forge.node(BYTES, 1, b"a")),
            forge.words(SHAPE, forge.raw(b"\x02a\xff")),
        ][i]
        values = [ONE] * (2 if i == 3 else 1)
        return forge.words(LAYOUT, a_class(forge), 0, shape, n=VIEW), values

    for i in range(8):
        refused(one_object(lambda forge, i=i: shaped(forge, i)))


def test_counts_that_do_not_fit() -> None:
    def lay(forge: Forge, number: int, form: int = VIEW) -> int:
        return forge.layout(form, a_class(forge), number, ["a", "b"])

    assert "slots" in refused(one_object(lambda forge: (lay(forge, 3), [ONE, ONE])))
    for values in ([], [ONE], [ONE] * 3):
        refused(one_object(lambda forge, values=values: (lay(forge, 0), values)))
    for values in ([], [ONE, ONE], [ONE] * 4):
        refused(one_object(lambda forge, values=values: (lay(forge, 0, CONTAINER), values)))
    for form in (4, 77, 0xFFFFFE):
        assert "form" in refused(one_object(lambda forge, form=form: (lay(forge, 0, form), [])))
    forge = Forge()
    layout = lay(forge, 0)
    refused(forge.image(forge.words(OBJECT, layout, ONE, ONE, n=1 << 22)))


def test_contents_that_are_none() -> None:
    for i in range(8):
        forge = Forge()
        layout = forge.layout(CONTAINER, forge.class_(__name__, "Items"))
        itself = forge.word()
        word = [
            ONE,
            NONE,
            EMPTY_STR,
            itself,
            forge.word() if i == 4 else ONE,
            0xFFFFFF0,
            layout,
            forge.text("text") if i == 7 else ONE,
        ][i]
        refused(forge.image(forge.object(layout, word)))


@pytest.mark.parametrize("form", [VIEW, CONTAINER])
@pytest.mark.parametrize("name", ["str", "int", "bool", "type"])
def test_h22_no_view_is_a_str_or_an_int(name: str, form: int) -> None:
    forge = Forge()
    layout = forge.layout(form, forge.class_("builtins", name))
    data = forge.image(forge.object(layout, *([EMPTY_BYTES] if form == CONTAINER else [])))
    for opening in (open_image, _image._load_image):
        view = opening(data)
        assert isinstance(view, icehouse.FrozenObject)
        assert not isinstance(view, (str, int, type))
        assert icehouse.type_name(view) == f"builtins.{name}"


@pytest.mark.parametrize("name", ["bytes", "tuple", "list", "dict"])
def test_h22_a_view_without_content_is_no_container(name: str) -> None:
    forge = Forge()
    data = forge.image(forge.object(forge.layout(VIEW, forge.class_("builtins", name))))
    view = _image._load_image(data)
    assert not isinstance(view, (bytes, tuple, list, dict))


def test_contents_of_another_kind_than_the_class() -> None:
    forge = Forge()
    layout = forge.layout(CONTAINER, forge.class_(__name__, "Items"))
    content = forge.words(DICT_PAIRS, forge.text("a"), ONE, n=1)
    data = forge.image(forge.object(layout, content))
    view = _image._load_image(data)
    assert len(view) == 1
    with pytest.raises((*REFUSALS, AttributeError)):
        view.index(1)
    with pytest.raises(icehouse.CorruptImage, match="another kind"):
        icehouse.thaw(view)
    assert exercise(data) in (True, False)


NAMES = """__class__ __dict__ __del__ __len__ __eq__ __hash__ __repr__ __getattr__ __init_subclass__
__getattribute__ __setattr__ __reduce_ex__ __copy__ __wrapped__ __icehouse_methods__ __slots__
__mro__ __iter__ __call__ __enter__ __weakref__ __module__ __doc__ __dataclass_fields__ handle
""".split()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("qualname", ["Pair", "Absent"])
def test_h20_names_that_mean_something(name: str, qualname: str) -> None:
    forge = Forge()
    value = forge.text("pwned")
    cls = forge.class_(__name__, qualname)
    layout = forge.layout(VIEW, cls, 0, [name, "other"])
    data = forge.image(forge.object(layout, value, ONE))
    for opening in (open_image, _image._load_image):
        view = opening(data)
        assert view.other == 1
        assert view == view
        assert hash(view) == hash(view)
        assert "other" in repr(view)
        assert isinstance(view, icehouse.FrozenObject)
        assert isinstance(view, Pair) == (opening is _image._load_image and qualname == "Pair")
        with pytest.raises(TypeError):
            len(view)
        with pytest.raises(TypeError):
            view()
        with pytest.raises(icehouse.FrozenError):
            view.other = 2
        thawed = icehouse.thaw(view)
        assert thawed.other == 1
        assert exercise(data) in (True, False)


def test_h20_strangers_get_no_class_and_nothing_runs() -> None:
    forge = Forge()
    layout = forge.layout(VIEW, forge.class_(__name__, "Target"), 0, ["path"])
    data = forge.image(forge.object(layout, forge.text("/etc/passwd")))
    Target.events.clear()
    view = open_image(data)
    assert type(view) is icehouse.FrozenObject
    assert view.path == "/etc/passwd"
    assert exercise(data)
    assert type(icehouse.thaw(view)) is icehouse.Record
    mine = _image._load_image(data)
    assert isinstance(mine, Target)
    assert not hasattr(mine, "nothing")
    del mine, view
    gc.collect()
    assert Target.events == []
    assert type.__subclasses__(Target) == []


def test_h20_a_name_leads_to_classes_only() -> None:
    for module, qualname in [
        ("os", "system"),
        ("os", "path"),
        ("os", "path.join"),
        (__name__, "Pair.__init__"),
        (__name__, "refused.<locals>.X"),
        ("absent_module_of_icehouse", "X"),
        ("", ""),
        ("a\0b", "x"),
        (".", "."),
    ]:
        forge = Forge()
        names = forge.text(module) if module else EMPTY_STR, forge.text(qualname or "x")
        cls = forge.value(CLASS, forge.words(TUPLE, *names))
        data = forge.image(forge.object(forge.layout(VIEW, cls, 0, ["a"]), ONE))
        view = _image._load_image(data)
        assert type(view) is icehouse.FrozenObject
        assert view.a == 1


def test_a_factory_of_a_stranger_is_not_called() -> None:
    forge = Forge()
    cls = forge.class_("collections", "defaultdict")
    layout = forge.layout(CONTAINER, cls, 0, ["default_factory"])
    content = forge.words(DICT_PAIRS, forge.text("a"), ONE, n=1)
    data = forge.image(forge.object(layout, content, forge.class_(__name__, "Target")))
    Target.events.clear()
    for opening in (open_image, _image._load_image):
        view = opening(data)
        with pytest.raises(KeyError):
            view["absent"]
    assert Target.events == []


@pytest.mark.parametrize("limit", [small_int(-1), small_int(-(1 << 29)), EMPTY_STR])
def test_a_deque_without_a_length(limit: int) -> None:
    forge = Forge()
    layout = forge.layout(CONTAINER, forge.class_("collections", "deque"), 0, ["maxlen"])
    data = forge.image(forge.object(layout, forge.words(LIST, ONE), limit))
    with pytest.raises(icehouse.CorruptImage, match="length of a deque"):
        icehouse.thaw(_image._load_image(data))


def test_h24_objects_without_end() -> None:
    forge = Forge()
    layout = forge.layout(VIEW, a_class(forge), 0, ["a", "b"])
    word = forge.object(layout, ONE, ONE)
    for _ in range(60):  # 2**60 paths
        word = forge.object(layout, word, word)
    data = forge.image(word)
    with pytest.raises(icehouse.CorruptImage, match="shared without saying so"):
        icehouse.thaw(_image._load_image(data))
    assert len(repr(_image._load_image(data))) < 1 << 24
    forge = Forge()
    layout = forge.layout(VIEW, a_class(forge), 0, ["a", "b"])
    itself = forge.word()
    view = _image._load_image(forge.image(forge.object(layout, itself, itself, flags=SHARED)))
    assert icehouse.same(view, view.a.b.a)
    assert "..." in repr(view)
    thawed = icehouse.thaw(view)
    assert thawed.a is thawed.b is thawed


def test_h24_one_name_of_great_length_many_times() -> None:
    forge = Forge()
    long = forge.node(0, 100_000, b"x" * 100_000)
    shape = forge.words(SHAPE, *[long] * 8)
    layout = forge.words(LAYOUT, a_class(forge), 0, shape, n=VIEW)
    refused(forge.image(forge.object(layout, *[ONE] * 8)))


def test_a_layout_that_changes_after_it_was_read() -> None:
    forge = Forge()
    layout = forge.layout(VIEW, a_class(forge), 0, ["a", "b"])
    word = forge.object(layout, ONE, small_int(2))
    image = forge.image(forge.words(LIST, *[word] * 4))
    data = mmap.mmap(-1, len(image))  # aligned, so read in place
    data[:] = image
    view = open_image(data)
    first = view[0]
    at = (layout >> 1) * 4
    for damage in (b"\xff" * 16, bytes(16), struct.pack("<4I", 7 << 8 | 0x80 | LAYOUT, 1, 2, 3)):
        data[at : at + 16] = damage
        for each in (first, *(view[i] for i in range(4))):
            assert (each.a, each.b) in ((1, 2),)
            repr(each)
    at = (word >> 1) * 4
    data[at + 4 : at + 16] = b"\xfe\xff\xff\xff" * 3
    with pytest.raises(icehouse.CorruptImage):
        _ = first.a


def graphs() -> dict[str, Any]:
    slotted = Slotted()
    items = Items([1, Pair("a", [2])])
    items.extra = Pair(items, {"k": slotted})  # type: ignore[attr-defined]
    return {
        "pairs": [Pair(i, [Pair(None, "x" * i)]) for i in range(12)],
        "containers": items,
        "slots": [slotted, slotted],
    }


@pytest.mark.parametrize("name", list(graphs()))
def test_h04_random_damage_of_objects(name: str, soak_factor: int) -> None:
    rng = random.Random(name)
    data = image_of(graphs()[name])
    assert exercise(data)
    for _ in range(120 * soak_factor):
        damaged = bytes(mutate(data, rng))
        exercise(damaged, 25)
        try:
            todo = [_image._load_image(damaged)]
        except REFUSALS:
            continue
        for _ in range(20):
            if todo:
                todo += ask_all(todo.pop())


def ask_all(value: Any) -> list[Any]:
    """Asks what only views of objects with a class can be asked; what is inside."""
    inside: list[Any] = []
    for ask in (
        lambda: inside.extend(vars(value).values()),
        lambda: inside.extend(list(value)[:50]),
        lambda: (value.a, value.b),
        lambda: value.extra,
        lambda: repr(value),
        lambda: icehouse.thaw(value),
        lambda: hash(value),
        lambda: value == icehouse.thaw(value),
        lambda: dir(value),
        lambda: len(value),
        lambda: value + value,
    ):
        try:
            ask()
        except (*REFUSALS, AttributeError):
            continue
    return inside


def test_made_objects_and_views_share_a_reader() -> None:
    writer = Writer()
    layout = writer.layout_of(__name__, "Pair", ["a"], MADE, 77)
    data = writer.image(writer.object(layout, ONE))
    with pytest.raises(REFUSALS):
        _image._load_image(data)
