"""What deploy/prometheus and deploy/grafana ship: valid, and about metrics that there are.

The alerts fire in a real Prometheus that scrapes a real daemon, with their times shortened.
"""

import importlib.util
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from daemons import Daemon, wait_until
from prometheus import asked, running

import icehouse

for needed in ("fastapi", "uvicorn", "prometheus_client"):
    if importlib.util.find_spec(needed) is None:
        pytest.skip(f"{needed} is not installed: icehouse[service]", allow_module_level=True)

WORD = re.compile(r"\b(?:icehouse[:_][a-z0-9_:]+)\b")
SELECTOR = re.compile(r"\bicehouse[:_][a-z0-9_:]+(?:\{[^}]*\})?")
RECORDED = re.compile(r"- record: (\S+)")
needs_promtool = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="there is no promtool here"
)
configured = pytest.mark.daemon(http="127.0.0.1:0", capacity="8MiB")


@pytest.fixture
def folder(root: Path) -> Path:
    return root / "deploy" / "prometheus"


def panels(root: Path) -> list[dict[str, Any]]:
    board = json.loads((root / "deploy" / "grafana" / "icehouse.json").read_text())
    found = board["panels"]
    assert isinstance(found, list)
    return found


def port_of(daemon: Daemon) -> int:
    said = wait_until(
        lambda: re.findall(r'"event": "http_ready".*"port": (\d+)', daemon.log()),
        "the admin process to listen",
    )
    return int(said[-1])


@needs_promtool
def test_promtool_accepts_rules_and_configuration(folder: Path) -> None:
    for command in (
        ["check", "rules", "icehouse.rules.yml"],
        ["check", "config", "prometheus.yml"],
        ["test", "rules", "icehouse.rules.test.yml"],
    ):
        done = subprocess.run(
            ["promtool", *command], cwd=folder, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_is_tested_firing_and_quiet(folder: Path) -> None:
    yaml = pytest.importorskip("yaml", reason="no PyYAML: pip install PyYAML")
    groups = yaml.safe_load((folder / "icehouse.rules.yml").read_text())["groups"]
    alerts = {rule["alert"] for group in groups for rule in group["rules"] if "alert" in rule}
    tests = yaml.safe_load((folder / "icehouse.rules.test.yml").read_text())["tests"]
    looks = [look for test in tests for look in test.get("alert_rule_test", ())]
    assert alerts == {look["alertname"] for look in looks if look.get("exp_alerts")}
    assert alerts == {look["alertname"] for look in looks if not look.get("exp_alerts")}


@configured
def test_rules_and_panels_are_about_metrics_that_there_are(
    root: Path, folder: Path, daemon: Daemon
) -> None:
    url = f"http://127.0.0.1:{port_of(daemon)}/metrics"
    with icehouse.connect(daemon.socket) as store, urllib.request.urlopen(url) as response:
        store.put([1])
        text = response.read().decode()
    there = set(re.findall(r"^(icehouse_\w+?)(?:\{| )", text, re.MULTILINE))
    rules = (folder / "icehouse.rules.yml").read_text()
    expressions = re.findall(r"expr: (.+)", rules)
    there.update(RECORDED.findall(rules))
    shown = [target["expr"] for panel in panels(root) for target in panel["targets"]]
    assert len(expressions) >= 15
    assert len(shown) >= 15
    for expression in (*expressions, *shown):
        named = set(WORD.findall(expression))
        assert named, expression
        assert named <= there, f"{sorted(named - there)} of {expression}"


def test_panels_say_what_they_show(root: Path) -> None:
    places = set()
    for panel in panels(root):
        assert panel["title"]
        assert panel["type"] in ("stat", "timeseries")
        assert panel["fieldConfig"]["defaults"]["unit"]
        at = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(at["x"], at["x"] + at["w"])
            for y in range(at["y"], at["y"] + at["h"])
        }
        assert not cells & places, f"{panel['title']} lies over another panel"
        assert max(x for x, _ in cells) < 24
        places |= cells
    assert len({panel["id"] for panel in panels(root)}) == len(panels(root))


def hurried(folder: Path, daemon: Daemon, tmp_path: Path) -> str:
    """The shipped configuration for this daemon, its rules beside it, seconds for minutes."""
    rules = (folder / "icehouse.rules.yml").read_text()
    rules = re.sub(r"for: \d+[mh]", "for: 1s", rules)
    (tmp_path / "icehouse.rules.yml").write_text(rules)
    config = (folder / "prometheus.yml").read_text()
    config = config.replace("127.0.0.1:8420", f"127.0.0.1:{port_of(daemon)}")
    return re.sub(r"(scrape|evaluation)_interval: 15s", r"\1_interval: 1s", config)


def firing(url: str) -> set[str]:
    told = asked(f"{url}/alerts")
    alerts = told["alerts"] if told else []
    return {alert["labels"]["alertname"] for alert in alerts if alert["state"] == "firing"}


@pytest.mark.slow
@pytest.mark.watchdog(300)
@configured
def test_a_real_prometheus_answers_every_panel_and_rule(
    root: Path, folder: Path, daemon: Daemon, tmp_path: Path
) -> None:
    """Not the names alone: labels and their values, functions and what is recorded."""
    board = json.loads((root / "deploy" / "grafana" / "icehouse.json").read_text())
    rules = (folder / "icehouse.rules.yml").read_text()
    shown = [target["expr"] for panel in board["panels"] for target in panel["targets"]]
    shown += [note["expr"].removesuffix(" > 0") for note in board["annotations"]["list"]]
    shown = [expression.replace("$instance", ".+") for expression in shown]
    expressions = re.findall(r"expr: (.+)", rules)
    chosen = [match[0] for text in expressions for match in SELECTOR.finditer(text)]
    asked_for = dict.fromkeys([*shown, *chosen, *RECORDED.findall(rules)])
    assert len(asked_for) > 50
    # What is recorded is looked at by somebody.
    told_of = " ".join([*shown, *chosen])
    assert [name for name in RECORDED.findall(rules) if name not in told_of] == []
    with running(hurried(folder, daemon, tmp_path), tmp_path) as url:

        def silent() -> list[str]:
            return [
                expression
                for expression in asked_for
                if not (
                    (told := asked(f"{url}/query?query={urllib.parse.quote(expression)}"))
                    and told["result"]
                )
            ]

        with icehouse.connect(daemon.socket) as store:
            for i in range(5):
                store.put([i], name=f"space/{i}")
            wait_until(lambda: not silent(), "an answer to every query")


@pytest.mark.slow
@pytest.mark.watchdog(300)
@configured
def test_alerts_fire_when_they_are_true(folder: Path, daemon: Daemon, tmp_path: Path) -> None:
    config = hurried(folder, daemon, tmp_path)
    with running(config, tmp_path) as url, icehouse.connect(daemon.socket) as store:
        query = f"{url}/query?query=count_over_time(icehouse_up%5B1m%5D)%3E1"
        wait_until(lambda: (told := asked(query)) and told["result"], "two scrapes")
        assert firing(url) == set()
        # Each takes a segment of its own: 15 fit.
        for i in range(15):
            store.put(bytes([i]) * 2**19)
        with pytest.raises(icehouse.StoreFull):
            store.put(bytes(2**20))
        wait_until(lambda: "IcehouseArenaFull" in firing(url), "ArenaFull to fire")
        wait_until(lambda: "IcehouseAllocationFailures" in firing(url), "AllocationFailures")
        # A client connects, puts nothing and is killed; rates want a few scrapes in between.
        client = (
            f"import icehouse, os; icehouse.connect({daemon.socket!r}); os.kill(os.getpid(), 9)"
        )
        for _ in range(30):
            subprocess.run([sys.executable, "-c", client], check=False)
        wait_until(lambda: "IcehouseClientDeaths" in firing(url), "ClientDeaths to fire")
        # The admin process goes on, and says that the daemon does not answer.
        os.kill(daemon.keeper_pid, signal.SIGSTOP)
        try:
            daemon.kill()
            wait_until(lambda: "IcehouseDown" in firing(url), "Down to fire")
        finally:
            os.kill(daemon.keeper_pid, signal.SIGCONT)
        wait_until(lambda: "IcehouseDown" not in firing(url), "Down to end")
