"""The image, built by buildah and run by podman with storage and namespaces of their own.

    storage = built(root)
    with Engine(storage, folder) as engine:
        engine("run", "--rm", "icehouse", "--version")

No registry of images can be reached where tests run. So what the Dockerfile begins FROM is made of
Debian's packages, under the same name, and kept in the user's cache; its Python is Debian's.
"""

import contextlib
import fcntl
import importlib.util
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import pytest
from daemons import PATIENCE, children_of, wait_until

PROGRAMS = ("buildah", "podman", "runc", "debootstrap", "unshare", "nsenter", "setpriv")
GROUPS = Path("/sys/fs/cgroup")
# What registries of packages want on this machine, beside what Debian ships.
MOUNTED = ("/etc/ssl", "/etc/pip.conf")
# A killed test takes all with it.
LEASH = ["setpriv", "--pdeathsig", "KILL", "unshare", "--pid", "--fork", "--kill-child"]
# Nothing of an earlier run is running here, which podman knows by an empty /run.
SETUP = """
mount --make-rprivate / && mount -t tmpfs tmpfs /run && touch /run/ready && exec sleep infinity
"""


def needs_engine() -> None:
    """Skip where no image can be built or run."""
    missing = [name for name in PROGRAMS if shutil.which(name) is None]
    if missing:
        pytest.skip(f"no image can be built: apt-get install {' '.join(missing)}")
    if importlib.util.find_spec("podman_compose") is None:
        pytest.skip("no podman-compose: pip install podman-compose")
    tried = subprocess.run(
        ["unshare", "--mount", "--net", "--pid", "--fork", "true"], capture_output=True, check=False
    )
    if os.geteuid() != 0 or tried.returncode != 0:
        pytest.skip("no namespaces for this user: not root, or not allowed")


def stored_at(storage: Path) -> list[str]:
    """The options that say where images are."""
    return [f"--root={storage / 'images'}", "--storage-driver=overlay"]


class Builder:
    """buildah, in a process namespace that ends with it."""

    def __init__(self, storage: Path) -> None:
        self.storage = storage

    def __call__(self, *command: str, cwd: Path | None = None, seconds: float = 900) -> str:
        options = [*stored_at(self.storage), f"--runroot={self.storage / 'run'}"]
        done = subprocess.run(
            [*LEASH, "--mount-proc", "buildah", *options, *command],
            capture_output=True,
            text=True,
            check=False,
            cwd=cwd,
            timeout=seconds,
        )
        assert done.returncode == 0, f"{command}\n{done.stdout[-4000:]}{done.stderr[-4000:]}"
        return done.stdout.strip()

    def has(self, image: str) -> bool:
        return image in self("images", "--format", "{{.Name}}:{{.Tag}}").split()

    def make_base(self, image: str) -> None:
        """Make what the Dockerfile begins with of the packages of the release in its name."""
        targets = ["apt-get", "indextargets", "--format", "$(REPO_URI)", "Created-By: Packages"]
        told = subprocess.run(
            [*targets, "Origin: Debian", "Label: Debian"],
            capture_output=True,
            text=True,
            check=False,
        )
        mirror = told.stdout.split("\n")[0]
        with tempfile.TemporaryDirectory(dir=self.storage) as folder:
            command = ["debootstrap", "--variant=minbase"]
            command += ["--include=ca-certificates,python3-venv,python3-dev"]
            made = subprocess.run(
                [*command, image.rsplit("-", 1)[1], folder, mirror],
                capture_output=True,
                text=True,
                check=False,
            )
            if made.returncode != 0:
                last = (made.stdout + made.stderr).strip().splitlines()[-1:]
                pytest.skip(f"no base image: debootstrap says {last}")
            (Path(folder) / "usr/local/bin/python").symlink_to("/usr/bin/python3")
            for archive in Path(folder).glob("var/cache/apt/archives/*.deb"):
                archive.unlink()
            container = self("from", "scratch")
            self("add", "--quiet", container, folder, "/")
        self("config", "--env", "PATH=/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin", container)
        self("commit", "--quiet", "--format=docker", container, image)
        self("rm", container)


@contextlib.contextmanager
def built(root: Path) -> Iterator[Path]:
    """The folder where `icehouse` lies, as deploy/docker/Dockerfile makes it of this tree."""
    needs_engine()
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
    storage = cache / "icehouse-images"
    storage.mkdir(parents=True, exist_ok=True)
    docker = root / "deploy" / "docker"
    with (storage / "lock").open("w") as lock:
        # One run at a time.
        fcntl.flock(lock, fcntl.LOCK_EX)
        buildah = Builder(storage)
        froms = [
            line.split()[1]
            for line in (docker / "Dockerfile").read_text().splitlines()
            if line.startswith("FROM ")
        ]
        assert len(set(froms)) == 1
        base = f"docker.io/library/{froms[0]}"
        if not buildah.has(base):
            buildah.make_base(base)
        mounts = [f"--volume={path}:{path}:ro" for path in MOUNTED if Path(path).exists()]
        command = ["build", "--isolation=chroot", "--network=host", "--pull-never"]
        command += ["--format=docker", f"--ignorefile={docker / 'Dockerfile.dockerignore'}"]
        command += [*mounts, f"--file={docker / 'Dockerfile'}", "--tag=icehouse", "."]
        buildah(*command, cwd=root)
        yield storage
        # Of what it made, only the base is of use to the next run.
        buildah("rmi", "--force", "icehouse")
        buildah("rmi", "--prune", "--force")


class Engine:
    """podman in namespaces of its own: what it started ends with it."""

    def __init__(self, storage: Path, folder: Path) -> None:
        self.folder = folder
        self.process: subprocess.Popen[bytes] | None = None
        self.program = folder / "podman"
        places = [*stored_at(storage), "--runroot=/run/engine", "--tmpdir=/run/libpod"]
        places += ["--network-config-dir=/run/networks", "--cgroup-manager=cgroupfs"]
        self.program.write_text(f'#!/bin/sh\nexec podman {" ".join(places)} --runtime=runc "$@"\n')
        self.program.chmod(0o755)
        # This machine may allow less than podman gives by default.
        files, processes = (
            resource.getrlimit(which)[1]
            for which in (resource.RLIMIT_NOFILE, resource.RLIMIT_NPROC)
        )
        self.files = files if files > 0 else 65536
        self.processes = processes if processes > 0 else 65536
        limits = [f"nofile={self.files}:{self.files}", f"nproc={self.processes}:{self.processes}"]
        (folder / "containers.conf").write_text(
            f"[containers]\ndefault_ulimits = {json.dumps(limits)}\n"
            '[engine]\nevents_logger = "file"\n'
        )

    def _inside(self, command: Sequence[str]) -> list[str]:
        assert self.process is not None
        unshare = self.process.pid
        first = wait_until(lambda: next(iter(children_of(unshare)), None), "its first process")
        return ["nsenter", f"--target={first}", "--mount", "--net", "--pid", *command]

    def run(
        self, command: Sequence[str], seconds: float = PATIENCE
    ) -> subprocess.CompletedProcess[str]:
        """Run a command where podman runs, as root."""
        return subprocess.run(
            self._inside(command),
            capture_output=True,
            text=True,
            check=False,
            timeout=seconds,
            cwd=self.folder,
            env={**os.environ, "CONTAINERS_CONF": str(self.folder / "containers.conf")},
        )

    def podman(self, *command: str) -> subprocess.CompletedProcess[str]:
        return self.run([str(self.program), *command])

    def __call__(self, *command: str) -> str:
        """What podman prints; an AssertionError with what it says if it fails."""
        done = self.podman(*command)
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
        return done.stdout

    def compose(self, *command: str, project: str, files: Sequence[Path]) -> str:
        """podman-compose; what containers of it don't know of the file is told here."""
        whole = [sys.executable, "-m", "podman_compose", f"--podman-path={self.program}"]
        whole += ["--project-name", project]
        for file in files:
            whole += ["--file", str(file)]
        done = self.run([*whole, *command], seconds=3 * PATIENCE)
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
        return done.stdout

    def __enter__(self) -> Self:
        command = [*LEASH, "--mount", "--net", "--mount-proc", "bash", "-c", SETUP]
        with (self.folder / "engine.log").open("wb") as log:
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        wait_until(lambda: self.run(["test", "-e", "/run/ready"]).returncode == 0, "its /run")
        self("rm", "--all", "--force")
        self("volume", "prune", "--force")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        assert self.process is not None
        self.podman("rm", "--all", "--force", "--time=0")
        for first in children_of(self.process.pid):
            os.kill(first, signal.SIGKILL)
        self.process.wait(PATIENCE)
        for own in GROUPS.glob("**/libpod_parent"):
            for at, _, _ in os.walk(own, topdown=False):
                with contextlib.suppress(OSError):
                    Path(at).rmdir()
