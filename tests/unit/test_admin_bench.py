"""The benchmark of the admin side runs whole, on little data; what it measures is elsewhere."""

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

for needed in ("fastapi", "jinja2", "uvicorn", "prometheus_client"):
    pytest.importorskip(needed)

ROOT = Path(__file__).resolve().parents[2]
CASES = {
    "scrape": {"scrape"},
    "page": {"page, served"},
    "list": {"list, 1,000 a page", "list, 100 a page"},
    "memory": {"memory of the admin process"},
    "rates": {
        "put beside visitors",
        "get beside visitors",
        "put after a nap beside visitors",
        "a second of processor beside visitors",
    },
}


def run(*cases: str) -> list[Any]:
    command = [sys.executable, "-m", "benchmarks.service.admin", "--quick", "--json", *cases]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    report = json.loads(ran.stdout)
    assert report["quick"] is True
    assert report["benchmark"] == "admin"
    return list(report["results"])


@pytest.mark.slow
@pytest.mark.watchdog(300)
def test_every_case_runs_and_is_answered() -> None:
    results = run(*CASES)
    assert {result["case"] for result in results} == set().union(*CASES.values())
    for result in results:
        assert result["sides"]["icehouse"]["median"] > 0, result
    beside = [result for result in results if "without visitors" in result["sides"]]
    for result in beside:
        assert result["ratios"]["without visitors"]["median"] > 0
        assert result["ratios"]["beside a busy program"]["median"] > 0
    assert {result["case"] for result in beside} == CASES["rates"]


@pytest.mark.slow
@pytest.mark.watchdog(300)
def test_pages_are_painted_in_a_browser() -> None:
    if importlib.util.find_spec("playwright") is None:
        pytest.skip("playwright is not installed: pip install 'icehouse[browser]'")
    if not (os.environ.get("ICEHOUSE_CHROMIUM") or shutil.which("chromium")):
        pytest.skip("chromium is not installed: apt-get install chromium")
    results = run("paint")
    assert {result["case"] for result in results} == {"page, painted"}
    assert {"overview", "objects", "one object", "memory", "events"} <= {
        result["corpus"] for result in results
    }


def test_an_unknown_case_is_refused_by_name() -> None:
    command = [sys.executable, "-m", "benchmarks.service.admin", "nonsense"]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert ran.returncode == 2
    assert "no case 'nonsense'" in ran.stderr
