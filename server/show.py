"""`icehouse config show`: every setting, its value and where that comes from.

The text is TOML, and could be the file. `python -m icehouse.server.show [--json] [--KEY VALUE]...`
"""

import json
import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from icehouse.server import config, logs


def toml(key: str, value: Any) -> str:
    """Write one value as one would in the file."""
    if isinstance(value, tuple):
        return json.dumps(list(value))
    text = config.TABLE[key].text(value)
    return text if text == str(value) and isinstance(value, int) else json.dumps(text)


def as_text(found: Mapping[str, config.Chosen]) -> str:
    """Write a line for each setting, with its source and what it is."""
    lines = [(f"{key} = {toml(key, value)}", source) for key, (value, source) in found.items()]
    left = max(len(line) for line, _ in lines)
    abouts = [config.TABLE[key].about for key in found]
    middle = max(len(source) for _, source in lines)
    return "\n".join(
        f"{line:{left}}  # {source:{middle}}  {about}"
        for (line, source), about in zip(lines, abouts, strict=True)
    )


def as_json(found: Mapping[str, config.Chosen], file: str | None) -> str:
    """Write one document; sizes in bytes and times in seconds."""
    settings = {
        key: {"value": value, "source": source, "about": config.TABLE[key].about}
        for key, (value, source) in found.items()
    }
    return json.dumps({"file": file, "settings": settings}, indent=2)


def main(arguments: Sequence[str]) -> int:
    """Show the configuration that a daemon started with these arguments would have."""
    wanted = [argument for argument in arguments if argument != "--json"]
    try:
        named, flags = config.parse_arguments(wanted)
        found = config.gather(flags, os.environ, named)
    except config.ConfigError as error:
        logs.complain(str(error))
        return 2
    path = config.find_file(named, os.environ)
    if len(wanted) < len(arguments):
        return show(as_json(found, None if path is None else str(path)))
    return show(as_text(found))


def show(text: str) -> int:
    """Print on stdout, and say how that ended as the other commands do."""
    try:
        print(text, flush=True)
    except OSError as error:
        # What is left in the buffer goes nowhere: Python would try it again at the end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        # A reader that has had enough needs no complaint.
        if not isinstance(error, BrokenPipeError):
            logs.complain(str(error))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
