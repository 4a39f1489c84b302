"""explain_freeze: what would be frozen, copied, linked and refused, and what it says of it."""

import datetime as dt
import gc
import io
import threading
from typing import Any

import pytest
import user_classes as uc

import icehouse


def actions(report: Any) -> dict[str, str]:
    return {entry.path: entry.action for entry in report}


def test_what_each_object_becomes() -> None:
    when = dt.date(2020, 1, 1)
    report = icehouse.explain_freeze({"a": [1, when], "c": uc.Plain("p"), "f": dict, "b": b"x"})
    assert report
    assert report.ok
    assert report.refused == []
    assert actions(report) == {
        "root": "frozen",
        "root['a']": "frozen",
        "root['a'][0]": "by nature",
        "root['a'][1]": "by nature",
        "root['c']": "frozen",
        "root['c'].name": "by nature",
        "root['f']": "by name",
        "root['b']": "by nature",
    }
    assert [entry.type for entry in report][3:5] == [dt.date, uc.Plain]
    assert [entry.items for entry in report][:2] == [4, 2]
    assert [entry.size for entry in report][-1] == 1
    assert report.totals() == {"frozen": 3, "by nature": 4, "by name": 1}


def test_what_is_frozen_already() -> None:
    for obj in (5, "x", (1, (2, 3)), icehouse.freeze([1]), int):
        report = icehouse.explain_freeze(obj)
        (entry,) = report
        assert (entry.path, entry.action) == ("root", "by nature")
        assert "as it is" in str(entry.reason)


def test_views_are_linked_or_copied() -> None:
    with icehouse.Store(capacity="16MiB") as store, icehouse.Store(capacity="16MiB") as other:
        large = store.get(store.put({"rows": list(range(2000))}))
        small = store.get(store.put([1, 2]))
        foreign = other.get(other.put(list(range(2000))))
        holder = {"l": large["rows"], "s": small, "f": foreign, ("k", 1): 0}
        report = icehouse.explain_freeze(holder, store=store)
        linked = [entry.path for entry in report.having("linked")]
        assert linked == ["root['l']"]
        assert [entry.path for entry in report.having("copied")] == ["root['s']", "root['f']"]
        assert icehouse.explain_freeze(holder).totals()["copied"] == 3
        # It is what putting does.
        assert store.stat(store.put(holder)).links == 1


def test_arrays_that_are_views_are_linked() -> None:
    numpy = pytest.importorskip("numpy")
    with icehouse.Store(capacity="16MiB") as store:
        array = store.get(store.put({"a": numpy.arange(4000)}))["a"]
        report = icehouse.explain_freeze({"a": array, "b": array[1:]}, store=store)
        assert actions(report) == {"root": "frozen", "root['a']": "linked", "root['b']": "frozen"}
        assert [entry.size for entry in report] == [None, None, 3999 * 8]


def test_buffers() -> None:
    numpy = pytest.importorskip("numpy")
    plain = icehouse.explain_freeze([numpy.zeros(4), memoryview(b"abc"), bytearray(5)])
    assert [entry.size for entry in plain] == [None, 32, 3, 5]
    objects = numpy.array([1, "x", threading.Lock()], dtype=object)
    report = icehouse.explain_freeze([objects])
    with pytest.raises(icehouse.NotFreezableError) as caught:
        icehouse.freeze([objects])
    assert report.refused[0].path == caught.value.path
    assert report.refused[0].object is objects[2]


def test_all_refusals_the_first_as_freezing_has_it() -> None:
    lock, buffer = threading.Lock(), io.BytesIO()
    graph = {"a": [[lock]], "b": uc.Plain("p", file=buffer), "c": lock, "d": (n for n in [1])}
    report = icehouse.explain_freeze(graph)
    assert not report
    assert [entry.path for entry in report.refused] == ["root['c']", "root['b'].file", "root['d']"]
    assert [entry.object for entry in report.refused[:2]] == [lock, buffer]
    with pytest.raises(icehouse.NotFreezableError) as caught:
        icehouse.freeze(graph)
    assert caught.value.path == report.refused[0].path
    assert str(report.refused[0].reason) in str(caught.value)
    assert str(report).startswith("cannot be frozen: 3 of 8 objects are refused\n  root['c']: ")


def test_several_roots() -> None:
    shared: list[Any] = [1]
    report = icehouse.explain_freeze([shared], {"s": shared, "l": threading.Lock()})
    assert [entry.path for entry in report.refused] == ["root[1]['l']"]
    assert "same as root[0][0]" in str(report)
    with pytest.raises(TypeError, match="at least one"):
        icehouse.explain_freeze()


class Asked:
    """It counts how often its code runs."""

    calls: list[str]

    def __init__(self) -> None:
        self.calls = []

    def __freeze__(self) -> Any:
        self.calls.append("freeze")
        return {"x": 1}


class Careful:
    vetoes = 0

    def __pre_freeze__(self) -> None:
        Careful.vetoes += 1
        raise PermissionError("not now")


def test_no_more_code_runs_than_freezing_runs() -> None:
    asked = Asked()
    report = icehouse.explain_freeze([asked, asked])
    assert asked.calls == ["freeze"]
    assert "as a dict" in str(report)
    icehouse.freeze([asked, asked])
    assert asked.calls == ["freeze", "freeze"]


def test_pre_freeze_is_called_only_where_that_is_asked_for() -> None:
    Careful.vetoes = 0
    obj = [Careful()]
    report = icehouse.explain_freeze(obj)
    assert report.ok
    assert [entry.path for entry in report.vetoes] == ["root[0]"]
    assert Careful.vetoes == 0
    report = icehouse.explain_freeze(obj, run_hooks=True)
    assert Careful.vetoes == 1
    assert "PermissionError: not now" in str(report.refused[0].reason)
    assert report.vetoes == []
    with pytest.raises(PermissionError):
        icehouse.freeze(obj)


def test_statuses() -> None:
    explicit = icehouse.set_freezable(uc.Plain("p"), icehouse.FREEZABLE_EXPLICIT)
    assert icehouse.explain_freeze(explicit).ok
    assert icehouse.explain_freeze(explicit, [explicit]).ok
    assert "FREEZABLE_EXPLICIT" in str(icehouse.explain_freeze([explicit]).refused[0].reason)
    with icehouse.disabled(explicit):
        assert not icehouse.explain_freeze(explicit)


def test_nothing_is_changed_or_kept_alive() -> None:
    graph = {"a": uc.Plain("p", items=[1, 2]), "b": (1, [2])}
    before = repr(graph), vars(graph["a"]).copy()  # type: ignore[call-overload]
    dying = uc.Plain("gone")
    report = icehouse.explain_freeze([graph, dying])
    assert (repr(graph), vars(graph["a"])) == before  # type: ignore[arg-type]
    count = len(gc.get_referrers(dying))
    del report
    assert len(gc.get_referrers(dying)) == count


# --- large, deep, cyclic -------------------------------------------------------------------------


def test_a_deep_graph_needs_no_stack() -> None:
    root: list[Any] = []
    inner = root
    for level in range(100_000):
        child: Any = [] if level % 2 else {}
        if isinstance(inner, list):
            inner.append(child)
        else:
            inner["k"] = child
        inner = child
    report = icehouse.explain_freeze(root)
    assert report.totals() == {"frozen": 100_001}
    assert len(str(report).splitlines()) < 40
    assert list(report)[-1].path.count("[0]") == 50_000


def test_what_is_refused_far_below_is_found_and_named() -> None:
    root: Any = threading.Lock()
    for _ in range(100_000):
        root = [root]
    report = icehouse.explain_freeze(root)
    assert report.refused[0].path == "root" + "[0]" * 100_000
    assert max(map(len, str(report).splitlines())) < 600
    with pytest.raises(icehouse.NotFreezableError) as caught:
        icehouse.freeze(root)
    assert caught.value.path == report.refused[0].path


def test_cycles() -> None:
    a: list[Any] = [1]
    a += [a, {"up": a}]
    report = icehouse.explain_freeze(a)
    assert [entry.path for entry in report] == ["root", "root[0]", "root[2]"]
    assert str(report).count("same as root") == 2


def test_a_ring_of_what_is_made_whole() -> None:
    box = uc.Reduced(None)
    box.__dict__.update(dict.fromkeys(list(vars(box)), (box,)))
    report = icehouse.explain_freeze([box])
    with pytest.raises(icehouse.NotFreezableError, match="refers to itself") as caught:
        icehouse.freeze([box])
    assert report.refused[0].path == caught.value.path
    assert report.refused[0].object is caught.value.object


def test_large_containers_are_summed_up() -> None:
    rows = [{"id": n, "tags": ["a", n]} for n in range(3000)]
    report = icehouse.explain_freeze({"n": list(range(100_000)), "rows": rows, "t": "x"})
    text = str(report)
    assert "… and 99,997 more like it" in text
    assert "… and 2,997 more like it" in text
    assert len(text.splitlines()) < 60
    entries = {entry.path: entry for entry in report}
    assert entries["root['n'][3]"].count == 99_997
    assert sum(entry.count for entry in report) == 1 + 1 + 100_000 + 1 + 3000 * 5 + 1
    assert len(report.tree(lines=5).splitlines()) == 1 + 5 + 2


def test_what_is_refused_is_shown_wherever_it_lies() -> None:
    rows: list[Any] = [{"id": n} for n in range(5000)]
    rows[4000]["lock"] = threading.Lock()
    lines = str(icehouse.explain_freeze(rows)).splitlines()
    assert any(line.strip().startswith("['lock']: ") for line in lines)
    many = icehouse.explain_freeze([threading.Lock() for _ in range(1000)])
    assert "… and 980 more" in str(many)
    assert len(str(many).splitlines()) < 100


class BadKey:
    def __repr__(self) -> str:
        raise RuntimeError("no")

    def __reduce__(self) -> Any:
        return (BadKey, ())


def test_paths_are_written_as_errors_have_them() -> None:
    graph = {(1, "k"): {threading.Lock()}, BadKey(): threading.Lock()}
    report = icehouse.explain_freeze([graph])
    paths = [entry.path for entry in report.refused]
    assert paths == ["root[0][(1, 'k')] item", "root[0][<BadKey object>]"]


def test_rich_draws_it() -> None:
    rich = pytest.importorskip("rich.console")
    console = rich.Console(width=200, file=io.StringIO())
    console.print(icehouse.explain_freeze({"a": threading.Lock(), "b": [1]}))
    text = console.file.getvalue()
    assert "cannot be frozen: 1 of 4 objects is refused" in text
    assert "['b']: list, 1 item: frozen" in text


def test_reports_print() -> None:
    report = icehouse.explain_freeze([threading.Lock()])
    assert repr(report) == "<FreezeReport: cannot be frozen: 1 of 2 objects is refused>"
    assert repr(report.refused[0]).startswith("<Entry root[0] _thread.lock: refused, reason='a ")
    assert repr(icehouse.explain_freeze([1])) == "<FreezeReport: 2 objects can be frozen>"
    assert len(report) == 2
