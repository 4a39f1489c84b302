"""What the daemon tells, as schema models: what the JSON routes and the pages both show.

Plain functions over the connection to the daemon. Each raises what Link.ask() does, and
ProblemError for a parameter that is wrong. The daemon gives few items at a time, so that nobody
waits for long; here they are collected into pages.
"""

from icehouse.server.admin import schemas
from icehouse.server.admin.finding import Filters, objects
from icehouse.server.admin.link import Link
from icehouse.server.admin.paging import collect, known
from icehouse.store.handle import Handle
from icehouse.store.wire import messages

__all__ = [
    "Filters",
    "blocks",
    "clients",
    "history",
    "names",
    "objects",
    "one_client",
    "one_object",
    "segments",
    "status",
]

LIMIT_MAX = 1000
# Runs of a segment are told together below this part of it.
BLOCKS_OF_SEGMENT = 2000

# --- the lists ---


async def status(link: Link) -> schemas.Status:
    """Tell about the daemon and the store as a whole."""
    return schemas.Status.of(await link.ask(messages.AskStatus(), messages.Status))


async def one_object(link: Link, handle: str) -> schemas.ObjectDetail:
    """Tell about one image and the processes that have it."""
    packed = bytes(Handle.from_text(handle))
    told = await link.ask(messages.AskObject(handle=packed), messages.OneObject)
    why = await link.ask(messages.Explain(handle=packed), messages.Text)
    return schemas.ObjectDetail.with_all(told.item, why.text)


async def clients(link: Link, cursor: str = "", limit: int = 100) -> schemas.Page[schemas.Client]:
    """List processes with a session, in the order in which they came."""
    link.rates.tidy()

    def make(told: messages.Client) -> schemas.Client:
        link.rates.look([told])
        return schemas.Client.of(told, link.rates.of(told))

    items, following = await collect(
        link,
        cursor,
        limit,
        lambda at, room: messages.AskClients(cursor=at, limit=room),
        messages.Clients,
        make,
    )
    return schemas.Page[schemas.Client](items=items, next=following)


async def one_client(link: Link, session: int) -> schemas.ClientDetail:
    """Tell about one process, its segments and what it leases."""
    with known("client-unknown"):
        told = await link.ask(messages.AskClient(session=session), messages.OneClient)
    link.rates.look([told.item])
    return schemas.ClientDetail.of(
        told.item,
        link.rates.of(told.item),
        granted=told.granted,
        leased=[schemas.text_of(handle) for handle in told.leased],
    )


async def segments(link: Link, cursor: str = "", limit: int = 100) -> schemas.Page[schemas.Segment]:
    """List segments and what is in them."""
    items, following = await collect(
        link,
        cursor,
        limit,
        lambda at, room: messages.AskSegments(cursor=at, limit=room),
        messages.Segments,
        schemas.Segment.of,
    )
    return schemas.Page[schemas.Segment](items=items, next=following)


async def blocks(
    link: Link, segment: int, cursor: str = "", limit: int = BLOCKS_OF_SEGMENT
) -> schemas.Blocks:
    """Tell what is where in a segment: at most about 4,000 runs in all."""
    with known("segment-unknown"):
        told = await link.ask(messages.AskSegment(segment=segment), messages.Segments)
    about = schemas.Segment.of(told.items[0])
    spilled = about.state == "spilled"
    items, following = await collect(
        link,
        cursor,
        limit,
        lambda at, room: messages.AskBlocks(
            segment=segment, grain=about.bytes // BLOCKS_OF_SEGMENT, cursor=at, limit=room
        ),
        messages.Blocks,
        lambda item: schemas.Block.of(item, spilled=spilled),
        least=4,
    )
    return schemas.Blocks(items=items, next=following, segment=about)


async def names(
    link: Link, prefix: str = "", cursor: str = "", limit: int = 100
) -> schemas.Page[schemas.Name]:
    """List bound names in their order."""
    items, following = await collect(
        link,
        cursor,
        limit,
        lambda at, room: messages.AskNames(prefix=prefix, cursor=at, limit=room),
        messages.Names,
        schemas.Name.of,
    )
    return schemas.Page[schemas.Name](items=items, next=following)


async def history(link: Link, name: str) -> schemas.History:
    """Tell the last versions of a name."""
    with known("name-unknown"):
        told = await link.ask(messages.AskHistory(name=name), messages.History)
    return schemas.History.of(told)
