"""Checking images for damage: where they lie, in files, or a whole store of them."""

from typing import TYPE_CHECKING

import typer

from icehouse.client.cli.ask import about, find, open_store, references
from icehouse.client.cli.output import (
    CommandError,
    ExitCode,
    code_of,
    complain,
    message_of,
    print_line,
    progress,
)
from icehouse.native._image import _validate
from icehouse.store import files
from icehouse.store.errors import CorruptImage, HandleGone, IcehouseError, StoreUnavailable

if TYPE_CHECKING:
    from icehouse.store.embedded import Store

SUFFIX = ".ih"


class Report:
    """Tells what was found as it is found, and ends with the exit code that it means."""

    def __init__(self, *, json: bool, quiet: bool) -> None:
        self._json = json
        self._quiet = quiet
        self._worst: ExitCode | None = None
        self.checked = 0

    def well(self, what: str, kind: str, size: int | None) -> None:
        """Tell that something is as it should be."""
        self.checked += 1
        if self._json:
            print_line({"what": what, "kind": kind, "ok": True, "size": size, "error": None})
        elif not self._quiet and kind != "image of the store":
            print(f"{what}: ok")

    def wrong(self, what: str, kind: str, error: BaseException) -> None:
        """Tell of damage, or of what can't be checked."""
        self.checked += 1
        code = code_of(error)
        if self._worst is not ExitCode.CORRUPT:
            self._worst = code if code is ExitCode.CORRUPT else self._worst or code
        if self._json:
            told = message_of(error)
            print_line({"what": what, "kind": kind, "ok": False, "size": None, "error": told})
        complain(message_of(error))

    def say(self, text: str) -> None:
        """Say something to people."""
        if not self._json and not self._quiet:
            print(text)

    def end(self) -> None:
        """End the command, unless all was well."""
        if self._worst is not None:
            raise typer.Exit(self._worst)


def is_file(thing: str) -> bool:
    """Whether a word means a file."""
    return "/" in thing or thing.endswith(SUFFIX)


def verify_all(things: list[str] | None, socket: str | None, report: Report) -> None:
    """Check what is given, or everything that the daemon's store holds."""
    if things is None:
        with open_store(socket) as store:
            verify_store(store, report)
        return
    given = list(references(things))
    for thing in filter(is_file, given):
        verify_file(thing, report)
    inside = [thing for thing in given if not is_file(thing)]
    if inside:
        with open_store(socket) as store:
            for thing in inside:
                verify_image(store, thing, report)


def verify_file(path: str, report: Report) -> None:
    """Check a file."""
    try:
        data = files.read_image(path)
        _validate(data)
    except (IcehouseError, OSError) as error:
        report.wrong(path, "file", error)
    else:
        report.well(path, "file", len(data))


def verify_image(store: "Store", reference: str, report: Report) -> None:
    """Check one image of the store."""
    try:
        with about(reference):
            handle = find(store, reference)
            _validate(handle)
            size = store.stat(handle).size
    except StoreUnavailable:
        raise
    except (IcehouseError, CommandError) as error:
        report.wrong(reference, "image", error)
    else:
        report.well(reference, "image", size)


def verify_store(store: "Store", report: Report) -> None:
    """Check the store's books, then each of its images; those that go meanwhile are left out."""
    with progress() as tell:
        tell("checking the books of the store")
        try:
            store.check()
        except CorruptImage as error:
            report.wrong("store", "store", error)
        else:
            report.well("store", "store", None)
        found = [stat for stat in store.ls() if stat.state != "deleted"]
        count = 0
        for number, stat in enumerate(found):
            if number % 64 == 0:
                tell(f"checking objects: {number} of {len(found)}")
            try:
                _validate(stat.handle)
            except HandleGone:
                continue
            except CorruptImage as error:
                report.wrong(str(stat.handle), "image of the store", error)
            else:
                report.well(str(stat.handle), "image of the store", stat.size)
            count += 1
    report.say(f"{count} objects checked")
