"""Events as sentences: the page shows those that the feed still has, the newest first."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from icehouse.server.admin.feed import Event
from icehouse.server.admin.pages.wording import counted, size, visible

SHOWN_MAX = 200
# What the page can be told to show alone, and which kinds that is.
GROUPS = {
    "objects": ("put", "delete", "evict", "spill", "full"),
    "names": ("bind",),
    "clients": ("client_joined", "client_left", "client_died"),
    "trouble": ("full", "client_died", "away", "back", "gap"),
}
LABELS = {
    "put": "put",
    "delete": "deleted",
    "evict": "evicted",
    "spill": "spilled",
    "bind": "name",
    "full": "full",
    "client_joined": "joined",
    "client_left": "left",
    "client_died": "died",
    "away": "daemon",
    "back": "daemon",
    "gap": "gap",
}
BAD = ("full", "client_died", "away", "gap")


@dataclass(frozen=True)
class Happening:
    """One line of the page. Handle and name, if it has some, are links behind the text."""

    number: int
    kind: str
    label: str
    is_bad: bool
    at: datetime | None
    text: str
    handle: str
    name: str
    session: int


def sentence(kind: str, known: dict[str, Any]) -> str:
    """Say what happened."""
    many, amount = int(known.get("count", 1)), known.get("bytes", 0)
    bytes_text = f" of {size(amount)}" if amount else ""
    objects = f"{counted(many, 'object')}{bytes_text}" if many > 1 else f"An object{bytes_text}"
    was = "were" if many > 1 else "was"
    pid = f"pid {known['pid']}" if known.get("pid") else ""
    why = f" ({visible(known['why'])})" if known.get("why") else ""
    by = f" by {pid}" if pid else ""
    match kind:
        case "put":
            return f"{objects} {was} put{by}"
        case "delete":
            return f"{objects} {was} deleted{by}{why}"
        case "evict":
            return f"{objects} {was} evicted to make room{why}"
        case "spill":
            return f"{objects} {was} moved to disk{why}"
        case "full":
            return f"{pid or 'Somebody'} found no room{bytes_text.replace(' of', ' for')}{why}"
        case "bind":
            if many > 1 and not known.get("name"):
                return f"{counted(many, 'name')} were bound or unbound"
            return f"Bound{by}" if known.get("handle") else f"Unbound{by}{why}"
        case "client_joined" | "client_left" | "client_died":
            what = {"joined": "connected", "left": "left", "died": "ended without a goodbye"}
            who = pid[:1].upper() + pid[1:] if pid else counted(many, "process", "processes")
            return f"{who} {what[kind.removeprefix('client_')]}{why}"
        case "gap":
            return f"{counted(known.get('lost', 0), 'event')} were missed here"
        case "away":
            return f"The daemon does not answer: {visible(known.get('why', ''))}"
        case "back":
            return "The daemon answers again"
    return kind


def shown(ring: Iterable[Event], group: str) -> list[Happening]:
    """Give the newest events of a group; of all if it is none."""
    wanted = GROUPS.get(group, tuple(LABELS))
    found = []
    for event in reversed(list(ring)):
        if event.kind not in wanted:
            continue
        known = json.loads(event.text)
        found.append(
            Happening(
                event.number,
                event.kind,
                LABELS[event.kind],
                event.kind in BAD,
                datetime.fromisoformat(known["at"]) if "at" in known else None,
                sentence(event.kind, known),
                known.get("handle", ""),
                known.get("name", ""),
                known.get("session", 0),
            )
        )
        if len(found) == SHOWN_MAX:
            break
    return found
