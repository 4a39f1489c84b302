"""The shape of the tree: linked folders, nothing generated."""

import subprocess
from collections import Counter
from pathlib import Path

LINKS = ["client", "native", "server", "store"]


def tracked(root: Path) -> list[str]:
    command = ["git", "-C", str(root), "ls-files", "-z"]
    listing = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return [name for name in listing.split("\0") if name]


def test_the_package_is_the_folders(root: Path) -> None:
    for name in LINKS:
        link = root / "src" / "icehouse" / name
        assert link.is_symlink(), link
        assert link.readlink() == Path("..", "..", name)
        assert (link / "__init__.py").is_file(), f"{name}/ needs an __init__.py"


def test_nothing_generated_is_kept(root: Path) -> None:
    generated = {".so", ".o", ".a", ".pyc", ".whl", ".gz"}
    assert [name for name in tracked(root) if Path(name).suffix in generated] == []


def test_helpers_of_tests_have_names_of_their_own(root: Path) -> None:
    """They are imported by their bare names, and the first of two would be taken for both."""
    found = [Path(name) for name in tracked(root) if name.startswith("tests/")]
    helpers = [path.name for path in found if not path.name.startswith(("test_", "conftest"))]
    assert [name for name, count in Counter(helpers).items() if count > 1] == []
