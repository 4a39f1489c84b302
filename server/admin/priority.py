"""Has the admin process give way, so that whoever puts and gets does not wait for who looks.

Niceness is not enough. Where the kernel groups processes by session it counts within a session
only (sched(7), "The autogroup feature"), so the process gets a session of its own, which is as
nice. And whoever is due keeps the processor for a slice of some 3 ms, however nice it is: a worker
that wakes up for a few ms of work would lose half of its time. Since Linux 6.12 a process may ask
for a shorter slice (sched_setattr(2), `sched_runtime` of SCHED_OTHER); before, this is ignored.
"""

import contextlib
import os
import struct
import time
from pathlib import Path

# The shortest that the kernel grants.
SLICE_NANOSECONDS = 100_000
SCHED_SETATTR = {"x86_64": 314, "aarch64": 274}
# struct sched_attr: size, policy, flags, nice, priority, runtime, deadline, period.
ATTRIBUTES = struct.Struct("IIQiIQQQ")
# The kernel takes ten changes of groups a second, of all its users together.
ATTEMPTS, ATTEMPT_SECONDS = 10, 0.1


def give_way(nice: int) -> None:
    """Give way by so much, 0 to 19, and as far as this process may; never raises.

    It is added to the niceness that the process has, and is that of its session. Call it before
    there are other threads: it is they that have a priority, and new ones inherit.
    """
    if nice == 0:
        return
    with contextlib.suppress(OSError):
        os.setsid()
        be_a_nice_session(nice)
    with contextlib.suppress(OSError):
        os.nice(nice)
    # Some ctypes needs writable code, which a hardened service may not have.
    with contextlib.suppress(OSError, ImportError, AttributeError, MemoryError):
        take_short_slices()


def be_a_nice_session(nice: int) -> None:
    """Have the kernel compare this session with others so; OSError."""
    for attempt in range(ATTEMPTS):
        try:
            Path("/proc/self/autogroup").write_text(str(nice))
        except BlockingIOError:
            if attempt + 1 == ATTEMPTS:
                raise
            time.sleep(ATTEMPT_SECONDS)
        else:
            return


def take_short_slices() -> None:
    """Ask for the shortest slices; a kernel or sandbox that does not know of them refuses."""
    import ctypes

    number = SCHED_SETATTR.get(os.uname().machine)
    if number is None or os.sched_getscheduler(0) != os.SCHED_OTHER:
        return
    nice = os.getpriority(os.PRIO_PROCESS, 0)
    wanted = ATTRIBUTES.pack(ATTRIBUTES.size, os.SCHED_OTHER, 0, nice, 0, SLICE_NANOSECONDS, 0, 0)
    ctypes.CDLL(None).syscall(ctypes.c_long(number), 0, wanted, 0)
