"""The metrics: promtool accepts them, a real Prometheus scrapes them, they tell what happened."""

import importlib.util
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from daemons import Daemon, wait_until
from prometheus import asked, running

import icehouse

for needed in ("fastapi", "uvicorn", "prometheus_client"):
    if importlib.util.find_spec(needed) is None:
        pytest.skip(f"{needed} is not installed: icehouse[service]", allow_module_level=True)

pytestmark = pytest.mark.daemon(http="127.0.0.1:0", capacity="8MiB")
SAMPLE = re.compile(r"(\w+)(?:\{(.*)\})? (\S+)")


def scraped(admin: Any) -> dict[str, float]:
    answer = admin("/metrics")
    assert answer.status == 200
    assert answer.headers["content-type"].startswith("text/plain")
    found: dict[str, float] = {}
    for line in answer.body.decode().splitlines():
        if not line.startswith("#"):
            match = SAMPLE.fullmatch(line)
            assert match, line
            found[f"{match[1]}{{{match[2]}}}" if match[2] else match[1]] = float(match[3])
    return found


def test_metrics_tell_what_happened(admin: Any, daemon: Daemon) -> None:
    with icehouse.connect(daemon.socket) as store:
        handles = [store.put([i] * 100) for i in range(100)]
        store.bind("name", handles[0])
        views = [store.get(handle) for handle in handles]
        for handle in handles[50:]:
            store.delete(handle)
        with pytest.raises(icehouse.StoreFull):
            store.put(bytes(16 * 2**20))
        large = [store.put(bytes(3 * 2**20)) for _ in range(2)]
        with pytest.raises(icehouse.StoreFull):
            store.put(bytes(3 * 2**20))
        for handle in large:
            store.delete(handle)
        store.trim()
        with pytest.raises(icehouse.HandleGone):
            store.get(handles[60])
        found = wait_until(
            lambda: (now := scraped(admin))['icehouse_objects{state="deleted"}'] == 50 and now,
            "50 deleted objects",
        )
        del views
    assert found["icehouse_up"] == 1
    assert found['icehouse_objects{state="live"}'] == 50
    assert found['icehouse_puts_total{result="ok"}'] == 102
    assert found['icehouse_puts_total{result="full"}'] == 2
    assert found['icehouse_gets_total{result="ok"}'] == 100
    assert found['icehouse_deletes_total{reason="deleted"}'] == 52
    assert found['icehouse_allocation_failures_total{reason="full"}'] >= 1
    assert found["icehouse_capacity_bytes"] == 8 * 2**20
    assert 0 < found["icehouse_used_bytes"] <= found["icehouse_committed_bytes"] <= 8 * 2**20
    assert found["icehouse_largest_free_bytes"] <= found["icehouse_free_bytes"]
    assert (found["icehouse_leases"], found["icehouse_names"]) == (100, 1)
    assert found["icehouse_clients"] == 1
    assert found["icehouse_open_descriptors"] < found["icehouse_max_descriptors"]
    assert found["icehouse_control_round_trip_seconds_count"] >= 1
    assert found["icehouse_put_size_bytes_count"] == 102
    assert found["icehouse_put_size_bytes_sum"] == found["icehouse_put_bytes_total"]
    assert found['icehouse_put_size_bytes_bucket{le="128.0"}'] == 0
    assert found['icehouse_put_size_bytes_bucket{le="512.0"}'] == 100


EXPECTED = {
    "gauge": """
        capacity_bytes used_bytes committed_bytes free_bytes largest_free_bytes fragmentation_ratio
        objects{state} object_bytes{state} segments{state} clients leases oldest_lease_seconds
        old_leases{older_than} names namespace_names{namespace} namespace_bytes{namespace}
        open_descriptors max_descriptors memory_limit_bytes up
    """,
    "counter": """
        puts{result} gets{result} evictions{reason} spills{reason} spill_failures{reason}
        allocation_failures{reason} deletes{reason} dead_clients dead_client_reclaimed_bytes
        reclaimed_objects corruptions daemon_errors
    """,
    "histogram": """
        put_size_bytes request_seconds control_round_trip_seconds loop_delay_seconds
        dead_client_reclaim_seconds
    """,
}
# Each has few values, whatever is stored and whoever uses it.
LABELS = {"state", "older_than", "namespace", "result", "reason", "operation", "version"}


def test_what_operators_expect_is_there(admin: Any, daemon: Daemon) -> None:
    with icehouse.connect(daemon.socket) as store:
        store.put([1], name="space/one")
        text = admin("/metrics").body.decode()
    kinds = dict(re.findall(r"^# TYPE icehouse_(\w+) (\w+)$", text, re.MULTILINE))
    labelled: dict[str, set[str]] = {}
    for name, labels in re.findall(r"^icehouse_(\w+?)(?:\{(.*)\})? \S+$", text, re.MULTILINE):
        labelled.setdefault(name, set()).update(re.findall(r"(\w+)=\"", labels))
    for kind, names in EXPECTED.items():
        for wanted in names.split():
            name, _, label = wanted.rstrip("}").partition("{")
            name += "_total" if kind == "counter" else ""
            assert kinds.get(name) == kind, name
            sample = f"{name}_bucket" if kind == "histogram" else name
            assert labelled[sample] == ({label} if label else set()) | (
                {"le"} if kind == "histogram" else set()
            ), name
    assert set().union(*labelled.values()) <= LABELS | {"le"}


def test_no_label_grows_with_what_is_stored(admin: Any, daemon: Daemon) -> None:
    """Never a label with a handle, a pid, a name or a path."""
    scraped(admin)
    before = set(scraped(admin))
    with icehouse.connect(daemon.socket) as store:
        for i in range(100):
            store.put([i], name=f"name-{i}")
        more = set(scraped(admin)) - before
    assert all(name.startswith("icehouse_requests_total{") for name in more), more
    assert len(more) < 5


def test_without_a_daemon_it_says_so(admin: Any, daemon: Daemon) -> None:
    assert scraped(admin)["icehouse_up"] == 1
    os.kill(daemon.keeper_pid, 19)
    try:
        daemon.kill()
        found = wait_until(lambda: (now := scraped(admin))["icehouse_up"] == 0 and now, "up 0")
        assert "icehouse_capacity_bytes" not in found
        assert "icehouse_control_round_trip_seconds_count" in found
    finally:
        os.kill(daemon.keeper_pid, 18)
    wait_until(lambda: scraped(admin)["icehouse_up"] == 1, "up 1")


@pytest.mark.skipif(shutil.which("promtool") is None, reason="there is no promtool here")
def test_promtool_accepts_every_metric(admin: Any) -> None:
    for accept in ("text/plain", "*/*", "application/xml"):
        body = admin("/metrics", Accept=accept).body
        checked = subprocess.run(
            ["promtool", "check", "metrics"], input=body, capture_output=True, check=False
        )
        assert (checked.returncode, checked.stdout, checked.stderr) == (0, b"", b"")


@pytest.fixture
def prometheus(admin: Any, tmp_path: Path) -> Iterator[str]:
    config = (
        "global: {scrape_interval: 200ms, scrape_timeout: 200ms}\n"
        "scrape_configs:\n"
        "  - job_name: icehouse\n"
        f"    static_configs: [{{targets: ['127.0.0.1:{admin.port}']}}]\n"
    )
    with running(config, tmp_path) as url:
        yield url


def test_a_real_prometheus_scrapes_it(prometheus: str, daemon: Daemon) -> None:
    def target() -> Any:
        found = asked(f"{prometheus}/targets")
        active = found["activeTargets"] if found else []
        return active and active[0]["health"] == "up" and active[0]

    told = wait_until(target, "prometheus to scrape")
    assert told["lastError"] == ""
    with icehouse.connect(daemon.socket) as store:
        for i in range(7):
            store.put([i])

        def value() -> Any:
            found = asked(f"{prometheus}/query?query=icehouse_objects%7Bstate%3D%22live%22%7D")
            return found and [item["value"][1] for item in found["result"]] == ["7"]

        wait_until(value, "prometheus to see seven objects")
    kinds = asked(f"{prometheus}/metadata")
    # It asks for OpenMetrics, where a counter's name is without its suffix.
    puts = kinds.get("icehouse_puts") or kinds["icehouse_puts_total"]
    assert puts[0]["type"] == "counter"
    assert kinds["icehouse_control_round_trip_seconds"][0]["type"] == "histogram"
    assert kinds["icehouse_used_bytes"][0]["type"] == "gauge"
