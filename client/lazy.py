"""What `import icehouse` leaves out until it is used: asyncio loads longer than all of ours."""

import importlib
from types import ModuleType

__all__ = ["__getattr__"]

LAZY = ("aio",)


def __getattr__(name: str) -> ModuleType:
    """Import a submodule of the package at its first use: `icehouse.aio`."""
    if name in LAZY:
        return importlib.import_module(f"icehouse.{name}")
    raise AttributeError(f"module 'icehouse' has no attribute {name!r}")
