"""Elements of xml.etree: made again whole, whenever they are reached, as their reduction would be.

What they say of themselves to pickle is a list inside of a dict, and their code takes real lists
alone.
"""

from typing import Any

from icehouse.store.freezing import codes
from icehouse.store.freezing.trust import name_of

# The tags that are functions.
_MARKS = ("Comment", "ProcessingInstruction")


def rule(cls: type, base: type) -> tuple[Any, ...] | str:
    """Freeze elements as the arguments of `make`."""
    if cls is base:
        return ("value", codes.REDUCE, _payload)
    return (
        f"a {name_of(cls)} is an Element with something of its own, which the code of Element "
        "could not make again: freeze ElementTree.tostring(x)"
    )


def _payload(element: Any) -> tuple[Any, ...]:
    from xml.etree import ElementTree

    tag = element.tag
    mark = next((name for name in _MARKS if tag is getattr(ElementTree, name)), None)
    parts = (
        tag if mark is None else None,
        mark,
        dict(element.attrib),
        element.text,
        element.tail,
        tuple(element),
    )
    return ("xml.etree.ElementTree.Element", (__name__, "make"), parts)


def make(tag: Any, mark: str | None, attrib: Any, text: Any, tail: Any, children: Any) -> Any:
    """Make an element; ValueError for a mark that there isn't."""
    from xml.etree import ElementTree

    if mark is not None:
        if mark not in _MARKS:
            raise ValueError("there is no such tag")
        tag = getattr(ElementTree, mark)
    element = ElementTree.Element(tag, dict(attrib))
    element.text, element.tail = text, tail
    element.extend(children)
    return element
