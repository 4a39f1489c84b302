"""Whoever looks through gc.get_objects() while a copy is made finds whole objects."""

import subprocess
import sys

LOOK = """
import gc, signal, sys, time
import icehouse

LENGTH = 4321
make = {"list": list, "tuple": tuple}[sys.argv[1]]
seen = 0

def look(*_):
    global seen
    for found in gc.get_objects():
        if type(found) is make and len(found) == LENGTH:
            seen += found[-1] is None

# thaw() lets signals in while it fills a large dict; then the rest of what holds it is empty yet.
keys = {f"key {i}": i for i in range(30_000)}
view = icehouse.freeze([make([keys, *range(LENGTH - 1)])])
signal.signal(signal.SIGALRM, look)
until = time.monotonic() + 60
while seen < 3 and time.monotonic() < until:
    signal.setitimer(signal.ITIMER_REAL, 0.001)
    copy = icehouse.thaw(view)
    signal.setitimer(signal.ITIMER_REAL, 0)
    assert copy[0][1:] == make(range(LENGTH - 1))
    assert len(copy[0][0]) == len(keys)
    del copy
print("seen" if seen else "never seen")
"""


def look(kind: str) -> None:
    # Where there is nothing yet, CPython itself would crash.
    done = subprocess.run(
        [sys.executable, "-c", LOOK, kind], capture_output=True, text=True, timeout=120, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "seen\n", "")


def test_h24_a_list_that_is_being_filled_has_no_empty_places() -> None:
    look("list")


def test_h24_a_tuple_that_is_being_filled_has_no_empty_places() -> None:
    look("tuple")
