"""Names boards that are replaced by larger ones under clients that read them (H11)."""

import subprocess
import sys
from typing import Any

import pytest

import icehouse

BIND = """
import sys
import icehouse
with icehouse.connect(sys.argv[1]) as store:
    handles = [store.put([i]) for i in range(10)]
    for i in range(int(sys.argv[2])):
        store.bind(f"name/{i:06}", handles[i % 10])
"""


@pytest.mark.slow
@pytest.mark.parametrize("count", [20_000, 100_000])
def test_h11_clients_follow_from_board_to_board(daemon: Any, count: int) -> None:
    with icehouse.connect(daemon.socket) as store:
        first = store.put(["first"], name="first")
        bind = [sys.executable, "-c", BIND, daemon.socket, str(count)]
        with subprocess.Popen(bind) as process:
            # The board that this one reads is retired again and again.
            while process.poll() is None:
                assert store.get("first") == ["first"]
        assert process.returncode == 0
        for i in (0, 1, 1023, 1024, count // 2, count - 1):
            assert store.get(f"name/{i:06}") == [i % 10]
        names = store.names("name/")
        assert len(names) == count
        assert len(set(names.values())) == 10
        daemon.wait_for_another(daemon.kill())
        assert store.get(f"name/{count - 1:06}") == [(count - 1) % 10]
        assert len(store.names()) == count + 1
        assert store.get(first) == ["first"]
        store.bind("first", None)
        store.check()


@pytest.mark.daemon(capacity="64MiB")
def test_h08_large_images_use_the_same_memory_again(daemon: Any) -> None:
    """Warm segments: a producer that puts and deletes takes no more memory than one image."""
    with icehouse.connect(daemon.socket) as store:
        for i in range(50):
            handle = store.put([i, bytes([i]) * 10_000_000])
            view = store.get(handle)
            assert view[0] == i
            assert view[1] == bytes([i]) * 10_000_000
            del view
            store.delete(handle)
            assert store.usage().committed < 45_000_000
        assert store.usage().warm > 0
        store.trim()
        assert store.usage().committed == 0
