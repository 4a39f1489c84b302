"""Places where a test may have the daemon die: between any two steps that a crash could part.

ICEHOUSE_FAILPOINTS is read once, at the start:

    grant.held:3    SIGKILL at the third passage of the place called grant.held
    step:17         SIGKILL at the 17th passage of any place
    log:PATH        appends the name of each place that is passed to a file, and kills nothing
    file:PATH       once that file is there, takes it away and does as it says: so a test arms a
                    daemon that runs. "off" disarms it; "step:9,step:2" arms it and, when it has
                    died, the next one. PATH.died gets the names of the places of death

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
    if wanted == "file":
        return _follow(argument)
    if wanted == "log":
        file = os.open(argument, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)

        def note(name: str) -> None:
            os.write(file, name.encode() + b"\n")

        return note
    return _count(wanted, int(argument or "1"), once)


def _count(wanted: str, left: int, once: str, path: str = "", then: str = "") -> Action:
    def count(name: str) -> None:
        nonlocal left
        if wanted not in ("step", name):
            return
        left -= 1
        if left == 0:
            for file, text in ((once, name + "\n"), (then and path, then)):
                if file:
                    with open(file, "a") as out:  # noqa: PTH123
                        out.write(text)
            os.kill(os.getpid(), signal.SIGKILL)

    return count


def _follow(path: str) -> Action:
    armed: Action | None = None

    def follow(name: str) -> None:
        nonlocal armed
        try:
            with open(path) as file:  # noqa: PTH123 (few imports)
                setting, _, then = file.read().partition(",")
            os.unlink(path)  # noqa: PTH108
        except FileNotFoundError:
            pass
        else:
            wanted, _, argument = setting.partition(":")
            count = int(argument or "1")
            armed = None if wanted == "off" else _count(wanted, count, path + ".died", path, then)
        if armed is not None:
            armed(name)

    return follow


action = _make(
    os.environ.get("ICEHOUSE_FAILPOINTS", ""), os.environ.get("ICEHOUSE_FAILPOINTS_ONCE", "")
)


def failpoint(name: str) -> None:
    """Pass the place of that name: nothing happens unless a test asks for it."""
    if action is not None:
        action(name)
