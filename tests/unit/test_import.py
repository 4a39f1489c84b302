"""`import icehouse` is light: it must work in subinterpreters with their own GIL."""

import importlib.util
import subprocess
import sys

# None of these loads in an interpreter with its own GIL, or each costs more than all of ours.
HEAVY = ["_cffi_backend", "asyncio", "cffi", "ctypes", "msgspec", "numpy", "rich", "typer"]


def run(code: str) -> str:
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_import_loads_nothing_heavy() -> None:
    loaded = run("import sys, icehouse; print(*sys.modules)").split()
    assert "icehouse" in loaded
    assert [name for name in HEAVY if name in loaded] == []


def test_submodules_are_found_without_an_import_of_their_own() -> None:
    code = "import icehouse; print(icehouse.{0}.__name__)"
    names = ["aio", "immutable", "interpreters"]
    if importlib.util.find_spec("prometheus_client"):
        names.append("metrics")
    for name in names:
        assert run(code.format(name)) == f"icehouse.{name}\n"
    assert run("import icehouse; print(icehouse.interpreters.pool.__name__)") == "pool\n"
    loaded = run("import sys, icehouse; print(*sys.modules)").split()
    assert "concurrent.futures" not in loaded


def test_import_in_an_isolated_interpreter() -> None:
    # Each version has its own name for the same thing; on 3.11 the GIL is shared.
    run(
        """
import sys
code = "import icehouse; assert icehouse.thaw(icehouse.freeze({'a': [1, 2]})) == {'a': [1, 2]}"
if sys.version_info >= (3, 14):
    from concurrent import interpreters
    interpreters.create().exec(code)
elif sys.version_info >= (3, 13):
    import _interpreters
    failure = _interpreters.exec(_interpreters.create("isolated"), code)
    assert failure is None, failure
else:
    import _xxsubinterpreters as _interpreters
    failure = _interpreters.run_string(_interpreters.create(isolated=True), code)
    assert failure is None, failure
"""
    )
