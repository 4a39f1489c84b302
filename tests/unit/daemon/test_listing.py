"""Lists of a daemon's images, which come in steps."""

import os
import signal
import subprocess
import sys
from typing import Any

import icehouse

COUNT = 4000
PRODUCE = """
import sys
import icehouse
with icehouse.connect(sys.argv[1]) as store:
    print(*[store.put([i]) for i in range(int(sys.argv[2]))], flush=True)
    sys.stdin.read()
"""


def test_a_list_goes_on_behind_images_that_it_does_not_show(daemon: Any) -> None:
    """A stopped producer gives nothing back: what was deleted stands there, and is not shown."""
    command = [sys.executable, "-c", PRODUCE, daemon.socket, str(COUNT)]
    with (
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as producer,
        icehouse.connect(daemon.socket) as store,
    ):
        assert producer.stdout is not None
        handles = [
            icehouse.Handle.from_text(text) for text in producer.stdout.readline().decode().split()
        ]
        assert len(handles) == COUNT
        os.kill(producer.pid, signal.SIGSTOP)
        try:
            kept = [handles[COUNT // 2], handles[-1]]
            for handle in handles:
                if handle not in kept:
                    store.delete(handle)
            assert [stat.handle for stat in store.ls()] == kept
        finally:
            os.kill(producer.pid, signal.SIGCONT)
            producer.communicate()
