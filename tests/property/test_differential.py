"""Every method and operator of dict, list, tuple, set, frozenset and bytes, on a view as on the
original: the same result, or an exception of the same type.

Methods are taken from the types themselves, so one that a later Python adds is tested by itself.
"""

import operator
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import icehouse

EXAMPLES = settings.default.max_examples
THOROUGH = settings(
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    deadline=None,
    max_examples=EXAMPLES // 10 if EXAMPLES > 1_000 else 25,
)

# What writes: no such method on a view, and FrozenError names it.
MUTATORS = {
    dict: "clear pop popitem setdefault update",
    list: "append clear extend insert pop remove reverse sort",
    set: """add clear difference_update discard intersection_update pop remove
        symmetric_difference_update update""",
    tuple: "",
    frozenset: "",
    bytes: "",
}
# Class methods make new objects, and views are made by freezing.
MAKERS = {"fromkeys", "fromhex", "maketrans"}

# Small, or so large that nobody tries to allocate as much: as factors and widths they are counts.
INTS = st.integers(-5, 40) | st.sampled_from([2**62, -(2**62), 2**63, -(2**63) - 1, 2**70])
ATOMS = st.one_of(
    st.none(),
    st.booleans(),
    INTS,
    st.sampled_from([0.0, -0.0, 1.0, 2.5, float("inf"), 1j]),
    st.text("ab\x00ß", max_size=3),
    st.binary(max_size=3),
)
KEYS = ATOMS | st.tuples(ATOMS, ATOMS) | st.frozensets(ATOMS, max_size=3)
ITEMS = st.recursive(
    KEYS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=5,
)
# Lists of one kind are packed, long ones have wide counts, dicts over 8 items have tables.
LISTS = st.one_of(
    st.lists(ITEMS, max_size=6),
    st.lists(st.integers(-300, 300), max_size=20),
    st.lists(st.floats(allow_nan=False), max_size=12),
    st.lists(st.text(max_size=4), max_size=12),
    st.lists(st.booleans(), max_size=12),
)
DICTS = st.dictionaries(KEYS, ITEMS, max_size=5) | st.dictionaries(
    st.text(max_size=3), st.integers(), max_size=20
)
SETS = st.sets(KEYS, max_size=6) | st.sets(st.integers(-50, 50), max_size=20)
BYTES = st.binary(max_size=12) | st.text("aAbB01 \t\n,", max_size=12).map(str.encode)

INDICES = st.integers(-8, 8) | st.none() | INTS
SLICES = st.builds(slice, INDICES, INDICES, INDICES)
COUNTS = st.integers(-2, 5)

FILLER = tuple(range(5000))


def frozen(value: Any) -> Any:
    """The view of a value, also where freeze() would give the value back."""
    if type(value) is tuple:
        return icehouse.freeze([value + FILLER])[0][: len(value)]
    if type(value) is bytes:
        return icehouse.freeze(bytearray(value))
    if type(value) is frozenset:
        return icehouse.freeze([value])[0]
    return icehouse.freeze(value)


VALUES: dict[type, Any] = {
    dict: DICTS,
    list: LISTS,
    tuple: LISTS.map(tuple),
    set: SETS,
    frozenset: SETS.map(frozenset),
    bytes: BYTES,
}
ARGUMENTS: dict[type, Any] = {
    dict: st.one_of(KEYS, ITEMS, DICTS),
    list: st.one_of(ITEMS, INDICES, LISTS),
    tuple: st.one_of(ITEMS, INDICES, LISTS.map(tuple)),
    set: st.one_of(SETS, LISTS, KEYS),
    frozenset: st.one_of(SETS.map(frozenset), SETS, LISTS, KEYS),
    bytes: st.one_of(
        BYTES,
        INDICES,
        st.booleans(),
        st.text("ab, ", max_size=3),
        st.lists(BYTES, max_size=3),
        st.lists(BYTES, max_size=3).map(tuple),
        st.sampled_from(["ascii", "utf-8", "latin-1", "replace", "strict", b"x", b":"]),
        st.binary(min_size=256, max_size=256),
    ),
}
METHODS = [
    (kind, name)
    for kind in VALUES
    for name in dir(kind)
    if not name.startswith("_") and name not in MAKERS and name not in MUTATORS[kind].split()
]
BINARY = """
    eq ne lt le gt ge add mul and_ or_ xor sub mod contains getitem concat pow floordiv matmul
""".split()
UNARY: dict[str, Callable[[Any], Any]] = {
    "len": len,
    "bool": bool,
    "iter": lambda x: list(iter(x)),
    "reversed": lambda x: list(reversed(x)),
    "sorted": sorted,
    "tuple": tuple,
    "set": set,
    "sum": sum,
    "min": min,
    "max": max,
    "any": any,
    "enumerate": lambda x: list(enumerate(x)),
    "star": lambda x: [*x],
    "double star": lambda x: {**x},
    "neg": operator.neg,
    "invert": operator.invert,
    "index": operator.index,
    "call": lambda x: x(),
    "enter": lambda x: x.__enter__(),
    "length hint": operator.length_hint,
    "no such attribute": lambda x: x.no_such_attribute,
}


def normal(value: Any) -> Any:
    """Plain objects all the way down; iterators and views of dicts as lists."""
    if isinstance(value, VIEWS):
        return normal(icehouse.thaw(value))
    if type(value) in (list, tuple, set, frozenset):
        return type(value)(normal(item) for item in value)
    if type(value) is dict:
        return {key: normal(item) for key, item in value.items()}
    if hasattr(value, "__next__") or type(value).__name__.lower().startswith(("dict", "frozend")):
        return [normal(item) for item in value]
    return value


VIEWS = (
    icehouse.FrozenDict,
    icehouse.FrozenList,
    icehouse.FrozenTuple,
    icehouse.FrozenSet,
    icehouse.FrozenBytes,
)


def outcome(ask: Callable[[], Any]) -> tuple[str, Any]:
    """What a question gives: ("gives", plain result) or ("raises", type of exception)."""
    try:
        return "gives", normal(ask())
    except Exception as error:
        return "raises", type(error)


def agree(view: Callable[[], Any], original: Callable[[], Any], kind: type) -> None:
    expected, got = outcome(original), outcome(view)
    if got[0] == "gives":
        # What comes back may be an argument: a view, made of a bytearray so that it is one.
        got = "gives", as_kind(bytes if type(expected[1]) is bytes else kind, got[1])
    if expected[1] != expected[1]:  # a new NaN, as sum() of inf and -inf gives
        assert got[0] == expected[0]
        assert got[1] != got[1]
    else:
        assert got == expected
    assert type(got[1]) is type(expected[1])


def as_kind(kind: type, value: Any) -> Any:
    """FrozenBytes of a bytearray thaws as one, and a FrozenSet that is its own result as it was."""
    if kind is bytes and type(value) is bytearray:
        return bytes(value)
    return value


# Where a view as an argument is more than its original, by design: a packed list or tuple is a
# buffer, so bytes takes it; and a FrozenSet is hashable, so a dict looks it up.
MORE_THAN_ORIGINAL = {
    bytes: (list, tuple),
    dict: (set,),
    list: (),
    tuple: (),
    set: (),
    frozenset: (),
}


def both_ways(argument: Any, data: Any, kind: type) -> tuple[Any, Any]:
    """An argument for the original, and for the view: as it is, or a view itself."""
    plain = type(argument) not in VALUES or type(argument) in MORE_THAN_ORIGINAL[kind]
    if not plain and data.draw(st.booleans(), label="argument is a view"):
        return argument, frozen(argument)
    return argument, argument


@pytest.mark.parametrize(
    ("kind", "name"), METHODS, ids=lambda value: getattr(value, "__name__", value)
)
@THOROUGH
@given(data=st.data())
def test_methods(kind: type, name: str, data: Any) -> None:
    value = data.draw(VALUES[kind], label="value")
    view = frozen(value)
    arguments = data.draw(st.lists(ARGUMENTS[kind], max_size=4), label="arguments")
    pairs = [both_ways(argument, data, kind) for argument in arguments]
    theirs, ours = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    agree(lambda: getattr(view, name)(*ours), lambda: getattr(value, name)(*theirs), kind)


@pytest.mark.parametrize("name", BINARY)
@pytest.mark.parametrize("kind", VALUES, ids=lambda kind: kind.__name__)
@THOROUGH
@given(data=st.data())
def test_operators(kind: type, name: str, data: Any) -> None:
    apply = getattr(operator, name)
    value = data.draw(VALUES[kind], label="value")
    view = frozen(value)
    others = st.one_of(
        VALUES[kind], ARGUMENTS[kind], COUNTS, SLICES, *VALUES.values(), st.just(value)
    )
    argument, other = both_ways(data.draw(others, label="other"), data, kind)
    agree(lambda: apply(view, other), lambda: apply(value, argument), kind)
    # On the right of something builtin a view is asked second, or not at all by `bytes % view`,
    # which takes it for a mapping, by operator.concat(), and by bytes + view for a packed list.
    buffer = kind in (list, tuple) and type(argument) is bytes
    if name not in ("getitem", "contains", "concat", "mod") and not buffer:
        agree(lambda: apply(other, view), lambda: apply(argument, value), kind)


@pytest.mark.parametrize("name", UNARY)
@pytest.mark.parametrize("kind", VALUES, ids=lambda kind: kind.__name__)
@THOROUGH
@given(data=st.data())
def test_what_takes_no_argument(kind: type, name: str, data: Any) -> None:
    value = data.draw(VALUES[kind], label="value")
    view = frozen(value)
    agree(lambda: UNARY[name](view), lambda: UNARY[name](value), kind)


@pytest.mark.parametrize("kind", [list, tuple])
@pytest.mark.parametrize("number", [int, float])
def test_a_packed_list_is_no_number_either(kind: type, number: type) -> None:
    """As a buffer it is taken for the text of one."""
    for items in ([], [0], [1, 2, 3]):
        with pytest.raises((TypeError, ValueError)):
            number(frozen(kind(items)))


@THOROUGH
@given(data=st.data())
def test_h23_hashes(data: Any) -> None:
    for kind in (tuple, frozenset, bytes):
        value = data.draw(VALUES[kind], label=kind.__name__)
        agree(lambda: hash(frozen(value)), lambda: hash(value), kind)  # noqa: B023
    for kind in (dict, list):
        value = data.draw(VALUES[kind], label=kind.__name__)
        agree(lambda: hash(frozen(value)), lambda: hash(value), kind)  # noqa: B023


@pytest.mark.parametrize("name", ["keys", "values", "items"])
@THOROUGH
@given(data=st.data())
def test_views_of_dicts(name: str, data: Any) -> None:
    value = data.draw(DICTS, label="value")
    theirs, ours = getattr(value, name)(), getattr(frozen(value), name)()
    others = st.one_of(SETS, LISTS, KEYS, DICTS.map(lambda other: getattr(other, name)()))
    argument = other = data.draw(others, label="other")
    if data.draw(st.booleans(), label="itself"):
        argument, other = theirs, ours
    for operation in ("eq", "ne", "lt", "le", "gt", "ge", "and_", "or_", "xor", "sub", "contains"):
        apply = getattr(operator, operation)
        agree(lambda: apply(ours, other), lambda: apply(theirs, argument), dict)  # noqa: B023
        # `dict_items ^ dict_items` is CPython's own and hashes no values that are equal; beside a
        # view it hashes all.
        own = (
            operation == "xor"
            and type(other) is type({}.items())
            and "raises" in (outcome(lambda: set(theirs))[0], outcome(lambda: set(argument))[0])
        )
        if operation != "contains" and not own:
            agree(lambda: apply(other, ours), lambda: apply(argument, theirs), dict)  # noqa: B023
    if name != "values":
        agree(lambda: ours.isdisjoint(other), lambda: theirs.isdisjoint(argument), dict)
    for ask in (len, list, bool, lambda x: list(reversed(x)), lambda x: dict(x.mapping)):
        agree(lambda: ask(ours), lambda: ask(theirs), dict)  # noqa: B023


@pytest.mark.parametrize(
    ("kind", "name"),
    [(kind, name) for kind, names in MUTATORS.items() for name in names.split()],
    ids=lambda value: getattr(value, "__name__", value),
)
def test_h29_what_writes_is_not_there(kind: type, name: str) -> None:
    view = frozen(kind())
    assert not hasattr(view, name)
    with pytest.raises(icehouse.FrozenError, match=name):
        getattr(view, name)


@pytest.mark.parametrize("kind", [dict, list, tuple, bytes], ids=lambda kind: kind.__name__)
def test_h29_writes_by_syntax(kind: type) -> None:
    view = frozen(kind({1: 2}) if kind is dict else kind([1]))

    def item() -> None:
        view[0] = 1

    def delete() -> None:
        del view[0]

    def attribute() -> None:
        view.x = 1

    for write in (item, delete, attribute):
        with pytest.raises(icehouse.FrozenError) as caught:
            write()
        assert type(view).__name__ in str(caught.value)
