"""The checks of `icehouse doctor`: of this machine, of the installation, and of the daemon.

Each gives findings, with the very command that mends what is not as it should be. A check that
can't look says so and is no failure.
"""

import enum
import fcntl
import os
import resource
import shlex
import stat
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from icehouse.store.wire import messages

# What a daemon with many clients and large objects needs.
DESCRIPTORS_WANTED = 4096
MAPS_WANTED = 65_530
SOCKET_PATH_BYTES_MAX = 107
FULL_SHARE = 0.85
SERVICE = ("fastapi", "jinja2", "prometheus_client", "uvicorn")
PYTHONS = ((3, 11), (3, 15))
CGROUP = Path("/sys/fs/cgroup")
CGROUP_FILES = ("memory.max", "memory.current")
# Where a socket may be whatever the other place has.
ELSEWHERE = "export ICEHOUSE_SOCKET=$HOME/.icehouse/socket"
ANSWER_SECONDS = 1.0
# As Linux has them, where Python has no names for them yet.
F_ADD_SEALS = getattr(fcntl, "F_ADD_SEALS", 1033)
F_SEAL_SHRINK_GROW_WRITE = 0x2 | 0x4 | 0x8
F_OFD_SETLK = getattr(fcntl, "F_OFD_SETLK", 37)


class State(enum.StrEnum):
    """How a finding is."""

    OK = "ok"
    INFO = "info"
    WARNING = "warning"
    FAILURE = "failure"


class Finding(NamedTuple):
    """What a check found, and what to do."""

    check: str
    state: State
    found: str
    fix: str | None = None


Check = Callable[[str], Iterator[Finding]]


def well(check: str, found: str) -> Finding:
    """Make a finding of what is as it should be."""
    return Finding(check, State.OK, found)


def text_of(path: str | Path) -> str | None:
    """Read a small file of the kernel; None if it can't be read."""
    try:
        return Path(path).read_text().strip()
    except OSError:
        return None


# --- the installation ---


def python(_socket: str) -> Iterator[Finding]:
    """Which Python runs, and whether it is one that is supported."""
    version = ".".join(map(str, sys.version_info[:3]))
    name = sys.implementation.name
    if name != "cpython" or sys.version_info < PYTHONS[0]:
        fix = "use CPython 3.11 to 3.15: python3.13 -m venv venv"
        yield Finding("python", State.FAILURE, f"{name} {version}", fix)
    elif sys.version_info[:2] > PYTHONS[1]:
        fix = "it is newer than what icehouse was tested with; CPython 3.11 to 3.15 were"
        yield Finding("python", State.WARNING, f"CPython {version}", fix)
    else:
        yield well("python", f"CPython {version}, {sys.executable}")


def extension(_socket: str) -> Iterator[Finding]:
    """Whether both compiled modules load."""
    fix = f"{sys.executable} -m pip install --force-reinstall icehouse"
    for module, what in (("_image", "reads and freezes"), ("_arena", "administers memory")):
        try:
            loaded = __import__(f"icehouse.native.{module}", fromlist=["_"])
        except ImportError as error:
            yield Finding("extension", State.FAILURE, f"{module} does not load: {error}", fix)
        else:
            yield well(
                "extension", f"{module}, which {what}, loads: {Path(str(loaded.__file__)).name}"
            )


def libraries(_socket: str) -> Iterator[Finding]:
    """Whether the admin side could be served: not everybody wants it."""
    from importlib.util import find_spec

    missing = [name for name in SERVICE if find_spec(name) is None]
    if missing:
        found = f"`icehouse serve --http` needs {', '.join(missing)}"
        fix = f"{shlex.quote(sys.executable)} -m pip install 'icehouse[service]'"
        yield Finding("service", State.INFO, found, fix)
    else:
        yield well("service", "what `icehouse serve --http` needs is there")


def interpreters(_socket: str) -> Iterator[Finding]:
    """Whether icehouse works in an interpreter with a GIL of its own."""
    from icehouse.store import interpreters as ours

    if not ours.supported():
        yield Finding("interpreters", State.INFO, "this Python has no subinterpreters")
        return
    try:
        with ours.Interpreter() as one:
            one.run("import icehouse; assert icehouse.freeze([1]) == [1]")
    except Exception as error:
        fix = "please report it, with the output of `icehouse doctor --json`"
        found = f"icehouse does not work in a subinterpreter: {error}"
        yield Finding("interpreters", State.FAILURE, found.replace("\n", " "), fix)
        return
    if ours.own_gil():
        yield well(
            "interpreters", "subinterpreters have GILs of their own, and icehouse loads there"
        )
    else:
        fix = "with Python 3.12 or later they run at the same time"
        found = "subinterpreters share one GIL and take turns"
        yield Finding("interpreters", State.INFO, found, fix)


# --- the kernel ---


def memory_files(_socket: str) -> Iterator[Finding]:
    """Whether memory files can be made, filled and sealed."""
    try:
        descriptor = os.memfd_create("icehouse-doctor", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    except (OSError, AttributeError) as error:
        fix = "allow memfd_create in the container's seccomp profile; Linux 5.4 or later has it"
        yield Finding("memfd", State.FAILURE, f"no memory file can be made: {error}", fix)
        return
    try:
        os.posix_fallocate(descriptor, 0, 65536)
        yield well("memfd", "memory files can be made and filled")
        fcntl.fcntl(descriptor, F_ADD_SEALS, F_SEAL_SHRINK_GROW_WRITE)
        try:
            os.pwrite(descriptor, b"x", 0)
        except PermissionError:
            yield well("seals", "the kernel keeps everybody from writing a sealed one")
        else:
            fix = "use a Linux kernel that has seals (5.4 or later), and not an emulation of one"
            yield Finding("seals", State.FAILURE, "a sealed memory file can be written", fix)
    except OSError as error:
        fix = "see the memory limit of this container, and its seccomp profile"
        found = f"a memory file can't be filled and sealed: {error}"
        yield Finding("seals", State.FAILURE, found, fix)
    finally:
        os.close(descriptor)


def file_locks(_socket: str) -> Iterator[Finding]:
    """Whether locks of open files work, by which the daemon sees that a process has ended."""
    import struct

    # struct flock: type, whence, start, length, pid.
    wanted = struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, 0, 1, 0)
    descriptor = os.memfd_create("icehouse-doctor", os.MFD_CLOEXEC)
    try:
        fcntl.fcntl(descriptor, F_OFD_SETLK, wanted)
    except OSError as error:
        fix = "use Linux 5.4 or later, and not an emulation of it"
        yield Finding("locks", State.FAILURE, f"open file locks don't work: {error}", fix)
    else:
        yield well("locks", "open file locks work: the death of a process is noticed")
    finally:
        os.close(descriptor)


def shared_folder(_socket: str) -> Iterator[Finding]:
    """Tell those who look for /dev/shm that it does not matter."""
    found = "not used, whatever its size: memory lies in memory files"
    yield Finding("/dev/shm", State.INFO, found)  # noqa: S108 - no file is made there


def descriptors(_socket: str) -> Iterator[Finding]:
    """How many descriptors a process may have."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard == resource.RLIM_INFINITY or hard >= DESCRIPTORS_WANTED:
        yield well("descriptors", f"{soft} now, up to {hard}: the daemon takes what it may have")
        return
    fix = (
        f"echo '{os.environ.get('USER', '*')} hard nofile 65536' |"
        " sudo tee /etc/security/limits.d/icehouse.conf, and log in again;"
        " LimitNOFILE=65536 in a systemd unit; --ulimit nofile=65536 for docker run"
    )
    found = f"at most {hard}: each segment and client takes one"
    yield Finding("descriptors", State.WARNING, found, fix)


def mappings(_socket: str) -> Iterator[Finding]:
    """How many pieces of memory a process may map."""
    text = text_of("/proc/sys/vm/max_map_count")
    if text is None or not text.isdecimal():
        yield Finding("mappings", State.INFO, "vm.max_map_count can't be read here")
    elif int(text) < MAPS_WANTED:
        fix = (
            "echo vm.max_map_count=262144 | sudo tee /etc/sysctl.d/icehouse.conf"
            " && sudo sysctl --system"
        )
        found = f"a process may map {text} pieces of memory: each large object takes one or two"
        yield Finding("mappings", State.WARNING, found, fix)
    else:
        yield well("mappings", f"a process may map {text} pieces of memory")


def memory(socket: str) -> Iterator[Finding]:
    """How much memory there is for a store, as the daemon sees it."""
    from icehouse.client.cli.words import size_text

    try:
        from icehouse.native._arena import lib
    except ImportError:
        return
    limit = 2 * int(lib.ih_default_capacity())
    found = f"{size_text(limit)} by cgroup and machine; the default capacity is half of it"
    capacity, committed = limit // 2, 0
    told = status_of(socket)
    if told is not None:
        capacity, committed = told.capacity, told.committed
        found = (
            f"{size_text(limit)} by cgroup and machine; the daemon may take {size_text(capacity)}"
        )
    available = memory_free()
    if available is not None and available < capacity - committed:
        least = (available + committed) // 2 // 2**20
        found += f"; only {size_text(available)} are free now"
        fix = f"icehouse serve --capacity {least}MiB, or free some memory"
        yield Finding("memory", State.WARNING, found, fix)
    else:
        yield well("memory", found)


def status_of(socket: str) -> "messages.Status | None":
    """Ask a daemon how it is; None if it does not say so at once."""
    from icehouse.client.control import Control
    from icehouse.store.errors import IcehouseError
    from icehouse.store.wire import messages

    if not socket:
        return None
    try:
        with Control(socket, timeout=ANSWER_SECONDS) as control:
            return control.ask(messages.AskStatus(), messages.Status)
    except (OSError, IcehouseError):
        return None


def memory_free() -> int | None:
    """How many bytes the machine and the cgroup of this process still have; None if untold."""
    free = [
        int(line.split()[1]) * 1024
        for line in (text_of("/proc/meminfo") or "").splitlines()
        if line.startswith("MemAvailable:")
    ]
    for line in (text_of("/proc/self/cgroup") or "").splitlines():
        _, _, rest = line.partition(":")
        kinds, _, place = rest.partition(":")
        if place and (not kinds or "memory" in kinds.split(",")):
            free += cgroup_free(place.strip("/"), "memory" if kinds else "")
    return min(free, default=None)


def cgroup_free(place: str, mount: str) -> Iterator[int]:
    """Give what a cgroup and each around it has left, where it has a limit."""
    limit, usage = ("memory.limit_in_bytes", "memory.usage_in_bytes") if mount else CGROUP_FILES
    folder = CGROUP / mount / place
    while folder.is_relative_to(CGROUP / mount):
        most, taken = text_of(folder / limit), text_of(folder / usage)
        if most is not None and most.isdecimal() and taken is not None and taken.isdecimal():
            # What was read from files is given back when it is wanted.
            cache = [
                int(line.split()[1])
                for line in (text_of(folder / "memory.stat") or "").splitlines()
                if line.startswith(("inactive_file ", "total_inactive_file "))
            ]
            yield max(int(most) - int(taken) + max(cache, default=0), 0)
        folder = folder.parent


def huge_pages(_socket: str) -> Iterator[Finding]:
    """Whether the kernel gives memory files huge pages."""
    text = text_of("/sys/kernel/mm/transparent_hugepage/shmem_enabled")
    if text is None:
        yield Finding("huge pages", State.INFO, "this kernel has none for memory files")
        return
    chosen = text.partition("[")[2].partition("]")[0]
    if chosen in ("always", "within_size", "force"):
        yield well("huge pages", f"memory files may have them ({chosen})")
        return
    fix = (
        "where large arrays are scanned: echo within_size |"
        " sudo tee /sys/kernel/mm/transparent_hugepage/shmem_enabled"
    )
    yield Finding("huge pages", State.INFO, f"memory files have none ({chosen})", fix)


# --- the socket and the daemon ---


def socket_folder(socket: str) -> Iterator[Finding]:
    """Whether nobody else can listen in the daemon's place."""
    if len(os.fsencode(socket)) > SOCKET_PATH_BYTES_MAX:
        found = f"{socket} is too long for a socket, which may have 107 bytes"
        yield Finding("socket", State.FAILURE, found, ELSEWHERE)
        return
    folder = os.path.dirname(socket)  # noqa: PTH120 - a socket's path is text throughout
    try:
        owned = os.stat(folder)  # noqa: PTH116 - as above
    except OSError as error:
        if isinstance(error, FileNotFoundError):
            yield Finding("socket", State.INFO, f"{folder} will be made by `icehouse serve`")
        else:
            yield Finding("socket", State.FAILURE, f"{folder}: {error.strerror}", ELSEWHERE)
        return
    mode = stat.S_IMODE(owned.st_mode)
    if not stat.S_ISDIR(owned.st_mode):
        yield Finding("socket", State.FAILURE, f"{folder} is no folder", ELSEWHERE)
    elif owned.st_uid not in (os.getuid(), 0):
        told = f"{folder} belongs to uid {owned.st_uid}, who decides who listens there"
        yield Finding("socket", State.INFO, told, f"for a daemon of your own: {ELSEWHERE}")
    elif mode & 0o022 and not mode & stat.S_ISVTX:
        fix = f"chmod go-w {shlex.quote(folder)}"
        told = f"{folder} has mode {mode:04o}: others could listen in the daemon's place"
        yield Finding("socket", State.FAILURE, told, fix)
    else:
        yield well("socket", f"{socket}, in a folder of mode {mode:04o}")


def daemon(socket: str) -> Iterator[Finding]:
    """Whether a daemon answers, of this version, and how it is."""
    import time

    import icehouse
    from icehouse.client.control import Control
    from icehouse.store.wire import messages

    try:
        with Control(socket, timeout=10.0) as control:
            began = time.perf_counter()
            control.ask(messages.Ping(), messages.Done)
            took = time.perf_counter() - began
            told = control.ask(messages.AskStatus(), messages.Status)
            role = control.welcome.role
            metrics = (
                control.ask(messages.AskMetrics(), messages.Metrics) if role == "admin" else None
            )
    except icehouse.NotPermitted as error:
        fix = f"icehouse serve --set roles.producer.uids={os.getuid()}, with what it has been given"
        yield Finding("daemon", State.FAILURE, str(error), fix)
    except PermissionError:
        yield forbidden(socket)
    except icehouse.StoreUnavailable as error:
        yield Finding("daemon", State.FAILURE, *unanswered(socket, str(error)))
    except icehouse.ProtocolError as error:
        fix = f"install the same release for both: this one is icehouse {icehouse.__version__}"
        yield Finding("daemon", State.FAILURE, str(error), fix)
    else:
        answer = f"pid {told.pid} answers in {took * 1e6:.0f} µs; you are {role}"
        yield well("daemon", answer)
        yield from daemon_version(told)
        yield from daemon_health(told, metrics)


def forbidden(socket: str) -> Finding:
    """Say how this user gets to a socket that is there."""
    told = f"this user may not connect to {socket}"
    try:
        owner = os.stat(socket).st_uid  # noqa: PTH116 - a socket's path is text throughout
    except OSError:
        owner = -1
    if owner == os.getuid():
        return Finding("daemon", State.FAILURE, told, f"chmod 600 {shlex.quote(socket)}")
    fix = f"icehouse serve --set roles.producer.uids={os.getuid()}, by whoever runs the daemon"
    return Finding("daemon", State.FAILURE, told, fix)


def listener(socket: str) -> int | None:
    """Give the pid of who listens at a socket, the keeper; None where it is nobody's to be seen."""
    import socket as sockets
    import struct

    with sockets.socket(sockets.AF_UNIX, sockets.SOCK_STREAM) as probe:
        # A queue that is full is that of somebody who listens, and does not tell whose.
        probe.settimeout(1.0)
        try:
            probe.connect(socket)
            packed = probe.getsockopt(sockets.SOL_SOCKET, sockets.SO_PEERCRED, 12)
        except OSError:
            return None
    pid: int = struct.unpack("iII", packed)[0]
    return pid or None


def unanswered(socket: str, told: str) -> tuple[str, str]:
    """Say why no daemon answers at a socket, and what helps."""
    pid = listener(socket)
    if pid is None:
        return told, f"icehouse serve --socket {shlex.quote(socket)}"
    found = f"pid {pid} listens at {socket}, and no daemon of it answers"
    running = [child for child in children_of(pid) if is_daemon(child)]
    if running:
        # Its keeper has all that matters, and starts another.
        return found, f"kill -9 {running[0]}"
    return found, f"kill {pid}; icehouse serve --socket {shlex.quote(socket)}"


def children_of(pid: int) -> list[int]:
    """Give the processes that one has started; none where they can't be seen."""
    return [int(word) for word in (text_of(f"/proc/{pid}/task/{pid}/children") or "").split()]


def is_daemon(pid: int) -> bool:
    """Whether a process is the daemon proper, and not what speaks HTTP."""
    return "icehouse.server" in (text_of(f"/proc/{pid}/cmdline") or "").split("\0")


def daemon_version(told: "messages.Status") -> Iterator[Finding]:
    """Compare releases: they speak the same protocol, or they would not have spoken."""
    import icehouse

    if told.version == icehouse.__version__:
        yield well("version", f"both are icehouse {told.version}")
        return
    found = f"the daemon is icehouse {told.version}, and this is {icehouse.__version__}"
    fix = "restart the daemon with the release that its clients have"
    yield Finding("version", State.WARNING, found, fix)


def daemon_health(
    told: "messages.Status",
    metrics: "messages.Metrics | None",
) -> Iterator[Finding]:
    """Look at what a daemon says of itself."""
    from icehouse.client.cli.words import size_text

    share = told.committed / told.capacity if told.capacity else 0.0
    found = f"{size_text(told.committed)} of {size_text(told.capacity)} taken, {share:.0%}"
    if share >= FULL_SHARE:
        fix = "icehouse gc --orphans; icehouse ls --sort size; or raise --capacity, or set --spill"
        yield Finding("room", State.WARNING, found, fix)
    else:
        yield well("room", found)
    if metrics is None:
        return
    corruptions = sum(metrics.counters.get("corruptions", {}).values())
    errors = sum(metrics.counters.get("errors", {}).values())
    if corruptions:
        fix = "icehouse verify says which objects; export what is sound, and restart the daemon"
        yield Finding("damage", State.FAILURE, f"damage was found {corruptions} times", fix)
    if errors:
        fix = "see its log for `error`, and report it"
        yield Finding("errors", State.WARNING, f"the daemon had {errors} faults of its own", fix)
    if not corruptions and not errors:
        yield well("damage", "none found")


MACHINE: tuple[Check, ...] = (
    python,
    extension,
    libraries,
    interpreters,
    memory_files,
    file_locks,
    shared_folder,
    descriptors,
    mappings,
    memory,
    huge_pages,
)
DAEMON: tuple[Check, ...] = (socket_folder, daemon)
