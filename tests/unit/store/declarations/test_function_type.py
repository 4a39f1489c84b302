"""FrozenFunction and FreezableFunction, the C types: what they show, refuse and keep alive."""

import copy
import functools
import gc
import inspect
import pickle
import sys
import types
import typing
import weakref
from collections.abc import Callable
from typing import Any

import pytest

from icehouse.native import _image
from icehouse.native._image import FreezableFunction, FrozenFunction
from icehouse.store.errors import FrozenError, NotFreezableError


class Declaration:
    """What C asks of one."""

    def __init__(self, function: Any, make: Callable[[], Any] | None = None) -> None:
        self.names = (
            function.__name__,
            function.__qualname__,
            function.__module__,
            function.__doc__,
        )
        self.function = function
        self.make = make
        self.made = 0

    def materialise(self) -> Any:
        self.made += 1
        return self.make() if self.make else self.function


def given(x: int, y: "int" = 2, *, z: list[int] | None = None) -> "int":
    """Add."""
    return x + y + len(z or ())


given.x = 7


def frozen(function: Any = given) -> FrozenFunction:
    return _image._frozen_function(Declaration(function), function)


def lazy(make: Callable[[], Any]) -> tuple[FrozenFunction, Declaration]:
    declaration = Declaration(given, make)
    return _image._frozen_function(declaration), declaration


# --- calling -------------------------------------------------------------------------------------


def test_it_is_called_as_the_function_is() -> None:
    f = frozen()
    assert f(1) == 3
    assert f(1, y=5) == 6
    assert f(*[1], z=[1, 2]) == 5
    assert list(map(f, [1, 2])) == [3, 4]
    with pytest.raises(TypeError, match=r"given\(\) missing 1 required positional argument"):
        f()


def test_it_binds_as_functions_do() -> None:
    class C:
        def plain(self, more: int = 0) -> tuple[Any, int]:
            return self, more

        made = frozen(plain)

    c = C()
    assert c.made(3) == (c, 3)
    bound = c.made
    assert type(bound) is types.MethodType
    assert bound.__self__ is c
    assert bound.__func__ is C.made
    assert bound(4) == (c, 4)
    assert C.made(c) == (c, 0)
    assert type(C.made) is FrozenFunction


def test_other_descriptors_take_it() -> None:
    class C:
        static = staticmethod(frozen(lambda: "static"))
        cls = classmethod(frozen(lambda cls: cls))
        prop = property(frozen(lambda self: type(self)))

        @functools.cached_property
        def cached(self) -> int:
            return 5

    assert C.static() == C().static() == "static"
    assert C.cls() is C().cls() is C
    assert C().prop is C


def test_recursion_ends_as_that_of_functions() -> None:
    def down(n: int) -> int:
        return f(n - 1) + 1 if n else 0

    f = frozen(down)
    assert f(100) == 100
    with pytest.raises(RecursionError):
        f(10**6)


def test_generators_and_coroutines() -> None:
    def numbers(n: int) -> Any:
        yield from range(n)

    async def later() -> int:
        return 5

    assert list(frozen(numbers)(3)) == [0, 1, 2]
    assert inspect.isgeneratorfunction(frozen(numbers))
    waiting = frozen(later)()
    with pytest.raises(StopIteration, match="5"):
        waiting.send(None)


# --- what it shows -------------------------------------------------------------------------------


def test_attributes_are_those_of_the_function() -> None:
    f = frozen()
    for name in ("__name__", "__qualname__", "__module__", "__doc__", "__code__", "__defaults__"):
        assert getattr(f, name) == getattr(given, name)
    assert f.__annotations__ == given.__annotations__
    assert f.__kwdefaults__ == {"z": None}
    assert f.x == 7
    assert f.__dict__ == {"x": 7}
    assert repr(f) == "<frozen function given>"
    assert "x" in dir(f)
    assert not hasattr(f, "nothing")
    assert not hasattr(f, "__isabstractmethod__")
    with pytest.raises(AttributeError, match="function given has no attribute 'nothing'"):
        _ = f.nothing
    if sys.version_info >= (3, 12):
        assert f.__type_params__ == ()


def test_an_abstract_function_stays_one() -> None:
    def f() -> None: ...

    f.__isabstractmethod__ = True
    assert frozen(f).__isabstractmethod__


def test_it_can_be_inspected() -> None:
    f = frozen()
    assert inspect.signature(f) == inspect.signature(given)
    assert typing.get_type_hints(f) == typing.get_type_hints(given)

    class C:
        def plain(self, x: int) -> int:
            return x

        made = frozen(plain)

    assert str(inspect.signature(C().made)) == "(x: int) -> int"


def test_functools_wraps_it() -> None:
    f = frozen()
    wrapper = functools.wraps(f)(lambda *args: f(*args))
    assert wrapper.__name__ == "given"
    assert inspect.unwrap(wrapper) is f
    assert functools.partial(f, 1)() == 3


def test_h25_nothing_that_it_gives_leads_to_what_it_runs_on() -> None:
    cell = [1]

    def read() -> Any:
        return cell, other  # noqa: F821

    names = {"other": 2, "__builtins__": __builtins__}
    private = types.FunctionType(read.__code__, names, "read", None, read.__closure__)
    private.__kwdefaults__ = {"k": 1}
    private.__dict__["x"] = 1
    f = _image._frozen_function(Declaration(private), private)
    f.__globals__["other"] = 3
    f.__globals__.clear()
    [shown] = f.__closure__
    shown.cell_contents = 4
    f.__kwdefaults__["k"] = 5
    f.__dict__["x"] = 6
    f.__annotations__["return"] = 7
    assert f() == ([1], 2)
    assert f.__globals__["other"] == 2
    assert f.__closure__[0] is not read.__closure__[0]
    assert f.__kwdefaults__ == {"k": 1}
    assert f.x == 1
    assert f.__annotations__ == {}
    assert getattr(f, "__annotate__", None) is None


def test_unbound_cells_are_shown_as_such() -> None:
    def outer() -> Any:
        def inner() -> Any:
            return later

        if not inner:
            later = 1
        return inner

    f = frozen(outer())
    with pytest.raises(ValueError, match="empty"):
        _ = f.__closure__[0].cell_contents
    assert frozen().__closure__ is None


@pytest.mark.parametrize("name", ["__code__", "__defaults__", "__doc__", "x", "new", "__class__"])
def test_h25_writing_an_attribute_is_refused(name: str) -> None:
    f = frozen()
    with pytest.raises(FrozenError, match=f"frozen function given is immutable.*'{name}'.* set"):
        setattr(f, name, None)
    with pytest.raises(FrozenError, match=f"'{name}'.* deleted"):
        delattr(f, name)


def test_it_is_its_own_copy_and_equal_to_itself_alone() -> None:
    f, g = frozen(), frozen()
    assert copy.copy(f) is copy.deepcopy(f) is f
    assert f == f
    assert f != g
    assert len({f, g, f}) == 2
    assert _image.is_frozen(f)
    assert _image.freeze(f) is f
    assert _image.is_frozen((f, 1))


def test_it_can_be_weakly_referenced() -> None:
    f = frozen()
    reference = weakref.ref(f)
    assert reference() is f
    del f
    assert reference() is None


def test_the_types_make_no_instances_and_have_no_subclasses() -> None:
    for cls in (FrozenFunction, FreezableFunction):
        with pytest.raises(TypeError, match="cannot create"):
            cls()
        with pytest.raises(TypeError, match="not an acceptable base type"):
            type("Sub", (cls,), {})
        assert cls.__doc__


# --- made when needed ----------------------------------------------------------------------------


def test_names_are_known_before_it_is_made() -> None:
    f, declaration = lazy(lambda: given)
    assert (f.__name__, f.__doc__, repr(f)) == ("given", "Add.", "<frozen function given>")
    assert _image._declaration_of(f) is declaration
    assert declaration.made == 0
    assert f(1) == 3
    assert f.x == 7
    assert declaration.made == 1


def test_an_attribute_makes_it() -> None:
    f, declaration = lazy(lambda: given)
    assert f.__code__ is given.__code__
    assert declaration.made == 1


def test_what_making_raises_passes_and_it_is_tried_again() -> None:
    answers: list[Any] = [LookupError("not yet"), 5, given]

    def make() -> Any:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    f, _ = lazy(make)
    with pytest.raises(LookupError, match="not yet"):
        f(1)
    with pytest.raises(TypeError, match=r"materialise\(\) of Declaration gave a int"):
        _ = f.__code__
    assert f(1) == 3


def test_making_that_calls_the_function_ends() -> None:
    f, _ = lazy(lambda: f(1))
    with pytest.raises(RecursionError):
        f(1)


def test_making_may_fill_it_and_the_first_counts() -> None:
    def make() -> Any:
        _image._fill_function(f, other)
        return given

    def other(x: int) -> int:
        return -x

    f, _ = lazy(make)
    assert f(1) == -1
    assert f(2) == -2


def test_a_shell_is_filled_once() -> None:
    def refill(x: int) -> int:
        with pytest.raises(ValueError, match="has its private function already"):
            _image._fill_function(f, given)
        return x

    f, declaration = lazy(lambda: given)
    _image._fill_function(f, refill)
    assert f(5) == 5
    assert declaration.made == 0
    for wrong in (given, None, 5):
        with pytest.raises(TypeError, match="expected a FrozenFunction"):
            _image._fill_function(wrong, given)
    with pytest.raises(TypeError, match="expected a function"):
        _image._fill_function(f, len)


def test_one_that_is_refused_says_why() -> None:
    f = _image._frozen_function(Declaration(given), None, "given can't be frozen: no")
    for _ in range(2):
        with pytest.raises(NotFreezableError, match="given can't be frozen: no"):
            f(1)
    assert f.__name__ == "given"
    assert not hasattr(f, "__isabstractmethod__")
    with pytest.raises(AttributeError):
        _ = f.__code__


def test_declarations_are_checked() -> None:
    class Bad:
        names: Any = None

    for names in (None, (), ("a", "b", "c"), (1, "b", "c", "d"), ["a", "b", "c", "d"]):
        Bad.names = names
        with pytest.raises(TypeError, match="names of a declaration"):
            _image._frozen_function(Bad(), given)
    with pytest.raises(AttributeError):
        _image._frozen_function(object(), given)
    for args in ((), (Declaration(given), len), (Declaration(given), given, 5), (1, 2, 3, 4)):
        with pytest.raises(TypeError):
            _image._frozen_function(*args)


# --- not frozen yet ------------------------------------------------------------------------------


def test_a_freezable_function_stands_for_the_function() -> None:
    def f(x: int) -> int:
        """Say it."""
        return x

    g = _image._freezable_function(f)
    assert type(g) is FreezableFunction
    assert g(4) == 4
    assert g.__get__(5)() == 5
    assert repr(g).startswith("<freezable function ")
    assert _image._original_of(g) is f
    assert g.__code__ is f.__code__
    assert g.__globals__ is f.__globals__
    assert g.__doc__ == "Say it."
    g.x = 5
    g.__defaults__ = (1,)
    assert f.x == 5
    assert g() == 1
    del g.x
    assert not hasattr(f, "x")
    assert not _image.is_frozen(g)
    assert inspect.signature(g) == inspect.signature(f)
    assert copy.deepcopy(g) is g
    for wrong in (f, frozen(), 5):
        with pytest.raises(TypeError, match="expected a FreezableFunction"):
            _image._original_of(wrong)


def _named() -> None: ...


_named.__qualname__ = "named"
named = _image._freezable_function(_named)


def test_a_freezable_function_pickles_by_name() -> None:
    assert pickle.loads(pickle.dumps(named)) is named


def test_it_is_frozen_in_place() -> None:
    def f() -> int:
        return 1

    def private() -> int:
        return 2

    g = _image._freezable_function(f)
    holders = [g, {g: 1}]
    reference = weakref.ref(f)
    declaration = Declaration(f)
    declaration.function = None
    _image._freeze_in_place(g, declaration, private)
    assert type(g) is FrozenFunction
    assert holders[0] is g
    assert holders[1] == {g: 1}
    assert g() == 2
    assert _image._declaration_of(g) is declaration
    with pytest.raises(FrozenError):
        g.x = 1
    with pytest.raises(TypeError, match="expected a FreezableFunction"):
        _image._freeze_in_place(g, declaration, private)
    del f
    if hasattr(sys, "_is_gil_enabled") and not sys._is_gil_enabled():
        return  # there the original stays, as other threads may be calling it
    assert reference() is None


def test_freezing_can_be_undone() -> None:
    def f() -> int:
        return 1

    g = _image._freezable_function(f)
    for _ in range(2):
        _image._freeze_in_place(g, Declaration(given), given)
        assert repr(g) == "<frozen function given>"
        _image._undo_freeze(g, f)
        assert type(g) is FreezableFunction
        assert repr(g).endswith("<locals>.f>")
        g.x = 1
        assert g() == 1
        assert _image._original_of(g) is f


def test_a_call_outlives_the_freezing_of_what_is_called() -> None:
    def make() -> Any:
        secret = object()

        def f() -> Any:
            _image._freeze_in_place(holder[0], Declaration(given), given)
            gc.collect()
            return secret

        return _image._freezable_function(f)

    holder = [make()]
    assert type(holder[0]()) is object
    assert holder[0](1) == 3


def test_a_call_outlives_the_function() -> None:
    def make() -> FrozenFunction:
        secret = [1, 2]

        def f() -> Any:
            holder.clear()
            gc.collect()
            return secret

        return frozen(f)

    holder = [make()]
    assert holder[0]() == [1, 2]


# --- living --------------------------------------------------------------------------------------


def test_cycles_through_functions_are_collected() -> None:
    def make() -> weakref.ref[Any]:
        def f() -> Any:
            return g, h

        g = frozen(f)
        h = _image._freezable_function(f)
        return weakref.ref(g)

    reference = make()
    gc.collect()
    assert reference() is None


def test_nothing_leaks() -> None:
    def work() -> None:
        f = frozen()
        g, _ = lazy(lambda: given)
        h = _image._freezable_function(given)
        for each in (f, g, h):
            each(1)
            for name in dir(each):
                getattr(each, name)
            for name in ("__closure__", "__globals__", "__kwdefaults__", "nothing", "__wrapped__"):
                getattr(each, name, None)
            repr(each)
        refused = _image._frozen_function(Declaration(given), None, "no")
        for call in (refused, lambda: f(), lambda: setattr(f, "x", 1)):
            with pytest.raises(TypeError):
                call()
        with pytest.raises(TypeError):
            _image._frozen_function(Declaration(given), 5)
        _image._freeze_in_place(h, Declaration(given), given)
        _image._undo_freeze(h, given)

    for _ in range(3):
        work()
    types_before = sys.getrefcount(FrozenFunction), sys.getrefcount(FreezableFunction)
    gc.collect()
    before = len(gc.get_objects()), sys.getrefcount(given)
    for _ in range(50):
        work()
    gc.collect()
    assert len(gc.get_objects()) <= before[0] + 20
    assert abs(sys.getrefcount(given) - before[1]) <= 3
    for cls, count in zip((FrozenFunction, FreezableFunction), types_before, strict=True):
        assert abs(sys.getrefcount(cls) - count) <= 3


def test_h25_the_collector_is_the_door_that_stays_open() -> None:
    f = frozen()
    assert given in gc.get_referents(f)


# --- classes -------------------------------------------------------------------------------------


def test_a_class_is_made_immutable_and_mutable_again() -> None:
    class C:
        x = 1

        def m(self) -> int:
            return self.x

    c = C()
    _image._freeze_class(C)
    for write in (lambda: setattr(C, "x", 2), lambda: delattr(C, "x"), lambda: setattr(C, "y", 2)):
        with pytest.raises(TypeError, match="immutable type"):
            write()
    c.x = 5
    assert c.m() == 5

    class D(C):
        x = 3

    D.y = 4
    assert D().m() == 3
    _image._freeze_class(C, 0)
    C.x = 2
    assert C().m() == 2


def test_types_of_c_are_refused() -> None:
    for wrong in (int, type, object):
        with pytest.raises(TypeError, match="is a static type of C"):
            _image._freeze_class(wrong)
    for wrong in (5, given, None):
        with pytest.raises(TypeError, match="expected a class"):
            _image._freeze_class(wrong)
