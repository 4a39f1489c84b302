"""FrozenObject: operators, comparison, hash, text and conversions, as the class defines them."""

import asyncio
import dataclasses
import functools
import math
import operator
from collections.abc import AsyncIterator, Awaitable, Generator, Hashable, Iterator
from typing import Any

import pytest
from forged import Writer, distrusted_view_of, view_of

import icehouse
from icehouse.native import _image

BINARY = [
    "add sub mul mod lshift rshift and_ xor or_ floordiv truediv matmul".split(),
    "iadd isub imul imod ilshift irshift iand ixor ior ifloordiv itruediv imatmul ipow".split(),
]
NAMES = {"and_": "and", "or_": "or"}


class Traced:
    """Each operator says its name and its operands."""

    def __init__(self, tag: str) -> None:
        self.tag = tag

    def __repr__(self) -> str:
        return self.tag


def _trace(name: str) -> Any:
    def method(self: Traced, *args: object) -> tuple[object, ...]:
        return (name, self.tag, *[getattr(arg, "tag", arg) for arg in args])

    return method


for _name in "add sub mul mod divmod lshift rshift and xor or floordiv truediv matmul pow".split():
    setattr(Traced, f"__{_name}__", _trace(_name))
    setattr(Traced, f"__r{_name}__", _trace(f"r{_name}"))
    if _name != "divmod":
        setattr(Traced, f"__i{_name}__", _trace(f"i{_name}"))
for _name in ("neg", "pos", "abs", "invert", "round", "trunc", "floor", "ceil"):
    setattr(Traced, f"__{_name}__", _trace(_name))


class Under(Traced):
    def __radd__(self, other: object) -> str:
        return "the subclass first"


class Silent:
    def __init__(self) -> None:
        self.tag = "silent"

    def __add__(self, other: object) -> Any:
        return NotImplemented

    __radd__ = __add__


class Number:
    def __init__(self, value: float) -> None:
        self.value = value

    def __int__(self) -> int:
        return int(self.value)

    def __float__(self) -> float:
        return float(self.value)

    def __index__(self) -> int:
        return int(self.value)

    def __complex__(self) -> complex:
        return complex(self.value)

    def __bool__(self) -> bool:
        return self.value != 0

    def __format__(self, spec: str) -> str:
        return f"<{self.value:{spec}}>"

    def __bytes__(self) -> bytes:
        return b"number"

    def __hash__(self) -> int:
        return hash(self.value)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Number) and self.value == other.value

    def __lt__(self, other: "Number") -> bool:
        return self.value < other.value


class Bag:
    def __init__(self, *items: object) -> None:
        self.items = list(items)

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: Any) -> object:
        return self.items[index]

    def __contains__(self, item: object) -> bool:
        return item == "anything" or item in self.items

    def __reversed__(self) -> Iterator[object]:
        return iter(["reversed"])

    def __setitem__(self, index: int, value: object) -> None:
        self.items[index] = value

    def __call__(self, *args: object, **kwargs: object) -> tuple[object, ...]:
        return (self.items[0], args, kwargs)

    def __length_hint__(self) -> int:
        return 17

    def __fspath__(self) -> str:
        return "/tmp"


class Sevens:
    """An iterator of its own."""

    def __iter__(self) -> "Sevens":
        return self

    def __next__(self) -> int:
        raise StopIteration


class Managed:
    def __enter__(self) -> str:
        return "entered"

    def __exit__(self, *exc: object) -> bool:
        return True

    async def __aenter__(self) -> str:
        return "entered asynchronously"

    async def __aexit__(self, *exc: object) -> bool:
        return True

    def __await__(self) -> Generator[Any, None, str]:
        return asyncio.sleep(0, "awaited").__await__()

    async def __aiter__(self) -> AsyncIterator[int]:
        yield 1
        yield 2


class Bare:
    def __init__(self) -> None:
        self.a = 1


class Unhashable(Bare):
    __hash__ = None  # type: ignore[assignment]


@functools.total_ordering
@dataclasses.dataclass(frozen=True)
class Version:
    major: int
    parts: tuple[int, ...] = ()

    def __lt__(self, other: "Version") -> bool:
        return self.major < other.major


@dataclasses.dataclass
class Node:
    value: int
    next: Any = None


class Chain:
    def __init__(self, value: object, rest: object = None) -> None:
        self.value = value
        self.rest = rest


class Textual:
    def __repr__(self) -> str:
        return "a repr"

    def __str__(self) -> str:
        return "a str"


class Wrong:
    def __repr__(self) -> Any:
        return 1

    def __len__(self) -> Any:
        return -1

    def __hash__(self) -> Any:
        return "text"


class Short:
    def __bool__(self) -> Any:
        return 1


@pytest.mark.parametrize("name", BINARY[0])
def test_binary_operators(name: str) -> None:
    function, method = getattr(operator, name), NAMES.get(name, name)
    view = view_of(Traced("v"))
    assert function(view, 5) == (method, "v", 5)
    assert function(5, view) == (f"r{method}", "v", 5)
    assert function(view, Traced("t")) == (method, "v", "t")
    assert function(Traced("t"), view) == (method, "t", "v")
    assert function(view, view_of(Traced("w"))) == (method, "v", "w")


@pytest.mark.parametrize("name", BINARY[1])
def test_in_place_operators(name: str) -> None:
    assert getattr(operator, name)(view_of(Traced("v")), 5) == (name, "v", 5)


@pytest.mark.parametrize("name", ["neg", "pos", "abs", "invert"])
def test_unary_operators(name: str) -> None:
    assert getattr(operator, name)(view_of(Traced("v"))) == (name, "v")


def test_other_numbers() -> None:
    view = view_of(Traced("v"))
    assert divmod(view, 2) == ("divmod", "v", 2)
    assert divmod(2, view) == ("rdivmod", "v", 2)
    assert (pow(view, 2), pow(view, 2, 3)) == (("pow", "v", 2), ("pow", "v", 2, 3))
    assert pow(2, view) == ("rpow", "v", 2)
    assert (round(view), round(view, 2)) == (("round", "v"), ("round", "v", 2))
    assert (math.trunc(view), math.floor(view)) == (("trunc", "v"), ("floor", "v"))
    assert math.ceil(view) == ("ceil", "v")


def test_reflected_operators() -> None:
    assert view_of(Traced("v")) + view_of(Under("u")) == "the subclass first"
    assert Traced("t") + view_of(Under("u")) == ("add", "t", "u")
    assert view_of(Silent()) + view_of(Traced("v")) == ("radd", "v", "silent")
    assert view_of(Silent()) + Traced("t") == ("radd", "t", "silent")
    for left, right in [(view_of(Silent()), 1), (1, view_of(Silent())), (view_of(Bare()), 1)]:
        with pytest.raises(TypeError, match="unsupported operand"):
            left + right


def test_conversions() -> None:
    view = view_of(Number(3.5))
    assert (int(view), float(view), complex(view), bool(view)) == (3, 3.5, 3.5, True)
    assert [10, 20, 30, 40][view] == 40
    assert not view_of(Number(0.0))
    assert f"{view:.2f}" == "<3.50>"
    assert bytes(view) == b"number"
    with pytest.raises(TypeError):
        int(view_of(Bare()))
    assert bool(view_of(Bare()))


def test_containers() -> None:
    view = view_of(Bag(1, 2, 3))
    assert (len(view), view[1], view[-1], view[1:]) == (3, 2, 3, [2, 3])
    assert list(view) == [1, 2, 3]  # by __getitem__, as there is no __iter__
    assert "anything" in view
    assert 9 not in view
    assert list(reversed(view)) == ["reversed"]
    assert operator.length_hint(view) == 3
    assert view(7, key="k") == (1, (7,), {"key": "k"})
    assert callable(view)
    assert bool(view)
    assert not view_of(Bag())
    with pytest.raises(icehouse.FrozenError):
        view[0] = 9
    with pytest.raises(TypeError):
        del view[0]
    with pytest.raises(TypeError):
        len(view_of(Bare()))
    with pytest.raises(TypeError):
        iter(view_of(Bare()))


def test_iterators_and_paths() -> None:
    view = view_of(Sevens())
    assert iter(view) is view
    assert list(view) == []
    import os

    assert os.fspath(view_of(Bag())) == "/tmp"


def test_context_managers_and_coroutines() -> None:
    with view_of(Managed()) as entered:
        assert entered == "entered"
        raise ValueError("swallowed")

    async def asynchronously() -> list[object]:
        seen: list[object] = [await view_of(Managed())]
        async with view_of(Managed()) as inside:
            seen.append(inside)
            raise ValueError("swallowed")
        seen.extend([item async for item in view_of(Managed())])
        return seen

    assert asyncio.run(asynchronously()) == ["awaited", "entered asynchronously", 1, 2]
    assert isinstance(view_of(Managed()), Awaitable)
    with pytest.raises(TypeError), view_of(Bare()):
        pass


def test_comparison_by_the_class() -> None:
    view = view_of(Version(1, (2,)))
    assert view == Version(1, (2,))
    assert Version(1, (2,)) == view
    assert view != Version(2)
    assert view == view_of(Version(1, (2,)))
    assert view < Version(2)
    assert view_of(Version(2)) > view
    assert view <= view_of(Version(1, (2,)))
    assert sorted([view_of(Version(2)), view, Version(0)]) == [Version(0), view, Version(2)]
    assert view != "another type"
    with pytest.raises(TypeError):
        _ = view_of(Bare()) < view_of(Bare())


def test_hash_by_the_class() -> None:
    view = view_of(Version(1, (2,)))
    assert hash(view) == hash(Version(1, (2,)))
    assert {Version(1, (2,)): "found"}[view] == "found"
    assert hash(view_of(Number(-1))) == hash(Number(-1))
    assert isinstance(view, Hashable)
    for value in (Unhashable(), Node(1)):
        with pytest.raises(TypeError, match="unhashable type"):
            hash(view_of(value))
        assert not isinstance(view_of(value), Hashable)


def test_default_equality_is_that_of_the_node() -> None:
    shared = Bare()
    view = view_of([shared, shared, Bare()])
    assert view[0] == view[1]
    assert hash(view[0]) == hash(view[1])
    assert view[0] != view[2]
    assert view[0] != shared
    assert not view[0] == 1  # noqa: SIM201
    assert {view[0]: 1}[view[1]] == 1
    reopened = icehouse.get(view.handle)
    assert reopened[0] == view[0]
    assert hash(reopened[0]) == hash(view[0])


def test_equality_inside_containers() -> None:
    original = [Version(1), Version(2)]
    assert view_of(original) == original
    assert original == view_of(original)
    assert view_of({"a": Node(1)}) == {"a": Node(1)}
    assert view_of([Node(1)]) != [Node(2)]


def test_h24_shared_parts_are_compared_once() -> None:
    node: Any = Node(0)
    for i in range(40):
        node = Node(i, (node, node))
    view = view_of([node])
    assert view == icehouse.get(view.handle)


def test_text_by_the_class() -> None:
    assert repr(view_of(Version(1))) == "Version(major=1, parts=())"
    assert (repr(view_of(Textual())), str(view_of(Textual()))) == ("a repr", "a str")
    assert f"{view_of(Textual())}" == "a str"
    assert repr(view_of([Version(1)])) == "FrozenList([Version(major=1, parts=())])"


def test_text_without_a_repr_shows_the_fields() -> None:
    name = f"{__name__}.Chain"
    assert repr(view_of(Chain(1))) == f"<{name} value=1, rest=None>"
    assert str(view_of(Chain([1], Chain("a")))) == (
        f"<{name} value=FrozenList([1]), rest=<{name} value='a', rest=None>>"
    )
    assert repr(view_of([Bare()])) == f"FrozenList([<{__name__}.Bare a=1>])"
    with pytest.raises(TypeError, match="unsupported format string"):
        format(view_of(Bare()), "x")


def test_h24_text_of_cycles_ends() -> None:
    node = Node(1)
    node.next = [node]
    assert repr(view_of(node)) == "Node(value=1, next=FrozenList([...]))"
    chain = Chain(1)
    chain.rest = chain
    name = f"{__name__}.Chain"
    assert repr(view_of(chain)) == f"<{name} value=1, rest=<{name} ...>>"


def test_h24_text_is_bounded() -> None:
    words = Writer()
    layout = words.layout_of(__name__, "Chain", ["value", "rest"])
    word = words.object(layout, 1, 0)
    for _ in range(5000):
        word = words.object(layout, 1, word)
    assert "..." in repr(_image._load_image(words.image(word)))
    tree: Any = Node(0)
    for _ in range(40):
        tree = Node(1, (tree, tree))
    assert len(repr(view_of(tree))) < 20_000_000
    assert len(repr(distrusted_view_of(tree))) < 100_000
    wide = Bare()
    for i in range(1000):
        setattr(wide, f"f{i}", "x" * 5000)
    assert len(repr(view_of(wide))) < 80_000


def test_results_are_checked_as_python_checks_them() -> None:
    with pytest.raises(TypeError, match="__repr__ returned non-string"):
        repr(view_of(Wrong()))
    with pytest.raises(ValueError, match="__len__"):
        len(view_of(Wrong()))
    with pytest.raises(TypeError, match="__hash__ method should return an integer"):
        hash(view_of(Wrong()))
    with pytest.raises(TypeError, match="__bool__ should return bool"):
        bool(view_of(Short()))
