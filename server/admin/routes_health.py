"""/healthz, /readyz and /metrics: for those who watch over the process."""

import asyncio

from fastapi import APIRouter, Request, Response

from icehouse.server.admin import metrics, schemas
from icehouse.server.admin.link import AwayError, RefusedError
from icehouse.server.admin.problems import documented
from icehouse.server.admin.routes_api import link_of
from icehouse.store.wire import messages

# Whoever asks whether it is ready waits for little longer; Prometheus, as a rule, for 10 s.
READY_SECONDS = 1.0
SCRAPE_SECONDS = 3.0

router = APIRouter(tags=["health"], responses=documented("wrong-host"))


@router.get("/healthz", response_model=schemas.Health)
async def healthz() -> schemas.Health:
    """Say that the admin process is up, whatever the daemon does."""
    return schemas.Health(status="ok")


@router.get("/readyz", response_model=schemas.Health, responses=documented("daemon-unavailable"))
async def readyz(request: Request) -> schemas.Health:
    """Say that the daemon answers, and soon."""
    try:
        async with asyncio.timeout(READY_SECONDS):
            await link_of(request).ask(messages.Ping(), messages.Done)
    except TimeoutError:
        raise AwayError(f"the daemon has not answered for {READY_SECONDS:g} s") from None
    return schemas.Health(status="ok")


@router.get("/metrics", response_class=Response)
async def give_metrics(request: Request) -> Response:
    """Give everything to Prometheus. Without a daemon icehouse_up is 0, and much is left out."""
    measured: metrics.Metrics = request.app.state.metrics
    told: messages.Metrics | None
    try:
        async with asyncio.timeout(SCRAPE_SECONDS):
            told = await link_of(request).ask(messages.AskMetrics(), messages.Metrics)
    except (AwayError, RefusedError, TimeoutError):
        told = None
    body, media_type = measured.text(told, request.headers.get("accept", ""))
    return Response(body, media_type=media_type, headers={"Cache-Control": "no-store"})
