"""Metrics of this process for Prometheus: see `icehouse.store.metrics`."""

from icehouse.store.metrics import *  # noqa: F403 - re-exports only
from icehouse.store.metrics import __all__ as __all__
