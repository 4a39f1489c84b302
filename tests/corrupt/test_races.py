"""Images that another process writes while they are read (H4)."""

import gc
import mmap
import os
import subprocess
import sys
import time

from forge import exercise, open_image
from test_mutations import IMAGES

import icehouse
from icehouse.native import _image

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
