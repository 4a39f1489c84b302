"""Damaged and hostile images shown: told as damage, never a crash, never without end."""

import os
import random
import struct
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from showing_samples import GOLDEN, is_bounded, level, preview

import icehouse
from icehouse.native import _image
from icehouse.store.showing import raw, tree

sys.path.append(str(Path(__file__).parents[2] / "corrupt"))

from forge import Forge, mutate, small_int


@pytest.fixture
def store() -> Iterator[icehouse.Store]:
    with icehouse.Store(capacity="1GiB") as opened:
        yield opened


def forged(store: icehouse.Store, forge: Any, word: int) -> Any:
    return _image._put_image(store, forge.image(word))


def test_one_damaged_child_does_not_hide_the_others(store: icehouse.Store) -> None:
    forge = Forge()
    wild = forge.words(raw.Kind.LIST, small_int(1), 0x7FFFFFFE, 16, forge.text("fine"))
    handle = forged(store, forge, wild)
    found = level(store, handle)
    assert [item.kind for item in found.items] == ["int", "damaged", "damaged", "str"]
    with pytest.raises(icehouse.CorruptImage):
        level(store, handle, "/1")
    assert "$damaged" in preview(store, handle)[1]


def test_h24_chains_of_values_and_circles(store: icehouse.Store) -> None:
    for code in (*range(64),):
        forge = Forge()
        own = forge.word()
        # A value whose payload it is itself, as such and as the second of a pair.
        circle = forge.value(code, own)
        assert circle == own
        pair = forge.words(raw.Kind.TUPLE, forge.text("ab"), forge.word(12))
        twisted = forge.value(code, pair)
        for word in (circle, pair, twisted, forge.words(raw.Kind.LIST, circle, twisted)):
            handle = forged(store, forge, word)
            for act in (level, preview):
                try:
                    act(store, handle)
                except icehouse.CorruptImage:
                    continue


def test_h04_damaged_images_never_raise_anything_else(
    store: icehouse.Store, soak_factor: int
) -> None:
    rng = random.Random(os.environ.get("ICEHOUSE_SEED", "showing"))
    for path in GOLDEN:
        data = path.read_bytes()
        if len(data) > 20_000:
            continue
        for _ in range(8 * soak_factor):
            changed = mutate(data, rng)
            try:
                handle = _image._put_image(store, changed)
            except (ValueError, icehouse.IcehouseError):
                continue
            exercise(store, handle)
            store.delete(handle)


def exercise(store: icehouse.Store, handle: Any) -> None:
    """Click about in an image; damage is told as such."""
    ways = [""]
    for _ in range(12):
        if not ways:
            break
        way = ways.pop(0)
        for act in (level, preview):
            try:
                found = act(store, handle, way)
            except (icehouse.CorruptImage, icehouse.HandleGone):
                continue
            if isinstance(found, tree.Level):
                assert all(is_bounded(item) for item in found.items)
                ways += [item.path for item in found.items if item.has_children and item.path]
            else:
                found[1].encode()
                assert len(found[1]) < 400_000


def test_a_header_that_is_no_image(store: icehouse.Store) -> None:
    memory = _image._image_of(store.put({"a": [1]}))
    assert memory is not None
    image = bytearray(memoryview(memory))
    struct.pack_into("<I", image, 52, 0x7FFFFFFE)
    handle = _image._put_image(store, image)
    with pytest.raises(icehouse.CorruptImage) as error:
        level(store, handle)
    assert error.value.offset is not None
    assert error.value.reason
