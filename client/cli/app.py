"""The commands and their options. Each imports what it needs when it runs, so `--help` is quick."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

import icehouse

app = typer.Typer(
    name="icehouse",
    help="Immutable Python objects in shared memory, read in place.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    # Importing Rich would double the time that --help takes.
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)

config_app = typer.Typer(no_args_is_help=True, help="Show how a daemon would be configured.")
app.add_typer(config_app, name="config")

Json = Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")]
Socket = Annotated[
    str | None,
    typer.Option(
        metavar="PATH",
        help="The daemon's.",
        show_default="$ICEHOUSE_SOCKET, $XDG_RUNTIME_DIR/icehouse/socket",
    ),
]
ConfigFile = Annotated[
    str | None,
    typer.Option(
        "--config",
        metavar="FILE",
        help="TOML.",
        show_default="$ICEHOUSE_CONFIG, ~/.config/icehouse/config.toml, /etc/icehouse/config.toml",
    ),
]
Extra = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Any setting, e.g. limits.sessions_max=100."),
]


def show_version(wanted: bool) -> None:
    """Print the version and end."""
    if wanted:
        print(f"icehouse {icehouse.__version__}")
        raise typer.Exit


@app.callback()
def root(
    *,
    version: Annotated[
        bool, typer.Option("--version", callback=show_version, is_eager=True, help="Show it.")
    ] = False,
) -> None:
    """Immutable Python objects in shared memory, read in place."""


@app.command()
def demo(
    *,
    file: Annotated[
        str | None,
        typer.Argument(help="A JSON document to share instead; - is stdin.", show_default=False),
    ] = None,
    interpreters: Annotated[int, typer.Option(min=0, max=64, help="Subinterpreters.")] = 4,
    processes: Annotated[int, typer.Option(min=0, max=64, help="Forked processes.")] = 2,
    questions: Annotated[int, typer.Option(min=1, help="Questions for each reader.")] = 2000,
    characters: Annotated[
        int | None, typer.Option(min=100, help="Only so many characters.", show_default="all")
    ] = None,
    json: Json = False,
) -> None:
    """Share the Unicode database among subinterpreters and processes; compare with pickle."""
    from icehouse.client.cli.demo import command
    from icehouse.client.cli.output import guarded
    from icehouse.client.demo.run import Plan

    with guarded():
        plan = Plan(interpreters, processes, questions, characters)
        command(file, plan, as_json=json)


@app.command()
def bench(
    *,
    case: Annotated[
        list[str] | None, typer.Option(help="Only this case; repeatable.", show_default="all")
    ] = None,
    corpus: Annotated[
        list[str] | None, typer.Option(help="Only this corpus; repeatable.", show_default="all")
    ] = None,
    only: Annotated[
        list[str] | None,
        typer.Option(help="Only this side, to profile it: icehouse, pickle, msgspec, native."),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(
            help="Folder with the public JSON documents.",
            show_default="$ICEHOUSE_SHARED/data",
            exists=True,
            file_okay=False,
        ),
    ] = None,
    seconds: Annotated[float, typer.Option(min=0.01, help="For each comparison.")] = 2.0,
    processor_time: Annotated[
        bool,
        typer.Option("--cpu-time", help="Count the thread's processor time: for busy machines."),
    ] = False,
    quick: Annotated[bool, typer.Option("--quick", help="Only see that everything runs.")] = False,
    json: Json = False,
) -> None:
    """Measure icehouse against pickle, msgspec, native objects and memcpy."""
    from icehouse.client.bench.run import Choice
    from icehouse.client.cli.bench import command
    from icehouse.client.cli.output import guarded

    with guarded():
        choice = Choice(
            case or (), corpus or (), frozenset(only or ()), data, quick, seconds, processor_time
        )
        command(choice, as_json=json)


@app.command()
def serve(
    *,
    socket: Annotated[
        str | None,
        typer.Option(metavar="PATH", show_default="$XDG_RUNTIME_DIR/icehouse/socket"),
    ] = None,
    http: Annotated[
        str | None,
        typer.Option(metavar="HOST:PORT", help="Admin side, on loopback.", show_default="off"),
    ] = None,
    capacity: Annotated[
        str | None,
        typer.Option(metavar="SIZE", help="E.g. 2GiB.", show_default="half of the memory"),
    ] = None,
    segment_size: Annotated[str | None, typer.Option(metavar="SIZE", help="Power of two.")] = None,
    spill: Annotated[
        str | None,
        typer.Option(metavar="FOLDER", help="Where cold images go.", show_default="off"),
    ] = None,
    spill_capacity: Annotated[
        str | None, typer.Option(metavar="SIZE", show_default="16GiB")
    ] = None,
    orphan_ttl: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="Of what the dead left.", show_default="1h"),
    ] = None,
    log_format: Annotated[
        str | None, typer.Option(metavar="auto|json|text", show_default="auto")
    ] = None,
    log_level: Annotated[
        str | None, typer.Option(metavar="debug|info|warning|error", show_default="info")
    ] = None,
    config: ConfigFile = None,
    extra: Extra = None,
) -> None:
    """Serve one store to every process of this machine; Ctrl-C or SIGTERM stops it."""
    from icehouse.client.cli.output import guarded
    from icehouse.client.cli.serve import arguments_of, become

    flags = {
        "config": config,
        "socket": socket,
        "http": http,
        "capacity": capacity,
        "segment-size": segment_size,
        "spill": spill,
        "spill-capacity": spill_capacity,
        "orphan-ttl": orphan_ttl,
        "log-format": log_format,
        "log-level": log_level,
    }
    with guarded():
        become("icehouse.server.keeper", arguments_of(flags, extra or ()))


@app.command()
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
    from icehouse.client.cli.output import guarded

    with guarded():
        command(reference, file, socket, as_json=json)


@app.command("import")
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
    from icehouse.client.cli.output import guarded

    with guarded():
        import_file(file, socket, name=name, pin=pin, trust=trust, as_json=json)


@config_app.command("show")
def config_show(*, config: ConfigFile = None, extra: Extra = None, json: Json = False) -> None:
    """Show each setting with the source that it comes from, as TOML."""
    from icehouse.client.cli.output import guarded
    from icehouse.client.cli.serve import arguments_of, become

    with guarded():
        arguments = arguments_of({"config": config}, extra or ())
        become("icehouse.server.show", [*arguments, *(["--json"] if json else [])])


def run(arguments: Sequence[str]) -> int:
    """Run a command line and give its exit code."""
    try:
        app(args=list(arguments), prog_name="icehouse")
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 1
    return 0
