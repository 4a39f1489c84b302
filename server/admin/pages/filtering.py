"""The form above the list of objects: what somebody wrote, what it means, and what is wrong."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from icehouse.server import units
from icehouse.server.admin.finding import TYPES, Filters

STATES = ("live", "orphan", "deleted", "spilled")
SORTS = {
    "place": "place in memory",
    "-size": "largest first",
    "size": "smallest first",
    "-created": "newest first",
    "created": "oldest first",
}
TEXT_MAX = 512
FIELDS = ("q", "state", "type", "name", "pid", "min_size", "max_size", "min_age", "max_age", "sort")


@dataclass(frozen=True)
class Form:
    """What is in the fields, the filters that it makes, and what can't be understood, by field."""

    given: dict[str, str]
    filters: Filters
    errors: dict[str, str]

    @property
    def is_used(self) -> bool:
        """Whether it picks some."""
        return any(value for key, value in self.given.items() if key != "sort")

    @property
    def is_opened(self) -> bool:
        """Whether a field is used that is not in the first row."""
        return any(self.given.get(key) for key in FIELDS[2:-1])


def read(query: Mapping[str, str]) -> Form:
    """Read a form; fields that can't be understood pick nothing, and are told."""
    given = {key: query.get(key, "").strip()[:TEXT_MAX] for key in FIELDS}
    errors: dict[str, str] = {}
    if given["state"] not in STATES:
        given["state"] = ""
    if given["type"] not in TYPES:
        given["type"] = ""
    if given["sort"] not in SORTS:
        given["sort"] = ""
    meant: dict[str, Any] = {key: given[key] or None for key in ("q", "state", "type", "name")}
    for key, text in given.items():
        if not text or key in meant or key == "sort":
            continue
        try:
            meant[key] = value_of(key, text)
        except ValueError:
            errors[key] = HELP[key.rpartition("_")[2]]
    return Form(given, Filters(sort=given["sort"] or "place", **meant), errors)


HELP = {
    "pid": "a number of a process",
    "size": "a size such as 4096, 64KiB or 1.5MiB",
    "age": "a time such as 30s, 5m, 2h or 1d",
}


def value_of(key: str, text: str) -> int | float:
    """Read a number with its unit; ValueError if it is none."""
    if key == "pid":
        if not text.isdecimal() or len(text) > 9:
            raise ValueError(text)
        return int(text)
    value = units.size(text) if key.endswith("size") else units.seconds(text)
    if value >= 2**62:
        raise ValueError(text)
    return value
