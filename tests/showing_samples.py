"""Looking into images as the admin process does, for its tests."""

import time
from pathlib import Path
from typing import Any

import icehouse
from icehouse.store.showing import raw, tree

GOLDEN = sorted((Path(__file__).parent / "compat" / "images").glob("*/*.ih"))


def soon() -> float:
    """Time enough for anything here."""
    return time.monotonic() + 60


def level(
    store: icehouse.Store, ref: Any, way: str = "", start: int = 0, limit: int = 100
) -> tree.Level:
    return tree.level(raw.open_raw(store, ref), way, start, limit, soon())


def preview(store: icehouse.Store, ref: Any, way: str = "") -> tuple[tree.Item, str, bool]:
    return tree.preview(raw.open_raw(store, ref), way, soon())


def keys(found: tree.Level) -> list[str | None]:
    return [item.key for item in found.items]


def texts(found: tree.Level) -> list[str | None]:
    return [item.text for item in found.items]


def walk(store: icehouse.Store, ref: Any, most: int = 300) -> list[tree.Item]:
    """Everything below a root, level by level, as somebody opens it who clicks on everything."""
    seen: list[tree.Item] = []
    ways = [""]
    while ways and len(seen) < most:
        found = level(store, ref, ways.pop(0), limit=20)
        assert found.item.kind != "damaged"
        for item in found.items:
            seen.append(item)
            if item.has_children and item.same_as is None:
                assert item.path is not None
                ways.append(item.path)
    return seen


def is_bounded(item: tree.Item) -> bool:
    """What every item promises: short, printable, and text that can be sent."""
    shown = [item.key or "", item.type, item.text or "", item.path or ""]
    for text in shown:
        text.encode()
    return (
        len(item.key or "") <= tree.KEY_MAX
        and len(item.text or "") <= tree.TEXT_MAX
        and len(item.path or "") <= tree.WAY_MAX
        and all(text.isprintable() for text in shown)
    )
