"""The comparisons of the daemon's store run whole, on little data; what they measure is elsewhere.

Without LMDB, Redis and NumPy the other contestants still run, so their absence fails nothing.
"""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CASES = {"put", "get", "unmapped", "control", "scaling", "dict", "memory", "reclaim"}
LABELS = {
    "put",
    "get, two fields",
    "get, segment not mapped",
    "control round trip",
    "get, two fields, each of n readers",
    "lookup",
    "memory of a reader",
    "memory of the daemon",
    "list",
    "delete one by one",
    "delete and reclaim",
    "delete in one call",
    "delete in one call and reclaim",
    "reclaim",
}


@pytest.mark.slow
@pytest.mark.watchdog(180)
def test_every_case_runs_and_reads_what_it_put() -> None:
    wanted, labels = set(CASES), set(LABELS)
    if importlib.util.find_spec("numpy") is not None:
        wanted.add("array")
        labels |= {"array put, recycled", "array get and strided read", "array put, fresh"}
    command = [sys.executable, "-m", "benchmarks.service", "--quick", "--json", *sorted(wanted)]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    report = json.loads(ran.stdout)
    assert report["quick"] is True
    results = report["results"]
    assert labels <= {result["case"] for result in results}
    for result in results:
        # A reader may need no private page at all.
        least = 0 if result["case"].startswith("memory") else 1e-12
        assert result["sides"]["icehouse"]["median"] >= least, result


def test_an_unknown_case_is_refused_by_name() -> None:
    command = [sys.executable, "-m", "benchmarks.service", "nonsense"]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert ran.returncode == 2
    assert "no case 'nonsense'" in ran.stderr
