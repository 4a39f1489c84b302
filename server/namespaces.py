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


class _Counts:
    """One namespace: its names, and the bytes of the images that have one of them."""

    __slots__ = ("label", "names", "size")

    def __init__(self, label: str) -> None:
        self.label = label
        self.names = 0
        self.size = 0


class _Spread:
    """An image that has several names: how many in each namespace."""

    __slots__ = ("labels", "names", "size")

    def __init__(self, size: int, label: str) -> None:
        self.size = size
        self.names = 1
        self.labels = {label: 1}


class Namespaces:
    """All of them. An image counts once in each namespace that has a name of it."""

    def __init__(self) -> None:
        self._all: dict[str, _Counts] = {}
        # The first that came, while they have names: what is told must not change from one scrape
        # to the next because another namespace has grown.
        self._told: dict[str, None] = {}
        # By locator; of the many images that have one name alone its size and where that is.
        self._images: dict[int, tuple[int, _Counts] | _Spread] = {}
        self.names = 0
        self.size = 0

    def _add_size(self, counts: _Counts, size: int) -> None:
        counts.size += size
        self.size += size

    def gained(self, name: str, locator: int, size: int) -> None:
        """Count a name that was bound to an image of so many bytes. O(1)."""
        if is_cell(name):
            return
        label = namespace(name)
        counts = self._all.get(label)
        if counts is None:
            counts = self._all[label] = _Counts(label)
        if label and len(label) <= LENGTH_MAX and len(self._told) < TOLD_MAX:
            self._told[label] = None
        counts.names += 1
        self.names += 1
        held = self._images.get(locator)
        if held is None:
            self._images[locator] = (size, counts)
            self._add_size(counts, size)
            return
        if isinstance(held, tuple):
            held = self._images[locator] = _Spread(held[0], held[1].label)
        held.names += 1
        held.labels[label] = held.labels.get(label, 0) + 1
        if held.labels[label] == 1:
            self._add_size(counts, held.size)

    def lost(self, name: str, locator: int) -> None:
        """Count a name of an image no more. One that was never counted changes nothing. O(1)."""
        label = namespace(name)
        counts, held = self._all.get(label), self._images.get(locator)
        if counts is None or held is None or is_cell(name):
            return
        if isinstance(held, tuple):
            if held[1] is not counts:
                return
            self._add_size(counts, -held[0])
            del self._images[locator]
        elif not self._lost_one(held, counts, locator):
            return
        counts.names -= 1
        self.names -= 1
        if not counts.names:
            del self._all[label]
            self._told.pop(label, None)

    def _lost_one(self, held: _Spread, counts: _Counts, locator: int) -> bool:
        """Count it where the image has several; whether it had one there."""
        left = held.labels.get(counts.label, 0) - 1
        if left < 0:
            return False
        held.names -= 1
        held.labels[counts.label] = left
        if not left:
            del held.labels[counts.label]
            self._add_size(counts, -held.size)
        if held.names == 1:
            self._images[locator] = (held.size, self._all[next(iter(held.labels))])
        return True

    def told(self) -> tuple[Told, Told]:
        """Give names and bytes by namespace, those beyond TOLD_MAX summed up. O(TOLD_MAX)."""
        names: Told = {NONE: 0, OTHER: 0}
        sizes: Told = {NONE: 0, OTHER: 0}
        for label in ("", *self._told):
            counts = self._all.get(label)
            if counts is not None:
                names[label or NONE] = names.get(label or NONE, 0) + counts.names
                sizes[label or NONE] = sizes.get(label or NONE, 0) + counts.size
        names[OTHER] += self.names - sum(names.values())
        sizes[OTHER] += self.size - sum(sizes.values())
        return names, sizes
