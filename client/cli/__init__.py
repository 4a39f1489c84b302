"""The command line, `icehouse`. Nothing heavy is imported before a command needs it."""

import sys


def main() -> int:
    """Run the command line of this process and give its exit code (`ExitCode` names them)."""
    try:
        from icehouse.client.cli.app import run
    except ModuleNotFoundError as error:
        if error.name not in ("typer", "rich"):
            raise
        needs = f"icehouse's command line needs {error.name}: pip install 'icehouse[cli]'"
        print(needs, file=sys.stderr)
        return 1
    return run(sys.argv[1:])
