"""Freezing several objects as one: all of them, or nothing changes anywhere.

A *plan* is a list of items, one for each declaration that is met, whichever way leads there. They
are planned one after another, never recursively. Nothing can be seen of it from outside until all
are known to freeze:

1. `check`: an item says what it needs: other declarations (`Plan.reach`, or `Plan.attempt` where it
   can do without) and captured data (`Plan.keep`). What can't be frozen raises.
2. All captured data freezes as one snapshot, so that what is shared stays shared.
3. `prepare`: an item makes what will be its frozen form.
4. `commit`: it becomes visible. If one fails, `undo` is called for those before it.

An item that fails takes those along that reach it. Where that gets to an argument of `freeze`, its
error is raised; where it ends at an `attempt`, the item is left as it is, and what only it needed.

The frozen form of an item (`Item.frozen`) exists from the beginning, as a shell that is filled in
later, so that declarations may refer to each other in circles.
"""

import os
import threading
from collections.abc import Callable, Iterable
from types import ModuleType
from typing import Any, Protocol

from icehouse.native._image import (
    _freeze_data,
    is_frozen,
)
from icehouse.store.errors import NotFreezableError
from icehouse.store.freezing import refused
from icehouse.store.freezing.refusal import Refusal
from icehouse.store.freezing.trust import name_of

# The type's name of what freezes as a declaration -> where its item is.
_MAKERS: dict[str, tuple[str, str]] = {
    "builtins.function": ("functions", "FunctionItem"),
    "icehouse.FreezableFunction": ("functions", "FunctionItem"),
    "builtins.method": ("partials", "MethodItem"),
    "functools.partial": ("partials", "PartialItem"),
    "builtins.staticmethod": ("descriptors", "DescriptorItem"),
    "builtins.classmethod": ("descriptors", "DescriptorItem"),
    "builtins.property": ("descriptors", "DescriptorItem"),
}

# How often the data may show functions that were not there before.
ROUNDS_MAX = 1000

_CALLABLES = frozenset(
    {"builtins.function", "icehouse.FreezableFunction", "builtins.method", "functools.partial"}
)


class Item(Protocol):
    """A declaration that is being frozen, under its source's identity."""

    source: Any  # what is frozen: kept, so that its id stays its own
    frozen: Any  # its frozen form, good to refer to from the beginning
    path: str  # how it was reached, for errors
    fresh: bool  # a decorator is at it, so that no name is bound to it yet
    failure: NotFreezableError | None
    needs: list["Item"]  # it can't do without them
    hopes: list["Item"]  # it can

    def check(self, plan: "Plan") -> None:
        """Find out what it needs. Refusal or NotFreezableError where it can't freeze."""

    def prepare(self) -> None:
        """Make the frozen form; nobody outside sees it."""

    def commit(self) -> None:
        """Make it visible. It must change nothing if it raises."""

    def undo(self) -> None:
        """Take back what `commit` did."""


class BaseItem:
    """What items have in common."""

    def __init__(self, source: Any, path: str, plan: "Plan") -> None:
        del plan
        self.source = source
        self.frozen: Any = None
        self.path = path
        self.fresh = False
        self.failure: NotFreezableError | None = None
        self.needs: list[Item] = []
        self.hopes: list[Item] = []

    def check(self, plan: "Plan") -> None:
        """Need nothing."""

    def prepare(self) -> None:
        """Have nothing to make."""

    def commit(self) -> None:
        """Have nothing to show."""

    def undo(self) -> None:
        """Have nothing to take back."""


class Data(BaseItem):
    """An argument of freeze() that is data."""

    def check(self, plan: "Plan") -> None:
        """Freeze it, where it can refer to the declarations that are arguments beside it."""
        self.frozen, inside = plan.freeze_argument(self.source)
        self.needs.extend(inside)


class _Module(BaseItem):
    """A module that is an argument of freeze(): a reference by name."""

    def __init__(self, source: Any, path: str, plan: "Plan") -> None:
        from icehouse.store.declarations.modules import ImmutableModule

        super().__init__(source, path, plan)
        try:
            self.frozen = ImmutableModule(source)
        except ValueError as error:
            raise Refusal(str(error)) from None


class _Datum:
    """Captured data, and who waits for its frozen form."""

    __slots__ = ("by", "path", "take", "value")

    def __init__(self, by: Item, value: Any, path: str, take: Callable[[Any], None]) -> None:
        self.by = by
        self.value = value
        self.path = path
        self.take = take


class Again(Exception):
    """What was found out counts no more: a function was met inside of data, or frozen meanwhile."""


# What is frozen becomes visible in one thread at a time; a forked child never sees half of it.
_committing = threading.RLock()
os.register_at_fork(
    before=_committing.acquire,
    after_in_parent=_committing.release,
    after_in_child=_committing.release,
)


class Plan:
    """What one call of freeze() is going to freeze."""

    def __init__(self) -> None:
        self._items: dict[int, Item] = {}  # by the id of what is frozen
        self._waiting: list[Item] = []
        self._roots: list[Item] = []
        self._data: list[_Datum] = []
        self._inside: list[Item] = []  # functions that the snapshot met
        self._only_planned = False
        self._sources: list[Any] = []  # none of them was frozen when it was met

    # --- for items -------------------------------------------------------------------------------

    def reach(self, by: Item, obj: Any, path: str) -> Any:
        """Plan a declaration that an item can't do without; its frozen form.

        The very object where it is frozen already.
        """
        return self._meet(obj, path, by, by.needs)

    def attempt(self, by: Item, obj: Any, path: str) -> Item:
        """Plan a declaration that an item can do without: it looks at `failure` in `prepare`."""
        self._meet(obj, path, by, by.hopes)
        item = self._items.get(id(obj))
        if item is None:  # another thread has just frozen it
            item = self._items[id(obj)] = BaseItem(obj, path, self)
            item.frozen = obj
        return item

    def keep(self, by: Item, value: Any, path: str, take: Callable[[Any], None]) -> None:
        """Have data frozen with all else; `take` gets the frozen form before `prepare`."""
        self._data.append(_Datum(by, value, path, take))

    def item_of(self, obj: Any) -> Item | None:
        """Find the item of something that is being frozen."""
        return self._items.get(id(obj))

    def meet_inside(self, obj: Any) -> Item:
        """Find the item of a declaration inside of data, for a getter of the freezer.

        What was not planned yet is, and freezing that data starts again. Refusal where it fails.
        """
        item = self._items.get(id(obj))
        if item is None and self._only_planned:
            raise Refusal(refused.FUNCTION)
        if item is None:
            self._plan(obj, _root_path(obj), is_root=False)
            raise Again
        if item.failure is not None:
            raise Refusal(str(item.failure))
        self._inside.append(item)
        return item

    def freshly_decorated(self, item: Item, *, unbound: bool) -> Any:
        """Find what decorators are making of a function, and freeze; None: of this one nothing.

        It is what the function's name is going to hold: it has the same name, or the name is not
        bound yet, as that of a function that is just being decorated is not.
        """
        source = item.source
        for root in self._roots:
            made = root.source
            if root.fresh and root is not item and name_of(type(made)) in _CALLABLES:
                names = [getattr(each, "__qualname__", None) for each in (made, source)]
                modules = [getattr(each, "__module__", None) for each in (made, source)]
                if unbound or (names[0] == names[1] and modules[0] == modules[1]):
                    return made
        return None

    def alias(self, item: Item, obj: Any) -> None:
        """Have another object stand for what an item freezes."""
        self._items.setdefault(id(obj), item)

    def _meet(self, obj: Any, path: str, by: Item | None, edges: list[Item]) -> Any:
        item = self._items.get(id(obj))
        if item is None:
            if is_frozen(obj):
                return obj
            item = self._plan(obj, path, is_root=by is None)
        edges.append(item)
        return item.frozen

    def _plan(self, obj: Any, path: str, *, is_root: bool) -> Item:
        maker = maker_of(obj)
        if maker is not None:
            self._sources.append(obj)
        try:
            if maker is not None:  # of data, the freezer asks
                self._ask_before(obj, is_root)
            item: Item = (maker or Data)(obj, path, self)
        except Refusal as refusal:
            item = BaseItem(obj, path, self)
            item.failure = error_of(path, obj, str(refusal), None)
        else:
            if maker is not None:
                self._waiting.append(item)
        self._items[id(obj)] = item
        return item

    # --- what a dry run does otherwise (dry_plan.py) ---------------------------------------------

    def _ask_before(self, obj: Any, is_root: bool) -> None:
        from icehouse.store.declarations import status

        status.before(obj, is_root)

    def _freeze(self, data: Any) -> Any:
        return _freeze_data(data)

    # --- the phases ------------------------------------------------------------------------------

    def add_root(self, obj: Any, *, fresh: bool = False) -> None:
        """Plan an argument of freeze()."""
        self._meet(obj, _root_path(obj), None, self._roots)
        if fresh:
            self._items[id(obj)].fresh = True

    def settle(self) -> list[Item]:
        """Check all that is reached, and freeze the data; the items that will freeze.

        NotFreezableError of an argument.
        """
        for _ in range(ROUNDS_MAX):
            self._check_waiting()
            for root in self._roots:
                if type(root) is Data and root.frozen is None:
                    self._check(root)
            live = self._live()
            if self._snapshot(set(map(id, live))) and len(self._live()) == len(live):
                return live
        raise NotFreezableError(
            f"cannot freeze {self._roots[0].path}: functions inside of what it captured are other "
            "ones each time that it is read"
        )

    def _check_waiting(self) -> None:
        while self._waiting:
            # The latest first: the order is that of a program that calls them.
            self._check(self._waiting.pop())

    def _check(self, item: Item) -> None:
        try:
            item.check(self)
        except Refusal as refusal:
            item.failure = error_of(item.path, item.source, str(refusal), None)
        except NotFreezableError as failure:
            item.failure = failure

    def freeze_argument(self, obj: Any) -> tuple[Any, list[Item]]:
        """Freeze an argument that is data; with the items of the arguments that it refers to."""
        before, self._inside, self._only_planned = self._inside, [], True
        try:
            with planning(self):
                return self._freeze(obj), self._inside
        finally:
            self._inside, self._only_planned = before, False

    def _live(self) -> list[Item]:
        """List what the arguments need, once failures have spread; the error of an argument."""
        holders: dict[int, list[Item]] = {}
        for item in self._items.values():
            for needed in item.needs:
                holders.setdefault(id(needed), []).append(item)
        failed = [item for item in self._items.values() if item.failure is not None]
        while failed:
            item = failed.pop()
            for holder in holders.get(id(item), ()):
                if holder.failure is None:
                    holder.failure = item.failure
                    failed.append(holder)
        for root in self._roots:
            if root.failure is not None:
                raise root.failure
        live: dict[int, Item] = {}
        waiting = [*self._inside, *reversed(self._roots)]
        while waiting:
            item = waiting.pop()
            if item.failure is None and id(item) not in live:
                live[id(item)] = item
                waiting.extend(reversed([*item.needs, *item.hopes]))
        return list(live.values())

    def _snapshot(self, live: set[int]) -> bool:
        """Freeze the data of live items as one; False where that must be tried again.

        That is so where some of it can't freeze, whose items have failed now, and where functions
        were met inside of it, which are planned now.
        """
        self._inside = []
        data = [datum for datum in self._data if id(datum.by) in live]
        if not data:
            return True
        try:
            with planning(self):
                frozen = self._freeze([datum.value for datum in data])
        except Again:
            return False
        except Exception as error:
            # What code of the user's raised has a note, be it of a freezing of its own.
            if _say_where(error, data) or not isinstance(error, NotFreezableError):
                raise
            self._blame(error, data)
            return False
        for at, datum in enumerate(data):
            datum.take(frozen[at])
        return True

    def _blame(self, error: NotFreezableError, data: list[_Datum]) -> None:
        """Find whose data it is that can't be frozen."""
        place = place_of(getattr(error, "path", ""), data)
        if place is None:
            raise error
        datum, path = place
        found = NotFreezableError(str(error).replace(vars(error)["path"], path, 1))
        found.__dict__.update(vars(error), path=path)
        datum.by.failure = found

    def commit(self, live: list[Item]) -> None:
        """Make everything frozen.

        `Again` if something was frozen meanwhile, by another thread or a `__pre_freeze__`.
        """
        for item in live:
            item.prepare()
        with _committing:
            if self.is_overtaken():
                raise Again
            self._commit(live)

    def is_overtaken(self) -> bool:
        """Whether something that this plan was going to freeze is frozen by now."""
        return any(map(is_frozen, self._sources))

    @staticmethod
    def _commit(live: list[Item]) -> None:
        done: list[Item] = []
        try:
            for item in live:
                item.commit()
                done.append(item)
        except BaseException:
            for item in reversed(done):
                item.undo()
            raise


def place_of(path: str, data: list[_Datum]) -> tuple[_Datum, str] | None:
    """Find whose data a path into the snapshot leads to, and what its path is to a user."""
    number, bracket, rest = path.removeprefix("root[").partition("]")
    if not (path.startswith("root[") and bracket and number.isdecimal()):
        return None
    datum = data[int(number)]
    return datum, datum.path + rest


def _say_where(error: Exception, data: list[_Datum]) -> bool:
    """Put the path that a user knows into the note of the freezer; whether there is one.

    It writes one for what code raised that it called.
    """
    notes = getattr(error, "__notes__", [])
    if not notes or not notes[-1].startswith("while freezing "):
        return False
    path, comma, rest = notes[-1].removeprefix("while freezing ").partition(", an object of ")
    place = place_of(path, data)
    if place is not None:
        notes[-1] = f"while freezing {place[1]}{comma}{rest}"
    return True


def freeze(objects: Iterable[Any], *, fresh: bool = False) -> Any:
    """Freeze all of them, or none: declarations and data; the frozen form of the first.

    `fresh`: by a decorator, so that the names of the declarations are not bound to them yet.
    TypeError where there are none; NotFreezableError, with the path, where one can't be frozen:
    then nothing has changed.
    """
    from icehouse.store.declarations import status

    arguments = tuple(objects)
    if not arguments:
        raise TypeError("freeze() takes at least one object")
    asking = status.asking(arguments)
    with asking:
        while True:
            plan = Plan()
            try:
                return _freeze(plan, arguments, fresh=fresh)
            except Exception as error:
                # Each time that it is tried again, more is frozen. A veto stays one.
                if error is asking.veto or not plan.is_overtaken():
                    raise


def _freeze(plan: Plan, arguments: tuple[Any, ...], *, fresh: bool) -> Any:
    for obj in arguments:
        if not is_frozen(obj):
            plan.add_root(obj, fresh=fresh)
    plan.commit(plan.settle())
    item = plan.item_of(arguments[0])
    return arguments[0] if item is None else item.frozen


def maker_of(obj: Any) -> Callable[[Any, str, Plan], Item] | None:
    """Find what makes the item of a declaration; None for data."""
    where = _MAKERS.get(name_of(type(obj)))
    if where is None and issubclass(type(obj), type):
        where = ("classes", "ClassItem")
    elif where is None and isinstance(obj, ModuleType):
        return _Module
    if where is None:
        return None
    module = __import__(f"icehouse.store.declarations.{where[0]}", fromlist=[where[1]])
    maker: Callable[[Any, str, Plan], Item] = getattr(module, where[1])
    return maker


def is_declaration(obj: Any) -> bool:
    """Whether freeze() plans something, and does not freeze it as data."""
    return not is_frozen(obj) and maker_of(obj) is not None


def is_callable_declaration(obj: Any) -> bool:
    """Whether something is a function, method or partial that is not frozen."""
    return name_of(type(obj)) in _CALLABLES


def label_of(declaration: Any) -> str:
    """Name a function or class in paths and errors, without where a local one is defined."""
    name: str = declaration.__qualname__
    return name.rpartition("<locals>.")[2]


def _root_path(obj: Any) -> str:
    if issubclass(type(obj), type):
        return f"class {label_of(obj)}"
    return label_of(obj) if name_of(type(obj)) in _CALLABLES - {"functools.partial"} else "root"


def error_of(path: str, obj: Any, reason: str, holder: Any) -> NotFreezableError:
    """Make the error for something that can't be frozen, as the freezer of data makes its own."""
    kind = name_of(type(obj)).removeprefix("builtins.")
    error = NotFreezableError(
        f"cannot freeze {path}: an object of type {kind} has no frozen form: {reason}"
    )
    error.__dict__.update(path=path, object=obj, holder=holder, type=type(obj))
    return error


# --- functions inside data -----------------------------------------------------------------------

_current = threading.local()


class planning:  # noqa: N801 - a context manager, named as what it does
    """While data freezes for a plan, functions inside of it are the plan's."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._before: Plan | None = None

    def __enter__(self) -> None:
        self._before = getattr(_current, "plan", None)
        _current.plan = self._plan

    def __exit__(self, *error: object) -> None:
        _current.plan = self._before


def current() -> Plan | None:
    """Find the plan for which data freezes in this thread."""
    plan: Plan | None = getattr(_current, "plan", None)
    return plan
