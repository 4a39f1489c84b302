"""Places where a test may have the daemon die: between any two steps that a crash could part.

ICEHOUSE_FAILPOINTS is read once, at the start:

    grant.held:3    SIGKILL at the third passage of the place called grant.held
    step:17         SIGKILL at the 17th passage of any place
    log:PATH        appends the name of each place that is passed to a file, and kills nothing

A daemon that was killed so starts again with the same environment, so the file named by
ICEHOUSE_FAILPOINTS_ONCE, where it is set, is made by the kill, and nothing is killed while it
exists.
"""

import os
import signal
from collections.abc import Callable

Action = Callable[[str], None]


def _make(setting: str, once: str) -> Action | None:
    if not setting or (once and os.path.exists(once)):  # noqa: PTH110 (few imports)
        return None
    wanted, _, argument = setting.partition(":")
    if wanted == "log":
        file = os.open(argument, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)

        def note(name: str) -> None:
            os.write(file, name.encode() + b"\n")

        return note
    left = int(argument or "1")

    def count(name: str) -> None:
        nonlocal left
        if wanted not in ("step", name):
            return
        left -= 1
        if left == 0:
            if once:
                os.close(os.open(once, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600))
            os.kill(os.getpid(), signal.SIGKILL)

    return count


action = _make(
    os.environ.get("ICEHOUSE_FAILPOINTS", ""), os.environ.get("ICEHOUSE_FAILPOINTS_ONCE", "")
)


def failpoint(name: str) -> None:
    """Pass the place of that name: nothing happens unless a test asks for it."""
    if action is not None:
        action(name)
