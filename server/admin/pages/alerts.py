"""What is wrong, in words, and what to do about it."""

from dataclasses import dataclass

from icehouse.server.admin.pages.wording import count, counted, lasting, share, size
from icehouse.server.admin.samples import Samples
from icehouse.store.wire import messages

NEARLY = 0.85
FULL = 0.95
# Free memory in pieces is worth a word where there is this much of it, as a share of all.
PIECES_WORTH = 0.1
PIECES_SMALL = 0.25
DESCRIPTORS_NEARLY = 0.85
WAITING_WORTH = 0.05
HELD_WORTH = 0.1


@dataclass(frozen=True)
class Alert:
    """One thing to know. `level` is bad, warn or note; `link` is a page that says more."""

    level: str
    title: str
    text: str
    link: str = ""
    link_text: str = ""


def alerts(told: messages.Metrics, samples: Samples) -> list[Alert]:
    """Find what is worth telling, the worst first."""
    found = [*damage(told), *room(told), *lately(samples), *slowly(told)]
    order = ("bad", "warn", "note")
    return sorted(found, key=lambda alert: order.index(alert.level))


def total(told: messages.Metrics, key: str) -> int:
    """Sum a counter over its labels."""
    return sum(told.counters.get(key, {}).values())


def damage(told: messages.Metrics) -> list[Alert]:
    """Tell what should never be."""
    found = []
    if corruptions := total(told, "corruptions"):
        found.append(
            Alert(
                "bad",
                f"Damage was found in shared memory {counted(corruptions, 'time')}",
                "Somebody wrote where nobody may, or memory fails. What is damaged is refused to"
                " readers. The daemon's log names segment and place: look there first, then at"
                " who produced it.",
                "/memory",
                "Segments",
            )
        )
    if errors := total(told, "errors"):
        found.append(
            Alert(
                "bad",
                f"The daemon had {counted(errors, 'fault')} of its own",
                "Its log has a line “internal_error” for each, with the place. It went on; please"
                " report them.",
            )
        )
    if failures := total(told, "spill_failures"):
        found.append(
            Alert(
                "warn",
                f"Spilling failed {counted(failures, 'time')}",
                "Its disk may be full: “spill_failed” in the log says why. Meanwhile nothing"
                " moves out of memory.",
            )
        )
    return found


def room(told: messages.Metrics) -> list[Alert]:
    """Tell how full it is."""
    gauges = told.gauges
    capacity = gauges.get("capacity_bytes", 0)
    used = gauges.get("used_bytes", 0)
    if capacity <= 0:
        return []
    filled = used / capacity
    if filled >= NEARLY:
        deleted = told.labelled.get("object_bytes", {}).get("deleted", 0)
        unowned = told.labelled.get("object_bytes", {}).get("unowned", 0)
        hints = []
        if deleted > used * WAITING_WORTH:
            hints.append(f"{size(deleted)} is deleted and only held by readers")
        if unowned > used * WAITING_WORTH:
            hints.append(f"{size(unowned)} is of producers that have ended")
        known = f" Of it {' and '.join(hints)}." if hints else ""
        return [
            Alert(
                "bad" if filled >= FULL else "warn",
                f"The store is {share(filled)} full",
                f"{size(used)} of {size(capacity)} is in objects.{known} Once nothing is free,"
                " puts fail with StoreFull. Delete what nobody needs, let some be evictable,"
                " set a spill folder, or raise capacity.",
                "/objects?state=deleted" if hints[:1] and deleted else "/objects",
                "What is in it",
            )
        ]
    deleted = told.labelled.get("object_bytes", {}).get("deleted", 0)
    if deleted > capacity * HELD_WORTH:
        return [
            Alert(
                "note",
                f"{size(deleted)} is deleted, and held",
                "Processes still have views of it; it is free once they drop them.",
                "/objects?state=deleted",
                "What, and who holds it",
            )
        ]
    free, largest = gauges.get("free_bytes", 0), gauges.get("largest_free_bytes", 0)
    if free > capacity * PIECES_WORTH and largest < free * PIECES_SMALL and filled > 0.5:
        return [
            Alert(
                "note",
                "Free memory is in small pieces",
                f"{size(free)} is free in segments, the largest piece has {size(largest)}. A larger"
                " object needs a segment of its own.",
                "/memory",
                "Where the pieces are",
            )
        ]
    return []


def lately(samples: Samples) -> list[Alert]:
    """Tell what happened while somebody looked."""
    found = []
    span = f"In the last {lasting(samples.seconds())}"
    if fulls := samples.grown("fulls"):
        found.append(
            Alert(
                "bad",
                f"{counted(fulls, 'put')} found no room",
                f"{span}. Their callers got StoreFull, or waited for room. An object can be too"
                " large for what is free in one piece although much is free in all.",
                "/memory",
                "What is free",
            )
        )
    if dead := samples.grown("dead"):
        found.append(
            Alert(
                "warn",
                f"{counted(dead, 'process', 'processes')} ended without saying goodbye",
                f"{span}: killed, crashed, or left by os._exit. What was named or pinned stays; the"
                " rest goes after orphan_ttl.",
                "/clients",
                "Who is left",
            )
        )
    if evicted := samples.grown("evicted"):
        found.append(
            Alert(
                "note",
                f"{counted(evicted, 'object')} evicted to make room",
                f"{span}. They were put as evictable, so that is as it should be; if they are"
                " missed, raise capacity.",
            )
        )
    return found


def slowly(told: messages.Metrics) -> list[Alert]:
    """Tell what comes to a limit."""
    found = []
    gauges = told.gauges
    opened, most = gauges.get("descriptors", 0), gauges.get("descriptors_limit", 0)
    if most > 0 and opened > most * DESCRIPTORS_NEARLY:
        found.append(
            Alert(
                "warn",
                f"{share(opened / most)} of the daemon's file descriptors are in use",
                f"{count(opened)} of {count(most)}. When none is left, new segments and clients"
                " are refused. Raise LimitNOFILE= or `ulimit -Hn`, and restart.",
            )
        )
    queue = gauges.get("reclaim_queue", 0)
    if queue > 100_000:
        found.append(
            Alert(
                "note",
                f"{counted(queue, 'deleted object')} wait to be freed",
                "It goes on by itself; readers that never end can hold it up.",
                "/objects?state=deleted",
                "Which",
            )
        )
    return found
