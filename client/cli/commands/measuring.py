"""`icehouse bench` and `icehouse demo`."""

from pathlib import Path
from typing import Annotated

import typer

from icehouse.client.cli.options import Json
from icehouse.client.cli.output import guarded


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
    from icehouse.client.demo.run import Plan

    with guarded():
        plan = Plan(interpreters, processes, questions, characters)
        command(file, plan, as_json=json)


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

    with guarded():
        choice = Choice(
            case or (), corpus or (), frozenset(only or ()), data, quick, seconds, processor_time
        )
        command(choice, as_json=json)
