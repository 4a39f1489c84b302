"""`icehouse top`: the store at work."""

import sys
import time
from contextlib import contextmanager
from itertools import islice
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from icehouse.client.cli.options import Lines, Socket, parse_time
from icehouse.client.cli.output import guarded, plain, print_line

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from icehouse.client.control import Control

CLIENTS = 1000
BAR = 30
# Seconds; more than an hour between looks is an end.
INTERVAL_MIN = 0.1
INTERVAL_MAX = 3600.0


def top(
    *,
    interval: Annotated[str, typer.Option("--interval", "-i", metavar="TIME")] = "2s",
    count: Annotated[
        int | None,
        typer.Option(
            "--count",
            "-n",
            min=1,
            metavar="COUNT",
            help="End after so many looks.",
            show_default="never on a terminal, else one",
        ),
    ] = None,
    rows: Annotated[int, typer.Option(min=0, help="Processes shown.")] = 15,
    socket: Socket = None,
    json: Lines = False,
) -> None:
    """Watch the store at work: how full it is, puts and gets a second, and who does them.

    For admins. What a process did is its own count. With --json a line for each look; rates are
    those since the look before, and of the first one null.
    """
    with guarded():
        seconds = min(max(parse_time(interval), INTERVAL_MIN), INTERVAL_MAX)
        live = sys.stdout.isatty() and not json
        most = count if count is not None else None if live else 1
        if live:
            with keys() as pressed:
                show_live(every(socket, lambda: pressed(seconds), most, rows))
            return
        looks = every(socket, lambda: time.sleep(seconds), most, rows)
        if json:
            for look in looks:
                print_line(look)
                sys.stdout.flush()
        else:
            for number, look in enumerate(looks):
                if number:
                    print()
                for line in lines_of(look, 100):
                    print(line.rstrip())


class Counts(NamedTuple):
    """What grew until some time."""

    at: float
    puts: int
    put_bytes: int
    gets: int
    deletes: int
    clients: dict[int, tuple[int, int]]


@contextmanager
def keys() -> "Iterator[Callable[[float], bool | None]]":
    """Give what waits for so many seconds and says whether `q` was pressed meanwhile."""
    if not sys.stdin.isatty():
        yield time.sleep
        return
    import os
    import select
    import termios
    import tty

    terminal = sys.stdin.fileno()
    before = termios.tcgetattr(terminal)

    def pressed(seconds: float) -> bool:
        until = time.monotonic() + seconds
        while select.select([terminal], [], [], max(until - time.monotonic(), 0))[0]:
            typed = os.read(terminal, 64)
            # Nothing at all: the terminal went away.
            if not typed or b"q" in typed.lower():
                return True
        return False

    # Keys come one by one and are not shown; Ctrl-C is what it was.
    tty.setcbreak(terminal)
    try:
        yield pressed
    finally:
        termios.tcsetattr(terminal, termios.TCSADRAIN, before)


def every(
    socket: str | None, wait: "Callable[[], bool | None]", most: int | None, rows: int
) -> "Iterator[dict[str, Any]]":
    """Look again and again, until a wait between two looks says that it is enough."""
    from icehouse.client.cli.ask import connect

    before: Counts | None = None
    looks = 0
    with connect(socket) as control:
        while True:
            told, before = look(control, before, rows)
            yield told
            looks += 1
            if looks == most or wait():
                return


def look(control: "Control", before: Counts | None, rows: int) -> tuple[dict[str, Any], Counts]:
    """Look once; rates are those since the counts before."""
    from icehouse.client.cli.ask import everything
    from icehouse.client.cli.commands.looking import status_of
    from icehouse.client.cli.told import of_client
    from icehouse.client.cli.words import date_text
    from icehouse.store.wire import messages

    status = control.ask(messages.AskStatus(), messages.Status)
    metrics = control.ask(messages.AskMetrics(), messages.Metrics)
    every_client = everything(control, messages.AskClients(), messages.Clients)
    clients: list[messages.Client] = list(islice(every_client, CLIENTS))
    counters = metrics.counters
    now = Counts(
        time.monotonic(),
        counters.get("puts", {}).get("ok", 0),
        sum(counters.get("put_bytes", {}).values()),
        counters.get("gets", {}).get("ok", 0),
        sum(counters.get("deletes", {}).values()),
        {item.session: (item.puts, item.opens) for item in clients},
    )

    def rate(name: str) -> float | None:
        if before is None:
            return None
        # Counts of a daemon that was started anew may be lower.
        grown: int = getattr(now, name) - getattr(before, name)
        return max(grown, 0) / max(now.at - before.at, 1e-3)

    def busy(item: messages.Client) -> tuple[float, int]:
        puts, opens = before.clients.get(item.session, (0, 0)) if before is not None else (0, 0)
        return item.puts - puts + item.opens - opens, item.bytes

    shown = []
    for item in sorted(clients, key=busy, reverse=True)[:rows]:
        old = before.clients.get(item.session) if before is not None else None
        span = now.at - before.at if before is not None else 0.0
        document = of_client(item)
        document["puts_per_second"] = old and max(item.puts - old[0], 0) / span
        document["gets_per_second"] = old and max(item.opens - old[1], 0) / span
        shown.append(document)
    told = {
        "at": date_text(time.time()),
        "status": status_of(status, metrics, control.welcome.role),
        "rates": {name: rate(name) for name in ("puts", "put_bytes", "gets", "deletes")},
        "clients": shown,
    }
    return told, now


def lines_of(told: dict[str, Any], columns: int) -> "Iterator[str]":
    """Say a look to people."""
    from icehouse.client.cli.words import count_text, size_text

    status, rates = told["status"], told["rates"]
    share = status["committed"] / status["capacity"] if status["capacity"] else 0.0
    full = min(int(share * BAR), BAR)
    clock = f"{told['at'][11:19]} UTC"
    yield f"icehouse {status['version']}  {status['socket']}  pid {status['pid']}  {clock}"
    taken = f"{size_text(status['committed'])} of {size_text(status['capacity'])} taken"
    used = f"{size_text(status['used'])} used"
    yield f"memory   [{'#' * full}{'.' * (BAR - full)}] {share:.0%}, {taken}, {used}"
    objects = "  ".join(
        f"{count_text(n)} {state}" for state, n in (status["objects"] or {}).items()
    )
    yield f"objects  {objects}  in {status['segments']} segments, {status['names']} names"

    def rate(name: str, *, as_size: bool = False) -> str:
        value = rates[name]
        if value is None:
            return "-"
        return f"{size_text(value)}/s" if as_size else f"{value:,.0f}/s"

    yield (
        f"rates    puts {rate('puts')} ({rate('put_bytes', as_size=True)})"
        f"  gets {rate('gets')}  deletes {rate('deletes')}  leases {count_text(status['leases'])}"
    )
    yield ""
    yield f"{'PID':>8}  {'GRANTED':>9}  {'LEASES':>7}  {'PUTS/s':>8}  {'GETS/s':>9}  COMMAND"
    for client in told["clients"]:
        puts, gets = client["puts_per_second"], client["gets_per_second"]
        line = (
            f"{client['pid']:>8}  {size_text(client['bytes']):>9}  {client['leases']:>7,}"
            f"  {'-' if puts is None else f'{puts:,.0f}':>8}"
            f"  {'-' if gets is None else f'{gets:,.0f}':>9}  {plain(client['command'] or '?')}"
        )
        yield line[:columns]


def show_live(looks: "Iterator[dict[str, Any]]") -> None:
    """Draw look after look on the terminal's other screen."""
    import shutil

    write = sys.stdout.write
    # The other screen, without a cursor.
    write("\x1b[?1049h\x1b[?25l")
    last: list[str] = []
    try:
        for told in looks:
            size = shutil.get_terminal_size()
            last = [line[: size.columns] for line in lines_of(told, size.columns)]
            shown = last[: size.lines - 2]
            body = "".join(f"{line}\x1b[K\r\n" for line in shown)
            write(f"\x1b[H{body}\x1b[K\r\nq or Ctrl-C ends\x1b[K\x1b[J")
            sys.stdout.flush()
    except KeyboardInterrupt:
        # That is how one leaves it: nothing went wrong.
        pass
    finally:
        write("\x1b[?25h\x1b[?1049l")
        sys.stdout.flush()
    # What was seen last stays in sight.
    for line in last:
        print(line)
