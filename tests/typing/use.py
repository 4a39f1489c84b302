"""What a user writes, as mypy and pyright see it. Checked by `make types`, never run."""

from datetime import timedelta
from typing import Any, assert_type

import icehouse
import icehouse.aio


def embedded() -> None:
    store = icehouse.Store(capacity=1 << 30)
    handle = store.put({"plain": [1, 2]}, name="config")
    assert_type(handle, icehouse.Handle[icehouse.FrozenDict[str, Any]])
    assert_type(str(handle), str)
    assert_type(bytes(handle), bytes)
    assert_type(icehouse.Handle.from_text(str(handle)), icehouse.Handle)
    assert_type(icehouse.Handle.from_bytes(bytes(handle)), icehouse.Handle)
    store.get(handle)
    assert_type(store.get("config"), Any)
    assert_type(icehouse.get(str(handle)), Any)


class Settings:
    name: str


def typed_handles(store: icehouse.Store) -> None:
    handle = store.put({"a": 1})
    assert_type(store.get(handle), icehouse.FrozenDict[str, Any])
    assert_type(store.get(handle, None), icehouse.FrozenDict[str, Any] | None)
    assert_type(icehouse.get(handle, native=True), icehouse.FrozenDict[str, Any])
    assert_type(store.get("name", type=Settings), Settings)
    assert_type(store.get("name", None, type=Settings), Settings | None)
    assert_type(icehouse.get(str(handle), allow_classes=[Settings], trust=True), Any)
    assert_type(store.put(Settings()), icehouse.Handle[Settings])
    assert_type(store.get(store.put(Settings())).name, str)
    assert_type(store.put([1]), icehouse.Handle[icehouse.FrozenList[Any]])
    assert_type(store.put(5), icehouse.Handle[int])
    # Large ones are views: what comes back is not known before.
    assert_type(store.put(b"x"), icehouse.Handle[Any])
    assert_type(store.put((1, 2)), icehouse.Handle[Any])
    annotated: icehouse.Handle[Settings] = icehouse.Handle("ih1_")
    assert_type(icehouse.get(annotated), Settings)


def connected() -> None:
    store = icehouse.connect()
    assert_type(store, icehouse.Store)
    handle = store.put([1], name="a", ttl=timedelta(minutes=5), pin=True)
    store.put([1], ttl=2.5, evictable=True)
    store.expire(handle, None)
    store.unpin("a")
    assert_type(store.explain(handle), str)
    for bound, version in store.watch("a", timeout=1.5):
        assert_type(bound, icehouse.Handle | None)
        assert_type(version, int)
    with store.scope() as scope:
        assert_type(scope.keep(store.put([2])), icehouse.Handle)
        assert_type(scope.handles, tuple[icehouse.Handle, ...])
    if store.remote is not None:
        assert_type(store.remote.role, str)
    assert_type(store.stat(handle).expires, float | None)


def snapshots() -> None:
    view = icehouse.freeze({"model": {"layers": [64, 64]}})
    assert_type(icehouse.is_frozen(view), bool)
    assert_type(icehouse.same(view, view), bool)
    icehouse.dumps(view)
    icehouse.thaw(view)


def reports(store: icehouse.Store) -> None:
    report = icehouse.explain_freeze([1], {}, store=store, run_hooks=True)
    assert_type(report.ok, bool)
    assert_type(report.tree(lines=10), str)
    for entry in report:
        assert_type(entry.path, str)
        assert_type(entry.reason, str | None)
    assert_type(report.totals(), dict[str, int])


def failures() -> None:
    try:
        icehouse.get("ih1_")
    except icehouse.NotPermitted as denied:
        permission: PermissionError = denied
        print(permission)
    except icehouse.StoreUnavailable as unavailable:
        assert_type(unavailable.socket, str | None)
    except icehouse.HandleGone as gone:
        assert_type(gone.reason, str)
        lookup: LookupError = gone
        print(lookup)
    except icehouse.StoreFull as full:
        memory: MemoryError = full
        print(memory)
    except icehouse.FrozenError as refused:
        refusal: TypeError = refused
        missing: AttributeError = refused
        print(refusal, missing)


async def asynchronous() -> None:
    async with await icehouse.aio.connect() as store:
        assert_type(store, icehouse.aio.AsyncStore)
        handle = await store.put([1], name="a", ttl=timedelta(minutes=5))
        assert_type(handle, icehouse.Handle)
        assert_type(await store.bind("b", handle, expected=0), int)
        assert_type(await store.explain(handle), str)
        assert_type((await store.stat("a")).size, int)
        async for bound, version in store.watch("a", timeout=1.5):
            assert_type(bound, icehouse.Handle | None)
            assert_type(version, int)
        assert_type(await store.get("a", type=Settings), Settings)
        assert_type(await store.get("a", None, type=Settings, native=True), Settings | None)
        assert_type(await store.get("a"), Any)
        async with store.scope() as scope:
            assert_type(scope.handles, tuple[icehouse.Handle, ...])
