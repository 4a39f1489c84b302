"""Asking the daemon: one plain connection of the control family, and what a user calls an image."""

import os
import re
import select
import signal
import sys
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from msgspec.structs import replace

from icehouse.client.cli import leave
from icehouse.client.cli.output import CommandError, ExitCode, code_of, message_of
from icehouse.client.connect import socket_path
from icehouse.client.control import Control
from icehouse.store.embedded import Store
from icehouse.store.errors import (
    CorruptImage,
    HandleGone,
    IcehouseError,
    StoreUnavailable,
    UnknownName,
)
from icehouse.store.handle import Handle
from icehouse.store.wire import messages

Answer = TypeVar("Answer", bound=messages.Reply)
PAGE = messages.LIMIT_MAX
INTERRUPT = bytes([signal.SIGINT])
# Seconds that a command may take to end after Ctrl-C.
PATIENCE = 1.0
# What the daemon said of an image that is not there, behind what the library says to programs.
TOLD = re.compile(r"\(open an image: (.*)\)$", re.DOTALL)


class Asking(Control):
    """A connection whose user may have typed what the daemon takes for no name, or no version."""

    def ask(self, request: messages.REQUESTS, answer: type[Answer]) -> Answer:
        """Ask and wait for the answer."""
        try:
            return super().ask(request, answer)
        except ValueError as error:
            if isinstance(error, IcehouseError | UnicodeEncodeError):
                raise
            raise CommandError(str(error), ExitCode.USAGE) from None


def connect(given: str | None) -> Asking:
    """Connect to the daemon; StoreUnavailable, NotPermitted."""
    return Asking(socket_path(given))


@contextmanager
def open_store(given: str | None) -> Iterator[Store]:
    """Open the daemon's store; StoreUnavailable, NotPermitted, as `connect` says them."""
    path = socket_path(given)
    with abandonable():
        try:
            store = Store.connect(path)
        except StoreUnavailable:
            # The library's words are for programs. A plain connection has those of the commands.
            with Asking(path, timeout=1.0):
                raise
        with store:
            yield store


@contextmanager
def abandonable() -> Iterator[None]:
    """Let Ctrl-C end the command also while a daemon that hangs is waited for.

    The store waits where no Python runs, so the KeyboardInterrupt may come half a minute late. A
    thread gets every signal at once, and ends the process if it is still here a moment later. What
    it holds in the store goes as that of any process that dies.
    """
    readable, writable = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        before = signal.set_wakeup_fd(writable, warn_on_full_buffer=False)
    except ValueError:
        # Another thread than the main one is not interrupted.
        os.close(readable)
        os.close(writable)
        yield
        return
    done = threading.Event()

    def watch() -> None:
        poll = select.poll()
        poll.register(readable, select.POLLIN)
        while not done.is_set():
            poll.poll()
            if INTERRUPT in os.read(readable, 64) and not done.wait(PATIENCE):
                leave()

    watching = threading.Thread(target=watch, daemon=True)
    watching.start()
    try:
        yield
    finally:
        done.set()
        signal.set_wakeup_fd(before)
        os.write(writable, b"\0")
        watching.join()
        os.close(readable)
        os.close(writable)


def unknown(name: str) -> UnknownName:
    """Make the error for a name that nothing is bound to."""
    return UnknownName(
        f"look up {name!r}: the name is not bound; `icehouse names` lists those that are"
    )


def find(store: Store, reference: str) -> Handle:
    """Give the handle that a text is or that a name is bound to; CommandError, UnknownName."""
    handle = parse(reference)
    if handle is not None:
        return handle
    try:
        return store.lookup(reference)[0]
    except UnknownName:
        raise unknown(reference) from None
    except ValueError as error:
        if isinstance(error, IcehouseError | UnicodeEncodeError):
            raise
        raise CommandError(str(error), ExitCode.USAGE) from None


def parse(reference: str) -> Handle | None:
    """Give the handle that a text is; None if it is a name. CommandError if it is neither."""
    if not reference:
        raise CommandError("an empty word is neither a handle nor a name", ExitCode.USAGE)
    if not reference.startswith("ih1_"):
        return None
    try:
        return Handle.from_text(reference)
    except ValueError as error:
        raise CommandError(str(error), ExitCode.USAGE) from None


def lookup(control: Control, name: str) -> messages.Name:
    """Find a name; UnknownName."""
    # Names are told in their order, so it comes before those that only begin with it.
    told = control.ask(messages.AskNames(prefix=name, limit=1), messages.Names)
    if told.items and told.items[0].name == name:
        return told.items[0]
    raise unknown(name)


def resolve(control: Control, reference: str) -> bytes:
    """Give the packed handle that a text is or that a name is bound to."""
    handle = parse(reference)
    return bytes(handle) if handle is not None else lookup(control, reference).handle


@contextmanager
def about(reference: str) -> Iterator[None]:
    """Let what goes wrong inside say which image it is about."""
    try:
        yield
    except (HandleGone, CorruptImage) as error:
        # It was opened or asked about by its handle, whatever it was called here.
        text = message_of(error).removeprefix("object: ")
        told = TOLD.search(text)
        if told is not None:
            text = f"{told[1]}; `icehouse ls` lists what is there"
        raise CommandError(f"{reference}: {text}", code_of(error)) from None


def references(given: Iterable[str]) -> Iterator[str]:
    """Give the references of a command line; `-` stands for those on stdin, one a line."""
    for reference in given:
        if reference == "-":
            yield from filter(None, (line.strip() for line in sys.stdin))
        else:
            yield reference


def everything(control: Control, request: Any, answer: type[Answer]) -> Iterator[Any]:
    """Give the items of a list, asked for a page at a time by the cursor of the one before."""
    cursor = ""
    while True:
        page: Any = control.ask(replace(request, cursor=cursor, limit=PAGE), answer)
        yield from page.items
        cursor = page.cursor
        if not cursor:
            return


def text_of(packed: bytes) -> str:
    """Write a handle."""
    return str(Handle.from_bytes(packed))
