"""`icehouse doctor`: what is wrong with this machine, and how to mend it."""

from typing import TYPE_CHECKING, Annotated

import typer

from icehouse.client.cli.options import Json, Quiet, Socket
from icehouse.client.cli.output import ExitCode, guarded, plain, print_json, progress

if TYPE_CHECKING:
    from icehouse.client.cli.health import Finding

SIGNS = {"ok": "ok", "info": "..", "warning": "!", "failure": "!!"}
COLOURS = {"ok": "green", "info": "blue", "warning": "yellow", "failure": "red"}


def doctor(
    *,
    no_daemon: Annotated[
        bool, typer.Option("--no-daemon", help="Only the machine and the installation.")
    ] = False,
    socket: Socket = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Check this machine, the installation and the daemon, and print the fix for each finding.

    Exit code 1 if something does not work; warnings do not count. With --quiet only what is not as
    it should be is shown.
    """
    from icehouse.client.cli import health
    from icehouse.client.connect import default_socket, socket_path

    with guarded():
        # One that is not safe is a finding.
        path = socket_path(socket) if socket is not None else default_socket()
        if no_daemon:
            path = ""
        found: list[Finding] = []
        with progress() as tell:
            for check in health.MACHINE if no_daemon else health.MACHINE + health.DAEMON:
                tell(f"checking {check.__name__.replace('_', ' ')}")
                found += check(path)
        failed = any(finding.state is health.State.FAILURE for finding in found)
        if json:
            told = [{**finding._asdict(), "state": finding.state.value} for finding in found]
            print_json({"ok": not failed, "checks": told})
        else:
            wanted = ("warning", "failure") if quiet else tuple(SIGNS)
            show([finding for finding in found if finding.state.value in wanted])
        if failed:
            raise typer.Exit(ExitCode.ERROR)


def show(found: "list[Finding]") -> None:
    """Print findings for people."""
    import os
    import sys

    coloured = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    width = max((len(finding.check) for finding in found), default=0)
    for finding in found:
        sign = f"{SIGNS[finding.state.value]:2}"
        if coloured:
            sign = typer.style(sign, fg=COLOURS[finding.state.value])
        print(f"{sign}  {finding.check:{width}}  {plain(finding.found)}")
        if finding.fix is not None:
            print(f"    {'':{width}}  fix: {plain(finding.fix)}")
