"""`icehouse doctor`: what is well, what is not, and the fix for it."""

import errno
import os
import resource
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from commands import Commands

import icehouse
from icehouse.client.cli import health
from icehouse.client.cli.health import Finding, State


def findings(check: Callable[[str], Any], socket: str = "/nonexistent/socket") -> list[Finding]:
    return list(check(socket))


@pytest.mark.slow
class TestCommand:
    def test_all_is_well(self, commands: Commands) -> None:
        told = commands.document("doctor")
        assert told["ok"]
        checks = {check["check"] for check in told["checks"]}
        assert {"python", "extension", "memfd", "seals", "locks", "socket", "daemon"} <= checks
        assert {
            "descriptors",
            "interpreters",
            "version",
            "room",
            "huge pages",
        } <= checks
        assert "fix" not in commands.out("doctor", "--quiet") or any(
            check["state"] == "warning" for check in told["checks"]
        )
        assert "_image" in commands.out("doctor")

    def test_no_daemon(self, commands: Commands, tmp_path: Path) -> None:
        done = commands.run("doctor", "--quiet", "--socket", tmp_path / "none" / "socket")
        assert done.returncode == 1
        assert f"fix: icehouse serve --socket {tmp_path}/none/socket" in done.stdout
        done = commands.run("doctor", "--no-daemon", "--json", "--socket", tmp_path / "none")
        assert done.returncode == 0

    def test_colours_on_a_terminal_alone(self, commands: Commands) -> None:
        assert "\x1b[32m" in commands.on_terminal("doctor")[1]
        assert "\x1b[32m" not in commands.on_terminal("doctor", NO_COLOR="1")[1]
        assert "\x1b" not in commands.out("doctor")


class TestChecks:
    """Each finding that a healthy machine never shows, with its fix."""

    def test_python(self, monkeypatch: pytest.MonkeyPatch) -> None:
        assert findings(health.python)[0].state is State.OK
        monkeypatch.setattr(health.sys, "version_info", (3, 10, 1))
        assert findings(health.python)[0].state is State.FAILURE
        monkeypatch.setattr(health.sys, "version_info", (3, 99, 1))
        assert findings(health.python)[0].state is State.WARNING

    def test_extension(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(__import__("sys").modules, "icehouse.native._arena", None)
        found = findings(health.extension)
        assert [finding.state for finding in found] == [State.OK, State.FAILURE]
        assert "pip install --force-reinstall" in str(found[1].fix)

    def test_memory_files(self, monkeypatch: pytest.MonkeyPatch) -> None:
        assert {finding.state for finding in findings(health.memory_files)} == {State.OK}

        def refuse(*_: object) -> int:
            raise OSError(errno.EPERM, "Operation not permitted")

        with monkeypatch.context() as patch:
            patch.setattr(os, "posix_fallocate", refuse)
            assert findings(health.memory_files)[-1].state is State.FAILURE
        with monkeypatch.context() as patch:
            patch.setattr(os, "memfd_create", refuse)
            [found] = findings(health.memory_files)
        assert found.state is State.FAILURE
        assert "seccomp" in str(found.fix)
        with monkeypatch.context() as patch:
            patch.setattr(os, "pwrite", lambda *_: 1)
            assert findings(health.memory_files)[-1].state is State.FAILURE

    def test_file_locks(self, monkeypatch: pytest.MonkeyPatch) -> None:
        assert findings(health.file_locks)[0].state is State.OK
        monkeypatch.setattr(health, "F_OFD_SETLK", 9999)
        assert findings(health.file_locks)[0].state is State.FAILURE

    def test_descriptors(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(resource, "getrlimit", lambda _: (256, 1024))
        [found] = findings(health.descriptors)
        assert found.state is State.WARNING
        assert "LimitNOFILE=65536" in str(found.fix)
        monkeypatch.setattr(resource, "getrlimit", lambda _: (256, resource.RLIM_INFINITY))
        assert findings(health.descriptors)[0].state is State.OK

    def test_mappings(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(health, "text_of", lambda _: "1000")
        [found] = findings(health.mappings)
        assert "sysctl" in str(found.fix)
        monkeypatch.setattr(health, "text_of", lambda _: None)
        assert findings(health.mappings)[0].state is State.INFO

    def test_huge_pages(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for text, state in (
            ("always within_size advise [never] deny force", State.INFO),
            ("[always] within_size advise never deny force", State.OK),
            (None, State.INFO),
        ):
            monkeypatch.setattr(health, "text_of", lambda _, text=text: text)
            assert findings(health.huge_pages)[0].state is state

    def test_memory(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(health, "text_of", lambda _: "MemTotal: 1 kB\nMemAvailable: 4096 kB")
        [found] = findings(health.memory)
        assert found.state is State.WARNING
        assert found.fix == "icehouse serve --capacity 2MiB, or free some memory"

    def test_interpreters(self, monkeypatch: pytest.MonkeyPatch) -> None:
        from icehouse.store import interpreters

        assert findings(health.interpreters)[0].state in (State.OK, State.INFO)
        monkeypatch.setattr(interpreters, "own_gil", lambda: False)
        assert findings(health.interpreters)[0].state is State.INFO
        monkeypatch.setattr(interpreters, "Interpreter", lambda: 1 / 0)
        assert findings(health.interpreters)[0].state is State.FAILURE
        monkeypatch.setattr(interpreters, "supported", lambda: False)
        assert findings(health.interpreters)[0].state is State.INFO

    def test_the_socket(self, tmp_path: Path) -> None:
        folder = tmp_path / "folder"
        assert findings(health.socket_folder, f"{folder}/socket")[0].state is State.INFO
        folder.mkdir(mode=0o700)
        assert findings(health.socket_folder, f"{folder}/socket")[0].state is State.OK
        folder.chmod(0o777)
        [found] = findings(health.socket_folder, f"{folder}/socket")
        assert (found.state, found.fix) == (State.FAILURE, f"chmod go-w {folder}")
        folder.chmod(0o1777)
        assert findings(health.socket_folder, f"{folder}/socket")[0].state is State.OK
        (tmp_path / "file").touch()
        assert findings(health.socket_folder, f"{tmp_path}/file/s")[0].state is State.FAILURE
        [found] = findings(health.socket_folder, f"/tmp/{'x' * 200}/socket")
        assert "ICEHOUSE_SOCKET" in str(found.fix)

    def test_a_daemon_that_is_not_well(self) -> None:
        from icehouse.store.wire import messages

        full = messages.Status(version=icehouse.__version__, capacity=100, committed=95)
        metrics = messages.Metrics(counters={"corruptions": {"": 2}, "errors": {"": 1}})
        states = {f.check: f for f in health.daemon_health(full, metrics)}
        assert states["room"].state is State.WARNING
        assert "icehouse gc" in str(states["room"].fix)
        assert states["damage"].state is State.FAILURE
        assert states["errors"].state is State.WARNING
        [old] = health.daemon_version(messages.Status(version="0.0.1"))
        assert old.state is State.WARNING
        well = messages.Status(version=icehouse.__version__, capacity=100, committed=5)
        assert {f.state for f in health.daemon_health(well, messages.Metrics())} == {State.OK}

    @pytest.mark.parametrize("kind", ["NotPermitted", "ProtocolError", "StoreUnavailable"])
    def test_a_daemon_that_refuses(self, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
        from icehouse.client import control

        def refuse(*_: object, **__: object) -> None:
            raise getattr(icehouse, kind)("no")

        monkeypatch.setattr(control, "Control", refuse)
        [found] = findings(health.daemon)
        assert found.state is State.FAILURE
        assert found.fix
