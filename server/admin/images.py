"""The admin process as a reader of the store: images opened for one request at a time.

It is a client like any other, by the binary family, and maps segments through the read-only
descriptors that the daemon gives. What is read is read in a few threads, each request in a bounded
time, so that neither a huge image nor a damaged one keeps the event loop from its work. A request
holds a lease of what it reads and no longer; after a few idle seconds the connection is closed, and
with it go all mappings: browsing keeps no memory of the store alive.
"""

import asyncio
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from icehouse.server.admin.link import AwayError
from icehouse.server.admin.problems import ProblemError
from icehouse.store.embedded import Store
from icehouse.store.errors import (
    CorruptImage,
    HandleGone,
    NotPermitted,
    ProtocolError,
    StoreClosed,
    StoreUnavailable,
)
from icehouse.store.handle import Handle
from icehouse.store.showing.raw import Raw, open_raw
from icehouse.store.showing.tree import TooSlowError, WayError

__all__ = ["Images"]

THREADS = 2
# Requests that may wait for a thread.
WAITING_MAX = 32
# For reading, which looks at the clock; and for the answer to a request, whatever happens.
READ_SECONDS = 2.0
ANSWER_SECONDS = 5.0
IDLE_SECONDS = 5.0

Result = TypeVar("Result")


class Images:
    """Opens images of the daemon at a socket. Its methods belong to one event loop."""

    def __init__(self, socket: str) -> None:
        self._socket = socket
        self._threads: ThreadPoolExecutor | None = None
        self._pending = 0
        self._idle: asyncio.TimerHandle | None = None
        # The rest belongs to the threads.
        self._lock = threading.Lock()
        self._store: Store | None = None

    async def read(self, handle: str, look: Callable[[Raw, float], Result]) -> Result:
        """Open an image and have a thread look at it; `look` gets the time to be done by.

        ProblemError, which says what is wrong with the image or the path; AwayError without a
        daemon.
        """
        if self._pending >= THREADS + WAITING_MAX:
            raise busy("too many images are being read")
        if self._threads is None:
            self._threads = ThreadPoolExecutor(THREADS, "images")
        if self._idle is not None:
            self._idle.cancel()
            self._idle = None
        self._pending += 1
        asked = time.monotonic()
        opened = threading.Event()

        def opening(raw: Raw, until: float) -> Result:
            opened.set()
            return look(raw, until)

        task = self._threads.submit(self._read, handle, opening, asked + ANSWER_SECONDS)
        future = asyncio.wrap_future(task)
        # When the thread is done with it, and not when the request has given up.
        loop = asyncio.get_running_loop()
        task.add_done_callback(lambda _: call_soon(loop, self._done))
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                return await future
        except TimeoutError:
            if not opened.is_set() and not task.cancelled():
                raise AwayError("the daemon has not said where the image is") from None
            raise busy(f"it has not been read within {ANSWER_SECONDS:g} s") from None

    def _done(self) -> None:
        self._pending -= 1
        if self._pending == 0 and self._idle is None:
            loop = asyncio.get_running_loop()
            self._idle = loop.call_later(IDLE_SECONDS, self._rest)

    def _rest(self) -> None:
        """Let go of the store: nobody has read for a while."""
        self._idle = None
        if self._pending == 0:
            self.close()

    def close(self) -> None:
        """End the connection, if there is one; the next request makes another."""
        with self._lock:
            store, self._store = self._store, None
        if store is not None:
            store.close()

    # --- in a thread ---

    def _read(self, handle: str, look: Callable[[Raw, float], Result], patience: float) -> Result:
        now = time.monotonic()
        if now > patience:
            # Nobody waits for it any more.
            raise busy("it was never read: others were before it")
        try:
            return look(self._open(handle), now + READ_SECONDS)
        except HandleGone as error:
            raise gone(error) from None
        except CorruptImage as error:
            raise ProblemError("corrupt-image", str(error), offset=error.offset) from None
        except WayError as error:
            raise ProblemError("path-unknown", str(error)) from None
        except TooSlowError:
            raise busy(
                "the key was not found in time; name it by its place, as the lists of children do"
            ) from None
        except NotPermitted as error:
            raise ProblemError("not-permitted", str(error)) from None
        except MemoryError as error:
            raise busy(str(error) or "no memory for reading it") from None
        except (StoreUnavailable, StoreClosed, ProtocolError) as error:
            self._forget()
            raise AwayError(str(error)) from None

    def _open(self, handle: str) -> Raw:
        parsed = Handle.from_text(handle)
        try:
            return open_raw(self._connected(), parsed)
        except (StoreUnavailable, StoreClosed):
            # The daemon of before may have gone with its store, or this been closed just now.
            self._forget()
            return open_raw(self._connected(), parsed)

    def _connected(self) -> Store:
        with self._lock:
            if self._store is None:
                self._store = Store.connect(self._socket)
            return self._store

    def _forget(self) -> None:
        with self._lock:
            self._store = None


def call_soon(loop: asyncio.AbstractEventLoop, call: Callable[[], None]) -> None:
    """Have the loop call; a loop that was closed has nobody who waits."""
    if not loop.is_closed():
        loop.call_soon_threadsafe(call)


def busy(detail: str) -> ProblemError:
    """Make the problem of a reading that takes too long."""
    return ProblemError("too-slow", detail)


def gone(error: HandleGone) -> ProblemError:
    """Translate how an image went."""
    reason = error.reason or "unknown"
    kind = "handle-unknown" if reason == "unknown" else "handle-gone"
    return ProblemError(kind, str(error), reason=reason)
