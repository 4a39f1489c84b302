"""Images frozen by one Python version are read by the others, and back.

The others are those for which this tree has an environment (`make PYTHON=python3.12 dev-ready`) and
whoever has left images in $ICEHOUSE_IMAGES: in CI each Python does so for the ones that run
later.
"""

import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import golden
import pytest

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
EXCHANGE = os.environ.get("ICEHOUSE_IMAGES", "")
THIS = f"{sys.version_info[0]}.{sys.version_info[1]}{sys.abiflags}"


def run(python: Path, *words: str | Path) -> str:
    done = subprocess.run(
        [python, HERE / "golden.py", *words], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{python}: {done.stdout}{done.stderr}"
    return done.stdout


def others() -> list[Path]:
    """Environments of other versions whose modules were compiled from the sources as they are."""
    usable = []
    for folder in sorted(ROOT.glob(".venv-*")):
        python = folder / "bin" / "python"
        if folder.name != f".venv-{THIS}" and python.exists():
            usable.append(python)
    return usable


def is_current(python: Path) -> bool:
    """Whether it can import the package, compiled after the last change of its C sources."""
    ask = "import icehouse.native._image as m; print(m.__file__)"
    done = subprocess.run([python, "-c", ask], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        return False
    built = Path(done.stdout.strip()).stat().st_mtime
    folders = ("image", "module")
    return all(
        path.stat().st_mtime <= built
        for folder in folders
        for path in (ROOT / "native" / folder).glob("*.[ch]")
    )


OTHERS = others()


@pytest.mark.parametrize("python", OTHERS, ids=lambda path: path.parent.parent.name)
def test_there_and_back(python: Path, tmp_path: Path) -> None:
    if not is_current(python):
        pytest.skip(f"{python} has no icehouse of these sources: make PYTHON=... dev-ready")
    theirs, ours = tmp_path / "theirs", tmp_path / "ours"
    run(python, "write", theirs)
    assert "as they should be" in run(Path(sys.executable), "read", theirs)
    golden.write(ours)
    assert "as they should be" in run(python, "read", ours)


def test_another_version_is_at_hand() -> None:
    """Says so where the others are missing: nothing else would."""
    if not OTHERS and not EXCHANGE:
        pytest.skip("no other Python version has an environment here: make PYTHON=... dev-ready")
    assert all(sysconfig.get_python_version() not in str(python) for python in OTHERS)


@pytest.mark.skipif(not EXCHANGE, reason="ICEHOUSE_IMAGES names no folder to exchange images in")
def test_images_that_others_left() -> None:
    folder = Path(EXCHANGE)
    folder.mkdir(parents=True, exist_ok=True)
    mine = folder / f".{THIS}-{os.getpid()}"
    golden.write(mine)
    mine.rename(folder / mine.name[1:])
    met = [other for other in sorted(folder.iterdir()) if not other.name.startswith(".")]
    for other in met:
        assert golden.read(other) == 0, other.name
    assert len(met) >= 1
