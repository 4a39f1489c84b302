"""Where the cells of shared fields lie, and which fields of this interpreter know them.

A cell is known by its id alone. It lies in one store, which is told as a text, its *place*:

* `socket:IDENTITY:PATH`, or `socket:PATH`: the daemon's store behind that socket. The identity is
  that of `Store.remote`: another daemon that listens there by now has another store.
* `token:TOKEN`: an embedded store of this process that somebody made.
* `process:TOKEN`: the store that an interpreter made for fields that were never put.
"""

import os
import threading
from typing import Any, Protocol
from weakref import WeakValueDictionary

from icehouse.native._image import Store
from icehouse.store.errors import StoreClosed, StoreUnavailable

SOCKET = "socket:"
EMBEDDED = "token:"
PROCESS = "process:"
IDENTITY_DIGITS = 32


class Field(Protocol):
    """What the fork handlers need of a field."""

    def _before_fork(self) -> None: ...
    def _after_fork_in_parent(self) -> None: ...
    def _after_fork_in_child(self) -> None: ...


# The fields of this interpreter by their id: a cell has one, wherever it was opened from.
fields: WeakValueDictionary[bytes, Any] = WeakValueDictionary()
# Guards `fields` and the stores below.
lock = threading.RLock()
# Stores by their place: as long as a field of them lives.
_stores: WeakValueDictionary[str, Store] = WeakValueDictionary()
_own: tuple[int, Store] | None = None
# Tokens of stores that interpreters made for fields.
_private: set[str] = set()


class Elsewhere(Exception):
    """A place of another process, machine or time."""


def plain(place: str) -> str:
    """Give a place without the identity of its store."""
    rest = place[len(SOCKET) :]
    if place.startswith(SOCKET) and rest[IDENTITY_DIGITS : IDENTITY_DIGITS + 1] == ":":
        return SOCKET + rest[IDENTITY_DIGITS + 1 :]
    return place


def is_embedded(place: str) -> bool:
    """Whether a place is in the memory of one process."""
    return not place.startswith(SOCKET)


def full(place: str) -> str:
    """Give a place with the identity of its store, which is open."""
    if not place.startswith(SOCKET) or plain(place) != place:
        return place
    remote = store_at(place).remote
    return place if remote is None else f"{SOCKET}{remote.identity}:{place[len(SOCKET) :]}"


def store_at(place: str) -> Store:
    """Open the store of a place.

    Elsewhere where there is none in reach; StoreUnavailable where the daemon does not answer.
    """
    key = plain(place)
    with lock:
        found = _stores.get(key)
        if found is None or found.closed:
            found = _stores[key] = _open(key)
    if key != place and found.remote is not None:
        identity = place[len(SOCKET) : len(SOCKET) + IDENTITY_DIGITS]
        if found.remote.identity != identity:
            raise Elsewhere(f"another store is behind {key[len(SOCKET) :]} by now")
    return found


def _open(place: str) -> Store:
    if place.startswith(SOCKET):
        path = place[len(SOCKET) :]
        try:
            return Store.connect(path)
        except ValueError:
            raise Elsewhere(f"{path!r} is no socket") from None
        except StoreUnavailable:
            if os.path.exists(path):  # noqa: PTH110 - pathlib takes 5 ms to import
                raise
            raise Elsewhere(f"there is no socket {path}") from None
    token = place.partition(":")[2]
    if place.startswith(PROCESS):
        _private.add(token)
    try:
        return Store.attach(token)
    except StoreClosed:
        raise Elsewhere("its store is closed, or in another process") from None


def own_place() -> str:
    """Give the place for fields that were never put: a store that is made at the first need."""
    global _own
    with lock:
        if _own is None or _own[0] != os.getpid():
            _own = (os.getpid(), Store())
            _private.add(_own[1].token)
        place = PROCESS + _own[1].token
        _stores[place] = _own[1]
        return place


def of_somebody(store: str | None) -> str | None:
    """Give the place that C tells of a store, None for one that only fields use."""
    if store is None or (is_embedded(store) and store.partition(":")[2] in _private):
        return None
    return store


def same_store(left: str, right: str) -> bool:
    """Whether two places are one store."""
    if plain(left) == plain(right):
        return True
    if is_embedded(left) or is_embedded(right):
        return False
    try:
        one, other = store_at(left).remote, store_at(right).remote
    except (Elsewhere, StoreUnavailable):
        return False
    return one is not None and other is not None and one.identity == other.identity


def know(field: Any, id_: bytes) -> None:
    """Let a field be found by its id."""
    with lock:
        fields[id_] = field


# --- forks ---------------------------------------------------------------------------------------


def _all() -> list[Field]:
    with lock:
        return list(fields.values())


def _before_fork() -> None:
    # Without the lock: a field may have to find its store.
    for field in _all():
        field._before_fork()  # noqa: SLF001 - it is for this file
    lock.acquire()


def _after_fork_in_parent() -> None:
    for field in _all():
        field._after_fork_in_parent()  # noqa: SLF001 - it is for this file
    lock.release()


def _after_fork_in_child() -> None:
    for field in _all():
        field._after_fork_in_child()  # noqa: SLF001 - it is for this file
    lock.release()


os.register_at_fork(
    before=_before_fork,
    after_in_parent=_after_fork_in_parent,
    after_in_child=_after_fork_in_child,
)
