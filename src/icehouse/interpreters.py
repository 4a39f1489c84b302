"""Frozen objects between the interpreters of one process: see `icehouse.store.interpreters`."""

from icehouse.store.interpreters import *  # noqa: F403 - re-exports only
from icehouse.store.interpreters import __all__ as __all__
