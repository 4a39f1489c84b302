"""What stands before every route: which hosts are served, and the headers that all responses have.

A page of the internet can have a browser on this machine ask 127.0.0.1, under a name of its own
that it points there; its Host header gives it away.
"""

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from icehouse.server.admin import problems

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self';"
    " img-src 'self' data:; frame-ancestors 'none'; base-uri 'none'; form-action 'self'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
HOSTS = frozenset({"localhost", "127.0.0.1", "[::1]"})


def name_of(host: str) -> str:
    """Give the name of a Host header, without its port; "" if it is none."""
    name, bracket, rest = host.lower().partition("]")
    if bracket:
        name += bracket
    else:
        name, colon, rest = host.lower().partition(":")
        rest = colon + rest
    is_port = not rest or (rest[0] == ":" and rest[1:].isdecimal() and len(rest) <= 6)
    return name if is_port else ""


class Guard:
    """Middleware; the outermost."""

    def __init__(self, app: ASGIApp, hosts: frozenset[str] = HOSTS) -> None:
        self._app = app
        self._hosts = hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        is_head = scope["method"] == "HEAD"

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            elif is_head and message["type"] == "http.response.body":
                message = {**message, "body": b""}
            await send(message)

        hosts = Headers(scope=scope).getlist("host")
        if len(hosts) != 1 or name_of(hosts[0]) not in self._hosts:
            shown = ", ".join(sorted(self._hosts))
            refusal = problems.response("wrong-host", f"the Host header must be one of {shown}")
            await refusal(scope, receive, guarded)
            return
        if is_head:
            # As GET, without the body.
            scope = {**scope, "method": "GET"}
        await self._app(scope, receive, guarded)
