"""A pydantic model of the golden images."""

import pydantic


class Item(pydantic.BaseModel):
    name: str
    tags: list[str]
