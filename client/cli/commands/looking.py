"""`icehouse status`, `icehouse stat` and `icehouse who`."""

from typing import TYPE_CHECKING, Any

from icehouse.client.cli.options import Json, Lines, Quiet, Reference, References, Socket
from icehouse.client.cli.output import (
    guarded,
    plain,
    print_json,
    print_line,
    print_pairs,
    print_rows,
)

if TYPE_CHECKING:
    from icehouse.client.control import Control
    from icehouse.store.wire import messages


def status(*, socket: Socket = None, json: Json = False, quiet: Quiet = False) -> None:
    """Say how the daemon is, and how full its store.

    How much of the memory is used is told to admins alone. With --quiet only the exit code tells
    whether a daemon answers.
    """
    from icehouse.client.cli.ask import connect
    from icehouse.store.wire import messages

    with guarded(silent=quiet), connect(socket) as control:
        told = control.ask(messages.AskStatus(), messages.Status)
        role = control.welcome.role
        metrics = None
        if role == "admin":
            metrics = control.ask(messages.AskMetrics(), messages.Metrics)
        document = status_of(told, metrics, role)
        if quiet:
            return
        if json:
            print_json(document)
        else:
            print_pairs(status_words(document, told.started))


def status_of(
    told: "messages.Status", metrics: "messages.Metrics | None", role: str
) -> dict[str, Any]:
    """Make the document of what the daemon told."""
    from icehouse.client.cli.words import date_text

    gauges = metrics.gauges if metrics is not None else {}

    def gauge(name: str) -> int | None:
        value = gauges.get(name)
        return None if value is None else int(value)

    objects = metrics.labelled.get("objects") if metrics is not None else None
    return {
        "version": told.version,
        "store": told.store,
        "socket": told.socket,
        "pid": told.pid,
        "started": date_text(told.started),
        "role": role,
        "capacity": told.capacity,
        "committed": told.committed,
        "used": gauge("used_bytes"),
        "free": gauge("free_bytes"),
        "largest_free": gauge("largest_free_bytes"),
        "warm": told.warm,
        "waiting": told.waiting,
        "spill": told.spill,
        "spilled": told.spilled,
        "segment_size": told.segment_size,
        "segments": told.segments,
        "objects": objects and {state: int(count) for state, count in objects.items()},
        "leases": gauge("leases"),
        "names": told.names,
        "clients": told.clients,
        "connections": told.connections,
        "orphan_ttl": told.orphan_ttl,
    }


def status_words(told: dict[str, Any], started: float) -> dict[str, str]:
    """Say the document to people."""
    from icehouse.client.cli.words import age_text, count_text, duration_text, size_text

    def share(count: int) -> str:
        of = told["capacity"]
        return f"{size_text(count)} of {size_text(of)}" + (f", {count / of:.0%}" if of else "")

    words = {
        "daemon": f"icehouse {told['version']}, pid {told['pid']}, up {age_text(started)}",
        "socket": told["socket"],
        "you are": told["role"],
        "taken": share(told["committed"]),
    }
    if told["used"] is not None:
        words["used"] = f"{share(told['used'])}; largest free run {size_text(told['largest_free'])}"
    if told["warm"] or told["waiting"]:
        waiting = f"{size_text(told['waiting'])} deleted and not given back by producers"
        words["reusable"] = f"{size_text(told['warm'])} warm, {waiting}"
    words["spilled"] = size_text(told["spilled"]) if told["spill"] else "no spill folder"
    if told["objects"] is not None:
        words["objects"] = ", ".join(
            f"{count_text(count)} {state}"
            for state, count in told["objects"].items()
            if count or state == "live"
        )
    words["names"] = count_text(told["names"])
    words["segments"] = f"{told['segments']} of up to {size_text(told['segment_size'])}"
    words["clients"] = f"{told['clients']}, {told['connections']} connections"
    words["orphans"] = f"go after {duration_text(told['orphan_ttl'])}"
    return words


def one_object(control: "Control", reference: str) -> "messages.Object":
    """Ask about an image, by handle or name."""
    from icehouse.client.cli.ask import about, resolve
    from icehouse.store.wire import messages

    handle = resolve(control, reference)
    with about(reference):
        return control.ask(messages.AskObject(handle=handle), messages.OneObject).item


def stat(*, references: References, socket: Socket = None, json: Lines = False) -> None:
    """Tell everything about objects: size, type, names, lifetime, who made and who reads them."""
    from icehouse.client.cli.ask import connect
    from icehouse.client.cli.ask import references as each
    from icehouse.client.cli.told import of_object
    from icehouse.store.wire import messages

    with guarded(), connect(socket) as control:
        for number, reference in enumerate(each(references)):
            item = one_object(control, reference)
            text = control.ask(messages.Explain(handle=item.handle), messages.Text).text
            document = {
                **of_object(item),
                "readers": list(item.readers),
                "explanation": text,
            }
            if json:
                print_line(document)
            else:
                if number:
                    print()
                print_pairs(stat_words(document, item))


def stat_words(told: dict[str, Any], item: "messages.Object") -> dict[str, str]:
    """Say the document of an image to people."""
    from icehouse.client.cli.words import age_text, size_text, user_text

    size = size_text(told["size"])
    if told["block"] > told["size"]:
        size += f" in a block of {size_text(told['block'])}"
    more = told["names_total"] - len(told["names"])
    names = ", ".join(map(plain, told["names"])) + (f" and {more} more" if more > 0 else "")
    flags = [word for word in ("pinned", "evictable", "sealed", "dedicated") if told[word]]
    producer = f"pid {told['pid']}, user {user_text(told['uid'])}" if told["pid"] else "gone"
    links = f"{told['links']} to others, {told['linked']} from others"
    return {
        "handle": told["handle"],
        "type": told["type"] or "unknown",
        "size": size,
        "state": ", ".join([told["state"], *flags]),
        "names": names or "none",
        "created": f"{told['created']} ({age_text(item.created_ns / 1e9)} ago)",
        **({"expires": told["expires"]} if told["expires"] else {}),
        "producer": producer,
        "readers": ", ".join(map(str, told["readers"])) or "none",
        **({"links": links} if told["links"] or told["linked"] else {}),
        "segment": str(told["segment"]),
        "why": told["explanation"],
    }


def who(
    *, reference: Reference, socket: Socket = None, json: Lines = False, quiet: Quiet = False
) -> None:
    """Tell which processes hold an object: who reads it now, and who made it.

    A process of another container or user shows no command. With --quiet, pids of readers only.
    """
    from icehouse.client.cli.ask import connect
    from icehouse.client.cli.told import of_process
    from icehouse.client.cli.words import Process, age_text

    with guarded(), connect(socket) as control:
        item = one_object(control, reference)
        holders = [of_process(pid, "reads") for pid in item.readers]
        if quiet:
            for pid in item.readers:
                print(pid)
            return
        if item.pid:
            holders.append(of_process(item.pid, "produced"))
        if json:
            for holder in holders:
                print_line(holder)
            return
        rows = []
        for holder in holders:
            started = Process(holder["pid"]).started
            age = age_text(started) if started is not None else "?"
            command = holder["command"] or "ended, or not to be seen from here"
            rows.append((str(holder["pid"]), holder["holds"], holder["user"] or "?", age, command))
        print_rows([">pid", "holds", "user", ">age", "command"], rows)
