"""Other users: refused unless the configuration gives them a role, and held to that role."""

import contextlib
import importlib
import json
import os
import pkgutil
import subprocess
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from daemons import Daemon

import icehouse
from icehouse.store import declarations, freezing

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user")
STRANGER, READER, PRODUCER = 51001, 51002, 51003


def as_user(uid: int, work: Callable[[], None]) -> None:
    """Run it in a forked process of that user; what it raises fails here."""
    # Another user may not read the folder that icehouse is in.
    for package in (declarations, freezing):
        for module in pkgutil.iter_modules(package.__path__):
            importlib.import_module(f"{package.__name__}.{module.name}")
    child = os.fork()
    if child == 0:
        status = 1
        try:
            os.setgroups([])
            os.setgid(uid)
            os.setuid(uid)
            work()
            status = 0
        except BaseException:
            traceback.print_exc()
            sys.stderr.flush()
        finally:
            os._exit(status)
    assert os.waitpid(child, 0)[1] == 0


def refused(kind: type[BaseException], work: Callable[[], Any], *texts: str) -> None:
    """It must raise that."""
    try:
        work()
    except kind as error:
        assert all(text in str(error) for text in texts), error
    else:
        raise AssertionError(f"{kind.__name__} was not raised")


def open_to_all(folder: Path) -> Path:
    """Let other users reach the folder: pytest's are for their owner alone."""
    for path in (folder, *folder.parents):
        if path.stat().st_mode & 0o001 == 0:
            path.chmod(path.stat().st_mode | 0o011)
    return folder


@pytest.fixture
def shared(tmp_path: Path) -> Any:
    """A daemon that knows a reader and a producer beside its own user."""
    roles = {"reader": {"uids": [READER]}, "producer": {"uids": [PRODUCER]}}
    with Daemon(tmp_path / "d", capacity="64MiB", roles=roles) as daemon:
        open_to_all(tmp_path / "d")
        yield daemon


def logged(daemon: Any, text: str) -> list[dict[str, Any]]:
    """Lines of the log that say that."""
    lines = [json.loads(line) for line in daemon.log().splitlines() if line.startswith("{")]
    return [line for line in lines if text in json.dumps(line)]


def test_a_stranger_cannot_even_connect(daemon: Any, tmp_path: Path) -> None:
    open_to_all(tmp_path / "daemon")
    mode = Path(daemon.socket).stat().st_mode & 0o777
    assert mode == 0o600

    def work() -> None:
        refused(icehouse.StoreUnavailable, lambda: icehouse.connect(daemon.socket), daemon.socket)

    as_user(STRANGER, work)


def test_a_stranger_is_refused_counted_and_logged(shared: Any) -> None:
    def work() -> None:
        refused(icehouse.NotPermitted, lambda: icehouse.connect(shared.socket), str(STRANGER))

    as_user(STRANGER, work)
    assert logged(shared, str(STRANGER))


def test_a_reader_reads_and_nothing_else(shared: Any) -> None:
    with icehouse.connect(shared.socket) as store:
        handle = store.put({"a": [1, 2]}, name="a")
        big = store.put(b"b" * 3_000_000, seal=True)

        def work() -> None:
            with icehouse.connect(shared.socket) as mine:
                assert mine.remote.role == "reader"
                assert mine.get("a") == {"a": [1, 2]}
                assert mine.get(big)[:2] == b"bb"
                assert mine.stat(handle).names == ("a",) or list(mine.stat(handle).names) == ["a"]
                for attempt in (
                    lambda: mine.put([1]),
                    lambda: mine.bind("a", None),
                    lambda: mine.bind("b", handle),
                    lambda: mine.delete(handle, force=True),
                    lambda: mine.pin(handle),
                ):
                    refused(icehouse.NotPermitted, attempt, "reader")
                assert mine.get("a") == {"a": [1, 2]}

        as_user(READER, work)
        assert store.get("a") == {"a": [1, 2]}
        assert store.lookup("a") == (handle, 1)
        store.check()
    assert logged(shared, str(READER))


def test_h05_another_user_cannot_write_what_it_maps(shared: Any) -> None:
    # Not put here: the child would inherit the connection, and what it has mapped.
    put = "import icehouse, sys; icehouse.connect(sys.argv[1]).put({'a': [*range(1000)]}, name='a')"
    subprocess.run([sys.executable, "-c", put, shared.socket], check=True)

    def mapped() -> set[str]:
        lines = Path("/proc/self/maps").read_text().splitlines()
        return {line for line in lines if "icehouse-segment" in line}

    def held() -> set[str]:
        names = set()
        for link in Path("/proc/self/fd").iterdir():
            # The folder's own descriptor is listed, and closed by now.
            with contextlib.suppress(FileNotFoundError):
                names.add(f"{link.name} {link.readlink()}")
        return {name for name in names if "icehouse-segment" in name}

    def work() -> None:
        # What the parent's own stores have was inherited.
        mapped_before, held_before = mapped(), held()
        with icehouse.connect(shared.socket) as mine:
            view = mine.get("a")
            segments = mapped() - mapped_before
            assert segments
            assert all(line.split()[1].startswith("r--s") for line in segments)
            assert held() <= held_before
            assert view["a"][999] == 999

    as_user(READER, work)


def test_a_producer_puts_and_is_not_trusted(shared: Any) -> None:
    """Its images are read as data: other users' bytes never become classes or code (H4, H20)."""
    with icehouse.connect(shared.socket) as store:

        def work() -> None:
            with icehouse.connect(shared.socket) as mine:
                assert mine.remote.role == "producer"
                mine.put({"from": "another user", "rows": list(range(100))}, name="theirs")

        as_user(PRODUCER, work)
        assert store.get("theirs") == {"from": "another user", "rows": list(range(100))}
        store.delete("theirs")


def test_h20_fields_of_another_user(shared: Any) -> None:
    """A field of a stranger is a record, and writes nowhere; with trust it does what a role may."""

    def begin() -> None:
        field = icehouse.SharedField("first")
        icehouse.connect(shared.socket).put({"field": field}, name="ours", pin=True)
        field.set("second")

    # Who is forked from the producer has its memory.
    as_user(os.getuid(), begin)
    with icehouse.connect(shared.socket) as store:

        def read() -> None:
            with icehouse.connect(shared.socket) as mine:
                assert type(mine.get("ours")["field"]) is icehouse.Record
                assert mine.get("ours")["field"].value_when_written == "first"
                trusted = mine.get("ours", trust=True)["field"]
                assert trusted.get() == "second"
                refused(icehouse.NotPermitted, lambda: trusted.set("third"))

        def write() -> None:
            with icehouse.connect(shared.socket) as mine:
                mine.get("ours", trust=True)["field"].set(icehouse.freeze({"by": "a producer"}))
                mine.put({"field": icehouse.SharedField(1)}, name="theirs")

        as_user(READER, read)
        as_user(PRODUCER, write)
        assert store.get("ours")["field"].get() == {"by": "a producer"}
        assert type(store.get("theirs")["field"]) is icehouse.Record
        refused(icehouse.NotFreezableError, lambda: store.put([store.get("theirs")]))
        store.check()
