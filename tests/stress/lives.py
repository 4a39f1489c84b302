"""Programs of test_lives.py: interpreters that come and go while others read; ends of processes.

Functions that run in other interpreters are found by name, here.
"""

import gc
import sys
import threading
import traceback
from typing import Any

import content

import icehouse
from icehouse import Store, interpreters
from icehouse.interpreters import Interpreter

kept: list[Any] = []


def attach_and_keep(token: str, texts: list[str]) -> int:
    """Views, parts, iterators, buffers and a cycle through them stay until the interpreter ends."""
    store = Store.attach(token)
    views = [store.get(text) for text in texts]
    for view in views:
        content.verify(view, view["seed"])
        body = view["body"]
        kept.extend([view, body, view.items(), iter(view), icehouse.freeze({"copy": [1, 2]})])
        if isinstance(body, (bytes, icehouse.FrozenBytes)):
            kept.append(memoryview(body))
    loop: list[Any] = [store, views]
    loop.append(loop)
    kept.append(loop)
    return len(views)


def get_and_leave(token: str, text: str, seed: int) -> None:
    content.verify(Store.attach(token).get(text), seed)
    content.verify(icehouse.get(text), seed)


def read_again_and_again(token: str, texts: list[str], seeds: list[int], path: str) -> int:
    import os

    store = Store.attach(token)
    rounds = 0
    while not os.path.exists(path):  # noqa: PTH110 - pathlib loads slowly
        for text, seed in zip(texts, seeds, strict=True):
            content.verify(store.get(text), seed)
        rounds += 1
    return rounds


def verify_kept(seeds: list[int]) -> int:
    views = [view for view in kept if isinstance(view, icehouse.FrozenDict) and "seed" in view]
    for view, seed in zip(views, seeds, strict=True):
        content.verify(view, seed)
    return len(views)


def filled(store: Store, count: int) -> tuple[list[str], list[int]]:
    seeds = list(range(count))
    return [str(store.put(content.make(seed))) for seed in seeds], seeds


def ends_while_others_read(times: int, path: str) -> None:
    """Interpreters end holding leases of images that a thread of another one reads."""
    failures: list[str] = []
    with Store("256MiB", segment_size="1MiB") as store:
        texts, seeds = filled(store, 40)
        rounds: list[int] = []

        def there() -> None:
            try:
                rounds.append(
                    interpreters.run(read_again_and_again, store.token, texts, seeds, path)
                )
            except BaseException:
                failures.append(traceback.format_exc())

        reader = threading.Thread(target=there)
        reader.start()
        try:
            for i in range(times):
                interpreter = Interpreter()
                assert interpreter.call(attach_and_keep, store.token, texts) == len(texts)
                assert store.usage().leases == len(texts)
                if i % 3 == 0:
                    extra = store.put(content.make(1000 + i))
                    interpreter.call(attach_and_keep, store.token, [str(extra)])
                    store.delete(extra)
                    assert store.usage().deleted == 1
                interpreter.close()
                gc.collect()
                assert store.usage().deleted == 0
                for text, seed in zip(texts, seeds, strict=True):
                    content.verify(store.get(text), seed)
                store.check()
        finally:
            with open(path, "w"):  # noqa: PTH123
                pass
            reader.join()
        assert not failures, failures[0]
        assert rounds[0] > 0
        assert store.usage().leases == 0
        store.check()


def many_lives(times: int) -> None:
    """Each interpreter gets; no lease is left behind, and no memory but what Python keeps."""
    with Store("64MiB") as store:
        texts, seeds = filled(store, 10)
        used = store.usage().used
        for i in range(times):
            interpreters.run(get_and_leave, store.token, texts[i % 10], seeds[i % 10])
            if i % 20 == 0:
                assert store.usage().leases == 0
                store.check()
        usage = store.usage()
        assert (usage.leases, usage.used, usage.images) == (0, used, 10)
        store.check()


def closed_elsewhere() -> None:
    """A store that is closed here: views in another interpreter read on, everything else ends."""
    with Interpreter() as other:
        store = Store("64MiB")
        texts, seeds = filled(store, 20)
        assert other.call(attach_and_keep, store.token, texts) == 20
        token = store.token
        store.close()
        assert other.call(verify_kept, seeds) == 20
        for function, args in ((attach_and_keep, (token, texts)), (get_and_leave, (token, "", 0))):
            try:
                other.call(function, *args)
            except icehouse.StoreClosed:
                pass
            else:
                raise AssertionError("the store should be closed there")
        try:
            icehouse.get(texts[0])
        except (icehouse.StoreClosed, icehouse.HandleGone):
            pass
        else:
            raise AssertionError("the store is closed")
        del store
        gc.collect()
        assert other.call(verify_kept, seeds) == 20
    gc.collect()


def closed_there() -> None:
    """An attached store's close() is its own; the last Store object closes it, wherever it is."""
    with Store("64MiB") as store:
        texts, seeds = filled(store, 3)
        with Interpreter() as other:
            other.call(attach_and_keep, store.token, texts)
            other.run(f"import icehouse; icehouse.Store.attach({store.token!r}).close()")
            assert other.call(verify_kept, seeds) == 3
        assert not store.closed
        content.verify(store.get(texts[0]), 0)
        assert store.usage().leases == 0


# --- the end of a process -------------------------------------------------------------------------


def leave(how: str) -> None:
    """Ends with everything open. The caller looks at status and stderr."""
    import atexit

    store = Store("64MiB")
    texts, seeds = filled(store, 20)
    views = [store.get(text) for text in texts]
    private = icehouse.freeze({"a": [1, {"b": 2}]})
    kept.extend([store, views, private, private["a"], iter(views[0]), views[0].items()])
    loop: list[Any] = [store, views[1]]
    loop.append(loop)
    buffer = memoryview(icehouse.freeze(bytearray(100_000)))
    vars(sys)["icehouse_kept"] = [store, views, private, buffer]
    if how == "atexit":
        # Registered before and after whatever the package may register.
        atexit.register(content.verify, views[2], seeds[2])
        atexit.register(store.check)
        atexit.register(lambda: content.verify(store.get(texts[3]), seeds[3]))
        atexit.register(lambda: icehouse.freeze(views[4]) == content.make(4))
        atexit.register(lambda: icehouse.thaw(private)["a"].append(1))
    elif how == "closed":
        store.close()
    elif how == "finalizer":
        # Runs when modules are being taken down.
        class Last:
            def __init__(self) -> None:
                self.view, self.verify, self.store = views[5], content.verify, store
                self.get, self.text = store.get, texts[6]

            def __del__(self) -> None:
                self.verify(self.view, 5)
                self.verify(self.get(self.text), 6)
                self.store.check()

        sys.icehouse_last = Last()  # type: ignore[attr-defined]
    elif how == "thread":
        started = threading.Event()

        def read() -> None:
            while True:
                started.set()
                for view, seed in zip(views, seeds, strict=True):
                    content.verify(view, seed)

        threading.Thread(target=read, daemon=True).start()
        started.wait()
    elif how == "interpreter":
        interpreter = Interpreter()
        interpreter.call(attach_and_keep, store.token, texts)
        kept.append(interpreter)
    elif how == "exit":
        sys.exit(0)
