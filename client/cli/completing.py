"""What a word that is being typed may become. Nothing here fails or waits long."""

from collections.abc import Iterable, Iterator
from typing import Any

from icehouse.client.cli import app

Candidate = tuple[str, str]

FILES: Candidate = (":files", "")
NAMES_MAX = 200
# Nobody waits for a look through a million of them.
HANDLES_SEEN = 2000
SECONDS = 0.5
# Arguments and options that stand for something of which there is a list, by how help shows them.
REFERENCES = ("HANDLE|NAME", "NAME")
PATHS = ("FILE", "PATH", "FOLDER", "[FILE")


def candidates(words: list[str]) -> Iterable[Candidate]:
    """Give the words that the last one may become, with help for each."""
    *before, last = words
    command: Any = None
    names = app.COMMANDS
    if not before:
        return [(name, place.help) for name, place in names.items() if name.startswith(last)]
    command = app.load(before[0]) if before[0] in names else None
    rest = before[1:]
    while command is not None and rest and hasattr(command, "commands"):
        command = command.commands.get(rest.pop(0))
    if command is None:
        return []
    if hasattr(command, "commands"):
        found = ((name, sub.get_short_help_str()) for name, sub in command.commands.items())
        return [(name, told) for name, told in found if name.startswith(last)]
    return of_command(command, rest, last)


def of_command(command: Any, before: list[str], last: str) -> Iterable[Candidate]:
    """Complete an option, its value or an argument of a command."""
    options = [param for param in command.params if param.param_type_name == "option"]
    name, equals, value = last.partition("=")
    if equals and name.startswith("--"):
        taker = taking(options, name)
        return [] if taker is None else of_value(command, taker, value, before, prefix=f"{name}=")
    taker = taking(options, before[-1]) if before else None
    if taker is not None:
        return of_value(command, taker, last, before)
    if last.startswith("-") and "--" not in before:
        return of_options(options, last)
    arguments = [param for param in command.params if param.param_type_name == "argument"]
    given = positional(options, before)
    if not arguments:
        return []
    argument = arguments[min(given, len(arguments) - 1)]
    if given >= len(arguments) and argument.nargs != -1:
        return []
    return of_value(command, argument, last, before)


def taking(options: list[Any], word: str) -> Any:
    """Find the option of this name, if it takes a value."""
    for option in options:
        if word in option.opts and not option.is_flag:
            return option
    return None


def positional(options: list[Any], before: list[str]) -> int:
    """Count the arguments that were given already."""
    count, skip = 0, False
    for word in before:
        if skip:
            skip = False
        elif word.startswith("-") and word != "-":
            skip = taking(options, word) is not None
        else:
            count += 1
    return count


def of_options(options: list[Any], last: str) -> Iterator[Candidate]:
    """Give the options that begin so."""
    for option in options:
        for name in (*option.opts, *option.secondary_opts):
            # Long names say what they are.
            if name.startswith("--") and name.startswith(last):
                yield name, (option.help or "").split("\n")[0]
    if "--help".startswith(last):
        yield "--help", "Show this message and exit."


def of_value(
    command: Any, param: Any, last: str, before: list[str], prefix: str = ""
) -> Iterable[Candidate]:
    """Complete the value of an option or an argument."""
    found = choices_of(command, param.name)
    if found:
        return [(f"{prefix}{word}", "") for word in found if word.startswith(last)]
    shown = str(param.metavar or param.name.upper())
    if shown.startswith(REFERENCES) and (param.param_type_name == "argument"):
        return [(prefix + name, told) for name, told in bound(last, before)]
    if any(shown.startswith(word) for word in PATHS):
        return [FILES]
    return []


def choices_of(command: Any, name: str) -> list[str]:
    """Give the values of an enumeration that a parameter takes; none for other parameters."""
    import enum
    import inspect
    import typing

    # Releases of Typer keep the choices in different places; the function has them in its types.
    hints = typing.get_type_hints(inspect.unwrap(command.callback))
    for kind in (hints.get(name), *typing.get_args(hints.get(name))):
        if isinstance(kind, type) and issubclass(kind, enum.Enum):
            return [str(member.value) for member in kind]
    return []


def handles(control: Any, last: str) -> list[Candidate]:
    """Give handles that begin so, of the first in the store, with what they are."""
    from itertools import islice

    from icehouse.client.cli.ask import everything, text_of
    from icehouse.client.cli.words import size_text
    from icehouse.store.wire import messages

    listed = everything(control, messages.AskObjects(), messages.Objects)
    found = ((text_of(item.handle), item) for item in islice(listed, HANDLES_SEEN))
    fitting = ((text, item) for text, item in found if text.startswith(last))
    return [
        (text, f"{item.type or '?'}, {size_text(item.size)}")
        for text, item in islice(fitting, NAMES_MAX)
    ]


def bound(last: str, before: list[str]) -> list[Candidate]:
    """Ask the daemon for names or handles that begin so; none if it does not answer at once."""
    from icehouse.client.connect import socket_path
    from icehouse.client.control import Control
    from icehouse.store.wire import messages

    given = None
    for word, following in zip(before, [*before, ""][1:], strict=True):
        if word == "--socket":
            given = following
        elif word.startswith("--socket="):
            given = word.partition("=")[2]
    try:
        with Control(socket_path(given), timeout=SECONDS) as control:
            if last.startswith("ih1_"):
                return handles(control, last)
            request = messages.AskNames(prefix=last, limit=NAMES_MAX)
            told = control.ask(request, messages.Names)
    except Exception:
        # Whoever presses the tabulator wants words, and no complaint.
        return []
    return [(item.name, "") for item in told.items if item.name.isprintable()]
