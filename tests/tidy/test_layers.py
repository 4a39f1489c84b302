"""Imports and includes point downward only: the order of layers of ARCHITECTURE.md."""

import ast
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

# What each Python layer may import of ours; the facade is src/icehouse itself.
MAY_IMPORT = {
    "native": {"native"},
    "store": {"native", "store"},
    "server": {"native", "store", "server"},
    "client": {"native", "store", "client", "facade"},
    "facade": {"store", "client"},
}

# What each C layer may include of ours, and whether it may know Python or the system.
MAY_INCLUDE = {
    "arena/os": {"arena/os"},
    "arena": {"arena/os", "arena"},
    "image": {"arena", "image"},
    "module": {"arena", "image", "module"},
}
# A thread's patience lasts from one call to the next: that each module has its own does no harm.
MAY_BE_TWO = {"impatient"}
PLAIN_C = ["arena/os", "arena", "image"]
SYSTEM_HEADER = re.compile(r"(sys|linux|asm)/.*|(unistd|fcntl|sched|signal|poll)\.h")
INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]', re.MULTILINE)


def imported(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Every module that a file imports, `importlib.import_module("...")` included."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            yield node.lineno, "." * node.level + (node.module or "")
            if node.module == "icehouse":
                for alias in node.names:
                    yield node.lineno, f"icehouse.{alias.name}"
        elif isinstance(node, ast.Call) and node.args:
            called = node.func
            name = called.attr if isinstance(called, ast.Attribute) else getattr(called, "id", "")
            first = node.args[0]
            if name in ("import_module", "__import__") and isinstance(first, ast.Constant):
                yield node.lineno, str(first.value)


def layer_of(module: str) -> str | None:
    """The layer that a module belongs to, None if it isn't ours."""
    package, _, rest = module.partition(".")
    if package != "icehouse":
        return None
    top = rest.partition(".")[0]
    return top if top in MAY_IMPORT else "facade"


def wrong_imports(path: Path, layer: str) -> Iterator[str]:
    for line, module in imported(ast.parse(path.read_text())):
        target = layer_of(module)
        if module.startswith("."):
            yield f"{path}:{line}: relative import {module}"
        # `from icehouse import store` is seen as the facade and as store; the latter counts.
        elif target is not None and target not in MAY_IMPORT[layer]:
            yield f"{path}:{line}: {layer} imports {module}"


@pytest.mark.parametrize("layer", ["native", "store", "server", "client"])
def test_python_imports_point_downward(root: Path, layer: str) -> None:
    wrong = [
        problem for path in (root / layer).rglob("*.py") for problem in wrong_imports(path, layer)
    ]
    assert wrong == []


def test_the_facade_only_re_exports(root: Path) -> None:
    for path in (root / "src" / "icehouse").glob("*.py"):
        assert list(wrong_imports(path, "facade")) == []
        for node in ast.parse(path.read_text()).body:
            literal = isinstance(node, ast.Expr | ast.Assign | ast.AnnAssign)
            lazy = isinstance(node, ast.If) and all(
                isinstance(inner, ast.ImportFrom) for inner in node.body + node.orelse
            )
            assert literal or lazy or isinstance(node, ast.ImportFrom), f"{path}:{node.lineno}"


def test_the_ffi_builder_stands_alone(root: Path) -> None:
    for path in (root / "native" / "ffi").glob("*.py"):
        ours = [name for _, name in imported(ast.parse(path.read_text())) if layer_of(name)]
        assert ours == [], path


def c_files(root: Path, layer: str) -> list[Path]:
    found = sorted((root / "native" / layer).glob("*.[ch]"))
    assert found, f"native/{layer} has no C files"
    return found


@pytest.mark.parametrize("layer", list(MAY_INCLUDE))
def test_c_includes_point_downward(root: Path, layer: str) -> None:
    wrong = []
    for path in c_files(root, layer):
        for quote, header in INCLUDE.findall(path.read_text()):
            # As the compiler does: beside the file first, then below native/.
            beside = (path.parent / header).resolve()
            target = beside if beside.exists() else root / "native" / header
            folder = str(target.parent.relative_to(root / "native"))
            if quote == '"' and folder not in MAY_INCLUDE[layer]:
                wrong.append(f"{path.relative_to(root)} includes {header}")
    assert wrong == []


@pytest.mark.parametrize("layer", PLAIN_C)
def test_plain_c_knows_no_python(root: Path, layer: str) -> None:
    for path in c_files(root, layer):
        headers = [header for _, header in INCLUDE.findall(path.read_text())]
        assert "Python.h" not in headers, path


@pytest.mark.parametrize("layer", ["arena", "image"])
def test_system_calls_stand_behind_one_folder(root: Path, layer: str) -> None:
    for path in c_files(root, layer):
        headers = [header for quote, header in INCLUDE.findall(path.read_text()) if quote == "<"]
        assert [header for header in headers if SYSTEM_HEADER.fullmatch(header)] == [], path


@pytest.mark.parametrize("layer", PLAIN_C)
def test_plain_c_has_no_mutable_globals(root: Path, tmp_path: Path, layer: str) -> None:
    """It is linked into two modules, where a global would silently be two."""
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    assert compiler, "no C compiler"
    for path in c_files(root, layer):
        if path.suffix != ".c":
            continue
        target = tmp_path / f"{path.stem}.o"
        # Without position independence, constant tables of pointers are read-only data too.
        flags = ["-std=gnu11", "-O0", "-w", "-fno-pic", "-fno-pie", f"-I{root / 'native'}"]
        subprocess.run([compiler, *flags, "-c", str(path), "-o", str(target)], check=True)
        listing = subprocess.run(
            ["nm", "--defined-only", str(target)], capture_output=True, text=True, check=True
        ).stdout.splitlines()
        mutable = [line.split()[-1] for line in listing if line.split()[-2] in "bBdDC"]
        assert set(mutable) <= MAY_BE_TWO, path
