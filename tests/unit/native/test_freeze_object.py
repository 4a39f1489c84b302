"""What freezing writes for instances of classes, by the rules that it is told."""

import collections
import dataclasses
import gc
import weakref
from typing import Any

import pytest

import icehouse
from icehouse.native import _image
from icehouse.store.freezing.hooks import Refusal
from tests.unit.native.nodes import Image, Instance, Value
from tests.unit.native.rules import Rule, ruling, slots_of, view


@dataclasses.dataclass
class Point:
    x: Any
    y: Any


@dataclasses.dataclass(slots=True, frozen=True)
class Slotted:
    x: Any
    y: Any


class Both(Slotted):
    """Slots of its base and a `__dict__`."""

    __slots__ = ("__dict__", "__own")

    def fill(self, own: Any, **more: Any) -> "Both":
        object.__setattr__(self, "_Both__own", own)
        vars(self).update(more)
        return self


class Pair(collections.namedtuple("Pair", "left right")):
    __slots__ = ()


class Items(list[Any]):
    pass


class Table(dict[Any, Any]):
    def __iter__(self) -> Any:
        raise AssertionError("code of others")

    items = keys = __iter__  # type: ignore[assignment]


class Members(set[Any]):
    def __iter__(self) -> Any:
        raise AssertionError("code of others")


class Raw(bytes):
    pass


class Box:
    """Frozen by a getter: as what the test says."""

    def __init__(self, content: Any = None) -> None:
        self.content = content


PLAIN = {Items: list, Table: dict, Members: set, Raw: bytes}


def rule_of(cls: type) -> Rule | None:
    if cls in PLAIN:
        return ("container", PLAIN[cls], slots_of(cls), None)
    if cls is Pair:
        return ("tuple",)
    if cls is Box:
        return ("value", 77, lambda _: 0)
    if cls in (Point, Slotted, Both):
        return view(cls)
    return None


def boxes(rule: Rule) -> Any:
    """Let this be the rule of Box."""
    return ruling(lambda cls: rule if cls is Box else rule_of(cls))


def frozen(obj: Any) -> Any:
    data = _image._image_bytes(obj)
    return Image(data).decode()


def instance(cls: type, form: str, number: int, **values: Any) -> Instance:
    name = (cls.__module__, cls.__qualname__)
    return Instance(form, number, name, tuple(values), tuple(values.values()))


@pytest.fixture(autouse=True)
def _rules() -> Any:
    with ruling(rule_of) as asked:
        yield asked


@pytest.fixture
def asked(_rules: list[type]) -> list[type]:
    return _rules


@pytest.fixture(params=["quickly", "carefully"])
def beside(request: pytest.FixtureRequest) -> Any:
    """Something whose presence makes the walk a careful one; or not."""
    return None if request.param == "quickly" else Box()


def test_fields_of_a_dict_and_of_slots(beside: Any) -> None:
    both = Both(1, "two").fill(3.5, a=[1], b=None)
    found = frozen([Point(1, "a"), Slotted((1,), {}), both, beside])
    assert found[:3] == [
        instance(Point, "VIEW", 0, x=1, y="a"),
        instance(Slotted, "VIEW", 2, x=(1,), y={}),
        instance(Both, "VIEW", 3, _Both__own=3.5, x=1, y="two", a=[1], b=None),
    ]


def test_what_is_not_set_is_left_out(beside: Any) -> None:
    empty, odd = Point(1, 2), Slotted(1, 2)
    vars(empty).clear()
    object.__delattr__(odd, "x")
    assert frozen([empty, odd, Point(1, 2), beside])[:3] == [
        instance(Point, "VIEW", 0),
        instance(Slotted, "VIEW", 1, y=2),
        instance(Point, "VIEW", 0, x=1, y=2),
    ]


def test_more_fields_than_most_have(beside: Any) -> None:
    many = Point(1, 2)
    vars(many).update({f"field{i}": i for i in range(500)})
    both = Both(1, 2).fill(3, **{f"field{i}": i for i in range(60)})
    found = frozen([many, many, both, Point(1, 2), beside])
    assert dict(zip(found[0].names, found[0].values, strict=True)) == vars(many)
    assert found[2].number == 3
    assert len(found[2].names) == 63
    assert found[3] == instance(Point, "VIEW", 0, x=1, y=2)


def test_instances_share_their_layout_and_the_class_its_name() -> None:
    data = _image._image_bytes([Point(i, i) for i in range(1000)])
    assert len(data) < 1000 * 21
    different = [Point(i, i) for i in range(100)]
    for i, point in enumerate(different):
        setattr(point, "odd" if i % 2 else "even", i)
    data = _image._image_bytes(different)
    assert data.count(b"test_freeze_object") == 1
    layouts = {Image(data).node(w).parts[0] for w in Image(data).node(Image(data).root).parts}
    assert len(layouts) == 2


def test_containers_are_their_content_and_fields(beside: Any) -> None:
    items, table, members = Items([1, "b"]), Table(), Members([1, 2])
    items.label = "x"  # type: ignore[attr-defined]
    dict.update(table, {"a": 1, 2: [3]})
    found = frozen([items, table, members, Raw(b"abc"), Items(), beside])
    name = ("",)
    assert found[0] == instance(Items, "CONTAINER", 0, label="x")._replace(values=([1, "b"], "x"))
    for made, cls, content in (
        (found[1], Table, {"a": 1, 2: [3]}),
        (found[2], Members, {1, 2}),
        (found[3], Raw, b"abc"),
        (found[4], Items, []),
    ):
        assert made == instance(cls, "CONTAINER", 0)._replace(values=(content,)), name


def test_container_by_a_getter() -> None:
    queue = collections.deque([1, 2], maxlen=3)
    rule = ("container", list, (("maxlen", None),), lambda q: (list(q), {"maxlen": 3, "more": 4}))
    with ruling(lambda cls: rule if cls is collections.deque else None):
        found = frozen(queue)
    wanted = instance(collections.deque, "CONTAINER", 1, maxlen=None, more=None)
    assert found == wanted._replace(values=([1, 2], 3, 4))


def test_subclasses_of_tuple(beside: Any) -> None:
    pair = Pair(1, Pair("a", (2, 3)))
    found = frozen([pair, beside])[0]
    assert found.form == "TUPLE"
    assert found.values[0] == 1
    assert found.values[1].values == ("a", (2, 3))


def test_h24_tuples_count_whatever_their_class(beside: Any) -> None:
    """What may open as a real tuple is decided for the whole tree."""
    wide = (Pair(0, tuple(range(3000))), Pair(1, tuple(range(3000))))
    word = frozen([wide, beside])
    assert [pair.form for pair in word[0]] == ["TUPLE", "TUPLE"]
    image = Image(_image._image_bytes([wide, beside]))
    assert image.node(image.node(image.root).parts[0]).kind == "TUPLE_VIEW"
    huge = Pair(tuple(range(5000)), 1)
    assert frozen([huge, beside])[0].form == "CONTAINER"
    deep: Any = 1
    for _ in range(100):
        deep = Pair(deep, 0)
    found = frozen([deep, beside])[0]
    assert found.form == "CONTAINER"
    assert found.values[0][0].form == "CONTAINER"


def test_h24_what_a_getter_adds_to_a_tuple_stays_out_of_its_tree() -> None:
    row = tuple(range(3000))
    with ruling(lambda cls: ("as", lambda _: row) if cls is Box else rule_of(cls)):
        image = Image(_image._image_bytes((Box(), Box(), Pair(Box(), row))))
    kinds = [image.node(word).kind for word in image.node(image.root).parts]
    assert image.node(image.root).kind == "TUPLE"
    assert kinds == ["TUPLE_VIEW_PACKED", "TUPLE_VIEW_PACKED", "OBJECT"]


def test_values_made_and_substitutes() -> None:
    rules: dict[str, Rule] = {
        "value": ("value", 77, lambda box: (1, box.content)),
        "made": ("made", 5, lambda box: (("a", ""), (box.content, "b"))),
        "as": ("as", lambda box: [box.content]),
    }
    found = {}
    for name, rule in rules.items():
        box = Box({"k": Point(1, 2)})
        with boxes(rule):
            found[name] = frozen([box, box])
    point = {"k": instance(Point, "VIEW", 0, x=1, y=2)}
    assert found["value"] == [Value(77, (1, point))] * 2
    made = Instance("MADE", 5, (__name__, "Box"), ("a", ""), (point, "b"))
    assert found["made"] == [made] * 2
    assert found["as"] == [[point]] * 2


def test_an_object_that_is_reached_twice_is_one_node(beside: Any) -> None:
    point, pair = Point(1, 2), Pair(1, 2)
    image = Image(_image._image_bytes([point, pair, point, pair, beside]))
    words = image.node(image.root).parts
    assert words[0] == words[2]
    assert words[1] == words[3]
    assert image.node(words[0]).shared
    assert image.node(words[1]).shared


def test_a_class_as_a_value_is_the_one_of_the_layouts() -> None:
    image = Image(_image._image_bytes([Point, Point(1, 2), Point, Slotted(1, 2), Slotted]))
    words = image.node(image.root).parts
    assert words[0] == words[2]
    assert image.node(image.node(words[1]).parts[0]).parts[0] == words[0]
    assert image.node(image.node(words[3]).parts[0]).parts[0] == words[4]
    assert image.decode(words[4]) == Value(1, (__name__, "Slotted"))


def test_cycles_through_lazy_forms(beside: Any) -> None:
    point, items = Point(1, None), Items([1])
    point.y = [point, items]
    items.append(items)
    items.back = point  # type: ignore[attr-defined]
    image = Image(_image._image_bytes([point, beside]))
    word = image.node(image.root).parts[0]
    back = image.node(word).parts[2]
    assert image.node(back).parts[0] == word
    inner = image.node(back).parts[1]
    assert image.node(image.node(inner).parts[1]).parts[1] == inner
    assert image.node(inner).parts[2] == word


@pytest.mark.parametrize("kind", ["value", "made"])
def test_cycles_of_what_is_made_whole_are_refused(kind: str) -> None:
    rule: Rule = ("value", 77, lambda box: (box.content,))
    if kind == "made":
        rule = ("made", 5, lambda box: (("a",), (box.content,)))
    with boxes(rule):
        box = Box()
        for between in (box, (1, (box,)), Pair(0, box), Box(box)):
            box.content = between
            with pytest.raises(icehouse.NotFreezableError, match="must be made whole"):
                icehouse.freeze([box])
        box.content = [box]
        assert Image(_image._image_bytes([box]))
        box.content = (Point(box, box), frozenset([1]))
        assert Image(_image._image_bytes((box, box)))
        # At any depth: what is put off till later has no stack of what it is inside of.
        deep: Any = box
        box.content = (box,)
        for _ in range(200):
            deep = [deep]
        with pytest.raises(icehouse.NotFreezableError, match="must be made whole"):
            icehouse.freeze(deep)


def test_substitutes_that_lead_back() -> None:
    with ruling(lambda cls: ("as", lambda box: box.content) if cls is Box else rule_of(cls)):
        box = Box()
        box.content = [box, 1]
        image = Image(_image._image_bytes(box))
        assert image.node(image.root).parts[0] == image.root
        for content in (box, (box,), Box(box)):
            box.content = content
            with pytest.raises(icehouse.NotFreezableError, match=r"refers (back to|to itself)"):
                icehouse.freeze(box)
        endless: Any = 1
        for _ in range(100):
            endless = Box(endless)
        with pytest.raises(icehouse.NotFreezableError, match="without end"):
            icehouse.freeze(endless)
    with (
        ruling(lambda cls: ("as", lambda _: Box()) if cls is Box else None),
        pytest.raises(icehouse.NotFreezableError, match="without end"),
    ):
        icehouse.freeze(Box())


def test_h24_a_hundred_thousand_levels(beside: Any) -> None:
    chain: Any = None
    for i in range(100_000):
        chain = Point(i, chain) if i % 2 else Slotted(i, Items([chain]))
    data = _image._image_bytes([chain, beside])
    image = Image(data)
    word, depth = image.node(image.root).parts[0], 0
    while word:
        node = image.node(word)
        word = node.parts[2]
        if depth % 2:
            word = image.node(image.node(word).parts[1]).parts[0]
        depth += 1
    assert depth == 100_000
    while chain is not None:  # else its deallocation recurses
        chain = chain.y[0] if isinstance(chain, Slotted) else chain.y


def test_what_is_made_whole_can_be_nested_too_deeply() -> None:
    deep: Any = None
    for _ in range(1000):
        deep = Box(deep)
    with (
        ruling(lambda cls: ("made", 5, lambda box: (("a",), (box.content,)))),
        pytest.raises(icehouse.NotFreezableError, match="nested too deeply"),
    ):
        icehouse.freeze(deep)


def test_foreign_keys_and_members_keep_their_order(beside: Any) -> None:
    keys = [Slotted(i, str(i)) for i in range(20)]
    few = dict.fromkeys([keys[3], "a", keys[1]], 0)
    image = Image(_image._image_bytes([dict.fromkeys(keys, 1), set(keys), few, beside]))
    table, members, pairs = (image.node(word) for word in image.node(image.root).parts[:3])
    assert table.parts[0] == members.parts[0] == 0xFFFFFFFF
    assert [image.decode(word).values[0] for word in table.parts[1][::2]] == list(range(20))
    assert sorted(image.decode(word).values[0] for word in members.parts[1]) == list(range(20))
    assert [image.decode(word) for word in pairs.parts[::2]][1] == "a"


# ---- refusals and errors -------------------------------------------------------------------------


def test_refusal_names_the_path_through_fields(beside: Any) -> None:
    with ruling(lambda cls: "it has a lock" if cls.__name__ == "Bad" else rule_of(cls)):
        bad = type("Bad", (), {})()
        items = Items([1, bad])
        items.field = 1  # type: ignore[attr-defined]
        root = {"a": [Point(1, Slotted(items, 2)), beside]}
        with pytest.raises(icehouse.NotFreezableError) as caught:
            icehouse.freeze(root)
    error = caught.value
    assert error.path == "root['a'][0].y.x[1]"
    assert error.object is bad
    assert error.holder is items
    assert error.type is type(bad)
    assert "root['a'][0].y.x[1]" in str(error)
    assert "it has a lock" in str(error)


@pytest.mark.parametrize(
    ("rule", "path"),
    [
        (("value", 77, lambda box: [0, box.content]), "root.x value[1].y"),
        (("made", 5, lambda box: (("a", "b"), (0, box.content))), "root.x.b.y"),
        (("container", list, (), lambda box: ([0, 0, box.content], {})), "root.x[2].y"),
        (("container", list, (), lambda box: ([], {"b": box.content})), "root.x.b.y"),
        (("as", lambda box: {"k": box.content}), "root.x as it is frozen['k'].y"),
    ],
)
def test_refusal_names_the_path_through_what_getters_return(rule: Rule, path: str) -> None:
    with (
        ruling(lambda cls: rule if cls is Box else "no" if cls is object else rule_of(cls)),
        pytest.raises(icehouse.NotFreezableError) as caught,
    ):
        icehouse.freeze(Point(Box(Point(1, object())), 2))
    assert caught.value.path == path


def test_a_getter_may_refuse_and_may_fail() -> None:
    def refuse(_: Box) -> None:
        raise Refusal("this one is broken")

    def fail(box: Box) -> None:
        raise LookupError(box.content)

    with ruling(lambda cls: ("value", 77, refuse) if cls is Box else rule_of(cls)):
        with pytest.raises(icehouse.NotFreezableError, match="this one is broken") as caught:
            icehouse.freeze([1, Point(Box(), 2)])
        assert caught.value.path == "root[1].x"
    with (
        ruling(lambda cls: ("value", 77, fail) if cls is Box else rule_of(cls)),
        pytest.raises(LookupError, match="own") as failed,
    ):
        icehouse.freeze([1, Point(Box("own"), 2)])
    assert failed.value.__notes__ == ["while freezing root[1].x, an object of type Box"]


@pytest.mark.parametrize(
    "rule",
    [
        1,
        (),
        ("nothing",),
        ("view",),
        ("view", [("a", 1)]),
        ("view", (("a",),)),
        ("container", "list", (), None),
        ("value", "x", None),
        ("value", -1, None),
        ("value", 1 << 24, None),
    ],
)
def test_bad_rules_are_errors(rule: Any) -> None:
    with (
        boxes(rule),
        pytest.raises((TypeError, OverflowError)),
    ):
        icehouse.freeze([Box()])


@pytest.mark.parametrize(
    "rule",
    [
        ("container", list, (), None),
        ("container", bytes, (), None),
        ("container", int, (), None),
        ("container", list, (), lambda _: ([], [])),
        ("container", list, (), lambda _: (Items(), {})),
        ("container", list, (), lambda _: ([], {1: 2})),
        ("made", 5, lambda _: None),
        ("made", 5, lambda _: (("a",), ())),
        ("made", 5, lambda _: ((1,), (1,))),
        ("made", 5, None),
    ],
)
def test_bad_answers_are_errors(rule: Rule) -> None:
    with boxes(rule):
        with pytest.raises(TypeError):
            icehouse.freeze([Box()])
        with pytest.raises(TypeError):
            icehouse.freeze([Point, Box()])


def test_keys_of_instances_are_str(beside: Any) -> None:
    point = Point(1, 2)
    vars(point)[3] = 4  # type: ignore[index]
    with pytest.raises(icehouse.NotFreezableError, match="not a str"):
        icehouse.freeze([point, beside])


# ---- asking --------------------------------------------------------------------------------------


def test_a_class_is_asked_about_once_while_it_stays_the_same(asked: list[type]) -> None:
    for _ in range(3):
        icehouse.native._image._image_bytes([Point(1, 2), Slotted(1, 2), Point(1, 2)])
    assert sorted(cls.__name__ for cls in asked) == ["Point", "Slotted"]
    asked.clear()
    Point.note = 1  # type: ignore[attr-defined]
    _image._image_bytes([Point(1, 2), Slotted(1, 2)])
    del Point.note  # type: ignore[attr-defined]
    assert asked == [Point]


def test_a_class_that_is_renamed_is_written_under_its_new_name() -> None:
    cls = type("Old", (), {})
    with ruling(view):
        assert frozen(cls()).name[1] == "Old"
        cls.__qualname__ = "New"
        assert frozen(cls()).name[1] == "New"
        cls.__module__ = "elsewhere"
        assert frozen(cls()).name == ("elsewhere", "New")


def test_many_unknown_classes_in_one_graph(asked: list[type]) -> None:
    classes = [type(f"C{i}", (), {"__init__": lambda self: None}) for i in range(50)]
    with ruling(view):
        graph = [[list(range(1000)), cls()] for cls in classes]
        found = frozen(graph)
    assert [made.name[1] for _, made in found] == [f"C{i}" for i in range(50)]


def test_classes_that_were_frozen_can_go() -> None:
    with ruling(view) as known:
        gone = []
        for i in range(300):
            cls = type(f"C{i}", (), {"__slots__": ("a", "b")})
            obj = cls()
            obj.a = 1
            assert frozen(obj).values == (1,)
            gone.append(weakref.ref(cls))
            del cls, obj
        known.clear()
        gc.collect()
        assert [ref for ref in gone if ref() is not None] == []
