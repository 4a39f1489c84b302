"""Selectors of parts of an object, like JSONPath's: `$.users[0].name`, `$.a[2:5]`, `$['a b'].*`.

Each step looks at what it names and at nothing else, so a selector costs the same in an object of
any size. A step with `*` or a slice gives any number of parts, each in its turn.
"""

import re
from collections.abc import Iterator
from typing import Any, NamedTuple

from icehouse.client.cli.output import CommandError, ExitCode
from icehouse.store.showing import nodes

NUMBER = r"-?\d{1,18}"
STEP = re.compile(
    rf"""
    \.(?P<star>\*) | \.(?P<name>[^\s.\[\]'"*$]+)
    | \[\s*(?: (?P<all>\*)
        | '(?P<single>(?:[^'\\]|\\.)*)' | "(?P<double>(?:[^"\\]|\\.)*)"
        | (?P<slice>(?:{NUMBER})?\s*:\s*(?:{NUMBER})?(?:\s*:\s*(?:{NUMBER})?)?)
        | (?P<index>{NUMBER}) )\s*\]
    """,
    re.VERBOSE | re.ASCII,
)
ESCAPE = re.compile(r"\\(u[0-9a-fA-F]{4}|.)")
ESCAPED = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f"}
STEPS_MAX = 1000


class Step(NamedTuple):
    """One step: `key` is a name, an index, a slice, or None for everything."""

    key: str | int | slice | None
    text: str


class Selector(NamedTuple):
    """A way into an object."""

    steps: tuple[Step, ...]

    @property
    def is_definite(self) -> bool:
        """Whether it leads to one part at most."""
        return all(isinstance(step.key, str | int) for step in self.steps)


def unescape(text: str) -> str:
    """Read the inside of quotes."""

    def one(match: re.Match[str]) -> str:
        code = match[1]
        return chr(int(code[1:], 16)) if len(code) == 5 else ESCAPED.get(code, code)

    # Letters beyond the 16 bits of an escape come as two.
    return ESCAPE.sub(one, text).encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")


def key_of(match: re.Match[str]) -> str | int | slice | None:
    """Read a step."""
    if match["name"] is not None:
        return match["name"]
    if match["single"] is not None:
        return unescape(match["single"])
    if match["double"] is not None:
        return unescape(match["double"])
    if match["index"] is not None:
        return int(match["index"])
    if match["slice"] is not None:
        parts = [int(part) if part.strip() else None for part in match["slice"].split(":")]
        return slice(*parts)
    return None


def hint_of(rest: str) -> str:
    """Name the part of JSONPath that a text wants and that is not here."""
    for begin, name in (("..", "`..`"), ("[?", "a filter"), ("[(", "an expression")):
        if re.sub(r"\s", "", rest).startswith(begin):
            return f": {name} is not supported"
    if re.match(r"\[[^\]]*,", rest):
        return ": a union is not supported"
    return ""


def parse(text: str) -> Selector:
    """Read a selector; CommandError, which says where it can't be read."""
    at = 1 if text.startswith("$") else 0
    # `users[0]` is `$.users[0]`.
    whole = text if at or text[:1] in (".", "[", "") else f".{text}"
    steps = []
    while at < len(whole):
        match = STEP.match(whole, at)
        if match is None:
            raise CommandError(
                f"the selector {text!r} can't be read from {whole[at:]!r} on{hint_of(whole[at:])};"
                " steps are .name, ['name'], [0], [-1], [2:5], .* and [*]",
                ExitCode.USAGE,
            )
        key = key_of(match)
        if isinstance(key, slice) and key.step == 0:
            raise CommandError(f"the selector {text!r} has a step of 0", ExitCode.USAGE)
        steps.append(Step(key, match[0]))
        at = match.end()
    if len(steps) > STEPS_MAX:
        raise CommandError(f"the selector has over {STEPS_MAX} steps", ExitCode.USAGE)
    return Selector(tuple(steps))


class Missing(CommandError):
    """There is nothing where a selector leads."""

    def __init__(self, message: str) -> None:
        super().__init__(message, ExitCode.NOT_FOUND)


def select(root: Any, selector: Selector) -> Iterator[Any]:
    """Give the parts that a selector leads to; Missing where a definite one leads nowhere."""
    return walk(root, selector.steps, 0, definite=selector.is_definite)


def walk(value: Any, steps: tuple[Step, ...], at: int, *, definite: bool) -> Iterator[Any]:
    """Follow the steps from `at` on."""
    while at < len(steps) and isinstance(steps[at].key, str | int):
        try:
            value = one(value, steps, at)
        except Missing:
            if definite:
                raise
            return
        at += 1
    if at == len(steps):
        yield value
        return
    key = steps[at].key
    for part in several(value, None if key is None else key):  # type: ignore[arg-type] # not one
        yield from walk(part, steps, at + 1, definite=False)


def one(value: Any, steps: tuple[Step, ...], at: int) -> Any:
    """Follow a step that leads to one part."""
    key = steps[at].key
    kind = nodes.kind_of(value)
    fields = nodes.fields_of(value)
    if isinstance(key, str) and fields is not None and key in fields:
        return fields[key]
    try:
        if kind == "dict":
            return value[key]
        if isinstance(key, int) and (kind in ("list", "array") or is_bytes(value)):
            return value[key]
    except LookupError:
        pass
    here = "$" + "".join(step.text for step in steps[:at])
    raise Missing(f"{here} {nothing(value, kind, fields, key)}")


def is_bytes(value: Any) -> bool:
    """Whether it is bytes, of whatever length."""
    return type(value).__name__ in ("bytes", "FrozenBytes")


def nothing(value: Any, kind: str, fields: Any, key: Any) -> str:
    """Say why a step leads nowhere."""
    if kind == "dict":
        return f"has no key {key!r}; it has {nodes.some_keys(value) or 'none'}"
    if fields and isinstance(key, str):
        return f"has no field {key!r}; it has {nodes.some_keys(fields)}"
    if kind in ("list", "array") or is_bytes(value):
        if isinstance(key, int):
            return f"has {nodes.length_of(value, kind)} items, and none at {key}"
        return f"is of type {nodes.type_of(value)}, which has items by number: [0]"
    return f"is of type {nodes.type_of(value)}, which has no part {key!r}"


def several(value: Any, key: slice | None) -> Iterator[Any]:
    """Follow a step that leads to any number of parts."""
    kind = nodes.kind_of(value)
    if key is None:
        fields = nodes.fields_of(value)
        if fields is not None:
            yield from fields.values()
        if kind:
            yield from (part for _, part in nodes.items_of(value, kind))
    elif is_bytes(value):
        # Bytes in bytes: one part, and not numbers.
        yield value[key]
    elif kind == "list" or (kind == "array" and value.shape):
        for index in range(*key.indices(len(value))):
            yield value[index]
