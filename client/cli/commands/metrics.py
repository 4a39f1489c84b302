"""`icehouse metrics`: what the daemon counts and measures."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from icehouse.client.cli.options import Json, Socket
from icehouse.client.cli.output import guarded, print_json, print_rows

if TYPE_CHECKING:
    from icehouse.store.wire import messages


def metrics(
    *,
    pattern: Annotated[
        str, typer.Argument(metavar="[PATTERN]", help="Only those with this in their names.")
    ] = "",
    zeros: Annotated[bool, typer.Option("--all", "-a", help="Counters that are 0, too.")] = False,
    socket: Socket = None,
    json: Json = False,
) -> None:
    """Tell what the daemon counts and measures. For admins.

    Counters grow from when the daemon started. Prometheus reads them by HTTP, where the daemon is
    configured so: `icehouse serve --http 127.0.0.1:8420`, then /metrics.
    """
    from icehouse.client.cli.ask import connect
    from icehouse.client.cli.words import date_text
    from icehouse.store.wire import messages

    with guarded(), connect(socket) as control:
        told = control.ask(messages.AskMetrics(), messages.Metrics)
        if json:
            groups: dict[str, dict[str, Any]] = {
                "gauges": told.gauges,
                "labelled": told.labelled,
                "counters": told.counters,
                "histograms": told.histograms,
            }
            wanted = {
                group: {name: value for name, value in values.items() if pattern in name}
                for group, values in groups.items()
            }
            print_json({"started": date_text(told.started), **wanted})
            return
        rows = (row for row in rows_of(told, zeros=zeros) if pattern in row[0])
        print_rows(["metric", "label", ">value"], rows)


def rows_of(told: "messages.Metrics", *, zeros: bool) -> Iterator[tuple[str, str, str]]:
    """Write metrics as rows of a table."""

    def value_text(name: str, value: float) -> str:
        from icehouse.client.cli.words import size_text

        return size_text(value) if name.endswith("_bytes") else f"{value:,.6g}"

    for name, value in sorted(told.gauges.items()):
        yield name, "", value_text(name, value)
    groups: tuple[dict[str, Any], ...] = (told.labelled, told.counters)
    for group in groups:
        for name, values in sorted(group.items()):
            for label, value in sorted(values.items()):
                if value or zeros or group is told.labelled:
                    yield name, label, value_text(name, value)
    for name, histogram in sorted(told.histograms.items()):
        bounds = [*(value_text(name, bound) for bound in histogram["bounds"]), "more"]
        for bound, number in zip(bounds, histogram["counts"], strict=False):
            if number or zeros:
                yield name, f"up to {bound}" if bound != "more" else bound, f"{number:,}"
