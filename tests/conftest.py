"""What every test has: a watchdog, the public corpora, and the long forms of `make soak`."""

import contextlib
import faulthandler
import importlib
import json
import lzma
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

import hypothesis
import pytest

ROOT = Path(__file__).resolve().parent.parent
# Where daemons.py is; what a test starts finds it by itself.
sys.path.append(str(ROOT / "tests"))
SHARED = Path(os.environ.get("ICEHOUSE_SHARED", ROOT.parent / "shared"))
SOAKING = os.environ.get("ICEHOUSE_SOAK", "") not in ("", "0")
WATCHDOG_SECONDS = 120
# How long after its alarm a test that does not answer is killed, and the whole run with it.
GRACE_SECONDS = 30
# What a child process ends with that can't do its test here and says why.
SKIP_STATUS = 77

# Of each property. The long form takes most of a day; ICEHOUSE_EXAMPLES=2000 makes an hour of it.
EXAMPLES = int(os.environ.get("ICEHOUSE_EXAMPLES", "20000" if SOAKING else "100"))
hypothesis.settings.register_profile(
    "icehouse", deadline=None, print_blob=True, max_examples=EXAMPLES
)
hypothesis.settings.load_profile("icehouse")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks what has a long form, so that `make soak` runs that and nothing else."""
    for item in items:
        if "soak_factor" in getattr(item, "fixturenames", ()) or hypothesis.is_hypothesis_test(
            getattr(item, "obj", None)
        ):
            item.add_marker("soak")


class WatchdogError(Exception):
    """The test took longer than it may."""


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """Stops a test that hangs: first politely, then, if C code holds the GIL, the whole run."""
    marker = item.get_closest_marker("watchdog")
    seconds = (marker.args[0] if marker else WATCHDOG_SECONDS) * (10 if SOAKING else 1)

    def bark(signum: int, frame: object) -> None:
        faulthandler.dump_traceback(all_threads=True)
        raise WatchdogError(f"{item.nodeid} took more than {seconds} s")

    before = signal.signal(signal.SIGALRM, bark)
    signal.alarm(seconds)
    faulthandler.dump_traceback_later(seconds + GRACE_SECONDS, exit=True)
    try:
        return (yield)
    finally:
        faulthandler.cancel_dump_traceback_later()
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@pytest.fixture(scope="session")
def root() -> Path:
    """The folder of the repository."""
    return ROOT


@pytest.fixture(scope="session")
def soak_factor() -> int:
    """How many times longer than usual a seeded loop should run."""
    return 20 if SOAKING else 1


@pytest.fixture(scope="session")
def corpus_text() -> Callable[[str], str]:
    """Gives the text of a public corpus by name, or skips where the data is not at hand."""

    def load(name: str) -> str:
        path = SHARED / "data" / f"{name}.xz"
        if not path.exists():
            pytest.skip(f"no {name}.xz: set ICEHOUSE_SHARED to the folder that has data/")
        return lzma.decompress(path.read_bytes()).decode()

    return load


@pytest.fixture(scope="session")
def corpus(corpus_text: Callable[[str], str]) -> Callable[[str], Any]:
    """Gives a parsed JSON corpus: twitter, citm_catalog, github or canada."""

    def load(name: str) -> Any:
        return json.loads(corpus_text(f"{name}.json"))

    return load


@pytest.fixture
def daemon(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Any]:
    """A running daemon of 64 MiB, or as `@pytest.mark.daemon(capacity="1GiB")` has it."""
    marker = request.node.get_closest_marker("daemon")
    daemons = importlib.import_module("daemons")
    config = {"capacity": "64MiB", **(marker.kwargs if marker else {})}
    with daemons.Daemon(tmp_path / "daemon", **config) as running:
        yield running


@pytest.fixture
def cgroup() -> Iterator[Path]:
    """A memory cgroup of 256 MiB, or a skip that says why not."""
    yield from importlib.import_module("cgroups").cgroup()


class Child(Protocol):
    """Runs a function of a module beside the test in a fresh process."""

    def __call__(
        self,
        name: str,
        *args: object,
        seconds: int = 100,
        before: str = "",
        prefix: list[str] | None = None,
        environment: dict[str, str] | None = None,
    ) -> None:
        """Run "module.function" with args that survive repr(); it must end well and say nothing.

        `before` is source to run first; `prefix` stands before the command.
        """


@pytest.fixture
def child(request: pytest.FixtureRequest) -> Child:
    """Fresh processes: there a crash or a hang is a test's failure, with all that it said."""

    def run(
        name: str,
        *args: object,
        seconds: int = 100,
        before: str = "",
        prefix: list[str] | None = None,
        environment: dict[str, str] | None = None,
    ) -> None:
        module = name.rpartition(".")[0]
        code = (
            f"import sys; sys.path.insert(0, {str(request.path.parent)!r})\n"
            f"{before}\nimport {module}; {name}(*{args!r})"
        )
        command = [*(prefix or []), sys.executable, "-X", "faulthandler", "-c", code]
        # A session of its own, so that what it forked ends with it; files, since those would keep
        # a pipe open.
        with tempfile.TemporaryFile("w+") as said:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
                env={**os.environ, **(environment or {})},
                start_new_session=True,
            )
            try:
                status = process.wait(seconds * (10 if SOAKING else 1))
            except subprocess.TimeoutExpired:
                # faulthandler says where every thread is.
                os.killpg(process.pid, signal.SIGABRT)
                process.wait()
                status = f"hung for {seconds} s"
            finally:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()
            said.seek(0)
            text = said.read()
        if status == SKIP_STATUS:
            pytest.skip(text.strip())
        assert (status, text) == (0, ""), f"{name}: {status}\n{text}"

    return run
