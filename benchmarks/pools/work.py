"""What workers run: they import it by name."""

import json
import lzma
import os
from itertools import islice
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent.parent
SHARED = Path(os.environ.get("ICEHOUSE_SHARED", ROOT.parent / "shared"))

_held: dict[str, Any] = {}


def load(name: str) -> Any:
    """Make the data of a case."""
    if name == "million keys":
        return {f"key {number}": (number, str(number)) for number in range(1_000_000)}
    text = lzma.decompress((SHARED / "data" / f"{name}.json.xz").read_bytes())
    return json.loads(text)


def hold(name: str) -> None:
    """Keep the data of a case in this worker."""
    _held["plain"] = load(name)


def give() -> Any:
    """Return it."""
    return _held["plain"]


def add(a: int, b: int) -> int:
    """Do next to nothing."""
    return a + b


def look(data: Any) -> int:
    """Read some of it: up to 200 keys or items of each container on the way to the first leaf."""
    seen = 0
    while hasattr(data, "__len__") and not isinstance(data, (str, bytes)):
        keys = islice(data, 200) if hasattr(data, "keys") else range(min(200, len(data)))
        values = [data[key] for key in keys]
        seen += len(values)
        if not values:
            break
        data = values[0]
    return seen


def walk(data: Any) -> int:
    """Read every leaf."""
    if hasattr(data, "values"):
        return sum(map(walk, data.values()))
    if isinstance(data, (str, bytes)) or not hasattr(data, "__len__"):
        return 1
    return sum(map(walk, data))
