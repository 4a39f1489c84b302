"""Which names images have: against a naive model, and what a bind costs an image with many."""

import random
import tracemalloc

import pytest

from icehouse.server import namespaces
from icehouse.server.bindings import FEW, Bindings
from icehouse.server.frames import CELL_PREFIX, is_cell
from icehouse.server.namespaces import Namespaces

CELL = f"{CELL_PREFIX}{{:032x}}"
MANY = 20_000


class Name(str):
    """A name that counts how often it is compared."""

    __slots__ = ()
    compared = 0
    __hash__ = str.__hash__

    def __eq__(self, other: object) -> bool:
        Name.compared += 1
        return str.__eq__(self, other)


def test_random_names_are_as_in_a_list() -> None:
    chosen, bindings = random.Random(6), Bindings()
    model: dict[int, list[str]] = {image: [] for image in range(1, 4)}
    most_seen = 0
    for step in range(6000):
        image = chosen.randrange(1, 4)
        names = model[image]
        # Now more are bound, now more unbound, so that each turns from few to many and back.
        if chosen.random() < (0.7 if step // 500 % 2 == 0 else 0.2):
            number = chosen.randrange(10**6)
            name = CELL.format(number) if number % 5 == 0 else f"name {number}"
            if name not in names:
                names.append(name)
                bindings.add(image, name)
        elif names:
            bindings.remove(image, names.pop(chosen.randrange(len(names))))
        most_seen = max(most_seen, len(names))
        assert list(bindings.of(image)) == names
        known = [name for name in names if not is_cell(name)]
        assert bindings.told(image, 3) == (tuple(known[:3]), len(known))
    assert most_seen > 4 * FEW
    for image, names in model.items():
        for name in list(names):
            bindings.remove(image, name)
        assert list(bindings.of(image)) == []
    assert bindings.of(99) == ()


@pytest.mark.parametrize("count", [1, FEW, FEW + 1, 5 * FEW])
def test_a_name_that_an_image_does_not_have_is_no_loss_of_it(count: int) -> None:
    bindings = Bindings()
    for i in range(count):
        bindings.add(7, f"name {i}")
    with pytest.raises(KeyError):
        bindings.remove(7, "another")
    with pytest.raises(KeyError):
        bindings.remove(8, "name 0")
    assert len(bindings.of(7)) == count


def test_a_bind_copies_no_more_where_an_image_has_many_names() -> None:
    bindings = Bindings()
    for i in range(MANY):
        bindings.add(7, Name(f"name {i}"))
    peaks = []
    tracemalloc.start()
    try:
        # Of several in a row at most one finds the table full, and makes a larger one.
        for i in range(5):
            name = Name(f"more {i}")
            before = tracemalloc.get_traced_memory()[0]
            tracemalloc.reset_peak()
            bindings.add(7, name)
            peaks.append(tracemalloc.get_traced_memory()[1] - before)
    finally:
        tracemalloc.stop()
    assert sorted(peaks)[3] < MANY
    Name.compared = 0
    for i in range(100):
        bindings.remove(7, Name(f"name {i * 100}"))
    # Of equal hashes, and by chance of equal parts of hashes; a list would compare a million.
    assert Name.compared < 1000


def test_a_bind_looks_at_no_other_names_for_its_namespace(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    looked: list[str] = []
    plain = namespaces.namespace

    def counted(name: str) -> str:
        looked.append(name)
        return plain(name)

    monkeypatch.setattr(namespaces, "namespace", counted)
    spaces = Namespaces()
    for i in range(100):
        spaces.gained(f"space {i % 3}/{i}", 7, 10)
    for i in range(100):
        spaces.lost(f"space {i % 3}/{i}", 7)
    assert len(looked) == 200
    assert spaces.names == spaces.size == 0
