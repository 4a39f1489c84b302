"""What every store must do, whoever holds it: each function is one scenario over a fresh store.

They run in the main interpreter, through an interpreter of its own, and (those that only read) in a
forked child; so they import nothing that does not load everywhere, pytest included.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import icehouse

DATA = {"model": {"layers": [64, 64]}, "name": "résumé", "rate": 0.5, "tags": ["a", "b"], "n": None}


@contextmanager
def raises(kind: type[BaseException], *texts: str) -> Iterator[None]:
    try:
        yield
    except kind as error:
        message = str(error)
    else:
        raise AssertionError(f"{kind.__name__} was not raised")
    assert all(text in message for text in texts), message


def spawned(scenario: Callable[[Any], None], socket: str) -> None:
    """What a spawned child does."""
    with icehouse.connect(socket) as store:
        scenario(store)


# --- writing --------------------------------------------------------------------------------------


def puts_and_gets(store: Any) -> None:
    handle = store.put(DATA)
    assert isinstance(handle, icehouse.Handle)
    assert store.get(handle) == DATA
    assert store.get(str(handle)) == DATA
    assert icehouse.get(handle) == DATA
    assert store.get(handle).handle == handle
    assert icehouse.thaw(store.get(handle)) == DATA


def keeps_plain_values(store: Any) -> None:
    for value in [
        None,
        True,
        0,
        -1,
        2**40,
        2**80,
        1.5,
        1j,
        "",
        "é",
        b"",
        b"x" * 1000,
        (),
        (1, "a"),
    ]:
        found = store.get(store.put(value))
        assert found == value
        assert type(found) is type(value)


def binds_names(store: Any) -> None:
    first, second = store.put([1], name="a"), store.put([2])
    assert store.get("a") == [1]
    assert store.lookup("a") == (first, 1)
    assert store.bind("a", second) == 2
    assert store.get("a") == [2]
    assert store.get(first) == [1]
    assert store.bind("b", "a") == 1
    assert store.names() == {"a": second, "b": second}
    assert store.names("b") == {"b": second}
    store.bind("a", None)
    assert store.names() == {"b": second}
    with raises(icehouse.UnknownName, "'a'", "bind"):
        store.get("a")


def swaps_names_by_version(store: Any) -> None:
    first, second = store.put([1]), store.put([2])
    assert store.version("a") == 0
    version = store.bind("a", first, expected=0)
    with raises(icehouse.IcehouseError, "again"):
        store.bind("a", second, expected=0)
    with raises(icehouse.IcehouseError, str(version), str(version + 7)):
        store.bind("a", second, expected=version + 7)
    assert store.get("a") == [1]
    newer = store.bind("a", second, expected=version)
    assert newer == version + 1 == store.version("a")
    store.bind("a", None, expected=newer)
    assert store.version("a") == 0
    # A version that was seen before an unbind never fits again.
    assert store.bind("a", first, expected=0) > newer


def refuses_bad_names(store: Any) -> None:
    for name in ["", "ih1_", "ih1_x", "x" * 513, "é" * 257]:
        with raises(ValueError):
            store.put([1], name=name)
        with raises(ValueError):
            store.bind(name, None)
    for name in [1, b"a"]:
        with raises(TypeError):
            store.put([1], name=name)
    assert store.ls() == []
    store.put([1], name="x" * 512)


def deletes(store: Any) -> None:
    handle = store.put(DATA)
    view = store.get(handle)
    store.delete(handle)
    assert view == DATA
    assert [(one.handle, one.state) for one in store.ls()] == [(handle, "deleted")]
    for refused in (store.get, store.delete, icehouse.get):
        with raises(icehouse.HandleGone, str(handle)):
            refused(handle)
    assert store.get(handle, None) is None
    del view
    store.trim()
    assert store.ls() == []


def deletes_several_at_once(store: Any) -> None:
    # More than one message takes.
    handles = [store.put([i]) for i in range(600)]
    store.bind("a", handles[0])
    view = store.get(handles[1])
    store.delete()
    store.delete("a", view, str(handles[2]), *handles[3:500])
    assert [store.get(handle)[0] for handle in handles[500:]] == list(range(500, 600))
    assert [handle for handle in handles[:500] if store.get(handle, None) is not None] == []
    assert store.names() == {}
    # What can be deleted is; the first refusal is told.
    store.bind("b", handles[501])
    with raises(icehouse.HandleGone, str(handles[7])):
        store.delete(handles[500], handles[7], handles[501], handles[502], "nobody")
    with raises(icehouse.Conflict):
        store.delete(handles[501], handles[7])
    with raises(icehouse.UnknownName):
        store.delete(handles[503], "nobody", "b")
    left = [handle for handle in handles if store.get(handle, None) is not None]
    assert left == handles[504:]
    # Nothing is touched where one of them can't be meant at all.
    with raises(TypeError):
        store.delete(handles[504], 1)
    assert store.get(handles[504]) == [504]
    # By a name, where there is another: it stays bound as it was.
    version = store.bind("c", handles[504])
    store.bind("d", handles[504])
    with raises(icehouse.Conflict):
        store.delete("c")
    assert store.version("c") == version
    store.delete(*handles[504:], force=True)
    del view
    store.trim()
    assert store.ls() == []
    assert store.names() == {}


def refuses_to_delete_what_is_named(store: Any) -> None:
    handle = store.put([1], name="a")
    store.bind("b", handle)
    with raises(icehouse.IcehouseError, "force=True"):
        store.delete(handle)
    with raises(icehouse.IcehouseError, "force=True"):
        store.delete("a")
    assert store.names() == {"a": handle, "b": handle}
    store.bind("b", None)
    store.delete("a")
    assert store.names() == {}
    with raises(icehouse.HandleGone):
        store.get(handle)
    named = store.put([2], name="c")
    store.delete(named, force=True)
    with raises(icehouse.UnknownName):
        store.get("c")


def puts_views_once(store: Any) -> None:
    handle = store.put(DATA)
    view = store.get(handle)
    assert store.put(view, name="again") == handle
    assert store.get("again") == DATA
    part = store.put(view["model"])
    assert part != handle
    assert store.get(part) == DATA["model"]
    foreign = icehouse.freeze(DATA)
    copy = store.put(foreign)
    assert copy != foreign.handle
    assert store.get(copy) == DATA
    store.delete(handle, force=True)
    again = store.put(view)
    assert again != handle
    assert store.get(again) == DATA


def freezes_until_the_view_goes(store: Any) -> None:
    view = store.freeze(DATA)
    assert view == DATA
    assert icehouse.get(view.handle) == DATA
    assert len(store.ls()) == 1
    assert store.freeze(view) is view
    del view
    if hasattr(store, "settle"):  # with asyncio the thread that froze it lets go a moment later
        store.settle()
    assert [one for one in store.ls() if one.state == "live"] == []
    store.trim()
    assert store.ls() == []
    view = store.freeze([1])
    handle = store.put(view)
    assert handle == view.handle
    del view
    assert store.get(handle) == [1]


def describes(store: Any) -> None:
    handle = store.put({"a": [1] * 1000}, name="a")
    store.bind("b", handle)
    stat = store.stat("a")
    assert stat.handle == handle
    assert stat.size > 1000
    assert (stat.type, stat.state, sorted(stat.names)) == ("dict", "live", ["a", "b"])
    assert stat.created > 1e9
    assert stat.leases == 0
    view = store.get(handle)
    assert store.stat(view).leases == 1
    types = {"x": "str", 1: "int", 2.0: "float", (1, 2): "tuple", None: "NoneType", b"b": "bytes"}
    for value, name in types.items():
        assert store.stat(store.put(value)).type == name
    assert {one.type for one in store.ls()} == {"dict", *types.values()}


def fills_and_goes_on(store: Any) -> None:
    """For a store of 64 MiB."""
    handles: list[icehouse.Handle] = []
    full = None
    while full is None:
        try:
            handles.append(store.put({"i": len(handles), "payload": b"p" * 1_000_000}))
        except icehouse.StoreFull as error:
            full = error
        assert len(handles) < 1000
    assert full.wanted > 1_000_000
    assert full.capacity == store.capacity
    assert full.used <= full.committed <= full.capacity
    assert len(handles) > 32
    store.check()
    for i, handle in enumerate(handles):
        assert store.get(handle)["i"] == i
    store.delete(handles.pop())
    handles.append(store.put({"payload": b"q" * 900_000}))
    for handle in handles:
        store.delete(handle)
    store.put({"payload": b"r" * 20_000_000})
    store.check()


def refuses_what_cannot_freeze(store: Any) -> None:
    with raises(icehouse.NotFreezableError, "[1]", "iterator"):
        store.put([1, iter("")])
    with raises(icehouse.NotFreezableError, "iterator"):
        store.put(iter(""), name="a")
    assert store.ls() == []
    assert store.names() == {}


def seals(store: Any) -> None:
    handle = store.put(DATA, seal=True)
    assert store.get(handle) == DATA
    stat = store.stat(handle)
    assert stat.sealed
    assert stat.dedicated
    assert store.put(store.get(handle), seal=True) == handle
    plain = store.put(DATA)
    assert not store.stat(plain).sealed
    assert store.put(store.get(plain), seal=True) != plain


def accounts(store: Any) -> None:
    before = store.usage()
    handles = [store.put([i] * 100) for i in range(100)]
    views = [store.get(handle) for handle in handles]
    usage = store.usage()
    assert usage.images == before.images + 100
    assert usage.leases == before.leases + 100
    assert usage.used > before.used
    assert usage.capacity == store.capacity
    del views
    for handle in handles:
        store.delete(handle)
    store.trim()
    after = store.usage()
    assert (after.images, after.used) == (before.images, before.used)
    store.check()


def explains(store: Any) -> None:
    handle = store.put(DATA, name="a")
    view = store.get(handle)
    told = store.explain(handle)
    assert "'a'" in told or "a" in told.split()
    assert "lease" in told or "hold" in told
    del view
    store.delete("a")
    # Who still knows says how it went; an embedded store forgets.
    with suppress(icehouse.HandleGone):
        assert "deleted" in store.explain(handle)


def watches(store: Any) -> None:
    first, second = store.put([1], name="a"), store.put([2])
    steps = iter(store.watch("a", timeout=30))
    assert next(steps) == (first, store.version("a"))
    store.bind("a", second)
    assert next(steps) == (second, store.version("a"))
    store.bind("a", None)
    assert next(steps)[0] is None
    assert list(store.watch("nothing", timeout=0.01)) == []


def watches_from_another_thread(store: Any) -> None:
    handle = store.put([1])
    seen = []

    def watch() -> None:
        for bound, version in store.watch("later", timeout=60):
            seen.append((bound, version))
            if len(seen) == 3:
                return

    thread = threading.Thread(target=watch)
    thread.start()
    versions = []
    for count in range(3):
        versions.append(store.bind("later", handle))
        end = time.monotonic() + 60
        while len(seen) <= count:
            assert thread.is_alive() or len(seen) > count
            assert time.monotonic() < end
            time.sleep(0.001)
    thread.join()
    assert seen == [(handle, version) for version in versions]


def deletes_what_a_scope_put(store: Any) -> None:
    before = store.put([0])
    with store.scope():
        inside = [store.put([i]) for i in range(3)]
        assert [store.get(handle)[0] for handle in inside] == [0, 1, 2]
        store.delete(inside[0])
        view = store.get(inside[1])
    for handle in inside:
        assert store.get(handle, None) is None
    assert view == [1]
    assert store.get(before) == [0]
    with suppress(ValueError), store.scope():
        last = store.put([4])
        raise ValueError
    assert store.get(last, None) is None


def links(store: Any) -> None:
    """What refers to an image of the store keeps it alive, and reads it in place."""
    base = store.put({"rows": list(range(50_000)), "deep": {"x": [1, 2, "drei"]}})
    big = store.stat(base).size
    both = store.put({"first": store.get(base), "part": store.get(base)["deep"], "own": 1})
    view = store.get(both)
    assert view["first"] == store.get(base)
    assert view["part"] == {"x": [1, 2, "drei"]}
    assert store.stat(both).size < big / 2
    store.delete(base)
    assert store.get(base, None) is None
    assert view["first"]["rows"][49_999] == 49_999
    again = store.get(both)
    assert icehouse.thaw(again)["first"]["deep"]["x"] == [1, 2, "drei"]
    del view, again
    assert store.get(both)["first"]["rows"][7] == 7
    store.delete(both)
    store.trim()
    assert store.ls() == []


# --- a daemon's alone -----------------------------------------------------------------------------


def how_it_went(store: Any, handle: icehouse.Handle) -> str:
    """The reason that HandleGone gives."""
    try:
        store.get(handle)
    except icehouse.HandleGone as error:
        return str(error.reason) if error.reason in str(error) else "not told"
    raise AssertionError("it is there")


def expires(store: Any) -> None:
    handle = store.put([1], ttl=0.05)
    kept = store.put([2], ttl=3600)
    forever = store.put([3], ttl=0.05)
    store.expire(forever, None)
    while store.get(handle, None) is not None:
        time.sleep(0.01)
    assert how_it_went(store, handle) == "expired"
    assert store.get(kept) == [2]
    assert store.get(forever) == [3]


def says_how_a_handle_went(store: Any) -> None:
    handle = store.put([1])
    store.delete(handle)
    assert how_it_went(store, handle) == "deleted"


def evicts_what_may_go(store: Any) -> None:
    """For a store of 64 MiB."""
    held = store.get(store.put(b"h" * 1_000_000, evictable=True))
    handles = [store.put(b"e" * 1_000_000, evictable=True) for _ in range(200)]
    assert held[:2] == b"hh"
    assert store.get(handles[-1])[:1] == b"e"
    assert store.get(handles[0], None) is None
    assert how_it_went(store, handles[0]) == "evicted"


def pins(store: Any) -> None:
    other = store.put([2], pin=True)
    store.unpin(other)
    assert "pin" not in store.explain(other)
    store.pin(other)
    assert "pin" in store.explain(other)
    # A pin outlasts a time to live, which counts again without it.
    handle = store.put([1], pin=True, ttl=0.02)
    time.sleep(0.05)
    assert store.get(handle) == [1]
    store.unpin(handle)
    while store.get(handle, None) is not None:
        time.sleep(0.01)
    assert how_it_went(store, handle) == "expired"


# --- reading: over a store that prepare() filled --------------------------------------------------


def prepare(store: Any) -> icehouse.Handle:
    store.put([1, 2, 3], name="list")
    return store.put(DATA, name="data")


def reads_by_name_and_handle(store: Any) -> None:
    view = store.get("data")
    assert view == DATA
    assert store.get(view.handle) == DATA
    assert icehouse.get(str(view.handle)) == DATA
    assert store.get("list")[1:] == [2, 3]
    assert icehouse.thaw(view) == DATA


def reads_nothing_that_is_not_there(store: Any) -> None:
    handle = store.get("data").handle
    other = icehouse.Handle.from_bytes(bytes(handle)[:8] + bytes(8))
    for missing in [other, icehouse.Handle(bytes(16)), icehouse.Handle(b"\xff" * 16)]:
        with raises(icehouse.HandleGone, str(missing)):
            store.get(missing)
        assert store.get(missing, 5) == 5
    with raises(icehouse.UnknownName, "'missing'"):
        store.get("missing")
    with raises(KeyError):
        store.get("missing")
    assert store.get("missing", default="d") == "d"
    with raises(ValueError, "ih1_"):
        store.get("ih1_short")
    with raises(TypeError):
        store.get(7)


def reads_the_catalog(store: Any) -> None:
    assert set(store.names()) == {"data", "list"}
    assert store.stat("data").type == "dict"
    assert len(store.ls()) == 2


WRITING: list[Callable[[Any], None]] = [
    puts_and_gets,
    keeps_plain_values,
    binds_names,
    swaps_names_by_version,
    refuses_bad_names,
    deletes,
    deletes_several_at_once,
    refuses_to_delete_what_is_named,
    puts_views_once,
    freezes_until_the_view_goes,
    describes,
    fills_and_goes_on,
    refuses_what_cannot_freeze,
    seals,
    accounts,
    explains,
    watches,
    watches_from_another_thread,
    deletes_what_a_scope_put,
    links,
]
CONNECTED: list[Callable[[Any], None]] = [
    expires,
    says_how_a_handle_went,
    evicts_what_may_go,
    pins,
]
READING: list[Callable[[Any], None]] = [
    reads_by_name_and_handle,
    reads_nothing_that_is_not_there,
    reads_the_catalog,
]
