"""The block of the README that one pastes into a shell works as it stands, and prints what it says.

Only the port and the socket are replaced, so that no daemon of this machine is in the way.
"""

import os
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

PORT = "8420"
HANDLE = re.compile(r"ih1_[0-9a-hjkmnp-tv-z]{26}")


def fenced(root: Path, language: str) -> str:
    """The one block of this language in the README."""
    text = (root / "README.md").read_text(encoding="utf-8")
    (block,) = re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    assert isinstance(block, str)
    return block


def free_port() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])


@pytest.mark.slow
@pytest.mark.watchdog(180)
def test_the_block_with_the_daemon_prints_what_the_readme_says(root: Path, tmp_path: Path) -> None:
    for module in ("typer", "fastapi", "uvicorn", "prometheus_client"):
        pytest.importorskip(module)
    if shutil.which("curl") is None or shutil.which("icehouse", path=scripts()) is None:
        pytest.skip("needs curl, and icehouse installed as a command")
    plain_curl(tmp_path / "bin")
    block = fenced(root, "sh")
    assert block.count(f":{PORT}") == 4
    kept = {name: text for name, text in os.environ.items() if not name.startswith("ICEHOUSE_")}
    done = subprocess.run(
        ["bash", "-e"],
        input=block.replace(f":{PORT}", f":{free_port()}"),
        cwd=tmp_path,
        env={
            **kept,
            "HOME": str(tmp_path),
            "PATH": f"{tmp_path / 'bin'}:{scripts()}:{os.environ['PATH']}",
            "ICEHOUSE_SOCKET": str(tmp_path / "icehouse" / "socket"),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    log = (tmp_path / "icehouse.log").read_text()
    assert (done.returncode, done.stderr) == (0, ""), log
    # A handle is another one each time; it is the same one wherever a run prints it.
    assert len(set(HANDLE.findall(done.stdout))) == 1
    assert HANDLE.sub("HANDLE", done.stdout) == HANDLE.sub("HANDLE", fenced(root, "text"))
    assert '"stopped"' in log
    assert not (tmp_path / "icehouse" / "socket").exists()


def plain_curl(folder: Path) -> None:
    """Make a curl without the sanitizers' runtimes of the rest: with them it hangs."""
    folder.mkdir()
    script = folder / "curl"
    script.write_text(f'#!/bin/sh\nunset LD_PRELOAD\nexec "{shutil.which("curl")}" "$@"\n')
    script.chmod(0o755)


def scripts() -> str:
    """The folder of this environment's commands, `python` among them."""
    return str(Path(sys.executable).parent)
