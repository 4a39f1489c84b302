"""Freezing functions changes nothing outside of them, whether it succeeds or fails."""

import sys
import types
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import given

import icehouse
from icehouse.native._image import FreezableFunction, FrozenFunction, _original_of

COUNT = 6


class Shape:
    """A drawn program: functions in one module, what each uses, and what its module holds."""

    def __init__(self, draw: Any) -> None:
        numbers = st.integers(0, COUNT - 1)
        self.uses = [draw(st.lists(numbers, max_size=3)) for _ in range(COUNT)]
        self.states = [
            draw(st.sampled_from(["int", "dict", "named", "none"])) for _ in range(COUNT)
        ]
        self.kinds = [
            draw(st.sampled_from(["plain", "freezable", "closure"])) for _ in range(COUNT)
        ]
        self.roots = draw(st.lists(numbers, min_size=1, max_size=4))


def program(shape: Shape) -> types.ModuleType:
    module = types.ModuleType("drawn_program")
    space = vars(module)
    for n in range(COUNT):
        space[f"state{n}"] = {"int": n, "none": None}.get(shape.states[n], {"n": [n]})
        calls = ", ".join(f"f{k}" for k in shape.uses[n])
        state = f", state{n}" if shape.states[n] != "none" else ""
        body = f"    return [{n}, ({calls}{', ' if calls else ''}){state}]\n"
        if shape.kinds[n] == "closure":
            source = (
                f"def make():\n    mine = ({n}, 'x')\n    def f{n}(a=[1], *, b={{}}):\n"
                f"        mine\n    {body}    return f{n}\nf{n} = make()\ndel make\n"
            )
        else:
            source = f"def f{n}(a=[1], *, b={{}}) -> 'list':\n{body}"
        exec(source, space)
        space[f"f{n}"].note = [n]
        if shape.kinds[n] == "freezable" or shape.states[n] == "named":
            names = [f"state{n}"] if shape.states[n] == "named" else []
            space[f"f{n}"] = (
                icehouse.freezable(*names)(space[f"f{n}"])
                if names
                else (icehouse.freezable(space[f"f{n}"]))
            )
    return module


def looks(module: types.ModuleType) -> dict[str, Any]:
    """All that can be seen of a module: what its names hold, and of each function its parts."""
    seen: dict[str, Any] = {}
    for name, value in vars(module).items():
        seen[name] = id(value), type(value)
        if isinstance(value, FreezableFunction | types.FunctionType):
            function = _original_of(value) if isinstance(value, FreezableFunction) else value
            seen[f"{name}()"] = parts(function)
        elif isinstance(value, dict) and name != "__builtins__":
            seen[f"{name}{{}}"] = repr(value)
    return seen


def parts(function: types.FunctionType) -> tuple[Any, ...]:
    return (
        *map(id, (function.__code__, function.__globals__, function.__defaults__)),
        *map(id, (function.__kwdefaults__, function.__dict__, function.__doc__)),
        *(id(cell) for cell in function.__closure__ or ()),
        *(id(cell.cell_contents) for cell in function.__closure__ or ()),
        repr((function.__defaults__, function.__kwdefaults__, function.__dict__)),
        dict(function.__annotations__),
    )


def differences(before: dict[str, Any], after: dict[str, Any]) -> dict[str, Any]:
    return {
        k: (before.get(k), after.get(k)) for k in before | after if before.get(k) != after.get(k)
    }


def reached(shape: Shape) -> set[int]:
    found: set[int] = set()
    waiting = list(shape.roots)
    while waiting:
        n = waiting.pop()
        if n not in found:
            found.add(n)
            waiting += shape.uses[n]
    return found


@given(st.data())
def test_freezing_changes_nothing_outside(data: st.DataObject) -> None:
    shape = Shape(data.draw)
    module = program(shape)
    modules = dict(sys.modules)
    before = looks(module)
    roots = [vars(module)[f"f{n}"] for n in shape.roots]
    wanted = reached(shape)
    fails = any(shape.states[n] == "dict" for n in wanted)
    if fails:
        with pytest.raises(icehouse.NotFreezableError, match=r"global 'state\d'"):
            icehouse.freeze(*roots)
        assert looks(module) == before
        return
    frozen = icehouse.freeze(*roots)
    assert isinstance(frozen, FrozenFunction)
    changed = differences(before, looks(module))
    in_place = {n for n in wanted if shape.kinds[n] == "freezable" or shape.states[n] == "named"}
    assert {key for key in changed if "(" not in key} == {f"f{n}" for n in in_place}
    # The very objects became frozen; nothing was bound to another.
    assert all(changed[f"f{n}"][0][0] == changed[f"f{n}"][1][0] for n in in_place)
    assert {key.removesuffix("()") for key in changed} == {f"f{n}" for n in in_place}
    assert {k: v for k, v in sys.modules.items() if "icehouse" not in k} == {
        k: v for k, v in modules.items() if "icehouse" not in k
    }
    result = frozen()
    for n in range(COUNT):
        vars(module)[f"state{n}"] = "rebound"
    assert described(frozen()) == described(result)


def described(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return [described(item) for item in value]
    return repr(value)


@given(st.data())
def test_what_was_frozen_twice_is_frozen_once(data: st.DataObject) -> None:
    shape = Shape(data.draw)
    shape.states = ["int"] * COUNT
    module = program(shape)
    root = vars(module)["f0"]
    first = icehouse.freeze(root)
    assert icehouse.freeze(first) is first
    with icehouse.Store("16MiB") as store:
        assert store.get(store.put([first]))[0] is first
