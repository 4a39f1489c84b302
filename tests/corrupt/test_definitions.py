"""Forged definitions of classes: the third item of the payload of a CLASS."""

import random
from collections.abc import Callable
from typing import Any

import pytest
from forge import (
    CLASS,
    DICT_PAIRS,
    EMPTY_STR,
    EMPTY_TUPLE,
    LAYOUT,
    LIST,
    NONE,
    SHAPE,
    TRUE,
    TUPLE,
    TUPLE_STR,
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
from icehouse.store.freezing import hooks, registry
from icehouse.store.freezing.trust import OWN, Trust


class Made:
    """What the definitions here are of."""


def opened(data: bytes, trust: Trust = OWN) -> Any:
    return _image._open_buffer(data, False, trust)  # noqa: FBT003 - positional only


@pytest.fixture(autouse=True)
def rebuilt(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Definitions that were opened. One that has "fail" raises what that says."""
    seen: list[Any] = []

    def rebuild(module: str, qualname: str, definition: Any, trust: Trust) -> Any:
        assert trust.code
        assert type(definition) is icehouse.FrozenDict
        seen.append(definition)
        failure = definition.get("fail")
        if failure is not None:
            raise {1: ValueError, 2: LookupError, 3: RecursionError, 4: KeyboardInterrupt}[failure]
        return definition.get("class", Made)

    monkeypatch.setitem(registry._loaded, ("declarations.rebuild", "rebuild"), rebuild)
    return seen


def defined(forge: Forge, definition: int, **node: Any) -> int:
    text = forge.text("m")
    return forge.value(CLASS, forge.words(TUPLE, text, text, definition, **node))


def empty(forge: Forge) -> int:
    return forge.words(DICT_PAIRS, n=0)


def as_layout(forge: Forge, cls: int) -> bytes:
    return forge.image(forge.object(forge.layout(VIEW, cls)))


def as_value(forge: Forge, cls: int) -> bytes:
    return forge.image(forge.words(LIST, cls))


def look(data: bytes, trust: Trust = OWN) -> Any:
    """Opens it and what is in it."""
    root = opened(data, trust)
    return root[0] if type(root) is icehouse.FrozenList else root


WAYS = pytest.mark.parametrize("way", [as_layout, as_value])


@WAYS
def test_a_definition_is_opened(way: Callable[..., bytes], rebuilt: list[Any]) -> None:
    forge = Forge()
    data = way(forge, defined(forge, empty(forge)))
    _image._validate(data)
    look(data)
    assert rebuilt == [{}]
    assert look(data, Trust(own=True, classes=None, code=False)) is not None
    assert open_image(data) is not None
    assert rebuilt == [{}]
    assert exercise(data)


def bad_definitions(forge: Forge) -> list[int]:
    text = forge.text("x")
    ahead = forge.word(4 * 64)
    return [
        small_int(5),
        NONE,
        TRUE,
        EMPTY_STR,
        EMPTY_TUPLE,
        30,
        0xFFFFFFF0,
        ahead,
        text,
        forge.words(LIST, text),
        forge.words(TUPLE, text),
        forge.words(SHAPE, text),
        forge.class_("m", "C"),
        forge.object(forge.layout(VIEW, forge.class_("m", "C"))),
        forge.words(LAYOUT, forge.class_("m", "C"), 0, NONE, n=VIEW),
        forge.value(999, NONE),
        forge.link(0, text),
        forge.link(7, 32),
    ]


@WAYS
@pytest.mark.parametrize("number", range(18))
def test_h21_definitions_that_are_none(
    way: Callable[..., bytes], number: int, rebuilt: list[Any]
) -> None:
    forge = Forge()
    data = way(forge, defined(forge, bad_definitions(forge)[number]))
    with pytest.raises(icehouse.CorruptImage):
        _image._validate(data)
    with pytest.raises(icehouse.CorruptImage):
        look(data)
    if way is as_layout and number < 16:  # no reader takes it, whatever it is trusted with
        with pytest.raises(icehouse.CorruptImage):
            look(data, Trust(own=False, classes=None, code=False))
    exercise(data)
    assert rebuilt == []


@WAYS
@pytest.mark.parametrize(
    ("kind", "n"),
    [(TUPLE, 0), (TUPLE, 1), (TUPLE, 4), (TUPLE, 200), (LIST, 2), (LIST, 3), (TUPLE_STR, 3)],
)
def test_payloads_that_are_none(
    way: Callable[..., bytes], kind: int, n: int, rebuilt: list[Any]
) -> None:
    forge = Forge()
    text = forge.text("m")
    items = [text, text, empty(forge), *[NONE] * 197][:n]
    data = way(forge, forge.value(CLASS, forge.words(kind, *items)))
    with pytest.raises(icehouse.CorruptImage):
        _image._validate(data)
    with pytest.raises(icehouse.CorruptImage):
        look(data)
    exercise(data)
    assert rebuilt == []


@WAYS
def test_a_class_that_is_its_own_definition(way: Callable[..., bytes]) -> None:
    forge = Forge()
    text = forge.text("m")
    payload, cls = forge.word(), forge.word(16)
    forge.words(TUPLE, text, text, cls)
    forge.words(VALUE, payload, n=CLASS)
    data = way(forge, cls)
    with pytest.raises((icehouse.CorruptImage, RecursionError)):
        look(data)
    exercise(data)


@WAYS
def test_a_definition_that_holds_its_class(way: Callable[..., bytes], rebuilt: list[Any]) -> None:
    """Legal: nothing looks into the dict before somebody asks."""
    forge = Forge()
    text, name = forge.text("m"), forge.text("class")
    definition = forge.word()
    cls = forge.word(12 + 16)
    forge.words(DICT_PAIRS, name, cls, n=1)
    payload = forge.words(TUPLE, text, text, definition)
    assert forge.value(CLASS, payload) == cls
    data = way(forge, cls)
    _image._validate(data)
    # This definition's maker asks for the class at once, which never ends.
    with pytest.raises((RecursionError, icehouse.CorruptImage)):
        look(data)
    exercise(data)


@WAYS
def test_what_making_it_raises(way: Callable[..., bytes]) -> None:
    def failing(number: int) -> bytes:
        forge = Forge()
        pairs = forge.words(DICT_PAIRS, forge.text("fail"), small_int(number), n=1)
        return way(forge, defined(forge, pairs))

    for number, expected in ((1, icehouse.CorruptImage), (2, icehouse.CorruptImage)):
        with pytest.raises(expected, match="can't be made"):
            look(failing(number))
    with pytest.raises(RecursionError):
        look(failing(3))
    with pytest.raises(KeyboardInterrupt):
        look(failing(4))


@WAYS
@pytest.mark.parametrize("answer", ["number", "text"])
def test_what_is_made_must_be_a_class(way: Callable[..., bytes], answer: str) -> None:
    forge = Forge()
    found = small_int(3) if answer == "number" else forge.text("no")
    pairs = forge.words(DICT_PAIRS, forge.text("class"), found, n=1)
    data = way(forge, defined(forge, pairs))
    if way is as_layout:
        with pytest.raises((TypeError, icehouse.CorruptImage), match="not a class"):
            look(data)


def test_h04_a_definition_behind_a_link_is_trusted_as_its_image_is(rebuilt: list[Any]) -> None:
    forge = Forge()
    with icehouse.Store() as store:
        target = store.put({"number": 1, "more": list(range(2000))})
        word = (store.get(target), _image._locate(store.get(target)))[1][1]
        link = forge.link(0, word)
        text = forge.text("m")
        cls = forge.value(CLASS, forge.words(TUPLE, text, text, link))
        data = forge.image(forge.object(forge.layout(VIEW, cls)), links=[bytes(target)])
        look(data)
        assert rebuilt == [{"number": 1, "more": list(range(2000))}]
        del rebuilt[:]
        opened(data, Trust(own=True, classes=None, code=False))
        assert rebuilt == []


def test_mutations_of_images_with_definitions(
    monkeypatch: pytest.MonkeyPatch, soak_factor: int
) -> None:
    cls = type("Local", (), {"__module__": "m"})
    other = type("Other", (), {"__module__": "m"})
    _image._freeze_class(cls)
    _image._freeze_class(other)
    content = {"text": "x" * 50, "class": cls, "list": [1, 2.5, other], "it": cls()}
    monkeypatch.setattr(hooks, "class_payload", lambda c: ("m", c.__qualname__, content))
    data = _image._image_bytes([cls(), cls, other(), {"x": other}])
    _image._validate(data)
    rng = random.Random(20261127)
    for seed in range(1500 * soak_factor):
        damaged = bytes(mutate(data, rng))
        try:
            exercise(damaged, 20)
            look(damaged)
            icehouse.thaw(opened(damaged))
            repr(opened(damaged))
        except (
            *(icehouse.CorruptImage, RecursionError, MemoryError, ValueError),
            *(TypeError, LookupError, KeyboardInterrupt, OverflowError, AttributeError),
        ):
            continue
        except BaseException:
            print(f"seed {seed}")
            raise
