"""What systemd hears and passes: a socket of ours in its place."""

import array
import os
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from keepers import Keeper, gone

from icehouse.server.notify import Inherited, Notifier


class Systemd:
    """Receives notices, and keeps what is stored, as the real one does."""

    def __init__(self, folder: Path) -> None:
        self.path = str(folder / "notify")
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(self.path)
        self.socket.settimeout(60)
        self.stored: dict[str, int] = {}

    def next(self) -> dict[str, str]:
        """The next notice. FDSTORE and FDSTOREREMOVE are done."""
        room = socket.CMSG_SPACE(4)
        message, ancillary, _, _ = self.socket.recvmsg(4096, room)
        notice = dict(line.split("=", 1) for line in message.decode().split("\n"))
        if "FDSTORE" in notice:
            (fd,) = array.array("i", ancillary[0][2])
            self.stored[notice["FDNAME"]] = fd
        else:
            assert ancillary == []
        if "FDSTOREREMOVE" in notice:
            os.close(self.stored.pop(notice["FDNAME"]))
        return notice

    def until(self, key: str) -> dict[str, str]:
        while key not in (notice := self.next()):
            pass
        return notice

    def close(self) -> None:
        self.socket.close()
        for fd in self.stored.values():
            os.close(fd)


@pytest.fixture
def systemd(tmp_path: Path) -> Iterator[Systemd]:
    made = Systemd(tmp_path)
    yield made
    made.close()


def test_outside_systemd_nothing_happens() -> None:
    notifier = Notifier({})
    assert notifier.send("READY=1") is False
    assert notifier.store("key", 0) is False
    assert notifier.watchdog_seconds == 0
    inherited = Inherited({})
    assert (inherited.listener, inherited.stored) == (None, [])


def test_notices(systemd: Systemd) -> None:
    notifier = Notifier({"NOTIFY_SOCKET": systemd.path})
    notifier.ready("serving")
    assert systemd.next() == {"READY": "1", "STATUS": "serving"}
    notifier.alive()
    assert systemd.next() == {"WATCHDOG": "1"}
    notifier.stopping()
    assert systemd.next() == {"STOPPING": "1"}


def test_an_abstract_address() -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        name = f"icehouse-test-{os.getpid()}"
        receiver.bind(f"\0{name}")
        assert Notifier({"NOTIFY_SOCKET": f"@{name}"}).send("READY=1")
        assert receiver.recv(100) == b"READY=1"


def test_nobody_there(tmp_path: Path) -> None:
    assert Notifier({"NOTIFY_SOCKET": str(tmp_path / "none")}).send("READY=1") is False


@pytest.mark.parametrize(
    ("variables", "seconds"),
    [
        ({"WATCHDOG_USEC": "3000000"}, 3.0),
        ({"WATCHDOG_USEC": "3000000", "WATCHDOG_PID": str(os.getpid())}, 3.0),
        ({"WATCHDOG_USEC": "3000000", "WATCHDOG_PID": "1"}, 0.0),
        ({"WATCHDOG_USEC": "soon"}, 0.0),
    ],
)
def test_the_watchdog(variables: dict[str, str], seconds: float) -> None:
    assert Notifier(variables).watchdog_seconds == seconds


def test_stored_under_numbers(systemd: Systemd) -> None:
    notifier = Notifier({"NOTIFY_SOCKET": systemd.path})
    for key in ("a", "b", "a"):
        assert notifier.store(key, 0)
    names = [systemd.next().get("FDNAME") for _ in range(4)]
    assert names == ["0.a", "1.b", "0.a", "2.a"]
    assert sorted(systemd.stored) == ["1.b", "2.a"]
    notifier.forget("a")
    notifier.forget("never-stored")
    assert systemd.next() == {"FDSTOREREMOVE": "1", "FDNAME": "2.a"}


class TestInherited:
    def environment(self, names: str, count: int) -> dict[str, str]:
        return {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": str(count), "LISTEN_FDNAMES": names}

    def block(self, fds: list[int]) -> int:
        """Move descriptors to a run of numbers, and give the first."""
        first = 500
        for number, fd in enumerate(fds, start=first):
            os.dup2(fd, number)
            os.close(fd)
        return first

    def test_in_the_order_of_storing(self) -> None:
        fds = [os.memfd_create(name) for name in ("late", "early", "other")]
        first = self.block(fds)
        inherited = Inherited(self.environment("10.key-a:9.key-b:junk", 3), first)
        assert inherited.stored == [("key-b", first + 1), ("key-a", first)]
        assert inherited.names == [("9.key-b", "key-b", 9), ("10.key-a", "key-a", 10)]
        assert not os.get_inheritable(first)
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(first + 2)
        os.close(first)
        os.close(first + 1)

    def test_a_listening_socket(self, tmp_path: Path) -> None:
        made = socket.socket(socket.AF_UNIX)
        made.bind(str(tmp_path / "s"))
        made.listen()
        other = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        first = self.block([other.detach(), made.detach()])
        inherited = Inherited(self.environment("x:icehouse.socket", 2), first)
        assert inherited.listener is not None
        assert inherited.listener.getsockname() == str(tmp_path / "s")
        inherited.listener.close()
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(first)

    @pytest.mark.parametrize("pid", ["", "1", "x"])
    def test_meant_for_another_process(self, pid: str) -> None:
        environment = {"LISTEN_PID": pid, "LISTEN_FDS": "1", "LISTEN_FDNAMES": "0.key"}
        assert Inherited(environment).stored == []


class TestKeeper:
    def test_ready_and_stopping(self, tmp_path: Path, systemd: Systemd) -> None:
        environment = {"NOTIFY_SOCKET": systemd.path}
        with Keeper(tmp_path, environment=environment) as keeper:
            assert systemd.next() == {"READY": "1", "STATUS": f"serving {keeper.socket}"}
            inherited = keeper.ask("environment")
            assert not {"NOTIFY_SOCKET", "LISTEN_FDS"} & set(inherited)
            assert keeper.stop() == 0
            assert systemd.next() == {"STOPPING": "1"}

    def test_a_daemon_feeds_the_watchdog(self, tmp_path: Path, systemd: Systemd) -> None:
        environment = {"NOTIFY_SOCKET": systemd.path, "WATCHDOG_USEC": "9000000"}
        with Keeper(tmp_path, environment=environment) as keeper:
            assert keeper.ask("environment")["ICEHOUSE_WATCHDOG_SECONDS"] == "9.0"
            assert keeper.ask("alive") == "told"
            assert systemd.until("WATCHDOG") == {"WATCHDOG": "1"}

    def test_h12_what_is_held_survives_the_keeper_too(
        self, tmp_path: Path, systemd: Systemd
    ) -> None:
        environment = {"NOTIFY_SOCKET": systemd.path}
        with Keeper(tmp_path, environment=environment) as keeper:
            keeper.hold(a="1", b="2", c="3")
            keeper.hold(a="4")
            keeper.ask("drop", "c")
            keeper.ask("pid")
            for _ in range(7):
                # READY, four to store, two to remove.
                systemd.next()
            pid = keeper.ask("pid")
            keeper.process.kill()
            keeper.process.wait()
            gone(pid)
        assert len(systemd.stored) == 2
        # systemd gives them back in no promised order.
        names = sorted(systemd.stored, reverse=True)
        environment["LISTEN_FDNAMES"] = ":".join(names)
        fds = tuple(systemd.stored[name] for name in names)
        with Keeper(tmp_path, environment=environment, fds=fds) as keeper:
            assert keeper.ask("inherited") == [["b", "2"], ["a", "4"]]
            # They are still systemd's, under the same names, and are given up by them.
            keeper.ask("drop", "b")
            assert systemd.until("FDSTOREREMOVE")["FDNAME"] == "1.b"
            assert keeper.stop() == 0
