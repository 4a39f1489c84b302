"""connect(): which socket, and what is said when nobody answers."""

import os
import pickle
import socket
import threading
from pathlib import Path

import pytest

import icehouse
from icehouse.client import connect as module


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ICEHOUSE_SOCKET", raising=False)
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)


def test_the_default_socket(monkeypatch: pytest.MonkeyPatch) -> None:
    assert module.default_socket() == f"/tmp/icehouse-{os.getuid()}/socket"
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/run/user/1")
    assert module.default_socket() == "/run/user/1/icehouse/socket"
    monkeypatch.setenv("ICEHOUSE_SOCKET", "/a/b")
    assert module.default_socket() == "/a/b"


def refused(path: Path) -> icehouse.StoreUnavailable:
    with pytest.raises(icehouse.StoreUnavailable) as caught:
        icehouse.connect(path)
    assert isinstance(caught.value, ConnectionError)
    assert caught.value.socket == str(path)
    assert str(path) in str(caught.value)
    assert "icehouse serve" in str(caught.value)
    return caught.value


def test_nobody_there(tmp_path: Path) -> None:
    refused(tmp_path / "nothing")
    (tmp_path / "file").write_text("")
    refused(tmp_path / "file")
    stale = socket.socket(socket.AF_UNIX)
    stale.bind(str(tmp_path / "s"))
    stale.close()
    refused(tmp_path / "s")


def test_a_daemon_that_ends_before_it_serves(tmp_path: Path) -> None:
    """Its keeper listened; what to look at is its log, not whether somebody has started it."""
    path = tmp_path / "s"

    def go() -> None:
        line, _ = listener.accept()
        listener.close()
        path.unlink()
        line.close()

    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        thread = threading.Thread(target=go)
        thread.start()
        with pytest.raises(icehouse.StoreUnavailable, match="ended there before") as caught:
            icehouse.connect(path)
        thread.join()
    assert caught.value.socket == str(path)


def test_a_socket_of_others(tmp_path: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may connect anywhere")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "socket"))
        listener.listen()
        (tmp_path / "socket").chmod(0)
        with pytest.raises(icehouse.StoreUnavailable, match="may not connect there"):
            icehouse.connect(tmp_path / "socket")


def test_a_path_in_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ICEHOUSE_SOCKET", str(tmp_path / "mine"))
    with pytest.raises(icehouse.StoreUnavailable, match="mine"):
        icehouse.connect()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(icehouse.StoreUnavailable) as caught:
        icehouse.connect("here")
    assert caught.value.socket == str(tmp_path / "here")


def test_a_path_that_no_socket_can_have(tmp_path: Path) -> None:
    with pytest.raises((icehouse.StoreUnavailable, ValueError), match="x" * 50):
        icehouse.connect(tmp_path / ("x" * 200))
    with pytest.raises(ValueError, match="null"):
        icehouse.connect("/a\0b")
    with pytest.raises(TypeError):
        icehouse.connect(5)  # type: ignore[arg-type]


def test_a_folder_that_others_can_write(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    folder = tmp_path / "shared"
    folder.mkdir(mode=0o777)
    folder.chmod(0o777)
    with pytest.raises(icehouse.StoreUnavailable, match="only this user can write"):
        module._check_owner(str(folder / "socket"))
    link = tmp_path / "link"
    link.symlink_to(tmp_path)
    with pytest.raises(icehouse.StoreUnavailable, match="only this user can write"):
        module._check_owner(str(link / "socket"))
    folder.chmod(0o700)
    module._check_owner(str(folder / "socket"))
    module._check_owner(str(tmp_path / "none" / "socket"))


def test_an_embedded_store_has_no_daemon() -> None:
    with icehouse.Store("1MiB") as store:
        assert store.remote is None
        handle = store.put([1])
        for call in (
            lambda: store.pin(handle),
            lambda: store.unpin(handle),
            lambda: store.expire(handle, 5),
            lambda: store.put([1], ttl=5),
            lambda: store.put([1], pin=True),
            lambda: store.put([1], evictable=True),
        ):
            with pytest.raises(icehouse.StoreUnavailable, match=r"icehouse\.connect\(\)") as caught:
                call()
            assert caught.value.socket is None
        with pytest.raises(TypeError, match="connect"):
            pickle.dumps(store)


def test_reasons_and_figures() -> None:
    assert icehouse.HandleGone.reason == "unknown"
    assert issubclass(icehouse.NotPermitted, PermissionError)
    with icehouse.Store("1MiB") as store:
        with pytest.raises(icehouse.HandleGone) as gone:
            store.get(icehouse.Handle(bytes(16)))
        assert gone.value.reason == "unknown"
        with pytest.raises(icehouse.StoreFull) as full:
            store.put(bytes(1 << 21))
        assert (full.value.waiting, full.value.waiting_pid) == (0, None)


def test_patience_is_a_threads() -> None:
    from icehouse.native._image import _patience

    assert _patience(False) is True  # noqa: FBT003
    try:
        with icehouse.Store("1MiB") as store:
            # Nothing of an embedded store waits for anybody.
            assert store.get(store.put([1], name="a")) == [1]
            store.delete("a")
    finally:
        assert _patience(True) is False  # noqa: FBT003
