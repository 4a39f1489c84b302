"""A process that ends in order says so: the daemon takes all others for killed or crashed.

`atexit` is enough but for forked workers of multiprocessing, which end by os._exit() and run
finalizers of multiprocessing's own before.
"""

import atexit
import os
import sys
from typing import Any

from icehouse.native._image import _leave

_handed_on = False


def _promise(util: Any) -> None:
    util.Finalize(None, _leave, exitpriority=0)


def _hand_on() -> None:
    """Have workers promise: each forgets what its parent did, and runs these first of all."""
    global _handed_on
    util = sys.modules.get("multiprocessing.util")
    if util is not None and not _handed_on:
        _handed_on = True
        util.register_after_fork(util, _promise)


atexit.register(_leave)
# A worker that is forked may have this module from its parent, or import it before it begins.
os.register_at_fork(after_in_child=_hand_on)
_hand_on()
