"""What `import icehouse` leaves out until it is used: it would take longer than all the rest."""

import importlib
import sys
from typing import Any

__all__ = ["__getattr__"]

# Submodules: asyncio loads longer than all of ours, and so does concurrent.futures.
LAZY = ("aio", "immutable", "interpreters", "metrics")

_STATUS = "icehouse.store.declarations.status"
_DECORATORS = "icehouse.store.declarations.decorators"
_EXPLAIN = "icehouse.store.declarations.explain"
_FIELDS = "icehouse.store.declarations.fields"
_MODULES = "icehouse.store.declarations.modules"

# Public names, and the modules that they come from.
LAZY_NAMES = {
    "FREEZABLE_EXPLICIT": _STATUS,
    "FREEZABLE_NO": _STATUS,
    "FREEZABLE_PROXY": _STATUS,
    "FREEZABLE_YES": _STATUS,
    "ImmutableModule": _MODULES,
    "InterpreterLocal": _FIELDS,
    "NotFreezable": _STATUS,
    "SharedField": _FIELDS,
    "disabled": _STATUS,
    "explain_freeze": _EXPLAIN,
    "explicitly_freezable": _DECORATORS,
    "freezable": _DECORATORS,
    "frozen": _DECORATORS,
    "set_freezable": _STATUS,
    "unfreezable": _DECORATORS,
}


def __getattr__(name: str) -> Any:
    """Import what the package has under this name, at its first use."""
    if name in LAZY:
        return importlib.import_module(f"icehouse.{name}")
    if name in LAZY_NAMES:
        found = getattr(importlib.import_module(LAZY_NAMES[name]), name)
        # Found without a call from now on.
        setattr(sys.modules["icehouse"], name, found)
        return found
    raise AttributeError(f"module 'icehouse' has no attribute {name!r}")
