"""What the tests of the admin face ask with: no library between them and the bytes."""

import http.client
import json
import re
import time
from typing import Any, NamedTuple

from daemons import Daemon, wait_until

# The server lets go of a connection that is idle for 15 s.
IDLE_SECONDS = 5.0


class Answer(NamedTuple):
    """A response."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def port_of(daemon: Daemon) -> int:
    """The port that the admin process listens at; waits until it does."""
    found = wait_until(
        lambda: re.findall(r'"event": "http_ready".*"port": (\d+)', daemon.log()),
        "the admin process to listen",
    )
    return int(found[-1])


class Admin:
    """A client of the admin face."""

    def __init__(self, daemon: Daemon) -> None:
        self.port = port_of(daemon)
        self.connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        self.used = 0.0

    def _connect(self) -> None:
        """Have a connection that the server has not let go because nobody used it."""
        now = time.monotonic()
        if now - self.used > IDLE_SECONDS:
            self.connection.close()
        self.used = now

    def __call__(self, path: str, method: str = "GET", **headers: str) -> Answer:
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        self._connect()
        self.connection.putrequest(method, path, skip_host="Host" in given)
        for name, value in given.items():
            self.connection.putheader(name, value)
        self.connection.endheaders()
        response = self.connection.getresponse()
        found = {name.lower(): value for name, value in response.getheaders()}
        return Answer(response.status, found, response.read())

    def post(
        self, path: str, body: Any = None, *, data: bytes | None = None, **headers: str
    ) -> Answer:
        """Send JSON, or bytes that may be none."""
        content = data if data is not None else b"" if body is None else json.dumps(body).encode()
        given = {"Content-Type": "application/json", "Content-Length": str(len(content))}
        given |= {name.replace("_", "-"): value for name, value in headers.items()}
        self._connect()
        self.connection.putrequest("POST", path, skip_host="Host" in given)
        for name, value in given.items():
            self.connection.putheader(name, value.encode("latin-1", "replace"))
        self.connection.endheaders(content)
        response = self.connection.getresponse()
        found = {name.lower(): value for name, value in response.getheaders()}
        return Answer(response.status, found, response.read())

    def close(self) -> None:
        self.connection.close()
