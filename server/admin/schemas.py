"""What the API gives, as OpenAPI sees it, and how it is made of the daemon's messages."""

from datetime import UTC, datetime
from typing import Generic, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from icehouse.store.handle import Handle
from icehouse.store.wire import messages

Item = TypeVar("Item")


def at(seconds: float) -> datetime:
    """Give a time since the epoch as a date."""
    return datetime.fromtimestamp(seconds, UTC)


class Model(BaseModel):
    """What all have in common."""

    model_config = ConfigDict(frozen=True)


class Page(Model, Generic[Item]):
    """Some of a list. A page may be short, or empty, and yet not the last."""

    items: list[Item]
    next: str | None = Field(description="pass it as `cursor` for what follows; null: no more")


class Health(Model):
    """That a process answers."""

    status: str


class Status(Model):
    """The daemon and the store as a whole."""

    version: str
    store: str = Field(description="identity of the store: another one if the keeper was restarted")
    pid: int
    started: datetime
    socket: str
    capacity: int = Field(description="bytes that all segments may take")
    committed: int = Field(description="bytes that they take")
    warm: int = Field(description="of those, bytes of freed segments kept for their producers")
    spilled: int = Field(description="bytes of segments in the spill folder")
    waiting: int = Field(description="deleted bytes that producers have not given back")
    segment_size: int
    segments: int
    clients: int
    connections: int
    names: int
    spill: bool
    orphan_ttl: float

    @classmethod
    def of(cls, told: messages.Status) -> "Status":
        """Make it of a message."""
        return cls(
            version=told.version,
            store=told.store,
            pid=told.pid,
            # Otherwise the time would change with each restart of this process.
            started=at(told.started),
            socket=told.socket,
            capacity=told.capacity,
            committed=told.committed,
            warm=told.warm,
            spilled=told.spilled,
            waiting=told.waiting,
            segment_size=told.segment_size,
            segments=told.segments,
            clients=told.clients,
            connections=told.connections,
            names=told.names,
            spill=told.spill,
            orphan_ttl=told.orphan_ttl,
        )


class ObjectSummary(Model):
    """One image."""

    handle: str
    size: int = Field(description="bytes, header included")
    block: int = Field(description="bytes that it takes in its segment")
    type: str | None = Field(description="of the root; null if it can't be told")
    state: str = Field(description="live, deleted, spilled or orphan")
    created: datetime
    expires: datetime | None
    names: list[str] = Field(description="the first of them")
    names_total: int
    leases: int = Field(description="processes that read it")
    links: int = Field(description="images that it links to")
    linked: int = Field(description="images that link to it")
    dedicated: bool
    sealed: bool = Field(description="the kernel lets nobody write it")
    pinned: bool
    evictable: bool
    pid: int | None = Field(description="of its producer")
    uid: int
    segment: int

    @classmethod
    def of(cls, told: messages.Object, **more: object) -> "ObjectSummary":
        """Make it of a message."""
        return cls(
            handle=str(Handle.from_bytes(told.handle)),
            size=told.size,
            block=told.block,
            type=told.type,
            state=told.state,
            created=at(told.created_ns / 1e9),
            # A time to live may be longer than dates go.
            expires=at(told.expires_ns / 1e9) if 0 < told.expires_ns < FAR_NS else None,
            names=list(told.names),
            names_total=told.names_total,
            leases=told.leases,
            links=told.links,
            linked=told.linked,
            dedicated=told.dedicated,
            sealed=told.sealed,
            pinned=told.pinned,
            evictable=told.evictable,
            pid=told.pid or None,
            uid=told.uid,
            segment=told.segment,
            **more,
        )


FAR_NS = 253_402_300_799 * 10**9


class ObjectDetail(ObjectSummary):
    """One image, with what takes longer to find out."""

    readers: list[int] = Field(description="pids of the processes that lease it")
    explanation: str = Field(description="why it is alive, in sentences, one a line")


class Client(Model):
    """One process with a session. What it counts itself is its own word."""

    session: int
    pid: int
    uid: int
    gid: int
    role: str
    family: int = Field(description="its lease table, which it shares with what was forked from it")
    member: int
    connected: bool
    opened: datetime
    segments: int
    bytes: int = Field(description="of its segments")
    leases: int = Field(description="of its family")
    waiting: int = Field(description="deleted bytes that it has not given back")
    puts: int
    put_bytes: int
    opens: int
    maps: int
    fulls: int

    @classmethod
    def of(cls, told: messages.Client) -> "Client":
        """Make it of a message."""
        return cls(
            session=told.session,
            pid=told.pid,
            uid=told.uid,
            gid=told.gid,
            role=told.role,
            family=told.family,
            member=told.member,
            connected=told.connected,
            opened=at(told.opened),
            segments=told.segments,
            bytes=told.bytes,
            leases=told.leases,
            waiting=told.waiting,
            puts=told.puts,
            put_bytes=told.put_bytes,
            opens=told.opens,
            maps=told.maps,
            fulls=told.fulls,
        )


class Segment(Model):
    """One segment."""

    id: int
    kind: str = Field(description="ordinary, or dedicated to one image")
    bytes: int
    state: str = Field(description="granted, retired, spilled or warm")
    session: int | None = Field(description="that may write it")
    uid: int
    pid: int
    evictable: bool
    sealed: bool
    images: int
    image_bytes: int
    dying: int
    dying_bytes: int
    free_bytes: int
    largest_free: int

    @classmethod
    def of(cls, told: messages.Segment) -> "Segment":
        """Make it of a message."""
        return cls(
            id=told.id,
            kind=told.kind,
            bytes=told.bytes,
            state=told.state,
            session=told.session or None,
            uid=told.uid,
            pid=told.pid,
            evictable=told.evictable,
            sealed=told.sealed,
            images=told.images,
            image_bytes=told.image_bytes,
            dying=told.dying,
            dying_bytes=told.dying_bytes,
            free_bytes=told.free_bytes,
            largest_free=told.largest_free,
        )


class Name(Model):
    """One bound name."""

    name: str
    handle: str
    version: int

    @classmethod
    def of(cls, told: messages.Name) -> "Name":
        """Make it of a message."""
        handle = str(Handle.from_bytes(told.handle))
        return cls(name=told.name, handle=handle, version=told.version)
