"""A msgspec Struct of the golden images."""

import msgspec


class Item(msgspec.Struct):
    name: str
    tags: list[str]
