"""Scopes: what is put inside is deleted at the end."""

import contextlib
from types import TracebackType
from typing import Any, Self

from icehouse.native._image import Handle, Store, _scope, _scopes
from icehouse.store.errors import HandleGone, StoreClosed

__all__ = ["Scope", "scope"]


class Scope:
    """What `store.scope()` gives: a context manager that deletes what was put inside it.

    What was put: by this store, or another Store object of the same store, in the context that
    entered (the thread, or the asyncio task and the tasks that it starts), and not inside an inner
    scope of that store. Other threads put as ever.
    """

    def __init__(self, store: Store) -> None:
        """Made by store.scope()."""
        self._store = store
        self._token = store.token
        self._handles: dict[Handle, None] = {}
        self._reset: Any = None
        # What the scopes inside this one look at.
        self.outer: Scope | None = None
        self.is_open = False

    @property
    def handles(self) -> tuple[Handle, ...]:
        """What was put so far and will be deleted, in order."""
        return tuple(self._handles)

    def keep(self, handle: Handle) -> Handle:
        """Leave an image that was put inside alive at the end; returns its handle."""
        self._handles.pop(handle, None)
        return handle

    def __enter__(self) -> Self:
        """Begin; the same scope can be entered again when it has ended."""
        if self.is_open:
            raise RuntimeError("this scope is entered already; make another: store.scope()")
        if self._store.closed:
            raise StoreClosed("scope: the store is closed; open another")
        self.outer = _scope.get()
        self._reset = _scope.set(self)
        self.is_open = True
        _scopes(1)
        return self

    def leave(self) -> list[Handle]:
        """End without deleting anything; gives what was put inside."""
        self.is_open = False
        _scopes(-1)
        # Another context may end it than began it: then the scope stands there, without effect.
        with contextlib.suppress(ValueError):
            _scope.reset(self._reset)
        self._reset = self.outer = None
        handles, self._handles = list(self._handles), {}
        return handles

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Delete what was put inside, with its names. Views stay readable.

        Goes on after a failure and raises the first one, unless the body raised.
        """
        handles = self.leave()
        failures: list[Exception] = []
        with contextlib.suppress(Exception):
            # All at once, as long as nothing is in the way of any; else we see of which.
            self._store.delete(*reversed(handles), force=True)
            return
        for handle in reversed(handles):
            try:
                self._store.delete(handle, force=True)
            except HandleGone:
                pass
            except StoreClosed as failure:
                # An embedded store took all with it; a connected one did not.
                if self._store.remote is not None:
                    failures.append(failure)
                break
            except Exception as failure:
                failures.append(failure)
        if failures and error is None:
            raise failures[0]

    def _note(self, store: Store, handle: Handle) -> None:
        """Note what was put: put() calls the innermost scope, whichever store that is of."""
        self.note(store.token, handle)

    def note(self, token: str, handle: Handle) -> None:
        """Note what was put in the store of this token, here or in an outer scope."""
        if self.is_open and self._token == token:
            self._handles[handle] = None
        elif self.outer is not None:
            self.outer.note(token, handle)


def scope(self: Store) -> Scope:
    """`with store.scope():` what is put inside is deleted at its end, with the names bound to it.

    Nests, and works in threads and asyncio tasks: a scope concerns the context that enters it.
    `with store.scope() as s:` tells s.handles; s.keep(handle) leaves one alive. Views of what is
    deleted stay readable.
    """
    return Scope(self)
