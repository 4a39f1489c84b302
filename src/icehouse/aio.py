"""The daemon's store for asyncio: `store = await icehouse.aio.connect()`."""

from icehouse.client.aio import AsyncScope, AsyncStore, AsyncWatch, connect

__all__ = ["AsyncScope", "AsyncStore", "AsyncWatch", "connect"]
