"""deploy/systemd/icehouse.service: systemd finds it hardened, and it says what the keeper needs."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

UNIT = Path("deploy", "systemd", "icehouse.service")
EXPOSURE_MAX = 2.0


def test_it_is_hardened(root: Path) -> None:
    program = shutil.which("systemd-analyze")
    if program is None:
        pytest.skip("no systemd-analyze (apt-get install systemd)")
    command = [program, "security", "--offline=true", "--no-pager", str(root / UNIT)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    found = re.search(r"Overall exposure level for icehouse.service: ([\d.]+)", done.stdout)
    if found is None:
        pytest.skip(f"systemd-analyze can't look at a file here: {done.stderr.strip()}")
    assert float(found[1]) < EXPOSURE_MAX, done.stdout


def test_it_says_what_the_keeper_needs(root: Path) -> None:
    lines = (root / UNIT).read_text().splitlines()
    settings = [line for line in lines if "=" in line and not line.startswith("#")]
    found = dict(line.split("=", 1) for line in settings)
    # READY=1, the store of descriptors, the watchdog; children are stopped by their parent.
    assert found["Type"] == "notify"
    assert int(found["FileDescriptorStoreMax"]) > 0
    assert int(found["WatchdogSec"]) > 0
    assert found["KillMode"] == "mixed"
    assert int(found["TimeoutStopSec"]) > 5
    # A mapped user can't be told by its uid.
    assert "PrivateUsers" not in found
