"""PEP 795's listings of fields, adapted: what other interpreters and processes import by name."""

from typing import Any

import icehouse

# What a module of mutable state would be: listing 17 holds it by its name.
lines: list[str] = []


@icehouse.frozen
class Counted:
    """Listing 8: counts its instances, wherever they are made."""

    instances = icehouse.SharedField(0)

    def __init__(self) -> None:
        while True:
            seen = self.instances.get()
            if self.instances.compare_and_swap(seen, seen + 1):
                break


computed = icehouse.SharedField(0)
cache: icehouse.InterpreterLocal[dict[int, int]] = icehouse.InterpreterLocal(dict)


@icehouse.frozen
def square(n: int) -> int:
    """Listings 9 and 10: a cache that is filled where it is used."""
    found = cache.get()
    if n not in found:
        found[n] = n * n
        while not computed.compare_and_swap(seen := computed.get(), seen + 1):
            pass
    return found[n]


@icehouse.frozen
def log_stateless(line: str) -> str:
    """Listing 12: nothing is kept."""
    return f"log: {line}"


@icehouse.frozen
def log_passed(messages: list[str], line: str) -> None:
    """Listing 13: the state is the caller's."""
    messages.append(line)


shared: icehouse.SharedField[tuple[str, ...]] = icehouse.SharedField(())


@icehouse.frozen
def log_shared(line: str) -> None:
    """Listing 14: all interpreters' messages in one place."""
    while True:
        seen = shared.get()
        if shared.compare_and_swap(seen, (*seen, line)):
            return


@icehouse.frozen
def messages_shared() -> tuple[str, ...]:
    return shared.get()


local: icehouse.InterpreterLocal[list[str]] = icehouse.InterpreterLocal(list)


@icehouse.frozen
def log_local(line: str) -> list[str]:
    """Listing 15: each interpreter's messages."""
    local.get().append(line)
    return local.get()


proxy = icehouse.ImmutableModule(__name__)


@icehouse.frozen
def log_module(line: str) -> list[str]:
    """Listings 16 and 17: whatever module the calling interpreter imports."""
    found: list[str] = proxy.lines
    found.append(line)
    return found


def make(count: int, what: Any) -> None:
    """Make instances of a class that came along, and of our own."""
    for _ in range(count):
        what()


def call(what: Any, *arguments: Any) -> Any:
    """Call a function that came along."""
    result = what(*arguments)
    return list(result) if isinstance(result, list) else result


def get(store: icehouse.Store, name: str, *arguments: Any) -> Any:
    """Call a function of a store."""
    return call(store.get(name), *arguments)


def get_from(socket: str, name: str, *arguments: Any) -> Any:
    return get(icehouse.connect(socket), name, *arguments)
