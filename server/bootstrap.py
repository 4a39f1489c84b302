"""Runs the `main()` of one module of this package, given by name, without the package around it.

`import icehouse` loads the compiled extension and all that a user of the store needs. The keeper
needs none of it: the less it has in it, the less can end it (H12). So this file is run by its path,
and puts empty packages in the place of the real ones before it imports the module.
"""

import os
import sys


def main(name: str) -> int:
    """Import the module and run it."""
    server = os.path.dirname(os.path.abspath(__file__))  # noqa: PTH100, PTH120 (no pathlib here)
    folders = {"icehouse": os.path.dirname(server), "icehouse.server": server}  # noqa: PTH120
    for package, folder in folders.items():
        empty = type(sys)(package)
        empty.__path__ = [folder]
        sys.modules[package] = empty
    __import__(name)
    status: int = sys.modules[name].main()
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
