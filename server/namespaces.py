"""How much lies under names, by namespace: what stands in a name before its first "/" or ".".

Kept up to date as names are bound and unbound, so that nobody has to look through a million.
What is told is bounded: namespaces beyond the first few are told with all others, as one.
"""

import re

from icehouse.server.frames import is_cell

TOLD_MAX = 32
# Of a label; longer namespaces are told with the others.
LENGTH_MAX = 64
NONE = "none"
OTHER = "other"
SEPARATOR = re.compile(r"[/.]")

Told = dict[str, float]


def namespace(name: str) -> str:
    """Give the namespace of a name; "" if it has none."""
    found = SEPARATOR.search(name)
    return name[: found.start()] if found else ""


class Namespaces:
    """All of them. An image counts once in each namespace that has a name of it."""

    def __init__(self) -> None:
        # Names and bytes.
        self._all: dict[str, list[int]] = {}
        # The first that came, while they have names: what is told must not change from one scrape
        # to the next because another namespace has grown.
        self._told: dict[str, None] = {}
        self._sizes: dict[int, int] = {}
        self.names = 0
        self.size = 0

    def gained(self, name: str, locator: int, others: tuple[str, ...], size: int) -> None:
        """Count a name that was bound to an image of so many bytes, which has `others` too."""
        if is_cell(name):
            return
        label = namespace(name)
        counts = self._all.get(label)
        if counts is None:
            counts = self._all[label] = [0, 0]
        if label and len(label) <= LENGTH_MAX and len(self._told) < TOLD_MAX:
            self._told[label] = None
        size = self._sizes.setdefault(locator, size)
        counts[0] += 1
        self.names += 1
        if not has(label, others):
            counts[1] += size
            self.size += size

    def lost(self, name: str, locator: int, others: tuple[str, ...]) -> None:
        """Count a name of an image no more, which has `others` yet."""
        label = namespace(name)
        counts = self._all.get(label)
        if counts is None or locator not in self._sizes or is_cell(name):
            # One that was lost before it was counted.
            return
        counts[0] -= 1
        self.names -= 1
        size = self._sizes[locator]
        if not has(label, others):
            counts[1] -= size
            self.size -= size
        if all(map(is_cell, others)):
            del self._sizes[locator]
        if not counts[0]:
            del self._all[label]
            self._told.pop(label, None)

    def told(self) -> tuple[Told, Told]:
        """Give names and bytes by namespace, those beyond TOLD_MAX summed up. O(TOLD_MAX)."""
        names: Told = {NONE: 0, OTHER: 0}
        sizes: Told = {NONE: 0, OTHER: 0}
        for label in ("", *self._told):
            count, size = self._all.get(label, (0, 0))
            names[label or NONE] = names.get(label or NONE, 0) + count
            sizes[label or NONE] = sizes.get(label or NONE, 0) + size
        names[OTHER] += self.names - sum(names.values())
        sizes[OTHER] += self.size - sum(sizes.values())
        return names, sizes


def has(label: str, names: tuple[str, ...]) -> bool:
    """Whether one of these names is of that namespace. O(names)."""
    return any(namespace(name) == label and not is_cell(name) for name in names)
