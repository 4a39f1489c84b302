"""A container without a container runtime: namespaces, a root of its own, another user.

    with Box(shared=folder) as box:
        box.run(["icehouse", "status"])

What runs in it sees the system's programs, this interpreter and the project, all read-only, nothing
that it could write but the shared folder at /run/icehouse, no /dev/shm and no network but loopback.
"""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pytest
from daemons import PATIENCE, children_of, wait_until

ROOT = Path(__file__).resolve().parent.parent.parent
USER = 10001
MASKS = Path(__file__).with_name("box.sh")
GROUPS = Path("/sys/fs/cgroup")
OWN_GROUP = """
for group in /sys/fs/cgroup /sys/fs/cgroup/*; do
  if [ -w "$group/cgroup.procs" ] && mkdir "$group/$0" 2>/dev/null; then
    # Where a child begins with no processor or memory node it can have no process either.
    for name in cpuset.cpus cpuset.mems; do
      [ ! -e "$group/$name" ] || cat "$group/$name" >"$group/$0/$name"
    done
    echo $$ >"$group/$0/cgroup.procs"
  fi
done
exec "$@"
"""
LOOPBACK_UP = (
    "import fcntl, socket, struct;"
    "s = socket.socket(); fcntl.ioctl(s, 0x8914, struct.pack('16sh14x', b'lo', 1))"
)


def needs_boxes() -> None:
    """Skip where this machine can't make one."""
    missing = [
        name for name in ("unshare", "nsenter", "setpriv", "chroot") if not shutil.which(name)
    ]
    if missing:
        pytest.skip(f"no container can be imitated: there is no {', '.join(missing)}")
    command = ["unshare", "--mount", "--pid", "--fork", "--ipc", "--net", "--uts", "true"]
    tried = subprocess.run(command, capture_output=True, text=True, check=False)
    if os.geteuid() != 0 or tried.returncode != 0:
        pytest.skip(f"no namespaces for this user: {tried.stderr.strip() or 'not root'}")


def removed(group: Path) -> bool:
    """Remove a control group; False while somebody is in it."""
    with contextlib.suppress(OSError):
        group.rmdir()
    return not group.exists()


class Box:
    """One container; `environment` is all that what runs in it gets."""

    def __init__(
        self,
        shared: Path,
        environment: dict[str, str] | None = None,
        *,
        user: int = USER,
        writable: bool = True,
        systemd: Path | None = None,
    ) -> None:
        """`systemd`: a folder of units; its init is started first, as root."""
        self.shared = shared
        self.environment = {"PATH": "/opt/icehouse/bin:/usr/bin:/bin", **(environment or {})}
        self.user = user
        self.writable = writable
        self.systemd = systemd
        self.process: subprocess.Popen[bytes] | None = None
        self.folder = Path(tempfile.mkdtemp(prefix="icehouse-box-"))
        self.log_file = self.folder / "log"

    def _command(self, command: Sequence[str]) -> list[str]:
        seen = dict.fromkeys(map(str, (sys.base_prefix, sys.prefix, ROOT)))
        units = str(self.systemd or "")
        mode = "rw" if self.writable else "ro"
        namespaces = ["--mount", "--pid", "--fork", "--ipc", "--net", "--uts", "--cgroup"]
        root = str(self.folder / "root")
        setup = [
            "bash",
            str(MASKS),
            root,
            str(self.shared),
            mode,
            units,
            sys.prefix,
            sys.executable,
        ]
        inside = [*self._as_user(), *command]
        whole = ["unshare", *namespaces, *setup, LOOPBACK_UP, *seen, "--", *inside]
        # What an init does to control groups, it does below one of its own.
        return (
            whole if self.systemd is None else ["bash", "-c", OWN_GROUP, self.folder.name, *whole]
        )

    def _as_user(self) -> list[str]:
        variables = [f"{name}={value}" for name, value in self.environment.items()]
        if self.systemd is not None:
            return ["/usr/bin/env", "-i", *variables]
        user = str(self.user)
        rights = ["--no-new-privs", "--inh-caps=-all"]
        if self.user:
            rights += [
                "--bounding-set=-all",
                f"--reuid={user}",
                f"--regid={user}",
                "--clear-groups",
            ]
        return ["/usr/bin/setpriv", *rights, "/usr/bin/env", "-i", *variables]

    # --- its first process ---

    def start(self, command: Sequence[str]) -> Self:
        """Start it with this as its first process."""
        (self.folder / "root").mkdir()
        with self.log_file.open("ab") as log:
            self.process = subprocess.Popen(
                self._command(command), stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        return self

    def once(self, command: Sequence[str]) -> subprocess.CompletedProcess[str]:
        """Run one command in a container of its own, to its end."""
        (self.folder / "root").mkdir()
        return subprocess.run(
            self._command(command), capture_output=True, text=True, check=False, timeout=PATIENCE
        )

    @property
    def first(self) -> int:
        """The pid, here, of its first process."""
        assert self.process is not None, "it was never started"
        unshare = self.process.pid
        return int(wait_until(lambda: next(iter(children_of(unshare)), None), "its first process"))

    def run(self, command: Sequence[str], **more: Any) -> subprocess.CompletedProcess[str]:
        """Run a command beside it, as `docker exec` does."""
        enter = ["nsenter", f"--target={self.first}", "--mount", "--pid", "--ipc", "--net", "--uts"]
        enter += ["--cgroup", "--root", "--wd"]
        return subprocess.run(
            [*enter, *self._as_user(), *command],
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENCE,
            **more,
        )

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Send its first process a signal; its exit status."""
        assert self.process is not None, "it was never started"
        if self.process.poll() is None:
            os.kill(self.first, number)
        return self.process.wait(PATIENCE)

    def log(self) -> str:
        """What it has written so far."""
        return self.log_file.read_text(errors="replace") if self.log_file.exists() else ""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if error is not None:
            print(self.log())
        if self.process is not None and self.process.poll() is None:
            with contextlib.suppress(ProcessLookupError, AssertionError):
                os.kill(self.first, signal.SIGKILL)
            self.process.wait(PATIENCE)
        if self.systemd is not None:
            self._drop_groups()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _drop_groups(self) -> None:
        """Remove the control groups that were made for it, innermost first."""
        for own in [GROUPS / self.folder.name, *GROUPS.glob(f"*/{self.folder.name}")]:
            folders = [Path(at) for at, _, _ in os.walk(own, topdown=False)]
            for folder in folders:
                # A process that was killed may take a moment to leave it.
                wait_until(lambda at=folder: removed(at), f"{folder} to be empty")
