"""The examples run as they are, and say what they should."""

import subprocess
import sys
from pathlib import Path

import pytest

EXPECTED = {
    "config_store": ["jobs: 8", "refused: FrozenDict is immutable", "old view: 8", "new view: 16"],
    "fork_workers": ["city 0:", "city 1:", "city 2:"],
    "subinterpreters": ["red: 33334", "green: 33333", "blue: 33333"],
}


def test_every_example_is_run(root: Path) -> None:
    assert {path.stem for path in (root / "examples").glob("*.py")} == set(EXPECTED)


@pytest.mark.parametrize("name", EXPECTED)
def test_example(root: Path, name: str) -> None:
    command = [sys.executable, "-W", "error", str(root / "examples" / f"{name}.py")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    for line in EXPECTED[name]:
        assert line in done.stdout
