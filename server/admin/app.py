"""The app: routes, errors, and what stands before them."""

from fastapi import FastAPI
from starlette.types import ASGIApp

from icehouse.server.admin import (
    problems,
    routes_actions,
    routes_api,
    routes_content,
    routes_events,
    routes_health,
)
from icehouse.server.admin.guard import HOSTS, Guard
from icehouse.server.admin.images import Images
from icehouse.server.admin.link import Link
from icehouse.server.admin.metrics import Metrics
from icehouse.server.admin.pages import assets, routes
from icehouse.server.admin.peers import Readers
from icehouse.server.admin.samples import Samples
from icehouse.server.config import Config
from icehouse.server.version import VERSION

DESCRIPTION = """What the daemon of this machine holds, and who uses it. GET only reads;
POST acts, and needs a token (`icehouse token new`) as `Authorization: Bearer ...`.

Errors are `application/problem+json`; lists are paged with `limit` and an opaque `cursor`; every
answer to a GET has a strong ETag."""


def make_app(settings: Config) -> FastAPI:
    """Make the app for the daemon of a configuration."""
    socket = settings.socket
    app = FastAPI(
        title="icehouse",
        version=VERSION,
        description=DESCRIPTION,
        openapi_url="/openapi.json",
        # Both load scripts from elsewhere.
        docs_url=None,
        redoc_url=None,
    )
    app.state.metrics = Metrics()
    app.state.link = Link(socket, app.state.metrics.observe)
    app.state.images = Images(socket)
    app.state.readers = Readers(settings.role_of)
    app.include_router(routes_health.router)
    app.include_router(routes_api.router)
    app.include_router(routes_actions.router)
    app.include_router(routes_events.router)
    app.state.feed = None
    app.include_router(routes_content.router)
    problems.install(app)
    app.state.samples = Samples(app.state.link)
    app.include_router(assets.router)
    routes.install(app)
    problems.describe(app)
    return app


def guarded(app: FastAPI, hosts: frozenset[str] = HOSTS) -> ASGIApp:
    """Put the guard before everything, the server's own errors included."""
    return Guard(app, hosts)
