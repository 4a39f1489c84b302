"""`icehouse watch`, `top` and `metrics`: what changes while one looks."""

import fcntl
import json
import os
import pty
import signal
import struct
import subprocess
import termios
from pathlib import Path
from typing import Any

import pytest
from commands import COMMAND, Commands, environment, on_terminal
from daemons import Daemon

import icehouse
from icehouse.client.control import Control
from icehouse.store.wire import messages

pytestmark = pytest.mark.slow


class Following:
    """A command that prints lines while it runs."""

    def __init__(self, socket: str, *words: str) -> None:
        self.process = subprocess.Popen(
            [*COMMAND, *words],
            env=environment(socket),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def line(self) -> Any:
        assert self.process.stdout is not None
        return json.loads(self.process.stdout.readline())

    def end(self) -> tuple[int, str, str]:
        out, said = self.process.communicate()
        return self.process.returncode, out, said


class TestWatch:
    def test_states_and_changes(self, commands: Commands) -> None:
        first = commands.store.put(1, name="seen")
        following = Following(commands.daemon.socket, "watch", "seen", "new", "--json", "-n", "4")
        assert following.line() == {"name": "seen", "handle": str(first), "version": 1}
        second = commands.store.put(2, name="new")
        assert following.line() == {"name": "new", "handle": str(second), "version": 1}
        commands.store.bind("new", None)
        assert following.line() == {"name": "new", "handle": None, "version": 2}
        commands.store.bind("seen", second)
        assert following.line()["handle"] == str(second)
        assert following.end() == (0, "", "")

    def test_for_people_and_scripts(self, commands: Commands) -> None:
        handle = commands.store.put(1, name="once")
        assert commands.out("watch", "once", "-n", "1", "-q") == f"{handle}\n"
        assert f"once  {handle}  version 1" in commands.out("watch", "once", "-n", "1")
        [told] = commands.lines("watch", "once", "--count", "1")
        assert told["version"] == 1

    def test_it_ends_when_nothing_comes(self, commands: Commands) -> None:
        commands.store.put(1, name="still")
        assert commands.out("watch", "still", "none", "--changes", "--timeout", "50ms") == ""

    def test_ctrl_c(self, commands: Commands) -> None:
        commands.store.put(1, name="here")
        following = Following(commands.daemon.socket, "watch", "here", "--json")
        assert following.line()["version"] == 1
        following.process.send_signal(signal.SIGINT)
        assert following.end() == (130, "", "")

    def test_it_outlives_the_daemon(self, tmp_path: Path) -> None:
        with (
            Daemon(tmp_path / "d", capacity="64MiB") as daemon,
            icehouse.connect(daemon.socket) as store,
        ):
            store.put(1, name="kept")
            following = Following(daemon.socket, "watch", "kept", "--json", "-n", "2")
            assert following.line()["version"] == 1
            daemon.wait_for_another(daemon.kill())
            second = store.put(2, name="kept")
            assert following.line() == {"name": "kept", "handle": str(second), "version": 2}
            assert following.end() == (0, "", "")


class TestTop:
    def test_one_look_in_a_pipe(self, commands: Commands) -> None:
        commands.store.put(1)
        told = commands.out("top")
        assert "64 MiB" in told
        assert "PUTS/s" in told
        assert all(line == line.rstrip() for line in told.splitlines())

    def test_rates(self, commands: Commands) -> None:
        following = Following(
            commands.daemon.socket, "top", "--json", "-n", "2", "--interval", "1.1s"
        )
        first = following.line()
        assert first["rates"]["puts"] is None
        for number in range(200):
            commands.store.put(number)
        commands.store.usage()
        second = following.line()
        assert second["rates"]["puts"] > 0
        assert second["clients"][0]["puts_per_second"] > 0
        assert following.end()[0] == 0
        from commands import check

        check("top", first)
        check("top", second)

    def test_live_on_a_terminal(self, commands: Commands) -> None:
        code, told = commands.on_terminal("top", "-n", "2", "-i", "200ms")
        assert code == 0
        assert told.count("\x1b[?1049h") == told.count("\x1b[?1049l") == 1
        assert told.count("PUTS/s") == 3
        # The cursor is there again, and what was seen last stays.
        assert told.index("\x1b[?25h") < told.rindex("PUTS/s")

    def test_q_ends_it_and_a_resize_is_heeded(self, commands: Commands) -> None:
        parent, child = pty.openpty()
        kept = termios.tcgetattr(child)
        resize(child, 30, 100)
        process = subprocess.Popen(
            [*COMMAND, "top", "--interval", "200ms"],
            stdin=child,
            stdout=child,
            stderr=child,
            env=environment(commands.daemon.socket, TERM="xterm"),
            start_new_session=True,
        )
        told = b""

        def read(until: bytes) -> None:
            nonlocal told
            while until not in told:
                told += os.read(parent, 65536)

        read(b"q or Ctrl-C ends")
        title = f"icehouse {icehouse.__version__}  {commands.daemon.socket}".encode()
        resize(child, 10, 30)
        # A frame that was cut to the new size.
        read(title[:30] + b"\x1b[K")
        # Another key does nothing.
        os.write(parent, b"x")
        os.write(parent, b"Q")
        read(b"\x1b[?1049l")
        assert process.wait() == 0
        assert termios.tcgetattr(child) == kept
        os.close(child)
        os.close(parent)


def resize(terminal: int, lines: int, columns: int) -> None:
    """Gives a terminal another size."""
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))


class TestMetrics:
    def test_table_and_json(self, commands: Commands) -> None:
        commands.store.put(1)
        commands.store.usage()
        told = commands.document("metrics")
        assert told["gauges"]["capacity_bytes"] == 64 * 2**20
        assert told["counters"]["requests"]["hello"] >= 1
        table = commands.out("metrics")
        assert "capacity_bytes" in table
        assert "64 MiB" in table
        only = commands.out("metrics", "put").splitlines()[1:]
        assert only
        assert all("put" in line for line in only)
        told = commands.document("metrics", "put")
        names = [name for group in told.values() if isinstance(group, dict) for name in group]
        assert "puts" in names
        assert all("put" in name for name in names)
        assert len(commands.out("metrics", "--all").splitlines()) >= len(table.splitlines())


def test_a_daemon_that_dies_meanwhile_is_no_broken_pipe(tmp_path: Path) -> None:
    with Daemon(tmp_path / "d", capacity="64MiB") as daemon:
        # One that has just been spoken to, and one that has to send first.
        for sleep in (False, True):
            with Control(daemon.socket) as control:
                pid = daemon.kill()
                if sleep:
                    daemon.wait_for_another(pid)
                with pytest.raises(icehouse.StoreUnavailable) as caught:
                    control.ask(messages.Ping(), messages.Done)
                assert caught.value.socket == daemon.socket
                daemon.wait_for_another(pid)


def test_top_leaves_the_terminal_as_it_was(tmp_path: Path) -> None:
    code, told = on_terminal([*COMMAND, "top"], str(tmp_path / "nobody"))
    assert code == 5
    assert "icehouse serve" in told
    assert told.count("\x1b[?1049h") == told.count("\x1b[?1049l")
