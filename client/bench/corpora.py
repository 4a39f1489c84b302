"""What is measured on: public JSON documents, the Unicode character database, a large dict."""

import json
import lzma
import os
import sys
import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

# Not given to characters, or not to be told apart: unassigned, private use, surrogates.
NO_CHARACTER = frozenset(["Cn", "Co", "Cs"])

JSON_CORPORA = ["twitter", "citm_catalog", "github", "canada"]


@dataclass(frozen=True)
class Corpus:
    """A name, what it is, and how to make it."""

    name: str
    about: str
    load: Callable[[], Any]


def unicode_database(*, limit: int | None = None) -> dict[str, Any]:
    """Every assigned character that `unicodedata` knows, as nested dicts; about a second.

    `limit` stops after so many characters, for tests.
    """
    characters: dict[int, dict[str, Any]] = {}
    categories: dict[str, list[int]] = {}
    for point in range(sys.maxunicode + 1):
        character = chr(point)
        category = unicodedata.category(character)
        if category in NO_CHARACTER:
            continue
        characters[point] = {
            "name": unicodedata.name(character, None),
            "category": category,
            "bidirectional": unicodedata.bidirectional(character),
            "decomposition": unicodedata.decomposition(character),
            "numeric": unicodedata.numeric(character, None),
        }
        categories.setdefault(category, []).append(point)
        if len(characters) == limit:
            break
    return {
        "version": unicodedata.unidata_version,
        "characters": characters,
        "categories": categories,
    }


def pairs(count: int) -> dict[str, tuple[int, int]]:
    """Make a dict of str keys to pairs of ints."""
    return {f"user:{i}": (i, i * 7919 % 1_000_003) for i in range(count)}


def records(count: int) -> list[dict[str, Any]]:
    """Make records of one shape with text of their own; about 100 bytes each when frozen."""
    return [
        {
            "id": i,
            "name": f"item number {i}",
            "price": i * 0.37,
            "tags": [f"tag {i % 97}", f"batch {i // 100}"],
            "size": {"width": i % 311, "height": i % 173},
            "active": i % 3 == 0,
        }
        for i in range(count)
    ]


def read_json(path: Path) -> Any:
    """Read a JSON document from a file, which may be xz-compressed."""
    data = path.read_bytes()
    return json.loads(lzma.decompress(data) if path.suffix == ".xz" else data)


def data_folder(given: Path | None) -> Path | None:
    """Where JSON corpora are: as given, else `$ICEHOUSE_SHARED/data`, else `../shared/data`."""
    if given is not None:
        return given
    shared = os.environ.get("ICEHOUSE_SHARED")
    folder = Path(shared or Path("..", "shared")) / "data"
    return folder if folder.is_dir() else None


def json_corpora(folder: Path) -> Iterator[Corpus]:
    """Find the public documents that the folder has, compressed or not."""
    for name in JSON_CORPORA:
        for path in (folder / f"{name}.json", folder / f"{name}.json.xz"):
            if path.is_file():
                yield Corpus(name, f"{name}.json", partial(read_json, path))
                break


def all_corpora(folder: Path | None, *, quick: bool) -> list[Corpus]:
    """Everything at hand, smallest first; `quick` makes the large ones small."""
    found = list(json_corpora(folder)) if folder else []
    count = 10_000 if quick else 1_000_000
    limit = 5_000 if quick else None
    characters = "5k characters" if quick else "every assigned character"
    return [
        *found,
        Corpus(
            "unicode",
            f"the Unicode database, {characters}",
            lambda: unicode_database(limit=limit),
        ),
        Corpus("pairs", f"a dict of {count:,} str keys to pairs of ints", lambda: pairs(count)),
    ]
