"""Connecting to the daemon: which socket, and the store behind it."""

import os
import stat

from icehouse.store.embedded import Store
from icehouse.store.errors import StoreUnavailable

__all__ = ["connect", "default_socket", "socket_path"]


def default_socket() -> str:
    """Return the path of the socket that connect() and `icehouse serve` use if none is given.

    `$ICEHOUSE_SOCKET`, else `$XDG_RUNTIME_DIR/icehouse/socket`, else
    `/tmp/icehouse-<uid>/socket`.
    """
    if given := os.environ.get("ICEHOUSE_SOCKET"):
        return given
    if runtime := os.environ.get("XDG_RUNTIME_DIR"):
        return f"{runtime}/icehouse/socket"
    return f"/tmp/icehouse-{os.getuid()}/socket"  # noqa: S108 - its owner is checked


def _check_owner(path: str) -> None:
    """In /tmp anybody may make the folder first and listen in it for what others put."""
    parent = path.rpartition("/")[0]
    try:
        folder = os.lstat(parent)
    except FileNotFoundError:
        return  # connecting says it better
    if not stat.S_ISDIR(folder.st_mode) or folder.st_uid != os.getuid() or folder.st_mode & 0o022:
        error = StoreUnavailable(
            f"connect: {parent} is not a folder that only this user can write, so"
            f" whoever listens at {path} may be somebody else; set ICEHOUSE_SOCKET, or remove it"
        )
        error.socket = path
        raise error


def socket_path(socket: str | os.PathLike[str] | None = None) -> str:
    """Give the whole path of the socket to connect to; StoreUnavailable where it is not safe."""
    if socket is None:
        path = default_socket()
        if path == f"/tmp/icehouse-{os.getuid()}/socket":  # noqa: S108 - checked here
            _check_owner(path)
        return path
    # One store, however its socket is written; and a forked child may be in another folder.
    path = os.fspath(socket)
    if not path.startswith("/"):
        path = f"{os.getcwd()}/{path}"  # noqa: PTH109 - pathlib would be imported for this alone
    return path


def connect(socket: str | os.PathLike[str] | None = None) -> Store:
    """Connect to the daemon (`icehouse serve`) and return its store, shared by all who connect.

    Without a socket it is `$ICEHOUSE_SOCKET`, else `$XDG_RUNTIME_DIR/icehouse/socket`, else
    `/tmp/icehouse-<uid>/socket`. All connect() calls of a process, in whichever of its
    interpreters, share one connection; it is made again by itself if it is lost, and by a forked
    child for itself. StoreUnavailable if no daemon answers, naming the socket; NotPermitted if it
    refuses this user.
    """
    return Store.connect(socket_path(socket))
