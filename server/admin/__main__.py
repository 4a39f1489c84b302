"""The admin process, as the keeper starts it: `python -m icehouse.server.admin`."""

import asyncio
import logging
import socket
import sys

import uvicorn

from icehouse.server import config, logs
from icehouse.server.admin.app import guarded, make_app
from icehouse.server.admin.connections import Connection
from icehouse.server.admin.guard import HOSTS
from icehouse.server.admin.pages import rendering
from icehouse.server.admin.priority import give_way

# Characters, of which some take two in the log.
TRACEBACK_MAX = 2000


class Forward(logging.Handler):
    """Hands what uvicorn says to our log."""

    def __init__(self, log: logs.Log) -> None:
        super().__init__()
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        """Tell one record, with its traceback."""
        tell = self._log.error if record.levelno >= logging.ERROR else self._log.warning
        fields = {}
        if record.exc_info:
            # A line of the log is short, and the end of a traceback says the most.
            traceback = logging.Formatter().formatException(record.exc_info)
            fields["traceback"] = traceback[-TRACEBACK_MAX:]
        tell("http_server", record.getMessage(), **fields)


def listen(place: str) -> socket.socket:
    """Listen at HOST:PORT, which the configuration has checked to be of this machine alone."""
    host, _, port = place.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # With its protocol said, asyncio sets TCP_NODELAY on what it accepts; else a response, which
    # has two parts, waits 40 ms for the client's acknowledgement of the first.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, int(port)))
        listener.listen(64)
    except OSError:
        listener.close()
        raise
    return listener


def server_of(settings: config.Config) -> uvicorn.Server:
    """Make the server; limits on everything that a client may cost."""
    host = settings.http.rpartition(":")[0]
    app = guarded(make_app(settings), HOSTS | {host.lower()})
    return uvicorn.Server(
        uvicorn.Config(
            app,
            loop="asyncio",
            http=Connection,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=15,
            timeout_graceful_shutdown=2,
            h11_max_incomplete_event_size=16 * 1024,
        )
    )


def main() -> int:
    """Serve until SIGTERM."""
    try:
        settings = config.from_environment()
    except (KeyError, ValueError):
        logs.complain("this is the daemon's admin process: start it with `icehouse serve --http`")
        return 2
    log = logs.Log("admin", settings.log_format, settings.log_level)
    forward = Forward(log)
    for name in ("uvicorn", "uvicorn.error", "asyncio"):
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [], name == "uvicorn.error"
        logger.setLevel(logging.WARNING)
    for name in ("uvicorn", "asyncio"):
        logging.getLogger(name).addHandler(forward)
    try:
        listener = listen(settings.http)
    except OSError as error:
        logs.complain(f"http = {settings.http}: can't listen there: {error.strerror}")
        return 1
    host, port = listener.getsockname()[:2]
    place = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    log.info("http_ready", f"http://{place}", port=port)
    server = server_of(settings)
    # Whoever connects meanwhile waits in the backlog.
    rendering.compile_all()
    # Not before: where the processors are busy, it would take a minute to start.
    give_way(settings.http_nice)
    asyncio.run(server.serve([listener]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
