"""Classes that another process makes again: what it does first must not spoil them."""

import subprocess
import sys
from pathlib import Path

import pytest

FREEZES = """
import sys
import icehouse

@icehouse.frozen
class Point:
    __module__ = "nowhere"

    def __init__(self, x):
        self.x = x

    def next(self):
        return self.x + 1

icehouse.save(icehouse.freeze({"class": Point, "points": [Point(1)]}), sys.argv[1])
"""

SHOWN_FIRST = """
import sys
import icehouse

view = icehouse.open_image(sys.argv[1], trust=True)
assert "<nowhere.Point x=1>" in repr(view)
assert "nowhere" in repr(view["points"])
assert view["points"][0].next() == 2
assert view["class"](3).next() == 4
assert isinstance(view["points"][0], view["class"])
"""

OTHER_VERSION = """
import sys
import icehouse
from icehouse.store.declarations import rebuild

rebuild.MAGIC_NUMBER = b"else"
view = icehouse.open_image(sys.argv[1], trust=True)
assert view["points"][0].x == 1
try:
    view["class"]
except ImportError as error:
    assert "was frozen by Python" in str(error), error
else:
    raise AssertionError("it was made")
"""


def run(source: str, path: Path) -> None:
    subprocess.run([sys.executable, "-c", source, str(path)], check=True, timeout=60)


@pytest.mark.parametrize("reads", [SHOWN_FIRST, OTHER_VERSION], ids=["shown", "version"])
def test_h21_a_class_that_was_made_elsewhere(reads: str, tmp_path: Path) -> None:
    path = tmp_path / "class.ih"
    run(FREEZES, path)
    run(reads, path)
