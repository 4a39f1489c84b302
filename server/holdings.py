r"""The daemon's side of the channel to its keeper, which holds every memory file under a text key.

hold() returns when the keeper has the descriptor: only then may a client be given it (H12). What is
held survives the daemon and comes back, in the order in which it was given, to the next one.

The messages (one datagram each, SOCK_SEQPACKET; the daemon asks, the keeper answers):

    H<key> + fd    hold, in place of what the key held      -> A, or E<why not>
    D<key>         close what the key holds                 (no answer)
    G<number>      what is held, from that one on           -> K<key>\n<key>... + fds, or Z: the end
    R              clients can connect                      (no answer)
    P              the daemon's loop turns                  (no answer)
"""

import array
import errno
import os
import socket

KEY_MAX = 200
BATCH = 32
MESSAGE_BYTES_MAX = 1 + BATCH * (KEY_MAX + 1)
# More than are ever held: the answer is only that there are no more.
AT_THE_END = 1 << 40
LISTENER_KEY = "socket"
LETTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_")


class KeeperGoneError(ConnectionError):
    """The keeper has ended: so must the daemon."""


def is_key(key: str) -> bool:
    """Whether a text may be a key."""
    return 0 < len(key) <= KEY_MAX and LETTERS.issuperset(key)


def send(channel: socket.socket, message: bytes, fds: list[int] | None = None) -> None:
    """Send one datagram, with descriptors."""
    ancillary = []
    if fds:
        ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))]
    channel.sendmsg([message], ancillary, socket.MSG_NOSIGNAL)


def receive(channel: socket.socket) -> tuple[bytes, list[int], bool]:
    """Receive one datagram: its bytes, its descriptors, and whether all of them came.

    Descriptors are lost where the receiver has no room for them (RLIMIT_NOFILE).
    """
    room = socket.CMSG_SPACE(BATCH * 4)
    message, ancillary, flags, _ = channel.recvmsg(MESSAGE_BYTES_MAX, room, socket.MSG_CMSG_CLOEXEC)
    fds = array.array("i")
    for level, kind, data in ancillary:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            fds.frombytes(data[: len(data) // fds.itemsize * fds.itemsize])
    return message, list(fds), not flags & socket.MSG_CTRUNC


class Holdings:
    """What the keeper holds for this daemon. Made once, at the start; for the loop's thread alone.

    `listener` is the socket on which clients connect. The descriptor of the channel becomes
    readable only when the keeper has ended.
    """

    def __init__(self, channel: socket.socket) -> None:
        self.channel = channel
        self._inherited: list[tuple[str, int]] = []
        self.listener = socket.socket(fileno=self._collect())

    def _collect(self) -> int:
        """Ask for everything, and give the listening socket's descriptor."""
        listener = -1
        count = 0
        while True:
            message, fds = self._ask(b"G%d" % count)
            if message == b"Z":
                break
            keys = message[1:].decode("ascii").split("\n")
            if message[:1] != b"K" or len(keys) != len(fds):
                raise KeeperGoneError(f"the keeper answered {message[:40]!r}")
            for key, fd in zip(keys, fds, strict=True):
                if key == LISTENER_KEY:
                    listener = fd
                else:
                    self._inherited.append((key, fd))
            count += len(keys)
        if listener < 0:
            raise KeeperGoneError("the keeper gave no listening socket")
        return listener

    def _ask(self, message: bytes, fds: list[int] | None = None) -> tuple[bytes, list[int]]:
        try:
            send(self.channel, message, fds)
            answer, given, whole = receive(self.channel)
        except (BrokenPipeError, ConnectionResetError):
            raise KeeperGoneError("the keeper has ended") from None
        if not answer:
            raise KeeperGoneError("the keeper has ended")
        if not whole:
            for fd in given:
                os.close(fd)
            raise OSError(errno.EMFILE, "no descriptor left for what the keeper holds")
        return answer, given

    def _tell(self, message: bytes) -> None:
        try:
            send(self.channel, message)
        except (BrokenPipeError, ConnectionResetError):
            raise KeeperGoneError("the keeper has ended") from None

    def all(self) -> list[tuple[str, int]]:
        """Give what a former daemon left, oldest first; the caller closes the descriptors."""
        inherited, self._inherited = self._inherited, []
        return inherited

    def hold(self, key: str, fd: int) -> None:
        """Give the keeper a descriptor; it has it, and a duplicate of its own, when this returns.

        OSError: it has no room for it, and holds nothing new. The caller's descriptor stays
        the caller's.
        """
        assert is_key(key), key
        answer, _ = self._ask(b"H" + key.encode("ascii"), [fd])
        if answer != b"A":
            raise OSError(errno.EMFILE, answer[1:].decode("utf-8", "replace"))

    def drop(self, key: str) -> None:
        """Let the keeper close what it holds under a key; nothing happens if it holds nothing."""
        assert is_key(key), key
        self._tell(b"D" + key.encode("ascii"))

    def settle(self) -> None:
        """Return when the keeper has closed all that was dropped: its memory is free then."""
        self._ask(b"G%d" % AT_THE_END)

    def ready(self) -> None:
        """Say that clients are served from now on."""
        self._tell(b"R")

    def alive(self) -> None:
        """Say that the loop turns; the watchdog of systemd hears of it."""
        self._tell(b"P")

    def fileno(self) -> int:
        """Give the channel's descriptor, for a loop that wants to know when the keeper ends."""
        return self.channel.fileno()
