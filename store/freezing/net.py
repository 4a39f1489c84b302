"""UUID and the six types of ipaddress.

Payloads of IP: (kind, packed bytes) of an address, (kind, packed bytes, length of the prefix) of a
network or an interface; (kind, text) where there is an IPv6 scope. Kinds are places in _KINDS.
"""

from typing import Any

from icehouse.store.freezing import codes, subclasses
from icehouse.store.freezing.trust import Trust

_KINDS = (
    "IPv4Address",
    "IPv6Address",
    "IPv4Network",
    "IPv6Network",
    "IPv4Interface",
    "IPv6Interface",
)


# --- UUID ----------------------------------------------------------------------------------------


def rule_of_uuid(cls: type, base: type) -> tuple[Any, ...] | str | None:
    """Store a UUID by its 16 bytes, and by `is_safe` where the system said something about it."""
    import uuid

    if base is not uuid.UUID:
        return None
    if cls is base:
        return ("value", codes.UUID, _uuid_payload)
    return subclasses.rule(cls, base, _plain_uuid)


def _uuid_payload(obj: Any) -> Any:
    packed: bytes = obj.int.to_bytes(16)
    safe = obj.is_safe.name
    return packed if safe == "unknown" else (packed, safe)


def open_uuid(payload: Any, trust: Trust) -> Any:
    """Open a UUID."""
    del trust
    import uuid

    if type(payload) is bytes:
        return uuid.UUID(bytes=payload)
    packed, safe = payload
    if type(packed) is not bytes:
        raise ValueError("a UUID is stored as bytes")
    return uuid.UUID(bytes=packed, is_safe=uuid.SafeUUID[safe])


def _plain_uuid(obj: Any) -> Any:
    import uuid

    slots: Any = uuid.UUID
    return uuid.UUID(int=slots.int.__get__(obj), is_safe=slots.is_safe.__get__(obj))


# --- ipaddress -----------------------------------------------------------------------------------


def rule(cls: type, base: type) -> tuple[Any, ...] | str | None:
    """Addresses, networks and interfaces."""
    import ipaddress

    kind = _KINDS.index(base.__name__) if base.__name__ in _KINDS else -1
    if kind < 0 or getattr(ipaddress, base.__name__) is not base:
        return None
    if cls is not base:
        return subclasses.rule(cls, base, lambda obj: _make_ip(_ip_payload(obj, kind)))

    def payload(obj: Any) -> Any:
        return _ip_payload(obj, kind)

    return ("value", codes.IP, payload)


def _ip_payload(obj: Any, kind: int) -> Any:
    import ipaddress

    # What the type itself says, whatever a subclass made of the names.
    cls: Any = getattr(ipaddress, _KINDS[kind])
    if kind in (2, 3):
        base = obj.network_address
        if getattr(base, "scope_id", None) is not None:
            return kind, cls.__str__(obj)
        return kind, base.packed, obj.prefixlen
    if getattr(obj, "scope_id", None) is not None:
        return kind, cls.__str__(obj)
    if kind in (4, 5):
        return kind, cls.packed.__get__(obj), obj.network.prefixlen
    return kind, cls.packed.__get__(obj)


def _make_ip(payload: Any) -> Any:
    import ipaddress

    if type(payload[0]) is not int or not 0 <= payload[0] < len(_KINDS):
        raise ValueError("there is no such kind of address")
    cls: Any = getattr(ipaddress, _KINDS[payload[0]])
    if len(payload) == 3:
        packed, length = payload[1:]
        if type(packed) is not bytes or type(length) is not int:
            raise ValueError("a network is stored as bytes and the length of its prefix")
        return cls((packed, length))
    if type(payload[1]) not in (str, bytes):
        raise ValueError("an address is stored as bytes or text")
    return cls(payload[1])


def open_ip(payload: Any, trust: Trust) -> Any:
    """Open an address, a network or an interface."""
    del trust
    return _make_ip(payload)
