"""How far the admin process gives way to those who put and get."""

import contextlib
import ctypes
import importlib.util
import os
import signal
from pathlib import Path

import pytest
from admin_client import Admin
from daemons import Daemon, wait_until

from icehouse.server.admin.priority import ATTRIBUTES, SLICE_NANOSECONDS

for needed in ("fastapi", "uvicorn", "prometheus_client"):
    if importlib.util.find_spec(needed) is None:
        pytest.skip(f"{needed} is not installed: icehouse[service]", allow_module_level=True)

SCHED_GETATTR = {"x86_64": 315, "aarch64": 275}
GROUP = Path("/proc/self/autogroup")


def slice_of(pid: int) -> int:
    """Give the nanoseconds of a process's slice; 0: this kernel does not tell."""
    told = ctypes.create_string_buffer(ATTRIBUTES.size)
    number = SCHED_GETATTR.get(os.uname().machine)
    if number is None or ctypes.CDLL(None).syscall(number, pid, told, ATTRIBUTES.size, 0):
        return 0
    return int(ATTRIBUTES.unpack(told.raw)[5])


def started(folder: Path, nice: int) -> Daemon:
    return Daemon(folder, http="127.0.0.1:0", environment={"ICEHOUSE_HTTP_NICE": str(nice)})


class TestPriority:
    def test_all_of_it_gives_way_and_nobody_else(self, tmp_path: Path) -> None:
        with started(tmp_path / "daemon", 7) as daemon:
            admin = wait_until(daemon.admin_pid, "the admin process")
            own = os.getpriority(os.PRIO_PROCESS, 0)

            def gave_way() -> bool:
                return os.getpriority(os.PRIO_PROCESS, admin) == min(own + 7, 19)

            wait_until(gave_way, "the admin process to give way")
            # Of a session of its own, since the kernel may compare whole sessions with each other.
            assert os.getsid(admin) == admin
            assert daemon.process is not None
            for pid in (daemon.process.pid, wait_until(daemon.daemon_pid, "the daemon")):
                assert os.getpriority(os.PRIO_PROCESS, pid) == own
                assert os.getsid(pid) == daemon.process.pid
            # It is the keeper's child all the same.
            assert daemon.stop() == 0
            with pytest.raises(ProcessLookupError):
                os.kill(admin, 0)

    def test_its_session_gives_way(self, tmp_path: Path) -> None:
        if not GROUP.exists():
            pytest.skip(f"no {GROUP}: a kernel with CONFIG_SCHED_AUTOGROUP")
        with started(tmp_path / "daemon", 7) as daemon:
            admin = wait_until(daemon.admin_pid, "the admin process")
            wait_until(
                lambda: Path(f"/proc/{admin}/autogroup").read_text().endswith("nice 7\n"),
                "its session to give way",
            )

    def test_its_slices_are_short(self, tmp_path: Path) -> None:
        if not slice_of(os.getpid()):
            pytest.skip("the kernel tells of no slices: Linux 6.12, x86_64 or aarch64")
        with started(tmp_path / "daemon", 7) as daemon:
            admin = wait_until(daemon.admin_pid, "the admin process")
            wait_until(lambda: slice_of(admin) == SLICE_NANOSECONDS, "short slices")

    def test_the_threads_of_it_too(self, tmp_path: Path) -> None:
        with started(tmp_path / "daemon", 7) as daemon:
            admin = wait_until(daemon.admin_pid, "the admin process")
            with contextlib.closing(Admin(daemon)) as asking:
                assert asking("/api/v1/status").status == 200
            threads = [int(task.name) for task in Path(f"/proc/{admin}/task").iterdir()]
            nice = {os.getpriority(os.PRIO_PROCESS, thread) for thread in threads}
            assert nice == {min(os.getpriority(os.PRIO_PROCESS, 0) + 7, 19)}

    def test_not_if_it_should_not(self, tmp_path: Path) -> None:
        with started(tmp_path / "daemon", 0) as daemon:
            admin = wait_until(daemon.admin_pid, "the admin process")
            wait_until(lambda: "http_ready" in daemon.log(), "the admin side")
            assert os.getpriority(os.PRIO_PROCESS, admin) == os.getpriority(os.PRIO_PROCESS, 0)
            assert os.getsid(admin) != admin

    def test_it_dies_with_the_keeper_though_of_another_session(self, tmp_path: Path) -> None:
        with started(tmp_path / "daemon", 19) as daemon:
            admin = wait_until(daemon.admin_pid, "the admin process")
            wait_until(lambda: os.getsid(admin) == admin, "a session of its own")
            assert daemon.process is not None
            daemon.process.send_signal(signal.SIGKILL)

            def gone() -> bool:
                try:
                    os.kill(admin, 0)
                except ProcessLookupError:
                    return True
                return False

            wait_until(gone, "its end")
