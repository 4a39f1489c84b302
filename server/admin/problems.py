"""Errors as application/problem+json (RFC 9457), each with a type that stays."""

from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse

from icehouse.server.admin.link import AwayError, RefusedError

PREFIX = "urn:icehouse:problem:"
MEDIA_TYPE = "application/problem+json"

# Title and status of each type; docs/admin.md has the list.
KINDS: dict[str, tuple[int, str]] = {
    "invalid-request": (400, "The request can't be understood"),
    "token-missing": (401, "This needs a token"),
    "token-wrong": (401, "This token is not known"),
    "not-permitted": (403, "The daemon does not allow this"),
    "cross-site": (403, "Another site may not do this"),
    "not-found": (404, "There is nothing here"),
    "handle-unknown": (404, "No image has this handle"),
    "client-unknown": (404, "No process has this session"),
    "segment-unknown": (404, "There is no such segment"),
    "name-unknown": (404, "The name was never bound"),
    "path-unknown": (404, "The image has nothing there"),
    "method-not-allowed": (405, "This can't be done here"),
    "conflict": (409, "It is not as it was expected to be"),
    "handle-gone": (410, "The image is gone"),
    "length-required": (411, "The length of the body is not said"),
    "body-too-large": (413, "The body is too large"),
    "wrong-media-type": (415, "The body is not JSON"),
    "corrupt-image": (422, "The image is damaged"),
    "wrong-host": (421, "This host is not served here"),
    "internal": (500, "The admin process failed"),
    "too-slow": (503, "Reading it takes too long"),
    "daemon-unavailable": (503, "The daemon does not answer"),
    "too-many-streams": (503, "Too many follow the events"),
    "store-full": (507, "There is no room"),
}


class Problem(BaseModel):
    """What every error has; further members tell more."""

    type: str = Field(description="stays the same for one kind of problem", examples=[PREFIX])
    title: str
    status: int
    detail: str


class ProblemError(Exception):
    """Ends a request with a problem."""

    def __init__(self, kind: str, detail: str, **more: Any) -> None:
        super().__init__(detail)
        self.kind = kind
        self.detail = detail
        self.more = more


def response(
    kind: str, detail: str, *, headers: Mapping[str, str] | None = None, **more: Any
) -> JSONResponse:
    """Make the response of a problem."""
    status, title = KINDS[kind]
    content = {"type": PREFIX + kind, "title": title, "status": status, "detail": detail, **more}
    given = {"Cache-Control": "no-store", **HEADERS.get(kind, {}), **(headers or {})}
    return JSONResponse(content, status, given, MEDIA_TYPE)


def documented(*kinds: str) -> dict[int | str, dict[str, Any]]:
    """Describe problems for OpenAPI."""
    by_status: dict[int | str, dict[str, Any]] = {}
    for kind in kinds:
        status, title = KINDS[kind]
        # Described by its media type: FastAPI would say application/json for a model.
        by_status[status] = {
            "description": title,
            "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
        }
    return by_status


TOKEN_KINDS = {"token": "token-wrong", "role": "not-permitted"}
HEADERS = {
    "token-missing": {"WWW-Authenticate": 'Bearer realm="icehouse"'},
    "token-wrong": {"WWW-Authenticate": 'Bearer realm="icehouse", error="invalid_token"'},
    "too-many-streams": {"Retry-After": "10"},
}


def of_refusal(error: RefusedError) -> ProblemError:
    """Translate what the daemon said."""
    failure = error.failure
    if failure.code == "gone":
        known = failure.why not in ("", "unknown")
        kind = "handle-gone" if known else "handle-unknown"
        return ProblemError(kind, failure.text, reason=failure.why or "unknown")
    if failure.code == "denied":
        return ProblemError(TOKEN_KINDS.get(failure.why, "not-permitted"), failure.text)
    if failure.code == "conflict":
        more = {} if failure.version is None else {"version": failure.version}
        return ProblemError("conflict", failure.text, **more)
    if failure.code == "unknown":
        return ProblemError("name-unknown", failure.text)
    if failure.code in ("full", "memory"):
        return ProblemError("store-full", failure.text, figures=failure.figures)
    if failure.code == "invalid":
        return ProblemError("invalid-request", failure.text)
    return ProblemError("daemon-unavailable", failure.text)


async def _problem(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, ProblemError)
    return response(error.kind, error.detail, **error.more)


async def _refused(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RefusedError)
    return await _problem(request, of_refusal(error))


async def _away(_request: Request, error: Exception) -> JSONResponse:
    return response("daemon-unavailable", str(error), headers={"Retry-After": "1"})


async def _http(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    if error.status_code == 405:
        allowed = (error.headers or {}).get("Allow", "GET")
        allowed = "GET, HEAD" if allowed == "GET" else allowed
        detail = f"{request.method} is not possible; {allowed} can be"
        return response("method-not-allowed", detail, headers={"Allow": allowed})
    if error.status_code == 404:
        return response("not-found", f"{request.url.path} is not served; see /openapi.json")
    return response("invalid-request", str(error.detail))


async def _invalid(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    errors = [
        {"parameter": ".".join(str(part) for part in found["loc"][1:]), "message": found["msg"]}
        for found in error.errors()
    ]
    detail = "; ".join(f"{found['parameter']}: {found['message']}" for found in errors)
    return response("invalid-request", detail, errors=errors)


async def _internal(_request: Request, _error: Exception) -> JSONResponse:
    return response("internal", "the log of the admin process says more")


def install(app: FastAPI) -> None:
    """Have every error of the app told as a problem."""
    app.add_exception_handler(ProblemError, _problem)
    app.add_exception_handler(RefusedError, _refused)
    app.add_exception_handler(AwayError, _away)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(Exception, _internal)


def describe(app: FastAPI) -> None:
    """Have OpenAPI know what a problem is."""
    usual = app.openapi

    def openapi() -> dict[str, Any]:
        document = usual()
        schemas = document.setdefault("components", {}).setdefault("schemas", {})
        schemas.setdefault("Problem", Problem.model_json_schema())
        for path in document["paths"].values():
            for operation in path.values():
                # FastAPI's own idea of a wrong parameter: ours is 400 and a problem.
                if MEDIA_TYPE not in operation["responses"].get("422", {}).get("content", ()):
                    operation["responses"].pop("422", None)
        return document

    app.openapi = openapi  # type: ignore[method-assign]
