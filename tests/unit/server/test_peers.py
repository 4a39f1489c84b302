"""Whose socket is at the other end of a connection."""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

pytest.importorskip("fastapi", reason="icehouse[service] is not installed")

from icehouse.server.admin import peers


@contextmanager
def connected(
    host: str, family: int, to: str | None = None
) -> Iterator[tuple[socket.socket, socket.socket]]:
    listening = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(listening) as listener, socket.socket(family) as client:
        try:
            listener.bind((host, 0))
        except OSError as error:
            pytest.skip(f"no {host} here: {error}")
        listener.listen()
        client.connect((to or host, listener.getsockname()[1]))
        server, _ = listener.accept()
        with server:
            yield client, server


@pytest.mark.parametrize(
    ("host", "family", "to"),
    [
        ("127.0.0.1", socket.AF_INET, None),
        ("::1", socket.AF_INET6, None),
        ("127.0.0.1", socket.AF_INET6, "::ffff:127.0.0.1"),
    ],
)
def test_ones_own_connection_is_known(host: str, family: int, to: str | None) -> None:
    with connected(host, family, to) as (client, server):
        near, far = server.getpeername()[:2], server.getsockname()[:2]
        assert peers.uid_of(near, far) == os.getuid()
        # The other way round it is the server's own socket; another port is nobody's.
        assert peers.uid_of((near[0], 1), far) is None
        client.close()
        assert peers.uid_of(near, far) is None


def test_tables_that_cannot_be_read(monkeypatch: pytest.MonkeyPatch) -> None:
    from pathlib import Path

    monkeypatch.setattr(peers, "TABLES", Path("/nonexistent"))
    assert peers.uid_of(("127.0.0.1", 1), ("127.0.0.1", 2)) is None


def test_users_without_a_name_have_no_groups() -> None:
    assert peers.groups_of(3_999_999_999) == []
    assert 0 in peers.groups_of(0)
