"""The keeper: what it holds survives the daemon; it starts, stops and limits its children."""

import os
import signal
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from keepers import Keeper, gone

from icehouse.server.keeper import CRASHES_FREE, Child


class TestHolding:
    def test_h12_what_is_held_survives_kills(self, tmp_path: Path) -> None:
        with Keeper(tmp_path) as keeper:
            expected = [[f"segment-{number}-x", f"text-{number}"] for number in range(100)]
            for key, text in expected:
                keeper.hold(**{key: text})
            first = keeper.kill_daemon()
            assert keeper.ask("inherited") == expected
            assert keeper.kill_daemon() != first
            assert keeper.ask("inherited") == expected

    def test_a_key_held_again_counts_as_the_newest(self, tmp_path: Path) -> None:
        with Keeper(tmp_path) as keeper:
            keeper.hold(a="1", b="2", c="3")
            keeper.hold(a="4")
            keeper.ask("drop", "b")
            keeper.kill_daemon()
            assert keeper.ask("inherited") == [["c", "3"], ["a", "4"]]

    def test_what_was_said_before_death_counts(self, tmp_path: Path) -> None:
        """A drop has no answer: it may still be in the channel when the daemon dies."""
        with Keeper(tmp_path) as keeper:
            keeper.hold(a="1", b="2")
            pid = keeper.ask("pid")
            os.kill(keeper.process.pid, signal.SIGSTOP)
            assert keeper.ask("drop", "a") == "dropped"
            os.kill(pid, signal.SIGKILL)
            gone(pid)
            os.kill(keeper.process.pid, signal.SIGCONT)
            assert keeper.ask("inherited") == [["b", "2"]]

    def test_nothing_leaks(self, tmp_path: Path) -> None:
        with Keeper(tmp_path) as keeper:
            keeper.hold(a="1")
            before = keeper.descriptors()
            for number in range(50):
                keeper.hold(a=str(number), b="2")
                keeper.ask("drop", "b")
            for _ in range(5):
                keeper.kill_daemon()
                assert keeper.ask("inherited") == [["a", "49"]]
            assert keeper.descriptors() == before

    def test_keys_that_are_none_are_refused(self, tmp_path: Path) -> None:
        with Keeper(tmp_path) as keeper:
            keeper.hold(a="1")
            before = keeper.descriptors()
            # An assertion of the daemon's side stops them; it dies of it, and is started again.
            for key in ("a.b", "ü", "x" * 201):
                assert keeper.ask("hold", key, "text") is None
            assert keeper.ask("inherited") == [["a", "1"]]
            assert keeper.descriptors() == before

    def test_h13_a_limit_of_descriptors_is_a_clean_error(self, tmp_path: Path) -> None:
        prefix = ("prlimit", "--nofile=64:64")
        with Keeper(tmp_path, prefix=prefix) as keeper:
            answers = [keeper.ask("hold", f"k{number}", "text") for number in range(80)]
            held = answers.count("held")
            assert 30 < held < 64
            assert answers[:held] == ["held"] * held
            assert all("64 open files" in answer for answer in answers[held:])
            assert keeper.lines("no_descriptor_left")
            # The next daemon has the same limit, and still gets all that is held.
            keeper.kill_daemon()
            assert len(keeper.ask("inherited")) == held
            keeper.ask("drop", "k0")
            assert keeper.ask("hold", "other", "text") == "held"


class TestChildren:
    def test_it_has_next_to_nothing_in_it(self, tmp_path: Path) -> None:
        """H12, as `icehouse serve` starts it: no extension of ours, no third-party module."""
        from daemons import Daemon

        with Daemon(tmp_path) as daemon:
            maps = Path(f"/proc/{daemon.keeper_pid}/maps").read_text()
        assert not [word for word in ("_image", "_arena", "msgspec", "asyncio") if word in maps]

    def test_a_daemon_that_ends_is_started_again(self, tmp_path: Path) -> None:
        with Keeper(tmp_path) as keeper:
            for _ in range(8):
                assert keeper.ask("exit", "1") is None
            assert keeper.ask("inherited") == []
            assert [line["status"] for line in keeper.lines("died")] == [1] * 8

    def test_delays_grow_and_end(self) -> None:
        child = Child("daemon", "none", delay_max=3.0)
        delays = []
        for _ in range(CRASHES_FREE + 8):
            child.started = 100.0
            child.ended(101.0)
            assert child.due is not None
            delays.append(child.due - 101.0)
        assert delays[:CRASHES_FREE] == [0.0] * CRASHES_FREE
        assert delays[CRASHES_FREE:] == pytest.approx([0.1, 0.2, 0.4, 0.8, 1.6, 3.0, 3.0, 3.0])
        child.ended(1000.0)
        assert child.due == 1000.0

    def test_one_that_gives_up_before_it_was_ready_ends_all(self, tmp_path: Path) -> None:
        with Keeper(tmp_path, environment={"FAKE_DAEMON": "refuse"}) as keeper:
            assert keeper.process.wait() == 3
            assert keeper.lines("gave_up")
        assert not Path(keeper.socket).exists()

    def test_one_that_lives_without_its_channel_is_killed(self, tmp_path: Path) -> None:
        with Keeper(tmp_path) as keeper:
            keeper.hold(a="1")
            assert keeper.ask("close") is None
            assert keeper.ask("inherited") == [["a", "1"]]

    def test_an_interrupt_at_the_terminal_is_the_keepers(self, tmp_path: Path) -> None:
        with Keeper(tmp_path) as keeper:
            assert keeper.ask("sigint") is True
            keeper.process.send_signal(signal.SIGINT)
            assert keeper.process.wait() == 130

    def test_h09_children_die_with_the_keeper(self, tmp_path: Path) -> None:
        told = tmp_path / "admin"
        with Keeper(tmp_path, http="on", environment={"FAKE_ADMIN": str(told)}) as keeper:
            pids = [keeper.ask("pid"), keeper.wait_for("started", 2)[1]["pid"]]
            keeper.process.kill()
            keeper.process.wait()
            for pid in pids:
                gone(pid)
        assert stat.S_ISSOCK(Path(keeper.socket).stat().st_mode)
        with Keeper(tmp_path) as keeper:
            assert keeper.ask("inherited") == []

    def test_the_admin_process_comes_after_the_daemon_and_back(self, tmp_path: Path) -> None:
        told = tmp_path / "admin"
        with Keeper(tmp_path, http="on", environment={"FAKE_ADMIN": str(told)}) as keeper:
            started = keeper.wait_for("started", 2)
            assert [line["child"] for line in started] == ["daemon", "admin"]
            os.kill(started[1]["pid"], signal.SIGKILL)
            assert keeper.wait_for("started", 3)[2]["child"] == "admin"
            keeper.kill_daemon()
            assert keeper.ask("inherited") == []
            assert [line["child"] for line in keeper.lines("started")].count("admin") == 2
            assert keeper.stop() == 0

    def test_a_fault_of_its_own_costs_nobody_their_data(self, tmp_path: Path) -> None:
        with Keeper(tmp_path, environment={"FAKE_FAULT": "1"}) as keeper:
            keeper.hold(a="1")
            assert keeper.ask("drop", "fault") == "dropped"
            told = keeper.wait_for("internal_error")
            assert told[0]["message"] == "RuntimeError: a fault of the keeper"
            keeper.hold(b="2")
            keeper.kill_daemon()
            assert keeper.ask("inherited") == [["a", "1"], ["b", "2"]]


class TestStop:
    def test_sigterm_stops_all_and_removes_the_socket(self, tmp_path: Path) -> None:
        with Keeper(tmp_path) as keeper:
            pid = keeper.ask("pid")
            assert keeper.stop() == 0
            gone(pid)
        assert not Path(keeper.socket).exists()

    def test_a_deaf_daemon_is_killed(self, tmp_path: Path) -> None:
        with Keeper(tmp_path, stop_seconds=0.2) as keeper:
            pid = keeper.ask("pid")
            assert keeper.ask("deaf") == "deaf"
            assert keeper.stop() == 0
            gone(pid)
            assert [line["child"] for line in keeper.lines("killed")] == ["daemon"]

    def test_nohup_is_respected(self, tmp_path: Path) -> None:
        with Keeper(tmp_path, prefix=("nohup",)) as keeper:
            pid = keeper.ask("pid")
            keeper.process.send_signal(signal.SIGHUP)
            assert keeper.ask("pid") == pid
            assert keeper.stop() == 0
            assert [line["signal"] for line in keeper.lines("stopping")] == ["SIGTERM"]

    def test_a_terminal_that_closes_stops_it(self, tmp_path: Path) -> None:
        # These tests may run under nohup too.
        with Keeper(tmp_path, prefix=("env", "--default-signal=HUP")) as keeper:
            keeper.process.send_signal(signal.SIGHUP)
            assert keeper.process.wait() == 0

    def test_a_second_signal_is_impatient(self, tmp_path: Path) -> None:
        with Keeper(tmp_path, stop_seconds=3600.0) as keeper:
            assert keeper.ask("deaf") == "deaf"
            keeper.process.terminate()
            keeper.wait_for("stopping")
            assert keeper.stop() == 0

    def test_a_stopped_daemon_is_killed(self, tmp_path: Path) -> None:
        with Keeper(tmp_path, stop_seconds=0.2) as keeper:
            os.kill(keeper.ask("pid"), signal.SIGSTOP)
            assert keeper.stop() == 0


class TestPlace:
    def refused(self, keeper: Keeper) -> str:
        assert keeper.process.wait() == 1
        *_, last = keeper.log_file.read_text().splitlines()
        assert last.startswith("icehouse: ")
        return last

    def test_a_second_one_is_refused(self, tmp_path: Path) -> None:
        with Keeper(tmp_path) as keeper:
            pid = keeper.ask("pid")
            told = self.refused(Keeper(tmp_path))
            assert f"pid {keeper.process.pid}" in told
            assert keeper.socket in told
            assert keeper.ask("pid") == pid

    def test_a_stale_socket_of_anybody_is_taken(self, tmp_path: Path) -> None:
        with socket.socket(socket.AF_UNIX) as stale:
            stale.bind(str(tmp_path / "socket"))
        with Keeper(tmp_path) as keeper:
            assert keeper.ask("inherited") == []
            mode = Path(keeper.socket).stat().st_mode
            assert stat.S_IMODE(mode) == 0o600

    def test_the_living_socket_of_another_program_is_not(self, tmp_path: Path) -> None:
        with socket.socket(socket.AF_UNIX) as other:
            other.bind(str(tmp_path / "socket"))
            other.listen()
            assert "another program listens" in self.refused(Keeper(tmp_path))
            assert (tmp_path / "socket").exists()

    def test_a_file_is_not_removed(self, tmp_path: Path) -> None:
        (tmp_path / "socket").write_text("precious")
        assert "is no socket" in self.refused(Keeper(tmp_path))
        assert (tmp_path / "socket").read_text() == "precious"

    def test_a_socket_that_another_made_meanwhile_is_left(self, tmp_path: Path) -> None:
        with Keeper(tmp_path) as keeper:
            keeper.ask("pid")
            Path(keeper.socket).unlink()
            with socket.socket(socket.AF_UNIX) as other:
                other.bind(keeper.socket)
                assert keeper.stop() == 0
        assert (tmp_path / "socket").exists()

    def test_a_folder_in_which_others_may_write_is_refused(self, tmp_path: Path) -> None:
        place = tmp_path / "open"
        place.mkdir()
        place.chmod(0o777)
        told = self.refused(Keeper(tmp_path, socket=str(place / "socket")))
        assert "everybody may write" in told
        place.chmod(0o1777)
        with Keeper(tmp_path, socket=str(place / "socket")) as keeper:
            assert keeper.stop() == 0

    @pytest.mark.skipif(os.getuid() != 0, reason="only root can give a folder away")
    def test_the_folder_of_another_user_is_refused(self, tmp_path: Path) -> None:
        place = tmp_path / "theirs"
        place.mkdir()
        os.chown(place, 51001, 51001)
        assert "uid 51001" in self.refused(Keeper(tmp_path, socket=str(place / "socket")))

    def test_a_folder_that_is_missing_is_made_for_the_owner_alone(self, tmp_path: Path) -> None:
        with Keeper(tmp_path, socket=str(tmp_path / "new" / "socket")) as keeper:
            assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o700
            assert keeper.stop() == 0

    def test_where_nothing_can_be_made_it_says_so(self, tmp_path: Path) -> None:
        told = self.refused(Keeper(tmp_path, socket=str(tmp_path / "no" / "such" / "socket")))
        assert "No such file" in told

    def test_paths_longer_than_a_socket_may_have(self, tmp_path: Path) -> None:
        told = self.refused(Keeper(tmp_path, socket="/" + "x" * 107))
        assert "at most 107 bytes" in told


def test_the_daemons_program_alone_says_what_to_start() -> None:
    command = [sys.executable, "-m", "icehouse.server"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert "icehouse serve" in done.stderr
