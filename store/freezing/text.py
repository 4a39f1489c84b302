"""Compiled regular expressions."""

import re
from typing import Any

from icehouse.store.freezing import codes
from icehouse.store.freezing.trust import Trust

# re.DEBUG prints what it compiles: nothing that opening should do.
_SILENT = ~int(re.DEBUG)


def rule(cls: type, base: type) -> tuple[Any, ...] | None:
    """Store a pattern by its text and flags; it is compiled where it is opened (re has a cache)."""
    if cls is base is re.Pattern:
        return ("value", codes.PATTERN, _payload)
    return None


def _payload(obj: Any) -> tuple[str | bytes, int]:
    return obj.pattern, obj.flags & _SILENT


def open_pattern(payload: Any, trust: Trust) -> Any:
    """Compile the pattern again."""
    del trust
    pattern, flags = payload
    if type(pattern) not in (str, bytes) or type(flags) is not int:
        raise ValueError("a pattern is stored as text and flags")
    try:
        return re.compile(pattern, flags & _SILENT)
    except re.error as error:
        raise ValueError(f"not a pattern: {error}") from error
