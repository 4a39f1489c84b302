"""Freezing several objects together, declarations among them: all or nothing."""

from typing import Any

from icehouse.native._image import _freeze_data


def freeze(objects: tuple[Any, ...]) -> Any:
    """Freeze all of them and return the frozen form of the first.

    NotFreezableError, with the path, where one of them can't be frozen.
    """
    return _freeze_data(*objects)
