"""Forked children read what was there; whatever way they die, nothing is lost (H8, H9, H28)."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from icehouse import interpreters
from icehouse.store import runtime

pytestmark = pytest.mark.slow
needs_interpreters = pytest.mark.skipif(
    not interpreters.supported(), reason="this Python has no interpreters"
)


@pytest.mark.parametrize("ways", [1, 2], ids=["exit at once", "and as Python exits"])
def test_h09_children_of_children_read(child: Any, ways: int) -> None:
    child("forks.children_read", ways)


def test_h28_a_child_may_not_write_and_is_told_of_connect(child: Any) -> None:
    child("forks.children_may_not_write")


def test_h28_a_pool_of_forks(child: Any) -> None:
    child("forks.pool_of_forks")


@pytest.mark.parametrize("how", ["exit", "exception", "kill", "grandchild"])
def test_h09_leases_of_a_dead_child_go(child: Any, how: str) -> None:
    child("forks.leases_of_the_dead_go", how)


@pytest.mark.watchdog(400)
def test_h09_killed_at_any_moment(child: Any, soak_factor: int) -> None:
    child("forks.killed_at_any_moment", 60 * soak_factor)


def test_h09_the_owner_is_killed(child: Any) -> None:
    child("forks.owner_dies")


@pytest.mark.watchdog(400)
def test_h09_forks_beside_threads(child: Any, soak_factor: int) -> None:
    child("forks.storm_beside_threads", 120 * soak_factor)


@needs_interpreters
def test_h09_forks_after_interpreters(child: Any) -> None:
    child("forks.forks_after_interpreters")


# Without icehouse: does a child of a process that has two interpreters live?
PROBE = r'''
import importlib.util, os, sys, threading, time
spec = importlib.util.spec_from_file_location("runtime", sys.argv[1])
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
backend = module.runtime()
other = backend.create()
work = """import json, time
end = time.monotonic() + 1
while time.monotonic() < end:
    json.dumps([1])
"""
thread = threading.Thread(target=backend.execute, args=(other, work))
thread.start()
time.sleep(0.5)
failed = False
for _ in range(5):
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    failed |= os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) != 0
thread.join()
sys.exit(failed)
'''


@pytest.fixture(scope="module")
def forks_beside_interpreters() -> None:
    try:
        command = [sys.executable, "-W", "ignore", "-c", PROBE, str(runtime.__file__)]
        probe = subprocess.run(command, capture_output=True, timeout=10, check=False)
    except subprocess.TimeoutExpired:
        pytest.skip("os.fork() beside another interpreter hangs in this Python itself")
    if probe.returncode != 0:
        pytest.skip("os.fork() beside another interpreter crashes in this Python itself")


@pytest.mark.watchdog(400)
@needs_interpreters
@pytest.mark.usefixtures("forks_beside_interpreters")
def test_h09_forks_beside_interpreters(child: Any, soak_factor: int, tmp_path: Path) -> None:
    child("forks.storm_beside_interpreters", 60 * soak_factor, str(tmp_path / "stop"))
