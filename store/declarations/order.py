"""Whether a decorator that must come before `@frozen` is about to come after it (HAZARDS H25).

`@dataclass` writes into the class that it is given. Above `@frozen` it finds a class that takes
nothing any more, and what Python says then (`cannot set '__dataclass_params__' attribute of
immutable type`) does not help. So the code that applies the decorators is read before anything is
frozen: the instructions that follow are the calls of the decorators above.
"""

from collections.abc import Iterator
from types import CodeType, FrameType
from typing import Any

from icehouse.store.freezing.anatomy import namespace
from icehouse.store.freezing.refusal import Refusal

# What writes into the class that it decorates -> what that class has afterwards.
_WRITERS: dict[tuple[Any, Any], str] = {
    ("dataclasses", "dataclass"): "__dataclass_params__",
    ("functools", "total_ordering"): "",
    ("typing", "runtime_checkable"): "_is_runtime_protocol",
    ("attr._next_gen", "define"): "__attrs_attrs__",
    ("attr._make", "attrs"): "__attrs_attrs__",
    ("pydantic.dataclasses", "dataclass"): "__pydantic_complete__",
}
_Range = tuple[int, int, int, int]


def check_order(cls: type, frame: FrameType) -> None:
    """Look for decorators above `@frozen` that would write into the frozen class.

    `frame` is the one whose code applies the decorators, in the middle of the call of ours. Refusal
    names the right order. What can't be read from the code is let pass: then Python itself refuses
    to write into the class.
    """
    for name, value in _above(frame):
        mark = _WRITERS.get((getattr(value, "__module__", None), getattr(value, "__name__", None)))
        if mark is not None and (not mark or mark not in namespace(cls)):
            raise Refusal(
                f"@{name} stands above the decorator that freezes it, and would write into a class "
                f"that is frozen by then; put the one that freezes above @{name}"
            )


def _above(frame: FrameType) -> Iterator[tuple[str, Any]]:
    """Go through the decorators that will be given what this call returns: name and value."""
    import dis

    code = frame.f_code
    instructions = list(dis.get_instructions(code))
    places = list(_places(code))
    # Some versions count the caches behind the call.
    at = max(i for i, each in enumerate(instructions) if each.offset <= frame.f_lasti)
    for instruction in instructions[at + 1 :]:
        if instruction.opname == "PRECALL":
            continue
        if instruction.opname != "CALL" or instruction.arg not in (0, 1):
            return
        place = places[instruction.offset // 2]
        if place is None:
            return
        chain = [
            each
            for each in instructions
            if each.offset < frame.f_lasti and _within(places[each.offset // 2], place)
        ]
        found = _evaluate(frame, chain)
        if found is not None:
            yield found


def _places(code: CodeType) -> Iterator[_Range | None]:
    """Say where in the text each instruction comes from: lines and columns; None if unknown."""
    for line, end_line, column, end_column in code.co_positions():
        if line is None or end_line is None or column is None or end_column is None:
            yield None
        else:
            yield line, column, end_line, end_column


def _within(inner: _Range | None, outer: _Range) -> bool:
    return inner is not None and inner[:2] >= outer[:2] and inner[2:] <= outer[2:]


def _evaluate(frame: FrameType, chain: list[Any]) -> tuple[str, Any] | None:
    """Look up what an expression begins with: a name, and attributes of it."""
    name, value = "", None
    for instruction in chain:
        if instruction.opname in ("PUSH_NULL", "CACHE"):
            continue
        if instruction.opname.startswith("LOAD_") and not name:
            name = str(instruction.argval)
            value = _variable(frame, name)
        elif instruction.opname in ("LOAD_ATTR", "LOAD_METHOD") and value is not None:
            name = f"{name}.{instruction.argval}"
            value = getattr(value, str(instruction.argval), None)
        else:
            break
    return (name, value) if value is not None else None


def _variable(frame: FrameType, name: str) -> Any:
    for scope in (frame.f_locals, frame.f_globals, frame.f_builtins):
        if name in scope:
            return scope[name]
    return None
