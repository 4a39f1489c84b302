"""/api/v1/events: what happens, as it happens."""

from typing import Annotated

from fastapi import APIRouter, Header, Request, Response

from icehouse.server.admin.feed import Feed, Stream, start_of
from icehouse.server.admin.problems import documented

router = APIRouter(prefix="/api/v1", tags=["api"], responses=documented("wrong-host"))


def feed_of(request: Request) -> Feed:
    """Give the feed, which is made when it is first looked at: it needs a running loop."""
    feed = request.app.state.feed
    if feed is None:
        feed = request.app.state.feed = Feed(request.app.state.link)
    assert isinstance(feed, Feed)
    return feed


@router.get(
    "/events",
    response_class=Response,
    responses={
        200: {"description": "An event stream", "content": {"text/event-stream": {}}},
        **documented("too-many-streams"),
    },
)
async def events(
    request: Request,
    last_event_id: Annotated[
        str | None, Header(max_length=64, description="goes on after this event")
    ] = None,
) -> Response:
    """Follow what happens.

    Events are put, delete, evict, spill, bind, full, client_joined, client_left, client_died;
    status every second; away and back, of the daemon; and gap, where some were lost.
    """
    return Stream(feed_of(request), start_of(last_event_id))
