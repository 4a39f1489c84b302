"""The paths of pathlib, by flavour and text.

A path of the machine (`Path`) is one where it is opened, if that has the flavour: a WindowsPath
comes back as a PureWindowsPath on other systems.
"""

import pathlib
from typing import Any

from icehouse.store.freezing import codes, subclasses
from icehouse.store.freezing.refusal import Refusal
from icehouse.store.freezing.trust import Trust

_FLAVOURS: tuple[type[pathlib.PurePath], ...] = (
    pathlib.PurePosixPath,
    pathlib.PureWindowsPath,
    pathlib.PosixPath,
    pathlib.WindowsPath,
)
_NATIVE = type(pathlib.Path())
_OWN = (*_FLAVOURS, pathlib.Path, pathlib.PurePath)


def rule(cls: type, base: type) -> tuple[Any, ...] | str | None:
    """Store the four types, and subclasses of them and of Path."""
    if base is not pathlib.PurePath:
        return None
    if cls in _FLAVOURS:
        flavour = _FLAVOURS.index(cls)

        def payload(obj: pathlib.PurePath) -> tuple[int, str]:
            return flavour, _text(obj, cls)

        return ("value", codes.PATH, payload)
    return subclasses.rule(cls, _own_base(cls), _plain)


def _own_base(cls: type) -> Any:
    """Find the last class of pathlib that a subclass of a user has as its base."""
    return next(base for base in cls.__mro__ if base in _OWN)


def _text(obj: pathlib.PurePath, cls: Any) -> str:
    text = pathlib.PurePath.__str__(obj)
    if (
        issubclass(cls, pathlib.PureWindowsPath)
        and pathlib.PureWindowsPath(text).parts != obj.parts
    ):
        raise Refusal(
            f"the text of this path, {text!r}, reads as another path, as it does for pickle: "
            "Python before 3.12 loses the leading '.' of './c:'"
        )
    return text


def _flavour(cls: type) -> type[pathlib.PurePath]:
    """Find the plain type of a class's own kind."""
    for base in cls.__mro__:
        if base in _FLAVOURS:
            return base
    return _NATIVE if issubclass(cls, pathlib.Path) else type(pathlib.PurePath())


def _plain(obj: pathlib.PurePath) -> pathlib.PurePath:
    cls = _flavour(type(obj))
    return cls(_text(obj, cls))


def open_path(payload: Any, trust: Trust) -> pathlib.PurePath:
    """Open a path."""
    del trust
    flavour, text = payload
    if type(flavour) is not int or not 0 <= flavour < len(_FLAVOURS) or type(text) is not str:
        raise ValueError("a path is stored as its flavour and its text")
    cls = _FLAVOURS[flavour]
    if issubclass(cls, pathlib.Path) and cls is not _NATIVE:
        cls = pathlib.PurePosixPath if cls is pathlib.PosixPath else pathlib.PureWindowsPath
    return cls(text)
