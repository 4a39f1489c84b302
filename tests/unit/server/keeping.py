"""The keeper of the tests: the real one, with a daemon that does what a test says.

    python keeping.py SETTINGS [FD...]

The descriptors are passed on as systemd would pass them: from 3 on, with LISTEN_FDS.
"""

import json
import os
import sys
from typing import Any

from icehouse.server import keeper, listening, logs


class Faulty(dict[str, int]):
    """A dict that fails when it should find one key."""

    def pop(self, key: str, *default: Any) -> Any:
        if key == "fault":
            raise RuntimeError("a fault of the keeper")
        return super().pop(key, *default)


def main() -> int:
    settings = json.loads(sys.argv[1])
    fds = [int(text) for text in sys.argv[2:]]
    for number, fd in enumerate(fds, start=3):
        os.dup2(fd, number)
    if fds:
        os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS=str(len(fds)))
    os.environ[keeper.SETTINGS_VARIABLE] = sys.argv[1]
    keeper.raise_limit()
    try:
        made = keeper.Keeper(settings, dict(os.environ), logs.Log("keeper", "json", "debug"))
    except listening.CannotListenError as error:
        logs.complain(str(error))
        return 1
    if "FAKE_FAULT" in os.environ:
        made.held = Faulty(made.held)
    made.daemon.module = "fake_daemon"
    made.admin.module = "fake_admin"
    return made.run()


if __name__ == "__main__":
    sys.exit(main())
