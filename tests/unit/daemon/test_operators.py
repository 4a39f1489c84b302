"""What an operator may do to a daemon, and what is then said: each error says what to do."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from daemons import Daemon

import icehouse
from icehouse.client.control import Control
from icehouse.store.wire import messages


def test_a_daemon_that_went_and_one_that_took_its_place(tmp_path: Path) -> None:
    with Daemon(tmp_path, capacity="64MiB") as daemon:
        store = icehouse.connect(daemon.socket)
        store.put(["kept"], name="kept")
        view = store.get("kept")
        daemon.destroy()
        assert view[0] == "kept"
        with pytest.raises(icehouse.StoreUnavailable, match="no daemon listens there; start it"):
            store.put(1, name="new")
        assert store.get("kept")[0] == "kept"
        daemon.start()
        for _ in range(2):
            with pytest.raises(icehouse.StoreUnavailable, match=r"another store by now.*connect"):
                store.put(1, name="new")
        assert view[0] == "kept"
        with icehouse.connect(daemon.socket) as again:
            assert again.names() == {}
            again.put(1, name="new")
        store.close()


@pytest.mark.slow
@pytest.mark.watchdog(200)
def test_a_daemon_that_is_stopped(tmp_path: Path) -> None:
    """Reading goes on; who asks is told after a while, and those who wait behind soon after."""
    with Daemon(tmp_path, capacity="64MiB") as daemon, icehouse.connect(daemon.socket) as store:
        store.put({"a": 1}, name="a")
        pid = daemon.kill(signal.SIGSTOP)
        said: list[str] = []

        def bind() -> None:
            with pytest.raises(icehouse.StoreUnavailable) as caught:
                store.bind("b", "a")
            said.append(str(caught.value))

        threads = [threading.Thread(target=bind) for _ in range(2)]
        for thread in threads:
            thread.start()
        assert store.get("a")["a"] == 1
        assert store.get(store.put([2]))[0] == 2
        for thread in threads:
            thread.join()
        assert len(said) == 2
        assert all("did not answer in time" in text and daemon.socket in text for text in said)
        os.kill(pid, signal.SIGCONT)
        store.bind("b", "a")
        assert store.get("b")["a"] == 1


def test_a_spill_folder_of_somebody_else(tmp_path: Path) -> None:
    """The daemon's own reason comes before its end, and it is not started again and again."""
    if os.geteuid() != 0:
        pytest.skip("only root can give folders away")
    folder = tmp_path / "spill"
    folder.mkdir()
    os.chown(folder, 12345, -1)
    daemon = Daemon(tmp_path / "d", capacity="64MiB", spill=str(folder))
    process = daemon.spawn()
    assert process.wait(60) == 1
    with pytest.raises(AssertionError, match="the keeper ended with 1"):
        daemon.start()
    log = daemon.log()
    assert "belongs to uid 12345" in log
    assert "name one of the daemon's own user" in log
    assert log.count('"event": "started"') == 2
    assert '"gave_up"' in log


@pytest.mark.daemon(capacity="64MiB")
def test_ten_thousand_names_and_objects(daemon: Daemon) -> None:
    with icehouse.connect(daemon.socket) as store:
        for number in range(10_000):
            store.put({"i": number}, name=f"name-{number}")
        handles = [store.put([number, "x"]) for number in range(10_000)]
        daemon.wait_for_another(daemon.kill())
        assert len(store.names()) == 10_000
        assert len(store.names("name-99")) == 111
        assert len(store.ls()) == 20_000
        assert store.get("name-9999")["i"] == 9999
        for number in range(10_000):
            store.delete(f"name-{number}")
        assert store.names() == {}
        assert all(store.get(handle)[0] == number for number, handle in enumerate(handles))
        store.trim()
        assert store.usage().images == 10_000
        store.check()


@pytest.mark.daemon(capacity="64MiB")
def test_a_handle_in_a_process_that_did_not_connect(daemon: Daemon) -> None:
    with icehouse.connect(daemon.socket) as store:
        handle = store.put({"a": 1}, name="a")
        source = f"import icehouse\nicehouse.get({str(handle)!r})"
        command = [sys.executable, "-c", source]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert "did not icehouse.connect() to" in done.stderr


def test_a_daemon_that_starts_while_its_package_is_installed_anew(tmp_path: Path) -> None:
    """What pip knows of it is gone for a moment; the daemon, and the one after it, come up."""
    (tmp_path / "sitecustomize.py").write_text(
        "import importlib.metadata\n"
        "def nothing(name):\n"
        "    raise importlib.metadata.PackageNotFoundError(name)\n"
        "importlib.metadata.distribution = importlib.metadata.version = nothing\n"
    )
    with Daemon(tmp_path / "d", environment={"PYTHONPATH": str(tmp_path)}) as daemon:
        daemon.wait_for_another(daemon.kill())
        with Control(daemon.socket) as control:
            status = control.ask(messages.AskStatus(), messages.Status)
        assert status.version == icehouse.__version__
    assert '"status": 1' not in daemon.log()
