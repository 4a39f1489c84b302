"""The store that lives in this process, and opening handles of any store of it."""

from icehouse.native._image import Stat, Store, Usage, get

__all__ = ["Stat", "Store", "Usage", "get"]
