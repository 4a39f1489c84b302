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

Json = Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")]


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


def run(arguments: Sequence[str]) -> int:
    """Run a command line and give its exit code."""
    try:
        app(args=list(arguments), prog_name="icehouse")
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 1
    return 0
