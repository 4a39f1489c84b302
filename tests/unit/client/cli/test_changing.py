"""`icehouse rm`, `pin`, `unpin`, `bind`, `gc`, `verify`: what they change, and what they refuse."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from commands import AS_READER, Commands, environment
from daemons import Daemon, wait_until

import icehouse

pytestmark = pytest.mark.slow


class TestRm:
    def test_by_handle_and_name(self, commands: Commands) -> None:
        plain = commands.store.put(1)
        named = commands.store.put(2, name="n")
        assert commands.lines("rm", plain, "n") == [
            {"reference": str(plain), "handle": str(plain), "deleted": True},
            {"reference": "n", "handle": str(named), "deleted": True},
        ]
        assert commands.store.names() == {}
        for handle in (plain, named):
            with pytest.raises(icehouse.HandleGone):
                commands.store.get(handle)

    def test_names_keep_objects(self, commands: Commands) -> None:
        handle = commands.store.put([1], name="a")
        commands.store.bind("b", handle)
        assert "other names" in commands.fails(1, "rm", "a")
        assert "--force" in commands.fails(1, "rm", handle)
        # As before, under both names.
        assert commands.store.names() == {"a": handle, "b": handle}
        assert commands.out("rm", "--force", handle) == f"{handle}\n"
        assert commands.store.names() == {}

    def test_many_and_some_that_are_not_there(self, commands: Commands) -> None:
        first, last = commands.store.put(1), commands.store.put(2)
        done = commands.run("rm", "-", stdin=f"{first}\nnone\n{last}\n")
        assert done.returncode == 3
        assert done.stdout.split() == [str(first), str(last)]
        assert len(done.stderr.splitlines()) == 1
        assert "'none'" in done.stderr

    def test_readers_go_on(self, commands: Commands) -> None:
        view = commands.store.get(commands.store.put([1, 2], name="n"))
        assert commands.out("rm", "-q", "n") == ""
        assert view == [1, 2]


class TestPin:
    def test_pin_and_unpin(self, commands: Commands) -> None:
        handle = commands.store.put(1, name="n")
        assert commands.out("pin", "n") == f"{handle}\n"
        assert commands.store.stat("n").pinned
        [told] = commands.lines("unpin", handle)
        assert told["unpinned"]
        assert not commands.store.stat("n").pinned
        commands.fails(3, "pin", "none")


class TestBind:
    def test_versions(self, commands: Commands) -> None:
        first, second = commands.store.put(1), commands.store.put(2)
        version = int(commands.out("bind", "n", first))
        told = commands.document("bind", "n", second)
        assert told == {"name": "n", "handle": str(second), "version": version + 1}
        assert commands.out("bind", "copy", "n", "--quiet") == ""
        assert commands.store.get("copy") == 2
        assert commands.document("bind", "n", "--unbind")["handle"] is None
        assert list(commands.store.names()) == ["copy"]

    def test_compare_and_swap(self, commands: Commands) -> None:
        handle = commands.store.put(1)
        assert commands.out("bind", "swap", handle, "--expected", "0") == "1\n"
        commands.fails(1, "bind", "swap", handle, "--expected", "0")
        commands.out("bind", "swap", handle, "--expected", "1")
        assert commands.store.version("swap") == 2

    def test_usage(self, commands: Commands) -> None:
        handle = commands.store.put(1)
        assert "--unbind" in commands.fails(2, "bind", "n")
        commands.fails(2, "bind", "n", handle, "--unbind")
        commands.fails(3, "bind", "n", "none")
        commands.fails(3, "bind", "none", "--unbind")
        commands.fails(2, "bind", "ih1_x", handle)


class TestGc:
    def test_spare_memory_goes_back(self, commands: Commands) -> None:
        commands.store.delete(commands.store.put(b"x" * 8_000_000, evictable=True))
        wait_until(lambda: commands.document("status")["warm"], "a spare segment")
        assert commands.document("gc", "--dry-run")["warm"] > 8_000_000
        assert commands.document("gc")["freed"] > 8_000_000
        assert commands.document("status")["warm"] == 0
        assert "given back" in commands.out("gc")
        assert commands.out("gc", "--quiet") == ""

    def test_orphans(self, commands: Commands) -> None:
        kept = commands.store.put("kept")
        code = f"import icehouse; icehouse.connect({commands.daemon.socket!r}).put('left')"
        subprocess.run([sys.executable, "-c", code], check=True)
        orphans = ("ls", "--state", "orphan", "--quiet")
        wait_until(lambda: commands.out(*orphans), "the orphan")
        assert commands.document("gc", "--dry-run")["orphans"] == 1
        assert commands.document("gc")["orphans"] == 0
        assert commands.out(*orphans)
        told = commands.document("gc", "--orphans")
        assert told["orphans"] == 1
        assert told["orphan_bytes"] > 0
        assert not commands.out(*orphans)
        assert commands.store.get(kept) == "kept"


class TestVerify:
    def test_a_sound_store(self, commands: Commands) -> None:
        inner = commands.store.put(["x" * 5000], name="inner")
        commands.store.put({"link": commands.store.get(inner)})
        told = commands.lines("verify")
        assert [line["kind"] for line in told] == ["store", *["image of the store"] * 2]
        assert all(line["ok"] for line in told)
        assert commands.out("verify").splitlines() == ["store: ok", "2 objects checked"]
        assert commands.out("verify", "--quiet") == ""
        assert commands.out("verify", "inner") == "inner: ok\n"
        commands.fails(3, "verify", "none")

    def test_files(self, commands: Commands, tmp_path: Path) -> None:
        path, bad = tmp_path / "x.ih", tmp_path / "bad.ih"
        icehouse.save(list(range(1000)), path)
        data = bytearray(path.read_bytes())
        data[200] ^= 1
        bad.write_bytes(data)
        assert commands.out("verify", path) == f"{path}: ok\n"
        assert "digest" in commands.fails(7, "verify", "--quiet", bad)
        done = commands.run("verify", path, bad, tmp_path / "none.ih", "--json")
        assert done.returncode == 7
        assert len(done.stdout.splitlines()) == 3
        commands.fails(3, "verify", "-q", tmp_path / "none.ih")

    def test_damage_in_the_store(self, commands: Commands) -> None:
        handle = commands.store.put([1, "two", [3.5]] * 100)
        # Another handle of the same place, with another nonce, is none.
        forged = bytearray(bytes(handle))
        forged[-1] ^= 1
        done = commands.run("verify", icehouse.Handle(bytes(forged)))
        assert done.returncode == 3
        assert len(done.stderr.splitlines()) == 1


@pytest.fixture
def folder() -> Iterator[Path]:
    """Where another user may enter."""
    with tempfile.TemporaryDirectory(prefix="icehouse-") as path:
        yield Path(path) / "daemon"


def test_what_a_role_forbids(folder: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root, to be another user")
    with Daemon(folder, capacity="64MiB", roles={"reader": {"uids": [51002]}}) as daemon:
        folder.parent.chmod(0o711)
        folder.chmod(0o711)
        with icehouse.connect(daemon.socket) as store:
            store.put([1, 2], name="n")

            def run(*words: str) -> subprocess.CompletedProcess[str]:
                return subprocess.run(
                    [sys.executable, "-c", AS_READER, *words],
                    env=environment(daemon.socket),
                    capture_output=True,
                    text=True,
                    check=False,
                )

            status = run("status")
            assert status.returncode == 0, status.stderr
            assert "reader" in status.stdout
            assert run("cat", "n").stdout == "[1,2]\n"
            forbidden = ["rm n", "pin n", "bind m n", "clients", "segments", "metrics", "top"]
            for words in (*forbidden, "put /dev/null -f raw"):
                done = run(*words.split())
                assert (done.returncode, done.stdout) == (6, ""), (words, done.stderr)
                assert len(done.stderr.splitlines()) == 1, words
