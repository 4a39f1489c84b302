"""CPython's own tests, run against our views: see suites.py, exclusions.py for what is left out."""

import importlib.util
import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from exclusions import excluded

HERE = Path(__file__).parent

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("test.list_tests") is None,
    reason="this Python was installed without its `test` package",
)

# The cases that pass with a view in them, at least: an adapter that adapts nothing any more would
# show here.
PASSING = {
    "lists": 12,
    "tuples": 13,
    "dicts": 25,
    "sets": 45,
    "bytes": 85,
    "memoryviews": 50,
    "list displays": 10,
    "dict displays": 30,
    "dict views": 12,
    "set displays": 330,
    "patterns": 90,
    "iterators": 24,
    "unpacking": 0,
    "containment": 2,
    "comparing": 2,
    "bisecting": 16,
    "indices": 3,
    "enumerate and reversed": 50,
    "length hints": 1,
    "copying": 5,
}


@pytest.mark.parametrize("suite", PASSING)
def test_suite(suite: str) -> None:
    done = subprocess.run(
        [sys.executable, "-X", "faulthandler", str(HERE / "suites.py"), suite],
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )
    assert done.returncode == 0, f"{done.stderr[-3000:]}\n{done.stdout[-1000:]}"
    cases: dict[str, tuple[str, str]] = json.loads(done.stdout)
    known = excluded(suite)
    failed = {name: why for name, (how, why) in cases.items() if how == "failed"}
    assert {name: why for name, why in failed.items() if name not in known} == {}
    passing = [name for name in known if cases.get(name, ("failed",))[0] == "ok"]
    assert passing == [], "take these off exclusions.py: they pass"
    counts = Counter(how for how, _ in cases.values())
    assert counts["ok"] >= PASSING[suite], counts
