"""Images that another process writes while they are read (H4)."""

import enum
import gc
import mmap
import os
import struct
import subprocess
import sys
import time
from typing import Any

import pytest
from forge import (
    DICT_PAIRS,
    DICT_SHAPED,
    LIST,
    NODE,
    SET,
    SHAPE,
    SHARED,
    STR_ASCII,
    TUPLE,
    Forge,
    exercise,
    open_image,
    small_int,
)
from test_mutations import IMAGES

import icehouse
from icehouse.native import _image
from icehouse.store.freezing import codes
from icehouse.store.freezing.trust import OWN, trust_of

WRITER = """
import mmap, os, random, sys
fd, seed = int(sys.argv[1]), int(sys.argv[2])
memory = mmap.mmap(fd, 0)
good = bytes(memory)
rng = random.Random(seed)
parent = os.getppid()
print("ready", flush=True)
while os.getppid() == parent:
    for _ in range(200):
        at = rng.randrange(48, len(good))
        memory[at] = rng.randrange(256)
        at = rng.randrange(48, len(good) - 8)
        memory[at:at + 8] = good[at:at + 8]
    memory[:] = good
"""


def race(data: bytes, seconds: float, seed: int) -> int:
    """Exercises `data` for a while as another process damages and mends it; returns how often."""
    fd = os.memfd_create("race")
    os.pwrite(fd, data, 0)
    command = [sys.executable, "-S", "-c", WRITER, str(fd), str(seed)]
    rounds = 0
    with (
        mmap.mmap(fd, 0) as memory,
        subprocess.Popen(command, pass_fds=[fd], stdout=subprocess.PIPE, text=True) as writer,
    ):
        assert writer.stdout is not None
        assert writer.stdout.readline() == "ready\n"
        end = time.monotonic() + seconds
        view = memoryview(memory)
        while time.monotonic() < end:
            exercise(view, 20)
            rounds += 1
        writer.kill()
        view.release()
        gc.collect()  # what an exception kept alive in a cycle would keep the memory exported
    os.close(fd)
    return rounds


def test_h04_a_writer_beside_the_reader(soak_factor: int) -> None:
    for seed, name in enumerate(["words", "text", "records", "hashed", "sets", "tuples", "cyclic"]):
        assert race(IMAGES[name], 0.5 * soak_factor, seed) > 0


def test_h04_strings_are_well_formed_while_text_changes() -> None:
    """The same view is thawed and written as JSON again and again over changing text."""
    data = _image._image_bytes(["abc" * 30, ["x" * 20, "y" * 30] * 20, "ü" * 50])
    fd = os.memfd_create("race")
    os.pwrite(fd, data, 0)
    command = [sys.executable, "-S", "-c", WRITER, str(fd), "1"]
    with (
        mmap.mmap(fd, 0) as memory,
        subprocess.Popen(command, pass_fds=[fd], stdout=subprocess.PIPE, text=True) as writer,
    ):
        assert writer.stdout is not None
        writer.stdout.readline()
        view = None
        end = time.monotonic() + 1.0
        while time.monotonic() < end:
            try:
                view = open_image(memory)
                for value in icehouse.thaw(view):
                    for text in value if isinstance(value, list) else [value]:
                        wide = isinstance(text, str) and max(text, default="a") >= "\x80"
                        assert not isinstance(text, str) or text.isascii() is not wide
                assert icehouse.dumps(view).isascii()
            except (icehouse.CorruptImage, TypeError, ValueError, KeyError):
                continue
        writer.kill()
        del view
        gc.collect()
    os.close(fd)


class Colour(enum.Enum):
    RED = 1


def test_h20_names_are_those_that_were_vouched_for() -> None:
    """A member of an allowed enumeration whose class gets another name while it is copied."""
    data = bytearray(_image._image_bytes([Colour.RED]))
    view = _image._open_buffer(data, False, trust_of(False, [Colour], False))  # noqa: FBT003
    assert view[0] is Colour.RED
    seen: list[str] = []

    def rename(frame: Any, event: str, _arg: Any) -> None:
        if event == "return" and frame.f_code.co_name == "resolve_class" and not seen:
            at = data.find(b"Colour")
            data[at : at + 6] = b"Secret"
            seen.append(event)

    with icehouse.Store() as store:
        sys.setprofile(rename)
        try:
            handle = store.put(view)
        finally:
            sys.setprofile(None)
        assert seen
        assert b"Secret" not in bytes(_image._image_of(handle))
        assert store.get(handle)[0] is Colour.RED


class Turning:
    """Its thaw= turns a node of the image that it comes from into a text."""

    data: bytearray
    at: int


def test_h04_a_value_that_becomes_the_key_of_what_it_holds() -> None:
    def turn(_state: Any) -> Turning:
        Turning.data[Turning.at : Turning.at + 4] = struct.pack("<I", 4 << 8 | NODE | STR_ASCII)
        return Turning()

    icehouse.register_freezable(Turning, freeze=lambda _obj: 1, thaw=turn)
    forge = Forge()
    module, name = forge.text(__name__), forge.text("Turning")
    first = forge.value(codes.REGISTERED, forge.words(TUPLE, module, name, small_int(1)))
    outer = forge.value(codes.REGISTERED, 0, flags=SHARED)
    shape = forge.words(SHAPE, outer)
    inner = forge.node(DICT_SHAPED, 1, struct.pack("<II", shape, small_int(7)))
    payload = forge.words(TUPLE, module, name, forge.words(LIST, first, inner))
    Turning.at = (outer >> 1) * 4
    Turning.data = bytearray(forge.image(forge.words(LIST, outer)))
    struct.pack_into("<I", Turning.data, Turning.at + 4, payload)
    view = _image._open_buffer(Turning.data, False, OWN)  # noqa: FBT003
    with pytest.raises(icehouse.CorruptImage):
        icehouse.thaw(view)


KINDS_WRITER = """
import mmap, os, sys
memory = mmap.mmap(int(sys.argv[1]), 0)
at, other = int(sys.argv[2]), int(sys.argv[3])
parent, good = os.getppid(), memory[at]
print("ready", flush=True)
while os.getppid() == parent:
    for _ in range(1000):
        memory[at] = other
        memory[at] = good
"""


@pytest.mark.parametrize("kind", [DICT_PAIRS, SET])
def test_h04_what_is_compared_changes_its_kind(kind: int, soak_factor: int) -> None:
    """A dict is told from a list once: a second look at the node may find the other."""
    forge = Forge()
    words = [small_int(1), small_int(2)] if kind == DICT_PAIRS else [small_int(1)]
    inner = forge.words(kind, *words, n=1)
    data = forge.image(forge.words(LIST, *[inner] * 50))
    same: Any = [{1: 2}] * 50 if kind == DICT_PAIRS else [{1}] * 50
    fd = os.memfd_create("race")
    os.pwrite(fd, data, 0)
    at = str((inner >> 1) * 4)
    command = [sys.executable, "-S", "-c", KINDS_WRITER, str(fd), at, str(NODE | LIST)]
    results: set[bool] = set()
    with (
        mmap.mmap(fd, 0) as memory,
        subprocess.Popen(command, pass_fds=[fd], stdout=subprocess.PIPE, text=True) as writer,
    ):
        assert writer.stdout is not None
        writer.stdout.readline()
        view = open_image(memory)
        end = time.monotonic() + 1.0 * soak_factor
        while time.monotonic() < end:
            results.add(view == same)
        writer.kill()
        del view
        gc.collect()
    os.close(fd)
    assert results <= {True, False}
