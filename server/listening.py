"""The listening socket: one daemon for one path, whatever was left there by a former one.

A lock on a file beside the socket says whether its daemon lives: the kernel lets go of it at any
death. The lock file stays: if it were removed, two daemons could hold locks of two files of its
name.
The keeper uses this, so it imports little (H12).
"""

import contextlib
import errno
import fcntl
import os
import socket
import stat

BACKLOG = 1024
PATH_BYTES_MAX = 107


class CannotListenError(Exception):
    """The socket can't be made; the message says why and what to do."""


class Claim:
    """A path that is ours while this process lives, with the socket that listens there."""

    def __init__(self, path: str, mode: int) -> None:
        if len(os.fsencode(path)) > PATH_BYTES_MAX:
            raise CannotListenError(
                f"the path of a socket has at most {PATH_BYTES_MAX} bytes, not "
                f"{len(os.fsencode(path))}: {path}; choose a shorter one with --socket"
            )
        self.path = path
        folder = os.path.dirname(path)  # noqa: PTH120 (no pathlib here)
        try:
            make_folder(folder, mode)
            self.lock, fresh = lock(path + ".lock")
            try:
                remove_stale(path, fresh=fresh)
                self.listener = listen(path, mode)
            except BaseException:
                os.close(self.lock)
                raise
        except OSError as error:
            where = error.filename or path
            hint = (
                "make that folder" if error.errno == errno.ENOENT else "see that it can be written"
            )
            raise CannotListenError(
                f"cannot listen on {path}: {where}: {error.strerror}: "
                f"{hint}, or choose another place with --socket"
            ) from None
        self.inode = os.lstat(path).st_ino

    def release(self) -> None:
        """Remove the socket, if it is still ours, and let another daemon have the path."""
        self.listener.close()
        try:
            if os.lstat(self.path).st_ino == self.inode:
                os.unlink(self.path)  # noqa: PTH108
        except FileNotFoundError:
            pass
        os.close(self.lock)


def make_folder(folder: str, mode: int) -> None:
    """Make the socket's folder; refuse one where others could replace the socket."""
    others = mode & 0o007
    with contextlib.suppress(FileExistsError):
        os.mkdir(folder, 0o711 if others else 0o700)  # noqa: PTH102
    # What the path leads to counts; a link itself can't be trusted in a folder of others, but then
    # its target is not ours either.
    found = os.stat(folder)  # noqa: PTH116
    if not stat.S_ISDIR(found.st_mode):
        raise CannotListenError(f"{folder} is no folder: choose another place with --socket")
    if found.st_uid not in (os.getuid(), 0):
        raise CannotListenError(
            f"{folder} belongs to uid {found.st_uid}, who could listen in your place: "
            "choose another place with --socket"
        )
    if found.st_mode & stat.S_IWOTH and not found.st_mode & stat.S_ISVTX:
        raise CannotListenError(
            f"everybody may write in {folder} and could listen in your place: chmod o-w {folder}, "
            "or choose another place with --socket"
        )


def lock(path: str) -> tuple[int, bool]:
    """Lock the file beside the socket: its descriptor, and whether it is new."""
    flags = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW
    try:
        fd, fresh = os.open(path, flags | os.O_CREAT | os.O_EXCL, 0o600), True
    except FileExistsError:
        fd, fresh = os.open(path, flags), False
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.ftruncate(fd, 0)
        os.pwrite(fd, b"%d\n" % os.getpid(), 0)
    except BlockingIOError:
        pid = os.pread(fd, 20, 0).decode("ascii", "replace").strip()
        os.close(fd)
        raise CannotListenError(
            f"another icehouse serves {path.removesuffix('.lock')} (pid {pid or 'unknown'}): "
            "use that one, stop it first, or choose another place with --socket"
        ) from None
    except OSError:
        os.close(fd)
        raise
    return fd, fresh


def remove_stale(path: str, *, fresh: bool) -> None:
    """Remove the socket of a daemon that has died; refuse what is anything else."""
    try:
        found = os.lstat(path)
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(found.st_mode):
        raise CannotListenError(
            f"{path} is there and is no socket: remove it, or choose another place with --socket"
        )
    # With the lock of a former daemon in our hands, the socket is its own. Without, it may be the
    # living socket of another program.
    if fresh and answers(path):
        raise CannotListenError(
            f"another program listens on {path}: choose another place with --socket"
        )
    os.unlink(path)  # noqa: PTH108


def answers(path: str) -> bool:
    """Whether anybody listens there."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(0)
        status = probe.connect_ex(path)
    return status not in (errno.ECONNREFUSED, errno.ENOENT)


def listen(path: str, mode: int) -> socket.socket:
    """Listen; nobody can connect before the mode is set."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        before = os.umask(0o177)
        try:
            listener.bind(path)
        finally:
            os.umask(before)
        os.chmod(path, mode)  # noqa: PTH101
        listener.listen(BACKLOG)
    except BaseException:
        listener.close()
        raise
    return listener
