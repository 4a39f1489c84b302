"""Random graphs that hold views of one store: whatever is asked, they answer as if they held
copies."""

import contextlib
import copy
import gc
import pickle
import random
from typing import Any

from graphs import random_graph, same_shape

import icehouse


class Place:
    """Stands in a graph for a view, or for the plain object that the view is of."""

    linked = True

    def __init__(self, view: Any, plain: Any) -> None:
        self.view, self.plain = view, plain

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        return self.view if Place.linked else self.plain


def with_places(graph: Any, places: list[Place], rng: random.Random) -> Any:
    """The graph with some of the places put into its lists and dicts."""
    met: set[int] = set()
    work = [graph]
    while work:
        node = work.pop()
        if not isinstance(node, list | dict | tuple) or id(node) in met:
            continue
        met.add(id(node))
        work.extend(node.values() if isinstance(node, dict) else node)
        for _ in range(rng.choice((0, 0, 1, 3))):
            place: Any = rng.choice(places)
            place = rng.choice((place, place, (place, 1), [place], {"in": place}))
            if isinstance(node, list):
                node.insert(rng.randrange(len(node) + 1), place)
            elif isinstance(node, dict):
                node[f"place {rng.randrange(5)}"] = place
    return graph


def both(graph: Any) -> tuple[Any, Any]:
    """The graph with views, and the graph without any."""
    versions = []
    for linked in (True, False):
        Place.linked = linked
        versions.append(copy.deepcopy(graph))
    return versions[0], versions[1]


def inner_places(place: Place, rng: random.Random) -> Any:
    """The place, then some of what is inside it."""
    view, plain = place.view, place.plain
    for _ in range(rng.randrange(6)):
        if isinstance(plain, dict) and plain:
            key = rng.choice(list(plain))
            view, plain = view[key], plain[key]
        elif isinstance(plain, list) and plain:
            i = rng.randrange(len(plain))
            view, plain = view[i], plain[i]
        else:
            break
        yield Place(view, plain)


def alike(a: Any, b: Any) -> bool:
    """Of one type and value throughout. What is one object on one side may be two on the other:
    small views are copied, and views of one node are one object when they are thawed."""
    met: set[tuple[int, int]] = set()
    work = [(a, b)]
    while work:
        left, right = work.pop()
        if isinstance(left, list | dict | tuple):
            if (id(left), id(right)) in met:
                continue
            met.add((id(left), id(right)))
            if type(left) is not type(right) or len(left) != len(right):
                return False
            if isinstance(left, dict):
                if not all(map(alike, left, right)):
                    return False
                work.extend(zip(left.values(), right.values(), strict=True))
            else:
                work.extend(zip(left, right, strict=True))
        elif not same_shape(left, right):
            return False
    return True


def outcome(ask: Any, view: Any) -> Any:
    try:
        return ask(view)
    except (TypeError, ValueError, RecursionError) as error:
        return type(error)


def check_linked(linked: Any, unlinked: Any, plain: Any) -> None:
    assert linked == unlinked
    assert unlinked == linked
    assert alike(icehouse.thaw(linked), plain)
    assert alike(icehouse.thaw(unlinked), plain)
    assert outcome(icehouse.dumps, linked) == outcome(icehouse.dumps, unlinked)
    pretty = {"indent": 1, "sort_keys": True, "default": repr}
    for view in (linked, unlinked):
        outcome(lambda view: icehouse.dumps(view, **pretty), view)
        assert repr(view)
    assert alike(icehouse.thaw(pickle.loads(pickle.dumps(linked))), plain)
    assert icehouse.freeze(linked) == unlinked


def one_history(seed: int) -> int:
    """A store where each image may link to those before; how many links were made."""
    rng = random.Random(seed)
    links = 0
    with icehouse.Store(capacity=64 << 20) as store, icehouse.Store(capacity=64 << 20) as other:
        padding = ["x" * 1100]
        places = [Place(store.get(store.put(padding)), padding)]
        for _ in range(6):
            graph = [with_places(random_graph(rng), places, rng), "y" * rng.choice((0, 1200))]
            given, plain = both(graph)
            handle = store.put(given)
            links += store.stat(handle).links
            linked = store.get(handle)
            check_linked(linked, other.get(other.put(plain)), plain)
            place = Place(linked, plain)
            places += [place, *inner_places(place, rng)]
            gone = None
            if rng.randrange(3) == 0:  # what is linked does not need its handle
                gone = places.pop(rng.randrange(len(places)))
                if getattr(gone.view, "handle", None) is not None:
                    with contextlib.suppress(icehouse.HandleGone):  # by another view of it
                        store.delete(gone.view)
            store.check()
        del linked, place, places, graph, given, gone
        gc.collect()  # the graphs may be circles
        for stat in store.ls():
            with contextlib.suppress(icehouse.HandleGone):  # deleted, or gone with another
                store.delete(stat.handle)
        store.check()
        assert store.usage().images == 0
    return links


def test_h16_graphs_with_views_are_as_graphs_without(soak_factor: int) -> None:
    # Each history collects; what other tests have left behind would be looked at each time.
    gc.collect()
    gc.freeze()
    try:
        assert sum(one_history(seed) for seed in range(150 * soak_factor)) > 500
    finally:
        gc.unfreeze()
