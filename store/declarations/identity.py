"""Which frozen declarations are here, by their ids: opening one twice gives the same object."""

import os
import threading
from typing import Any
from weakref import WeakValueDictionary

# Collecting garbage inside may run code that opens functions.
_lock = threading.RLock()
# Those of images that are our own, and those of others, whose ids say nothing of ours (H21).
_known: tuple[WeakValueDictionary[bytes, Any], ...] = (WeakValueDictionary(), WeakValueDictionary())


def _renew() -> None:
    """Forget the lock of a thread that a forked child does not have."""
    global _lock
    _lock = threading.RLock()


os.register_at_fork(after_in_child=_renew)


def find(own: bool, id_: bytes) -> Any:
    """Find what has an id; None where it is not here."""
    return _known[own].get(id_)


def remember(own: bool, id_: bytes, made: Any) -> Any:
    """Keep what has an id for as long as it lives; what another thread was quicker to keep."""
    with _lock:
        there = _known[own].get(id_)
        if there is None:
            there = _known[own][id_] = made
        return there


def forget(id_: bytes) -> None:
    """Take back what was kept of our own: it is not frozen after all."""
    with _lock:
        _known[True].pop(id_, None)
