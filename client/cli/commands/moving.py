"""`icehouse export`, `icehouse import` and `icehouse verify`."""

from typing import Annotated

import typer

from icehouse.client.cli.options import Json, Lines, Quiet, Socket
from icehouse.client.cli.output import guarded


def export(
    *,
    reference: Annotated[str, typer.Argument(metavar="HANDLE|NAME", help="What to export.")],
    file: Annotated[str, typer.Argument(help="Where to; - is stdout.")],
    socket: Socket = None,
    json: Json = False,
) -> None:
    """Save an image of the daemon's store as a file, with what it links to and a digest.

    The file is replaced whole or not at all. icehouse.open_image(FILE) reads it in place.
    """
    from icehouse.client.cli.files import export as command

    with guarded():
        command(reference, file, socket, as_json=json)


def import_(
    *,
    file: Annotated[str, typer.Argument(help="An image file; - is stdin.")],
    name: Annotated[str | None, typer.Option(help="Bind this name to it.")] = None,
    pin: Annotated[
        bool | None,
        typer.Option("--pin/--no-pin", help="Keep it.", show_default="pinned, unless it is named"),
    ] = None,
    trust: Annotated[
        bool, typer.Option("--trust", help="Also if it names classes or has what runs code.")
    ] = False,
    socket: Socket = None,
    json: Json = False,
) -> None:
    """Put an image file into the daemon's store and print its handle.

    Before that its digest is compared and every byte of it checked.
    """
    from icehouse.client.cli.files import import_file

    with guarded():
        import_file(file, socket, name=name, pin=pin, trust=trust, as_json=json)


def verify(
    *,
    things: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[HANDLE|NAME|FILE...]",
            help="What to check; - reads them from stdin.",
            show_default="the whole store",
        ),
    ] = None,
    socket: Socket = None,
    json: Lines = False,
    quiet: Quiet = False,
) -> None:
    """Check every byte of objects, of image files, or of the whole store.

    A word with a slash, or that ends in .ih, is a file: its digest is compared too. For the whole
    store its books are checked as well: segments, names, lifetimes. Exit code 7: there is damage.
    """
    from icehouse.client.cli.verify import Report, verify_all

    with guarded():
        report = Report(json=json, quiet=quiet)
        verify_all(things, socket, report)
        report.end()
