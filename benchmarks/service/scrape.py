"""What a scrape of /metrics costs where much is stored: python -m benchmarks.service.scrape

By default a million small objects, put by 200 clients, which lease 2,000 of them each. Prints how
long scrapes took from outside; what each cost the daemon on the processor, which a busy machine
does not falsify; how long its loop was kept by a request meanwhile, and how late that came to its
ticks (both by its own histograms).
"""

import argparse
import json
import multiprocessing
import re
import statistics
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable
from multiprocessing.context import ForkContext
from pathlib import Path
from typing import Any

import icehouse

sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent / "tests"))
from daemons import Daemon, wait_until

SAMPLE = re.compile(r"^(icehouse_\S+) (\S+)$", re.MULTILINE)
# The daemon measures once a second at most.
REST = 1.05
PATIENCE = 600.0


def client(address: str, number: int, objects: int, leases: int, ready: Any, over: Any) -> None:
    """Put objects, lease some, name a few, and stay."""
    store = icehouse.connect(address)
    handles = [store.put([number, i]) for i in range(objects)]
    views = [store.get(handle) for handle in handles[:leases]]
    for i in range(min(20, objects)):
        store.bind(f"space-{number % 50}/{number}-{i}", handles[i])
    ready.release()
    over.wait()
    del views


def populated(
    context: ForkContext, daemon: Daemon, asked: argparse.Namespace
) -> Callable[[], None]:
    """Start the clients, and give what ends them."""
    ready, over = context.Semaphore(0), context.Event()
    each = asked.objects // asked.clients
    clients = [
        context.Process(
            target=client, args=(daemon.socket, number, each, asked.leases, ready, over)
        )
        for number in range(asked.clients)
    ]
    for process in clients:
        process.start()
    for _ in clients:
        if not ready.acquire(timeout=PATIENCE):
            raise TimeoutError("a client did not put its objects")

    def end() -> None:
        over.set()
        for process in clients:
            process.join()

    return end


def scraped(url: str) -> tuple[float, dict[str, float]]:
    """Scrape once: seconds, and every sample."""
    began = time.perf_counter()
    with urllib.request.urlopen(url, timeout=60) as response:
        text = response.read().decode()
    took = time.perf_counter() - began
    return took, {name: float(value) for name, value in SAMPLE.findall(text)}


def on_processor(pid: int) -> float:
    """Seconds that a process has had a processor, however busy the machine is."""
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1e9


def measured(url: str, pid: int, rounds: int) -> dict[str, Any]:
    """Scrape again and again."""
    before = on_processor(pid)
    time.sleep(rounds * REST)
    idle = on_processor(pid) - before
    _, first = scraped(url)
    before = on_processor(pid)
    times = []
    last = first
    for _ in range(rounds):
        time.sleep(REST)
        took, last = scraped(url)
        times.append(took)
    busy = on_processor(pid) - before

    def mean(name: str) -> float:
        count = last[f"{name}_count"] - first[f"{name}_count"]
        return (last[f"{name}_sum"] - first[f"{name}_sum"]) / count if count else 0.0

    return {
        "objects": last['icehouse_objects{state="live"}'],
        "leases": last["icehouse_leases"],
        "clients": last["icehouse_clients"],
        "scrapes": rounds,
        "scrape_seconds_median": statistics.median(times),
        "scrape_seconds_most": max(times),
        "daemon_processor_seconds_each": (busy - idle) / rounds,
        "daemon_processor_seconds_idle_second": idle / (rounds * REST),
        "loop_kept_seconds_mean": mean("icehouse_request_seconds"),
        "loop_delay_seconds_mean": mean("icehouse_loop_delay_seconds"),
        "daemon_private_bytes": last["icehouse_daemon_private_memory_bytes"],
    }


def main() -> None:
    """Do it, and print JSON."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--objects", type=int, default=1_000_000)
    parser.add_argument("--clients", type=int, default=200)
    parser.add_argument("--leases", type=int, default=2000, help="of each client")
    parser.add_argument("--rounds", type=int, default=20)
    asked = parser.parse_args()
    context = multiprocessing.get_context("fork")
    with (
        tempfile.TemporaryDirectory() as folder,
        Daemon(Path(folder), http="127.0.0.1:0", capacity="4GiB") as daemon,
    ):
        found = wait_until(
            lambda: re.findall(r'"event": "http_ready".*"port": (\d+)', daemon.log()), "http"
        )
        end = populated(context, daemon, asked)
        try:
            url = f"http://127.0.0.1:{found[-1]}/metrics"
            pid = wait_until(daemon.daemon_pid, "the daemon")
            print(json.dumps(measured(url, pid, asked.rounds)))
        finally:
            end()


if __name__ == "__main__":
    main()
