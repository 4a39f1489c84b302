"""Who ends in order is not counted as a death, however it ends; who is killed is."""

import subprocess
import sys
from pathlib import Path

import pytest
from daemons import Daemon, wait_until

from icehouse.client.control import Control
from icehouse.store.wire import messages

CONNECT = """
import os, sys, threading, time
import icehouse
store = icehouse.connect(sys.argv[1])
view = store.get(store.put({"a": [1]}))
"""
HERE = """
def task(place):
    global store, view
    store = icehouse.connect(place)
    view = store.get(store.put({"a": [1]}))
"""
WORKER = f"""
import concurrent.futures, multiprocessing, sys
import icehouse
{HERE}
if __name__ == "__main__":
    context = multiprocessing.get_context(sys.argv[2])
    worker = context.Process(target=task, args=(sys.argv[1],))
    worker.start()
    worker.join()
    with concurrent.futures.ProcessPoolExecutor(1, mp_context=context) as pool:
        pool.submit(task, sys.argv[1]).result()
"""
LATE = """
import multiprocessing, sys
def task(place):
    import icehouse
    global store, view
    store = icehouse.connect(place)
    view = store.get(store.put({"a": [1]}))
if __name__ == "__main__":
    worker = multiprocessing.get_context(sys.argv[2]).Process(target=task, args=(sys.argv[1],))
    worker.start()
    worker.join()
"""
INHERITED = f"""
{CONNECT}
import multiprocessing
def task():
    assert view["a"] == [1]
    store.put([2])
worker = multiprocessing.get_context("fork").Process(target=task)
worker.start()
worker.join()
"""
ORDERLY = {
    "the end of the program": CONNECT,
    "exit": CONNECT + "sys.exit(3)",
    "an exception": CONNECT + "raise LookupError",
    "an interrupt": CONNECT + "os.kill(os.getpid(), 2); time.sleep(9)",
    "a store that is closed, and then a kill": CONNECT + "store.close(); os.kill(os.getpid(), 9)",
    "a thread that goes on": CONNECT
    + "threading.Thread(target=time.sleep, args=(99,), daemon=True).start()",
    "a worker with its parent's store": INHERITED,
    "a connection of another handler of the end": f"""
import atexit, sys
atexit.register(lambda: exec({CONNECT!r}, globals()))
import icehouse
""",
    "subinterpreters alone": f"""
import sys
try:
    import _interpreters as interpreters
except ImportError:
    import _xxsubinterpreters as interpreters
other = interpreters.create()
interpreters.run_string(other, "import sys; sys.argv = " + repr(sys.argv) + {CONNECT!r})
""",
}
DEADLY = {
    "a kill after another connection": CONNECT
    + """
store.close()
store = icehouse.connect(sys.argv[1])
os.kill(os.getpid(), 9)
""",
    "SIGKILL": CONNECT + "os.kill(os.getpid(), 9)",
    "SIGTERM": CONNECT + "os.kill(os.getpid(), 15)",
    "_exit": CONNECT + "os._exit(0)",
    "another program": CONNECT + "os.execv('/bin/true', ['true'])",
    "a kill after a subinterpreter has ended": CONNECT
    + """
import icehouse.interpreters
with icehouse.interpreters.Interpreter() as other:
    assert other.call(len, view) == 1
os.kill(os.getpid(), 9)
""",
}


def counted(daemon: Daemon, program: Path, code: str, *arguments: str) -> tuple[int, int]:
    """Run a program; how many sessions ended, and how many of them the daemon calls deaths."""
    program.write_text(code)
    command = [sys.executable, str(program), daemon.socket, *arguments]
    subprocess.run(command, check=False, timeout=100, stderr=subprocess.DEVNULL)

    def ended() -> int:
        return daemon.log().count('"session_ended"')

    with Control(daemon.socket) as control:
        wait_until(
            lambda: ended() and not control.ask(messages.AskClients(), messages.Clients).items,
            "the end of all sessions",
        )
        # What is measured may be a second old.
        deaths = daemon.log().count('"closed": false')
        wait_until(
            lambda: (
                control.ask(messages.AskMetrics(), messages.Metrics).counters["dead_clients"][""]
                == deaths
            ),
            "the count of deaths",
        )
    return ended(), deaths


@pytest.mark.parametrize("way", ORDERLY)
def test_an_end_in_order(daemon: Daemon, tmp_path: Path, way: str) -> None:
    sessions, deaths = counted(daemon, tmp_path / "program.py", ORDERLY[way])
    assert (sessions, deaths) == (2 if "worker" in way else 1, 0)


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_workers_of_multiprocessing(daemon: Daemon, tmp_path: Path, method: str) -> None:
    assert counted(daemon, tmp_path / "program.py", WORKER, method) == (2, 0)


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_workers_that_import_it_themselves(daemon: Daemon, tmp_path: Path, method: str) -> None:
    assert counted(daemon, tmp_path / "program.py", LATE, method) == (1, 0)


@pytest.mark.parametrize("way", DEADLY)
def test_a_death(daemon: Daemon, tmp_path: Path, way: str) -> None:
    assert counted(daemon, tmp_path / "program.py", DEADLY[way]) == (1, 1)
