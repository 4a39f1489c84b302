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
# What comes by the thousand is told by the second.
FLOODING = ("delete", "evict", "spill")
SECOND = len("2026-11-27T14:00:00")
# Reasons that the kind says already.
PLAIN = ("deleted", "evicted", "unbound")
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
    many: int


def sentence(kind: str, known: dict[str, Any]) -> str:
    """Say what happened."""
    many, amount = int(known.get("count", 1)), known.get("bytes", 0)
    bytes_text = f" of {size(amount)}" if amount else ""
    objects = f"{counted(many, 'object')}{bytes_text}" if many > 1 else f"An object{bytes_text}"
    was = "were" if many > 1 else "was"
    pid = f"pid {known['pid']}" if known.get("pid") else ""
    why = f" ({visible(known['why'])})" if known.get("why", "") not in ("", *PLAIN) else ""
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
            room = f" for {size(amount)}" if amount else ""
            return f"{capital(pid) or 'Somebody'} found no room{room}{why}"
        case "bind":
            if many > 1 and not known.get("name"):
                return f"{counted(many, 'name')} were bound or unbound"
            # The name stands before it, the handle behind.
            return f"was bound{by} to" if known.get("handle") else f"was unbound{by}{why}"
        case "client_joined" | "client_left" | "client_died":
            what = {"joined": "connected", "left": "left", "died": "ended without a goodbye"}
            who = capital(pid) or counted(many, "process", "processes")
            return f"{who} {what[kind.removeprefix('client_')]}{why}"
        case "gap":
            return f"{counted(known.get('lost', 0), 'event')} were missed here"
        case "away":
            return f"The daemon does not answer: {visible(known.get('why', ''))}"
        case "back":
            return "The daemon answers again"
    return kind


def capital(text: str) -> str:
    """Have a text begin a sentence."""
    return text[:1].upper() + text[1:]


def same(one: Happening, event: Event, known: dict[str, Any]) -> bool:
    """Whether an event is one more of what a line tells of already, within the same second."""
    if one.kind != event.kind or event.kind not in FLOODING or one.at is None:
        return False
    return str(known.get("at", ""))[:SECOND] == one.at.isoformat()[:SECOND]


def line(event: Event, known: dict[str, Any], above: Happening | None = None) -> Happening:
    """Make a line of an event, or of it and those of the line above, which it takes over."""
    many = int(known.get("count", 1))
    if above is not None:
        known = {"at": known["at"], "count": many + above.many}
        known["bytes"] = 0
    return Happening(
        number=above.number if above is not None else event.number,
        kind=event.kind,
        label=LABELS[event.kind],
        is_bad=event.kind in BAD,
        at=datetime.fromisoformat(known["at"]) if "at" in known else None,
        text=sentence(event.kind, known),
        handle=known.get("handle", ""),
        name=known.get("name", ""),
        session=known.get("session", 0),
        many=int(known.get("count", 1)),
    )


def shown(ring: Iterable[Event], group: str) -> list[Happening]:
    """Give the newest events of a group, of all if it is none; a flood of one kind is one line."""
    wanted = GROUPS.get(group, tuple(LABELS))
    found: list[Happening] = []
    for event in reversed(list(ring)):
        if event.kind not in wanted:
            continue
        known = json.loads(event.text)
        if found and same(found[-1], event, known):
            found[-1] = line(event, known, found[-1])
            continue
        if len(found) == SHOWN_MAX:
            break
        found.append(line(event, known))
    return found
