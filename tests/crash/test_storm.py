"""Nothing that dies takes data with it, leaks or breaks a reader: see storm.py."""

import importlib
import os
import sys
from pathlib import Path
from typing import Any

import pytest

# The server that clients are forked from imports its module too.
sys.path.append(str(Path(__file__).parent))
storm = importlib.import_module("storm")

# An hour's storm by hand: ICEHOUSE_STORM_SECONDS=3600.
SECONDS = float(os.environ.get("ICEHOUSE_STORM_SECONDS", "60"))


@pytest.mark.slow
@pytest.mark.daemon(capacity="2GiB", restart_delay_max="20ms")
@pytest.mark.watchdog(int(SECONDS) + 300)
def test_kill_storm(
    daemon: Any, tmp_path: Path, soak_factor: int, capsys: pytest.CaptureFixture[str]
) -> None:
    seconds = SECONDS * (10 if soak_factor > 1 else 1)
    seed = int(os.environ.get("ICEHOUSE_STORM_SEED", "0")) or int.from_bytes(os.urandom(4), "big")
    with capsys.disabled():
        print(f"\nkill storm, ICEHOUSE_STORM_SEED={seed}", flush=True)
    told = storm.run(daemon, tmp_path / "ledgers", seconds, seed)
    with capsys.disabled():
        print(told, flush=True)
