"""Finding images by what they are, without an index: bounded steps of ih_catalog_scan().

What a header says (size, time, place, kind of root) is decided in C. What only Python knows (names,
pins, whether a deleted image is still held) is asked for those few images where it can matter:
orphans are in segments without a producer, and deleted ones say so.
"""

import heapq
import struct
import time
from typing import TYPE_CHECKING, NamedTuple

from icehouse.server import kinds, telling
from icehouse.server.catalog import Stat
from icehouse.server.frames import Handle, RefusedError, Result, is_cell
from icehouse.server.scans import ANY_ROOT, EVERYTHING, Scan
from icehouse.store.wire import messages

if TYPE_CHECKING:
    from icehouse.server.daemon import Daemon

# What one reply costs everybody else at most: so many images looked at, for about so long.
LOOKS_MAX = 2 * telling.LOOKS_MAX
LOOK_NS = telling.LOOK_NS
NAMES_LOOKED_AT = 512
# Images of one step that Python looks at.
DOUBTS_MAX = 256
KEYS_MAX = 1000
# Images told at a time, between looks at the clock.
STEP = 64

GRANTED, RETIRED, SPILLED = 1, 2, 4
EVERYWHERE = GRANTED | RETIRED | SPILLED
DEDICATED_SHIFT = 3
DEDICATED = EVERYWHERE << DEDICATED_SHIFT
SORTS = {"size": 1, "-size": 2, "created": 3, "-created": 4}
KEY = struct.Struct("<QQQ")


def both(classes: int) -> int:
    """Give ordinary and dedicated segments of these classes."""
    return classes | classes << DEDICATED_SHIFT


class Classes(NamedTuple):
    """Where images of a state are: surely so, or if Python agrees."""

    sure: int
    doubtful: int
    dying: int


STATES = {
    "": Classes(both(EVERYWHERE), 0, both(EVERYWHERE)),
    "live": Classes(both(GRANTED), both(RETIRED), 0),
    "orphan": Classes(0, both(RETIRED), 0),
    "spilled": Classes(both(SPILLED), 0, 0),
    "deleted": Classes(0, 0, both(EVERYWHERE)),
}


def bounds(low: int, high: int, what: str) -> tuple[int, int]:
    """Check two bounds; 0 is none."""
    for bound in (low, high):
        if not 0 <= bound <= EVERYTHING:
            raise RefusedError(Result.INVALID, f"no image has the {what} {bound}")
    return low, high or EVERYTHING


def roots_of(pattern: str) -> tuple[int, int, int, int]:
    """Give a bit for each kind of root whose type fits; UNSEEN fits: it is looked at later."""
    bits = 1 << kinds.UNSEEN
    for number, name in enumerate(kinds.ROOTS):
        if name is not None and fits(name, pattern):
            bits |= 1 << number
    words = (bits >> shift & EVERYTHING for shift in (0, 64, 128, 192))
    first, second, third, fourth = words
    return first, second, third, fourth


def fits(name: str | None, pattern: str) -> bool:
    """Whether a type is the one that is wanted, or begins so."""
    if not pattern:
        return True
    if name is None:
        return False
    return name.startswith(pattern[:-1]) if pattern.endswith("*") else name == pattern


class Wanted:
    """What one request looks for."""

    def __init__(self, daemon: "Daemon", asked: messages.Select) -> None:
        """RefusedError if it can't be looked for."""
        if asked.state not in STATES:
            known = ", ".join(telling.STATES)
            raise RefusedError(
                Result.INVALID, f"no image is in the state {asked.state!r}; {known} are"
            )
        self._daemon = daemon
        self.state, self.type, self.name = asked.state, asked.type, asked.name
        sizes = bounds(asked.min_size, asked.max_size, "size")
        times = bounds(asked.min_created_ns, asked.max_created_ns, "time")
        roots = roots_of(asked.type) if asked.type else ANY_ROOT
        self.scan = Scan(*sizes, *times, roots, self._segments(asked))

    def _segments(self, asked: messages.Select) -> tuple[int, ...] | None:
        """Give the segments of a producer; None: all."""
        pid, uid, session = asked.pid, asked.uid, asked.session
        if not pid and uid is None and not session:
            return None
        found = (
            number
            for number, segment in self._daemon.segments.by_id.items()
            if (not pid or segment.key.pid == pid)
            and (uid is None or segment.key.uid == uid)
            and (not session or segment.key.session == session)
        )
        return tuple(sorted(found))

    def everything(self) -> Scan:
        """Give a scan that finds all that may be wanted, and some more."""
        classes = STATES[self.state]
        return self.scan._replace(living=classes.sure | classes.doubtful, dying=classes.dying)

    def surely(self) -> Scan:
        """Give a scan that finds what is wanted for sure."""
        sure = STATES[self.state].sure
        # The type of a large image may not be known without a look at its file.
        return self.scan._replace(living=sure & ~DEDICATED if self.type else sure)

    def perhaps(self) -> Scan:
        """Give a scan for the others that may be wanted."""
        classes = STATES[self.state]
        living = classes.doubtful | (classes.sure & DEDICATED if self.type else 0)
        return self.scan._replace(living=living, dying=classes.dying)

    def state_of(self, stat: Stat) -> str:
        """Give the state of an image that has the wanted one; "": it has another."""
        state = telling.state_of(self._daemon, stat)
        if self.state:
            return state if state == self.state else ""
        return state if self._daemon.is_listed(stat) else ""

    def is_so(self, stat: Stat) -> bool:
        """Whether an image that was found is wanted."""
        return bool(self.state_of(stat)) and (not self.type or self._type_fits(stat))

    def _type_fits(self, stat: Stat) -> bool:
        segment = self._daemon.segments.by_id.get(stat.handle[0] >> 24)
        if segment is None:
            return False
        name = kinds.root_type(stat.image_header, segment.fd, stat.handle[0], stat.size)
        return fits(name, self.type)

    def weighed(self, found: list[Stat]) -> list[Stat]:
        """Give what was found, with its leases where these say whether it is listed."""
        if self.state or not any(stat.dying for stat in found):
            return found
        return self._daemon.catalog.counted(found)

    def take(self, stat: Stat) -> messages.Object | None:
        """Tell of an image if it is wanted."""
        state = self.state_of(stat)
        if not state:
            return None
        told = telling.an_object(self._daemon, stat, state)
        return told if fits(told.type, self.type) else None

    # --- by names ---

    def _is_like(self, name: str) -> bool:
        return name.startswith(self.name) and not is_cell(name)

    def named(self, name: str, handle: Handle) -> Stat | None:
        """Give the image of a name if it is wanted, and this is its first name that fits."""
        names = self._daemon.names.of(handle)
        if name != next(other for other in names if self._is_like(other)):
            return None
        scan = self.scan
        if scan.segments is not None and handle[0] >> 24 not in scan.segments:
            return None
        stat = self._daemon.catalog.find(handle)
        if stat is None or not (
            scan.size_min <= stat.size <= scan.size_max
            and scan.created_min <= stat.created_ns <= scan.created_max
        ):
            return None
        return stat if self.is_so(stat) else None


class Turn:
    """What one reply may take: it ends when its time is over, but never empty-handed."""

    def __init__(self) -> None:
        self._until = time.perf_counter_ns() + LOOK_NS

    def is_over(self) -> bool:
        """Whether others should have theirs."""
        return time.perf_counter_ns() >= self._until


# --- lists ---


def objects(daemon: "Daemon", asked: messages.AskObjects) -> messages.Objects:
    """Tell of images in the order of their places, or of their names if these are asked for."""
    wanted = Wanted(daemon, asked)
    limit = telling.bounded(asked.limit)
    if wanted.name:
        return named_objects(daemon, wanted, asked.cursor, limit)
    turn = Turn()
    scan, cursor = wanted.everything(), telling.place(asked.cursor)
    taken: dict[int, messages.Object] = {}
    dying: list[Stat] = []
    while True:
        before = len(taken)
        room = min(limit - before, STEP)
        found, cursor = daemon.catalog.scan(scan, cursor, looks=LOOKS_MAX, ns=LOOK_NS, room=room)
        for stat in found:
            # Whether anybody reads what is dying is seen below, of all at once.
            told = wanted.take(stat._replace(leases=1) if stat.dying else stat)
            if told is not None:
                taken[stat.handle[0]] = told
                if stat.dying and not wanted.state:
                    dying.append(stat)
        # Time ends a reply where little is found; a full step of images goes on to the limit.
        full = len(taken) - before == room
        if not cursor or len(taken) >= limit or (not full and turn.is_over()):
            with_leases(daemon, taken)
            for stat in dying:
                at = stat.handle[0]
                if not daemon.is_listed(stat._replace(leases=taken[at].leases)):
                    del taken[at]
            items = list(taken.values())
            return messages.Objects(items=items, cursor=f"{cursor:x}" if cursor else "")


def named_objects(daemon: "Daemon", wanted: Wanted, after: str, limit: int) -> messages.Objects:
    """Tell of images in the order of their names."""
    turn = Turn()
    found: dict[int, messages.Object] = {}
    names, cursor = daemon.names.page(wanted.name, after, NAMES_LOOKED_AT)
    for at, (name, handle, _) in enumerate(names, 1):
        stat = wanted.named(name, handle)
        told = wanted.take(stat) if stat is not None else None
        if told is not None:
            # Of each image only the first of its names that fit counts.
            found[handle[0]] = told
        if at < len(names) and (len(found) == limit or turn.is_over()):
            cursor = name
            break
    return messages.Objects(items=with_leases(daemon, found), cursor=cursor)


def with_leases(daemon: "Daemon", found: dict[int, messages.Object]) -> list[messages.Object]:
    """Tell of images, by their locators, how often they are leased: of all in one scan."""
    for locator, leases in daemon.catalog.leases_of(found).items():
        found[locator].leases = leases
    return list(found.values())


def some(daemon: "Daemon", asked: messages.AskSome) -> messages.Objects:
    """Tell of images by their handles."""
    if len(asked.handles) > messages.LIMIT_MAX:
        raise RefusedError(Result.INVALID, f"{messages.LIMIT_MAX} images can be asked for")
    found: dict[int, messages.Object] = {}
    for handle in map(telling.unpack, asked.handles):
        stat = daemon.catalog.find(handle)
        if stat is not None:
            told = telling.an_object(daemon, stat, telling.state_of(daemon, stat))
            found[handle[0]] = told
    return messages.Objects(items=with_leases(daemon, found))


# --- orders ---


def key_of(sort: int, stat: Stat) -> int:
    """Give the number by which an image is sorted, as ih_catalog_scan() does."""
    key = stat.size if sort <= SORTS["-size"] else stat.created_ns
    return key if sort in (SORTS["size"], SORTS["created"]) else EVERYTHING - key


def pair(given: tuple[int, int] | None, default: tuple[int, int]) -> tuple[int, int]:
    """Check a key and a place."""
    if given is None:
        return default
    if not all(0 <= number <= EVERYTHING for number in given):
        raise RefusedError(Result.INVALID, "there is no such key or place")
    return given


def keys(daemon: "Daemon", asked: messages.AskKeys) -> messages.Keys:
    """Find the first images of a part of the memory in an order."""
    sort = SORTS.get(asked.sort)
    if sort is None:
        raise RefusedError(
            Result.INVALID, f"images can't be sorted by {asked.sort!r}; by {', '.join(SORTS)}"
        )
    wanted = Wanted(daemon, asked)
    wanted.scan = wanted.scan._replace(
        sort=sort,
        after=pair(asked.after, (0, 0)),
        before=pair(asked.before, (EVERYTHING, EVERYTHING)),
    )
    limit = telling.bounded(asked.limit, KEYS_MAX)
    if wanted.name:
        found, cursor = named_keys(daemon, wanted, asked.cursor)
    else:
        found, place = placed_keys(daemon, wanted, telling.place(asked.cursor), limit)
        cursor = f"{place:x}" if place else ""
    ordered = heapq.nsmallest(limit, ((key_of(sort, stat), *stat.handle) for stat in found))
    return messages.Keys(keys=b"".join(KEY.pack(*key) for key in ordered), cursor=cursor)


def placed_keys(
    daemon: "Daemon", wanted: Wanted, cursor: int, limit: int
) -> tuple[list[Stat], int]:
    """Find what there is behind a place, and where to go on."""
    surely, perhaps = wanted.surely(), wanted.perhaps()
    doubts: list[Stat] = []
    found: list[Stat] = []
    after = 0
    # Many that come back cost as much as looking at some thousands.
    looks = LOOKS_MAX // 2 if limit > DOUBTS_MAX else LOOKS_MAX
    # These first: of them all are kept, so that those of places that are not reached now can wait
    # for the next step. Of the others the best are, which must be those of the same places.
    if perhaps.living or perhaps.dying:
        doubts, after = daemon.catalog.scan(
            perhaps, cursor, looks=looks, ns=LOOK_NS, room=DOUBTS_MAX
        )
    if surely.living:
        found, stopped = daemon.catalog.scan(
            surely, cursor, looks=looks, ns=LOOK_NS, room=limit, best=True, end=after or EVERYTHING
        )
        after = stopped or after
    end = after or EVERYTHING
    near = [stat for stat in doubts if stat.handle[0] <= end]
    found += filter(wanted.is_so, wanted.weighed(near))
    return found, after


def named_keys(daemon: "Daemon", wanted: Wanted, after: str) -> tuple[list[Stat], str]:
    """Find what there is among the names behind one, and where to go on."""
    turn = Turn()
    scan = wanted.scan
    found: list[Stat] = []
    names, following = daemon.names.page(wanted.name, after, NAMES_LOOKED_AT)
    for at, (name, handle, _) in enumerate(names, 1):
        stat = wanted.named(name, handle)
        if stat is not None:
            key = (key_of(scan.sort, stat), handle[0])
            if scan.after < key < scan.before:
                found.append(stat)
        if turn.is_over() and at < len(names):
            return found, name
    return found, following
