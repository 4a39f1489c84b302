"""What is in an image, for the API and for the pages: a level of its tree, and a preview."""

from fastapi import Request
from pydantic import Field

from icehouse.server.admin.images import Images
from icehouse.server.admin.problems import ProblemError
from icehouse.server.admin.schemas import Model
from icehouse.store.showing import tree as trees

__all__ = ["ContentItem", "ContentPreview", "ContentTree", "images_of", "preview", "tree"]

LIMIT_MAX = 200


class ContentItem(Model):
    """One value of an image, in a few words. Nothing of it was made or run for this."""

    key: str | None = Field(
        description="index, name of a field or key of a dict as text; null: the root"
    )
    key_kind: str | None = Field(description="index, field, or the kind of a dict's key")
    kind: str = Field(
        description="null, bool, int, float, complex, ellipsis, str, bytes, list, tuple, dict, set,"
        " array, object (an instance), value (a date, a class, ...), or damaged"
    )
    type: str = Field(description="the type that was frozen, as the image names it")
    length: int | None = Field(description="items, fields, characters or bytes; null: uncounted")
    text: str | None = Field(description="the value in one line; unprintable characters escaped")
    whole: bool = Field(description="whether `text` is all of it")
    has_children: bool
    path: str | None = Field(description="what leads here; null: too deep for a path")
    link: str | None = Field(description="the image that it lies in, where that is another one")
    same_as: str | None = Field(description="path of the container around it that it is itself")

    @classmethod
    def of(cls, item: trees.Item) -> "ContentItem":
        """Make it of what was found."""
        return cls(
            key=item.key,
            key_kind=item.key_kind,
            kind=item.kind,
            type=item.type,
            length=item.length,
            text=item.text,
            whole=item.is_whole,
            has_children=item.has_children,
            path=item.path,
            link=item.link,
            same_as=item.same_as,
        )


class ContentTree(Model):
    """A value and some of its children. A page may be short and not the last."""

    handle: str
    item: ContentItem
    items: list[ContentItem]
    next: str | None = Field(description="pass it as `cursor` for what follows; null: no more")


class ContentPreview(Model):
    """A value as bounded JSON."""

    handle: str
    item: ContentItem
    text: str = Field(
        description="JSON, as `icehouse cat` writes it: $type, $more, $ref, $damaged say what JSON"
        " has no word for"
    )
    whole: bool = Field(description="whether it is all of the value")


async def images_of(request: Request) -> Images:
    """Give the reader of images to a request of somebody who may read the store.

    ProblemError `not-permitted` for anybody else: this face is open to every user of the machine.
    """
    await request.app.state.readers.check(request)
    images = request.app.state.images
    assert isinstance(images, Images)
    return images


async def tree(
    images: Images, handle: str, path: str = "", cursor: str = "", limit: int = 100
) -> ContentTree:
    """Give what a path of an image leads to, and its children, at most `limit` (200).

    `cursor` is the `next` of the page before. ProblemError: `invalid-request`, `handle-gone`,
    `handle-unknown`, `path-unknown`, `corrupt-image`, `too-slow`; AwayError without a daemon.
    O(limit), whatever the size of the image.
    """
    start = place_of(cursor)
    most = max(1, min(limit, LIMIT_MAX))
    found = await images.read(handle, lambda raw, until: trees.level(raw, path, start, most, until))
    return ContentTree(
        handle=handle,
        item=ContentItem.of(found.item),
        items=[ContentItem.of(item) for item in found.items],
        next=None if found.next is None else f"n{found.next:x}",
    )


def place_of(cursor: str) -> int:
    """Read a cursor; ProblemError if it is none of ours."""
    if not cursor:
        return 0
    try:
        if cursor[0] == "n" and 1 < len(cursor) <= 17 and cursor.isalnum():
            return int(cursor[1:], 16)
    except ValueError:
        pass
    raise ProblemError("invalid-request", "cursor: not one that a page of this list gave as `next`")


async def preview(images: Images, handle: str, path: str = "") -> ContentPreview:
    """Give what a path of an image leads to as bounded JSON. Errors are those of `tree`."""
    item, text, is_whole = await images.read(
        handle, lambda raw, until: trees.preview(raw, path, until)
    )
    return ContentPreview(handle=handle, item=ContentItem.of(item), text=text, whole=is_whole)
