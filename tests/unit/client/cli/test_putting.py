"""`icehouse put`: formats, and what comes of a file that is none of them."""

import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest
from commands import COMMAND, Commands, environment

pytestmark = pytest.mark.slow


def put(commands: Commands, path: Path, *words: object) -> tuple[Any, dict[str, Any]]:
    """Puts a file; what a reader gets, and what the command told."""
    [told] = commands.lines("put", path, *words)
    return commands.store.get(told["handle"]), told


class TestFormats:
    def test_json_and_lines(self, commands: Commands, tmp_path: Path) -> None:
        path = tmp_path / "x.json"
        path.write_text('{"a": [1, 2.5, null, "ü"]}')
        value, told = put(commands, path)
        assert value == {"a": [1, 2.5, None, "ü"]}
        assert (told["format"], told["type"], told["pinned"]) == ("json", "dict", True)
        lines = tmp_path / "x.ndjson"
        lines.write_text('{"a": 1}\n\n[2]\n')
        assert put(commands, lines)[0] == [{"a": 1}, [2]]

    def test_msgpack(self, commands: Commands, tmp_path: Path) -> None:
        path = tmp_path / "x.msgpack"
        path.write_bytes(msgspec.msgpack.encode({"a": [b"x", 1, None]}))
        assert put(commands, path)[0] == {"a": [b"x", 1, None]}

    def test_csv(self, commands: Commands, tmp_path: Path) -> None:
        path = tmp_path / "x.csv"
        path.write_text(
            'name,n,x,code,mixed\n"Ada, L.",1,2.5,007,1\nBo,-3,,010,a\nCy,,1e3,1_0,\n', "utf-8-sig"
        )
        assert put(commands, path)[0] == [
            {"name": "Ada, L.", "n": 1, "x": 2.5, "code": "007", "mixed": "1"},
            {"name": "Bo", "n": -3, "x": None, "code": "010", "mixed": "a"},
            {"name": "Cy", "n": None, "x": 1000.0, "code": "1_0", "mixed": ""},
        ]
        tabs = tmp_path / "x.tsv"
        tabs.write_text("a\tb\n1\t2\n")
        assert put(commands, tabs)[0] == [{"a": 1, "b": 2}]
        empty = tmp_path / "empty.csv"
        empty.write_text("")
        assert put(commands, empty)[0] == []

    def test_text_and_raw(self, commands: Commands, tmp_path: Path) -> None:
        path = tmp_path / "x.txt"
        path.write_text("grün")
        assert put(commands, path)[0] == "grün"
        assert put(commands, path, "--format", "raw")[0] == "grün".encode()
        data = tmp_path / "x.data"
        data.write_bytes(os.urandom(3_000_000))
        value, told = put(commands, data)
        assert bytes(value) == data.read_bytes()
        assert told["type"] == "bytes"

    def test_arrays(self, commands: Commands, tmp_path: Path) -> None:
        np = pytest.importorskip("numpy")
        np.save(tmp_path / "x.npy", np.arange(10.0))
        assert (put(commands, tmp_path / "x.npy")[0] == np.arange(10.0)).all()
        np.savez(tmp_path / "x.npz", a=np.arange(3), b=np.eye(2))
        value, _ = put(commands, tmp_path / "x.npz")
        assert (value["b"] == np.eye(2)).all()

    def test_parquet(self, commands: Commands, tmp_path: Path) -> None:
        pa = pytest.importorskip("pyarrow")
        pq = pytest.importorskip("pyarrow.parquet")
        path = tmp_path / "x.parquet"
        table = pa.table({"a": [1, 2], "b": ["x", None], "c": [[1], None]})
        pq.write_table(table, path)
        value, told = put(commands, path)
        assert value.equals(table)
        assert told["format"] == "parquet"
        assert commands.document("cat", told["handle"], "$.names") == ["a", "b", "c"]
        pq.write_table(table.slice(0, 0), path)
        assert put(commands, path)[0].num_rows == 0

    def test_parquet_that_is_broken(self, commands: Commands, tmp_path: Path) -> None:
        pa = pytest.importorskip("pyarrow")
        pq = pytest.importorskip("pyarrow.parquet")
        path = tmp_path / "x.parquet"
        table = pa.table({"a": list(range(1000))})
        pq.write_table(
            table, path, write_page_checksum=True, compression="none", use_dictionary=False
        )
        data = path.read_bytes()
        damaged = bytearray(data)
        damaged[2000] ^= 1
        for content in (damaged, data[:500], data[500:], b"", b"PAR1", b"PAR1" * 50):
            path.write_bytes(content)
            assert "can't be read as parquet" in commands.fails(1, "put", path)

    def test_parquet_without_its_library(self, commands: Commands, tmp_path: Path) -> None:
        path = tmp_path / "x.parquet"
        path.write_bytes(b"PAR1")
        code = (
            "import sys; sys.modules['pyarrow'] = None;"
            "from icehouse.client.cli import main; sys.exit(main())"
        )
        done = subprocess.run(
            [sys.executable, "-c", code, "put", str(path)],
            env=environment(commands.daemon.socket),
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr == (
            "icehouse: reading Parquet needs pyarrow: pip install 'icehouse[data]'\n"
        )

    def test_pickles_need_a_word(self, commands: Commands, tmp_path: Path) -> None:
        path = tmp_path / "x.pickle"
        path.write_bytes(pickle.dumps({1: (2, 3)}))
        assert "--unsafe-pickle" in commands.fails(2, "put", path)
        assert "--unsafe-pickle" in commands.fails(2, "put", "-", "--format", "pickle")
        assert put(commands, path, "--unsafe-pickle")[0] == {1: (2, 3)}

    def test_h21_arrays_of_objects_are_pickles(self, commands: Commands, tmp_path: Path) -> None:
        np = pytest.importorskip("numpy")
        mark = tmp_path / "ran"

        class Trap:
            def __reduce__(self) -> Any:
                return os.mkdir, (str(mark),)

        objects = np.array([Trap()], dtype=object)
        np.save(tmp_path / "x.npy", objects, allow_pickle=True)
        np.savez(tmp_path / "y.npz", a=objects)
        (tmp_path / "z.npy").write_bytes(pickle.dumps(Trap()))
        (tmp_path / "z.npz").write_bytes(pickle.dumps(Trap()))
        for name in ("x.npy", "y.npz", "z.npy", "z.npz"):
            told = commands.fails(1, "put", tmp_path / name)
            assert "allow_pickle" not in told
        assert not mark.exists()

    @pytest.mark.parametrize(
        ("name", "content"),
        [
            ("x.json", b'{"a": '),
            ("x.json", b"[" * 200_000),
            ("x.jsonl", b"{}\n{]\n"),
            ("x.msgpack", b"\x93\x01"),
            ("x.csv", b"a,b\n1\n"),
            ("x.csv", b"a,a\n1,2\n"),
            ("x.csv", b"\xff\xfe"),
            ("x.npy", b"\x93NUMPY\x09\x00"),
            ("x.npz", b"PK\x03\x04 no"),
            ("x.npy", b"\x93NUMPY\x01\x00" + b"\x20\x4e" + b"(" * 20_000),
            ("x.txt", b"\xff"),
            ("x.json", b""),
            ("x.json", b"\0"),
            ("x.json", b"{} {}"),
            ("x.json", b'["\xff"]'),
            ("x.json", b"1" * 5000),
            ("x.json", b'{"a":' * 100_000),
            ("x.jsonl", b"[" * 100_000),
            ("x.msgpack", b""),
            ("x.msgpack", b"\x01\x02"),
            ("x.msgpack", b"\xa1\xff"),
            ("x.msgpack", b"\xdd\xff\xff\xff\xff\xc0"),
            ("x.msgpack", b"\xc6\xff\xff\xff\xff\xc0"),
            ("x.msgpack", b"\x91" * 100_000 + b"\xc0"),
            ("x.csv", b"a,b\n1,2,3\n"),
            ("x.csv", b'a,b\n"1,2\n'),
            ("x.csv", b'a,b\n"1"x,2\n'),
        ],
    )
    def test_files_that_are_not_what_they_say(
        self, commands: Commands, tmp_path: Path, name: str, content: bytes
    ) -> None:
        if name.startswith(("x.np",)):
            pytest.importorskip("numpy")
        path = tmp_path / name
        path.write_bytes(content)
        told = commands.fails(1, "put", path)
        assert name in told
        assert commands.store.ls() == []

    def test_what_is_odd_and_no_damage(self, commands: Commands, tmp_path: Path) -> None:
        """As Python's own readers have it: the last of two keys, NaN, a mark at the beginning."""
        cases: list[tuple[str, bytes, Any]] = [
            ("x.json", b'\xef\xbb\xbf{"a":1,"a":2}', {"a": 2}),
            ("x.json", '{"a":1}'.encode("utf-16"), {"a": 1}),
            ("x.json", b"[Infinity, 1e999]", [float("inf"), float("inf")]),
            ("x.json", b"[" * 2000 + b"]" * 2000, None),
            ("x.jsonl", '{"a":"x\u2028y\x85"}\r\n2\r\n'.encode(), [{"a": "x\u2028y\x85"}, 2]),
            ("x.jsonl", b"", []),
            ("x.msgpack", b"\x82\xa1a\x01\xa1a\x02", {"a": 2}),
            ("x.csv", b"a,b\r\n1,2\r\n\r\n3,4", [{"a": 1, "b": 2}, {"a": 3, "b": 4}]),
            ("x.csv", b"a\n" + b"x" * 200_000, [{"a": "x" * 200_000}]),
            ("x.csv", b"a\n1e999\n", [{"a": "1e999"}]),
            ("x.csv", b"a\n" + b"9" * 4500, [{"a": "9" * 4500}]),
            ("x.csv", b"a,b\n", []),
        ]
        for name, content, expected in cases:
            path = tmp_path / name
            path.write_bytes(content)
            value, _ = put(commands, path)
            if expected is not None:
                assert value == expected, content[:50]

    def test_what_no_store_has_room_for_is_not_read(
        self, commands: Commands, tmp_path: Path
    ) -> None:
        """Nor is memory taken for what a header only claims to be."""
        np = pytest.importorskip("numpy")
        with (tmp_path / "x.bin").open("wb") as file:
            file.truncate(1 << 40)
        np.savez_compressed(tmp_path / "bomb.npz", a=np.zeros(20_000_000))
        header = b"{'descr':'<f8','fortran_order':False,'shape':(1000000000000000,)}"
        padded = header + b" " * (117 - len(header)) + b"\n"
        (tmp_path / "x.npy").write_bytes(b"\x93NUMPY\x01\x00\x76\x00" + padded)
        code = (
            "import resource, sys; resource.setrlimit(resource.RLIMIT_DATA, (1 << 29, 1 << 29));"
            "from icehouse.client.cli import main; sys.exit(main())"
        )
        for name in ("x.bin", "bomb.npz", "x.npy"):
            done = subprocess.run(
                [sys.executable, "-c", code, "put", str(tmp_path / name)],
                env={**environment(commands.daemon.socket), "OPENBLAS_NUM_THREADS": "1"},
                capture_output=True,
                text=True,
                check=False,
            )
            assert (done.returncode, done.stdout) == (4, ""), (name, done.stderr)
            assert len(done.stderr.splitlines()) == 1, name
            assert name in done.stderr
        endless = subprocess.run(
            ["sh", "-c", 'yes | "$@"', "sh", *COMMAND, "put", "--format", "raw"],
            env=environment(commands.daemon.socket),
            capture_output=True,
            text=True,
            check=False,
        )
        assert (endless.returncode, endless.stdout) == (4, ""), endless.stderr
        assert endless.stderr.startswith("icehouse: stdin: it is larger than the store")


class TestLives:
    def test_what_is_put_outlives_the_command(self, commands: Commands) -> None:
        told = {}
        for words in ([], ["--name", "n"], ["--ttl", "1h"], ["--evictable"], ["--no-pin"]):
            [told["".join(words)]] = commands.lines("put", "-", *words, stdin="[1]")
        assert [line["pinned"] for line in told.values()] == [True, False, False, False, False]
        assert commands.store.stat(told["--ttl1h"]["handle"]).expires is not None
        assert commands.store.stat(told["--evictable"]["handle"]).evictable
        assert commands.store.get("n") == [1]
        sealed = commands.out("put", "-", "--seal", stdin="[1]").strip()
        assert commands.store.stat(sealed).sealed

    def test_prints_the_handle_and_nothing_else(self, commands: Commands, tmp_path: Path) -> None:
        (tmp_path / "a.json").write_text("1")
        (tmp_path / "b.json").write_text("2")
        told = commands.out("put", tmp_path / "a.json", tmp_path / "b.json").split()
        assert [commands.store.get(handle) for handle in told] == [1, 2]
        assert commands.out("put", tmp_path / "a.json", "--quiet", "--name", "a") == ""

    def test_usage(self, commands: Commands, tmp_path: Path) -> None:
        (tmp_path / "a.json").write_text("1")
        one = tmp_path / "a.json"
        assert "one name" in commands.fails(2, "put", one, one, "--name", "n")
        assert "not a name" in commands.fails(2, "put", one, "--name", "ih1_x")
        assert "No such file" in commands.fails(3, "put", tmp_path / "none")
        assert "directory" in commands.fails(1, "put", tmp_path)
        assert commands.run("put", one, "--ttl", "soon").returncode == 2
        assert commands.run("put", one, "--format", "xml").returncode == 2

    def test_no_file_on_a_terminal(self, commands: Commands) -> None:
        code, told = commands.on_terminal("put")
        assert code == 2
        assert "name a file" in told

    def test_a_full_store(self, commands: Commands, tmp_path: Path) -> None:
        path = tmp_path / "large"
        with path.open("wb") as file:
            file.truncate(100_000_000)
        told = commands.fails(4, "put", path)
        assert "64" in told

    def test_progress_on_a_terminal_alone(self, commands: Commands, tmp_path: Path) -> None:
        path = tmp_path / "x.bin"
        path.write_bytes(os.urandom(1000))
        _, told = commands.on_terminal("put", path)
        assert "putting" in told
        assert "\x1b[K" in told
        assert commands.run("put", path).stderr == ""

    def test_interrupted(self, commands: Commands) -> None:
        process = subprocess.Popen(
            [*COMMAND, "put", "-"],
            env=environment(commands.daemon.socket),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        assert process.stdin is not None
        # It has read this, and waits for more.
        process.stdin.write(b"[" * 100_000)
        process.stdin.flush()
        _wait_for_reader(process.pid)
        process.send_signal(2)
        out, said = process.communicate()
        assert (process.returncode, out, said) == (130, b"", b"")


def _wait_for_reader(pid: int) -> None:
    from daemons import wait_until

    # 0: read, of the pipe that is stdin.
    def reads() -> bool:
        return Path(f"/proc/{pid}/syscall").read_text().startswith("0 0x0 ")

    wait_until(reads, "the command to read")


def test_the_bar() -> None:
    from icehouse.client.cli.commands.putting import bar

    assert bar("f", 50, 200, 2.0) == "reading f [######------------------] 25%, 50 B, 25 B/s"
    assert bar("f", 2048, 0, 1.0) == "reading f: 2 KiB, 2 KiB/s"


def test_columns_of_a_table() -> None:
    from icehouse.client.cli.formats import column_of

    cases: list[tuple[tuple[str, ...], list[Any]]] = [
        (("1", "-2", ""), [1, -2, None]),
        (("1", "2.", ".5", "1e9"), [1.0, 2.0, 0.5, 1e9]),
        (("01", "2"), ["01", "2"]),
        (("nan", "1"), ["nan", "1"]),
        (("", ""), ["", ""]),
        (("1_0",), ["1_0"]),
        (("\u0663",), ["\u0663"]),
    ]
    for given, expected in cases:
        assert column_of(given) == expected
        assert list(map(type, column_of(given))) == list(map(type, expected))


def test_numbers_of_the_options() -> None:
    import typer

    from icehouse.client.cli.options import parse_size, parse_time

    assert [parse_size(text) for text in ("4096", "64KiB", "1.5GiB", "500MB", "2k")] == [
        4096,
        65536,
        1610612736,
        500_000_000,
        2048,
    ]
    assert [parse_time(text) for text in ("250ms", "90s", "5m", "1h", "2d", "3")] == [
        0.25,
        90,
        300,
        3600,
        172800,
        3,
    ]
    # Not rounded to the 53 bits of a float.
    assert parse_size("9007199254740993") == 2**53 + 1
    for wrong in ("", "-1", "1 parsec", "1e3", "\u0663"):
        with pytest.raises(typer.BadParameter):
            parse_size(wrong)
        with pytest.raises(typer.BadParameter):
            parse_time(wrong)
