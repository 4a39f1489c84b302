"""What the API gives, as OpenAPI sees it, and how it is made of the daemon's messages."""

from datetime import UTC, datetime
from typing import Generic, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from icehouse.server.admin import processes
from icehouse.store.handle import Handle
from icehouse.store.wire import messages

Item = TypeVar("Item")


IMAGE_MAGIC = b"IH"


def text_of(handle: bytes) -> str:
    """Write a handle."""
    return str(Handle.from_bytes(handle))


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
    def of(cls, told: messages.Object, **more: object) -> Self:
        """Make it of a message."""
        return cls(
            handle=text_of(told.handle),
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


class Process(Model):
    """A process as this machine sees it. Who has ended, or is hidden, has no command and no age."""

    pid: int | None
    uid: int
    command: str | None = Field(description="its command line, 200 characters of it at most")
    age_seconds: float | None = Field(description="since it was started")

    @classmethod
    def at(cls, pid: int, uid: int, **more: object) -> Self:
        """Look at a process."""
        seen = processes.see(pid)
        return cls(
            pid=pid or None,
            uid=uid,
            command=seen.command,
            age_seconds=seen.age_seconds,
            **more,
        )


class Holder(Process):
    """A process that reads an image."""

    session: int
    leases: int = Field(description="of this image")

    @classmethod
    def of(cls, pid: int, uid: int, session: int, leases: int) -> "Holder":
        """Look at a process that the daemon has told of."""
        return cls.at(pid, uid, session=session, leases=leases)


class ObjectDetail(ObjectSummary):
    """One image, with what takes longer to find out."""

    readers: list[int] = Field(description="pids of the processes that lease it")
    explanation: str = Field(description="why it is alive, in sentences, one a line")
    holders: list[Holder] = Field(description="the processes that lease it, 64 at most")
    producer: Process
    links_to: list[str] = Field(description="handles of images that it links to, 256 at most")
    linked_from: list[str] = Field(
        description="handles of images that link to it, as far as they were found; `linked` counts"
    )
    version: int | None = Field(description="of the image format; null: not readable")
    flags: int | None = Field(description="of the image's header")

    @classmethod
    def with_all(cls, told: messages.Object, explanation: str) -> "ObjectDetail":
        """Make it of a message; looks at processes."""
        readers = list(told.readers)
        head = told.header
        return cls.of(
            told,
            readers=readers,
            explanation=explanation,
            holders=[Holder.of(*holder) for holder in told.holders],
            producer=Process.at(told.pid, told.uid),
            links_to=[text_of(handle) for handle in told.links_to],
            linked_from=[text_of(handle) for handle in told.linked_from],
            version=head[2] if head[:2] == IMAGE_MAGIC else None,
            flags=head[3] if head[:2] == IMAGE_MAGIC else None,
        )


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
    command: str | None = Field(description="its command line, 200 characters of it at most")
    age_seconds: float | None = Field(description="since it was started")
    puts_per_second: float | None = Field(description="over the last seconds; null: not known yet")
    gets_per_second: float | None

    @classmethod
    def of(
        cls, told: messages.Client, rates: tuple[float, float] | None = None, **more: object
    ) -> Self:
        """Make it of a message; looks at the process."""
        seen = processes.see(told.pid)
        puts, gets = rates or (None, None)
        return cls(
            command=seen.command,
            age_seconds=seen.age_seconds,
            puts_per_second=puts,
            gets_per_second=gets,
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
            **more,
        )


class ClientDetail(Client):
    """One process, with what it has."""

    granted: list[int] = Field(description="ids of its segments, 1,000 at most")
    leased: list[str] = Field(description="handles of images that it leases, 256 at most")


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


class Block(Model):
    """A run of bytes of a segment."""

    offset: int
    bytes: int
    state: str = Field(description="live, dying, free, spilled; mixed: several small ones")
    objects: int = Field(description="images in it")
    live_bytes: int
    dying_bytes: int
    handle: str | None = Field(description="if it is one image")
    size: int | None = Field(description="of that image")

    @classmethod
    def of(cls, told: messages.Block, *, spilled: bool) -> "Block":
        """Make it of a message."""
        return cls(
            offset=told.offset,
            bytes=told.length,
            state="spilled" if spilled and told.state == "live" else told.state,
            objects=told.objects,
            live_bytes=told.live_bytes,
            dying_bytes=told.dying_bytes,
            handle=text_of(told.handle) if told.handle else None,
            size=told.size if told.handle else None,
        )


class Blocks(Page[Block]):
    """What is where in a segment; small neighbours are told together."""

    segment: Segment


class Name(Model):
    """One bound name."""

    name: str
    handle: str
    version: int

    @classmethod
    def of(cls, told: messages.Name) -> "Name":
        """Make it of a message."""
        return cls(name=told.name, handle=text_of(told.handle), version=told.version)


class NameVersion(Model):
    """What a name was bound to once."""

    version: int
    handle: str | None = Field(description="null: it was unbound")
    at: datetime
    pid: int | None = Field(description="who bound it; null: the daemon, with the image's end")
    command: str | None


class History(Model):
    """The last versions of a name, newest first. The daemon forgets them when it ends."""

    name: str
    handle: str | None = Field(description="what it is bound to now; null: nothing")
    version: int
    complete: bool = Field(description="false: older versions are not known")
    items: list[NameVersion] = Field(description="32 at most")

    @classmethod
    def of(cls, told: messages.History) -> "History":
        """Make it of a message; looks at processes."""
        items = [
            NameVersion(
                version=item.version,
                handle=text_of(item.handle) if item.handle else None,
                at=at(item.at),
                pid=item.pid or None,
                command=processes.command_of(item.pid) if item.pid else None,
            )
            for item in reversed(told.items)
        ]
        return cls(
            name=told.name,
            handle=text_of(told.handle) if told.handle else None,
            version=told.version,
            complete=told.complete,
            items=items,
        )
