"""Has every test of this folder find its helpers, and a client of the admin process."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture
def admin(daemon: Any) -> Iterator[Any]:
    """A client of the daemon's admin process, which `@pytest.mark.daemon(http=...)` asks for."""
    from admin_client import Admin

    client = Admin(daemon)
    yield client
    client.close()
