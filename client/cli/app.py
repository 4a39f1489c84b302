"""The command line as a whole: which commands there are, and how they are found.

A command's module is imported when the command is used, so that `--help` is quick however many
commands there are.
"""

import codecs
import importlib
import io
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Annotated, Any, NamedTuple

import typer
import typer.core

HELP = {"help_option_names": ["-h", "--help"]}


class Place(NamedTuple):
    """Where a command is: a function of a module, or a module's `app` of several."""

    module: str
    function: str
    help: str


COMMANDS = {
    "serve": Place("service", "serve", "Serve one store to every process of this machine."),
    "status": Place("looking", "status", "Say how the daemon is, and how full its store."),
    "put": Place("putting", "put", "Put a file, or what comes on stdin, into the store."),
    "get": Place("showing", "get", "Write one object, or a part of it, in a format."),
    "cat": Place("showing", "cat", "Print objects, or parts of them, as JSON."),
    "ls": Place("listing", "ls", "List objects."),
    "stat": Place("looking", "stat", "Tell everything about objects."),
    "who": Place("looking", "who", "Tell which processes hold an object."),
    "rm": Place("changing", "rm", "Delete objects."),
    "pin": Place("changing", "pin", "Keep objects although their producers end."),
    "unpin": Place("changing", "unpin", "Keep objects no longer than anything else does."),
    "names": Place("listing", "names", "List names."),
    "bind": Place("changing", "bind", "Bind a name to an object, or to nothing."),
    "watch": Place("watching", "watch", "Tell each change of a name."),
    "top": Place("top", "top", "Watch the store at work."),
    "gc": Place("changing", "gc", "Give back the memory of what nobody needs."),
    "clients": Place("listing", "clients", "List the processes that use the store."),
    "segments": Place("listing", "segments", "List segments, and what is in them."),
    "export": Place("moving", "export", "Save an object as a file."),
    "import": Place("moving", "import_", "Put such a file into the store."),
    "verify": Place("moving", "verify", "Check objects, files or the whole store for damage."),
    "bench": Place("measuring", "bench", "Measure icehouse against other ways."),
    "demo": Place("measuring", "demo", "See what it is good for, in a few seconds."),
    "doctor": Place("doctor", "doctor", "Check this machine, and say how to mend what is wrong."),
    "metrics": Place("metrics", "metrics", "Tell what the daemon counts and measures."),
    "config": Place("service", "app", "Show how a daemon would be configured."),
    "token": Place("service", "token_app", "Make tokens, which act over http."),
    "completion": Place("completion", "completion", "Print the completion script of a shell."),
}
# Not for people: the completion scripts ask it.
HIDDEN = {"complete-words": Place("completion", "complete", "Words for a shell.")}


def load(name: str) -> Any:
    """Give the command of this name as Typer makes it; None if there is none."""
    place = COMMANDS.get(name) or HIDDEN.get(name)
    if place is None:
        return None
    module = importlib.import_module(f"icehouse.client.cli.commands.{place.module}")
    found = getattr(module, place.function)
    if not isinstance(found, typer.Typer):
        one = make_app()
        one.command(name)(found)
        found = one
    command = typer.main.get_command(found)
    command.name = name
    return command


def make_app(**settings: Any) -> typer.Typer:
    """Make a Typer application as all of ours are."""
    return typer.Typer(
        add_completion=False,
        pretty_exceptions_enable=False,
        # Importing Rich would double the time that --help takes.
        rich_markup_mode=None,
        context_settings=HELP,
        **settings,
    )


class Group(typer.core.TyperGroup):
    """All commands, each loaded when it is asked for."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Give the names in the order that help shows."""
        del ctx
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Load a command."""
        del ctx
        return load(cmd_name)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write the list of help, for which nothing is loaded."""
        del ctx
        with formatter.section("Commands"):
            formatter.write_dl([(name, place.help) for name, place in COMMANDS.items()])


app = make_app(
    name="icehouse",
    cls=Group,
    help="Immutable Python objects in shared memory, read in place.",
    no_args_is_help=True,
)


def show_version(wanted: bool) -> None:
    """Print the version and end."""
    if wanted:
        import icehouse

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


def escapes(error: UnicodeError) -> tuple[str, int]:
    """Write letters that the locale doesn't have as JSON's escapes, which are good in its texts."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    text = error.object[error.start : error.end].encode("utf-16-be", "surrogatepass")
    units = zip(text[::2], text[1::2], strict=True)
    return "".join(f"\\u{high:02x}{low:02x}" for high, low in units), error.end


def open_streams() -> None:
    """Give what was started without stdin, stdout or stderr (`>&-`) such as lead nowhere.

    Else the next file or socket that is opened would get the number, and what is printed.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            file = os.open(os.devnull, os.O_RDWR)
            if file != number:
                os.dup2(file, number)
                os.close(file)
            mode = "w" if number else "r"
            # For the life of the process: there is nothing to close.
            stream = open(number, mode, closefd=False)  # noqa: SIM115 - as said above
            setattr(sys, name, stream)


def help_of(arguments: Sequence[str]) -> str | None:
    """Give what `COMMAND --help` prints; None if these words are something else.

    Typer would convert the option's own value first, with a library that takes half as long to
    import as everything else.
    """
    *words, last = arguments or ("",)
    if last not in HELP["help_option_names"] or not words:
        return None
    command: Any = typer.main.get_command(app)
    context: Any = command.context_class(command, info_name="icehouse")
    for word in words:
        command = command.get_command(context, word) if hasattr(command, "get_command") else None
        if command is None:
            return None
        settings = command.context_settings
        context = command.context_class(command, parent=context, info_name=word, **settings)
    return str(command.get_help(context))


@contextmanager
def ended() -> Iterator[None]:
    """Let a command that Typer does not run end as it would."""
    try:
        yield
    except typer.Exit as end:
        raise SystemExit(end.exit_code) from None


def dispatch(arguments: Sequence[str]) -> None:
    """Do what a command line asks for; SystemExit, or what went wrong with us."""
    told = help_of(arguments)
    if told is not None:
        print(told, flush=True)
    elif arguments[:2] == ["complete-words", "--"]:
        # Whoever presses the tabulator waits for it: as help, without what Typer would import.
        from icehouse.client.cli.commands.completion import complete

        with ended():
            complete(words=list(arguments[2:]))
    else:
        app(args=list(arguments), prog_name="icehouse")


def run(arguments: Sequence[str]) -> int:
    """Run a command line and give its exit code."""
    open_streams()
    if isinstance(sys.stdout, io.TextIOWrapper):
        codecs.register_error("icehouse-escapes", escapes)
        sys.stdout.reconfigure(errors="icehouse-escapes")
    try:
        dispatch(arguments)
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 1
    except OSError as error:
        # Help that can't be printed: what is left in the buffer goes nowhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        # A reader that has had enough needs no complaint.
        if not isinstance(error, BrokenPipeError):
            print(f"icehouse: {error.strerror}", file=sys.stderr)
        return 1
    except Exception as error:
        if os.environ.get("ICEHOUSE_DEBUG"):
            raise
        said = str(error).replace("\n", " ")
        told = f"icehouse: this is a fault of icehouse's: {type(error).__name__}: {said}"
        print(f"{told}; please report what ICEHOUSE_DEBUG=1 shows", file=sys.stderr)
        return 1
    return 0
