"""The cases that run on each corpus: freezing, reading, thawing, size.

A case is a function from a `Subject` to results. Sides are made only if they are wanted, so that
one side can be profiled alone.
"""

import json
import pickle
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import msgspec

import icehouse
from icehouse.client.bench import targets
from icehouse.client.bench.harness import Rounds, Side, compare, once, statements
from icehouse.client.bench.result import OURS, Result

PICKLE_PROTOCOL = 5
# How many different keys or positions a lookup case touches.
LOOKUPS_MAX = 200
# A dict with more keys than this is a table, not a record.
RECORD_MAX = 64


@dataclass
class Subject:
    """A corpus as the cases need it, in all its forms; each form is made when first used."""

    name: str
    native: Any
    store: icehouse.Store
    plan: Rounds
    only: frozenset[str] = field(default_factory=frozenset)

    @cached_property
    def pickled(self) -> bytes:
        """The native object, pickled."""
        return pickle.dumps(self.native, PICKLE_PROTOCOL)

    @cached_property
    def packed(self) -> bytes:
        """The native object as MessagePack."""
        return msgspec.msgpack.encode(self.native)

    @cached_property
    def handle(self) -> icehouse.Handle:
        """The native object, put into the store."""
        return self.store.put(self.native)

    @cached_property
    def view(self) -> Any:
        """The view of what was put."""
        return self.store.get(self.handle)

    def close(self) -> None:
        """Give the store its memory back."""
        if "handle" in self.__dict__:
            self.__dict__.pop("view", None)
            self.store.delete(self.__dict__.pop("handle"))

    def timed(
        self,
        case: str,
        sides: Iterable[Side],
        target: targets.Target | None = None,
        *,
        note: str = "",
        suffix: str = "",
    ) -> Iterator[Result]:
        """Compare the wanted sides; nothing if none of them is wanted."""
        wanted = [side for side in sides if not self.only or side.name in self.only]
        if wanted:
            timings = compare(wanted, self.plan)
            yield Result.timed(case, self.name + suffix, timings, target, note)


Case = Callable[[Subject], Iterator[Result]]


def freeze(subject: Subject) -> Iterator[Result]:
    """Make a private snapshot, against what makes bytes of the same object."""
    native = subject.native
    encoder = msgspec.msgpack.Encoder()
    sides = [
        once(OURS, lambda: icehouse.freeze(native)),
        once("pickle", lambda: pickle.dumps(native, PICKLE_PROTOCOL)),
        once("msgspec", lambda: encoder.encode(native)),
    ]
    yield from subject.timed("freeze", sides, targets.FREEZE)


def thaw(subject: Subject) -> Iterator[Result]:
    """Make a mutable copy of everything, against decoding it."""
    view, pickled, packed = subject.view, subject.pickled, subject.packed
    # MessagePack's own decoder takes keys that are not str only when told so.
    decoder = msgspec.msgpack.Decoder(strict=False)
    sides = [
        once(OURS, lambda: icehouse.thaw(view)),
        once("pickle", lambda: pickle.loads(pickled)),  # noqa: S301 - our own bytes
        once("msgspec", lambda: decoder.decode(packed)),
    ]
    yield from subject.timed("thaw", sides, targets.THAW)


def dumps(subject: Subject) -> Iterator[Result]:
    """Write JSON text from the image, against JSON text from native objects."""
    native, view = subject.native, subject.view
    sides = [
        once(OURS, lambda: icehouse.dumps(view)),
        once("json", lambda: json.dumps(native)),
        once("msgspec", lambda: msgspec.json.encode(native)),
    ]
    yield from subject.timed("dumps", sides)


def size(subject: Subject) -> Iterator[Result]:
    """Weigh the image, against the pickled and the packed bytes."""
    amounts = {
        OURS: [float(subject.store.stat(subject.handle).size)],
        "pickle": [float(len(subject.pickled))],
        "msgspec": [float(len(subject.packed))],
    }
    yield Result.counted("size", subject.name, amounts, targets.SIZES.get(subject.name))


def reader(mapping: type, sequence: type) -> Callable[[Any], int]:
    """Make a function that reads every leaf of a graph of these types.

    It counts nodes and the characters of text. Native objects and views are read by the same lines.
    """

    def read(value: Any) -> int:
        kind = type(value)
        if kind is str:
            return len(value)
        total = 1
        if kind is mapping:
            for key, child in value.items():
                total += read(child) if key is not None else 0
        elif kind is sequence or kind is tuple:
            for child in value:
                total += read(child)
        return total

    return read


def walk(subject: Subject) -> Iterator[Result]:
    """Every key and leaf of the graph, by a loop in Python."""
    native, view = subject.native, subject.view
    read_native = reader(dict, list)
    read_view = reader(icehouse.FrozenDict, icehouse.FrozenList)
    if read_native(native) != read_view(view):
        raise AssertionError(f"the view of {subject.name} does not read as the original does")
    pickled = subject.pickled
    sides = [
        once(OURS, lambda: read_view(view)),
        once("native", lambda: read_native(native)),
        once(
            "pickle",
            lambda: read_native(pickle.loads(pickled)),  # noqa: S301 - our own bytes
        ),
    ]
    target = targets.WALK if subject.name == "twitter" else None
    yield from subject.timed("walk", sides, target)


def nodes(value: Any, kind: type) -> Iterator[Any]:
    """Give the dicts or lists of a graph, top levels first; of long lists only one child."""
    pending = [value]
    while pending:
        node = pending.pop(0)
        if isinstance(node, kind):
            yield node
        if isinstance(node, Mapping):
            pending += list(node.values())[:50]
        elif isinstance(node, list | tuple):
            pending += node[:1]


def spread_out(items: list[Any]) -> list[Any]:
    """Choose some of the items, from all over, in an order that no cache foresees."""
    step = max(1, len(items) // LOOKUPS_MAX)
    chosen = items[::step][:LOOKUPS_MAX]
    return chosen[::2] + chosen[1::2][::-1]


def at(view: Any, native: Any, wanted: Any) -> Any:
    """Find the view of a native node: both graphs are walked alike."""
    pending = [(native, view)]
    while pending:
        node, seen = pending.pop(0)
        if node is wanted:
            return seen
        if isinstance(node, Mapping):
            pending += [(node[key], seen[key]) for key in list(node)[:50]]
        elif isinstance(node, list | tuple):
            pending += [(node[i], seen[i]) for i in range(min(1, len(node)))]
    raise LookupError("the node is not in the graph")


def lookup_dict(subject: Subject) -> Iterator[Result]:
    """`view["key"]` on the largest dict that is near the top, each key in turn."""
    native = max(nodes(subject.native, dict), key=len, default=None)
    if not native or len(native) <= RECORD_MAX:
        return
    view = at(subject.view, subject.native, native)
    lines = [f"d[{key!r}]" for key in spread_out(list(native))]
    sides = [statements(OURS, lines, d=view), statements("native", lines, d=native)]
    note = f"{len(lines)} of {len(native):,} keys"
    yield from subject.timed('view["key"]', sides, targets.LOOKUP, note=note)


def lookup_record(subject: Subject) -> Iterator[Result]:
    """`view["key"]` on a record: the dict with the most keys among the small ones."""
    small = [node for node in nodes(subject.native, dict) if 2 <= len(node) <= RECORD_MAX]
    native = max(small, key=len, default=None)
    if not native:
        return
    view = at(subject.view, subject.native, native)
    lines = [f"d[{key!r}]" for key in native]
    sides = [statements(OURS, lines, d=view), statements("native", lines, d=native)]
    note = f"a record of {len(native)} keys"
    yield from subject.timed('view["key"]', sides, targets.LOOKUP, note=note, suffix=", a record")


def lookup_list(subject: Subject) -> Iterator[Result]:
    """`view[i]` on the longest list that is near the top, each position in turn."""
    native = max(nodes(subject.native, list), key=len, default=None)
    if not native:
        return
    view = at(subject.view, subject.native, native)
    lines = [f"s[{i}]" for i in spread_out(list(range(len(native))))]
    sides = [statements(OURS, lines, s=view), statements("native", lines, s=native)]
    kind = type(native[0]).__name__
    note = f"{len(lines)} of {len(native):,} items"
    suffix = f", {kind} items"
    yield from subject.timed("view[i]", sides, targets.LOOKUP, note=note, suffix=suffix)


CASES: dict[str, list[Case]] = {
    "freeze": [freeze],
    "lookup": [lookup_dict, lookup_record, lookup_list],
    "walk": [walk],
    "thaw": [thaw],
    "size": [size],
    "dumps": [dumps],
}
