"""What people and programs wait for where much is stored: pages, lists, scrapes; and its memory."""

import functools
import http.client
import importlib.util
import json
import os
import shutil
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from typing import Any
from urllib.parse import urlencode

from benchmarks.service.crowd import RARE, Site, on_processor, resident
from icehouse.client.bench import targets
from icehouse.client.bench.harness import Spread
from icehouse.client.bench.result import OURS, Result

# What was found may be told again for a second.
REST_SECONDS = 1.05
PAGE_MUST, PAGE_AIM = 1.0, 0.2
SCRAPE_MUST, SCRAPE_AIM = 0.1, 0.03
MEMORY = targets.memory(256e6, 128e6)
CHROMIUM = os.environ.get("ICEHOUSE_CHROMIUM") or shutil.which("chromium")
PAINTS = """async () => {
  const until = performance.now() + 20000;
  for (;;) {
    const found = performance.getEntriesByType("paint");
    const times = Object.fromEntries(found.map((entry) => [entry.name, entry.startTime]));
    if ("first-contentful-paint" in times || performance.now() > until) return times;
    await new Promise((done) => setTimeout(done, 20));
  }
}"""


class Asker:
    """One client of the admin side, on one connection."""

    def __init__(self, site: Site) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", site.port, timeout=120)

    def timed(self, path: str) -> tuple[float, bytes]:
        """Ask, and give seconds and the body; RuntimeError if it is not there."""
        began = time.perf_counter()
        self._connection.request("GET", path)
        response = self._connection.getresponse()
        body = response.read()
        took = time.perf_counter() - began
        if response.status != 200:
            raise RuntimeError(f"{path}: {response.status} {body[:300]!r}")
        return took, body

    def told(self, path: str, **query: Any) -> Any:
        """Ask the API."""
        return json.loads(self.timed(f"{path}?{urlencode(query)}" if query else path)[1])


def walk(asker: Asker, path: str, **query: Any) -> Iterator[tuple[float, dict[str, Any]]]:
    """Go through a list page by page: seconds and what it had."""
    cursor = ""
    while cursor is not None:
        took, body = asker.timed(f"{path}?{urlencode({**query, 'cursor': cursor})}")
        page = json.loads(body)
        yield took, page
        cursor = page["next"]


@functools.cache
def places(site: Site) -> dict[str, str]:
    """Give the address of every page of the dashboard, by what it is."""
    asker = Asker(site)
    image = asker.told("/api/v1/objects", sort="-size", limit=1)["items"][0]["handle"]
    session = asker.told("/api/v1/clients", limit=1)["items"][0]["session"]
    known = asker.told("/api/v1/segments", limit=250)["items"]
    segment = max(known, key=lambda item: item["image_bytes"])
    far = far_on(asker, site.objects)
    return {
        "overview": "/",
        "objects": "/objects",
        "objects, far on": f"/objects?{urlencode({'cursor': far})}",
        "objects, the largest": "/objects?sort=-size",
        "objects, the newest": "/objects?sort=-created",
        "objects of a type": "/objects?type=bytes",
        "objects of a state that none has": "/objects?state=deleted",
        "objects by size": "/objects?min_size=200000",
        "objects by name": f"/objects?name={RARE}",
        "one object": f"/objects/{image}",
        "a level of its tree": f"/objects/{image}/tree",
        "memory": "/memory",
        "one segment": f"/memory/{segment['id']}",
        "clients": "/clients",
        "one client": f"/clients/{session}",
        "names": "/names",
        "history of a name": f"/names/history?name={RARE}/one",
        "events": "/events",
    }


def far_on(asker: Asker, objects: int) -> str:
    """Give a cursor some way into all objects; how far makes no difference to the daemon."""
    seen = 0
    for _, page in walk(asker, "/api/v1/objects", limit=max(1, min(1000, objects // 4))):
        seen += len(page["items"])
        if seen >= min(objects // 2, 10_000):
            break
    return str(page["next"])


def repeated(rounds: int, ask: Callable[[], float], rest: float = REST_SECONDS) -> list[float]:
    """Ask several times, so long after each other that nothing that was kept is told again."""
    times = []
    for _ in range(rounds):
        time.sleep(rest)
        times.append(ask())
    return times


def told(case: str, corpus: str, times: list[float], must: float, aim: float, note: str) -> Result:
    """Make a result whose every round must be within the bound, the first one included."""
    spread = Spread.of(times)
    target = targets.seconds(must, aim)
    note = f"{note}the longest {targets.seconds_text(max(times))}"
    return Result(case, corpus, "seconds", {OURS: spread}, {}, target, note)


def served(site: Site, rounds: int, rest: float) -> Iterator[Result]:
    """Give how long every page takes as HTML, from the request to its last byte."""
    asker = Asker(site)
    for label, path in places(site).items():
        before = on_processor(site.daemon_pid)
        times = repeated(rounds, lambda path=path: asker.timed(path)[0], rest)
        daemon = (on_processor(site.daemon_pid) - before) / rounds
        note = f"{targets.seconds_text(daemon)} of the daemon's processor in that second, "
        yield told("page, served", label, times, PAGE_MUST, PAGE_AIM, note)


def painted(site: Site, rounds: int, rest: float) -> Iterator[Result]:
    """Give the first contentful paint of every page in a real browser; nothing if there is none."""
    if CHROMIUM is None or importlib.util.find_spec("playwright") is None:
        print(
            "page, painted: left out, it needs chromium and pip install 'icehouse[browser]'",
            file=sys.stderr,
        )
        return
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM,
            args=["--no-sandbox", "--disable-background-networking", "--disable-component-update"],
        )
        for label, path in places(site).items():
            if "tree" in path:
                # Not a page of its own.
                continue
            firsts, contents = [], []
            for _ in range(rounds):
                # A new visitor each time, with nothing in a cache.
                context = browser.new_context(viewport={"width": 1280, "height": 800})
                page = context.new_page()
                page.goto(site.address + path, wait_until="commit")
                times = page.evaluate(PAINTS)
                context.close()
                firsts.append(times["first-paint"] / 1e3)
                contents.append(times["first-contentful-paint"] / 1e3)
                time.sleep(rest)
            first = targets.seconds_text(statistics.median(firsts))
            note = f"first paint {first}, without a cache; "
            yield told("page, painted", label, contents, PAGE_MUST, PAGE_AIM, note)
        browser.close()


def listed(site: Site, rounds: int, rest: float) -> Iterator[Result]:
    """Give how long pages of the API's lists take, the first ones and those far on."""
    asker = Asker(site)
    times, seen = [], 0
    for took, page in walk(asker, "/api/v1/objects", limit=1000):
        times.append(took)
        seen += len(page["items"])
    if seen < site.objects:
        raise AssertionError(f"{seen} of {site.objects} objects were listed")
    note = f"{len(times)} pages to the end in {targets.seconds_text(sum(times))}; "
    yield told("list, 1,000 a page", f"{seen:,} objects", times, PAGE_MUST, PAGE_AIM, note)
    asked: dict[str, dict[str, Any]] = {
        "objects, the largest": {"sort": "-size"},
        "objects, the oldest": {"sort": "created"},
        "objects of a type, the newest": {"type": "dict", "sort": "-created"},
        "objects by size": {"min_size": 200_000},
        "objects of a state that none has": {"state": "deleted"},
    }
    for label, query in asked.items():
        times = []
        for at, (took, _) in enumerate(walk(asker, "/api/v1/objects", limit=1000, **query)):
            times.append(took)
            if at == rounds:
                break
            # Who does not rest is slowed to what looking may cost the daemon in the long run.
            time.sleep(rest)
        yield told("list, 1,000 a page", label, times, PAGE_MUST, PAGE_AIM, "")
    for path in ("clients", "names", "segments"):
        address = f"/api/v1/{path}"
        times = repeated(
            rounds, lambda address=address: sum(took for took, _ in walk(asker, address)), rest
        )
        yield told("list, 100 a page", f"all {path}", times, PAGE_MUST, PAGE_AIM, "")


def scraped(site: Site, rounds: int, rest: float) -> Iterator[Result]:
    """Give how long a scrape takes, on a new connection each as Prometheus may have it."""
    before = on_processor(site.daemon_pid)
    time.sleep(rounds * rest)
    idle = on_processor(site.daemon_pid) - before
    before = on_processor(site.daemon_pid)
    times = repeated(rounds, lambda: Asker(site).timed("/metrics")[0], rest)
    daemon = (on_processor(site.daemon_pid) - before - idle) / rounds
    note = f"{targets.seconds_text(max(daemon, 0.0))} of the daemon's processor each; "
    yield told("scrape", f"{site.objects:,} objects", times, SCRAPE_MUST, SCRAPE_AIM, note)


def hammered(site: Site, visitors: Connection, seconds: float) -> Iterator[Result]:
    """Give the memory of the admin process before and after 50 visitors asked without a pause."""
    before = resident(site.admin_pid)
    paths = [*places(site).values(), *LISTS]
    after = []
    requests = failures = 0
    for _ in range(3):
        visitors.send(("visit", site.port, paths, 50, 0.0))
        visitors.recv()
        time.sleep(seconds)
        visitors.send(("home",))
        tally = visitors.recv()
        after.append(float(resident(site.admin_pid)))
        requests += sum(tally.answers.values())
        failures += sum(tally.failures.values()) + tally.answers[503]
    most = max(after)
    note = (
        f"resident, libraries included, after {requests:,} requests in three parts:"
        f" {', '.join(map(targets.bytes_text, after))}; {failures} answers were none or 503"
    )
    sides = {OURS: Spread.of([most]), "before": Spread.of([float(before)])}
    ratios = {"before": Spread.of([most / before])}
    label = "50 visitors without a pause"
    yield Result("memory of the admin process", label, "bytes", sides, ratios, MEMORY, note)


LISTS = (
    "/api/v1/objects?limit=1000",
    "/api/v1/objects?sort=-size&limit=1000",
    "/api/v1/objects?sort=created&type=dict&limit=500",
    "/api/v1/objects?state=orphan",
    "/api/v1/objects?min_size=200000",
    "/api/v1/clients?limit=1000",
    "/api/v1/names?limit=1000",
    "/api/v1/segments?limit=1000",
    "/api/v1/status",
)
