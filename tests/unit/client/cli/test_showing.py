"""`icehouse cat` and `icehouse get`: what is in an object, and that showing it runs nothing."""

import collections
import enum
import json
import os
import subprocess
import sys
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any
from uuid import UUID

import msgspec
import pytest
from commands import COMMAND, Commands, environment

import icehouse

pytestmark = pytest.mark.slow

PLAIN = {
    "users": [{"name": "Ada", "tags": ["a", "b"]}, {"name": "Bö", "tags": []}],
    "n": 2**70,
    "x": -1.5e-7,
    "none": None,
    "deep": {"a b": {"c": [[1, 2], [3]]}},
    "list": list(range(20)),
}
# A class that only the process that puts knows, and that would tell if any of it ran.
TRAP = """
import icehouse, sys, pathlib, os
class Trap:
    def __init__(self): self.x = 1
    def __repr__(self): open({mark!r}, "w"); return "trap"
    def __getattr__(self, name): open({mark!r}, "w"); raise AttributeError(name)
class Reduced:
    def __reduce__(self): return (os.system, ("touch " + {mark!r},))
icehouse.register_freezable(Reduced)
class Error(Exception):
    def __init__(self, *args): super().__init__(*args); open({mark!r}, "a").write("x")
store = icehouse.connect({socket!r})
store.put({{"trap": Trap(), "error": ValueError("no"), "reduced": Reduced()}}, name="traps")
store.put(Reduced(), name="root")
pathlib.Path({mark!r}).unlink(missing_ok=True)
"""


class Colour(enum.Enum):
    RED = 1


class Point:
    def __init__(self, x: int, y: Any) -> None:
        self.x = x
        self.y = y


class Tagged(dict[str, int]):
    pass


Pair = collections.namedtuple("Pair", "left right")


class TestCat:
    def test_plain_data(self, commands: Commands) -> None:
        commands.store.put(PLAIN, name="plain")
        assert commands.document("cat", "plain") == PLAIN
        in_a_pipe = commands.out("cat", "plain")
        assert len(in_a_pipe.splitlines()) == 1
        assert json.loads(in_a_pipe) == PLAIN
        indented = commands.out("cat", "plain", "--indent")
        assert '\n  "users": [\n' in indented
        assert json.loads(indented) == PLAIN

    def test_several(self, commands: Commands) -> None:
        handles = [commands.store.put([number]) for number in range(3)]
        assert commands.lines("cat", *handles) == [[0], [1], [2]]
        assert commands.lines("cat", "-", "$[0]", stdin=f"{handles[2]}\n{handles[0]}\n") == [2, 0]

    @pytest.mark.parametrize(
        ("selector", "expected"),
        [
            ("$", [PLAIN]),
            ("$.users[0].name", ["Ada"]),
            ("$.users[-1]['name']", ["Bö"]),
            ("$.users[*].name", ["Ada", "Bö"]),
            ("$.users.*.tags[0]", ["a"]),
            ('$.deep["a b"].c[0][1]', [2]),
            ("$.list[2:5]", [2, 3, 4]),
            ("$.list[-2:]", [18, 19]),
            ("$.list[::-9]", [19, 10, 1]),
            ("$.deep.*.c[*][0]", [1, 3]),
            ("$.none.*", []),
            ("$.users[*].nothing", []),
        ],
    )
    def test_selectors(self, commands: Commands, selector: str, expected: list[Any]) -> None:
        commands.store.put(PLAIN, name="plain")
        assert commands.lines("cat", "plain", selector) == expected

    def test_a_selector_that_leads_nowhere(self, commands: Commands) -> None:
        commands.store.put(PLAIN, name="plain")
        assert "it has 'users'" in commands.fails(3, "cat", "plain", "$.user")
        assert "$.users has 2 items" in commands.fails(3, "cat", "plain", "$.users[2].name")
        assert "of type int" in commands.fails(3, "cat", "plain", "$.n.x")
        assert "by number" in commands.fails(3, "cat", "plain", "$.list.x")
        for wrong in ("$..name", "$.a[", "$.a[1:2:0]", "$a", "$.['x]"):
            assert "selector" in commands.fails(2, "cat", "plain", wrong)

    def test_what_json_has_no_word_for(self, commands: Commands) -> None:
        value = {
            "bytes": b"abc",
            "large": b"x" * 100_000,
            "date": date(2024, 2, 29),
            "time": datetime(2024, 2, 29, 12, tzinfo=UTC),
            "delta": timedelta(days=1, milliseconds=5),
            "decimal": Decimal("1.10"),
            "fraction": Fraction(1, 3),
            "uuid": UUID(int=5),
            "path": Path("/tmp/x"),
            "nan": float("nan"),
            "complex": 1 + 2j,
            "range": range(1, 9, 2),
            "set": {1},
            "frozen": frozenset(["a"]),
            "tuple": (1, (2,)),
            "ellipsis": ...,
            "class": dict,
            "huge": 1 << 100_000,
            1: "int key",
            (1, 2): "tuple key",
            "ordered": collections.OrderedDict(b=1, a=2),
            "counter": collections.Counter("aab"),
            "default": collections.defaultdict(list, x=[1]),
            "deque": collections.deque([1, 2], 5),
        }
        commands.store.put(value, name="odd")
        told = commands.document("cat", "odd")
        assert told["bytes"] == {"$type": "bytes", "size": 3, "base64": "YWJj"}
        assert told["large"]["size"] == 100_000
        assert told["date"] == "2024-02-29"
        assert told["time"] == "2024-02-29T12:00:00+00:00"
        assert told["delta"] == {"$type": "datetime.timedelta", "seconds": 86400.005}
        assert told["decimal"] == "1.10"
        assert told["fraction"] == "1/3"
        assert told["uuid"] == str(UUID(int=5))
        assert told["path"] == "/tmp/x"
        assert told["nan"] == {"$type": "float", "value": "nan"}
        assert told["complex"] == {"$type": "complex", "real": "1.0", "imag": "2.0"}
        assert told["range"] == {"$type": "range", "start": 1, "stop": 9, "step": 2}
        assert told["set"] == [1]
        assert told["frozen"] == ["a"]
        assert told["tuple"] == [1, [2]]
        assert told["ellipsis"] == {"$type": "ellipsis"}
        assert told["class"] == {"$type": "type", "name": "builtins.dict"}
        assert int(told["huge"]["hex"], 16) == 1 << 100_000
        assert told["1"] == "int key"
        assert told["[1,2]"] == "tuple key"
        assert told["ordered"] == {"b": 1, "a": 2}
        assert told["counter"] == {"a": 2, "b": 1}
        assert told["default"] == {"x": [1]}
        assert told["deque"] == [1, 2]

    def test_h20_instances_are_shown_and_not_made(self, commands: Commands) -> None:
        value = {
            "point": Point(1, [2]),
            "colour": Colour.RED,
            "pair": Pair(1, 2),
            "tagged": Tagged(a=1),
            "error": ValueError("no", 5),
        }
        commands.store.put(value, name="instances")
        told = commands.document("cat", "instances")
        assert told["point"] == {"$type": f"{__name__}.Point", "x": 1, "y": [2]}
        assert told["colour"] == {"$type": f"{__name__}.Colour", "name": "RED", "value": 1}
        assert told["pair"]["$type"] == f"{__name__}.Pair"
        assert told["tagged"] == {"$type": f"{__name__}.Tagged", "$items": {"a": 1}}
        assert told["error"] == {"$type": "ValueError", "args": ["no", 5]}
        assert commands.document("cat", "instances", "$.point.y[0]") == 2
        assert commands.document("cat", "instances", "$.tagged.a") == 1

    def test_h21_nothing_of_an_object_runs(self, commands: Commands, tmp_path: Path) -> None:
        mark = tmp_path / "ran"
        code = TRAP.format(mark=str(mark), socket=commands.daemon.socket)
        script = tmp_path / "trap.py"
        script.write_text(code)
        # As a module beside it, so that its classes could be found again.
        subprocess.run(
            [sys.executable, "-c", "import trap; icehouse = trap.icehouse"],
            check=True,
            cwd=tmp_path,
        )
        reading = {"PYTHONPATH": str(tmp_path)}
        mark.unlink(missing_ok=True)
        for words in (
            ["cat", "traps"],
            ["cat", "traps", "$.trap.x"],
            ["cat", "root", "traps"],
            ["get", "traps"],
            ["get", "root"],
            ["get", "traps", "$.reduced", "-f", "msgpack", "-qo", "/dev/null"],
            ["stat", "traps", "root"],
            ["ls"],
            ["verify"],
        ):
            done = commands.run(*words, **reading)
            assert done.returncode == 0, done.stderr
            assert not mark.exists(), words
        shown = json.loads(commands.run("cat", "traps", **reading).stdout)
        assert shown["trap"] == {"$type": "trap.Trap", "x": 1}
        assert "$type" in shown["reduced"]
        # The trap is one: who trusts this user's objects, as get() does, makes it.
        code = f"import icehouse; icehouse.connect({commands.daemon.socket!r}).get('root')"
        subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path)
        assert mark.exists()

    def test_h24_cycles_and_what_is_shared(self, commands: Commands) -> None:
        cycle: list[Any] = [1]
        cycle.append({"again": cycle})
        shared = ["s"]
        commands.store.put({"cycle": cycle, "twice": [shared, shared]}, name="graph")
        told = commands.document("cat", "graph")
        assert told["cycle"] == [1, {"again": {"$ref": "$.cycle"}}]
        assert told["twice"] == [["s"], ["s"]]

    def test_deep_nesting(self, commands: Commands) -> None:
        value: list[Any] = []
        for _ in range(5000):
            value = [value]
        commands.store.put(value, name="deep")
        assert commands.out("cat", "deep") == "[" * 5001 + "]" * 5001 + "\n"

    def test_links_are_followed(self, commands: Commands) -> None:
        inner = commands.store.put({"text": "x" * 2000, "point": Point(3, 4)}, name="inner")
        commands.store.put([commands.store.get(inner)], name="outer")
        assert commands.lines("stat", "outer")[0]["links"] == 1
        assert commands.document("cat", "outer", "$[0].point.x") == 3
        assert commands.document("cat", "outer", "$[0].point")["$type"] == f"{__name__}.Point"

    def test_arrays(self, commands: Commands) -> None:
        np = pytest.importorskip("numpy")
        value = {"a": np.arange(12).reshape(3, 4), "flags": np.array([True]), "zero": np.array(5)}
        commands.store.put(value, name="arrays")
        told = commands.document("cat", "arrays")
        assert told == {"a": value["a"].tolist(), "flags": [True], "zero": [5]}
        assert commands.lines("cat", "arrays", "$.a[1][1:3]") == [5, 6]
        assert commands.lines("cat", "arrays", "$.a[*][0]") == [0, 4, 8]

    def test_a_terminal_gets_a_part_of_what_is_large(self, commands: Commands) -> None:
        commands.store.put({"list": list(range(1000, 6000)), "t": "x" * 5000}, name="large")
        code, told = commands.on_terminal("cat", "large")
        assert code == 0
        assert "that is a part of it; --full prints all" in told
        assert "1099" in told
        assert "1100" not in told
        assert '"$more":4900' in told
        assert "(3000 more)" in told
        code, told = commands.on_terminal("cat", "large", "--full", "--compact")
        assert "5999" in told
        assert "$more" not in told
        # A pipe gets all.
        assert len(commands.document("cat", "large")["list"]) == 5000

    def test_texts_can_not_paint_a_terminal(self, commands: Commands) -> None:
        value = {"\x1b[31mkey": "\x1b[2J\x9b31m\u202e"}
        commands.store.put(value, name="paint")
        _, told = commands.on_terminal("cat", "paint")
        assert not any(char in told for char in "\x1b\x9b\u202e")
        assert json.loads(told) == value
        assert commands.document("cat", "paint") == value
        assert commands.document("cat", "paint", "--indent") == value

    def test_surrogates(self, commands: Commands) -> None:
        commands.store.put(["\ud800x"], name="lone")
        assert commands.document("cat", "lone") == ["\ud800x"]

    def test_what_is_not_there(self, commands: Commands) -> None:
        assert "nothing" in commands.fails(3, "cat", "nothing")
        assert "one selector" in commands.fails(2, "cat", "$.a")
        gone = commands.store.put(1)
        commands.store.delete(gone)
        assert str(gone) in commands.fails(3, "cat", gone)

    def test_a_reader_that_goes_away(self, commands: Commands) -> None:
        commands.store.put(list(range(300_000)), name="long")
        process = subprocess.Popen(
            [*COMMAND, "cat", "long", "--indent"],
            env=environment(commands.daemon.socket),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.read(10)
        process.stdout.close()
        assert process.stderr.read() == b""
        process.stderr.close()
        assert process.wait() == 1

    def test_it_touches_only_what_it_prints(self, commands: Commands) -> None:
        """Pages that nobody reads are not mapped in: the reader's memory stays small."""
        size = 24 * 2**20
        commands.store.put({"blob": b"x" * size, "n": 5}, name="heavy")
        code = (
            "import sys, resource; from icehouse.client.cli.app import run;"
            "run(['cat', 'heavy', sys.argv[1]]); status = open('/proc/self/status').read();"
            "print(status[status.index('RssShmem:'):].split()[1], file=sys.stderr)"
        )

        def shared_kib(selector: str) -> int:
            done = subprocess.run(
                [sys.executable, "-c", code, selector],
                env=environment(commands.daemon.socket),
                capture_output=True,
                check=True,
            )
            return int(done.stderr)

        assert shared_kib("$.n") < size / 1024 / 8
        assert shared_kib("$.blob[100:200]") < size / 1024 / 8


class TestGet:
    def test_json(self, commands: Commands, tmp_path: Path) -> None:
        commands.store.put(PLAIN, name="plain")
        assert commands.document("get", "plain") == PLAIN
        assert commands.document("get", "plain", "$.deep") == PLAIN["deep"]
        path = tmp_path / "out.json"
        done = commands.run("get", "plain", "-o", path)
        assert (done.returncode, done.stdout) == (0, "")
        assert json.loads(path.read_text()) == PLAIN
        assert commands.out("get", "plain", "-o", path, "--quiet") == ""

    def test_back_by_put(self, commands: Commands, tmp_path: Path) -> None:
        commands.store.put({"a": [1, b"xyz", {"t": None}]}, name="thing")
        path = tmp_path / "out.msgpack"
        commands.out("get", "thing", "-qo", path)
        assert msgspec.msgpack.decode(path.read_bytes()) == {"a": [1, b"xyz", {"t": None}]}
        handle = commands.out("put", path).strip()
        assert commands.store.get(handle) == {"a": [1, b"xyz", {"t": None}]}

    def test_raw_and_text(self, commands: Commands, tmp_path: Path) -> None:
        data = os.urandom(200_000)
        commands.store.put({"data": data, "text": "grün\n"}, name="raw")
        path = tmp_path / "out.bin"
        commands.out("get", "raw", "$.data", "-qo", path)
        assert path.read_bytes() == data
        assert commands.out("get", "raw", "$.text", "--format", "text") == "grün\n"
        assert "bytes or an array" in commands.fails(2, "get", "raw", "-f", "raw")
        assert "a str" in commands.fails(2, "get", "raw", "$.data", "-f", "text")

    def test_npy(self, commands: Commands, tmp_path: Path) -> None:
        np = pytest.importorskip("numpy")
        array = np.arange(1000, dtype="f4").reshape(10, 100)
        commands.store.put({"a": array}, name="array")
        path = tmp_path / "a.npy"
        commands.out("get", "array", "$.a", "-qo", path)
        assert (np.load(path) == array).all()
        assert "array of numbers" in commands.fails(2, "get", "array", "-f", "npy")

    def test_a_file_is_replaced_whole_or_not_at_all(
        self, commands: Commands, tmp_path: Path
    ) -> None:
        commands.store.put({"a": 1}, name="dict")
        path = tmp_path / "kept.txt"
        path.write_text("before")
        commands.fails(2, "get", "dict", "-o", path)
        assert path.read_text() == "before"
        assert [item.name for item in tmp_path.iterdir()] == ["kept.txt"]
        commands.fails(3, "get", "dict", "-o", tmp_path / "no" / "folder.json")

    def test_one_part_only(self, commands: Commands) -> None:
        commands.store.put([1, 2], name="list")
        assert "use cat" in commands.fails(2, "get", "list", "$[*]")

    def test_bytes_are_not_for_a_terminal(self, commands: Commands) -> None:
        commands.store.put(b"abc", name="bytes")
        code, told = commands.on_terminal("get", "bytes", "--format", "raw")
        assert code == 2
        assert "name a file with -o" in told


def test_damage_is_told(commands: Commands, tmp_path: Path) -> None:
    path = tmp_path / "x.ih"
    icehouse.save([1, 2, 3] * 100, path)
    data = bytearray(path.read_bytes())
    data[70] ^= 0xFF
    path.write_bytes(data)
    assert "digest" in commands.fails(7, "import", path)
