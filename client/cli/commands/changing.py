"""`icehouse rm`, `pin`, `unpin`, `bind` and `gc`: what changes the store and puts nothing."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any

import typer

from icehouse.client.cli.options import Json, Lines, Quiet, References, Socket
from icehouse.client.cli.output import (
    CommandError,
    ExitCode,
    code_of,
    complain,
    guarded,
    message_of,
    print_json,
    print_line,
)

if TYPE_CHECKING:
    from icehouse.client.control import Control

VERSION_MAX = 2**64 - 1


def for_each(
    given: list[str],
    socket: str | None,
    change: Callable[["Control", str], str],
    word: str,
    *,
    json: bool,
    quiet: bool,
) -> None:
    """Change images one by one, whatever fails; the first failure gives the exit code."""
    from icehouse.client.cli.ask import about, connect, references
    from icehouse.store.errors import IcehouseError, StoreUnavailable

    first: BaseException | None = None
    with guarded(), connect(socket) as control:
        for reference in references(given):
            try:
                with about(reference):
                    handle = change(control, reference)
            except StoreUnavailable:
                raise
            except (IcehouseError, CommandError) as error:
                first = first or error
                complain(message_of(error))
                continue
            if json:
                print_line({"reference": reference, "handle": handle, word: True})
            elif not quiet:
                print(handle)
        if first is not None:
            raise typer.Exit(code_of(first))


def rm(
    *,
    references: References,
    force: Annotated[
        bool, typer.Option("--force", "-f", help="Also what has other names: they are unbound.")
    ] = False,
    socket: Socket = None,
    json: Lines = False,
    quiet: Quiet = False,
) -> None:
    """Delete objects. Who reads one goes on reading, and its memory is free after that.

    A name stands for the object that it is bound to, and goes with it; an object that has other
    names stays, unless --force is given. Prints the handles.
    """

    def change(control: "Control", reference: str) -> str:
        return delete(control, reference, force=force)

    for_each(references, socket, change, "deleted", json=json, quiet=quiet)


def delete(control: "Control", reference: str, *, force: bool) -> str:
    """Delete an image and give its handle; one that has other names than this stays."""
    from icehouse.client.cli.ask import parse, text_of, unknown
    from icehouse.store.errors import Conflict, UnknownName
    from icehouse.store.wire import messages

    handle = parse(reference)
    try:
        if handle is None:
            named_so = messages.Delete(name=reference, force=force)
            return text_of(control.ask(named_so, messages.Deleted).handle)
        control.ask(messages.Delete(handle=bytes(handle), force=force), messages.Done)
    except UnknownName:
        raise unknown(reference) from None
    except Conflict:
        raise named(reference) from None
    return text_of(bytes(handle))


def named(reference: str) -> CommandError:
    """Say that an image has names that were not given."""
    return CommandError(
        f"rm {reference}: it has other names (`icehouse stat {reference}` tells them); unbind them,"
        " or give --force"
    )


def pin(
    *, references: References, socket: Socket = None, json: Lines = False, quiet: Quiet = False
) -> None:
    """Keep objects although their producers end and their time to live passes; rm deletes them."""
    for_each(references, socket, pins(pinned=True), "pinned", json=json, quiet=quiet)


def unpin(
    *, references: References, socket: Socket = None, json: Lines = False, quiet: Quiet = False
) -> None:
    """Keep objects no longer than names, links, their producers or times to live do."""
    for_each(references, socket, pins(pinned=False), "unpinned", json=json, quiet=quiet)


def pins(*, pinned: bool) -> Callable[["Control", str], str]:
    """Make what pins an image, or no longer."""
    from icehouse.client.cli.ask import resolve, text_of
    from icehouse.store.wire import messages

    def change(control: "Control", reference: str) -> str:
        packed = resolve(control, reference)
        control.ask(messages.Pin(handle=packed, pinned=pinned), messages.Done)
        return text_of(packed)

    return change


def bind(
    *,
    name: Annotated[str, typer.Argument(help="1 to 512 bytes, not beginning with ih1_.")],
    reference: Annotated[
        str, typer.Argument(metavar="[HANDLE|NAME]", help="What to bind it to.", show_default=False)
    ] = "",
    unbind: Annotated[bool, typer.Option("--unbind", help="Bind it to nothing.")] = False,
    expected: Annotated[
        int | None,
        typer.Option(
            min=0,
            max=VERSION_MAX,
            metavar="VERSION",
            help="Only if this is its version now; 0: if it is not bound.",
        ),
    ] = None,
    socket: Socket = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Bind a name to an object, or to nothing, and print the version of the binding."""
    from icehouse.client.cli.ask import connect, lookup, resolve, text_of
    from icehouse.store.wire import messages

    with guarded():
        if bool(reference) == unbind:
            raise CommandError("bind takes what to bind the name to, or --unbind", ExitCode.USAGE)
        with connect(socket) as control:
            if unbind and expected is None:
                # Otherwise a name that was mistyped would be unbound without a word.
                lookup(control, name)
            packed = resolve(control, reference) if reference else b""
            request = messages.Bind(name=name, handle=packed, expected=expected)
            version = control.ask(request, messages.Version).version
        if json:
            handle = text_of(packed) if packed else None
            print_json({"name": name, "handle": handle, "version": version})
        elif not quiet:
            print(version)


def gc(
    *,
    orphans: Annotated[
        bool,
        typer.Option("--orphans", help="Also delete what dead producers left and nobody reads."),
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what there is to free.")
    ] = False,
    socket: Socket = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Give back the memory of what nobody needs: deleted, unread objects and spare segments.

    The daemon does so by itself in time; this is for now. No object that lives is touched, unless
    --orphans is given.
    """
    from icehouse.client.cli.words import size_text

    with guarded():
        told = collect(socket, orphans=orphans, dry_run=dry_run)
        if json:
            print_json(told)
        elif not quiet:
            left = told["orphans"], size_text(told["orphan_bytes"])
            waiting = (
                f"{size_text(told['waiting'])} are with producers that have not given them back"
            )
            if dry_run:
                print(f"{size_text(told['warm'])} of spare segments; orphans: {left[0]}, {left[1]}")
            else:
                deleted = f"; orphans deleted: {left[0]}" if orphans else ""
                print(f"{size_text(told['freed'])} given back{deleted}")
            if told["waiting"]:
                print(waiting)


def collect(socket: str | None, *, orphans: bool, dry_run: bool) -> dict[str, Any]:
    """Free what can be, and tell what came of it."""
    from icehouse.client.cli.ask import connect, open_store
    from icehouse.client.cli.commands.listing import every_object
    from icehouse.store.errors import HandleGone
    from icehouse.store.wire import messages

    count = size = 0
    with connect(socket) as control:
        before = control.ask(messages.AskStatus(), messages.Status)
        if orphans or dry_run:
            for item in [item for item in every_object(control, "orphan") if not item.leases]:
                try:
                    if not dry_run:
                        control.ask(messages.Delete(handle=item.handle), messages.Done)
                except HandleGone:
                    continue
                count += 1
                size += item.block
        if not dry_run:
            with open_store(socket) as store:
                store.trim()
        after = control.ask(messages.AskStatus(), messages.Status)
    return {
        "dry_run": dry_run,
        "orphans": count,
        "orphan_bytes": size,
        "warm": before.warm,
        "waiting": after.waiting,
        "committed": after.committed,
        "freed": 0 if dry_run else max(before.committed - after.committed, 0),
    }
