"""Which names images have: what the index of names says the other way round.

Most images have one name or none, and a few of them may have a hundred thousand: binding and
unbinding must not cost more for those, nor may those few cost the others memory.
"""

from collections.abc import Collection
from itertools import islice

from icehouse.server.frames import is_cell

FEW = 8
"""An image with more names keeps them in a table; with half as many it goes back to a tuple."""


class Many(dict[str, None]):
    """The names of an image that has many, in the order in which they came."""

    cells = 0
    """How many of them are those of cells."""


class Bindings:
    """Names by locator, in the order in which they were bound."""

    def __init__(self) -> None:
        self._names: dict[int, tuple[str, ...] | Many] = {}

    def of(self, locator: int) -> Collection[str]:
        """Give the names of an image; not to be kept: it changes with the image's names. O(1)."""
        return self._names.get(locator, ())

    def told(self, locator: int, most: int) -> tuple[tuple[str, ...], int]:
        """Give the first names that users may know, `most` of them, and how many there are.

        O(most) and what cells lie between.
        """
        names = self._names.get(locator, ())
        known = tuple(islice((name for name in names if not is_cell(name)), most))
        if isinstance(names, Many):
            return known, len(names) - names.cells
        return known, sum(not is_cell(name) for name in names)

    def add(self, locator: int, name: str) -> None:
        """Note a name that the image did not have. O(1)."""
        names = self._names.get(locator, ())
        if isinstance(names, Many):
            names[name] = None
            names.cells += is_cell(name)
        elif len(names) < FEW:
            self._names[locator] = (*names, name)
        else:
            many = self._names[locator] = Many()
            many.update(dict.fromkeys((*names, name)))
            many.cells = sum(map(is_cell, many))

    def remove(self, locator: int, name: str) -> None:
        """Note that the image has lost a name; KeyError: it had none such. O(1)."""
        names = self._names[locator]
        if isinstance(names, Many):
            del names[name]
            names.cells -= is_cell(name)
            if len(names) <= FEW // 2:
                self._names[locator] = tuple(names)
            return
        if name not in names:
            raise KeyError(name)
        left = tuple(other for other in names if other != name)
        if left:
            self._names[locator] = left
        else:
            del self._names[locator]
