"""What changes something: POST with a token, which this process hands on and the daemon verifies.

This process has no right of its own to do any of it (server/observers.py).
"""

from typing import Annotated

from fastapi import APIRouter, Body, Depends, Request
from pydantic import BaseModel, ConfigDict, Field

from icehouse.server.admin.link import Link
from icehouse.server.admin.problems import ProblemError, documented
from icehouse.server.admin.routes_api import HandleText, NameText, link_of
from icehouse.server.admin.schemas import Model, text_of
from icehouse.store.handle import Handle
from icehouse.store.wire import messages

TOKEN_CHARACTERS_MAX = 256
VERSION_MAX = 2**64 - 1
TTL_SECONDS_MAX = 2**62 // 10**9

router = APIRouter(
    prefix="/api/v1",
    tags=["actions"],
    responses=documented(
        "invalid-request",
        "token-missing",
        "token-wrong",
        "not-permitted",
        "length-required",
        "body-too-large",
        "wrong-media-type",
        "wrong-host",
        "daemon-unavailable",
    ),
)
GONE = documented("handle-unknown", "conflict", "handle-gone")
UNKNOWN = documented("name-unknown", "conflict")


class Asked(BaseModel):
    """A body: it has no other keys than those that are described."""

    model_config = ConfigDict(extra="forbid")


class DeleteBody(Asked):
    """How to delete."""

    force: bool = Field(default=False, description="with its names")


class ExpireBody(Asked):
    """How long it lives from now on."""

    seconds: float = Field(ge=0, le=TTL_SECONDS_MAX, description="0: for ever", allow_inf_nan=False)


class BindBody(Asked):
    """What to bind a name to."""

    handle: str = Field(pattern="^ih1_[0-7][0-9a-hjkmnp-tv-z]{25}$")
    expected: int | None = Field(
        default=None, ge=0, lt=VERSION_MAX, description="only if it has this version; 0: not bound"
    )


class UnbindBody(Asked):
    """Whether to unbind a name."""

    expected_version: int | None = Field(
        default=None, ge=0, lt=VERSION_MAX, description="only if it has this version"
    )


class RenameBody(UnbindBody):
    """What a name is to be called."""

    to: str = Field(min_length=1, max_length=512)


class ObjectDone(Model):
    """What was done to an image."""

    done: str = Field(description="deleted, pinned, unpinned, expiring, evicted or spilled")
    handle: str


class NameDone(Model):
    """What was done to a name."""

    done: str = Field(description="bound, unbound or renamed")
    name: str = Field(description="as it is called now")
    handle: str | None = None
    version: int


class GcDone(Model):
    """What was given back."""

    done: str = "collected"
    freed: int = Field(description="bytes that went back to the system")
    committed: int = Field(description="bytes that all segments take now")
    waiting: int = Field(description="deleted bytes that producers have not given back")


def token_of(request: Request) -> str:
    """Give the token of a request; ProblemError if there is none."""
    given = request.headers.getlist("authorization")
    scheme, _, token = given[0].partition(" ") if len(given) == 1 else ("", "", "")
    token = token.strip()
    if scheme.lower() != "bearer" or not token:
        raise ProblemError("token-missing", "send `Authorization: Bearer TOKEN`, once")
    if len(token) > TOKEN_CHARACTERS_MAX or not token.isascii():
        raise ProblemError("token-wrong", "this is no token of this daemon")
    return token


Token = Annotated[str, Depends(token_of)]


async def done(link: Link, request: messages.REQUESTS) -> None:
    """Have the daemon do it."""
    await link.ask(request, messages.Done)


# --- images ---


@router.post("/objects/{handle}/delete", responses=GONE)
async def delete(
    request: Request, handle: HandleText, token: Token, body: DeleteBody | None = None
) -> ObjectDone:
    """Delete an image. Who reads it goes on; its memory is free after that."""
    packed = bytes(Handle.from_text(handle))
    force = body is not None and body.force
    await done(link_of(request), messages.Delete(handle=packed, force=force, token=token))
    return ObjectDone(done="deleted", handle=handle)


@router.post("/objects/{handle}/pin", responses=GONE)
async def pin(request: Request, handle: HandleText, token: Token) -> ObjectDone:
    """Keep an image although its producer ends and its time to live passes."""
    packed = bytes(Handle.from_text(handle))
    await done(link_of(request), messages.Pin(handle=packed, token=token))
    return ObjectDone(done="pinned", handle=handle)


@router.post("/objects/{handle}/unpin", responses=GONE)
async def unpin(request: Request, handle: HandleText, token: Token) -> ObjectDone:
    """Pin an image no longer."""
    packed = bytes(Handle.from_text(handle))
    await done(link_of(request), messages.Pin(handle=packed, pinned=False, token=token))
    return ObjectDone(done="unpinned", handle=handle)


@router.post("/objects/{handle}/expire", responses=GONE)
async def expire(
    request: Request, handle: HandleText, token: Token, body: ExpireBody
) -> ObjectDone:
    """Give an image a time to live from now on, or none."""
    packed = bytes(Handle.from_text(handle))
    asked = messages.Expire(handle=packed, ttl_ns=int(body.seconds * 1e9), token=token)
    await done(link_of(request), asked)
    return ObjectDone(done="expiring" if body.seconds else "living", handle=handle)


@router.post("/objects/{handle}/evict", responses=GONE)
async def evict(request: Request, handle: HandleText, token: Token) -> ObjectDone:
    """Let an image go as if memory were short: one that was put as evictable, and nobody reads.

    It is alone in its segment, which goes with it.
    """
    packed = bytes(Handle.from_text(handle))
    await done(link_of(request), messages.Evict(handle=packed, token=token))
    return ObjectDone(done="evicted", handle=handle)


@router.post("/objects/{handle}/spill", responses={**GONE, **documented("store-full")})
async def spill(request: Request, handle: HandleText, token: Token) -> ObjectDone:
    """Move an image that nobody reads to the spill folder; it comes back when it is read.

    Only one that is alone in its segment, since the whole segment moves.
    """
    packed = bytes(Handle.from_text(handle))
    await done(link_of(request), messages.SpillOne(handle=packed, token=token))
    return ObjectDone(done="spilled", handle=handle)


@router.post("/gc")
async def gc(request: Request, token: Token) -> GcDone:
    """Free what is deleted and not read, and give spare segments back to the system."""
    told = await link_of(request).ask(messages.Collect(token=token), messages.Collected)
    return GcDone(freed=told.freed, committed=told.committed, waiting=told.waiting)


# --- names ---


async def versioned(
    request: Request, asked: messages.Bind | messages.Rename, done: str, name: str, handle: bytes
) -> NameDone:
    """Have the daemon change a name."""
    told = await link_of(request).ask(asked, messages.Version)
    text = text_of(handle) if handle else None
    return NameDone(done=done, name=name, handle=text, version=told.version)


@router.post("/names/{name:name}/bind", responses={**GONE, **documented("store-full")})
async def bind(request: Request, name: NameText, token: Token, body: BindBody) -> NameDone:
    """Bind a name to an image."""
    packed = bytes(Handle.from_text(body.handle))
    asked = messages.Bind(name=name, handle=packed, expected=body.expected, token=token)
    return await versioned(request, asked, "bound", name, packed)


@router.post("/names/{name:name}/unbind", responses=UNKNOWN)
async def unbind(
    request: Request, name: NameText, token: Token, body: UnbindBody | None = None
) -> NameDone:
    """Bind a name to nothing."""
    expected = None if body is None else body.expected_version
    asked = messages.Bind(name=name, expected=expected, token=token)
    return await versioned(request, asked, "unbound", name, b"")


@router.post("/names/{name:name}/rename", responses={**UNKNOWN, **documented("store-full")})
async def rename(
    request: Request, name: NameText, token: Token, body: Annotated[RenameBody, Body()]
) -> NameDone:
    """Call a name otherwise, in one step; nothing may be bound to the new one."""
    asked = messages.Rename(name=name, to=body.to, expected=body.expected_version, token=token)
    return await versioned(request, asked, "renamed", body.to, b"")
