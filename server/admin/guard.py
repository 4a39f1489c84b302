"""What stands before every route: which hosts are served, and the headers that all responses have.

Who would change something must come from this very place: a page of another origin says so in
Origin or Sec-Fetch-Site, which no page can forge, and can't send JSON without being asked first.

A page of the internet can have a browser on this machine ask 127.0.0.1, under a name of its own
that it points there; its Host header gives it away.
"""

from urllib.parse import unquote_to_bytes

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


def is_path(raw: bytes) -> bool:
    """Whether a path is text: one that is none would be taken for that of another name."""
    try:
        unquote_to_bytes(raw).decode()
    except UnicodeDecodeError:
        return False
    return True


SAFE = frozenset({"GET", "HEAD"})
BODY_BYTES_MAX = 64 * 1024


def refusal_of(headers: Headers) -> tuple[str, str] | None:
    """Say what is wrong with a request that would change something: a problem and its detail."""
    site = headers.getlist("sec-fetch-site")
    if any(value not in ("same-origin", "none") for value in site):
        return "cross-site", "Sec-Fetch-Site must be same-origin"
    own = {f"{scheme}://{headers['host'].lower()}" for scheme in ("http", "https")}
    if any(value.lower() not in own for value in headers.getlist("origin")):
        return "cross-site", "Origin must be that of this server"
    if headers.get("transfer-encoding"):
        return "length-required", "send the body with a Content-Length"
    length = headers.get("content-length", "0")
    if not length.isdecimal() or len(length) > 12:
        return "invalid-request", "Content-Length: not a number"
    if int(length) > BODY_BYTES_MAX:
        return "body-too-large", f"a body may have {BODY_BYTES_MAX} bytes"
    media = headers.get("content-type", "").partition(";")[0].strip().lower()
    if (int(length) or media) and media != "application/json":
        return "wrong-media-type", "Content-Type must be application/json"
    return None


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

        given = Headers(scope=scope)
        hosts = given.getlist("host")
        if len(hosts) != 1 or name_of(hosts[0]) not in self._hosts:
            shown = ", ".join(sorted(self._hosts))
            refusal = problems.response("wrong-host", f"the Host header must be one of {shown}")
            await refusal(scope, receive, guarded)
            return
        wrong = refusal_of(given) if scope["method"] not in SAFE else None
        if not is_path(scope["raw_path"]):
            wrong = "invalid-request", "a path must be UTF-8"
        if wrong is not None:
            await problems.response(*wrong)(scope, receive, guarded)
            return
        if is_head:
            # As GET, without the body.
            scope = {**scope, "method": "GET", "is_head": True}
        await self._app(scope, receive, guarded)
