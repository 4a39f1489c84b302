"""What stays mutable inside frozen graphs: SharedField and InterpreterLocal (PEP 795).

A field is known by a random id of 16 bytes, and that is what an image holds of it, beside what it
begins with. A SharedField is one *cell* for all interpreters and processes of a store: a name that
the library alone binds (`ih1_cell_` and the id in hexadecimal), under the store's own
compare-and-swap, to an image of a tuple of one item. While no such name is bound the field has its
initial value. Reading is a lookup on the board of names and an open, without a message; writing is
a put and a bind, and the bind deletes the image that the name was bound to before.

A tuple of two items in a cell says that the field has moved: what it held, and the place where it
is now (cells.py). Only the store that an interpreter keeps for fields that were never put has such.
"""

import os
import threading
from collections.abc import Callable
from typing import Any, Final, Generic, NoReturn, TypeVar, final

from icehouse.native import _image
from icehouse.native._image import (
    FrozenArray,
    FrozenBytes,
    FrozenSet,
    FrozenTuple,
    Store,
    _image_bytes,
    freeze,
    is_frozen,
    same,
)
from icehouse.store.declarations import cells
from icehouse.store.declarations.cells import Elsewhere
from icehouse.store.errors import HandleGone, StoreUnavailable
from icehouse.store.freezing import codes
from icehouse.store.freezing.records import Record
from icehouse.store.freezing.refusal import Refusal
from icehouse.store.freezing.trust import Trust

_Value = TypeVar("_Value")

ID_BYTES: Final = 16
_UNSET: Any = object()

# Made for this file.
_read = Store._cell_get  # noqa: SLF001
_look_up = Store._cell_look  # noqa: SLF001
_write = Store._cell_set  # noqa: SLF001


@final
class SharedField(Generic[_Value]):
    """A value that can be changed inside frozen objects: one for all who reach it.

    It holds frozen values only: what `is_frozen` says is frozen, and arrays that are read in place.
    `get` takes about a microsecond, whoever wrote the value. Put into a store, in whatever graph,
    it becomes a cell of that store, for all its interpreters and processes; until then it belongs
    to this process. A copy, `copy.deepcopy` and `thaw` included, is the same field; so is what an
    image or a pickle of it gives where the store can be reached.
    """

    __slots__ = (
        "__weakref__",
        "_at_fork",
        "_id",
        "_inherited",
        "_initial",
        "_lock",
        "_place",
        "_store",
    )

    def __init__(self, value: _Value, /) -> None:
        """TypeError where the value is not frozen."""
        _check_value(value)
        self._set_up(os.urandom(ID_BYTES), value, None)
        cells.know(self, self._id)

    def _set_up(self, id_: bytes, initial: Any, place: str | None) -> None:
        self._id = id_
        self._initial = initial
        self._place = place
        self._store: Store | None = None
        self._lock = threading.RLock()
        self._inherited = False
        self._at_fork: Any = _UNSET

    # --- what users call ---

    def get(self) -> _Value:
        """Give the value. StoreUnavailable where its store can't be reached."""
        store = self._store
        if store is None and (store := self._reach()) is None:
            value: _Value = self._initial
            return value
        try:
            root = _read(store, self._id)
        except HandleGone:
            self._refuse("read")
        if root is None:
            return self._initial  # type: ignore[no-any-return]
        if len(root) == 1:
            return root[0]  # type: ignore[no-any-return]
        self._follow(*root)
        return self.get()

    def set(self, value: _Value, /) -> None:
        """Replace the value. TypeError where it is not frozen; StoreUnavailable, StoreFull."""
        _check_value(value)
        store = self._writable()
        if self._is_settled():
            _write(store, self._id, (value,), None)
        else:
            self.swap(value)

    def swap(self, value: _Value, /) -> _Value:
        """Replace the value and give what it was. Errors are those of `set`."""
        _check_value(value)
        while True:
            store, before, version = self._look()
            if _write(store, self._id, (value,), version) is not None:
                return before  # type: ignore[no-any-return]

    def compare_and_swap(self, old: _Value, new: _Value, /) -> bool:
        """Replace the value if it is `old`; whether it was.

        It is where both are the same object, or views of the same node (`same`), or of one type and
        equal, in tuples item by item: 1 is not True. Errors are those of `set`.
        """
        _check_value(new)
        while True:
            store, before, version = self._look()
            if not _holds(before, old):
                return False
            if _write(store, self._id, (new,), version) is not None:
                return True

    def reset(self) -> None:
        """Give it its first value again; its cell then takes no memory and no name in the store."""
        while True:
            store, _, version = self._look()
            if not version or _write(store, self._id, None, version) is not None:
                return

    # --- the cell ---

    def _reach(self) -> Store | None:
        """Open the store of the cell; None: it has none, and holds its initial value."""
        if self._place is None:
            return None
        try:
            self._store = cells.store_at(self._place)
        except Elsewhere:
            if not self._inherited and self._place.startswith(cells.PROCESS):
                # What was never put is one cell in each process.
                self._place = None
                return None
            self._refuse("reach")
        return self._store

    def _is_settled(self) -> bool:
        """Whether the cell lies where no other interpreter moves it away."""
        return self._place is not None and not self._place.startswith(cells.PROCESS)

    def _writable(self) -> Store:
        """Give the store of the cell, which it has from now on at the latest."""
        store = self._store
        if store is not None:
            return store
        if self._inherited:
            self._refuse("write")
        with self._lock:
            if self._place is None:
                self._place = cells.own_place()
            return self._reach() or self._writable()

    def _look(self) -> tuple[Store, Any, int]:
        """Give the store, the value and its version there: 0 while it is the initial one.

        A version means something in that store alone, and another thread may move the field.
        """
        while True:
            store = self._writable()
            try:
                root, version = _look_up(store, self._id)
            except HandleGone:
                self._refuse("read")
            if root is None:
                return store, self._initial, 0
            if len(root) == 1:
                return store, root[0], version
            self._follow(*root)

    def _follow(self, value: Any, place: str) -> None:
        """Take note that another interpreter has put it into a store."""
        with self._lock:
            self._initial = value
            self._place, self._store = place, None

    def _refuse(self, what: str) -> NoReturn:
        raise StoreUnavailable(
            f"can't {what} a shared field: it is in "
            + (
                "memory of the process that this one was forked from; put it into the daemon's"
                " store, icehouse.connect(), which both can write"
                if self._inherited or what == "read"
                else f"{cells.plain(self._place or 'a store')}, which is closed or of another"
                " process; processes share fields of the daemon's store, icehouse.connect()"
            )
        )

    # --- going into images and pickles ---

    def _enter(self, target: str | None) -> tuple[Any, ...]:
        """Give what an image that goes into a store is to hold of it; None: into none."""
        with self._lock:
            if target is None:
                return self._passing()
            if self._place is not None and cells.same_store(self._place, target):
                return self._id, self._initial, cells.full(target)
            if self._inherited or self._is_settled():
                # A field is of one store: what goes into another is a new one.
                return os.urandom(ID_BYTES), self.get(), cells.full(target)
            if self._place is not None and not self._move(target):
                return self._enter(target)
            self._place, self._store = target, None
            return self._id, self._initial, cells.full(target)

    def _move(self, target: str) -> bool:
        """Leave the process's own store for that of somebody. False: it has gone elsewhere."""
        while True:
            store, value, version = self._look()
            if self._is_settled():
                return False
            if _write(store, self._id, (value, target), version) is not None:
                self._initial = value
                return True

    def _passing(self) -> tuple[Any, ...]:
        """Refer to it from where no store is: by its place, and by value where that is no help."""
        if self._inherited:
            return os.urandom(ID_BYTES), self._initial, None
        if self._place is None:
            self._place = cells.own_place()
        value = self.get()
        return self._id, self._initial, cells.full(self._place), value

    def __reduce__(self) -> tuple[Any, ...]:
        return _revive, tuple(self._enter(None))

    def __copy__(self) -> "SharedField[_Value]":
        return self

    def __deepcopy__(self, memo: Any) -> "SharedField[_Value]":
        return self

    # --- what it is ---

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, SharedField):
            return NotImplemented
        return self._id == other._id

    def __hash__(self) -> int:
        return hash(self._id)

    def __repr__(self) -> str:
        place = "" if self._place is None else f" in {cells.plain(self._place)[:120]}"
        return f"<SharedField {self._id.hex()[:8]}{place}>"

    # --- forks: cells.py calls these ---

    def _before_fork(self) -> None:
        """Have the value at hand for the child, who can't open what is freed here later."""
        if self._place is None or cells.is_embedded(self._place):
            try:
                self._at_fork = self.get()
            except Exception:
                # It can't be read here either.
                self._at_fork = _UNSET

    def _after_fork_in_parent(self) -> None:
        self._at_fork = _UNSET

    def _after_fork_in_child(self) -> None:
        self._lock = threading.RLock()
        if self._at_fork is _UNSET:
            return
        self._initial, self._at_fork = self._at_fork, _UNSET
        self._place = self._store = None
        self._inherited = True


def _check_value(value: Any) -> None:
    if not is_frozen(value) and not _is_array_in_place(value):
        raise TypeError(
            f"a SharedField holds frozen values only, and this {type(value).__name__} is not:"
            " pass icehouse.freeze(value)"
        )


def _is_array_in_place(value: Any) -> bool:
    """Whether this is an ndarray as reading an image gives it."""
    if (type(value).__module__, type(value).__name__) != ("numpy", "ndarray"):
        return False
    base = value.base
    return not value.flags.writeable and isinstance(getattr(base, "obj", None), FrozenArray)


def _holds(current: Any, old: Any) -> bool:
    """Whether what a cell holds is what somebody has seen in it."""
    pairs = [(current, old)]
    while pairs:
        one, other = pairs.pop()
        if one is other or same(one, other):
            continue
        if not (type(one) is type(other) or (type(one), type(other)) in _STORED_AS):
            return False
        if type(one) is type(other) is tuple:
            if len(one) != len(other):
                return False
            pairs.extend(zip(one, other, strict=True))
        elif not _are_equal(one, other):
            return False
    return True


# What comes back as another type, which is equal to it.
_STORED_AS = ((FrozenSet, frozenset), (FrozenTuple, tuple), (FrozenBytes, bytes))


def _are_equal(one: Any, other: Any) -> bool:
    try:
        equal = one == other
    except Exception:
        # Arrays of other shapes.
        return False
    if type(equal) is bool:
        return equal or (one != one and other != other)
    # Arrays and frames compare item by item.
    return _image_bytes(one) == _image_bytes(other)


# --- InterpreterLocal ----------------------------------------------------------------------------


# Those that images or pickles may refer to: their values stay for this interpreter's life, since
# they may be opened again.
_kept: dict[bytes, "InterpreterLocal[Any]"] = {}


@final
class InterpreterLocal(Generic[_Value]):
    """A value that can be changed inside frozen objects: another one in each interpreter.

    Its argument is a frozen value, which all begin with, or a factory: what is callable. It is
    called without arguments once in each interpreter (a process is one too), at the first `get`;
    what it gives may be mutable. A function becomes frozen for it, as `freeze` does it; classes
    and builtin functions go by name.

    A forked child begins with a copy of its parent's value. The value of one that went into an
    image or a pickle stays until its interpreter ends, that of any other goes with it.
    """

    __slots__ = ("__weakref__", "_factory", "_first", "_id", "_lock", "_making", "_value")

    def __init__(self, value: _Value | Callable[[], _Value], /) -> None:
        """TypeError for a mutable value; NotFreezableError for a factory that can't be frozen."""
        factory: Any = None
        if callable(value):
            factory, value = _frozen_factory(value), _UNSET
        elif not is_frozen(value) and not _is_array_in_place(value):
            raise TypeError(
                f"all interpreters would begin with this one {type(value).__name__}, which is"
                " mutable: pass icehouse.freeze(value), or a factory such as"
                f" `lambda: {type(value).__name__}(...)`, which each calls for one of its own"
            )
        self._set_up(os.urandom(ID_BYTES), value, factory)

    def _set_up(self, id_: bytes, first: Any, factory: Any) -> None:
        self._id = id_
        self._first = first
        self._factory = factory
        self._value: Any = _UNSET if factory is not None else first
        self._lock = threading.RLock()
        self._making = False
        cells.know(self, id_)

    def get(self) -> _Value:
        """Give this interpreter's value; what the factory raises where it is called for it."""
        value = self._value
        return self._make() if value is _UNSET else value  # type: ignore[no-any-return]

    def set(self, value: _Value, /) -> None:
        """Replace this interpreter's value by whatever it is."""
        self._value = value

    def _make(self) -> Any:
        with self._lock:
            if self._value is not _UNSET:
                return self._value
            if self._making:
                raise RuntimeError(
                    "the factory of an InterpreterLocal asks for the value that it is to make"
                )
            self._making = True
            try:
                made = self._factory()
                if self._value is _UNSET:  # else the factory has set it
                    self._value = made
            finally:
                self._making = False
            return self._value

    def _payload(self) -> tuple[bytes, Any, Any]:
        """Give what an image holds of it."""
        _kept[self._id] = self
        if self._factory is None:
            return self._id, self._first, None
        return self._id, None, self._factory

    def _before_fork(self) -> None:
        """For cells.py, as the two below."""

    def _after_fork_in_parent(self) -> None:
        pass

    def _after_fork_in_child(self) -> None:
        # Whoever was making the value is not here.
        self._lock = threading.RLock()
        self._making = False

    def __reduce__(self) -> tuple[Any, ...]:
        return _revive_local, self._payload()

    def __copy__(self) -> "InterpreterLocal[_Value]":
        return self

    def __deepcopy__(self, memo: Any) -> "InterpreterLocal[_Value]":
        return self

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, InterpreterLocal):
            return NotImplemented
        return self._id == other._id

    def __hash__(self) -> int:
        return hash(self._id)

    def __repr__(self) -> str:
        return f"<InterpreterLocal {self._id.hex()[:8]}>"


def _frozen_factory(factory: Any) -> Any:
    if isinstance(factory, type) or is_frozen(factory):
        return factory
    return freeze(factory)


# --- freezing and opening ------------------------------------------------------------------------


def rule(cls: type, base: type) -> tuple[Any, ...] | str | None:
    """Both are values of codes of their own."""
    if cls is not base:
        return f"{base.__name__} is final: hold one as an attribute"
    if base is SharedField:
        return ("value", codes.SHARED_FIELD, _shared_payload)
    return ("value", codes.INTERPRETER_LOCAL, InterpreterLocal._payload)  # noqa: SLF001 - here


def frozen(obj: Any, base: type) -> bool:
    """They count as frozen: they may lie in frozen graphs, and are shared as they are."""
    return type(obj) is base


def _shared_payload(field: SharedField[Any]) -> tuple[Any, ...]:
    try:
        return field._enter(_target())  # noqa: SLF001 - here
    except StoreUnavailable as error:
        raise Refusal(str(error)) from error


def _target() -> str | None:
    return cells.of_somebody(_image._target())  # noqa: SLF001 - made for getters


def open_shared(payload: Any, trust: Trust) -> Any:
    """Open a SharedField; without trust in code a record of the value that it had when written.

    A stranger's image must not have us write where it says, nor read.
    """
    id_, initial, place = _checked(payload)
    # Who follows a place may fall back on the value only if it is one that came along.
    last = payload[3] if len(payload) == 4 else _UNSET
    if not trust.own and not trust.code:
        value = initial if last is _UNSET else last
        return Record("icehouse.SharedField", ("value_when_written",), (value,))
    origin = cells.of_somebody(trust.store)
    if origin is not None and (place is None or cells.plain(place) != cells.plain(origin)):
        initial, place, last = initial if last is _UNSET else last, origin, _UNSET
    return _shared(id_, initial, place, last)


def _checked(payload: Any) -> tuple[bytes, Any, str | None]:
    id_, initial, place = payload[:3]
    if type(payload) is not tuple or len(payload) not in (3, 4):
        raise ValueError("a field is stored as three or four items")
    if type(id_) is not bytes or len(id_) != ID_BYTES:
        raise ValueError("the id of a field is 16 bytes")
    if place is not None and type(place) is not str:
        raise ValueError("the place of a field is text")
    return id_, initial, place


def _shared(id_: bytes, initial: Any, place: str | None, last: Any) -> SharedField[Any]:
    with cells.lock:
        known = cells.fields.get(id_)
        if type(known) is SharedField and _is_at(known, place):
            return known
        if last is not _UNSET and place is not None and not _is_in_reach(place):
            # By value: it came from a store that is not here (H16).
            initial, place = last, None
        made: SharedField[Any] = SharedField.__new__(SharedField)
        made._set_up(id_, initial, place)  # noqa: SLF001 - here
        if known is None:
            cells.know(made, id_)
        return made


def _is_at(field: SharedField[Any], place: str | None) -> bool:
    """Whether a field that is known can be the one that an image has of this place."""
    mine = field._place  # noqa: SLF001 - here
    if mine is None or place is None or cells.plain(mine) == cells.plain(place):
        return True
    # Another interpreter may have moved it, or it has moved and the image is older.
    return mine.startswith(cells.PROCESS) or place.startswith(cells.PROCESS)


def _is_in_reach(place: str) -> bool:
    try:
        cells.store_at(place)
    except Elsewhere:
        return False
    except StoreUnavailable:
        # It is there, and may answer the next time.
        return True
    return True


def _revive(id_: bytes, initial: Any, place: str | None, last: Any = _UNSET) -> SharedField[Any]:
    """Unpickle a SharedField."""
    return _shared(id_, initial, place, last)


def open_local(payload: Any, trust: Trust) -> Any:
    """Open an InterpreterLocal; without trust in code a record of what it begins with."""
    id_, value, factory = payload
    if type(payload) is not tuple or type(id_) is not bytes or len(id_) != ID_BYTES:
        raise ValueError("a local is stored as an id, a value and a factory")
    if not trust.code:
        # A repr makes no code; one that is here already needs none.
        known = cells.fields.get(id_) if trust.own else None
        if type(known) is InterpreterLocal:
            return known
        return Record("icehouse.InterpreterLocal", ("value",), (value,))
    if factory is not None and not callable(factory):
        raise ValueError("the factory of a local can't be called")
    return _revive_local(id_, value, factory)


def _revive_local(id_: bytes, value: Any, factory: Any) -> InterpreterLocal[Any]:
    """Unpickle an InterpreterLocal."""
    with cells.lock:
        known = cells.fields.get(id_)
        if type(known) is not InterpreterLocal:
            known = InterpreterLocal.__new__(InterpreterLocal)
            known._set_up(id_, value, factory)  # noqa: SLF001 - here
        _kept[id_] = known
    return known
