"""Logs: lines that a program reads, lines that a person reads, and never a wait."""

import json
import os
import pty
from collections.abc import Iterator
from typing import Any

import pytest

from icehouse.server import logs
from icehouse.server.logs import Log


class Pipe:
    def __init__(self) -> None:
        self.read, self.write = os.pipe()
        os.set_blocking(self.read, False)

    def lines(self) -> list[str]:
        try:
            return os.read(self.read, 1 << 20).decode().splitlines()
        except BlockingIOError:
            return []

    def documents(self) -> list[Any]:
        return [json.loads(line) for line in self.lines()]


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    made = Pipe()
    yield made
    os.close(made.read)
    os.close(made.write)


def test_json(pipe: Pipe) -> None:
    log = Log("daemon", "auto", "info", pipe.write)
    log.info("refused", "no role", uid=1000, level="not overwritten")
    (line,) = pipe.documents()
    assert line.pop("time").endswith("Z")
    assert line == {
        "level": "info",
        "process": "daemon",
        "event": "refused",
        "message": "no role",
        "uid": 1000,
    }


def test_text_on_a_terminal() -> None:
    master, slave = pty.openpty()
    try:
        Log("daemon", "auto", "info", slave).warning("refused", "no role", uid=7, path="a b")
        text = os.read(master, 1000).decode()
    finally:
        os.close(master)
        os.close(slave)
    assert text.rstrip().endswith('warning daemon no role uid=7 path="a b"')


def test_levels(pipe: Pipe) -> None:
    log = Log("daemon", "json", "warning", pipe.write)
    for name in logs.LEVELS:
        getattr(log, name)(f"at-{name}")
    assert [line["event"] for line in pipe.documents()] == ["at-warning", "at-error"]


@pytest.mark.parametrize("style", ["json", "text"])
def test_what_others_sent_makes_no_lines_and_no_escapes(pipe: Pipe, style: str) -> None:
    log = Log("daemon", style, "info", pipe.write)
    log.info("said", "a\nb\x1b[31m", text="c\r\nd\x1b", odd="\ud800", many="ü" * 9000)
    (line,) = pipe.lines()
    assert "\x1b" not in line
    assert len(line.encode()) < logs.LINE_BYTES_MAX


def test_repeats_are_counted(pipe: Pipe, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(logs.time, "monotonic", lambda: now[0])
    log = Log("daemon", "json", "info", pipe.write)
    for _ in range(logs.REPEATS_MAX + 30):
        log.warning("garbage")
    log.warning("another")
    assert len(pipe.lines()) == logs.REPEATS_MAX + 1
    now[0] += logs.REPEATS_SECONDS
    log.warning("garbage")
    log.warning("garbage")
    assert [line.get("suppressed") for line in pipe.documents()] == [30, None]


def test_many_kinds_of_events_cost_no_memory(pipe: Pipe) -> None:
    log = Log("daemon", "json", "info", pipe.write)
    for number in range(3 * logs.EVENTS_MAX):
        log.info(f"event-{number}")
        pipe.lines()
    assert len(log._recent) <= logs.EVENTS_MAX


@pytest.mark.watchdog(20)
def test_a_reader_that_has_stopped_stops_nobody(pipe: Pipe) -> None:
    log = Log("daemon", "json", "info", pipe.write)
    for number in range(1000):
        log.info(f"event-{number}", "x" * 1000)
    assert log.lost > 0
    lost = log.lost
    seen = pipe.documents()
    assert len(seen) == 1000 - lost
    log.info("after")
    assert pipe.documents()[0]["lost"] == lost


def test_a_closed_stderr_is_no_error() -> None:
    read, write = os.pipe()
    log = Log("daemon", "json", "info", write)
    os.close(read)
    log.info("event")
    os.close(write)
    log.info("event")
    assert log.lost == 2
