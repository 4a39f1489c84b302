"""`icehouse status`, `ls`, `stat`, `who`, `names`, `clients`, `segments`."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from commands import COMMAND, Commands, environment
from daemons import wait_until

import icehouse
from icehouse.store.wire import messages

pytestmark = pytest.mark.slow

CONDITIONS: list[tuple[list[str], list[str]]] = [
    (["--name", "model-*"], ["small", "large"]),
    (["--type", "dict", "--type", "list"], ["small", "large"]),
    (["--named", "--type", "list"], ["large"]),
    (["--unnamed"], ["text", "blob"]),
    (["--pinned"], ["text"]),
    (["--unpinned", "--unnamed"], ["blob"]),
    (["--larger", "90kB"], ["blob"]),
    (["--larger", "10KiB", "--smaller", "90kB"], ["large"]),
    (["--older", "1h"], []),
    (["--newer", "1h", "--state", "live", "--type", "str"], ["text"]),
    (["--pid", "1"], []),
    (["--user", str(os.getuid()), "--pinned"], ["text"]),
    (["--state", "deleted"], []),
    (["--read"], []),
]
ORDERS: list[tuple[list[str], list[str]]] = [
    (["--sort", "size"], ["blob", "large", "text", "small"]),
    (["--sort", "size", "--reverse", "-n", "2"], ["small", "text"]),
    (["--sort", "size", "--limit", "1"], ["blob"]),
    (["--sort", "created"], ["small", "text", "large", "blob"]),
    (["--sort", "age"], ["small", "text", "large", "blob"]),
    (["--sort", "name", "--named"], ["large", "small"]),
    (["--sort", "type", "--named"], ["small", "large"]),
]


def ended_producer(commands: Commands, source: str) -> None:
    """Puts from a process that ends."""
    code = f"import icehouse; store = icehouse.connect({commands.daemon.socket!r}); {source}"
    subprocess.run([sys.executable, "-c", code], check=True)


class TestStatus:
    def test_for_people(self, commands: Commands) -> None:
        commands.store.put([1, 2], name="n")
        told = commands.out("status")
        for words in ("daemon", "pid", commands.daemon.socket, "admin", "of 64 MiB", "1 live"):
            assert words in told
        assert all(line == line.rstrip() for line in told.splitlines())

    def test_json(self, commands: Commands) -> None:
        commands.store.put([1, 2], name="n")
        told = commands.document("status")
        assert told["capacity"] == 64 * 2**20
        assert told["names"] == told["clients"] == 1
        assert told["objects"]["live"] == 1
        assert told["pid"] == commands.daemon.daemon_pid()
        assert told["used"] == commands.store.usage().used

    def test_quiet_is_the_exit_code_alone(self, commands: Commands) -> None:
        assert commands.out("status", "--quiet") == ""

    def test_the_socket_of_the_option_counts(self, commands: Commands, tmp_path: Path) -> None:
        done = subprocess.run(
            [*COMMAND, "status", "--json", "--socket", commands.daemon.socket],
            env=environment(str(tmp_path / "elsewhere")),
            capture_output=True,
            check=True,
        )
        assert json.loads(done.stdout)["socket"] == commands.daemon.socket


class TestLs:
    def fill(self, store: icehouse.Store) -> dict[str, icehouse.Handle]:
        return {
            "small": store.put({"a": 1}, name="model-small"),
            "text": store.put("text" * 100, pin=True),
            "large": store.put(list(range(1000, 11000)), name="model-large"),
            "blob": store.put(b"x" * 100_000, evictable=True),
        }

    def handles(self, commands: Commands, *words: str) -> list[str]:
        listed = commands.out("ls", "--quiet", *words).split()
        assert [line["handle"] for line in commands.lines("ls", *words)] == listed
        return listed

    def test_all(self, commands: Commands) -> None:
        made = self.fill(commands.store)
        assert sorted(self.handles(commands)) == sorted(map(str, made.values()))
        by_handle = {line["handle"]: line for line in commands.lines("ls")}
        small, blob = by_handle[str(made["small"])], by_handle[str(made["blob"])]
        assert small["names"] == ["model-small"]
        assert small["type"] == "dict"
        assert small["pid"] == os.getpid()
        assert blob["evictable"]
        assert blob["size"] > 100_000

    def test_one_of_many_names(self, commands: Commands) -> None:
        """An image in a list tells a few of its names, and has them all."""
        handle = commands.store.put([1], name="many")
        for number in range(300):
            commands.store.bind(f"many-{number:03}", handle)
        commands.store.put([2], name="few")
        (told,) = commands.lines("ls", "--named", "--type", "list", "--name", "many*")
        assert told["names_total"] == 301 > len(told["names"])
        for pattern in ("many-299", "*-29?", "m[a]ny-150", "many"):
            assert commands.out("ls", "--quiet", "--name", pattern).split() == [str(handle)]
        assert commands.out("ls", "--quiet", "--name", "many-3") == ""

    def test_conditions(self, commands: Commands) -> None:
        made = self.fill(commands.store)
        for words, expected in CONDITIONS:
            found = commands.out("ls", "--quiet", *words).split()
            assert sorted(found) == sorted(str(made[key]) for key in expected), words

    def test_read_ones(self, commands: Commands) -> None:
        made = self.fill(commands.store)
        view = commands.store.get("model-large")
        assert self.handles(commands, "--read") == [str(made["large"])]
        assert view[0] == 1000

    def test_order_and_limit(self, commands: Commands) -> None:
        made = self.fill(commands.store)
        for words, expected in ORDERS:
            found = commands.out("ls", "--quiet", *words).split()
            assert found == [str(made[key]) for key in expected], words

    def test_reversed_by_place(self, commands: Commands) -> None:
        self.fill(commands.store)
        assert self.handles(commands, "-r") == self.handles(commands)[::-1]

    def test_more_than_a_page_of_the_daemon(self, commands: Commands) -> None:
        count = 2 * messages.LIMIT_MAX + 10
        made = [commands.store.put(number) for number in range(count)]
        assert sorted(self.handles(commands)) == sorted(map(str, made))
        assert len(self.handles(commands, "--limit", "300")) == 300

    def test_a_table_in_a_pipe_is_lines_of_columns(self, commands: Commands) -> None:
        made = self.fill(commands.store)
        head, *rows = commands.out("ls", "--named", "--sort", "size").splitlines()
        assert head.split()[:3] == ["HANDLE", "SIZE", "TYPE"]
        assert [row.split()[0] for row in rows] == [str(made["large"]), str(made["small"])]

    def test_on_a_terminal_it_ends_after_100(self, commands: Commands) -> None:
        for number in range(150):
            commands.store.put(number)
        code, told = commands.on_terminal("ls")
        assert code == 0
        assert "there are more objects: --limit 0 shows all" in told
        assert commands.on_terminal("ls", "--limit", "0")[1].count("ih1_") == 150
        # In a pipe nothing is left out.
        assert len(commands.out("ls").splitlines()) == 151

    def test_the_pager_gets_all(self, commands: Commands) -> None:
        for number in range(20):
            commands.store.put(number)
        _, told = commands.on_terminal("ls", "--pager", PAGER="wc -l")
        assert int(told.split()[-1]) > 20

    def test_states(self, commands: Commands) -> None:
        kept = commands.store.put([1])
        view = commands.store.get(kept)
        commands.store.delete(kept)
        ended_producer(commands, "store.put('orphan')")
        wait_until(lambda: self.handles(commands, "--state", "orphan"), "the orphan")
        assert self.handles(commands, "--state", "deleted") == [str(kept)]
        assert view[0] == 1

    def test_what_is_no_condition(self, commands: Commands) -> None:
        wrong = (
            ["--larger", "big"],
            ["--older", "yesterday"],
            ["--state", "tired"],
            ["--sort", "beauty"],
            ["--user", "no such user"],
            ["--limit", "-1"],
        )
        for words in wrong:
            done = commands.run("ls", *words)
            assert (done.returncode, done.stdout) == (2, ""), words
            assert "Traceback" not in done.stderr

    def test_names_that_would_paint_a_terminal(self, commands: Commands) -> None:
        commands.store.put(1, name="\x1b[31mred\u202e")
        assert "\x1b" not in commands.out("ls")
        assert "\x1b[31mred" not in commands.on_terminal("ls")[1]
        assert commands.lines("ls")[0]["names"] == ["\x1b[31mred\u202e"]


class TestStat:
    def test_by_name_and_handle(self, commands: Commands) -> None:
        handle = commands.store.put({"a": [1]}, name="config")
        view = commands.store.get(handle)
        by_name, by_handle = commands.lines("stat", "config", handle)
        assert by_name == by_handle
        assert by_name["readers"] == [os.getpid()]
        assert by_name["leases"] == 1
        assert "'config'" in by_name["explanation"]
        told = commands.out("stat", "config")
        for words in (str(handle), "dict", "config", f"pid {os.getpid()}", "ago"):
            assert words in told
        assert view["a"] == [1]

    def test_references_from_stdin(self, commands: Commands) -> None:
        handles = [str(commands.store.put(number)) for number in range(3)]
        told = commands.lines("stat", "-", stdin="\n".join(handles) + "\n\n")
        assert [line["handle"] for line in told] == handles

    def test_what_is_not_there(self, commands: Commands) -> None:
        assert "icehouse names" in commands.fails(3, "stat", "nothing")
        gone = commands.store.put(1)
        commands.store.delete(gone)
        commands.store.trim()
        assert str(gone) in commands.fails(3, "stat", gone)
        assert "not a handle" in commands.fails(2, "stat", "ih1_short")

    def test_links_and_expiry(self, commands: Commands) -> None:
        inner = commands.store.put(["x" * 2000], name="inner")
        outer = commands.store.put({"inner": commands.store.get(inner)}, ttl=1000)
        first, second = commands.lines("stat", inner, outer)
        assert (first["linked"], second["links"]) == (1, 1)
        assert second["expires"] > second["created"]
        assert "links" in commands.out("stat", outer)


class TestWho:
    def test_readers_and_producer(self, commands: Commands) -> None:
        handle = commands.store.put([1, 2, 3], name="n")
        code = (
            f"import icehouse, sys; v = icehouse.connect({commands.daemon.socket!r}).get('n');"
            "print('here', flush=True); sys.stdin.read()"
        )
        reader = subprocess.Popen(
            [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert reader.stdout is not None
        assert reader.stdout.readline() == b"here\n"
        told = commands.lines("who", handle)
        assert [(line["pid"], line["holds"]) for line in told] == [
            (reader.pid, "reads"),
            (os.getpid(), "produced"),
        ]
        assert "import icehouse, sys" in told[0]["command"]
        assert told[0]["started"] is not None
        assert commands.out("who", "--quiet", "n") == f"{reader.pid}\n"
        assert "import icehouse, sys" in commands.out("who", "n")
        reader.communicate()
        assert commands.lines("who", "n")[0]["holds"] == "produced"

    def test_nobody_to_be_seen(self, commands: Commands) -> None:
        ended_producer(commands, "store.put(1, name='left')")
        [line] = commands.lines("who", "left")
        assert (line["holds"], line["command"], line["user"]) == ("produced", None, None)
        assert "ended, or not to be seen" in commands.out("who", "left")


class TestNames:
    def test_prefix_and_order(self, commands: Commands) -> None:
        for name in ("b", "a/2", "a/1"):
            commands.store.put(name, name=name)
        commands.store.put(2, name="b")
        assert [line["name"] for line in commands.lines("names")] == ["a/1", "a/2", "b"]
        assert commands.lines("names")[-1]["version"] == 2
        assert commands.out("names", "a/", "--quiet").split() == ["a/1", "a/2"]
        assert commands.out("names", "--quiet", "-n", "1").split() == ["a/1"]
        assert commands.out("names", "none") == "NAME  HANDLE  VERSION\n"

    def test_more_than_a_page(self, commands: Commands) -> None:
        handle = commands.store.put(1)
        expected = [f"n{number:04}" for number in range(messages.LIMIT_MAX + 50)]
        for name in expected:
            commands.store.bind(name, handle)
        assert commands.out("names", "-q").split() == expected


class TestClients:
    def test_this_process(self, commands: Commands) -> None:
        view = commands.store.get(commands.store.put({"a": 1}))
        [told] = commands.lines("clients")
        assert told["pid"] == os.getpid()
        assert told["role"] == "admin"
        assert told["leases"] == 1
        assert told["bytes"] > 0
        assert commands.out("clients", "--quiet") == f"{os.getpid()}\n"
        assert str(os.getpid()) in commands.out("clients")
        assert view["a"] == 1

    def test_sorts(self, commands: Commands) -> None:
        code = (
            f"import icehouse, sys; s = icehouse.connect({commands.daemon.socket!r});"
            "s.put('x' * 10**6); print('here', flush=True); sys.stdin.read()"
        )
        other = subprocess.Popen(
            [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert other.stdout is not None
        other.stdout.readline()
        for key in ("bytes", "leases", "waiting", "puts", "opens", "age", "pid"):
            told = [int(pid) for pid in commands.out("clients", "-q", "--sort", key).split()]
            assert sorted(told) == sorted([os.getpid(), other.pid]), key
            if key == "bytes":
                assert told[0] == other.pid
        back = commands.out("clients", "-q", "--sort", "bytes", "-r").split()
        assert back[-1] == str(other.pid)
        other.communicate()


class TestSegments:
    def test_what_is_in_them(self, commands: Commands) -> None:
        commands.store.put([1, 2, 3])
        commands.store.put(b"x" * 1_000_000, evictable=True)
        told = {line["kind"]: line for line in commands.lines("segments", "--sort", "bytes")}
        assert told["ordinary"]["images"] == 1
        assert told["dedicated"]["evictable"]
        assert told["dedicated"]["pid"] == os.getpid()
        assert "dedicated" in commands.out("segments")
        ids = commands.out("segments", "--quiet", "--reverse").split()
        assert [str(line["id"]) for line in commands.lines("segments")] == ids[::-1]


def test_one_line_says_that_nobody_answers(tmp_path: Path) -> None:
    words: list[list[Any]] = [
        ["status"],
        ["ls"],
        ["stat", "x"],
        ["who", "x"],
        ["names"],
        ["clients"],
        ["segments"],
        ["rm", "x"],
        ["pin", "x"],
        ["bind", "x", "y"],
        ["watch", "x"],
        ["top"],
        ["gc"],
        ["cat", "x"],
        ["get", "x"],
        ["verify"],
        ["metrics"],
        ["put", "-"],
        ["export", "x", "y"],
    ]
    running = [
        subprocess.Popen(
            [*COMMAND, *command],
            env=environment(str(tmp_path / "nobody")),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        for command in words
    ]
    for command, process in zip(words, running, strict=True):
        out, said = process.communicate()
        assert (process.returncode, out) == (5, b""), (command, said)
        assert len(said.splitlines()) == 1, (command, said)
        assert b"icehouse serve" in said, command
