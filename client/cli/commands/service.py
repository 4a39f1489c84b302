"""`icehouse serve`, `icehouse config` and `icehouse token`."""

import enum
from typing import Annotated

import typer

from icehouse.client.cli.app import make_app
from icehouse.client.cli.options import ConfigFile, Extra, Json
from icehouse.client.cli.output import guarded

app = make_app(no_args_is_help=True, help="Show how a daemon would be configured.")


class TokenRole(enum.StrEnum):
    """What a token's owner may do."""

    admin = "admin"
    producer = "producer"
    reader = "reader"


token_app = make_app(no_args_is_help=True, help="Make tokens, which act over http.")


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


@app.callback()
def root() -> None:
    """Show how a daemon would be configured."""


@app.command("show")
def config_show(*, config: ConfigFile = None, extra: Extra = None, json: Json = False) -> None:
    """Show each setting with the source that it comes from, as TOML."""
    from icehouse.client.cli.serve import arguments_of, become

    with guarded():
        arguments = arguments_of({"config": config}, extra or ())
        become("icehouse.server.show", [*arguments, *(["--json"] if json else [])])


@token_app.callback()
def token_root() -> None:
    """Make tokens, with which the dashboard and the HTTP API may act."""


@token_app.command("new")
def token_new(
    *,
    name: Annotated[str, typer.Argument(help="Whose it is: the daemon's log tells it.")],
    role: Annotated[
        TokenRole, typer.Option(help="What it may do; a reader's does nothing yet.")
    ] = TokenRole.producer,
    config: ConfigFile = None,
    extra: Extra = None,
    json: Json = False,
) -> None:
    """Make a token, print it once, and add its hash to the file that admin_tokens names."""
    from icehouse.client.cli.serve import arguments_of, become

    with guarded():
        arguments = arguments_of({"config": config}, extra or ())
        named = [name, role.value, *arguments, *(["--json"] if json else [])]
        become("icehouse.server.new_token", named)
