"""The API under schemathesis: whatever is sent that the description allows, or does not, no 5xx.

The long form, of five minutes, runs with ICEHOUSE_SOAK.
"""

import importlib.util
import os
import time
from collections.abc import Iterator
from typing import Any

import pytest
from admin_client import port_of
from daemons import Daemon

import icehouse
from icehouse.server.tokens import make

for needed in ("fastapi", "uvicorn", "prometheus_client"):
    if importlib.util.find_spec(needed) is None:
        pytest.skip(f"{needed} is not installed: icehouse[service]", allow_module_level=True)
schemathesis = pytest.importorskip("schemathesis", reason="schemathesis is not installed")

SOAKING = os.environ.get("ICEHOUSE_SOAK", "") not in ("", "0")
SECONDS = 300.0 if SOAKING else 15.0
EXAMPLES = 200 if SOAKING else 12

pytestmark = [pytest.mark.slow, pytest.mark.watchdog(600)]


class World:
    """A daemon with something in it, and the token that is sent along."""

    def __init__(self, daemon: Daemon, token: str) -> None:
        self.daemon = daemon
        self.token = token
        self.base = f"http://127.0.0.1:{port_of(daemon)}"
        self.store = icehouse.connect(daemon.socket)
        for number in range(200):
            self.store.put({"number": number, "text": "x" * number}, name=f"folder/{number}")
        self.handle = str(self.store.put([1, "two", {"three": 3.0}], name="kept", pin=True))
        self.view = self.store.get(self.handle)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("d")
    token, line = make("fuzz", "admin")
    (folder / "tokens").write_text(line)
    (folder / "tokens").chmod(0o600)
    settings = {"http": "127.0.0.1:0", "capacity": "64MiB", "admin_tokens": folder / "tokens"}
    with Daemon(folder / "s", **settings) as daemon:
        made = World(daemon, token)
        yield made
        made.store.check()
        del made.view
        made.store.close()


def calls(world: World, operation: Any) -> Iterator[Any]:
    """Cases for one operation, valid ones and others, with real handles among them."""
    import hypothesis

    found: list[Any] = []
    modes = [schemathesis.GenerationMode.POSITIVE, schemathesis.GenerationMode.NEGATIVE]
    for mode in modes:

        @hypothesis.settings(
            max_examples=EXAMPLES,
            database=None,
            deadline=None,
            suppress_health_check=list(hypothesis.HealthCheck),
            phases=[hypothesis.Phase.generate],
        )
        @hypothesis.seed(len(found))
        @hypothesis.given(case=operation.as_strategy(generation_mode=mode))
        def collect(case: Any) -> None:
            found.append(case)

        try:
            collect()
        except Exception as error:
            # An operation without parameters has no wrong ones.
            if "negat" not in str(error).lower() and type(error).__name__ != "Unsatisfiable":
                raise
    for at, case in enumerate(found):
        # Every other one is about an image that is there.
        if case.path_parameters and "handle" in case.path_parameters and at % 2:
            case.path_parameters["handle"] = world.handle
        yield case


def test_nothing_that_is_sent_fails(world: World) -> None:
    """Each operation of the description gets its share of the time."""
    schema = schemathesis.openapi.from_url(f"{world.base}/openapi.json")
    operations = [found.ok() for found in schema.get_all_operations()]
    operations = [found for found in operations if not found.path.endswith("/events")]
    assert len(operations) >= 18
    until = time.monotonic() + SECONDS
    sent = 0
    answers: set[int] = set()
    while time.monotonic() < until or not sent:
        for operation in operations:
            for case in calls(world, operation):
                headers = {"Authorization": f"Bearer {world.token}"} if sent % 4 else {}
                try:
                    response = case.call(base_url=world.base, headers=headers, timeout=60)
                except (ValueError, UnicodeError):
                    # What no HTTP client sends.
                    continue
                sent += 1
                answers.add(response.status_code)
                told = f"{case.as_curl_command()}: {response.status_code} {response.text[:500]}"
                assert response.status_code < 500, told
                if response.status_code >= 400 and case.method.upper() != "HEAD":
                    assert response.headers["content-type"] == ["application/problem+json"], told
                (policy,) = response.headers["content-security-policy"]
                assert policy.startswith("default-src 'none'"), told
            if time.monotonic() > until and sent > 300:
                break
    assert sent >= 300
    assert {200, 400, 401, 404} <= answers
    assert "internal_error" not in world.daemon.log()
    assert "Traceback" not in world.daemon.log()
