"""What the code of a function reads and writes outside of itself, and how writes are made to fail.

A frozen function has globals and cells of its own, and writing them must raise. The compiler has
chosen instructions that write a dict or a cell directly, so they are replaced, one for one:

* `STORE_GLOBAL`, and `STORE_DEREF` of a captured cell, become `STORE_NAME`, which calls
  `__setitem__` of the frame's locals. Code that is not flagged CO_OPTIMIZED runs with its globals
  as locals, so the flag is taken off, and the function gets globals whose `__setitem__` raises. The
  name that is stored is marked, so that nothing else is taken for such a write: debuggers of 3.11
  and 3.12 store a frame's variables in its locals too.
* `DELETE_GLOBAL` and `DELETE_DEREF` become `SETUP_ANNOTATIONS`, the one instruction without
  operands that reads a name of the frame's locals, for `DELETE_NAME` hides what is raised.

Code that writes nothing is left as it is, and its globals are an exact dict. This is the same in
3.11 to 3.15.
"""

import opcode
from collections.abc import Iterator
from types import CodeType
from typing import Any, Final, NamedTuple

from icehouse.store.freezing.refusal import Refusal

# Ends a name that is stored where a captured variable was written. No identifier has it.
MARK: Final = "\0"
# What is read instead of deleting a captured variable.
DELETED: Final = "__annotations__"

# How many names a code object can have for one of them to fit an instruction without a prefix.
NAMES_MAX = 256
# What a function whose code was changed can't use: there, locals are globals.
LOCALS: Final = ("locals", "vars", "dir", "eval", "exec")

_OPTIMIZED = 1
_EXTENDED = opcode.EXTENDED_ARG
_none = -1


def _number(name: str) -> int:
    return opcode.opmap.get(name, _none)


_LOAD_GLOBAL = _number("LOAD_GLOBAL")
_LOAD_NAME = (_number("LOAD_NAME"), _number("LOAD_FROM_DICT_OR_GLOBALS"))
_STORE_NAME = _number("STORE_NAME")
_STORE_GLOBAL = _number("STORE_GLOBAL")
_DELETE_GLOBAL = _number("DELETE_GLOBAL")
_STORE_DEREF = _number("STORE_DEREF")
_DELETE_DEREF = _number("DELETE_DEREF")
_SETUP_ANNOTATIONS = _number("SETUP_ANNOTATIONS")


class Names(NamedTuple):
    """The global names that a function and the functions inside it use, in order of first use.

    `soft`: read in the body of a class that binds such a name itself, so that they may not be
    global at all. `written`: assigned or deleted, captured cells included.
    """

    read: tuple[str, ...]
    soft: tuple[str, ...]
    written: tuple[str, ...]


def names_of(code: CodeType) -> Names:
    """Find the names that code uses outside of itself. O(its instructions).

    Refusal for the body of a class that writes them, since there nothing could stop it.
    """
    read: dict[str, None] = {}
    soft: dict[str, None] = {}
    written: dict[str, None] = {}
    for part, captured in _parts(code):
        is_function = bool(part.co_flags & _OPTIMIZED)
        names, cells = part.co_names, _cells(part)
        bound = set() if is_function else _bound(part)
        for _, op, arg in _instructions(part.co_code):
            if op == _LOAD_GLOBAL:
                read[names[arg >> 1]] = None
            elif op in _LOAD_NAME:
                (soft if names[arg] in bound else read)[names[arg]] = None
            elif op in (_STORE_GLOBAL, _DELETE_GLOBAL):
                written[_written(part, names[arg])] = None
            elif op in (_STORE_DEREF, _DELETE_DEREF) and cells[arg] in captured:
                written[_written(part, cells[arg])] = None
    for name in read:
        soft.pop(name, None)
    return Names(tuple(read), tuple(soft), tuple(written))


def _written(part: CodeType, name: str) -> str:
    if part.co_flags & _OPTIMIZED:
        return name
    raise Refusal(
        f"the body of its class {part.co_name} writes {name!r} outside of the class, which can't "
        "be kept from a frozen function: assign it in a function, or as an attribute"
    )


def _parts(code: CodeType) -> Iterator[tuple[CodeType, frozenset[str]]]:
    """Go through a code object and all inside it, each with its cells that come from outside."""
    waiting = [(code, frozenset(code.co_freevars))]
    while waiting:
        part, captured = waiting.pop()
        yield part, captured
        waiting.extend(
            (inner, _captured(part, inner, captured))
            for inner in reversed(part.co_consts)
            if isinstance(inner, CodeType)
        )


def _captured(outer: CodeType, inner: CodeType, captured: frozenset[str]) -> frozenset[str]:
    return captured.intersection(inner.co_freevars).difference(outer.co_cellvars)


def _cells(code: CodeType) -> tuple[str, ...]:
    """List the variables of a frame in their order, as the instructions for cells count them."""
    own = code.co_varnames
    return (*own, *(name for name in code.co_cellvars if name not in own), *code.co_freevars)


def _bound(body: CodeType) -> set[str]:
    """List the names that the body of a class binds itself."""
    return {body.co_names[arg] for _, op, arg in _instructions(body.co_code) if op == _STORE_NAME}


def _instructions(raw: bytes) -> Iterator[tuple[int, int, int]]:
    """Decode instructions: offset, number, argument. What caches hold is nothing of ours."""
    high = 0
    for at in range(0, len(raw), 2):
        op, arg = raw[at], high << 8 | raw[at + 1]
        if op == _EXTENDED:
            high = arg
            continue
        high = 0
        yield at, op, arg


# --- making writes fail --------------------------------------------------------------------------


def sealed(code: CodeType) -> CodeType:
    """Replace what writes captured variables, in the functions inside too.

    The very object where there is nothing to replace. Refusal where a function has too many names
    to mark one more.
    """
    return _sealed(code, frozenset(code.co_freevars))


def _sealed(code: CodeType, captured: frozenset[str]) -> CodeType:
    consts = tuple(
        _sealed(inner, _captured(code, inner, captured)) if isinstance(inner, CodeType) else inner
        for inner in code.co_consts
    )
    names = list(code.co_names)
    raw = bytearray(code.co_code)
    cells = _cells(code)
    changed = False
    for at, op, arg in _instructions(code.co_code):
        if op == _STORE_GLOBAL:
            new, number = _STORE_NAME, _marked(names, code.co_names[arg], code)
        elif op == _STORE_DEREF and cells[arg] in captured:
            new, number = _STORE_NAME, _marked(names, cells[arg], code)
        elif op == _DELETE_GLOBAL or (op == _DELETE_DEREF and cells[arg] in captured):
            # It takes no argument, so that the name can be left there for the error.
            name = code.co_names[arg] if op == _DELETE_GLOBAL else cells[arg]
            new, number = _SETUP_ANNOTATIONS, _marked(names, name, code)
        else:
            continue
        changed = True
        raw[at], raw[at + 1] = new, number
        while at >= 2 and raw[at - 2] == _EXTENDED:
            at -= 2
            raw[at + 1] = 0
    if not changed and all(a is b for a, b in zip(consts, code.co_consts, strict=True)):
        return code
    replaced: dict[str, Any] = {"co_consts": consts}
    if changed:
        replaced.update(
            co_code=bytes(raw), co_names=tuple(names), co_flags=code.co_flags & ~_OPTIMIZED
        )
    return code.replace(**replaced)


def _marked(names: list[str], name: str, code: CodeType) -> int:
    marked = name + MARK
    if marked not in names:
        names.append(marked)
    number = names.index(marked)
    if number >= NAMES_MAX:
        raise Refusal(
            f"its function {code.co_name} uses {len(code.co_names)} names and writes the captured "
            f"{name!r}: of a function with {NAMES_MAX} names and more that can't be kept; split it"
        )
    return number


def deletes(code: CodeType) -> bool:
    """Whether sealed code, or code inside of it, would delete a captured variable."""
    return any(
        op == _SETUP_ANNOTATIONS and part.co_names[arg].endswith(MARK)
        for part, _ in _parts(code)
        for _, op, arg in _instructions(part.co_code)
        if arg < len(part.co_names)
    )


def deleted_at(code: CodeType, offset: int) -> str:
    """Name the captured variable that sealed code would delete at an offset."""
    return code.co_names[code.co_code[offset + 1]].removesuffix(MARK)
