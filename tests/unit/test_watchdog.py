"""The watchdog of tests/conftest.py stops what hangs."""

import subprocess
import sys
from pathlib import Path

import pytest

HANGS = """
import time, pytest

@pytest.mark.watchdog(1)
def test_hangs():
    time.sleep(60)

def test_after():
    pass
"""


@pytest.mark.slow
def test_a_hanging_test_fails_and_the_run_goes_on(tmp_path: Path, root: Path) -> None:
    (tmp_path / "conftest.py").write_text((root / "tests" / "conftest.py").read_text())
    (tmp_path / "test_hangs.py").write_text(HANGS)
    config = ["-c", str(root / "pyproject.toml"), "--rootdir", str(tmp_path)]
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *config, str(tmp_path)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert "1 failed, 1 passed" in done.stdout, done.stdout + done.stderr
    assert "took more than 1 s" in done.stdout
