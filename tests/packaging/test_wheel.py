"""sdist, wheel from the sdist, and what a user's environment then holds."""

import os
import re
import subprocess
import sys
import tarfile
import venv
import zipfile
from collections import Counter
from pathlib import Path

import pytest
from daemons import Daemon

pytestmark = [pytest.mark.packaging, pytest.mark.watchdog(600)]


def run(*command: str | Path, cwd: Path) -> str:
    """Runs as a user would: none of our switches in the environment."""
    plain = {name: value for name, value in os.environ.items() if not name.startswith("ICEHOUSE_")}
    words = [str(word) for word in command]
    done = subprocess.run(words, cwd=cwd, env=plain, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{words}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory, root: Path) -> Path:
    """The tree as git knows it, so that no build product of this machine slips in."""
    folder = tmp_path_factory.mktemp("tree")
    listing = run("git", "ls-files", "-z", "-co", "--exclude-standard", cwd=root)
    for name in filter(None, listing.split("\0")):
        source, target = root / name, folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_symlink():
            target.symlink_to(source.readlink())
        elif source.exists():
            target.write_bytes(source.read_bytes())
    return folder


@pytest.fixture(scope="module")
def sdist(copy: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sdist")
    run(sys.executable, "-m", "build", "--sdist", "--no-isolation", "-o", folder, copy, cwd=copy)
    [path] = folder.glob("*.tar.gz")
    return path


@pytest.fixture(scope="module")
def wheel(sdist: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    run(*pip, "-w", folder, sdist, cwd=folder)
    [path] = folder.glob("*.whl")
    return path


def names_in(wheel: Path) -> list[str]:
    with zipfile.ZipFile(wheel) as archive:
        return [name for name in archive.namelist() if not name.endswith("/")]


def test_sdist_can_build_everything(sdist: Path) -> None:
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"setup.py", "LICENSE", "README.md", "native/ffi/build.py"} <= names
    assert any(re.fullmatch(r"native/arena/.+\.h", name) for name in names)
    assert [name for name in names if name.endswith((".so", ".o", ".pyc"))] == []


def test_wheel_holds_the_package_once(wheel: Path, root: Path) -> None:
    names = names_in(wheel)
    assert [name for name, count in Counter(names).items() if count > 1] == []
    package = [name for name in names if ".dist-info/" not in name]
    assert [name for name in package if not name.startswith("icehouse/")] == []
    for layer in ["store", "native", "server", "client"]:
        for path in (root / layer).rglob("*.py"):
            inside = path.relative_to(root)
            shipped = not {"ffi", "tests"} & set(inside.parts)
            assert (f"icehouse/{inside}" in names) == shipped, inside


def test_what_the_dashboard_is_made_of_is_shipped(sdist: Path, wheel: Path, root: Path) -> None:
    with tarfile.open(sdist) as archive:
        in_sdist = [name.partition("/")[2] for name in archive.getnames()]
    in_wheel = names_in(wheel)
    kinds = {".css", ".html", ".js", ".svg"}
    found = [path for path in (root / "server" / "admin").rglob("*") if path.suffix in kinds]
    assert {path.suffix for path in found} == kinds
    for path in found:
        name = f"icehouse/{path.relative_to(root)}"
        assert name in in_wheel
        assert f"src/{name}" in in_sdist


def test_wheel_holds_what_users_need_and_no_more(wheel: Path) -> None:
    names = names_in(wheel)
    assert "icehouse/py.typed" in names
    assert "icehouse/native/_image.pyi" in names
    for module in ["_image", "_arena"]:
        found = [name for name in names if re.match(rf"icehouse/native/{module}\..*so$", name)]
        assert len(found) == 1, found
    assert any(name.endswith("/LICENSE") for name in names)
    assert [name for name in names if name.endswith((".c", ".h", ".o"))] == []
    assert [name for name in names if "/tests/" in name or "/test_" in name] == []


@pytest.fixture(scope="module")
def clean_python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of an environment that has the wheel and what it needs, no extra."""
    home = tmp_path_factory.mktemp("env")
    venv.create(home, with_pip=True)
    python = home / "bin" / "python"
    run(python, "-m", "pip", "install", "--quiet", wheel, cwd=home)
    return python


def test_wheel_works_in_a_clean_environment(clean_python: Path, tmp_path: Path) -> None:
    printed = run(
        clean_python,
        "-c",
        "import icehouse; v = icehouse.freeze({'a': [1, 2]}); print(v['a'][1], icehouse.thaw(v));"
        "from icehouse.native import _arena; print(icehouse.__file__)",
        cwd=tmp_path,
    )
    shown, where = printed.splitlines()
    assert shown == "2 {'a': [1, 2]}"
    assert str(clean_python.parent.parent) in where


def test_wheel_serves_in_a_clean_environment(clean_python: Path, tmp_path: Path) -> None:
    """The daemon needs no extra; without one there is no admin face, and that is said."""
    with Daemon(tmp_path / "daemon", capacity="8MiB", python=str(clean_python)) as daemon:
        lines = f"import icehouse; s = icehouse.connect({daemon.socket!r}); print(s.remote.socket);"
        put = run(clean_python, "-c", f"{lines} s.put([1, 2], name='a')", cwd=tmp_path)
        got = run(clean_python, "-c", f"{lines} print(s.get('a')[1])", cwd=tmp_path)
        assert (put, got) == (f"{daemon.socket}\n", f"{daemon.socket}\n2\n")
