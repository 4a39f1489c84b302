"""`icehouse watch`: each change of a name, as it comes."""

import math
import time
from typing import TYPE_CHECKING, Annotated

import typer

from icehouse.client.cli.options import Lines, Quiet, Socket, parse_time
from icehouse.client.cli.output import guarded, plain, print_line

if TYPE_CHECKING:
    from collections.abc import Iterator

    from icehouse.client.control import Control
    from icehouse.store.wire import messages

# How long a daemon may take to start again.
BACK_SECONDS = 10.0
FOREVER = 1e9


def watch(
    *,
    name: Annotated[list[str], typer.Argument(metavar="NAME...", help="Names, bound or not yet.")],
    count: Annotated[
        int,
        typer.Option("--count", "-n", min=0, metavar="COUNT", help="End after so many; 0: never."),
    ] = 0,
    timeout: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="End when nothing has changed for so long."),
    ] = None,
    changes: Annotated[
        bool, typer.Option("--changes", help="Not what they are bound to now.")
    ] = False,
    socket: Socket = None,
    json: Lines = False,
    quiet: Quiet = False,
) -> None:
    """Tell what names are bound to, and each change of that, until Ctrl-C.

    Changes that come faster than they are printed are one. With --quiet only the handle is
    printed, an empty line for none.
    """
    from icehouse.client.cli.ask import text_of

    with guarded():
        seconds = math.inf if timeout is None else parse_time(timeout)
        for told, state in enumerate(states(name, socket, seconds, changes=changes), 1):
            handle = text_of(state.handle) if state.handle else None
            if json:
                print_line({"name": state.name, "handle": handle, "version": state.version})
            elif quiet:
                print(handle or "")
            else:
                clock = time.strftime("%H:%M:%S")
                print(
                    f"{clock}  {plain(state.name)}  {handle or 'nothing'}  version {state.version}"
                )
            flush()
            if told == count:
                return


def flush() -> None:
    """Let whoever reads a pipe see the line."""
    import sys

    sys.stdout.flush()


def states(
    names: list[str], socket: str | None, seconds: float, *, changes: bool
) -> "Iterator[messages.Bound | messages.Changed]":
    """Give what names are bound to, and what becomes of that until nothing has for so long."""
    from icehouse.client.cli.ask import connect
    from icehouse.store.errors import StoreUnavailable
    from icehouse.store.wire import messages

    seen: dict[str, int] = {}
    control: Control = connect(socket)
    while True:
        try:
            with control:
                for name in names:
                    now = control.ask(messages.Watch(name=name), messages.Bound)
                    # What it was before this command is news where it is asked for; a name that
                    # was never bound is none. After a restart only what was missed is.
                    if now.version > seen.get(name, 0) and (seen.get(name) or not changes):
                        yield now
                    seen[name] = now.version
                for change in control.changes(min(seconds, FOREVER)):
                    seen[change.name] = change.version
                    yield change
                return
        except StoreUnavailable as error:
            # A daemon that died is started again, with all that it knew.
            control = again(socket, error)


def again(socket: str | None, lost: Exception) -> "Control":
    """Connect again, if the daemon comes back soon; else raise what ended the connection."""
    from icehouse.client.cli.ask import connect
    from icehouse.store.errors import StoreUnavailable

    until = time.monotonic() + BACK_SECONDS
    while True:
        try:
            return connect(socket)
        except StoreUnavailable:
            if time.monotonic() >= until:
                raise lost from None
            time.sleep(0.1)
