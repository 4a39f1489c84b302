"""Who is at the other end of a connection on this machine.

HTTP on loopback is open to every user of the machine; the kernel knows which of them made the
socket at the other end, and tells it in /proc. So what is in images can be told to those alone whom
the daemon would serve through its socket, too.
"""

import asyncio
import os
import pwd
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from starlette.requests import Request

from icehouse.server.admin.problems import ProblemError

__all__ = ["Readers", "uid_of"]

TABLES = Path("/proc/self/net")
ESTABLISHED = "01"
MAPPED = b"\0" * 10 + b"\xff\xff"
Place = tuple[str, int]


def written(address: bytes, port: int) -> str:
    """Write a place as the kernel's tables do: words of 32 bits in the machine's order."""
    words = (address[at : at + 4] for at in range(0, len(address), 4))
    return "".join(f"{int.from_bytes(word, sys.byteorder):08X}" for word in words) + f":{port:04X}"


def forms_of(client: Place, server: Place) -> Iterator[tuple[str, str, str]]:
    """Give the tables in which the connection may stand, and both of its ends as written there."""
    family = socket.AF_INET6 if ":" in client[0] else socket.AF_INET
    ends = [(socket.inet_pton(family, host), port) for host, port in (client, server)]
    if family == socket.AF_INET:
        yield "tcp", written(*ends[0]), written(*ends[1])
        # A socket of the other family may lead to an address of this one.
        ends = [(MAPPED + address, port) for address, port in ends]
    yield "tcp6", written(*ends[0]), written(*ends[1])


def uid_of(client: Place, server: Place) -> int | None:
    """Find who made the client's socket of an open connection on this machine; None: not known.

    O(sockets of the machine).
    """
    for table, near, far in forms_of(client, server):
        try:
            with (TABLES / table).open() as lines:
                for line in lines:
                    cells = line.split()
                    # What has ended belongs to nobody: its uid says nothing.
                    if cells[1:4] == [near, far, ESTABLISHED]:
                        return int(cells[7])
        except (OSError, ValueError, IndexError):
            continue
    return None


def groups_of(uid: int) -> list[int]:
    """Give the groups of a user."""
    try:
        user = pwd.getpwuid(uid)
        return os.getgrouplist(user.pw_name, user.pw_gid)
    except (KeyError, OSError):
        return []


class Readers:
    """Decides to whom the content of images is told."""

    def __init__(self, role_of: Callable[[int, list[int]], int]) -> None:
        """`role_of` gives a user's role with the daemon, by uid and groups; 0: none."""
        self._role_of = role_of

    async def check(self, request: Request) -> None:
        """ProblemError `not-permitted` for a request of a user whom the daemon would not serve."""
        client, server = request.scope.get("client"), request.scope.get("server")
        uid = None
        if client is not None and server is not None and server[1] is not None:
            uid = await asyncio.to_thread(uid_of, tuple(client), tuple(server))
        if uid is None:
            raise ProblemError(
                "not-permitted", "content is told to known users, and whose request this is is not"
            )
        if not self._role_of(uid, groups_of(uid)):
            raise ProblemError(
                "not-permitted",
                f"content is told to those who may read the store, and user {uid} may not;"
                " roles.reader of the configuration lets users in",
            )
