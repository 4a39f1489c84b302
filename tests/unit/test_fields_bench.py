"""The comparison of shared fields runs whole, on little data; what it measures is elsewhere."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.slow
def test_every_contestant_counts_right() -> None:
    command = [sys.executable, "-m", "benchmarks.fields", "--quick", "--markdown"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for case in ("field, get", "field, set", "field, count up", "field, two processes count up"):
        assert f"| {case} |" in done.stdout
    for side in ("multiprocessing.Value", "Manager", "embedded", "never put", "the daemon's store"):
        assert side in done.stdout
