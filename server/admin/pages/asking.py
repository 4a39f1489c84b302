"""What the pages ask for, as the models of the API."""

from icehouse.server.admin import schemas
from icehouse.server.admin.link import Link
from icehouse.server.admin.routes_api import ASKS_MAX, opened_cursor, sealed_cursor
from icehouse.store.handle import Handle
from icehouse.store.wire import messages


async def metrics(link: Link) -> messages.Metrics:
    """Ask for all that the daemon measures; AwayError, RefusedError."""
    return await link.ask(messages.AskMetrics(), messages.Metrics)


async def status(link: Link) -> schemas.Status:
    """Ask how the daemon is."""
    return schemas.Status.of(await link.ask(messages.AskStatus(), messages.Status))


async def objects(
    link: Link, filters: dict[str, str], cursor: str, limit: int
) -> schemas.Page[schemas.ObjectSummary]:
    """Ask for some images."""
    place = opened_cursor(cursor)
    items: list[schemas.ObjectSummary] = []
    state = filters.get("state", "")
    for _ in range(ASKS_MAX):
        asked = messages.AskObjects(cursor=place, limit=limit - len(items), state=state)
        told = await link.ask(asked, messages.Objects)
        items += [schemas.ObjectSummary.of(item) for item in told.items]
        place = told.cursor
        if not place or len(items) >= limit:
            break
    return schemas.Page(items=items, next=sealed_cursor(place) if place else None)


async def one_object(link: Link, handle: str) -> schemas.ObjectDetail:
    """Ask for one image."""
    packed = bytes(Handle.from_text(handle))
    told = await link.ask(messages.AskObject(handle=packed), messages.OneObject)
    why = await link.ask(messages.Explain(handle=packed), messages.Text)
    more = {"readers": list(told.item.readers), "explanation": why.text}
    summary = schemas.ObjectSummary.of(told.item)
    return schemas.ObjectDetail.model_validate({**summary.model_dump(), **more})


async def clients(link: Link, cursor: str, limit: int) -> schemas.Page[schemas.Client]:
    """Ask who has a session."""
    asked = messages.AskClients(cursor=opened_cursor(cursor), limit=limit)
    told = await link.ask(asked, messages.Clients)
    after = sealed_cursor(told.cursor) if told.cursor else None
    return schemas.Page(items=[schemas.Client.of(item) for item in told.items], next=after)


async def segments(link: Link, cursor: str, limit: int) -> schemas.Page[schemas.Segment]:
    """Ask for some segments."""
    place = opened_cursor(cursor)
    items: list[schemas.Segment] = []
    for _ in range(ASKS_MAX):
        asked = messages.AskSegments(cursor=place, limit=limit - len(items))
        told = await link.ask(asked, messages.Segments)
        items += [schemas.Segment.of(item) for item in told.items]
        place = told.cursor
        if not place or len(items) >= limit:
            break
    return schemas.Page(items=items, next=sealed_cursor(place) if place else None)


async def names(link: Link, prefix: str, cursor: str, limit: int) -> schemas.Page[schemas.Name]:
    """Ask for some names."""
    asked = messages.AskNames(prefix=prefix, cursor=opened_cursor(cursor), limit=limit)
    told = await link.ask(asked, messages.Names)
    after = sealed_cursor(told.cursor) if told.cursor else None
    return schemas.Page(items=[schemas.Name.of(item) for item in told.items], next=after)
