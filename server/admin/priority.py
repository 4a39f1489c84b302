"""Has the admin process give way, so that whoever puts and gets does not wait for who looks.

Niceness is not enough. Where the kernel groups processes by session it counts within a session
only (sched(7), "The autogroup feature"), so the process gets a session of its own, which is as
nice. And whoever is due keeps the processor for a slice of some 3 ms, however nice it is: a worker
that wakes up for a few ms of work would lose half of its time. Since Linux 6.12 a process may ask
for a shorter slice (sched_setattr(2), `sched_runtime` of SCHED_OTHER); before, this is ignored.
"""

import contextlib
import ctypes
import os
import struct
from pathlib import Path

# The shortest that the kernel grants.
SLICE_NANOSECONDS = 100_000
SCHED_SETATTR = {"x86_64": 314, "aarch64": 274}
# struct sched_attr: size, policy, flags, nice, priority, runtime, deadline, period.
ATTRIBUTES = struct.Struct("IIQiIQQQ")


def give_way(nice: int) -> None:
    """Be as nice as this to all others, 0 to 19, as far as this process may.

    Call it before there are other threads: it is they that have a priority, and new ones inherit.
    """
    if nice == 0:
        return
    with contextlib.suppress(OSError):
        os.setsid()
        Path("/proc/self/autogroup").write_text(str(nice))
    with contextlib.suppress(OSError):
        os.nice(nice)
    number = SCHED_SETATTR.get(os.uname().machine)
    if number is not None and os.sched_getscheduler(0) == os.SCHED_OTHER:
        # Refused by a kernel or a sandbox that does not know it: then slices stay as they are.
        nice = os.getpriority(os.PRIO_PROCESS, 0)
        wanted = ATTRIBUTES.pack(
            ATTRIBUTES.size, os.SCHED_OTHER, 0, nice, 0, SLICE_NANOSECONDS, 0, 0
        )
        ctypes.CDLL(None).syscall(ctypes.c_long(number), 0, wanted, 0)
