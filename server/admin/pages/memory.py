"""The map of a segment: its blocks as rectangles, and what they say in numbers."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from icehouse.server.admin import schemas

MAP_WIDTH = 1000.0
ROW_HEIGHT = 12.0
ROW_GAP = 2.0
ROWS_MAX = 16
# Neighbours narrower than this are drawn as one.
APART = 2.5
# A row has at least this many bytes, so that a small segment has few rows.
ROW_BYTES_MIN = 4096
LARGEST = 20


class Box(NamedTuple):
    """A rectangle of the map."""

    kind: str
    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True)
class Map:
    """A segment as it is drawn, row by row as a text is read."""

    width: float
    height: float
    row_bytes: int
    boxes: list[Box]


def rows_of(size: int) -> int:
    """Choose how many rows a segment has."""
    return max(1, min(ROWS_MAX, size // ROW_BYTES_MIN))


def layers(block: schemas.Block) -> list[tuple[str, float]]:
    """Give what a run is, as kinds and shares of its height from below."""
    if block.state != "mixed":
        return [(block.state, 1.0)]
    live, dying = block.live_bytes / block.bytes, block.dying_bytes / block.bytes
    shares = [("live", live), ("dying", dying), ("free", 1.0 - live - dying)]
    return [(kind, share) for kind, share in shares if share > 0.01]


def draw(blocks: Sequence[schemas.Block], size: int) -> Map:
    """Draw a segment of `size` bytes."""
    rows = rows_of(size)
    row_bytes = -(-size // rows)
    boxes: list[Box] = []
    for block in blocks:
        at, end = block.offset, min(block.offset + block.bytes, size)
        parts = layers(block)
        while at < end:
            row = at // row_bytes
            until = min(end, (row + 1) * row_bytes)
            x = MAP_WIDTH * (at - row * row_bytes) / row_bytes
            width = max(0.4, MAP_WIDTH * (until - at) / row_bytes)
            bottom = (row + 1) * (ROW_HEIGHT + ROW_GAP) - ROW_GAP
            for kind, share in parts:
                height = ROW_HEIGHT * share
                bottom -= height
                add(boxes, Box(kind, x, bottom, width, height))
            at = until
    rounded = [Box(box.kind, *(round(number, 2) for number in box[1:])) for box in boxes]
    return Map(MAP_WIDTH, rows * (ROW_HEIGHT + ROW_GAP) - ROW_GAP, row_bytes, rounded)


def add(boxes: list[Box], box: Box) -> None:
    """Add a box; a narrow one right behind one of its kind makes that longer."""
    if boxes:
        last = boxes[-1]
        is_near = abs(last.x + last.width - box.x) < 0.05 and last.y == box.y
        is_like = last.kind == box.kind and last.height == box.height
        if is_near and is_like and min(last.width, box.width) < APART:
            boxes[-1] = last._replace(width=box.x + box.width - last.x)
            return
    boxes.append(box)


def broken(free: int, largest: int) -> float:
    """Give the share of free memory that is not in the largest piece."""
    return 1.0 - largest / free if free else 0.0


def parts_of(segment: schemas.Segment) -> list[tuple[str, float]]:
    """Divide a segment for a small bar."""
    kind = {"retired": "unowned", "spilled": "spilled"}.get(segment.state, "live")
    known = segment.image_bytes + segment.dying_bytes + segment.free_bytes
    if segment.state == "warm":
        return [("warm", float(segment.bytes))]
    return [
        (kind, float(segment.image_bytes)),
        ("deleted", float(segment.dying_bytes)),
        ("other", float(max(0, segment.bytes - known))),
        ("free", float(segment.free_bytes)),
    ]


def everything(found: schemas.Blocks) -> dict[str, Any]:
    """Give what the page of a segment shows."""
    segment = found.segment
    free = [block for block in found.items if block.state == "free"]
    images = [block for block in found.items if block.handle is not None]
    return {
        "segment": segment,
        "map": draw(found.items, segment.bytes),
        "largest": sorted(images, key=lambda block: -block.bytes)[:LARGEST],
        "pieces": len(free),
        "broken": broken(segment.free_bytes, segment.largest_free),
        "is_whole": found.next is None,
    }
