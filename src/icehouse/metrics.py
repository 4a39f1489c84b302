"""Metrics of this process for Prometheus: see `icehouse.store.metrics`."""

from icehouse.store.metrics import register

__all__ = ["register"]
