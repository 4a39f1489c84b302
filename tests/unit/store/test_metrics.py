"""icehouse.metrics: what this process does, for Prometheus; in forks and gunicorn too."""

import http.client
import importlib.util
import os
import re
import signal
import socket
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest
from daemons import Daemon, wait_until

import icehouse

if importlib.util.find_spec("prometheus_client") is None:
    pytest.skip("no prometheus-client: icehouse[metrics]", allow_module_level=True)

RECIPE = re.compile(r"```python\n# gunicorn.conf.py\n(.*?)```", re.DOTALL)

# In processes of their own: counts are of one process, and of all that it did before.
STORES = """
import sys, icehouse, prometheus_client
registry = prometheus_client.CollectorRegistry()
icehouse.metrics.register(registry)
def told():
    text = prometheus_client.generate_latest(registry).decode()
    return {name: float(value) for name, value in
            (line.rsplit(" ", 1) for line in text.splitlines() if line[0] != "#")}
def number(name):
    return told()["icehouse_client_" + name]
store = icehouse.connect(sys.argv[1]) if sys.argv[1:] else icehouse.Store("64MiB")
"""

COUNTS = (
    STORES
    + """
assert number("puts_total") == 0
private = icehouse.freeze([1, 2])
handles = [store.put([i] * 1000) for i in range(10)]
views = [store.get(handle) for handle in handles[:4]]
again = store.get(handles[0])
try:
    store.put(bytes(1 << 30))
except icehouse.StoreFull:
    pass
assert number("puts_total") == number("put_size_bytes_count") == 10, told()
assert number("put_bytes_total") == number("put_size_bytes_sum")
assert number("put_bytes_total") == sum(store.stat(handle).size for handle in handles)
assert number("gets_total") >= 4, told()
assert number("fulls_total") == 1, told()
assert number("leases") == 5, told()
assert number("segments") >= 2
assert number('put_size_bytes_bucket{le="128.0"}') == 0
assert number('put_size_bytes_bucket{le="8192.0"}') == 10
try:
    icehouse.metrics.register(registry)
except ValueError:
    pass
else:
    raise AssertionError("registered twice")
"""
)

FORKS = (
    STORES
    + """
import os
handle = store.put([1])
if os.fork() == 0:
    ok = number("puts_total") == 0
    for i in range(3):
        store.put([i])
    os._exit(0 if ok and number("puts_total") == 3 else 1)
_, status = os.wait()
assert status == 0
assert number("puts_total") == 1
"""
)


def run(code: str, *arguments: str, **environment: str) -> None:
    command = [sys.executable, "-c", code, *arguments]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env={**os.environ, **environment}
    )
    assert done.returncode == 0, done.stderr


def test_counts_of_an_embedded_store() -> None:
    run(COUNTS)


@pytest.mark.daemon(capacity="64MiB")
def test_counts_of_the_daemons_store(daemon: Daemon) -> None:
    run(COUNTS, daemon.socket)
    run(FORKS, daemon.socket)


@pytest.mark.daemon(capacity="64MiB")
def test_what_others_put_is_not_counted_here(daemon: Daemon) -> None:
    with icehouse.connect(daemon.socket) as store:
        store.put([1, 2], name="theirs")
        run(
            STORES
            + 'view = store.get("theirs"); assert number("puts_total") == 0;'
            + 'assert number("gets_total") == number("maps_total") == 1, told();'
            + 'assert number("leases") == 1, told()',
            daemon.socket,
        )


def test_without_prometheus_client_it_says_what_to_install() -> None:
    code = """
import sys
sys.modules["prometheus_client"] = None
import icehouse
try:
    icehouse.metrics
except ImportError as error:
    assert "pip install 'icehouse[metrics]'" in str(error), error
else:
    raise AssertionError("imported")
"""
    run(code)


def test_processes_share_them_by_files(tmp_path: Path) -> None:
    """prometheus-client's multiprocess mode: what others wrote counts too, after a fork as well."""
    code = """
import os, struct, time, icehouse, prometheus_client
from prometheus_client import multiprocess
icehouse.metrics.register(prometheus_client.CollectorRegistry())
store = icehouse.Store("64MiB")
for i in range(5):
    store.put([i] * 100)
def total(name):
    registry = prometheus_client.CollectorRegistry()
    multiprocess.MultiProcessCollector(registry)
    try:
        return registry.get_sample_value("icehouse_client_" + name) or 0
    except struct.error:
        # prometheus-client met a file that another process had just made, and was yet to fill.
        return None
def until(name, value):
    for _ in range(6000):
        if total(name) == value:
            return
        time.sleep(0.01)
    raise AssertionError((name, total(name), value))
until("puts_total", 5)
if os.fork() == 0:
    mine = icehouse.Store("64MiB")
    for i in range(7):
        mine.put([i] * 100)
    until("puts_total", 12)
    os._exit(0)
assert os.waitstatus_to_exitcode(os.wait()[1]) == 0
until("puts_total", 12)
until("put_size_bytes_count", 12)
assert total("put_size_bytes_sum") == total("put_bytes_total") > 0
"""
    run(code, PROMETHEUS_MULTIPROC_DIR=str(tmp_path), PYTHONWARNINGS="ignore::DeprecationWarning")


def test_a_fork_while_they_are_written(tmp_path: Path) -> None:
    """A child finds no lock of prometheus-client's that our thread held."""
    code = """
import icehouse, os, prometheus_client, signal
from icehouse.store import metrics
metrics.WRITE_SECONDS = 0
own = prometheus_client.Counter("own", "of the application")
icehouse.metrics.register()
store = icehouse.Store("64MiB")
for i in range(60):
    store.put([i])
    pid = os.fork()
    if pid == 0:
        signal.alarm(60)
        own.inc()
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0, "a child waits for ever"
"""
    run(code, PROMETHEUS_MULTIPROC_DIR=str(tmp_path), PYTHONWARNINGS="ignore::DeprecationWarning")


def test_twice_is_refused_in_both_modes(tmp_path: Path) -> None:
    code = """
import icehouse, prometheus_client
icehouse.metrics.register()
for registry in (None, prometheus_client.REGISTRY):
    try:
        icehouse.metrics.register(registry)
    except ValueError:
        continue
    raise AssertionError("registered twice")
# Another registry of the application's is another matter.
icehouse.metrics.register(prometheus_client.CollectorRegistry())
"""
    run(code)
    run(code, PROMETHEUS_MULTIPROC_DIR=str(tmp_path))


APPLICATION = """
import icehouse, os, prometheus_client
from prometheus_client import multiprocess

STORE = icehouse.Store("64MiB")
HANDLE = STORE.put({"rows": [1, 2, 3]})

def app(environ, start):
    if environ["PATH_INFO"] == "/metrics":
        registry = prometheus_client.CollectorRegistry()
        multiprocess.MultiProcessCollector(registry)
        body = prometheus_client.generate_latest(registry)
    else:
        STORE.get(HANDLE)
        body = str(os.getpid()).encode()
    start("200 OK", [("Content-Type", "text/plain")])
    return [body]
"""


class Client(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=60)
        self.path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(60)
        self.sock.connect(self.path)


def ask(path: str, what: str) -> str:
    """The body; nothing while nobody answers."""
    client = Client(path)
    try:
        client.request("GET", what)
        return client.getresponse().read().decode()
    except (OSError, http.client.HTTPException):
        return ""
    finally:
        client.close()


@pytest.mark.slow
@pytest.mark.watchdog(200)
def test_gunicorn_as_the_documentation_has_it(root: Path, tmp_path: Path) -> None:
    pytest.importorskip("gunicorn")
    recipe = RECIPE.search((root / "docs" / "operations.md").read_text())
    assert recipe
    (tmp_path / "gunicorn.conf.py").write_text(recipe[1])
    (tmp_path / "served.py").write_text(textwrap.dedent(APPLICATION))
    (tmp_path / "metrics").mkdir()
    path = str(tmp_path / "socket")
    command = [sys.executable, "-m", "gunicorn", "--preload", "--workers", "2"]
    command += ["--bind", f"unix:{path}", "served:app"]
    environment = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(tmp_path / "metrics")}
    with (tmp_path / "log").open("w+") as log:
        server = subprocess.Popen(command, stdout=log, stderr=log, cwd=tmp_path, env=environment)
        try:
            wait_until(lambda: ask(path, "/"), "gunicorn to answer")
            pids = {wait_until(lambda: ask(path, "/"), "an answer") for _ in range(50)}

            def gets(text: str) -> Any:
                found = re.search(r"^icehouse_client_gets_total (\S+)", text, re.MULTILINE)
                return found and float(found[1])

            # Both workers' numbers, whichever of them answers.
            wait_until(lambda: gets(ask(path, "/metrics")) == 51, "all gets to be told")
            # What a worker counted stays when it has been killed; its leases do not.
            os.kill(int(pids.pop()), signal.SIGKILL)
            wait_until(lambda: gets(ask(path, "/metrics")) == 51, "the numbers to stay")
        finally:
            server.send_signal(signal.SIGTERM)
            assert server.wait(60) == 0
