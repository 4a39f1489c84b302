"""Frozen classes: frozen in place, with their functions and their state (HAZARDS H25).

What can be written of a class is its namespace, so each mutable entry of it is replaced by one that
can't change (members.py), and then the class gets the flag that the interpreter's own types have:
no attribute of it can be set or deleted from then on, nor its bases. Subclasses can still be made,
and instances stay as mutable as they were.

Nothing is replaced before all of what is frozen together is known to freeze, and what was replaced
is put back if something fails after all.
"""

import os
import sys
from collections.abc import Callable
from types import FunctionType
from typing import Any

from icehouse.native._image import FreezableFunction, _freeze_class
from icehouse.store.declarations import enum_parts, identity, members, occurring, status
from icehouse.store.declarations.capture import is_library
from icehouse.store.declarations.together import BaseItem, Plan, error_of
from icehouse.store.freezing import anatomy, hooks
from icehouse.store.freezing.aside import Aside
from icehouse.store.freezing.refusal import Refusal
from icehouse.store.freezing.trust import module_of, name_of

ID_BYTES = 16
_ABSENT: Any = object()
# From 3.14 on: what computes annotations, and where they are kept when that was done.
ANNOTATE = ("__annotate_func__", "__annotate__")
ANNOTATIONS_CACHE = "__annotations_cache__"

# The ids of classes that were frozen, here or elsewhere.
_ids: Aside[bytes] = Aside()


def id_of(cls: type) -> bytes | None:
    """Find the id of a class that was frozen by us; None for others."""
    return _ids.get(cls)


def remember(cls: type, id_: bytes) -> None:
    """Keep the id of a frozen class."""
    _ids.set(cls, id_)


class ClassItem(BaseItem):
    """A class that is being frozen, in place."""

    def __init__(self, source: Any, path: str, plan: Plan) -> None:
        super().__init__(source, path, plan)
        self.frozen = source
        self.id = os.urandom(ID_BYTES)
        self.home = module_of(source)
        # Classes of libraries go by name, and stay as they are: others use them too.
        self.is_ours = False
        self._names: frozenset[str] = frozenset()
        self._makes: list[tuple[str, Callable[[], Any]]] = []
        self._before: list[tuple[str, Any]] = []
        # What the names of the class, and of those around it, will hold once they are bound.
        self.bound: dict[str, Any] = {source.__name__: source}

    # --- planning --------------------------------------------------------------------------------

    def check(self, plan: Plan) -> None:
        """Plan its bases, its metaclass and all of its namespace."""
        cls = self.source
        # In a package that is installed, a decorator is that of its author.
        if is_library(module_of(cls), "") and not status.decorated(cls):
            return
        self._check_kind()
        self.is_ours = True
        self._names = status.named_state(cls)
        for base in anatomy.mro(cls)[1:]:
            self._check_above(plan, base, "base")
        self._check_above(plan, type(cls), "metaclass")
        namespace = _namespace(cls)
        annotations = namespace.get("__annotations__", namespace.get(ANNOTATIONS_CACHE))
        occurring.check(cls, self.path, annotations if type(annotations) is dict else ())
        self._plan_protocol(namespace)
        for name in enum_parts.guarded(cls):
            own = namespace.pop(name, None)
            self._makes.append((name, enum_parts.plan(self, plan, name, own)))
        for name, value in namespace.items():
            if _is_metaclass_descriptor(cls, name):
                raise Refusal(
                    f"its metaclass {name_of(type(cls))} has a descriptor {name!r}, which hides "
                    "the attribute of that name of the class; rename one of them"
                )
            make = members.plan_member(self, plan, name, value)
            if make is not None:
                self._makes.append((name, make))

    def _check_kind(self) -> None:
        cls = self.source
        if not anatomy.is_heap(cls):
            raise Refusal("it is a class of C that is not immutable: leave it out")
        attributes = anatomy.namespace(cls)
        if attributes.get("__pydantic_complete__", True) is not True:
            raise Refusal(
                "this pydantic model is not complete: it needs names that were not defined yet; "
                f"call {cls.__name__}.model_rebuild() first"
            )

    def _check_above(self, plan: Plan, base: type, what: str) -> None:
        """Check a base or the metaclass: it must be frozen, or freeze along."""
        if anatomy.is_immutable(base) or is_library(module_of(base), self.home):
            return
        if plan.item_of(base) is not None or status.decorated(base) or _is_generated(base):
            plan.reach(self, base, f"{self.path}: {what} {base.__qualname__}")
            return
        raise error_of(
            f"{self.path}: {what} {base.__qualname__}",
            base,
            f"it is not frozen, and what {self.source.__qualname__} inherits from it could "
            f"change; freeze both: icehouse.freeze({base.__name__}, {self.source.__name__}), or "
            "decorate it with @icehouse.frozen or @icehouse.freezable",
            self.source,
        )

    def _plan_protocol(self, namespace: dict[str, Any]) -> None:
        """Give a class that implements a protocol its `__init__` now.

        typing looks for it when the first instance is made, and then writes it into the class.
        """
        cls = self.source
        found = anatomy.class_attribute(cls, "__init__")
        if "__init__" in namespace or getattr(found, "__name__", "") != "_no_init_or_replace_init":
            return
        if getattr(found, "__module__", "") != "typing" or namespace.get("_is_protocol"):
            return
        others = (anatomy.namespace(base).get("__init__", found) for base in anatomy.mro(cls))
        init = next((other for other in others if other is not found), object.__init__)
        self._makes.append(("__init__", lambda: init))

    def may_freeze(self, name: str) -> bool:
        """Whether a piece of class state may be frozen."""
        return status.decorated(self.source) or name in self._names or status.ALL in self._names

    def adopt(self, planned: Any, function: Any) -> None:
        """Tell the item of a method what it needs to know of its class."""
        bound = getattr(planned, "bound", None)
        if bound is None:
            return
        bound.update(self.bound)
        planned.owner = self.source
        planned.fresh = planned.fresh or self.fresh
        planned.names = planned.names | self._names
        if is_generated(function):
            planned.names |= {status.ALL}

    def adopt_class(self, planned: Any) -> None:
        """Tell the item of a nested class the names of those around it."""
        if isinstance(planned, ClassItem):
            planned.bound = {**self.bound, **planned.bound}
            planned.fresh = planned.fresh or self.fresh

    def plan_default(self, plan: Plan, name: str, value: Any) -> Callable[[], Any] | None:
        """Plan the default of a dataclass field, or what makes it; None: it stays."""
        if type(value) in (FunctionType, FreezableFunction):
            return members.plan_function(self, plan, name, value)
        if members.is_fixed(value) or issubclass(type(value), type):
            return None
        return members.plan_value(self, plan, name, value)

    # --- freezing --------------------------------------------------------------------------------

    def commit(self) -> None:
        """Replace the entries, and make the class immutable."""
        cls = self.source
        if not self.is_ours:
            return
        namespace = anatomy.namespace(cls)
        # The functions are all there by now, which are asked for their attributes here.
        changes = [(name, make()) for name, make in self._makes]
        self._before = []
        try:
            for name, new in changes:
                old = namespace.get(name, _ABSENT)
                if old is new:
                    continue
                self._before.append((name, old))
                type.__setattr__(cls, name, new)
            for name in self._superfluous(namespace):
                self._before.append((name, namespace[name]))
                type.__delattr__(cls, name)
            _freeze_class(cls)
            remember(cls, self.id)
            identity.remember(True, self.id, cls)  # noqa: FBT003 - our own
        except BaseException:
            self.undo()
            raise
        hooks.generation += 1

    @staticmethod
    def _superfluous(namespace: Any) -> list[str]:
        """List entries that go: what computes annotations that are there, and a status.

        The latter would be a part of a protocol, and has said what it had to say.
        """
        names = [name for name in ANNOTATE if name in namespace]
        if namespace.get("_is_protocol") and status.ATTRIBUTE in namespace:
            names.append(status.ATTRIBUTE)
        return names

    def undo(self) -> None:
        """Put back what was replaced."""
        cls = self.source
        if not self.is_ours:
            return
        _freeze_class(cls, False)  # noqa: FBT003 - thaws it
        identity.forget(self.id)
        _ids.forget(cls)
        for name, old in reversed(self._before):
            if old is _ABSENT:
                type.__delattr__(cls, name)
            else:
                type.__setattr__(cls, name, old)
        self._before = []
        hooks.generation += 1


def _namespace(cls: type) -> dict[str, Any]:
    """List the entries of a class, once those are there that Python makes when asked.

    From 3.14 on annotations are, and texts of dataclasses.
    """
    namespace = dict(anatomy.namespace(cls))
    if type(namespace.get("__doc__")).__module__ == "dataclasses":
        namespace["__doc__"] = type.__getattribute__(cls, "__doc__")
    if any(namespace.pop(name, None) is not None for name in ANNOTATE):
        annotate: Any = type.__getattribute__(cls, "__annotate__")
        kept = namespace.get(ANNOTATIONS_CACHE)
        if kept is None and annotate is not None:
            kept = _computed(annotate, cls)
        namespace[ANNOTATIONS_CACHE] = kept or {}
    elif "__annotations__" not in namespace:
        # Whoever asks would else be given a dict to write into.
        name = "__annotations__" if sys.version_info < (3, 14) else ANNOTATIONS_CACHE
        namespace.setdefault(name, {})
    return namespace


def _computed(annotate: Any, cls: type) -> Any:
    """Compute annotations: not by `__annotations__`, which would write into the class."""
    from annotationlib import (  # type: ignore[import-not-found,unused-ignore]
        Format,
        call_annotate_function,
    )

    return call_annotate_function(annotate, Format.FORWARDREF, owner=cls)


def _is_metaclass_descriptor(cls: type, name: str) -> bool:
    """Whether setting an attribute of the class would run a descriptor of its metaclass."""
    for base in anatomy.mro(type(cls)):
        if base is type:
            return False
        found = anatomy.namespace(base).get(name)
        if found is not None and hasattr(type(found), "__set__"):
            return True
    return False


def is_generated(function: Any) -> bool:
    """Whether a decorator wrote a function: what it captured is what the decorator was told."""
    code = getattr(function, "__code__", None)
    file = getattr(code, "co_filename", "")
    return file == "<string>" and function.__name__ in members.DATACLASS_METHODS


def _is_generated(base: type) -> bool:
    """Whether a class is a named tuple that nobody has a name for but its subclass."""
    attributes = anatomy.namespace(base)
    return (
        anatomy.mro(base)[1:] == (tuple, object)
        and "_fields" in attributes
        and "_make" in attributes
        and not any(type(value) is property for value in attributes.values())
    )
