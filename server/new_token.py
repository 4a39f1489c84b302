"""`icehouse token new`: makes a token, prints it once, and keeps its hash.

`python -m icehouse.server.new_token NAME ROLE [--json] [--KEY VALUE]...`
"""

import fcntl
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from icehouse.server import config, logs, tokens
from icehouse.server.show import show


def append(path: Path, name: str, line: str) -> None:
    """Add a token's line to a file of this user alone, which is made if it is missing.

    ConfigError if the name is taken, of two at once by the first; OSError.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
    fd = os.open(path, flags, 0o600)
    with os.fdopen(fd, "r+b", buffering=0) as file:
        tokens.check_file(os.fstat(fd), str(path))
        fcntl.flock(fd, fcntl.LOCK_EX)
        if any(token.name == name for token in tokens.read(str(path))):
            raise config.ConfigError(
                f"{path}: a token is called {name} already: take another name, or delete its line"
            )
        size = os.fstat(fd).st_size
        # Whoever edits it may have left its last line without an end.
        has_end = not size or os.pread(fd, 1, size - 1) == b"\n"
        file.write((line if has_end else "\n" + line).encode())
        os.fsync(fd)


def main(arguments: Sequence[str]) -> int:
    """Make a token; the exit code."""
    wanted = [argument for argument in arguments if argument != "--json"]
    if len(wanted) < 2 or wanted[1] not in tokens.ROLES:
        logs.complain(f"token new takes a name, and one of {', '.join(tokens.ROLES)}")
        return 2
    name, role, *rest = wanted
    place = ""
    try:
        named, flags = config.parse_arguments(rest)
        place = str(config.gather(flags, os.environ, named)["admin_tokens"].value)
        if not place:
            raise config.ConfigError(
                "admin_tokens is off: set it to a file in the configuration, where the daemon"
                " looks too"
            )
        text, line = tokens.make(name, role)
        append(Path(place), name, line)
    except (config.ConfigError, tokens.TokenFileError, ValueError) as error:
        logs.complain(str(error))
        return 2
    except OSError as error:
        logs.complain(f"{place}: {error.strerror}")
        return 1
    if len(wanted) < len(arguments):
        return show(json.dumps({"name": name, "role": role, "token": text, "file": place}))
    print(f"icehouse: {role} {name}, in {place}; it is shown only now", file=sys.stderr)
    return show(text)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
