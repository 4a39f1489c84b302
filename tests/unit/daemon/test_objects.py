"""User-defined types between processes, and where their class has gone or changed."""

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import user_classes as uc
import user_models as um
from daemons import Daemon

import icehouse

TESTS = Path(__file__).parents[2]


def read_elsewhere(daemon: Daemon, folder: Path, code: str, *, path: Path = TESTS) -> str:
    """Run code in another process that finds modules in `path`; `view` is what was put."""
    program = f"""
    import sys
    sys.path.insert(0, {str(path)!r})
    import icehouse
    store = icehouse.connect({daemon.socket!r})
    view = store.get("objects")
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program) + textwrap.dedent(code)],
        capture_output=True,
        text=True,
        check=False,
        cwd=folder,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture
def objects(store: icehouse.Store) -> icehouse.Handle:
    """One of each way of freezing."""
    return store.put(
        {
            "plain": uc.Plain("ada", tags=["x"]),
            "slots": uc.SlottedChild(1, 2, 3),
            "point": uc.Point(1, 2, ["t"]),
            "sealed": uc.Sealed("s", (1,)),
            "stack": uc.Stack([1, 2]),
            "place": uc.Place("p", (1, 2)),
            "label": uc.Label("l", "blue"),
            "reduced": uc.Reduced(1),
            "state": uc.Stateful(5),
            "slim": um.Slim(1, [2]),
            "user": um.User("Ada", 36),
            "customer": um.Customer(name="Ada"),
        },
        name="objects",
    )


def test_another_process_sees_instances(
    daemon: Daemon, objects: icehouse.Handle, tmp_path: Path
) -> None:
    code = """
    import user_classes as uc, user_models as um
    assert isinstance(view["plain"], uc.Plain) and view["plain"].greet() == "ada greets you"
    assert view["slots"].hidden() == 7
    assert view["point"] == uc.Point(1, 2, ["t"])
    assert view["sealed"] == uc.Sealed("s", (1,))
    assert view["stack"].top() == 2
    assert type(view["place"]) is uc.Place
    assert view["label"].color == "blue"
    assert view["reduced"] == uc.Reduced(1)
    assert view["state"].value == 5
    assert view["slim"].doubled == 2
    assert type(view["user"]) is um.User and view["user"].greet() == "I am Ada"
    assert view["customer"].initial == "A"
    print(type(icehouse.thaw(view)["point"]).__name__)
    """
    assert read_elsewhere(daemon, tmp_path, code) == "Point"


def test_modules_are_imported_when_they_are_needed(
    daemon: Daemon, objects: icehouse.Handle, tmp_path: Path
) -> None:
    code = """
    before = "user_classes" in sys.modules
    name = view["plain"].name
    print(before, name, type(view["point"]).__name__)
    """
    assert read_elsewhere(daemon, tmp_path, code) == "False ada Point"


def test_records_where_the_module_is_gone(
    daemon: Daemon, objects: icehouse.Handle, tmp_path: Path
) -> None:
    code = """
    for key, child in view.items():
        name = icehouse.type_name(child)
        assert name.startswith(("user_classes.", "user_models.")), name
        assert name.split(".")[1] in repr(child), repr(child)
    assert view["plain"].name == "ada" and view["plain"].tags == ["x"]
    assert view["slots"].left == 1
    assert view["point"].y == 2
    assert view["user"].age == 36
    assert view["customer"].name == "Ada"
    assert type(view["place"]) is icehouse.Record
    assert list(view["stack"]) == [1, 2] and len(view["stack"]) == 2
    try:
        view["plain"].name = "x"
    except icehouse.FrozenError:
        pass
    thawed = icehouse.thaw(view)
    print(thawed["point"].x, thawed["plain"].tags)
    """
    assert read_elsewhere(daemon, tmp_path, code, path=tmp_path) == "1 ['x']"


CHANGED = '''
import dataclasses
from typing import NamedTuple


class Plain:
    """No field is as it was."""
    def loud(self):
        return self.name.upper()


class Slotted:
    __slots__ = ("other",)


class SlottedChild(Slotted):
    __slots__ = ()


@dataclasses.dataclass
class Point:
    across: int
    down: int


def Sealed(*args):
    raise SystemExit("called")


Stack = 5


class Place(NamedTuple):
    only: str


class Label:
    pass


class Reduced:
    def __init__(self):
        pass


class Stateful(int):
    pass
'''


def test_a_class_that_has_changed(daemon: Daemon, objects: icehouse.Handle, tmp_path: Path) -> None:
    (tmp_path / "user_classes.py").write_text(CHANGED)
    code = """
    import user_classes as uc
    assert view["plain"].loud() == "ADA"
    assert view["slots"].left == 1
    assert view["point"].x == 1
    try:
        repr(view["point"])
    except AttributeError:
        pass
    for key in ("sealed", "stack"):
        assert icehouse.type_name(view[key]).startswith("user_classes."), key
    assert view["sealed"].name == "s"
    assert list(view["stack"]) == [1, 2]
    for key in ("place", "label"):
        assert type(view[key]) is icehouse.Record, (key, view[key])
    try:
        view["reduced"]
    except icehouse.IcehouseError as error:
        assert "could not be made again" in str(error)
    else:
        raise AssertionError("made")
    assert view["state"].value == 5
    for key in view:
        try:
            icehouse.thaw(view[key])
        except icehouse.IcehouseError:
            assert key == "reduced"
    print(icehouse.thaw(view["point"]).x)
    """
    assert read_elsewhere(daemon, tmp_path, code, path=tmp_path) == "1"


def test_classes_of_main_are_found_by_spawned_processes(
    daemon: Daemon, store: icehouse.Store, tmp_path: Path
) -> None:
    (tmp_path / "program.py").write_text(
        textwrap.dedent(
            f"""
            import dataclasses, multiprocessing, sys
            import icehouse

            @dataclasses.dataclass
            class Job:
                number: int

            def work(job):
                assert isinstance(job, Job), type(job)
                return job.number + 1

            if __name__ == "__main__":
                context = multiprocessing.get_context("spawn")
                store = icehouse.connect({daemon.socket!r})
                view = store.get(store.put(Job(4)))
                assert isinstance(view, Job)
                with context.Pool(1) as pool:
                    print(pool.apply(work, (view,)))
            """
        )
    )
    done = subprocess.run(
        [sys.executable, "program.py"], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "5"


def test_get_checks_the_type(store: icehouse.Store) -> None:
    handle = store.put(uc.Point(1))
    assert store.get(handle, type=uc.Point).x == 1
    with pytest.raises(TypeError, match=r"Point.*Plain|Plain.*Point"):
        store.get(handle, type=uc.Plain)
