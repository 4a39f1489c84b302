"""Forked workers of multiprocessing that end in order say so: the daemon takes others for killed.

Python does it for all processes that it ends itself. These end by os._exit(), after finalizers of
multiprocessing's own.
"""

import os
import sys

from icehouse.native._image import _leave

_handed_on = False


def _promise(_: object = None) -> None:
    # Whoever is importing multiprocessing just now, in another thread, is no worker.
    finalize = getattr(sys.modules.get("multiprocessing.util"), "Finalize", None)
    if finalize is not None:
        finalize(None, _leave, exitpriority=0)


def _hand_on() -> None:
    """Have workers promise: each forgets what its parent did, and runs these first of all."""
    global _handed_on
    util = sys.modules.get("multiprocessing.util")
    register = getattr(util, "register_after_fork", None)
    if register is not None and not _handed_on:
        register(util, _promise)
        _handed_on = True


def register() -> None:
    """Have this process and its workers say so. Once an interpreter; O(1)."""
    # A worker that is forked has this from its parent, or does it itself, before or in its work.
    os.register_at_fork(after_in_child=_hand_on)
    _hand_on()
    _promise()
