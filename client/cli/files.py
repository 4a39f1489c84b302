"""`icehouse export` and `icehouse import`: images of the daemon's store as files, and back."""

import sys
from typing import Any

import icehouse
from icehouse.client.bench.targets import bytes_text
from icehouse.client.cli.ask import about, find, open_store
from icehouse.client.cli.output import CommandError, ExitCode, print_json, progress
from icehouse.store import files


def export(reference: str, target: str, socket: str | None, *, as_json: bool) -> None:
    """Write an image of the store to a file, or to stdout for `-`."""
    if target == "-" and sys.stdout.isatty():
        raise CommandError("an image is not for a terminal: name a file", ExitCode.USAGE)
    with open_store(socket) as store, progress() as tell:
        handle = find(store, reference)
        tell(f"writing {target}")
        with about(reference):
            image = files.image_of_handle(handle, store.get)
        written = files.write_image(image, sys.stdout.buffer if target == "-" else target)
    told = {"handle": str(handle), "size": written.size, "sha256": written.digest, "file": target}
    # With the image on stdout what is said of it goes beside it, or nowhere.
    if target != "-":
        say(told, f"{target}: {bytes_text(written.size)}", as_json=as_json)


def import_file(
    source: str,
    socket: str | None,
    *,
    name: str | None,
    pin: bool | None,
    trust: bool,
    as_json: bool,
) -> None:
    """Put an image file, or stdin for `-`, into the store once every byte of it was checked."""
    with open_store(socket) as store, progress() as tell:
        tell(f"checking {source}")
        data = files.read_image(sys.stdin.buffer if source == "-" else source)
        if files.wants_trust(data) and not trust:
            raise CommandError(
                f"{source} names classes or functions, which readers of the store would look up"
                " and call as if you had put them: give --trust if you know who made the file",
                ExitCode.PERMISSION,
            )
        tell(f"putting {source}")
        pinned = name is None if pin is None else pin
        try:
            handle = files.put_image(store, data, name=name, pin=pinned)
        except ValueError as error:
            if isinstance(error, icehouse.IcehouseError | UnicodeEncodeError):
                raise
            raise CommandError(str(error), ExitCode.USAGE) from None
        size = len(data)
    told = {"handle": str(handle), "size": size, "name": name, "pinned": pinned, "file": source}
    say(told, str(handle), as_json=as_json)


def say(told: dict[str, Any], text: str, *, as_json: bool) -> None:
    """Tell what was done."""
    if as_json:
        print_json(told)
    else:
        print(text)
