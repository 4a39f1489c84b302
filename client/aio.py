"""The daemon's store for asyncio: `icehouse.aio.connect()`.

What needs no round trip (get, put and lookup, nearly always) is done at once, in the calling
coroutine. What must ask the daemon never blocks the loop: deletes, binds, pins, explain and stat go
over a control connection of the loop's own, the slow path of get and put through a thread.
"""

import asyncio
import builtins
import contextlib
import functools
import math
import os
from collections.abc import AsyncIterator, Callable, Iterable
from datetime import timedelta
from types import TracebackType
from typing import Any, Self, TypeVar, cast, overload

from icehouse.client.connect import connect as connect_now
from icehouse.client.link import Bound, Link, Lost, Subscription
from icehouse.native._image import Remote, Stat, Usage, _patience
from icehouse.store.embedded import Store
from icehouse.store.errors import Conflict, HandleGone, StoreClosed
from icehouse.store.handle import Handle
from icehouse.store.scope import Scope
from icehouse.store.wire import messages

__all__ = ["AsyncScope", "AsyncStore", "AsyncWatch", "connect"]

Result = TypeVar("Result")
T = TypeVar("T")
D = TypeVar("D")
MISSING = object()
TTL_MAX_NS = 2**62


async def connect(socket: str | os.PathLike[str] | None = None) -> "AsyncStore":
    """Connect to the daemon for the running loop; as icehouse.connect().

    async with await icehouse.aio.connect() as store:
        handle = await store.put({"a": 1}, name="config")
    """
    # Not in this thread: the daemon may be slow to answer.
    store = await asyncio.to_thread(connect_now, socket)
    try:
        opened = AsyncStore(store, await asyncio.to_thread(lambda: store.capacity))
        await opened.start()
    except BaseException:
        store.close()
        raise
    return opened


def nanoseconds(ttl: float | timedelta | None) -> int:
    """Give a time to live in ns; 0: none."""
    if ttl is None:
        return 0
    seconds = ttl.total_seconds() if isinstance(ttl, timedelta) else float(ttl)
    if not 0 < seconds * 1e9 <= TTL_MAX_NS:
        raise ValueError(f"ttl is a positive number of seconds, or None; not {ttl!r}")
    return max(1, round(seconds * 1e9))


class AsyncStore:
    """The daemon's store, as Store, with coroutines. It belongs to the loop that connected it.

    Coroutines of one loop may share it; another loop, thread or process connects for itself.
    """

    def __init__(self, store: Store, capacity: int) -> None:
        """Made by connect()."""
        remote = store.remote
        assert remote is not None
        self._store = store
        self._capacity = capacity
        self._loop = asyncio.get_running_loop()
        self._pid = os.getpid()
        self._link = Link(remote.socket, remote.identity, self._session, self._loop)

    def _session(self) -> int:
        remote = self._store.remote
        return remote.session if remote is not None else 0

    async def start(self) -> None:
        """Open the control connection."""
        await self._link.open()

    # --- what it is ---

    @property
    def store(self) -> Store:
        """The same store for code that is not asynchronous; it may block."""
        return self._store

    @property
    def token(self) -> str:
        """As Store.token."""
        return self._store.token

    @property
    def closed(self) -> bool:
        """Whether it was closed."""
        return self._store.closed

    @property
    def capacity(self) -> int:
        """Bytes that the store may take, as they were when this connected."""
        return self._capacity

    @property
    def remote(self) -> Remote | None:
        """As Store.remote."""
        return self._store.remote

    def __repr__(self) -> str:
        return f"<icehouse.aio.AsyncStore over {self._store!r}>"

    # --- how calls are made ---

    def _here(self, attempt: str) -> None:
        """Refuse another loop, thread or process, and a closed store."""
        try:
            loop: asyncio.AbstractEventLoop | None = asyncio.get_running_loop()
        except RuntimeError:
            loop = None
        if loop is not self._loop or os.getpid() != self._pid:
            raise RuntimeError(
                f"{attempt}: this AsyncStore belongs to the loop that connected it;"
                " await icehouse.aio.connect() in each loop and process"
            )
        if self._store.closed:
            raise StoreClosed(f"{attempt}: the store is closed; connect() again")

    def _now(self, function: Callable[..., Result], *args: Any, **options: Any) -> Result:
        """Call without a round trip; BlockingIOError if it needs one."""
        before = _patience(False)  # noqa: FBT003 - positional only
        try:
            return function(*args, **options)
        finally:
            _patience(before)

    async def _call(self, function: Callable[..., Result], *args: Any, **options: Any) -> Result:
        """Call at once if no round trip is needed, else in a thread."""
        try:
            return self._now(function, *args, **options)
        except BlockingIOError:
            return await asyncio.to_thread(function, *args, **options)

    async def _handle(self, ref: Any) -> Handle:
        """Give the handle of a handle, its text, a name, or a view."""
        if isinstance(ref, Handle):
            return ref
        if isinstance(ref, str):
            if ref.startswith("ih1_"):
                return Handle.from_text(ref)
            found: tuple[Handle, int] = await self._call(self._store.lookup, ref)
            return found[0]
        handle = getattr(ref, "handle", None)
        if not isinstance(handle, Handle):
            raise TypeError(
                "expected a Handle, its text, a name, or the view of a whole image of this store,"
                f" not {type(ref).__name__}"
            )
        return handle

    # --- images ---

    async def put(
        self,
        object: Any,  # noqa: A002 - as Store.put
        /,
        *,
        name: str | None = None,
        ttl: float | timedelta | None = None,
        pin: bool = False,
        evictable: bool = False,
        seal: bool = False,
    ) -> Handle[Any]:
        """As Store.put. The copy itself is made in the loop, unless a round trip is needed first.

        If it is cancelled, what was put meanwhile is deleted.
        """
        self._here("put")
        options: dict[str, Any] = {"name": name, "ttl": ttl, "pin": pin}
        options |= {"evictable": evictable, "seal": seal}
        given = {
            key: value for key, value in options.items() if value is not None and value is not False
        }
        put: Callable[..., Handle[Any]] = self._store.put
        try:
            return self._now(put, object, **given)
        except BlockingIOError:
            pass
        putting = asyncio.ensure_future(asyncio.to_thread(put, object, **given))
        try:
            return await asyncio.shield(putting)
        except asyncio.CancelledError:
            putting.add_done_callback(self._take_back)
            raise

    def _take_back(self, putting: "asyncio.Future[Handle]") -> None:
        if putting.cancelled() or putting.exception() is not None or self._store.closed:
            return
        handle = putting.result()

        def delete() -> None:
            with contextlib.suppress(HandleGone, StoreClosed, ConnectionError):
                self._store.delete(handle, force=True)

        self._loop.run_in_executor(None, delete)

    async def freeze(self, object: Any, /) -> Any:  # noqa: A002 - as Store.freeze
        """As Store.freeze."""
        self._here("freeze")
        return await self._call(self._store.freeze, object)

    @overload
    async def get(
        self,
        ref: Handle[T],
        /,
        *,
        type: None = None,
        native: bool = False,
        allow_classes: "Iterable[builtins.type[Any]] | None" = None,
        trust: bool = False,
    ) -> T: ...
    @overload
    async def get(
        self,
        ref: Handle[T],
        /,
        default: D,
        *,
        type: None = None,
        native: bool = False,
        allow_classes: "Iterable[builtins.type[Any]] | None" = None,
        trust: bool = False,
    ) -> T | D: ...
    @overload
    async def get(
        self,
        ref: Handle[Any] | str,
        /,
        *,
        type: builtins.type[T],
        native: bool = False,
        allow_classes: "Iterable[builtins.type[Any]] | None" = None,
        trust: bool = False,
    ) -> T: ...
    @overload
    async def get(
        self,
        ref: Handle[Any] | str,
        /,
        default: D,
        *,
        type: builtins.type[T],
        native: bool = False,
        allow_classes: "Iterable[builtins.type[Any]] | None" = None,
        trust: bool = False,
    ) -> T | D: ...
    @overload
    async def get(
        self,
        ref: Handle[Any] | str,
        /,
        default: Any = ...,
        *,
        type: Any = None,
        native: bool = False,
        allow_classes: "Iterable[builtins.type[Any]] | None" = None,
        trust: bool = False,
    ) -> Any: ...
    async def get(
        self,
        ref: Handle[Any] | str,
        /,
        default: Any = MISSING,
        *,
        type: Any = None,  # noqa: A002 - as Store.get
        native: bool = False,
        allow_classes: Iterable[builtins.type[Any]] | None = None,
        trust: bool = False,
    ) -> Any:
        """As Store.get."""
        self._here("get")
        given = () if default is MISSING else (default,)
        if type is None and allow_classes is None and not native and not trust:
            return await self._call(self._store.get, ref, *given)
        # It may be asked twice: an iterator would be used up.
        classes = None if allow_classes is None else tuple(allow_classes)
        opening = functools.partial(
            self._store.get,
            type=type,
            native=native,
            allow_classes=classes,
            trust=trust,
        )
        return await self._call(opening, ref, *given)

    async def delete(self, *refs: Any, force: bool = False) -> None:
        """As Store.delete."""
        self._here("delete")
        if len(refs) != 1 or (isinstance(refs[0], str) and not refs[0].startswith("ih1_")):
            # By name it is two steps, and several are few messages: the store knows how.
            await asyncio.to_thread(self._store.delete, *refs, force=force)
            return
        (ref,) = refs
        handle = await self._handle(ref)
        request = messages.Delete(handle=bytes(handle), force=bool(force))
        lost = 0
        while True:
            try:
                await self._link.ask_once(request, f"delete {handle}")
            except Lost:
                lost += 1
                self._link.give_up(f"delete {handle}", lost)
                continue
            except HandleGone as error:
                # The first request was done, and its reply was lost.
                if not lost or error.reason != "deleted":
                    raise
            return

    async def explain(self, ref: Any, /) -> str:
        """As Store.explain."""
        self._here("explain")
        handle = await self._handle(ref)
        request = messages.Explain(handle=bytes(handle))
        return (await self._link.ask(request, f"explain {handle}", messages.Text)).text

    async def stat(self, ref: Any, /) -> Stat:
        """As Store.stat."""
        self._here("stat")
        handle = await self._handle(ref)
        request = messages.AskObject(handle=bytes(handle))
        reply = await self._link.ask(request, f"stat {handle}", messages.OneObject)
        item = reply.item
        if item.names_total > len(item.names):
            # More than one message tells.
            return await asyncio.to_thread(self._store.stat, handle)
        return stat_of(handle, item)

    async def pin(self, ref: Any, /) -> None:
        """As Store.pin."""
        self._here("pin")
        await self._pin(await self._handle(ref), pinned=True)

    async def unpin(self, ref: Any, /) -> None:
        """As Store.unpin."""
        self._here("unpin")
        await self._pin(await self._handle(ref), pinned=False)

    async def _pin(self, handle: Handle, *, pinned: bool) -> None:
        request = messages.Pin(handle=bytes(handle), pinned=pinned)
        await self._link.ask(request, f"{'' if pinned else 'un'}pin {handle}", messages.Done)

    async def expire(self, ref: Any, ttl: float | timedelta | None, /) -> None:
        """As Store.expire."""
        self._here("expire")
        span = nanoseconds(ttl)
        handle = await self._handle(ref)
        request = messages.Expire(handle=bytes(handle), ttl_ns=span)
        await self._link.ask(request, f"expire {handle}", messages.Done)

    # --- names ---

    async def bind(self, name: str, ref: Any, /, *, expected: int | None = None) -> int:
        """As Store.bind."""
        self._here("bind")
        if expected is not None and not isinstance(expected, int):
            raise TypeError(
                f"expected is a version (an int) or None, not {type(expected).__name__}"
            )
        # Refuses what is no name.
        await self._call(self._store.version, name)
        handle = None if ref is None else await self._handle(ref)
        packed = b"" if handle is None else bytes(handle)
        request = messages.Bind(name=name, handle=packed, expected=expected)
        lost = 0
        while True:
            try:
                reply = await self._link.ask_once(request, f"bind {name!r}")
            except Lost:
                lost += 1
                self._link.give_up(f"bind {name!r}", lost)
                continue
            except Conflict as error:
                # Ours was done and its reply lost, if what is bound is what we wanted.
                if lost and await self._is_bound(name, handle):
                    return cast("int", error.version)
                conflict = Conflict(
                    f"bind {name!r}: its version is {error.version}, not {expected} as expected;"
                    " look it up again and retry"
                )
                conflict.version = error.version
                raise conflict from None
            return cast("messages.Version", reply).version

    async def _is_bound(self, name: str, handle: Handle | None) -> bool:
        try:
            found, _ = await self._call(self._store.lookup, name)
        except LookupError:
            return handle is None
        return found == handle

    async def lookup(self, name: str, /) -> tuple[Handle, int]:
        """As Store.lookup."""
        self._here("lookup")
        return await self._call(self._store.lookup, name)

    async def version(self, name: str, /) -> int:
        """As Store.version."""
        self._here("version")
        return await self._call(self._store.version, name)

    async def names(self, prefix: str = "", /) -> dict[str, Handle]:
        """As Store.names."""
        self._here("names")
        return await self._call(self._store.names, prefix)

    def watch(self, name: str, *, timeout: float | None = None) -> "AsyncWatch":
        """Follow a name: `async for handle, version in store.watch("config"):`, as Store.watch.

        The daemon pushes the changes. It ends with its last reference, or its aclose().
        """
        self._here("watch")
        if timeout is not None and not (timeout >= 0 and math.isfinite(timeout)):
            raise ValueError(f"timeout is a number of seconds, or None; not {timeout!r}")
        # Refuses what is no name.
        self._store.version(name)
        return AsyncWatch(self._link, name, timeout, lambda: self._here("watch"))

    # --- the whole ---

    async def ls(self) -> list[Stat]:
        """As Store.ls."""
        self._here("ls")
        return await asyncio.to_thread(self._store.ls)

    async def usage(self) -> Usage:
        """As Store.usage."""
        self._here("usage")
        return await asyncio.to_thread(self._store.usage)

    async def check(self) -> None:
        """As Store.check."""
        self._here("check")
        await asyncio.to_thread(self._store.check)

    async def trim(self) -> None:
        """As Store.trim."""
        self._here("trim")
        await asyncio.to_thread(self._store.trim)

    def scope(self) -> "AsyncScope":
        """`async with store.scope():` what is put inside is deleted at its end, as Store.scope."""
        self._here("scope")
        return AsyncScope(self)

    async def close(self) -> None:
        """Let go of the store; what was put stays. Closing again does nothing."""
        self._link.close()
        if not self._store.closed:
            await asyncio.to_thread(self._store.close)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()


def stat_of(handle: Handle, item: messages.Object) -> Stat:
    """Make what Store.stat gives of what the daemon tells."""
    fields = (
        handle,
        item.size,
        item.type,
        item.state,
        tuple(item.names),
        item.leases,
        item.created_ns / 1e9,
        item.sealed,
        item.dedicated,
        item.block,
        item.links,
        item.linked,
        item.expires_ns / 1e9 if item.expires_ns else None,
        item.pinned,
        item.evictable,
        item.pid or None,
    )
    return Stat(fields)


class AsyncScope(Scope):
    """What AsyncStore.scope() gives: an asynchronous context manager, otherwise as Scope."""

    def __init__(self, store: AsyncStore) -> None:
        """Made by store.scope()."""
        super().__init__(store.store)
        self._opened = store

    async def __aenter__(self) -> Self:
        """Begin, in this task and those that it starts."""
        return self.__enter__()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Delete what was put inside, with its names. Views stay readable."""
        handles = self.leave()
        results = await asyncio.gather(
            *(self._opened.delete(handle, force=True) for handle in reversed(handles)),
            return_exceptions=True,
        )
        failures = [
            result
            for result in results
            if isinstance(result, Exception) and not isinstance(result, HandleGone)
        ]
        if failures and error is None:
            raise failures[0]


class AsyncWatch(AsyncIterator[Bound]):
    """The states of a name, as they come."""

    def __init__(
        self, link: Link, name: str, patience: float | None, here: Callable[[], None]
    ) -> None:
        """Made by store.watch()."""
        self._link = link
        self._name = name
        self._patience = patience
        self._here = here
        self._follower: Subscription | None = None
        self._ended = False
        self._loop = asyncio.get_running_loop()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Bound:
        """Give the next state; the first is the present one, if anything is bound."""
        if self._ended:
            raise StopAsyncIteration
        self._here()
        is_first = self._follower is None
        if self._follower is None:
            self._follower = await self._link.follow(self._name)
        while True:
            state = self._follower.take()
            if state is None:
                try:
                    async with asyncio.timeout(self._patience):
                        await self._follower.wait()
                except TimeoutError:
                    await self.aclose()
                    raise StopAsyncIteration from None
            # A name that was bound once and is not now is no news to who just begins.
            elif state[0] is not None or not is_first:
                return state
            is_first = False

    async def aclose(self) -> None:
        """Follow it no longer."""
        self._ended = True
        follower, self._follower = self._follower, None
        if follower is not None:
            self._link.unfollow(follower)

    def __del__(self) -> None:
        """Whoever drops it in the middle of a loop follows no longer."""
        follower = self._follower
        if follower is not None and not self._loop.is_closed():
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._link.unfollow, follower)
