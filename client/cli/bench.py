"""`icehouse bench`: runs the comparisons and tells them."""

from icehouse.client.bench.report import table
from icehouse.client.bench.run import Choice, NothingToRunError, report, run
from icehouse.client.cli.output import (
    CommandError,
    ExitCode,
    print_json,
    print_table,
    progress,
    text_columns,
)


def command(choice: Choice, *, as_json: bool) -> None:
    """Run what was chosen; CommandError for a case or corpus that is not there."""
    try:
        with progress() as tell:
            results = list(run(choice, tell))
    except NothingToRunError as error:
        raise CommandError(str(error), ExitCode.USAGE) from None
    told = report(results, choice)
    if as_json:
        print_json(told)
    else:
        print_table(table(told, text_columns()))
