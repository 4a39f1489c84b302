"""`icehouse ls`, `names`, `clients` and `segments`: lists that filter, sort and end where asked."""

import enum
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import TYPE_CHECKING, Annotated, Any

import typer

from icehouse.client.cli.options import Lines, Socket, parse_size, parse_time
from icehouse.client.cli.output import guarded, note, print_line, print_rows

if TYPE_CHECKING:
    from icehouse.client.control import Control
    from icehouse.store.wire import messages

# Rows on a terminal, unless more are asked for.
ROWS = 100

Ids = Annotated[bool, typer.Option("--quiet", "-q", help="Only what names each, one a line.")]
Limit = Annotated[
    int | None,
    typer.Option(
        "--limit",
        "-n",
        min=0,
        metavar="COUNT",
        help="At most so many; 0: all.",
        show_default=f"{ROWS} on a terminal, else all",
    ),
]
Reverse = Annotated[bool, typer.Option("--reverse", "-r", help="The other way round.")]
Pager = Annotated[bool, typer.Option("--pager", help="Show it in $PAGER.")]


class State(enum.StrEnum):
    """States of images."""

    LIVE = "live"
    DELETED = "deleted"
    SPILLED = "spilled"
    ORPHAN = "orphan"


class Sort(enum.StrEnum):
    """What images are sorted by."""

    SIZE = "size"
    BLOCK = "block"
    AGE = "age"
    CREATED = "created"
    LEASES = "leases"
    LINKS = "links"
    LINKED = "linked"
    PID = "pid"
    NAME = "name"
    TYPE = "type"
    STATE = "state"
    HANDLE = "handle"


def limit_of(given: int | None, *, as_text: bool) -> int:
    """Say how many rows are shown; 0: all."""
    if given is not None:
        return min(given, sys.maxsize - 1)
    return ROWS if as_text and sys.stdout.isatty() else 0


@contextmanager
def paged(wanted: bool) -> Iterator[None]:
    """Send what is printed inside through the user's pager, where stdout is a terminal."""
    if not wanted or not sys.stdout.isatty():
        yield
        return
    import os
    import shlex
    import subprocess

    words = shlex.split(os.environ.get("PAGER") or "less -RFX")
    process = subprocess.Popen(words, stdin=subprocess.PIPE)
    assert process.stdin is not None
    sys.stdout.flush()
    kept = os.dup(1)
    os.dup2(process.stdin.fileno(), 1)
    try:
        yield
        sys.stdout.flush()
    finally:
        os.dup2(kept, 1)
        os.close(kept)
        process.stdin.close()
        process.wait()


def show(
    what: str,
    found: Iterable[Any],
    *,
    limit: int | None,
    json: bool,
    quiet: bool,
    document: Callable[[Any], dict[str, Any]],
    name: Callable[[Any], str],
    columns: Sequence[str],
    row: Callable[[Any], Sequence[str]],
) -> None:
    """Print a list in the way that is wanted, up to its limit.

    That there is more is told on stderr, unless the limit is what was asked for.
    """
    most = limit_of(limit, as_text=not (json or quiet))
    rest = iter(found)
    items = islice(rest, most) if most else rest
    if quiet:
        for item in items:
            print(name(item))
    elif json:
        for item in items:
            print_line(document(item))
    else:
        print_rows(columns, map(row, items))
    if limit is None and most and next(rest, None) is not None:
        note(f"there are more {what}: --limit 0 shows all, --limit N so many")


def in_their_order(
    items: Iterable[Any], sort: enum.StrEnum | None, fields: Mapping[str, str], *, reverse: bool
) -> Iterable[Any]:
    """Sort by a field, named as the key unless `fields` names another.

    Large numbers come first, but for pids and for times: what began first is the oldest.
    """
    from icehouse.client.cli.filters import ordered

    if sort is None:
        return reversed(list(items)) if reverse else items
    field = fields.get(sort.value, sort.value)
    descending = (field not in ("pid", "opened")) != reverse
    return ordered(items, lambda item: getattr(item, field), descending=descending, limit=0)


def ls(
    *,
    state: Annotated[
        State | None, typer.Option(metavar="STATE", help="live, deleted, spilled, orphan.")
    ] = None,
    type: Annotated[  # noqa: A002 - the name of the option
        list[str] | None, typer.Option("--type", metavar="TYPE", help="E.g. dict; repeatable.")
    ] = None,
    name: Annotated[
        str | None, typer.Option(metavar="PATTERN", help="With such a name: model-*.")
    ] = None,
    named: Annotated[bool | None, typer.Option("--named/--unnamed", show_default=False)] = None,
    pinned: Annotated[bool | None, typer.Option("--pinned/--unpinned", show_default=False)] = None,
    read: Annotated[
        bool | None,
        typer.Option("--read/--unread", help="By a process, now.", show_default=False),
    ] = None,
    pid: Annotated[int | None, typer.Option(metavar="PID", help="Of the producer.")] = None,
    user: Annotated[str | None, typer.Option(metavar="USER", help="Of the producer.")] = None,
    larger: Annotated[
        str | None, typer.Option(metavar="SIZE", help="Of so many bytes at least: 1MiB.")
    ] = None,
    smaller: Annotated[str | None, typer.Option(metavar="SIZE", help="At most.")] = None,
    older: Annotated[str | None, typer.Option(metavar="TIME", help="Put so long ago: 1h.")] = None,
    newer: Annotated[str | None, typer.Option(metavar="TIME", help="Put since then.")] = None,
    sort: Annotated[
        Sort | None,
        typer.Option(
            metavar="KEY",
            help="size, age, leases, name, type, state, ...: numbers with the largest first.",
            show_default="by place",
        ),
    ] = None,
    reverse: Reverse = False,
    limit: Limit = None,
    pager: Pager = False,
    socket: Socket = None,
    json: Lines = False,
    quiet: Ids = False,
) -> None:
    """List objects. All conditions that are given must hold.

    With --sort or conditions the whole store is looked through, 256 objects at a time.
    """
    from dataclasses import replace

    from icehouse.client.cli.ask import connect
    from icehouse.client.cli.filters import Choice

    with guarded():
        choice = Choice(
            types=tuple(type or ()),
            pid=pid,
            uid=None if user is None else uid_of(user),
            size_min=None if larger is None else parse_size(larger),
            size_max=None if smaller is None else parse_size(smaller),
            older=None if older is None else parse_time(older),
            newer=None if newer is None else parse_time(newer),
            named=named,
            pinned=pinned,
            read=read,
        )
        most = limit_of(limit, as_text=not (json or quiet))
        with connect(socket) as control, paged(pager):
            if name is not None:
                choice = replace(choice, handles=named_like(control, name))
            items = choice.filter(every_object(control, state.value if state else ""))
            found = in_order(items, sort, reverse=reverse, limit=most)
            show_objects(found, limit=limit, json=json, quiet=quiet)


def every_object(control: "Control", state: str) -> Iterator["messages.Object"]:
    """Give all images of a state ("": of any) in the order of their places."""
    from icehouse.client.cli.ask import everything
    from icehouse.store.wire import messages

    return everything(control, messages.AskObjects(state=state), messages.Objects)


def every_name(control: "Control", prefix: str) -> Iterator["messages.Name"]:
    """Give all names that begin so, in their order."""
    from icehouse.client.cli.ask import everything
    from icehouse.store.wire import messages

    return everything(control, messages.AskNames(prefix=prefix), messages.Names)


def named_like(control: "Control", pattern: str) -> frozenset[bytes]:
    """Find the handles that have a name like this: an image itself tells only a few of many."""
    import fnmatch
    import re

    begin = re.split(r"[*?\[]", pattern, maxsplit=1)[0]
    return frozenset(
        item.handle
        for item in every_name(control, begin)
        if fnmatch.fnmatchcase(item.name, pattern)
    )


def in_order(
    items: Iterable["messages.Object"], sort: Sort | None, *, reverse: bool, limit: int
) -> Iterable["messages.Object"]:
    """Sort images as they are wanted."""
    from icehouse.client.cli.filters import ASCENDING, SORTS, ordered

    if sort is None:
        return reversed(list(items)) if reverse else items
    descending = (sort.value not in ASCENDING) != reverse
    # The one beyond the limit tells that there is more.
    return ordered(items, SORTS[sort.value], descending=descending, limit=limit and limit + 1)


def show_objects(
    found: Iterable["messages.Object"], *, limit: int | None, json: bool, quiet: bool
) -> None:
    """Print images."""
    from icehouse.client.cli.ask import text_of
    from icehouse.client.cli.told import of_object
    from icehouse.client.cli.words import age_text, size_text

    def row(item: "messages.Object") -> Sequence[str]:
        names = ", ".join(item.names[:3])
        if item.names_total > 3:
            names += f" and {item.names_total - 3} more"
        flags = (("p", item.pinned), ("e", item.evictable), ("s", item.sealed))
        return (
            text_of(item.handle),
            size_text(item.size),
            item.type or "?",
            item.state,
            "".join(letter for letter, is_so in flags if is_so) or "-",
            str(item.leases),
            age_text(item.created_ns / 1e9),
            str(item.pid or "-"),
            names or "-",
        )

    columns = ["handle", ">size", "type", "state", "flags", ">read by", ">age", ">pid", "names"]
    show(
        "objects",
        found,
        limit=limit,
        json=json,
        quiet=quiet,
        document=of_object,
        name=lambda item: text_of(item.handle),
        columns=columns,
        row=row,
    )


def uid_of(user: str) -> int:
    """Find a user by name or number; BadParameter."""
    import pwd

    if user.isdecimal():
        return int(user)
    try:
        return pwd.getpwnam(user).pw_uid
    except KeyError:
        raise typer.BadParameter(f"this machine has no user {user!r}") from None


def names(
    *,
    prefix: Annotated[str, typer.Argument(help="Only names that begin so.")] = "",
    limit: Limit = None,
    pager: Pager = False,
    socket: Socket = None,
    json: Lines = False,
    quiet: Ids = False,
) -> None:
    """List names in their order, with what they are bound to. A version counts the bindings."""
    from icehouse.client.cli.ask import connect, text_of
    from icehouse.client.cli.told import of_name

    with guarded(), connect(socket) as control, paged(pager):
        show(
            "names",
            every_name(control, prefix),
            limit=limit,
            json=json,
            quiet=quiet,
            document=of_name,
            name=lambda item: str(item.name),
            columns=["name", "handle", ">version"],
            row=lambda item: (item.name, text_of(item.handle), str(item.version)),
        )


class ClientSort(enum.StrEnum):
    """What processes are sorted by."""

    BYTES = "bytes"
    LEASES = "leases"
    WAITING = "waiting"
    PUTS = "puts"
    OPENS = "opens"
    AGE = "age"
    PID = "pid"


def clients(
    *,
    sort: Annotated[
        ClientSort | None,
        typer.Option(
            metavar="KEY",
            help="bytes, leases, waiting, puts, opens, age, pid.",
            show_default="as they came",
        ),
    ] = None,
    reverse: Reverse = False,
    limit: Limit = None,
    socket: Socket = None,
    json: Lines = False,
    quiet: Ids = False,
) -> None:
    """List the processes that use the store: what they were granted, hold and did. For admins.

    Leases are those of a process and of what was forked from it together.
    """
    from icehouse.client.cli.ask import connect, everything
    from icehouse.client.cli.told import of_client
    from icehouse.client.cli.words import Process, age_text, count_text, size_text, user_text
    from icehouse.store.wire import messages

    def row(item: messages.Client) -> Sequence[str]:
        return (
            str(item.pid),
            user_text(item.uid),
            item.role + ("" if item.connected else ", away"),
            age_text(item.opened),
            size_text(item.bytes),
            size_text(item.waiting),
            count_text(item.leases),
            count_text(item.puts),
            count_text(item.opens),
            Process(item.pid).command or "?",
        )

    with guarded(), connect(socket) as control:
        found = everything(control, messages.AskClients(), messages.Clients)
        columns = [">pid", "user", "role", ">since", ">granted", ">waiting", ">leases", ">puts"]
        show(
            "clients",
            in_their_order(found, sort, {"age": "opened"}, reverse=reverse),
            limit=limit,
            json=json,
            quiet=quiet,
            document=of_client,
            name=lambda item: str(item.pid),
            columns=[*columns, ">gets", "command"],
            row=row,
        )


class SegmentSort(enum.StrEnum):
    """What segments are sorted by."""

    BYTES = "bytes"
    IMAGES = "images"
    FREE = "free"
    DYING = "dying"
    PID = "pid"


def segments(
    *,
    sort: Annotated[
        SegmentSort | None,
        typer.Option(
            metavar="KEY", help="bytes, images, free, dying, pid.", show_default="as they came"
        ),
    ] = None,
    reverse: Reverse = False,
    limit: Limit = None,
    socket: Socket = None,
    json: Lines = False,
    quiet: Ids = False,
) -> None:
    """List segments: whose they are, what is in them, how broken up their room is. For admins."""
    from icehouse.client.cli.ask import connect, everything
    from icehouse.client.cli.told import of_segment
    from icehouse.client.cli.words import count_text, size_text
    from icehouse.store.wire import messages

    def row(item: messages.Segment) -> Sequence[str]:
        return (
            str(item.id),
            item.kind,
            item.state,
            size_text(item.bytes),
            count_text(item.images),
            size_text(item.image_bytes),
            size_text(item.dying_bytes),
            size_text(item.free_bytes),
            size_text(item.largest_free),
            str(item.pid or "-"),
        )

    with guarded(), connect(socket) as control:
        found = everything(control, messages.AskSegments(), messages.Segments)
        fields = {"free": "free_bytes", "dying": "dying_bytes"}
        columns = [">segment", "kind", "state", ">bytes", ">objects", ">live", ">deleted", ">free"]
        show(
            "segments",
            in_their_order(found, sort, fields, reverse=reverse),
            limit=limit,
            json=json,
            quiet=quiet,
            document=of_segment,
            name=lambda item: str(item.id),
            columns=[*columns, ">largest", ">pid"],
            row=row,
        )
