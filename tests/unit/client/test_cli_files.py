"""`icehouse export` and `icehouse import` against a running daemon."""

import enum
import json
import subprocess
import sys
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from commands import COMMAND, environment

import icehouse
from icehouse.client.cli.output import ExitCode

pytest.importorskip("typer")

Colour = enum.Enum("Colour", "RED", module=__name__)

VALUE = {"a": [1, 2, 3], "text": "grün", "blob": bytes(range(256)) * 1024}


def command(
    *arguments: object, daemon: Any, stdin: bytes = b""
) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [*COMMAND, *map(str, arguments)],
        input=stdin,
        capture_output=True,
        check=False,
        env=environment(daemon.socket),
    )


def told(*arguments: object, daemon: Any) -> dict[str, Any]:
    done = command(*arguments, "--json", daemon=daemon)
    assert (done.returncode, done.stderr) == (0, b"")
    document: dict[str, Any] = json.loads(done.stdout)
    return document


def failed(*arguments: object, daemon: Any, stdin: bytes = b"") -> tuple[int, str]:
    done = command(*arguments, daemon=daemon, stdin=stdin)
    assert done.stdout == b""
    assert len(done.stderr.splitlines()) == 1
    return done.returncode, done.stderr.decode()


def test_there_and_back(daemon: Any, tmp_path: Path) -> None:
    path = tmp_path / "x.ih"
    with icehouse.connect(daemon.socket) as store:
        handle = store.put(VALUE, name="config")
        by_name = told("export", "config", path, daemon=daemon)
        assert by_name["handle"] == str(handle)
        assert by_name["size"] == path.stat().st_size
        assert icehouse.open_image(path) == VALUE
        by_handle = told("export", handle, tmp_path / "y.ih", daemon=daemon)
        assert by_handle["sha256"] == by_name["sha256"]

        back = told("import", path, "--name", "again", daemon=daemon)
        assert store.get("again") == VALUE
        assert store.stat("again").handle == icehouse.Handle(back["handle"])
        assert not store.stat("again").pinned
        assert back["pinned"] is False

        plain = command("import", path, daemon=daemon)
        assert (plain.returncode, plain.stderr) == (0, b"")
        pinned = store.stat(icehouse.Handle(plain.stdout.decode().strip()))
        assert pinned.pinned
        assert store.get(pinned.handle) == VALUE
        store.check()


def test_pipes(daemon: Any) -> None:
    with icehouse.connect(daemon.socket) as store:
        store.put(VALUE, name="config")
        out = command("export", "config", "-", daemon=daemon)
        assert (out.returncode, out.stderr) == (0, b"")
        back = command("import", "-", "--name", "piped", daemon=daemon, stdin=out.stdout)
        assert (back.returncode, back.stderr) == (0, b"")
        assert store.get("piped") == VALUE


def test_h16_links_are_exported_with_what_they_lead_to(daemon: Any, tmp_path: Path) -> None:
    with icehouse.connect(daemon.socket) as store:
        part = store.get(store.put({"numbers": [str(i) for i in range(3000)]}))
        store.put({"part": part}, name="whole")
        assert store.stat("whole").links == 1
        told("export", "whole", tmp_path / "x", daemon=daemon)
        told("import", tmp_path / "x", "--name", "alone", daemon=daemon)
        assert store.stat("alone").links == 0
        assert store.get("alone") == store.get("whole")


@pytest.mark.slow
def test_refusals(daemon: Any, tmp_path: Path) -> None:
    path = tmp_path / "x.ih"
    icehouse.save(VALUE, path)
    assert failed("export", "nobody", path, daemon=daemon)[0] == ExitCode.NOT_FOUND
    assert failed("export", "ih1_zzz", path, daemon=daemon)[0] == ExitCode.USAGE
    assert failed("import", tmp_path / "none", daemon=daemon)[0] == ExitCode.NOT_FOUND
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    status, message = failed("import", path, daemon=daemon)
    assert (status, "digest" in message) == (ExitCode.CORRUPT, True)
    status, message = failed("import", "-", daemon=daemon, stdin=bytes(data[:1000]))
    assert (status, "truncated" in message) == (ExitCode.CORRUPT, True)
    path.write_bytes(b"plain text")
    assert failed("import", path, daemon=daemon)[0] == ExitCode.CORRUPT
    icehouse.save(VALUE, path)
    assert failed("import", path, "--name", "ih1_bad", daemon=daemon)[0] == ExitCode.USAGE
    with icehouse.connect(daemon.socket) as store:
        assert store.usage().images == 0


@pytest.mark.slow
def test_h20_h21_files_with_classes_or_code_need_trust(daemon: Any, tmp_path: Path) -> None:
    path = tmp_path / "x.ih"
    for value in (Colour.RED, [ValueError(1)], len, [icehouse.Handle]):
        icehouse.save(value, path)
        status, message = failed("import", path, daemon=daemon)
        assert (status, "--trust" in message) == (ExitCode.PERMISSION, True)
        told("import", path, "--name", "trusted", "--trust", daemon=daemon)
    icehouse.save([date(2026, 11, 27), Decimal("1.5"), range(3)], path)
    told("import", path, "--name", "data", daemon=daemon)
    with icehouse.connect(daemon.socket) as store:
        assert store.get("data")[0] == date(2026, 11, 27)
        assert store.get("trusted")[0] is icehouse.Handle


def test_an_image_larger_than_the_store(daemon: Any, tmp_path: Path) -> None:
    path = tmp_path / "x.ih"
    icehouse.save(bytes(100 << 20), path)
    assert failed("import", path, daemon=daemon)[0] == ExitCode.FULL


def test_no_daemon(tmp_path: Path) -> None:
    class Nobody:
        socket = str(tmp_path / "socket")

    icehouse.save(VALUE, tmp_path / "x")
    for arguments in (("export", "name", tmp_path / "y"), ("import", tmp_path / "x")):
        assert failed(*arguments, daemon=Nobody)[0] == ExitCode.UNREACHABLE
    assert not (tmp_path / "y").exists()


@pytest.mark.slow
def test_all_commands_say_the_same_without_a_daemon(tmp_path: Path) -> None:
    class Nobody:
        socket = str(tmp_path / "socket")

    said = f"icehouse: connect: nobody answers at {Nobody.socket} (No such file or directory);"
    said += " start the daemon with `icehouse serve`\n"
    image, text = tmp_path / "x.ih", tmp_path / "x.json"
    icehouse.save(VALUE, image)
    text.write_text("1")
    for arguments in (
        *(("cat", "name"), ("get", "name"), ("put", text), ("export", "name", tmp_path / "y")),
        *(("import", image), ("verify",), ("verify", "name"), ("stat", "name"), ("status",)),
    ):
        assert failed(*arguments, daemon=Nobody) == (ExitCode.UNREACHABLE, said)
    done = command("status", "--quiet", daemon=Nobody)
    assert (done.returncode, done.stdout, done.stderr) == (ExitCode.UNREACHABLE, b"", b"")


def test_what_is_not_there_is_named(daemon: Any, tmp_path: Path) -> None:
    for arguments in (
        *(("cat", "nothing"), ("get", "nothing"), ("export", "nothing", tmp_path / "y")),
        *(("verify", "nothing"), ("stat", "nothing")),
    ):
        status, said = failed(*arguments, daemon=daemon)
        assert status == ExitCode.NOT_FOUND
        assert "'nothing': the name is not bound; `icehouse names` lists those that are" in said
    with icehouse.connect(daemon.socket) as store:
        store.put(VALUE, name="there")
    target = tmp_path / "missing" / "x.ih"
    for arguments in (("export", "there", target), ("get", "there", "$.a", "-o", target)):
        assert failed(*arguments, daemon=daemon) == (
            ExitCode.NOT_FOUND,
            f"icehouse: {target}: No such file or directory\n",
        )


def test_help() -> None:
    for name in ("export", "import"):
        done = subprocess.run(
            [sys.executable, "-m", "icehouse.client.cli", name, "--help"],
            capture_output=True,
            text=True,
            check=True,
        )
        assert "stdin" in done.stdout or "stdout" in done.stdout
