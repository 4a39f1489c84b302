"""Deleting by a name is one step of the daemon: nobody sees the image without it, or half done."""

import pytest
from daemons import Daemon

import icehouse
from icehouse.client.control import Control
from icehouse.store.wire import messages


def test_a_name_goes_with_its_image_or_stays_as_it_was(
    daemon: Daemon, store: icehouse.Store
) -> None:
    with Control(daemon.socket) as control:
        handle = store.put([1], name="only")
        store.delete("only")
        told = control.ask(messages.AskHistory(name="only"), messages.History)
        assert [(item.version, bool(item.handle)) for item in told.items] == [(1, True), (2, False)]
        assert store.get("only", None) is None
        handle = store.put([2], name="one")
        store.bind("other", handle)
        with pytest.raises(icehouse.Conflict):
            store.delete("one")
        # It was not unbound and bound again meanwhile: its version is the first.
        assert store.lookup("one") == (handle, 1)
        assert len(control.ask(messages.AskHistory(name="one"), messages.History).items) == 1
        store.bind("other", None)
        store.delete("one")
        with pytest.raises(icehouse.UnknownName):
            store.delete("one")
        forced = store.put([3], name="a")
        store.bind("b", forced)
        store.delete("a", force=True)
        assert store.get("b", None) is None


def test_an_embedded_store_does_the_same() -> None:
    with icehouse.Store(capacity=2**22) as store:
        handle = store.put([1], name="one")
        store.bind("other", handle)
        with pytest.raises(icehouse.Conflict):
            store.delete("one")
        assert store.lookup("one") == (handle, 1)
        store.bind("other", None)
        store.delete("one")
        with pytest.raises(icehouse.UnknownName):
            store.delete("one")
        store.delete(store.put([2]))
    with pytest.raises(icehouse.StoreClosed):
        store.delete("one")


def test_the_control_family_by_name(daemon: Daemon, store: icehouse.Store) -> None:
    handle = store.put([1], name="name")
    with Control(daemon.socket) as control:
        with pytest.raises(ValueError, match="not both"):
            control.ask(messages.Delete(name="name", handle=bytes(handle)), messages.Deleted)
        deleted = control.ask(messages.Delete(name="name"), messages.Deleted)
        assert deleted.handle == bytes(handle)
        with pytest.raises(icehouse.UnknownName):
            control.ask(messages.Delete(name="name"), messages.Deleted)
