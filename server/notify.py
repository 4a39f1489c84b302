"""What a service and systemd say to each other: sd_notify(3), sd_listen_fds(3), FDSTORE.

Outside systemd all of it does nothing. The keeper uses this, so it imports little (H12).

systemd hands stored descriptors back in no order that it promises, and a later key may stand for
the same segment as an earlier one. So each is stored under "<number>.<key>", and the numbers give
the order.
"""

import array
import contextlib
import os
import socket

FIRST_FD = 3
NAME_MAX = 255
SEND_SECONDS = 2.0


class Notifier:
    """Sends to the NOTIFY_SOCKET of an environment, if there is one."""

    def __init__(self, environment: dict[str, str]) -> None:
        address = environment.get("NOTIFY_SOCKET", "")
        self.address = "\0" + address[1:] if address.startswith("@") else address
        self.watchdog_seconds = 0.0
        ours = environment.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        if ours and environment.get("WATCHDOG_USEC", "").isdecimal():
            self.watchdog_seconds = int(environment["WATCHDOG_USEC"]) / 1e6
        self._names: dict[str, str] = {}
        self._number = 0

    def send(self, *lines: str, fd: int | None = None) -> bool:
        """Send one notice; False if nobody wants it or it can't be sent."""
        if not self.address:
            return False
        ancillary = []
        if fd is not None:
            ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [fd]))]
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
                sender.settimeout(SEND_SECONDS)
                sender.sendmsg(["\n".join(lines).encode()], ancillary, 0, self.address)
        except OSError:
            return False
        return True

    def ready(self, status: str) -> None:
        """Say that clients can connect."""
        self.send("READY=1", f"STATUS={status}")

    def stopping(self) -> None:
        """Say that the end has begun."""
        self.send("STOPPING=1")

    def alive(self) -> None:
        """Feed the watchdog."""
        self.send("WATCHDOG=1")

    def store(self, key: str, fd: int) -> bool:
        """Give systemd a descriptor to keep over our own death."""
        name = f"{self._number}.{key}"
        self._number += 1
        self.forget(key)
        # Memory files can't be polled; systemd need not try.
        if not self.send("FDSTORE=1", f"FDNAME={name}", "FDPOLL=0", fd=fd):
            return False
        self._names[key] = name
        return True

    def forget(self, key: str) -> None:
        """Tell systemd to close what it keeps under a key."""
        name = self._names.pop(key, None)
        if name is not None:
            self.send("FDSTOREREMOVE=1", f"FDNAME={name}")

    def remember(self, stored: list[tuple[str, str, int]]) -> None:
        """Take over what a former process stored: (name, key, number) each."""
        for name, key, number in stored:
            self._names[key] = name
            self._number = max(self._number, number + 1)


class Inherited:
    """The descriptors that systemd passed: a listening socket, and what was stored."""

    def __init__(self, environment: dict[str, str], first: int = FIRST_FD) -> None:
        self.listener: socket.socket | None = None
        self.stored: list[tuple[str, int]] = []
        self.names: list[tuple[str, str, int]] = []
        if environment.get("LISTEN_PID") != str(os.getpid()):
            return
        text = environment.get("LISTEN_FDS", "")
        count = int(text) if text.isdecimal() and len(text) < 7 else 0
        names = environment.get("LISTEN_FDNAMES", "").split(":")
        found: list[tuple[int, str, str, int]] = []
        for offset in range(count):
            fd = first + offset
            os.set_inheritable(fd, False)  # noqa: FBT003
            name = names[offset] if offset < len(names) else "unknown"
            number, dot, key = name.partition(".")
            if dot and number.isdecimal() and key:
                found.append((int(number), name, key, fd))
            elif self.listener is None and (listener := listening(fd)) is not None:
                self.listener = listener
            else:
                os.close(fd)
        for order, stored, key, fd in sorted(found):
            self.stored.append((key, fd))
            self.names.append((stored, key, order))


def listening(fd: int) -> socket.socket | None:
    """Give a listening Unix socket of that descriptor, or None if it is anything else."""
    with contextlib.suppress(OSError):
        candidate = socket.socket(fileno=fd)
        unix = (candidate.family, candidate.type) == (socket.AF_UNIX, socket.SOCK_STREAM)
        if unix and candidate.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            return candidate
        candidate.detach()
    return None
