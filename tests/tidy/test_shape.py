"""The shape of the tree: linked folders, nothing generated."""

import ast
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


def test_annotations_mean_the_builtin(root: Path) -> None:
    """From Python 3.14 on they are evaluated late, in a class whose fields may have such names."""
    found = []
    for path in (name for name in tracked(root) if name.endswith((".py", ".pyi"))):
        for node in ast.walk(ast.parse((root / path).read_text())):
            if not isinstance(node, ast.ClassDef):
                continue
            fields = [field for field in node.body if isinstance(field, ast.AnnAssign)]
            named = {field.target.id for field in fields if isinstance(field.target, ast.Name)}
            used = {
                part.id
                for field in fields
                for part in ast.walk(field.annotation)
                if isinstance(part, ast.Name)
            }
            found += [f"{path}: {node.name}: {name}" for name in named & used]
    assert found == []
