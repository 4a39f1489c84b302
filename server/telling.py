"""What the daemon tells of itself in the control family, as plain messages.

Each list is made in bounded steps, since everybody else waits meanwhile: so many items are looked
at, and a cursor says where to go on.
"""

import heapq
import os
import resource
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import TYPE_CHECKING, TypeVar

from icehouse.server.catalog import Stat
from icehouse.server.frames import HANDLE, ORDINARY, Handle, RefusedError, Result, Role
from icehouse.server.kinds import root_type
from icehouse.server.lifetimes import epoch_ns
from icehouse.server.version import VERSION
from icehouse.store.wire import messages

if TYPE_CHECKING:
    from icehouse.server.daemon import Daemon
    from icehouse.server.segments import Segment
    from icehouse.server.sessions import Session

Told = TypeVar("Told")
STATES = ("live", "deleted", "spilled", "orphan")
# Of one image.
LINKS_TOLD_MAX = 256
RUN_STATES = ("free", "live", "dying", "mixed")
# What one reply costs everybody else: so many images are looked at, for so long.
LOOKS_MAX = 8192
LOOK_NS = 1_000_000
SEGMENTS_TOLD_MAX = 1000
LINKERS_LOOKED_AT = 16384
# A larger one is not walked: it may hold half a million images.
WALKED_BYTES_MAX = 1 << 19
SEGMENTS_MAX = 32


def unpack(handle: bytes) -> Handle:
    """Read a handle."""
    if len(handle) != HANDLE.size:
        raise RefusedError(Result.INVALID, f"a handle has 16 bytes, this has {len(handle)}")
    locator, nonce = HANDLE.unpack(handle)
    return locator, nonce


def bounded(limit: int, most: int = messages.LIMIT_MAX) -> int:
    """Keep a limit within bounds."""
    return max(1, min(limit, most))


def in_time(
    ids: Iterable[int], after: int, limit: int, tell: Callable[[int], Told]
) -> tuple[list[Told], str]:
    """Tell of what has the next ids, for LOOK_NS at most but of one at least; the next cursor."""
    until = time.perf_counter_ns() + LOOK_NS
    numbers = [number for number in ids if number > after]
    items: list[Told] = []
    last = 0
    for last in heapq.nsmallest(limit, numbers):
        items.append(tell(last))
        if time.perf_counter_ns() >= until:
            break
    return items, f"{last:x}" if items and len(items) < len(numbers) else ""


def place(cursor: str) -> int:
    """Read a cursor that is a number."""
    if not cursor:
        return 0
    try:
        number = int(cursor, 16)
    except ValueError:
        number = -1
    if not 0 <= number < 2**64 or len(cursor) > 16:
        raise RefusedError(Result.INVALID, "the cursor is not one that the daemon gave")
    return number


# --- images ---


def state_of(daemon: "Daemon", stat: Stat) -> str:
    """Say in one word how an image is."""
    if stat.dying:
        return "deleted"
    number = stat.handle[0] >> 24
    segment = daemon.segments.by_id.get(number)
    if segment is not None and segment.key.spilled:
        return "spilled"
    return "orphan" if daemon.is_orphan(stat.handle) else "live"


def an_object(daemon: "Daemon", stat: Stat, state: str) -> messages.Object:
    """Tell all that is known of an image."""
    handle = stat.handle
    segment = daemon.segments.by_id.get(handle[0] >> 24)
    life = daemon.lifetimes.of(handle)
    names, names_total = daemon.names.told_of(handle, messages.NAMES_TOLD_MAX)
    told = messages.Object(
        HANDLE.pack(*handle),
        stat.size,
        stat.block,
        stat.created_ns,
        state,
        names=names,
        names_total=names_total,
        leases=stat.leases,
        linked=daemon.lifetimes.linked(handle),
        dedicated=stat.dedicated,
        sealed=stat.kernel_sealed,
        segment=handle[0] >> 24,
    )
    if life is not None:
        told.pinned = life.pinned
        told.expires_ns = epoch_ns(life.expires_ns)
        told.links = len(life.links)
    if segment is not None:
        key = segment.key
        told.type = root_type(stat.image_header, segment.fd, handle[0], stat.size)
        told.evictable = key.evictable
        told.pid, told.uid, told.session = key.pid, key.uid, key.session
    return told


def one_object(daemon: "Daemon", packed: bytes) -> messages.OneObject:
    """Tell of one image; GONE says how it went."""
    stat = daemon.find(unpack(packed), leases=True)
    told = an_object(daemon, stat, state_of(daemon, stat))
    told.holders = tuple(holders(daemon, stat.handle[0]))
    told.readers = tuple(sorted({pid for pid, *_ in told.holders}))
    life = daemon.lifetimes.of(stat.handle)
    if life is not None:
        told.links_to = tuple(HANDLE.pack(*link) for link in life.links[:LINKS_TOLD_MAX])
    if told.linked:
        told.linked_from = tuple(HANDLE.pack(*link) for link in linkers(daemon, stat.handle))
    told.header = stat.image_header
    return messages.OneObject(item=told)


def holders(daemon: "Daemon", locator: int) -> Iterator[tuple[int, int, int, int]]:
    """Give who leases an image, as far as they have sessions: pid, uid, session, leases."""
    counts = Counter(daemon.catalog.lessees(locator)[1])
    for (family, member), leases in counts.items():
        known = daemon.sessions.families.get(family)
        session = known.members.get(member) if known is not None else None
        if session is not None:
            yield session.key.pid, session.key.uid, session.id, leases


def linkers(daemon: "Daemon", handle: Handle) -> list[Handle]:
    """Give images that link to this one: there is no index, so only some are looked at."""
    until = time.perf_counter_ns() + LOOK_NS
    found: list[Handle] = []
    for locator, life in islice(daemon.lifetimes.lives.items(), LINKERS_LOOKED_AT):
        if not life.links:
            continue
        if handle in life.links:
            found.append((locator, life.nonce))
        if len(found) == LINKS_TOLD_MAX or time.perf_counter_ns() >= until:
            break
    return found


def names(daemon: "Daemon", asked: messages.AskNames) -> messages.Names:
    """Tell which names are bound."""
    limit = bounded(asked.limit)
    found, cursor = daemon.names.page(asked.prefix, asked.cursor, limit)
    items = [messages.Name(name, HANDLE.pack(*handle), version) for name, handle, version in found]
    return messages.Names(items=items, cursor=cursor)


def history(daemon: "Daemon", name: str) -> messages.History:
    """Tell the last versions of a name."""
    handle, version = daemon.names.lookup(name)
    past, complete = daemon.names.history.of(name, version)
    items = [
        messages.NameVersion(entry.version, packed(entry.handle), entry.at, entry.pid)
        for entry in past
    ]
    if not version:
        raise RefusedError(Result.UNKNOWN, f"the name {name!r} was never bound")
    return messages.History(
        name=name, handle=packed(handle), version=version, complete=complete, items=items
    )


def packed(handle: Handle | None) -> bytes:
    """Write a handle; none is empty."""
    return b"" if handle is None else HANDLE.pack(*handle)


# --- processes and segments ---


def a_client(daemon: "Daemon", session: "Session") -> messages.Client:
    """Tell of a process."""
    key = session.key
    puts, put_bytes, opens, maps, fulls = daemon.catalog.page_counters(session.id)[:5]
    mine = daemon.segments.of(session.id)
    return messages.Client(
        session=session.id,
        pid=key.pid,
        uid=key.uid,
        gid=key.gid,
        role=Role(session.role).name.lower(),
        family=key.family,
        member=key.member,
        connected=session.connection is not None,
        opened=session.opened,
        segments=len(mine),
        bytes=sum(daemon.segments.by_id[number].key.size for number in mine),
        # Of the whole family: a lease table is shared by a process and what was forked from it.
        leases=daemon.catalog.leases(key.family),
        waiting=daemon.catalog.waiting(session.id),
        puts=puts,
        put_bytes=put_bytes,
        opens=opens,
        maps=maps,
        fulls=fulls,
    )


def clients(daemon: "Daemon", asked: messages.AskClients) -> messages.Clients:
    """Tell of processes in the order in which they came."""
    limit, after = bounded(asked.limit), place(asked.cursor)
    found = daemon.sessions.by_id
    items, cursor = in_time(found, after, limit, lambda number: a_client(daemon, found[number]))
    return messages.Clients(items=items, cursor=cursor)


def one_client(daemon: "Daemon", number: int) -> messages.OneClient:
    """Tell of a process what it has."""
    session = daemon.sessions.by_id.get(number)
    if session is None:
        raise RefusedError(Result.UNKNOWN, f"look at a process: there is no session {number}")
    leased = daemon.catalog.leased_by(session.key.family, session.key.member)
    return messages.OneClient(
        item=a_client(daemon, session),
        granted=sorted(daemon.segments.of(number))[:SEGMENTS_TOLD_MAX],
        leased=[HANDLE.pack(*handle) for handle in leased],
    )


def segment_state(daemon: "Daemon", segment: "Segment") -> str:
    """Say in one word what becomes of a segment."""
    key = segment.key
    if key.warm:
        return "warm"
    if key.spilled:
        return "spilled"
    return "retired" if key.id in daemon.lifetimes.retired else "granted"


def a_segment(daemon: "Daemon", segment: "Segment") -> messages.Segment:
    """Tell of a segment; walks it if it is small."""
    key = segment.key
    content = daemon.catalog.content(key.id, glance=key.size > WALKED_BYTES_MAX)
    return messages.Segment(
        id=key.id,
        kind="ordinary" if key.kind == ORDINARY else "dedicated",
        bytes=key.size,
        state=segment_state(daemon, segment),
        session=key.session,
        uid=key.uid,
        pid=key.pid,
        evictable=key.evictable,
        sealed=key.kernel,
        images=content.images,
        image_bytes=content.image_bytes,
        dying=content.dying,
        dying_bytes=content.dying_bytes,
        free_bytes=content.free_bytes,
        largest_free=content.largest_free,
    )


def segments(daemon: "Daemon", asked: messages.AskSegments) -> messages.Segments:
    """Tell of segments in the order of their ids."""
    limit, after = bounded(asked.limit, SEGMENTS_MAX), place(asked.cursor)
    found = daemon.segments.by_id
    items, cursor = in_time(found, after, limit, lambda number: a_segment(daemon, found[number]))
    return messages.Segments(items=items, cursor=cursor)


def one_segment(daemon: "Daemon", number: int) -> messages.Segments:
    """Tell of one segment."""
    segment = daemon.segments.by_id.get(number)
    if segment is None:
        raise RefusedError(Result.UNKNOWN, f"look at a segment: there is no segment {number}")
    return messages.Segments(items=[a_segment(daemon, segment)])


def blocks(daemon: "Daemon", asked: messages.AskBlocks) -> messages.Blocks:
    """Tell what is where in a segment."""
    if asked.segment not in daemon.segments.by_id:
        raise RefusedError(
            Result.UNKNOWN, f"look at a segment: there is no segment {asked.segment}"
        )
    if not 0 <= asked.grain < 2**64:
        raise RefusedError(Result.INVALID, f"no run has {asked.grain} bytes")
    runs, after = daemon.catalog.runs(
        asked.segment,
        asked.grain,
        place(asked.cursor),
        looks=LOOKS_MAX,
        ns=LOOK_NS,
        room=max(4, bounded(asked.limit)),
    )
    items = [
        messages.Block(
            run.offset,
            run.bytes,
            RUN_STATES[run.state],
            objects=run.images,
            live_bytes=run.live_bytes,
            dying_bytes=run.dying_bytes,
            handle=HANDLE.pack(run.locator, run.nonce) if run.locator else b"",
            size=run.size,
        )
        for run in runs
    ]
    return messages.Blocks(items=items, cursor=f"{after:x}" if after else "")


# --- the whole ---


def identity(daemon: "Daemon") -> str:
    """Write the store's identity as clients do: two numbers."""
    low, high = HANDLE.unpack(daemon.identity)
    return f"{low:016x}{high:016x}"


def status(daemon: "Daemon") -> messages.Status:
    """Tell how the daemon is, without a walk."""
    counted = daemon.client_counters()
    config, kept = daemon.config, daemon.segments
    return messages.Status(
        version=VERSION,
        store=identity(daemon),
        pid=os.getpid(),
        started=daemon.started,
        socket=config.socket,
        capacity=config.capacity,
        committed=kept.committed,
        warm=kept.warm_bytes,
        spilled=kept.spilled_bytes,
        segment_size=config.segment_size,
        segments=len(kept.by_id),
        clients=len(daemon.sessions.by_id),
        connections=len(daemon.connections),
        names=daemon.names.bound,
        waiting=sum(daemon.catalog.waiting(number) for number in daemon.sessions.by_id),
        spill=bool(config.spill),
        orphan_ttl=config.orphan_ttl,
        puts=counted[0],
        put_bytes=counted[1],
        gets=counted[2],
    )


def descriptors() -> tuple[int, int]:
    """How many descriptors this process has, and how many it may have."""
    # Since Linux 6.2 the folder's size is how many there are; before it is 0.
    open_now = os.stat("/proc/self/fd").st_size  # noqa: PTH116 - no pathlib per scrape
    if not open_now:
        with os.scandir("/proc/self/fd") as found:
            # The scan has one of its own.
            open_now = sum(1 for _ in found) - 1
    return open_now, resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def memory() -> int:
    """Bytes of memory that this process has to itself."""
    with open("/proc/self/statm", encoding="ascii") as file:  # noqa: PTH123 - no pathlib per scrape
        fields = file.read().split()
    return (int(fields[1]) - int(fields[2])) * os.sysconf("SC_PAGE_SIZE")
