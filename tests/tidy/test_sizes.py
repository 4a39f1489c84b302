"""Files up to 600 lines, Python functions up to 70, lines up to 100 columns."""

import ast
from collections.abc import Iterator
from pathlib import Path

FILE_LINES_MAX = 600
FUNCTION_LINES_MAX = 70
COLUMNS_MAX = 100
# A longer file says so among its first lines, with its reason.
REASON = "Longer than 600 lines: "
REASON_WITHIN = 20

FOLDERS = ["src", "store", "native", "server", "client", "tests", "benchmarks", "examples", "tools"]
SUFFIXES = {".py", ".pyi", ".c", ".h", ".js"}


def sources(root: Path) -> Iterator[Path]:
    yield root / "setup.py"
    for folder in FOLDERS:
        for path in sorted((root / folder).rglob("*")):
            inside = path.relative_to(root).parts
            if path.suffix in SUFFIXES and "build" not in inside and "__pycache__" not in inside:
                yield path


def test_there_is_something_to_measure(root: Path) -> None:
    assert {path.suffix for path in sources(root)} >= {".py", ".c", ".h"}


def test_files_are_short_or_say_why_not(root: Path) -> None:
    long = []
    for path in sources(root):
        lines = path.read_text().splitlines()
        excused = any(REASON in line for line in lines[:REASON_WITHIN])
        if len(lines) > FILE_LINES_MAX and not excused:
            long.append(f"{path.relative_to(root)}: {len(lines)} lines")
    assert long == []


def test_functions_are_short(root: Path) -> None:
    long = []
    for path in sources(root):
        if path.suffix != ".py":
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = (node.end_lineno or node.lineno) - node.lineno + 1
                if lines > FUNCTION_LINES_MAX:
                    where = f"{path.relative_to(root)}:{node.lineno}"
                    long.append(f"{where}: {node.name} has {lines} lines")
    assert long == []


def test_lines_are_narrow(root: Path) -> None:
    wide = []
    for path in sources(root):
        for number, line in enumerate(path.read_text().splitlines(), start=1):
            if len(line) > COLUMNS_MAX:
                wide.append(f"{path.relative_to(root)}:{number}: {len(line)} columns")
    assert wide == []
