"""The messages of the control family: MessagePack maps, one struct for each (docs/protocol.md).

A request has an `op` and an `id`, which its reply repeats. Fields that have their default may be
left out; fields that a peer does not know are passed over, so either side can be the newer one.
Handles are their 16 bytes, places in a list are opaque text.
"""

from typing import Any, TypeAlias

import msgspec

MAGIC = b"ihmsg001"
VERSION = 1
REQUEST_BYTES_MAX = 64 * 1024
REPLY_BYTES_MAX = 1024 * 1024
NAME_BYTES_MAX = 512
# Of a list in one reply, which the daemon makes while others wait; its cursor is for more.
LIMIT_MAX = 256
# Names that are told with one object; `names_total` says how many it has.
NAMES_TOLD_MAX = 16


class Request(msgspec.Struct, omit_defaults=True, tag_field="op"):
    """What a client asks. The session gives the id."""

    id: int = 0


class Hello(Request, tag="hello"):
    """The first request of a connection, and only that.

    `session` joins it to the session of the same process (H14); another process's is refused.
    """

    version: int = VERSION
    pid: int = 0
    session: int = 0


class Ping(Request, tag="ping"):
    """Nothing, and back."""


class AskStatus(Request, tag="status"):
    """How the daemon is."""


class AskMetrics(Request, tag="metrics"):
    """Everything that is counted and measured; admins."""


class Select(Request):
    """Which images are wanted. What has its default picks nothing out.

    `type` may end with `*`; `name` is the beginning of one of its names; `pid`, `uid` and `session`
    are of the producer. Bounds are inclusive; 0 is none.
    """

    cursor: str = ""
    limit: int = 100
    state: str = ""
    type: str = ""
    name: str = ""
    pid: int = 0
    uid: int | None = None
    session: int = 0
    min_size: int = 0
    max_size: int = 0
    min_created_ns: int = 0
    max_created_ns: int = 0


class AskObjects(Select, tag="objects"):
    """Images in the order of their places; dying ones too. With `name` in the order of names."""


class AskKeys(Select, tag="keys"):
    """Some of the places in memory: the first `limit` there in the order `sort`.

    Whoever asks merges these, and says with `before` (a key and a place) what is good enough by
    now, with `after` what is known already.
    """

    sort: str = "size"
    after: tuple[int, int] | None = None
    before: tuple[int, int] | None = None


class AskSome(Request, tag="some"):
    """Images by their handles, LIMIT_MAX at most; those that are gone are left out."""

    handles: list[bytes] = []


class AskObject(Request, tag="object"):
    """One image."""

    handle: bytes = b""


class AskClients(Request, tag="clients"):
    """Connected processes; admins."""

    cursor: str = ""
    limit: int = 100


class AskSegments(Request, tag="segments"):
    """Segments; admins."""

    cursor: str = ""
    limit: int = 100


class AskNames(Request, tag="names"):
    """Bound names in their order."""

    prefix: str = ""
    cursor: str = ""
    limit: int = 100


class AskHistory(Request, tag="history"):
    """The last versions of a name."""

    name: str = ""


class AskClient(Request, tag="client"):
    """One connected process; admins."""

    session: int = 0


class AskSegment(Request, tag="segment"):
    """One segment; admins."""

    segment: int = 0


class AskBlocks(Request, tag="blocks"):
    """What is where in a segment; runs of less than `grain` bytes are told together; admins."""

    segment: int = 0
    grain: int = 0
    cursor: str = ""
    limit: int = LIMIT_MAX


class Watch(Request, tag="watch"):
    """Tell what a name is bound to, and each change until unwatch."""

    name: str = ""


class Unwatch(Request, tag="unwatch"):
    """No more changes of a name; one that is under way may still come."""

    name: str = ""


class Follow(Request, tag="follow"):
    """Tell what happens from now on, until unfollow; admins."""


class Unfollow(Request, tag="unfollow"):
    """No more events; some that are under way may still come."""


class Change(Request):
    """What changes something. `token` is what lets an observer do it; others need none."""

    token: str = ""


class Delete(Change, tag="delete"):
    """Delete an image; producers. With `name` the one that it is bound to, and the name."""

    handle: bytes = b""
    force: bool = False
    name: str = ""


class Rename(Change, tag="rename"):
    """Bind `to`, which must not be bound, to what `name` is bound to, and unbind it; producers."""

    name: str = ""
    to: str = ""
    expected: int | None = None


class Evict(Change, tag="evict"):
    """Let an evictable image go that nobody reads; producers."""

    handle: bytes = b""


class SpillOne(Change, tag="spill"):
    """Move an image that has a segment of its own to the spill folder; producers."""

    handle: bytes = b""


class Collect(Change, tag="collect"):
    """Free what is deleted and not leased, and give spare segments back; producers."""


class Bind(Change, tag="bind"):
    """Bind a name to an image, or to nothing (no handle), by compare-and-swap; producers."""

    name: str = ""
    handle: bytes = b""
    expected: int | None = None


class Pin(Change, tag="pin"):
    """Pin an image, or no longer; producers."""

    handle: bytes = b""
    pinned: bool = True


class Expire(Change, tag="expire"):
    """Give an image a time to live from now on, or none (0); producers."""

    handle: bytes = b""
    ttl_ns: int = 0


class Explain(Request, tag="explain"):
    """Why an image is alive, or how it went."""

    handle: bytes = b""


class Reply(msgspec.Struct, omit_defaults=True, tag_field="op"):
    """What the daemon answers, or says by itself."""

    id: int = 0


class Welcome(Reply, tag="welcome"):
    """Answers hello."""

    version: int = VERSION
    store: str = ""
    role: str = ""
    session: int = 0
    request_bytes_max: int = REQUEST_BYTES_MAX
    reply_bytes_max: int = REPLY_BYTES_MAX


class Done(Reply, tag="done"):
    """It was done, and there is nothing to tell."""


class Failure(Reply, tag="failure"):
    """It was not done. `code` names an ih_result; the figures are those of want of room.

    `why` says how an image went, or what is wrong with a token: `token`, `role`.
    """

    code: str = ""
    text: str = ""
    why: str = ""
    version: int | None = None
    figures: dict[str, int] = {}


class Deleted(Reply, tag="deleted"):
    """Answers delete by a name."""

    handle: bytes = b""


class Collected(Reply, tag="collected"):
    """Answers collect: bytes that went back to the system, and those that producers have yet."""

    freed: int = 0
    committed: int = 0
    waiting: int = 0


class Version(Reply, tag="version"):
    """Answers bind and rename."""

    version: int = 0


class Text(Reply, tag="text"):
    """Answers explain."""

    text: str = ""


class Bound(Reply, tag="bound"):
    """Answers watch: what the name is bound to now (nothing: no handle)."""

    name: str = ""
    handle: bytes = b""
    version: int = 0


class Changed(Reply, tag="changed"):
    """Nobody asked: a watched name is bound otherwise now. Changes between two are left out."""

    name: str = ""
    handle: bytes = b""
    version: int = 0


class Status(Reply, tag="status"):
    """How the daemon is, in what needs no walk."""

    version: str = ""
    store: str = ""
    pid: int = 0
    started: float = 0.0
    socket: str = ""
    capacity: int = 0
    committed: int = 0
    warm: int = 0
    spilled: int = 0
    segment_size: int = 0
    segments: int = 0
    clients: int = 0
    connections: int = 0
    names: int = 0
    waiting: int = 0
    spill: bool = False
    orphan_ttl: float = 0.0
    puts: int = 0
    put_bytes: int = 0
    gets: int = 0


class Object(msgspec.Struct, omit_defaults=True):
    """One image. Times are ns since the epoch."""

    handle: bytes
    size: int
    block: int
    created_ns: int
    state: str
    type: str | None = None
    names: tuple[str, ...] = ()
    names_total: int = 0
    leases: int = 0
    links: int = 0
    linked: int = 0
    expires_ns: int = 0
    dedicated: bool = False
    sealed: bool = False
    pinned: bool = False
    evictable: bool = False
    pid: int = 0
    uid: int = 0
    segment: int = 0
    session: int = 0
    readers: tuple[int, ...] = ()
    """Processes that lease it; this and all below is told of one object, not in lists."""
    holders: tuple[tuple[int, int, int, int], ...] = ()
    """Of each process that leases it: pid, uid, session, how many leases."""
    links_to: tuple[bytes, ...] = ()
    linked_from: tuple[bytes, ...] = ()
    """What links to it, as far as that was found; `linked` counts all."""
    header: bytes = b""
    """The 16 bytes of its header that are the image's own."""


class Client(msgspec.Struct, omit_defaults=True):
    """One process with a session."""

    session: int
    pid: int
    uid: int
    gid: int
    role: str
    family: int
    member: int
    connected: bool
    opened: float
    segments: int = 0
    bytes: int = 0
    leases: int = 0
    waiting: int = 0
    puts: int = 0
    put_bytes: int = 0
    opens: int = 0
    maps: int = 0
    fulls: int = 0
    watches: int = 0


class Segment(msgspec.Struct, omit_defaults=True):
    """One segment."""

    id: int
    kind: str
    bytes: int
    state: str
    session: int = 0
    uid: int = 0
    pid: int = 0
    evictable: bool = False
    sealed: bool = False
    images: int = 0
    image_bytes: int = 0
    dying: int = 0
    dying_bytes: int = 0
    free_bytes: int = 0
    largest_free: int = 0


class Name(msgspec.Struct):
    """One bound name."""

    name: str
    handle: bytes
    version: int


class Event(msgspec.Struct, omit_defaults=True):
    """Something that happened (docs/protocol.md); what does not concern its kind has its default.

    `count` is more than 1 where several are told as one, which then names none of them.
    """

    kind: str
    number: int = 0
    at: float = 0.0
    handle: bytes = b""
    name: str = ""
    pid: int = 0
    session: int = 0
    size: int = 0
    why: str = ""
    count: int = 1


class NameVersion(msgspec.Struct):
    """What a name was bound to (no handle: to nothing), since when, and by whom (0: the daemon)."""

    version: int
    handle: bytes
    at: float
    pid: int


class Block(msgspec.Struct, omit_defaults=True):
    """A run of bytes of a segment: one image, free, or several small ones."""

    offset: int
    length: int
    state: str
    objects: int = 0
    live_bytes: int = 0
    dying_bytes: int = 0
    handle: bytes = b""
    size: int = 0


class Objects(Reply, tag="objects"):
    """Some images, and where to go on (no cursor: that was all); the daemon's processor time."""

    items: list[Object] = []
    cursor: str = ""
    took_ns: int = 0


class Keys(Reply, tag="keys"):
    """Keys (smaller come first), locators and nonces, 8 bytes each; otherwise as Objects."""

    keys: bytes = b""
    cursor: str = ""
    took_ns: int = 0


class OneObject(Reply, tag="object", kw_only=True):
    """Answers for one image."""

    item: Object


class Clients(Reply, tag="clients"):
    """Some processes, and where to go on."""

    items: list[Client] = []
    cursor: str = ""


class Segments(Reply, tag="segments"):
    """Some segments, and where to go on."""

    items: list[Segment] = []
    cursor: str = ""


class Names(Reply, tag="names"):
    """Some names, and where to go on."""

    items: list[Name] = []
    cursor: str = ""


class Events(Reply, tag="events"):
    """Nobody asked: what happened, in order. `lost` were between these and those before."""

    items: list[Event] = []
    lost: int = 0


class History(Reply, tag="history"):
    """Answers history: the last versions of a name, oldest first, as far as they are known."""

    name: str = ""
    handle: bytes = b""
    version: int = 0
    complete: bool = False
    items: list[NameVersion] = []


class Blocks(Reply, tag="blocks"):
    """Some runs of a segment, and where to go on."""

    items: list[Block] = []
    cursor: str = ""


class OneClient(Reply, tag="client", kw_only=True):
    """Answers for one process: also ids of its segments and handles that it leases."""

    item: Client
    granted: list[int] = []
    leased: list[bytes] = []


class Metrics(Reply, tag="metrics"):
    """Gauges are so now; counters grow while the daemon runs, by the label that each has."""

    started: float = 0.0
    gauges: dict[str, float] = {}
    labelled: dict[str, dict[str, float]] = {}
    counters: dict[str, dict[str, int]] = {}
    histograms: dict[str, dict[str, Any]] = {}


REQUESTS: TypeAlias = (
    Hello
    | Ping
    | AskStatus
    | AskMetrics
    | AskObjects
    | AskKeys
    | AskSome
    | AskObject
    | AskClients
    | AskSegments
    | AskNames
    | AskHistory
    | AskClient
    | AskSegment
    | AskBlocks
    | Follow
    | Unfollow
    | Watch
    | Unwatch
    | Delete
    | Rename
    | Evict
    | SpillOne
    | Collect
    | Bind
    | Pin
    | Expire
    | Explain
)
REPLIES: TypeAlias = (
    Welcome
    | Done
    | Failure
    | Deleted
    | Collected
    | Version
    | Text
    | Bound
    | Changed
    | Status
    | Objects
    | Keys
    | OneObject
    | Clients
    | Segments
    | Names
    | Events
    | History
    | Blocks
    | OneClient
    | Metrics
)
