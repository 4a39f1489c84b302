"""Whose bytes have come: an epoll of the daemon's own for its connections, inside the loop's.

asyncio takes longer over an event than the daemon over a request. So while requests come they are
served from here, one look after the other, and the loop has its turn whenever it has something to
do (leave()), and every TURN_SECONDS.

Waking a processor that sleeps takes as long as serving a request, too. So when requests have just
been served we look for more for a moment before we sleep, offering the processor to others between
two looks. Where nothing came several times in a row this is left undone ever longer, so that it
costs no more than a few per cent of what serving does; and for very long where others took the
processor when it was offered: then none sleeps, and who waits in epoll is the first to have one.
Where there is one processor only it is never done.
"""

import asyncio
import os
import select
import time
from collections.abc import Callable

BATCH = 64
TURN_SECONDS = 200e-6
SPIN_SECONDS = 50e-6
# Offering an idle processor takes a tenth of this at most.
TAKEN_SECONDS = 8e-6
# Exponents: how often looking on is left undone at most.
VAIN_MAX = 6
TAKEN_MAX = 10

Events = list[tuple[int, int]]


class Readers:
    """Calls back whenever something can be read, until it is told otherwise."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self._epoll = select.epoll()
        self._callbacks: dict[int, Callable[[], None]] = {}
        self._left = False
        self._next: asyncio.Handle | None = None
        self._spins = len(os.sched_getaffinity(0)) > 1
        self._misses = 0
        self._rest = 0
        loop.add_reader(self._epoll.fileno(), self._serve)

    def add(self, fd: int, callback: Callable[[], None]) -> None:
        """Call back when the descriptor can be read."""
        self._callbacks[fd] = callback
        self._epoll.register(fd, select.EPOLLIN)

    def remove(self, fd: int) -> None:
        """No longer call back; before the descriptor is closed."""
        del self._callbacks[fd]
        self._epoll.unregister(fd)

    def leave(self) -> None:
        """Let the loop have its turn now: it has something to do."""
        self._left = True

    def close(self) -> None:
        """Look no more."""
        if self._next is not None:
            self._next.cancel()
        self.loop.remove_reader(self._epoll.fileno())
        self._epoll.close()

    def _serve(self) -> None:
        """Serve for one turn."""
        if self._next is not None:
            self._next.cancel()
            self._next = None
        poll, clock, callbacks = self._epoll.poll, time.perf_counter, self._callbacks
        self._left = False
        end = clock() + TURN_SECONDS
        while events := poll(0, BATCH) or self._look_on():
            for fd, _ in events:
                # One that an earlier one of the batch has closed is not there any more.
                callback = callbacks.get(fd)
                if callback is not None:
                    callback()
            if self._left or clock() >= end:
                # Not asleep between two turns.
                self._next = self.loop.call_soon(self._serve)
                return

    def _look_on(self) -> Events:
        """Look for a moment whether more comes."""
        if self._rest:
            self._rest -= 1
            return []
        if not self._spins:
            return []
        poll, clock = self._epoll.poll, time.perf_counter
        offered = clock()
        until = offered + SPIN_SECONDS
        while True:
            os.sched_yield()
            taken = clock() - offered > TAKEN_SECONDS
            events = poll(0, BATCH)
            offered = clock()
            if events or taken or offered >= until:
                break
        if events and not taken:
            self._misses = 0
        elif self._misses < (TAKEN_MAX if taken else VAIN_MAX):
            self._misses += 1
        self._rest = (1 << self._misses) - 1
        return events
