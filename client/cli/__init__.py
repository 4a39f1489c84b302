"""The command line, `icehouse`. Nothing heavy is imported before a command needs it."""

import os
import signal
import sys
from typing import NoReturn


def leave(*_: object) -> NoReturn:
    """End without a word: what Ctrl-C does while nothing has been printed that could be lost."""
    os._exit(130)


def main() -> int:
    """Run the command line of this process and give its exit code (`ExitCode` names them)."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        # Modules are imported first, and a traceback from among them helps nobody.
        signal.signal(signal.SIGINT, leave)
    try:
        from icehouse.client.cli.app import run
    except ModuleNotFoundError as error:
        if error.name not in ("typer", "rich"):
            raise
        needs = f"icehouse's command line needs {error.name}: pip install 'icehouse[cli]'"
        print(needs, file=sys.stderr)
        return 1
    return run(sys.argv[1:])
