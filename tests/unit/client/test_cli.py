"""The command line as a user meets it: each command in a process of its own, mostly in a pipe."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from commands import COMMAND, on_terminal, run

pytest.importorskip("typer")
pytest.importorskip("rich")

SMALL_DEMO = ["demo", "--characters", "300", "--questions", "40"]
QUICK = ["bench", "--quick", "--corpus", "pairs"]
ESCAPE = "\x1b"
# Bold and italics are no colours.
COLOUR = re.compile(r"\x1b\[(?:\d+;)*3[0-7]m")


def document(*arguments: str, stdin: str = "") -> Any:
    done = run(*arguments, stdin=stdin)
    assert (done.returncode, done.stderr) == (0, "")
    return json.loads(done.stdout)


class TestRoot:
    def test_version(self) -> None:
        done = run("--version")
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.startswith("icehouse ")

    @pytest.mark.parametrize("arguments", [["--help"], ["-h"], ["demo", "--help"], ["bench", "-h"]])
    def test_help(self, arguments: list[str]) -> None:
        done = run(*arguments)
        assert (done.returncode, done.stderr) == (0, "")
        assert "Usage: icehouse" in done.stdout

    def test_help_imports_nothing_heavy(self) -> None:
        code = (
            "import sys; from icehouse.client.cli import main; sys.argv = ['icehouse', '--help'];"
            "main(); print(*sys.modules, file=sys.stderr)"
        )
        command = [sys.executable, "-c", code]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        loaded = set(done.stderr.split())
        assert "typer" in loaded
        assert not loaded & {"numpy", "msgspec", "rich.table", "asyncio", "cffi"}

    @pytest.mark.parametrize(
        "arguments",
        [["thaw-everything"], ["demo", "--questions", "many"], ["demo", "--nope"], ["bench", "x"]],
    )
    def test_usage_errors(self, arguments: list[str]) -> None:
        done = run(*arguments)
        assert (done.returncode, done.stdout) == (2, "")
        assert "Usage: icehouse" in done.stderr

    def test_without_its_libraries_it_says_what_to_install(self) -> None:
        code = (
            "import sys; sys.modules['typer'] = None;"
            "from icehouse.client.cli import main; sys.exit(main())"
        )
        command = [sys.executable, "-c", code]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 1
        assert "pip install 'icehouse[cli]'" in done.stderr


class TestDemo:
    def test_json(self) -> None:
        told = document(*SMALL_DEMO, "--json")
        assert told["interpreters"] == 4
        assert told["processes"] == 2
        for way in ("icehouse", "pickle"):
            assert len(told[way]["readers"]) == 6
            assert {reader["kind"] for reader in told[way]["readers"]} == {"interpreter", "process"}
            assert told[way]["size_bytes"] > 1000
            assert told[way]["together_answers"] == 6 * 40
        assert told["machine"]["python"]

    def test_table(self) -> None:
        done = run(*SMALL_DEMO)
        assert (done.returncode, done.stderr) == (0, "")
        assert ESCAPE not in done.stdout
        for words in ("icehouse", "pickle", "first answer in interpreter 4", "private memory"):
            assert words in done.stdout
        assert "a frozen function that no other interpreter could import" in done.stdout

    def test_says_when_interpreters_share_the_gil(self) -> None:
        done = run(*SMALL_DEMO)
        assert ("share one GIL" in done.stdout) == (sys.version_info < (3, 12))

    @pytest.mark.parametrize(("interpreters", "processes"), [(0, 2), (2, 0), (0, 0)])
    def test_fewer_readers(self, interpreters: int, processes: int) -> None:
        counts = ["--interpreters", str(interpreters), "--processes", str(processes)]
        told = document(*SMALL_DEMO, *counts, "--json")
        assert len(told["icehouse"]["readers"]) == interpreters + processes
        sent = told["sent"]
        assert (sent["answers"] if sent else None) == (interpreters * 40 or None)
        assert run(*SMALL_DEMO, *counts).returncode == 0

    @pytest.mark.parametrize(
        "value",
        [
            {"users": [{"name": "Ada", "tags": ["a", "b"]}, {"name": "Bo", "tags": []}], "n": 2},
            [[], {}, [[[]]], ""],
            [1.5, None, True, "ü", 2**70, float("nan")],
            "just text",
            7,
            None,
            [],
        ],
    )
    def test_any_document(self, tmp_path: Path, value: Any) -> None:
        path = tmp_path / "document.json"
        path.write_text(json.dumps(value))
        told = document("demo", str(path), "--questions", "30", "--json")
        assert told["about"] == "document.json"
        assert told["icehouse"]["together_answers"] == 6 * 30

    def test_standard_input(self) -> None:
        told = document("demo", "-", "--questions", "5", "--json", stdin='{"a": [1, 2, 3]}')
        assert told["about"] == "stdin"

    def test_missing_file(self, tmp_path: Path) -> None:
        done = run("demo", str(tmp_path / "none.json"))
        assert (done.returncode, done.stdout) == (3, "")
        assert done.stderr.strip().endswith("none.json: No such file or directory")
        assert len(done.stderr.splitlines()) == 1

    @pytest.mark.parametrize("text", ["", "{", "[1,", '{"a": 1} x', "\x00", "[" * 200_000])
    def test_invalid_json(self, tmp_path: Path, text: str) -> None:
        path = tmp_path / "broken.json"
        path.write_text(text)
        done = run("demo", str(path))
        assert (done.returncode, done.stdout) == (1, "")
        assert "broken.json" in done.stderr
        assert len(done.stderr.splitlines()) == 1

    def test_bytes_that_are_no_text(self, tmp_path: Path) -> None:
        path = tmp_path / "broken.json"
        path.write_bytes(b'"\xff\xfe\xfd"')
        done = run("demo", str(path))
        assert done.returncode == 1
        assert "not valid JSON" in done.stderr

    def test_a_folder(self, tmp_path: Path) -> None:
        done = run("demo", str(tmp_path))
        assert (done.returncode, done.stdout) == (1, "")
        assert "is a folder" in done.stderr


class TestBench:
    def test_json(self) -> None:
        told = document(*QUICK, "--json")
        assert told["quick"]
        assert told["machine"]["cores"] >= 1
        cases = {result["case"] for result in told["results"]}
        assert cases == {"freeze", 'view["key"]', "walk", "thaw", "size", "dumps"}
        for result in told["results"]:
            assert result["sides"]["icehouse"]["median"] > 0
            if "target" in result:
                assert result["verdict"] in ("aim", "must", "missed")

    @pytest.mark.parametrize("case", ["get", "put", "array", "memory"])
    def test_cases_with_data_of_their_own(self, case: str) -> None:
        told = document("bench", "--quick", "--case", case, "--json")
        assert told["results"]
        assert all(result["sides"]["icehouse"]["median"] is not None for result in told["results"])

    def test_table(self) -> None:
        done = run(*QUICK, "--case", "size", "--case", "lookup")
        assert (done.returncode, done.stderr) == (0, "")
        assert ESCAPE not in done.stdout
        assert 'view["key"]' in done.stdout
        assert "of pickle" in done.stdout

    def test_one_side_alone(self) -> None:
        told = document(*QUICK, "--case", "freeze", "--only", "pickle", "--cpu-time", "--json")
        [result] = told["results"]
        assert list(result["sides"]) == ["pickle"]
        assert result["verdict"] == ""

    def test_documents_from_a_folder(self, tmp_path: Path) -> None:
        items = [{"id": i, "name": f"n{i}", "sub": {"x": i}} for i in range(100)]
        (tmp_path / "github.json").write_text(json.dumps(items))
        told = document("bench", "--quick", "--data", str(tmp_path), "--corpus", "github", "--json")
        corpora = {result["corpus"] for result in told["results"]}
        assert corpora == {"github", "github, a record", "github, dict items"}

    @pytest.mark.parametrize(
        "arguments", [["--case", "none"], ["--corpus", "none"], ["--data", "/nonexistent"]]
    )
    def test_what_is_not_there(self, arguments: list[str]) -> None:
        done = run("bench", "--quick", *arguments)
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr


class TestTerminal:
    """With stdout and stderr on a terminal there are colours and progress, unless refused."""

    def on_terminal(self, *arguments: str, **env: str) -> str:
        code, told = on_terminal([*COMMAND, *arguments], None, **env)
        assert code == 0
        return told

    def test_colours_and_progress(self) -> None:
        told = self.on_terminal(*QUICK, "--case", "size", NO_COLOR="", COLUMNS="160")
        assert COLOUR.search(told)
        assert "loading" in told

    def test_no_color(self) -> None:
        told = self.on_terminal(*QUICK, "--case", "size", NO_COLOR="1", COLUMNS="160")
        assert not COLOUR.search(told)
        assert "icehouse bench" in told

    def test_a_narrow_terminal(self) -> None:
        told = self.on_terminal(*QUICK, "--case", "size", NO_COLOR="1", COLUMNS="80")
        table = [line for line in told.splitlines() if "│" in line or "┃" in line]
        plain = [re.sub(r"\x1b\[[0-9;]*[mK]", "", line) for line in table]
        assert max(map(len, plain)) <= 80
        assert "pickle" in "".join(plain)

    def test_a_reader_that_goes_away(self) -> None:
        command = [*COMMAND, *QUICK, "--case", "size"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            assert process.stdout
            assert process.stderr
            process.stdout.close()
            told = process.stderr.read()
        assert process.returncode == 1
        assert told == b""
