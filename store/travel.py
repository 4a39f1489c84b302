"""Views through multiprocessing: by reference where that can be, else by value.

Imported with the first view that is pickled after multiprocessing was imported; from then on its
picklers (queues, pipes, pools, arguments of processes, concurrent.futures) find the rules here.
Every other pickler takes views by value: what it writes may be kept or go anywhere.

By value goes also: a slice, which is no place in an image; what has no descriptor to show, because
too many segments have one (an eighth of RLIMIT_NOFILE); a view in an interpreter that is not the
main one. And from a process that multiprocessing has started, since such a process often ends
before its results are read: up to SMALL what lies in a store of its own; everything that its queues
pickle when its work is done. Else it waits LINGER, when it ends, for receivers of what it has sent.
"""

import atexit
import contextlib
import os
import sys
import threading
from typing import Any

from icehouse.native import _image
from icehouse.native._image import (
    FrozenArray,
    FrozenBytes,
    FrozenDict,
    FrozenList,
    FrozenSet,
    FrozenTuple,
    Handle,
    HandleGone,
    Store,
    _admit,
    _by_value,
    _has_segment,
    _is_member,
    _passport,
    _receive,
    _reopen,
    _segments,
)
from icehouse.store import couriers

SMALL = 1 << 20  # bytes of an image
LINGER = 10.0  # seconds that a worker that ends waits for receivers of what it has sent

# Whether the sender is known to hold what is to be opened.
_UNSURE, _HELD = False, True
_TYPES = (FrozenArray, FrozenBytes, FrozenDict, FrozenList, FrozenSet, FrozenTuple)
_registered: list[bool] = []  # not empty: with multiprocessing
_lock = threading.Lock()
_office: couriers.Office | None = None
_lines = couriers.Lines()


def _get_office() -> couriers.Office:
    global _office
    with _lock:
        if _office is None:
            _office = couriers.Office()
            if _is_worker():
                threading.Thread(target=_linger, args=(_office,), daemon=False).start()
        return _office


def _is_worker() -> bool:
    process = sys.modules.get("multiprocessing.process")
    return process is not None and process.parent_process() is not None


def _is_ending() -> bool:
    """Whether this is a worker whose work is done: what its queues pickle now, nobody waits for."""
    util = sys.modules.get("multiprocessing.util")
    exiting = util is not None and getattr(util, "_exiting", False)
    return _is_worker() and (exiting or not threading.main_thread().is_alive())


def _linger(office: couriers.Office) -> None:
    """Wait until the main thread has ended, then a while for what was sent: it ends with us.

    A thread that is no daemon is waited for in every way that a worker ends but by a signal.
    """
    threading.main_thread().join()
    office.wait(LINGER)


# --- sending ------------------------------------------------------------------------------------


def reduce(view: Any) -> Any:
    """Reduce a view for a pickler of multiprocessing."""
    passport = _passport(view)
    if passport is None:
        return _by_value(view)
    first, _, _, size, owned = passport
    if isinstance(first, str):
        return _reduce_connected(view, passport)
    if (owned and size <= SMALL and _is_worker()) or _is_ending():
        return _by_value(view)
    segments = _segments(view)
    if segments is None:
        return _by_value(view)
    store, handle, word, _, _ = passport
    office = _get_office()
    ticket = office.send(view)
    if _is_ending():
        office.take(ticket)
        return _by_value(view)
    place = (store, bytes(handle), word, segments)
    return _arrive, (office.address, ticket, place, os.getpid())


def _reduce_connected(view: Any, passport: tuple[Any, ...]) -> Any:
    socket, identity, handle, word, fleeting = passport
    # What was put stays when this process ends; what was only frozen goes with it.
    if fleeting and _is_ending():
        return _by_value(view)
    office = _get_office()
    ticket = office.send(view)
    return _arrive_connected, (office.address, ticket, socket, identity, bytes(handle), word)


def by_reduce_ex(view: Any) -> Any:
    """Reduce a view for a pickler that knows no rule, if it is one of multiprocessing; else None.

    Such a pickler takes its rules along when it is made: before the first view registered them.
    """
    from multiprocessing.reduction import ForkingPickler, dump

    if not _registered:
        for each in _TYPES:
            ForkingPickler.register(each, reduce)
        _registered.append(True)
    # It runs in C, so the frame above the hook's is the one that called it: one of the two places
    # where multiprocessing does.
    caller = sys._getframe(2).f_code  # noqa: SLF001 - documented, but for its name
    dumps: Any = ForkingPickler.dumps
    if caller is dumps.__func__.__code__ or caller is dump.__code__:
        return reduce(view)
    return None


# The identity of a store, a handle's bytes, the word of a node, the segments that it leads to.
_Place = tuple[bytes, bytes, int, tuple[int, ...]]

# --- receiving ----------------------------------------------------------------------------------


def _gone(pid: int, error: BaseException) -> HandleGone:
    return HandleGone(
        f"a view was sent by process {pid}, which has ended or can't be reached ({error}): the"
        " store went with it; keep the sender until its views were received, send"
        " icehouse.thaw(view), or put into a store of icehouse.connect()"
    )


def _arrive(address: str, ticket: int, place: _Place, pid: int) -> Any:
    """Open a view of an embedded store that was sent."""
    store, handle, word, _ = place
    office = _office
    if office is not None and office.address == address:
        kept = office.take(ticket)
        return _receive(store, handle, word, kept is not None)
    try:
        with _lines.to(address) as line:
            line.claim(ticket)
            try:
                return _open(line, ticket, place)
            finally:
                # Where it can't be said any more the ticket goes with the connection.
                with contextlib.suppress(OSError):
                    line.done(ticket)
    except OSError as error:
        # What was sent before may be here still.
        view = _receive(store, handle, word, _UNSURE)
        if view is NotImplemented:
            raise _gone(pid, error) from None
        return view


def _open(line: couriers.Line, ticket: int, place: _Place) -> Any:
    store, handle, word, segments = place
    for segment in segments:
        if not _has_segment(store, segment):
            _fetch(line, store, segment)
    try:
        view = _receive(store, handle, word, _UNSURE)
    except HandleGone:
        # Deleted on the way: the sender's view still counts, and this is the same one.
        if not line.is_held(ticket):
            raise
        view = _receive(store, handle, word, _HELD)
    return view


def _fetch(line: couriers.Line, store: bytes, segment: int) -> None:
    try:
        visit, files = line.fetch(store, segment, join=False)
        member = False
        try:
            member = _is_member(visit)
        finally:
            if not member:
                for file in files:
                    if file >= 0:
                        os.close(file)
        if not member:
            visit, files = line.fetch(store, segment, join=True)
    except LookupError as error:
        raise HandleGone(f"a view was sent whose segment its sender can't show: {error}") from None
    _admit(visit, files)


_connections: dict[tuple[str, str], Store] = {}


def _arrive_connected(
    address: str, ticket: int, socket: str, identity: str, handle: bytes, word: int
) -> Any:
    """Open a view of a daemon's store that was sent."""
    try:
        _connection(socket, identity)
        return _reopen(Handle(handle), word)
    finally:
        if _office is not None and _office.address == address:
            _office.take(ticket)
        else:
            with contextlib.suppress(OSError), _lines.to(address) as line:
                line.done(ticket)


def _connection(socket: str, identity: str) -> Store:
    with _lock:
        store = _connections.get((socket, identity))
        if store is None or store.closed:
            store = Store.connect(socket)
            found = store.remote
            if found is None or found.identity != identity:
                raise _image.HandleGone(
                    f"a view was sent of another store than the one behind {socket} now"
                )
            _connections[socket, identity] = store
        return store


# --- forks --------------------------------------------------------------------------------------


def _after_fork() -> None:
    global _office, _lines, _lock
    _lock = threading.Lock()
    office, lines = _office, _lines
    _office, _lines = None, couriers.Lines()
    lines.abandon()
    if office is not None:
        office.abandon()


def _at_exit() -> None:
    _lines.close()


os.register_at_fork(after_in_child=_after_fork)
atexit.register(_at_exit)
