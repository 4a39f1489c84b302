"""Which names code uses outside of itself, and that its writes are replaced one for one."""

import dis
import random
import textwrap
import types
from typing import Any

import pytest

import icehouse
from icehouse.store.declarations import bytecode
from icehouse.store.freezing.refusal import Refusal


def compiled(source: str) -> types.CodeType:
    space: dict[str, Any] = {"__name__": __name__}
    exec(textwrap.dedent(source), space)
    code: types.CodeType = space["f"].__code__
    return code


def test_names_are_found_in_all_that_is_inside() -> None:
    names = bytecode.names_of(
        compiled(
            """
            def f(a):
                x, y.z = [b for b in c if d(b)], 1
                class K(e):
                    g = h
                    i = i
                    j: k = 1
                    def m(self): return lambda: n
                global o
                o = 1
                del p.q
                return {r: s for t in u}, __debug__, v
            """
        )
    )
    assert {*"cdehnrsuvy"} <= set(names.read)
    assert not {*"abgjmqtxzK"} & {*names.read, *names.soft}
    assert "i" in names.soft
    assert "i" not in names.read
    assert names.written == ("o",)


def test_code_that_writes_nothing_is_left_as_it_is() -> None:
    code = compiled(
        """
        def f(n):
            total = 0
            def add(x):
                nonlocal total
                total += x
            return add(n) or [total for _ in range(n)]
        """
    )
    assert bytecode.sealed(code) is code
    assert bytecode.names_of(code).written == ()


def test_instructions_are_replaced_one_for_one() -> None:
    code = compiled(
        """
        def f(n):
            global a, b
            a = n
            if n:
                del b
            return a, b
        """
    )
    sealed = bytecode.sealed(code)
    assert len(sealed.co_code) == len(code.co_code)
    assert sealed.co_linetable == code.co_linetable
    assert sealed.co_exceptiontable == code.co_exceptiontable
    before = [i.opname for i in dis.get_instructions(code)]
    after = [i.opname for i in dis.get_instructions(sealed)]
    changed = {(b, a) for b, a in zip(before, after, strict=True) if a != b}
    assert changed == {("STORE_GLOBAL", "STORE_NAME"), ("DELETE_GLOBAL", "SETUP_ANNOTATIONS")}
    assert bytecode.names_of(code).written == ("a", "b")


def test_prefixed_instructions() -> None:
    """With more than 256 variables a cell's number needs a prefix."""
    assignments = "\n".join(f"    v{n} = {n}" for n in range(300))
    uses = " + ".join(f"v{n}" for n in range(300))
    source = (
        f"def make():\n  captured = 1\n  def f(x):\n    nonlocal captured\n{assignments}\n"
        f"    if x:\n      captured = x\n    return captured + {uses}\n  return f\nf = make()\n"
    )
    space: dict[str, Any] = {"__name__": __name__}
    exec(source, space)
    frozen = icehouse.freeze(space["f"])
    assert frozen(0) == space["f"](0)
    with pytest.raises(icehouse.FrozenError, match="'captured'"):
        frozen(5)
    assert frozen(0) == 1 + sum(range(300))


def test_too_many_names_are_refused() -> None:
    uses = "\n".join(f"    a.name{n}" for n in range(256))
    with pytest.raises(Refusal, match="split it"):
        bytecode.sealed(compiled(f"def f():\n    global a\n{uses}\n    a = 1\n"))


@pytest.mark.parametrize("seed", range(20))
def test_drawn_functions_answer_as_before(seed: int) -> None:
    """Functions of drawn statements, frozen: alike as long as they write nothing captured."""
    chance = random.Random(seed)
    lines = []
    for n in range(30):
        k = chance.randrange(8)
        lines.append(
            [
                f"a += g{k}",
                f"b.append(a % {k + 1})",
                "a, c = c, a",
                f"d = [x * g{k} + a for x in b[-3:]]; a += sum(d)",
                f"c = (lambda y=a: y + c + g{k})() % 1000",
                f"for i in range({k}):\n            c += i * g{k}",
                f"if a % {k + 2} == w:\n            G = a",
                f"def h(z):\n            nonlocal c\n            c += z * {n}\n        h(g{k})",
            ][chance.randrange(8)]
        )
    body = "\n        ".join(lines)
    source = (
        f"def f(a, w):\n    global G\n    b, c = [1], 2\n    if True:\n        {body}\n"
        "    return a, b, c\n"
    )
    space: dict[str, Any] = {"__name__": __name__, "G": 0, **{f"g{k}": k * 3 for k in range(8)}}
    exec(source, space)
    frozen = icehouse.freeze(space["f"])
    for a in range(5):
        assert frozen(a, -1) == space["f"](a, -1)
    if "G = a" in source:
        for w in range(10):
            space["G"] = 0
            space["f"](7, w)
            if space["G"]:
                with pytest.raises(icehouse.FrozenError, match="'G'"):
                    frozen(7, w)
