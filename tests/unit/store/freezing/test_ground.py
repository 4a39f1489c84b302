"""The ground that the tests of PEP 795's prototype cover: which types freeze, and which refuse."""

import array
import collections
import csv
import datetime as dt
import decimal
import enum
import hashlib
import io
import operator
import os
import pickle
import queue
import re
import sqlite3
import struct
import sys
import threading
import time
import types
import weakref
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

import icehouse
from icehouse import NotFreezableError, Record
from icehouse.store.freezing import builtin, trust


def element(text: str = "<a x='1'>one<b y='2'>two</b>three<c/></a>") -> ElementTree.Element:
    return ElementTree.fromstring(text)


FREEZES: list[Callable[[], Any]] = [
    lambda: collections.deque([1, [2]], maxlen=3),
    lambda: collections.defaultdict(list, {"a": [1]}),
    lambda: collections.OrderedDict(b=1, a=[2]),
    lambda: collections.Counter("abca"),
    lambda: collections.ChainMap({"a": 1}, {"b": [2]}),
    lambda: collections.UserDict({"a": 1}),
    lambda: collections.UserList([1, 2]),
    lambda: array.array("d", [1.5, 2.5]),
    lambda: decimal.Decimal("1.10"),
    lambda: dt.datetime(2026, 1, 2, 3, 4, tzinfo=dt.timezone(dt.timedelta(hours=2))),
    lambda: dt.date(2026, 1, 2),
    lambda: dt.timedelta(days=3),
    lambda: re.compile("a(b)?", re.IGNORECASE),
    lambda: bytearray(b"abc"),
    lambda: memoryview(b"abc"),
    lambda: frozenset({1, 2}),
    lambda: {1, 2},
    lambda: range(3),
    lambda: slice(1, 2),
    lambda: types.SimpleNamespace(a=[1]),
    lambda: time.gmtime(0),
    lambda: os.stat_result(range(10)),
    lambda: sys.float_info,
    lambda: sys.hash_info,
]
freezes = pytest.mark.parametrize("make", FREEZES, ids=lambda make: type(make()).__name__)


@freezes
def test_what_freezes(make: Callable[[], Any]) -> None:
    obj = make()
    assert icehouse.freeze(obj) == obj
    view = icehouse.freeze({"a": [obj, obj]})
    assert view["a"][0] == make()
    assert icehouse.is_frozen(view)
    assert obj == make()
    assert icehouse.thaw(view)["a"][1] == obj
    assert pickle.loads(pickle.dumps(view))["a"][0] == obj


@pytest.mark.parametrize(
    ("make", "call"),
    [
        (FREEZES[0], operator.methodcaller("append", 1)),
        (FREEZES[1], operator.methodcaller("setdefault", "zz", 1)),
        (FREEZES[2], operator.methodcaller("move_to_end", "a")),
        (FREEZES[3], operator.methodcaller("update", "x")),
        (FREEZES[4], lambda view: operator.setitem(view, "a", 5)),
        (FREEZES[7], lambda view: operator.setitem(view, 0, 5.0)),
    ],
    ids=["deque", "defaultdict", "OrderedDict", "Counter", "ChainMap", "array"],
)
def test_their_changes_are_refused(make: Callable[[], Any], call: Callable[[Any], Any]) -> None:
    view = icehouse.freeze([make()])[0]
    with pytest.raises((icehouse.FrozenError, TypeError)):
        call(view)
    assert view == make()


REFUSES: list[tuple[Callable[[], Any], str]] = [
    (lambda: hashlib.sha256(b"a"), "digest"),
    (lambda: hashlib.blake2b(b"a"), "digest"),
    (lambda: zlib.compressobj(), "register_freezable"),
    (lambda: re.match("a", "a"), "groups"),
    (lambda: csv.reader(["a,b"]), "list"),
    (lambda: csv.writer(io.StringIO()), "content"),
    (lambda: io.BytesIO(b"a"), "getvalue"),
    (lambda: io.StringIO("a"), "getvalue"),
    (threading.Lock, "lock"),
    (threading.RLock, "lock"),
    (threading.Condition, "lock"),
    (threading.Event, "lock"),
    (threading.Semaphore, "lock"),
    (queue.SimpleQueue, "items"),
    (threading.local, "value"),
    (lambda: struct.Struct("i"), "format"),
    (lambda: iter([1]), "list"),
    (lambda: (n for n in "a"), "list"),
    (lambda: {}.keys(), "list"),
    (lambda: weakref.ref(Kept), "object"),
    (lambda: weakref.WeakValueDictionary(), "dict"),
]
refuses = pytest.mark.parametrize(
    ("make", "advice"), REFUSES, ids=lambda x: x if isinstance(x, str) else type(x()).__name__
)


class Kept:
    pass


@refuses
def test_what_refuses_and_what_to_do(make: Callable[[], Any], advice: str) -> None:
    obj = make()
    with pytest.raises(NotFreezableError, match=advice):
        icehouse.freeze(obj)
    with pytest.raises(NotFreezableError, match=r"\['a'\]\[1\]"):
        icehouse.freeze({"a": [1, obj]})


def test_databases_refuse() -> None:
    connection = sqlite3.connect(":memory:")
    connection.row_factory = sqlite3.Row
    cursor = connection.execute("select 1 as a")
    for obj, advice in ((connection, "rows"), (cursor, "rows"), (cursor.fetchone(), "dict")):
        with pytest.raises(NotFreezableError, match=rf"\['a'\].*{advice}"):
            icehouse.freeze({"a": obj})
    connection.close()


def test_sequences_of_which_there_is_but_one() -> None:
    for obj in (sys.version_info, sys.flags):
        assert icehouse.freeze([obj])[0] is obj
        assert icehouse.thaw(icehouse.freeze([obj]))[0] is obj
    with pytest.raises(NotFreezableError, match=r"root\[0\].*freeze tuple\(x\)"):
        icehouse.freeze([sys.get_asyncgen_hooks()])


def test_what_another_interpreter_says_of_itself_is_a_record() -> None:
    payload = ("sys", "version_info", (3, 99, 0, "final", 0), {})
    found = builtin.open_sequence(payload, trust.OWN)
    assert (type(found), found.major, found.minor) == (Record, 3, 99)
    found = builtin.open_sequence(("sys", "version_info", (3, 99), {}), trust.OWN)
    assert (type(found), found.item1) == (Record, 99)
    own = ("sys", "version_info", tuple(sys.version_info), {})
    assert builtin.open_sequence(own, trust.NONE) is sys.version_info


# --- elements ------------------------------------------------------------------------------------


def same(a: ElementTree.Element, b: ElementTree.Element) -> bool:
    return ElementTree.tostring(a) == ElementTree.tostring(b)


def test_elements_come_back_whole(tmp_path: Path) -> None:
    view = icehouse.freeze({"a": element(), "tree": ElementTree.ElementTree(element())})
    assert type(view["a"]) is ElementTree.Element
    assert same(view["a"], element())
    assert same(view["tree"].getroot(), element())
    assert view["tree"].find("b").text == "two"
    assert same(icehouse.freeze(element()), element())
    assert same(icehouse.thaw(view)["a"], element())
    icehouse.save(view, tmp_path / "image")
    assert type(icehouse.open_image(tmp_path / "image")["a"]) is Record
    assert same(icehouse.open_image(tmp_path / "image", trust=True)["a"], element())


def test_a_change_of_an_element_is_its_own() -> None:
    original = element()
    view = icehouse.freeze([original])
    view[0].set("x", "changed")
    view[0].append(element("<d/>"))
    original.text = "changed"
    assert same(view[0], element())


def test_elements_with_what_text_has_not() -> None:
    tree = element()
    tree.append(ElementTree.Comment("a comment"))
    tree.append(ElementTree.ProcessingInstruction("target", "text"))
    tree.append(ElementTree.Element(ElementTree.QName("uri", "name")))  # type: ignore[arg-type]
    shared = ElementTree.SubElement(tree, "shared")
    tree.append(shared)
    made = icehouse.freeze([tree])[0]
    assert same(made, tree)
    assert made[2].tag is ElementTree.Comment
    assert made[3].tag is ElementTree.ProcessingInstruction


def test_elements_that_refuse() -> None:
    class Special(ElementTree.Element):
        pass

    with pytest.raises(NotFreezableError, match="tostring"):
        icehouse.freeze([Special("a")])
    ring = element()
    ring.append(ring)
    with pytest.raises(NotFreezableError):
        icehouse.freeze([ring])


# --- classes without a module --------------------------------------------------------------------


@pytest.mark.parametrize("base", [object, dict, int, Exception, enum.Enum], ids=str)
@pytest.mark.parametrize("module", [None, 5])
def test_a_class_that_does_not_say_its_module(base: type, module: object) -> None:
    cls: Any = enum.Enum("C", "A") if base is enum.Enum else type("C", (base,), {})
    cls.__module__ = module
    for obj in (cls, cls.A if base is enum.Enum else cls()):
        with pytest.raises(
            NotFreezableError, match=r"root\['a'\]\[0\].* __module__ of (its|the) c"
        ):
            icehouse.freeze({"a": [obj]})


def test_a_sequence_of_a_single_field() -> None:
    parameter = os.sched_param(3)
    assert icehouse.freeze([parameter])[0] == parameter


def test_sequences_of_sys_need_no_trust(tmp_path: Path) -> None:
    icehouse.save([sys.float_info], tmp_path / "image")
    assert icehouse.open_image(tmp_path / "image")[0] == sys.float_info
