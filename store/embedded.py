"""The store, and opening handles of any store of this process.

Most of it is compiled; the methods that are written in Python are added here, so that the layer
below need not know this one.
"""

from icehouse.native._image import Remote, Stat, Store, Usage, get
from icehouse.store import leaving
from icehouse.store.create import create
from icehouse.store.scope import Scope, scope
from icehouse.store.watch import watch

__all__ = ["Remote", "Scope", "Stat", "Store", "Usage", "get"]

Store.watch = watch  # type: ignore[method-assign]
Store.create = create  # type: ignore[method-assign]
Store.scope = scope  # type: ignore[method-assign]
leaving.register()
