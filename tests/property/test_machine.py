"""The daemon's store against a dict: random histories in which clients and the daemon die."""

import gc
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import hypothesis
import hypothesis.stateful as stateful
import hypothesis.strategies as st
import pytest

import icehouse

NAMES = st.sampled_from(["a", "b", "c/1", "é"])
LEAVES = st.none() | st.booleans() | st.integers() | st.text(max_size=20) | st.binary(max_size=20)
VALUES = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=5)
        | st.dictionaries(st.text(max_size=5), inner, max_size=5)
        | st.tuples(inner, inner)
    ),
    max_leaves=20,
)

# Puts a value in another process, which is killed right after it has told the handle.
PUTTER = """
import json, os, signal, sys
import icehouse
store = icehouse.connect(sys.argv[1])
value = {"from": "a client that died", "number": int(sys.argv[2])}
handle = store.put(value, name=sys.argv[3] or None)
held = store.get(handle)
print(handle, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


class Machine(stateful.RuleBasedStateMachine):
    """`values` are what must read back; `names` what must be bound; `views` are kept open."""

    daemon: Any = None

    def __init__(self) -> None:
        super().__init__()
        self.store = icehouse.connect(self.daemon.socket)
        self.values: dict[icehouse.Handle, Any] = {}
        self.names: dict[str, icehouse.Handle] = {}
        self.views: list[tuple[Any, Any]] = []
        self.gone: list[icehouse.Handle] = []

    def some(self, data: st.DataObject) -> icehouse.Handle:
        """One of the handles that live."""
        handles = list(self.values)
        return handles[data.draw(st.integers(0, 999)) % len(handles)]

    @stateful.rule(value=VALUES)
    def put(self, value: Any) -> None:
        self.values[self.store.put(value)] = value

    @stateful.rule(value=VALUES, name=NAMES)
    def put_named(self, value: Any, name: str) -> None:
        handle = self.store.put(value, name=name)
        self.values[handle] = value
        self.names[name] = handle

    @stateful.rule(value=VALUES)
    def put_sealed(self, value: Any) -> None:
        handle = self.store.put(value, seal=True)
        assert self.store.stat(handle).sealed
        self.values[handle] = value

    @stateful.precondition(lambda self: self.values)
    @stateful.rule(data=st.data())
    def put_what_refers(self, data: st.DataObject) -> None:
        handle = self.some(data)
        view = self.store.get(handle)
        value = self.values[handle]
        self.values[self.store.put([view, view])] = [value, value]

    @stateful.precondition(lambda self: self.values)
    @stateful.rule(data=st.data())
    def hold(self, data: st.DataObject) -> None:
        handle = self.some(data)
        self.views.append((self.store.get(handle), self.values[handle]))

    @stateful.precondition(lambda self: self.views)
    @stateful.rule()
    def let_go(self) -> None:
        self.views.pop(0)

    @stateful.precondition(lambda self: self.values)
    @stateful.rule(data=st.data(), force=st.booleans())
    def delete(self, data: st.DataObject, force: bool) -> None:
        handle = self.some(data)
        named = handle in self.names.values()
        if named and not force:
            with pytest.raises(icehouse.Conflict):
                self.store.delete(handle)
            return
        self.store.delete(handle, force=force)
        del self.values[handle]
        self.names = {name: bound for name, bound in self.names.items() if bound != handle}
        self.gone.append(handle)

    @stateful.precondition(lambda self: self.values)
    @stateful.rule(data=st.data(), name=NAMES)
    def bind(self, data: st.DataObject, name: str) -> None:
        handle = self.some(data)
        before = self.store.version(name)
        assert self.store.bind(name, handle, expected=before) > before
        with pytest.raises(icehouse.Conflict):
            self.store.bind(name, handle, expected=before)
        self.names[name] = handle

    @stateful.rule(name=NAMES)
    def unbind(self, name: str) -> None:
        self.store.bind(name, None)
        self.names.pop(name, None)

    @stateful.rule()
    def fill(self) -> None:
        """Until it is full; then what was added goes again."""
        handles: list[icehouse.Handle] = []

        def put_until_full() -> None:
            while len(handles) < 1000:
                handles.append(self.store.put(b"f" * 1_500_000))

        with pytest.raises(icehouse.StoreFull):
            put_until_full()
        for handle in handles:
            self.store.delete(handle)
        # Else what is freed stays with us, who may put again, until we ask for memory (H7).
        self.store.trim()

    @stateful.rule()
    def kill_the_daemon(self) -> None:
        self.daemon.kill()

    @stateful.rule(number=st.integers(0, 2**60), name=NAMES | st.just(""))
    def client_that_dies(self, number: int, name: str) -> None:
        command = [sys.executable, "-c", PUTTER, str(self.daemon.socket), str(number), name]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == -9, done.stderr
        handle = icehouse.Handle.from_text(done.stdout.strip())
        self.values[handle] = {"from": "a client that died", "number": number}
        if name:
            self.names[name] = handle

    @stateful.rule()
    def fork(self) -> None:
        """A child reads all, puts, and deletes what it put."""
        child = os.fork()
        if child == 0:
            status = 1
            try:
                self.reads_as_the_model()
                handle = self.store.put(json.dumps(len(self.values)))
                assert self.store.get(handle) == str(len(self.values))
                self.store.delete(handle)
                status = 0
            finally:
                os._exit(status)
        assert os.waitpid(child, 0)[1] == 0

    @stateful.invariant()
    def reads_as_the_model(self) -> None:
        for handle, value in self.values.items():
            assert self.store.get(handle) == value
        for view, value in self.views:
            assert view == value
        assert self.store.names() == self.names
        for handle in self.gone[-3:]:
            assert self.store.get(handle, None) is None

    def teardown(self) -> None:
        self.views.clear()
        gc.collect()
        self.store.check()
        for name in list(self.names):
            self.store.bind(name, None)
        for handle in self.values:
            self.store.delete(handle)
        self.store.trim()
        assert self.store.ls() == []
        self.store.close()


@pytest.mark.slow
@pytest.mark.watchdog(600)
def test_store_against_a_dict(daemon: Any, soak_factor: int, tmp_path: Path) -> None:
    machine = type("Bound", (Machine,), {"daemon": daemon})
    examples = 15 * soak_factor
    stateful.run_state_machine_as_test(
        machine,
        settings=hypothesis.settings(
            max_examples=examples,
            stateful_step_count=25,
            deadline=None,
            suppress_health_check=list(hypothesis.HealthCheck),
        ),
    )
