"""The static files, read once; their address has a digest of all of them and never goes stale."""

import hashlib
from pathlib import Path
from typing import NamedTuple

from fastapi import APIRouter, Request, Response

from icehouse.server.admin.problems import ProblemError

FOLDER = Path(__file__).parent.parent / "static"
TYPES = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}

router = APIRouter(include_in_schema=False)


class Asset(NamedTuple):
    """One file."""

    body: bytes
    media_type: str
    tag: str


def read_all() -> dict[str, Asset]:
    """Read every file that is served; nothing else of the folder is."""
    found = {}
    for path in sorted(FOLDER.iterdir()):
        if path.suffix in TYPES:
            body = path.read_bytes()
            tag = f'"{hashlib.blake2b(body, digest_size=16).hexdigest()}"'
            found[path.name] = Asset(body, TYPES[path.suffix], tag)
    return found


ASSETS = read_all()
# One for all, so that modules import each other by their plain names.
DIGEST = hashlib.blake2b(
    b"".join(name.encode() + asset.tag.encode() for name, asset in ASSETS.items()), digest_size=8
).hexdigest()
UNCHANGING = "public, max-age=31536000, immutable"


def address(name: str) -> str:
    """Give where a file is served; KeyError if there is none."""
    assert ASSETS[name]
    return f"/static/{DIGEST}/{name}"


@router.get("/static/{digest}/{name}")
async def asset(request: Request, digest: str, name: str) -> Response:
    """Serve a file."""
    found = ASSETS.get(name)
    if found is None or digest != DIGEST:
        raise ProblemError("not-found", f"{request.url.path} is not served")
    headers = {"ETag": found.tag, "Cache-Control": UNCHANGING}
    if found.tag in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    return Response(found.body, headers=headers, media_type=found.media_type)
