"""Tokens: their file, whom it must belong to, and that wrong ones keep nobody out."""

import fcntl
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from daemons import wait_until

from icehouse.server import config, new_token
from icehouse.server.frames import Role
from icehouse.server.tokens import (
    TokenFileError,
    TokenRefusedError,
    Tokens,
    make,
    parse,
    read,
)


def write(path: Path, text: str, mode: int = 0o600) -> Path:
    path.write_text(text)
    path.chmod(mode)
    return path


def test_a_token_is_known_by_its_hash_alone(tmp_path: Path) -> None:
    text, line = make("ada", "admin")
    other, second = make("bo", "reader")
    assert text not in line
    assert len({text, other}) == 2
    file = write(tmp_path / "tokens", f"# people\n\n{line}{second.strip()} # a screen\n")
    tokens = Tokens(str(file), pytest.fail)
    assert (tokens.verify(text).name, tokens.verify(text).role) == ("ada", Role.ADMIN)
    assert tokens.verify(other).role == Role.READER
    for wrong in ("", text[:-1], text + "0", text.upper(), line.split()[2], "\ud800", "é"):
        with pytest.raises(TokenRefusedError) as refused:
            tokens.verify(wrong)
        assert refused.value.reason == "token"


def test_the_file_is_read_again_when_it_has_changed(tmp_path: Path) -> None:
    told: list[str] = []
    path = tmp_path / "tokens"
    tokens = Tokens(str(path), told.append)
    text, line = make("ada", "producer")
    with pytest.raises(TokenRefusedError, match="none is known"):
        tokens.verify(text)
    write(path, line)
    assert tokens.verify(text).name == "ada"
    path.chmod(0o640)
    with pytest.raises(TokenRefusedError):
        tokens.verify(text)
    assert len(told) == 1
    assert "chmod 600" in told[0]
    path.chmod(0o600)
    assert tokens.verify(text).name == "ada"
    path.unlink()
    with pytest.raises(TokenRefusedError):
        tokens.verify(text)
    assert len(told) == 1


@pytest.mark.parametrize(
    "line",
    [
        "ada admin",
        "ada root " + "0" * 64,
        "ada admin " + "0" * 63,
        "ada admin " + "0" * 62,
        "ada admin " + "x" * 64,
        "a/b admin " + "0" * 64,
        "ada admin " + "0" * 64 + " more",
        "ada admin " + "0" * 64 + "\nada reader " + "1" * 64,
    ],
)
def test_lines_that_are_wrong(line: str) -> None:
    with pytest.raises(TokenFileError, match=r"^file:\d: "):
        parse(line, "file")


def test_files_that_are_refused(tmp_path: Path) -> None:
    _, line = make("ada", "admin")
    for mode in (0o644, 0o660, 0o602):
        with pytest.raises(TokenFileError, match="chmod 600"):
            read(str(write(tmp_path / f"{mode:o}", line, mode)))
    folder = tmp_path / "folder"
    folder.mkdir(0o700)
    with pytest.raises(TokenFileError, match="it is no file"):
        read(str(folder))
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe, 0o600)
    with pytest.raises(TokenFileError, match="no file"):
        read(str(pipe))
    with pytest.raises(TokenFileError, match="larger"):
        read(str(write(tmp_path / "large", "#" * (1 << 20) + "\n")))
    if os.geteuid() == 0:
        file = write(tmp_path / "foreign", line)
        os.chown(file, 51002, -1)
        with pytest.raises(TokenFileError, match="uid 51002"):
            read(str(file))
    assert read(str(tmp_path / "none")) == []


def test_wrong_ones_keep_nobody_out(tmp_path: Path) -> None:
    text, line = make("ada", "admin")
    tokens = Tokens(str(write(tmp_path / "tokens", line)), pytest.fail)
    for number in range(1000):
        with pytest.raises(TokenRefusedError):
            tokens.verify(f"{text}{number}")
    assert tokens.verify(text).name == "ada"


def test_a_change_that_hides_its_time_is_seen(tmp_path: Path) -> None:
    text, line = make("ada", "admin")
    path = write(tmp_path / "tokens", line)
    tokens = Tokens(str(path), pytest.fail)
    assert tokens.verify(text).role == Role.ADMIN
    before = path.stat()
    # In its place, of the same length, and with the times of before.
    path.write_text(line.replace(" admin ", " #dmin "))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    tokens._tell = lambda _: None
    with pytest.raises(TokenRefusedError):
        tokens.verify(text)


# --- icehouse token new ---


def new(tmp_path: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "icehouse.server.new_token", *arguments]
    kept = {name: value for name, value in os.environ.items() if not name.startswith("ICEHOUSE_")}
    kept.pop("XDG_CONFIG_HOME", None)
    environment = {**kept, "HOME": str(tmp_path)}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def test_new(tmp_path: Path) -> None:
    done = new(tmp_path, "ada", "admin")
    assert done.returncode == 0, done.stderr
    text = done.stdout.strip()
    file = tmp_path / ".config" / "icehouse" / "tokens"
    assert file.stat().st_mode & 0o777 == 0o600
    assert str(file) in done.stderr
    assert text not in done.stderr + file.read_text()
    file.write_text(file.read_text().strip())
    told = json.loads(new(tmp_path, "bo", "reader", "--json").stdout)
    assert (told["name"], told["role"], told["file"]) == ("bo", "reader", str(file))
    tokens = Tokens(str(file), pytest.fail)
    assert (tokens.verify(text).name, tokens.verify(told["token"]).name) == ("ada", "bo")
    again = new(tmp_path, "ada", "reader")
    assert again.returncode == 2
    assert "already" in again.stderr
    for wrong in (["x y", "admin"], ["x", "root"], ["x"], ["x", "admin", "--nonsense=1"]):
        refused = new(tmp_path, *wrong)
        assert (refused.returncode, refused.stdout) == (2, "")
        assert refused.stderr.startswith("icehouse: ")
    assert new(tmp_path, "x", "admin", "--admin_tokens=off").returncode == 2


def test_of_two_at_once_one_gets_the_name(tmp_path: Path) -> None:
    file = tmp_path / "tokens"
    file.touch(0o600)
    command = [sys.executable, "-m", "icehouse.server.new_token", "ada", "admin"]
    with file.open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        both = [subprocess.Popen([*command, f"--admin_tokens={file}"]) for _ in range(2)]
        wait_until(lambda: all(has_open(made.pid, file) for made in both), "both to wait")
        assert file.read_bytes() == b""
    assert sorted(made.wait(60) for made in both) == [0, 2]
    assert file.read_text().count("ada admin ") == 1


def has_open(pid: int, file: Path) -> bool:
    links = Path(f"/proc/{pid}/fd")
    return any(link.is_symlink() and link.readlink() == file for link in links.iterdir())


def test_a_folder_that_is_not_ours(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert new_token.main(["x", "admin", f"--admin_tokens={tmp_path}/file/tokens"]) == 1


def test_a_daemon_does_not_start_with_a_file_that_others_read(tmp_path: Path) -> None:
    pytest.importorskip("fastapi")
    pytest.importorskip("uvicorn")
    pytest.importorskip("prometheus_client")
    file = write(tmp_path / "tokens", make("ada", "admin")[1], 0o644)
    flags = {"http": "127.0.0.1:0", "admin_tokens": str(file)}
    chosen = config.build(config.gather(flags, {"HOME": str(tmp_path)}))
    with pytest.raises(config.ConfigError, match=r"admin_tokens = .*chmod 600"):
        chosen.check_place()
