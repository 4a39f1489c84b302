"""Random object graphs of every type that freezes, with shared children and cycles."""

import math
import random
from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st

# Lone surrogates are text to Python, so they are to us.
TEXT = st.text(st.characters(exclude_categories=[]), max_size=12) | st.text(
    st.characters(codec="ascii"), max_size=200
)
NUMBERS = (
    st.integers()
    | st.integers(min_value=-(2**70), max_value=2**70)
    | st.sampled_from([2**30 - 1, 2**30, -(2**30), -(2**30) - 1, 2**63, -(2**63), 2**64 - 1])
    | st.floats(allow_nan=False)
    | st.complex_numbers(allow_nan=False)
)
ATOMS = st.none() | st.booleans() | NUMBERS | TEXT | st.binary(max_size=40) | st.just(...)
KEYS = st.recursive(
    ATOMS,
    lambda keys: st.lists(keys, max_size=3).map(tuple) | st.frozensets(keys, max_size=3),
    max_leaves=5,
)


def containers(items: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Containers of `items`; homogeneous and long ones too, since those are stored packed."""
    return st.one_of(
        st.lists(items, max_size=6),
        st.lists(items, max_size=6).map(tuple),
        st.dictionaries(TEXT, items, max_size=12),
        st.dictionaries(KEYS, items, max_size=12),
        st.sets(KEYS, max_size=12),
        st.frozensets(KEYS, max_size=12),
        st.lists(st.integers(-300, 300), max_size=40),
        st.lists(st.integers(), max_size=20),
        st.lists(st.floats(allow_nan=False), max_size=20),
        st.lists(st.booleans(), max_size=20),
        st.lists(TEXT, max_size=40),
        st.lists(TEXT, max_size=40).map(tuple),
        st.lists(st.fixed_dictionaries({"id": items, "name": TEXT}), max_size=5),
        st.binary(max_size=40).map(bytearray),
    )


TREES = st.recursive(ATOMS, containers, max_leaves=25)


@st.composite
def graphs(draw: Callable[..., Any], *, cycles: bool = True) -> Any:
    """Containers that refer to one another at random: shared children, cycles where asked for."""
    kinds = draw(st.lists(st.sampled_from([list, dict, bytearray]), min_size=1, max_size=8))
    nodes = [kind(draw(st.binary(max_size=4))) if kind is bytearray else kind() for kind in kinds]
    for number, node in enumerate(nodes):
        if isinstance(node, bytearray):
            continue
        for _ in range(draw(st.integers(0, 4))):
            later = st.integers(0 if cycles else number + 1, len(nodes) - 1)
            child: Any = draw(TREES)
            if cycles or number + 1 < len(nodes):
                child = nodes[draw(later)] if draw(st.booleans()) else child
            if draw(st.integers(0, 3)) == 0:
                child = (child, draw(ATOMS))
            if isinstance(node, list):
                node.append(child)
            else:
                node[draw(KEYS)] = child
    return nodes[0]


def random_atom(rng: random.Random) -> Any:
    """A plain value; the extremes come often."""
    return rng.choice(
        (
            lambda: rng.choice((None, True, False, ..., "", b"", 0, 0.0, -0.0, 1, 1.0, math.inf)),
            lambda: rng.randrange(-300, 300),
            lambda: rng.randrange(-1, 2) * (1 << rng.randrange(80)) + rng.randrange(-2, 3),
            lambda: rng.uniform(-1, 1) * 10.0 ** rng.randrange(-300, 300),
            lambda: complex(rng.random(), rng.randrange(5)),
            lambda: "".join(rng.choices("abcdefgh ", k=rng.randrange(140))),
            lambda: "".join(map(chr, (rng.randrange(0x110000) for _ in range(rng.randrange(6))))),
            lambda: rng.choice(("id", "name", "value", "é", "日本")),
            lambda: rng.randbytes(rng.randrange(20)),
        )
    )()


def random_key(rng: random.Random) -> Any:
    kind = rng.randrange(8)
    if kind == 0:
        return tuple(random_key(rng) for _ in range(rng.randrange(3)))
    if kind == 1:
        return frozenset(random_key(rng) for _ in range(rng.randrange(3)))
    return random_atom(rng)


def random_graph(rng: random.Random) -> Any:
    """As graphs(), a thousand times faster: containers filled with atoms and one another."""
    kinds = (list, list, dict, dict, set, bytearray)
    nodes: list[Any] = [rng.choice(kinds)() for _ in range(rng.randrange(1, 12))]
    nodes.sort(key=lambda node: not isinstance(node, list | dict))
    for node in nodes:
        many = rng.choice((0, 1, 3, 9, 20, 200 if rng.randrange(20) == 0 else 2))
        maker = rng.choice(
            (
                lambda: random_atom(rng),
                lambda: rng.choice(nodes),
                lambda: rng.randrange(1 << rng.choice((7, 8, 15, 31, 63, 64))),
                lambda: rng.random(),
                lambda: "".join(rng.choices("xyzß", k=rng.randrange(30))),
                lambda: (rng.choice(nodes), random_atom(rng)),
                lambda: {"id": rng.randrange(99), "name": random_atom(rng)},
            )
        )
        if isinstance(node, list):
            node.extend(maker() for _ in range(many))
        elif isinstance(node, dict):
            node.update((random_key(rng), maker()) for _ in range(many))
        elif isinstance(node, set):
            node.update(random_key(rng) for _ in range(many))
        else:
            node.extend(rng.randbytes(many))
    return nodes[0]


def same_shape(a: Any, b: Any) -> bool:
    """Equal types, values and identity structure, cycles included: what a faithful copy has.

    Mutable containers that are one object on one side must be one object on the other.
    """
    partner: dict[int, int] = {}
    partner_back: dict[int, int] = {}
    work = [(a, b)]
    while work:
        left, right = work.pop()
        if type(left) is not type(right):
            return False
        if isinstance(left, list | dict | set | bytearray):
            met = id(left) in partner
            if partner.setdefault(id(left), id(right)) != id(right):
                return False
            if partner_back.setdefault(id(right), id(left)) != id(left):
                return False
            if met:
                continue
        if isinstance(left, list | tuple | dict) and len(left) != len(right):
            return False
        if isinstance(left, dict):
            work.extend(zip(left, right, strict=True))
            work.extend(zip(left.values(), right.values(), strict=True))
        elif isinstance(left, list | tuple):
            work.extend(zip(left, right, strict=True))
        elif isinstance(left, float):
            if math.copysign(1, left) != math.copysign(1, right) or left != right:
                return False
        elif left != right:
            return False
    return True
