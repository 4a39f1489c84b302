"""Refusals of the daemon as the exceptions that the extension raises for the same."""

from icehouse.store.errors import (
    Conflict,
    CorruptImage,
    HandleGone,
    NotPermitted,
    ProtocolError,
    StoreClosed,
    StoreFull,
    StoreUnavailable,
    UnknownName,
)
from icehouse.store.wire.messages import Failure

__all__ = ["to_exception"]

KINDS: dict[str, type[Exception]] = {
    "full": StoreFull,
    "memory": StoreFull,
    "system": StoreUnavailable,
    "gone": HandleGone,
    "unknown": UnknownName,
    "conflict": Conflict,
    "corrupt": CorruptImage,
    "invalid": ValueError,
    "closed": StoreClosed,
    "unavailable": StoreUnavailable,
    "denied": NotPermitted,
    "protocol": ProtocolError,
}
REMEDIES = {
    "deleted": "put the object again, or get it by its name",
    "expired": "put the object again",
    "evicted": "make it again",
    "orphaned": "name or pin what shall outlive its producer",
    "unknown": "put the object again, or get it by its name",
}


def to_exception(failure: Failure, attempt: str, socket: str) -> Exception:
    """Make the exception of a refusal; `attempt` says what was asked, with its subject."""
    kind = KINDS.get(failure.code, ProtocolError)
    text = f"{attempt}: {failure.text}"
    if kind is HandleGone:
        text += f"; {REMEDIES.get(failure.why, REMEDIES['unknown'])}"
    error = kind(text)
    if isinstance(error, HandleGone):
        error.reason = failure.why or "unknown"
    elif isinstance(error, Conflict):
        error.version = failure.version
    elif isinstance(error, StoreUnavailable):
        error.socket = socket
    elif isinstance(error, StoreFull):
        for name in ("wanted", "capacity", "used", "committed", "largest_free", "limit", "waiting"):
            setattr(error, name, failure.figures.get(name, 0))
        error.waiting_pid = failure.figures.get("waiting_pid") or None
    return error
