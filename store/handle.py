"""Handles: sixteen bytes that name a frozen image."""

from icehouse.native._image import Handle

__all__ = ["Handle"]
