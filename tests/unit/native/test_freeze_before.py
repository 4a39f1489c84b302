"""What is asked before an object is read, and the way of declarations: C's side of both."""

import functools
import types
from typing import Any

import pytest

import icehouse
from icehouse.native import _image
from icehouse.store.declarations import together
from icehouse.store.errors import NotFreezableError
from icehouse.store.freezing import hooks, registry
from tests.unit.native import rules


class Plain:
    def __init__(self, **fields: Any) -> None:
        self.__dict__.update(fields)


class Items(list):
    pass


class Asked:
    """A hook that notes what it was asked, and does what it is told."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, bool]] = []
        self.act: Any = None

    def __call__(self, obj: Any, is_root: bool) -> None:
        self.calls.append((obj, is_root))
        if self.act:
            self.act(obj)


def before(hook: Any, cls: type = Plain) -> Any:
    return rules.ruling(lambda c: ("before", hook, rules.view(c)) if c is cls else None)


def test_the_hook_is_called_once_for_each_object_and_knows_the_root() -> None:
    hook = Asked()
    inner = Plain(x=1)
    outer = Plain(a=inner, b=[inner, inner])
    inner.back = outer
    with before(hook):
        view = icehouse.freeze(outer)
    assert hook.calls == [(outer, True), (inner, False)]
    assert view.a.x == 1
    assert icehouse.same(view.a, view.b[1])


def test_each_argument_is_a_root() -> None:
    hook = Asked()
    a, b, c = Plain(), Plain(), Plain()
    a.c = c
    with before(hook):
        icehouse.freeze(a, b)
        assert hook.calls == [(a, True), (c, False), (b, True)]
        hook.calls.clear()
        icehouse.freeze(b, c, a)
        assert hook.calls == [(b, True), (c, True), (a, True)]
        hook.calls.clear()
        icehouse.freeze([a])
        assert hook.calls == [(a, False), (c, False)]
        hook.calls.clear()
        with icehouse.Store() as store:
            store.put(a)
        assert hook.calls == [(a, True), (c, False)]


def test_what_the_hook_changes_is_frozen() -> None:
    hook = Asked()
    hook.act = lambda obj: obj.__dict__.update(ready=True)
    with before(hook):
        assert icehouse.freeze([Plain()])[0].ready


def test_a_refusal_of_the_hook_has_the_path() -> None:
    def act(obj: Any) -> None:
        if getattr(obj, "no", False):
            raise hooks.Refusal("it said no")

    hook = Asked()
    hook.act = act
    with before(hook), pytest.raises(NotFreezableError, match=r"root\['a'\]\[1\].*it said no"):
        icehouse.freeze({"a": [Plain(), Plain(no=True)]})


def test_other_exceptions_of_the_hook_pass() -> None:
    hook = Asked()
    hook.act = lambda obj: 1 / 0
    with before(hook), pytest.raises(ZeroDivisionError) as caught:
        icehouse.freeze([Plain()])
    assert "while freezing root[0]" in caught.value.__notes__[0]


def test_any_rule_may_have_a_hook() -> None:
    class Value:
        pass

    hook = Asked()
    found = {
        Plain: ("before", hook, ("as", lambda obj: [1])),
        Items: ("before", hook, ("container", list, (), None)),
        Value: ("before", hook, "it never freezes"),
    }
    items = Items([1, 2])
    with rules.ruling(lambda cls: found.get(cls)):
        assert icehouse.freeze([Plain()])[0] == [1]
        assert icehouse.freeze([items])[0] == [1, 2]
        with pytest.raises(NotFreezableError, match="it never freezes"):
            icehouse.freeze(Value())
    assert [type(obj) for obj, _ in hook.calls] == [Plain, Items]


@pytest.mark.parametrize(
    "rule", [("before", len), ("before", len, ("before", len, ("as", len))), ("before", len, 5)]
)
def test_rules_with_a_hook_are_checked(rule: Any) -> None:
    found = rules.ruling(lambda cls: rule if cls is Plain else None)
    with found, pytest.raises(TypeError, match="which is no rule"):
        icehouse.freeze(Plain())


def test_an_instance_with_a_status_of_its_own_is_asked_about(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    hook = Asked()
    monkeypatch.setitem(registry._loaded, ("declarations.status", "check"), hook)
    marked = Plain(x=1, __freezable__=0)
    others = [Plain(x=n) for n in range(5)]
    icehouse.freeze([*others, marked, marked, *others])
    assert hook.calls == [(marked, False)]
    hook.calls.clear()
    assert icehouse.freeze(marked).x == 1
    assert hook.calls == [(marked, True)]
    hook.calls.clear()
    many = Plain(**{f"f{n}": n for n in range(40)}, __freezable__=0)
    items = Items([1])
    items.__freezable__ = 0
    icehouse.freeze([items, many, items])
    assert hook.calls == [(items, False), (many, False)]
    hook.calls.clear()
    icehouse.freeze([others, {"__freezable__": 1}])
    assert hook.calls == []

    def refuse(obj: Any) -> None:
        raise hooks.Refusal("its status is NO")

    hook.act = refuse
    with pytest.raises(NotFreezableError, match=r"root\[1\].*its status is NO"):
        icehouse.freeze([1, marked])


# --- declarations --------------------------------------------------------------------------------


def function() -> int:
    return 1


class Class:
    def method(self) -> None: ...


CODE = {
    "function": function,
    "lambda": lambda: 1,
    "freezable": _image._freezable_function(function),
    "method": Class().method,
    "partial": functools.partial(function),
}
OTHERS = {
    "class": Class,
    "module": types,
    "staticmethod": staticmethod(function),
    "classmethod": classmethod(function),
    "property": property(function),
}


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What is left to the freezing of declarations, which gives ("frozen",) for all of it."""
    calls: list[Any] = []

    def freeze(objects: Any) -> Any:
        calls.append(objects)
        return ("frozen",)

    monkeypatch.setattr(together, "freeze", freeze)
    return calls


@pytest.mark.parametrize("name", [*CODE, *OTHERS])
def test_declarations_are_left_to_python(name: str, seen: list[Any]) -> None:
    obj = (CODE | OTHERS)[name]
    assert icehouse.freeze(obj) == ("frozen",)
    assert icehouse.freeze([], obj) == ("frozen",)
    with icehouse.Store() as store:
        assert store.freeze(obj) == ("frozen",)
    assert seen == [(obj,), ([], obj), (obj,)]


@pytest.mark.parametrize("name", CODE)
def test_code_is_frozen_before_it_is_put(name: str, seen: list[Any]) -> None:
    with icehouse.Store() as store:
        assert store.get(store.put(CODE[name], name="f")) == ("frozen",)
        assert store.get("f") == ("frozen",)
    assert _image._open_buffer(_image._image_bytes(CODE[name])) == ("frozen",)
    assert len(seen) == 2


def test_a_class_is_put_by_its_name(seen: list[Any]) -> None:
    with icehouse.Store() as store:
        assert store.get(store.put(Class)) is Class
    assert seen == []


def test_what_is_no_declaration_is_data(seen: list[Any]) -> None:
    class Mine(functools.partial):
        pass

    for obj in ([1], {}, "text", 5, len, int, frozenset, str.upper, Class(), b"x" * 100_000):
        icehouse.freeze(obj)
    with pytest.raises(NotFreezableError):
        icehouse.freeze(Mine(function))
    assert icehouse.freeze(int) is int
    assert _image._freeze_data(Class) is Class
    assert seen == []


def test_what_freezing_raises_passes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(objects: Any) -> Any:
        raise LookupError(objects)

    monkeypatch.setattr(together, "freeze", fail)
    with icehouse.Store() as store:
        for call in (icehouse.freeze, store.freeze, store.put, _image._image_bytes):
            with pytest.raises(LookupError):
                call(function)
