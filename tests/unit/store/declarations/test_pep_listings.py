"""The listings of PEP 795, 1 to 29, on released CPython: one test for the point of each.

docs/pep795.md shows them. Where the PEP shares between interpreters, so do these, and by processes
too: what is frozen is run there, in an interpreter with a GIL of its own where there are such.
"""

import ast
import importlib
import pickle
import subprocess
import sys
import threading
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import icehouse
from icehouse import FrozenError, NotFreezableError, freeze, interpreters, is_frozen

HERE = str(Path(__file__).parent)


@pytest.fixture
def code(monkeypatch: pytest.MonkeyPatch) -> Iterator[types.ModuleType]:
    """The declarations, new for each test: freezing classes is for good."""
    monkeypatch.syspath_prepend(HERE)
    sys.modules.pop("listings", None)
    module = importlib.import_module("listings")
    yield module
    sys.modules.pop("listings", None)


def in_interpreter(expression: str, **objects: Any) -> Any:
    """What an expression comes to in another interpreter, which gets the objects of a store."""
    with icehouse.Store(capacity="16MiB") as store:
        return in_interpreter_of(store, expression, **objects)


def in_interpreter_of(store: icehouse.Store, expression: str, **objects: Any) -> Any:
    """The same; shared fields are cells of this store from then on."""
    if not interpreters.supported():
        pytest.skip("this Python has no interpreters")
    with interpreters.Interpreter() as other:
        handles = {name: str(store.put(obj)) for name, obj in objects.items()}
        other.run(f"""
            import icehouse
            names = {{name: icehouse.get(text) for name, text in {handles!r}.items()}}
            found = eval({expression!r}, names)
            icehouse.Store.attach({store.token!r}).put([found], name="found")
        """)
        return icehouse.thaw(store.get("found"))[0]


def in_process(expression: str, **objects: Any) -> Any:
    """The same in another process, which gets them pickled, by value."""
    source = (
        "import pickle, sys\n"
        "names = pickle.load(sys.stdin.buffer)\n"
        f"print(repr(eval({expression!r}, names)))"
    )
    command = [sys.executable, "-c", f"import sys; sys.path[:] = {sys.path!r}\n{source}"]
    done = subprocess.run(command, input=pickle.dumps(objects), capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return ast.literal_eval(done.stdout.decode().splitlines()[-1])


def everywhere(expression: str, **objects: Any) -> list[Any]:
    """What it comes to here, in another interpreter, and in another process."""
    here = eval(expression, dict(objects))
    return [here, in_interpreter(expression, **objects), in_process(expression, **objects)]


# --- data, and what is frozen by nature ----------------------------------------------------------


def test_listing_01_tuples_of_constants_are_frozen_by_nature(code: Any) -> None:
    for constant in (None, 42, "x", b"x", 1.5, (1, (2, "x")), code.Point(1, (2, 3))):
        assert is_frozen(constant)
        assert freeze(constant) is constant
    assert not is_frozen((1, {}))
    assert not is_frozen(code.Point(1, []))
    frozen = freeze((1, {"a": 1}))
    assert is_frozen(frozen)
    with pytest.raises(TypeError):
        frozen[1]["a"] = 2


def test_listing_02_a_module_is_held_by_name_but_not_an_object_of_it(code: Any) -> None:
    roll = freeze(code.roll_by_module)
    assert all(1 <= n <= 6 for n in everywhere("roll(6)", roll=roll))
    with pytest.raises(NotFreezableError) as caught:
        freeze(code.roll_by_object)
    assert caught.value.path == "roll_by_object: global 'generator'"
    assert caught.value.object is code.generator
    report = icehouse.explain_freeze(code.roll_by_object)
    assert report.refused[0].path == caught.value.path
    modules = icehouse.explain_freeze(code.roll_by_module).having("module")
    assert [entry.path for entry in modules] == ["roll_by_module: global 'random'"]


def test_listing_03_a_frozen_class_and_its_instances(code: Any) -> None:
    assert icehouse.frozen(code.Die) is code.Die
    with pytest.raises(TypeError):
        code.Die.roll = lambda self: 6
    with pytest.raises(TypeError):
        del code.Die.roll
    die = code.Die(6)
    die.set_sides(12)
    assert die.sides == 12
    frozen = freeze(die)
    assert isinstance(frozen, code.Die)
    assert all(1 <= n <= 12 for n in everywhere("die.roll()", die=frozen))
    with pytest.raises(FrozenError):
        frozen.set_sides(4)
    assert frozen.sides == 12
    die.set_sides(4)  # a snapshot was frozen: the instance itself stays as it was
    assert (die.sides, frozen.sides) == (4, 12)


def test_listing_04_captured_variables_are_cut_off(code: Any) -> None:
    get_x = freeze(code.get_x)
    code.x = 4711
    assert code.get_x() == 4711
    assert everywhere("get_x()", get_x=get_x) == [42, 42, 42]


def test_listing_05_freezing_a_class_leaves_its_instances(code: Any) -> None:
    first = code.Foo([1])
    freeze(code.Foo)
    first.value.append(2)
    first.more = 1
    assert not is_frozen(first)
    frozen = freeze([first, code.Foo("x")])
    with pytest.raises(AttributeError):
        frozen.append(1)
    with pytest.raises(AttributeError):
        frozen.pop()
    with pytest.raises(FrozenError):
        frozen[0].value = 5
    with pytest.raises(AttributeError):
        frozen[0].value.append(3)
    assert frozen[0].bar() == [1, 2]


@pytest.mark.parametrize("steps", [True, False])
def test_listing_06_and_23_fractions(code: Any, steps: bool) -> None:
    f1, f2 = code.Fraction(1, 2), code.Fraction(2, 6)
    if steps:
        freeze(code.gcd)
        freeze(code.Fraction)
        frozen = freeze(f1)
    else:
        assert freeze(code.Fraction, f1) is code.Fraction
        frozen = freeze(f1)
    assert is_frozen(code.Fraction)
    assert isinstance(frozen, code.Fraction)
    added = frozen + f2
    assert type(added) is code.Fraction
    assert (added.n, added.d) == (5, 6)
    added.n = 1
    assert not is_frozen(added)
    with pytest.raises(FrozenError):
        frozen.n = 2
    assert everywhere("(f + f).n", f=frozen) == [1, 1, 1]


# --- functions -----------------------------------------------------------------------------------


def test_listing_07_a_freezable_function_sees_rebinding_until_it_is_frozen(code: Any) -> None:
    code.y = 2
    assert code.get_y() == 2
    assert not is_frozen(code.get_y)
    assert freeze(code.get_y) is code.get_y
    code.y = 3
    assert is_frozen(code.get_y)
    assert everywhere("get_y()", get_y=code.get_y) == [2, 2, 2]
    with pytest.raises(FrozenError):
        code.get_y.__defaults__ = (1,)


def test_listing_18_freezing_one_never_disturbs_another(code: Any) -> None:
    before = list(code.shared_list)
    freeze(code.total)
    assert code.grow() == 3  # the list is as mutable as it was
    assert code.shared_list == [*before, 3]
    assert code.total() == 3
    assert type(code.grow) is types.FunctionType
    assert type(code.shared_list) is list

    other = freeze(code.calling)
    assert other(2) == 4
    assert not is_frozen(code.pure)
    assert not is_frozen(code.calling)


def test_listing_19_functions_that_capture_more_and_more(code: Any) -> None:
    assert everywhere("f(1, 2)", f=freeze(code.pure)) == [3, 3, 3]
    assert everywhere("f(2)", f=freeze(code.calling)) == [4, 4, 4]
    assert everywhere("f()", f=freeze(code.reading)) == [3.14, 3.14, 3.14]
    appending = freeze(code.appending)
    with pytest.raises(AttributeError, match="append"):
        appending()
    assert code.frozen_list == [3.14]


def test_listing_20_and_21_methods(code: Any) -> None:
    bar = freeze(code.Foo.bar)
    assert is_frozen(bar)
    foo = code.Foo(7)
    assert everywhere("bar(foo)", bar=bar, foo=freeze(foo)) == [7, 7, 7]
    with pytest.raises(NotFreezableError, match="freeze the object first"):
        freeze(foo.bar)
    freeze(code.Foo)
    method = freeze(freeze(foo).bar)
    assert is_frozen(method)
    assert method() == 7


# --- fields --------------------------------------------------------------------------------------


def test_listing_08_a_shared_field_counts_the_instances_of_all_interpreters(code: Any) -> None:
    counted = code.counted()
    counted()
    freeze(counted)
    counted()
    assert counted.instances.get() == 2
    if interpreters.supported():
        with icehouse.Store(capacity="16MiB") as store:
            handle = store.put(counted)
            source = f"""
                import icehouse
                Counted = icehouse.get({str(handle)!r})
                for _ in range(50):
                    Counted()
            """

            def run() -> None:
                with interpreters.Interpreter() as other:
                    other.run(source)

            threads = [threading.Thread(target=run) for _ in range(3)]
            for thread in threads:
                thread.start()
            for _ in range(50):
                counted()
            for thread in threads:
                thread.join()
            assert counted.instances.get() == 2 + 200
    with pytest.raises(TypeError):
        counted.instances.set([1])


def test_listing_09_a_cache_for_each_interpreter(code: Any) -> None:
    freeze(code.fib)
    assert code.fib(30) == 832040
    assert len(code.cache.get()) == 31
    seen = in_interpreter("(len(cache.get()), fib(10), len(cache.get()))", **pick(code))
    assert seen == (0, 55, 11)
    assert len(code.cache.get()) == 31
    assert in_process("(len(cache.get()), fib(10), len(cache.get()))", **pick(code)) == (0, 55, 11)


def pick(code: Any) -> dict[str, Any]:
    return {"cache": code.cache, "fib": code.fib}


def test_listing_10_a_factory_is_called_once_an_interpreter() -> None:
    calls = icehouse.SharedField(0)

    @icehouse.frozen
    def make() -> list[int]:
        calls.set(calls.get() + 1)
        return []

    local = icehouse.InterpreterLocal(make)
    local.get().append(1)
    assert local.get() == [1]
    assert calls.get() == 1
    same = "[local.get() is local.get(), local.get() == [], calls.get()]"
    assert in_interpreter(same, local=local, calls=calls) == [True, True, 2]
    assert local.get() == [1]
    local.set([2])
    assert local.get() == [2]
    with pytest.raises(TypeError):
        icehouse.InterpreterLocal([])


# --- the logger, five ways -----------------------------------------------------------------------


def test_listing_11_and_12_a_logger_with_state_is_refused() -> None:
    lines: list[str] = []

    def log(text: str) -> None:
        lines.append(text)

    def simulate_work() -> None:
        log("simulate")

    with pytest.raises(NotFreezableError) as caught:
        freeze(log)
    assert caught.value.path == "log: variable 'lines'"
    with pytest.raises(NotFreezableError) as caught:
        freeze(simulate_work)
    assert caught.value.object is lines
    assert "SharedField" in str(caught.value)
    log("still works")
    assert lines == ["still works"]


def test_listing_13_a_stateless_logger(capfd: pytest.CaptureFixture[str]) -> None:
    @icehouse.frozen
    def log(text: str) -> str:
        line = f"[log] {text}"
        print(line)
        return line

    assert everywhere("log('a')", log=log) == ["[log] a"] * 3
    assert capfd.readouterr().out.count("[log] a") == 2  # of a process the test has the output


def test_listing_14_a_logger_whose_state_is_passed_in() -> None:
    @icehouse.frozen
    def log(lines: list[str], text: str) -> list[str]:
        lines.append(text)
        return lines

    assert everywhere("log(log([], 'a'), 'b')", log=log) == [["a", "b"]] * 3


def test_listing_15_a_logger_with_a_shared_field() -> None:
    lines: icehouse.SharedField[tuple[str, ...]] = icehouse.SharedField(())

    @icehouse.frozen
    def log(text: str) -> int:
        while True:
            before = lines.get()
            if lines.compare_and_swap(before, (*before, text)):
                return len(before) + 1

    assert log("here") == 1
    with icehouse.Store(capacity="16MiB") as store:
        assert in_interpreter_of(store, "log('there')", log=log) == 2
        assert lines.get() == ("here", "there")


def test_listing_16_a_logger_for_each_interpreter() -> None:
    @icehouse.frozen
    def make() -> list[str]:
        return []

    lines = icehouse.InterpreterLocal(make)

    @icehouse.frozen
    def log(text: str) -> list[str]:
        lines.get().append(text)
        return lines.get()

    assert log("here") == ["here"]
    assert in_interpreter("log('there')", log=log) == ["there"]
    assert in_process("log('there')", log=log) == ["there"]
    assert log("again") == ["here", "again"]


@pytest.mark.parametrize("by_proxy", [True, False])
def test_listing_17_a_logger_module_by_reference(by_proxy: bool) -> None:
    import logging

    module: Any = icehouse.ImmutableModule(logging) if by_proxy else logging

    @icehouse.frozen
    def log(text: str) -> int:
        logger = module.getLogger("listing")
        logger.info(text)
        logger.calls = getattr(logger, "calls", 0) + 1
        return int(logger.calls)

    assert log("here") == 1
    assert log("here") == 2
    assert in_interpreter("(log('a'), log('b'), log('c'))", log=log) == (1, 2, 3)
    assert in_process("(log('a'), log('b'))", log=log) == (1, 2)
    logging.getLogger("listing").__dict__.pop("calls")
    if by_proxy:
        with pytest.raises(FrozenError):
            module.raiseExceptions = False


# --- classes -------------------------------------------------------------------------------------


def test_listing_22_methods_that_cannot_freeze_and_class_state(code: Any) -> None:
    freeze(code.Partly)
    partly = code.Partly()
    assert partly.good() == 3.14
    with pytest.raises(NotFreezableError, match="lock"):
        partly.bad()
    with pytest.raises(NotFreezableError):
        partly.never()
    assert in_interpreter("Partly().good()", Partly=code.Partly) == 3.14

    with pytest.raises(NotFreezableError) as caught:
        freeze(code.Stateful)
    assert "items" in caught.value.path
    code.Stateful.items.append(3)
    code.Stateful.more = 1  # nothing has changed

    state = code.Declared.items
    freeze(code.Declared)
    assert is_frozen(code.Declared.items)
    assert code.Declared.items == [1, 2]
    state.append(3)
    assert code.Declared.items == [1, 2]


def test_listing_24_classes_that_refer_to_each_other(code: Any) -> None:
    assert freeze(code.A, code.B) is code.A
    assert is_frozen(code.A)
    assert is_frozen(code.B)
    assert type(code.A().other().other()) is code.A
    for cls in (code.A, code.B):
        with pytest.raises(TypeError):
            cls.x = 1


def test_listing_25_freezing_is_disabled_for_a_while(code: Any) -> None:
    foo = code.Foo(1)
    with icehouse.disabled(foo):
        with pytest.raises(NotFreezableError):
            freeze(foo)
        with pytest.raises(NotFreezableError):
            freeze([foo])
        foo.value = 2
    assert freeze(foo).value == 2
    with icehouse.disabled(code.Foo), pytest.raises(NotFreezableError):
        freeze(code.Foo)
    assert not is_frozen(code.Foo)


# --- what fields mean ----------------------------------------------------------------------------


class SharedInPython:
    """What a shared field means: one cell, under a lock, of frozen values."""

    def __init__(self, value: Any) -> None:
        self._lock = threading.Lock()
        self._value = freeze(value) if is_frozen(value) else self._no(value)

    @staticmethod
    def _no(value: Any) -> Any:
        raise TypeError(f"{value!r} is not frozen")

    def get(self) -> Any:
        with self._lock:
            return self._value

    def set(self, value: Any) -> None:
        self.swap(value)

    def swap(self, value: Any) -> Any:
        if not is_frozen(value):
            self._no(value)
        with self._lock:
            old, self._value = self._value, value
        return old

    def compare_and_swap(self, old: Any, new: Any) -> bool:
        if not is_frozen(new):
            self._no(new)
        with self._lock:
            if self._value is not old and self._value != old:
                return False
            self._value = new
            return True


@pytest.mark.parametrize("kind", [icehouse.SharedField, SharedInPython])
def test_listing_26_what_a_shared_field_means(kind: Any) -> None:
    field = kind(1)
    assert field.get() == 1
    field.set((1, "x"))
    assert field.swap("y") == (1, "x")
    assert not field.compare_and_swap("z", 0)
    assert field.get() == "y"
    assert field.compare_and_swap("y", 0)
    assert field.get() == 0
    for refused in ([1], {"a": 1}):
        for call in (field.set, field.swap, lambda new: field.compare_and_swap(0, new), kind):
            with pytest.raises(TypeError):
                call(refused)
    assert field.get() == 0


class LocalInPython:
    """What an interpreter-local field means: a value of each interpreter, made when it is asked."""

    values: dict[int, Any] = {}  # noqa: RUF012 - each interpreter has its own of them

    def __init__(self, default: Any) -> None:
        if not callable(default) and not is_frozen(default):
            raise TypeError(f"{default!r} is neither frozen nor a factory")
        self.default = default

    def get(self) -> Any:
        if id(self) not in self.values:
            self.values[id(self)] = self.default() if callable(self.default) else self.default
        return self.values[id(self)]

    def set(self, value: Any) -> None:
        self.values[id(self)] = value


@icehouse.frozen
def empty() -> list[Any]:
    return []


@pytest.mark.parametrize("kind", [icehouse.InterpreterLocal, LocalInPython])
def test_listing_27_what_a_local_field_means(kind: Any) -> None:
    plain = kind(5)
    assert plain.get() == 5
    plain.set([1])  # what an interpreter sets for itself may be mutable
    assert plain.get() == [1]
    made = kind(empty)
    made.get().append(1)
    assert made.get() == [1]
    assert kind(empty).get() == []
    with pytest.raises(TypeError):
        kind([1])


# --- types that are written in C -----------------------------------------------------------------


def test_listing_28_and_29_registering_takes_the_place_of_the_macros_of_c() -> None:
    import io

    buffer = io.BytesIO(b"abc")
    with pytest.raises(NotFreezableError, match="getvalue"):
        freeze([buffer])
    from icehouse.store.freezing import registrations

    icehouse.register_freezable(io.BytesIO, freeze=io.BytesIO.getvalue, thaw=io.BytesIO)
    try:
        assert freeze([buffer])[0].read() == b"abc"
        assert buffer.write(b"x") == 1
    finally:
        registrations.forget(io.BytesIO)
