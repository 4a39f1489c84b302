"""Packages of others that values are made with, where they load."""

import importlib
import sys
from typing import Any

from icehouse.store.freezing.records import Record
from icehouse.store.freezing.trust import Trust

# What does not load is not tried again: an import that fails halfway takes a tenth of a second.
_absent: set[str] = set()


def package(name: str) -> Any:
    """Import the module of this name; None where it is absent or refuses this interpreter."""
    found = sys.modules.get(name)
    if found is not None and name not in _absent:
        return found
    if name in _absent:
        return None
    try:
        return importlib.import_module(name)
    except ImportError:
        # Absent, or not for interpreters with their own GIL.
        _absent.add(name)
        return None


def record(type_name: str, payload: Any) -> Record:
    """Stand in for an object whose package does not load: its parts stay readable."""
    names = tuple(payload)
    return Record(type_name, names, tuple(payload[name] for name in names))


def in_place(trust: Trust) -> bool:
    """Whether index-bearing buffers may be used unseen (H4): only our own images' may."""
    return trust.own


def as_int(value: Any) -> int:
    """Check an int of a payload; ValueError for anything else."""
    if type(value) is not int:
        raise ValueError(f"not an int: {type(value).__name__}")
    return value


def as_str(value: Any) -> str:
    """Check a str of a payload; ValueError for anything else."""
    if type(value) is not str:
        raise ValueError(f"not a str: {type(value).__name__}")
    return value


def as_bytes(value: Any) -> bytes:
    """Copy bytes of a payload."""
    if isinstance(value, str | int | float):
        raise ValueError(f"not bytes: {type(value).__name__}")
    return bytes(value)
