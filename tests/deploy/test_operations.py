"""The console blocks of docs/operations.md run, in their order, against a real daemon."""

import os
import re
import shutil
import socket
import subprocess
import sys
import tomllib
from pathlib import Path

import msgspec
import pytest
from daemons import Daemon, wait_until

import icehouse
from icehouse.server import config

pytest.importorskip("typer")
for module in ("fastapi", "uvicorn", "prometheus_client"):
    pytest.importorskip(module)

PORT = ":8420"


def page(root: Path) -> str:
    return (root / "docs" / "operations.md").read_text(encoding="utf-8")


def blocks(root: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", page(root), re.MULTILINE | re.DOTALL)


def commands(block: str) -> str:
    """Of a block what is typed: lines that begin with $, and with > where they go on."""
    lines = block.splitlines()
    assert all(line.startswith(("$ ", "> ")) for line in lines), block
    return "\n".join(line[2:] for line in lines)


@pytest.fixture
def port() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f":{probe.getsockname()[1]}"


@pytest.mark.slow
@pytest.mark.watchdog(300)
def test_the_console_blocks_run(root: Path, tmp_path: Path, port: str) -> None:
    scripts = str(Path(sys.prefix) / "bin")
    if shutil.which("curl") is None or shutil.which("icehouse", path=scripts) is None:
        pytest.skip("needs curl, and icehouse installed as a command")
    script = "\n".join(map(commands, blocks(root, "console")))
    assert script.count("icehouse ") > 15
    work = tmp_path / "work"
    work.mkdir()
    with Daemon(tmp_path / "d", http=f"127.0.0.1{port}", capacity="64MiB") as daemon:
        wait_until(lambda: "http_ready" in daemon.log(), "the admin process")
        with icehouse.connect(daemon.socket) as store:
            store.put({"a": [1, 2]}, name="plain")
            done = subprocess.run(
                ["bash", "-e", "-o", "pipefail"],
                input=script.replace(PORT, port),
                cwd=work,
                env={
                    **os.environ,
                    "HOME": str(tmp_path),
                    "PATH": f"{scripts}:{os.environ['PATH']}",
                    "ICEHOUSE_SOCKET": daemon.socket,
                },
                capture_output=True,
                text=True,
                check=False,
            )
            assert done.returncode == 0, done.stdout + done.stderr
            assert sorted(path.name for path in (work / "backup").iterdir()) == [
                "models%2Ffirst.ih",
                "plain.ih",
            ]
            assert sorted(name for name in store.names()) == ["models/first", "plain"]
            assert icehouse.thaw(store.get("models/first")) == {"model": [1, 2]}


def test_the_configuration_is_one(root: Path, tmp_path: Path) -> None:
    (text,) = blocks(root, "toml")
    settings = tomllib.loads(text)
    known = {field.name for field in msgspec.structs.fields(config.Config)}
    assert set(settings) <= known | {"roles", "limits"}
    # Every key in backquotes with a dot is one too.
    limits = set(re.findall(r"`limits\.(\w+)`", page(root)))
    assert limits
    assert limits <= {field.name for field in msgspec.structs.fields(config.Limits)}


def test_what_it_names_is_there(root: Path) -> None:
    text = page(root)
    for link in re.findall(r"\]\(([^)#:]+)(?:#[\w-]+)?\)", text):
        assert (root / "docs" / link).exists(), link
    headings = {
        re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")
        for heading in re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    }
    assert set(re.findall(r"\]\(#([\w-]+)\)", text)) <= headings
    rules = (root / "deploy" / "prometheus" / "icehouse.rules.yml").read_text()
    for alert in re.findall(r"- alert: Icehouse(\w+)", rules):
        short = alert.removeprefix("Arena")
        assert alert in text or f"`{short}`" in text, alert
