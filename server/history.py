"""What names were bound to: the last versions of those that changed last.

For people who ask what happened. It costs a bounded piece of memory and ends with the daemon.
"""

import time
from collections import OrderedDict, deque
from typing import NamedTuple

from icehouse.server.frames import Handle

VERSIONS_MAX = 32
ENTRIES_MAX = 65536


class Entry(NamedTuple):
    """One version. `pid` is 0 where the daemon itself unbound the name."""

    version: int
    handle: Handle | None
    at: float
    pid: int


class History:
    """Of all names. Those whose last change is longest ago are forgotten first."""

    def __init__(self) -> None:
        # A plain dict would look for its first item past all that were deleted before it.
        self._names: OrderedDict[str, deque[Entry]] = OrderedDict()
        self.entries = 0

    def note(self, name: str, handle: Handle | None, version: int, pid: int) -> None:
        """Take note of a change."""
        entry = Entry(version, handle, time.time(), pid)
        versions = self._names.get(name)
        if versions is None:
            self._names[name] = deque((entry,), VERSIONS_MAX)
            self.entries += 1
        else:
            self._names.move_to_end(name)
            self.entries += len(versions) < VERSIONS_MAX
            versions.append(entry)
        while self.entries > ENTRIES_MAX:
            self.entries -= len(self._names.popitem(last=False)[1])

    def of(self, name: str, version: int) -> tuple[list[Entry], bool]:
        """Give the last versions of a name, oldest first, and whether these are all there were."""
        entries = list(self._names.get(name, ()))
        return entries, len(entries) == version
