"""What a user writes, as mypy and pyright see it. Checked by `make types`, never run."""

from typing import assert_type

import icehouse


def embedded() -> None:
    store = icehouse.Store(capacity=1 << 30)
    handle = store.put({"plain": [1, 2]}, name="config")
    assert_type(handle, icehouse.Handle)
    assert_type(str(handle), str)
    assert_type(bytes(handle), bytes)
    assert_type(icehouse.Handle.from_text(str(handle)), icehouse.Handle)
    assert_type(icehouse.Handle.from_bytes(bytes(handle)), icehouse.Handle)
    store.get(handle)
    store.get("config")
    icehouse.get(str(handle))


def snapshots() -> None:
    view = icehouse.freeze({"model": {"layers": [64, 64]}})
    assert_type(icehouse.is_frozen(view), bool)
    assert_type(icehouse.same(view, view), bool)
    icehouse.dumps(view)
    icehouse.thaw(view)


def failures() -> None:
    try:
        icehouse.get("ih1_")
    except icehouse.HandleGone as gone:
        lookup: LookupError = gone
        print(lookup)
    except icehouse.StoreFull as full:
        memory: MemoryError = full
        print(memory)
    except icehouse.FrozenError as refused:
        refusal: TypeError = refused
        missing: AttributeError = refused
        print(refusal, missing)
