"""What the dashboard's pages are made of, without a browser: words, drawings, alerts, samples."""

import asyncio
import importlib.util
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import pytest

from icehouse.store.wire import messages

for needed in ("fastapi", "jinja2", "uvicorn", "prometheus_client"):
    if importlib.util.find_spec(needed) is None:
        pytest.skip(f"{needed} is not installed: icehouse[service]", allow_module_level=True)
else:
    from icehouse.server.admin import samples, schemas
    from icehouse.server.admin.feed import Event
    from icehouse.server.admin.link import AwayError, Link
    from icehouse.server.admin.pages import (
        alerts,
        assets,
        charts,
        filtering,
        happenings,
        memory,
        rendering,
        routes,
        wording,
    )


MIB = 2**20
N = "\N{NARROW NO-BREAK SPACE}"


@pytest.mark.parametrize(
    ("amount", "text"),
    [
        (0, f"0{N}B"),
        (1023, f"1023{N}B"),
        (1024, f"1{N}KiB"),
        (1536, f"1.5{N}KiB"),
        (1023 * 1024 + 1000, f"1{N}MiB"),
        (150 * MIB, f"150{N}MiB"),
        (2**70, f"1,048,576{N}PiB".replace(",", "")),
    ],
)
def test_sizes(amount: float, text: str) -> None:
    assert wording.size(amount) == text


def test_shares_are_never_rounded_to_all_or_nothing() -> None:
    assert wording.share(0) == f"0{N}%"
    assert wording.share(0.0004) == f"<{N}0.1{N}%"
    assert wording.share(0.034) == f"3.4{N}%"
    assert wording.share(0.5) == f"50{N}%"
    assert wording.share(0.9999) == f">{N}99.9{N}%"
    assert wording.share(1) == f"100{N}%"


def test_times() -> None:
    assert wording.seconds(0.000_25) == f"250{N}µs"
    assert wording.seconds(0.0042) == f"4.2{N}ms"
    assert wording.lasting(89) == f"89{N}s"
    assert wording.lasting(7200 + 180) == f"2{N}h 3{N}min"
    assert wording.lasting(90_000) == f"1{N}d 1{N}h"
    now = datetime.now(UTC)
    assert wording.age(now - timedelta(minutes=5)) == f"5{N}min"
    assert wording.age(now + timedelta(minutes=5)) == f"0{N}s"
    assert wording.age(None) == wording.until(None) == wording.moment(None) == ""


def test_h20_texts_of_others_are_seen_whole() -> None:
    assert wording.visible("plain ünïcode שלום") == "plain ünïcode שלום"
    assert wording.visible("a\u202eb\x00\n\U000e0001") == "a\\u202eb\\x00\\n\\U000e0001"
    assert wording.cut("x" * 81) == "x" * 79 + "…"
    shown = rendering.ENVIRONMENT.from_string("{{ a | cut }}<p title='{{ a | visible }}'>")
    assert "<b>" not in shown.render(a="<b>'\"")


# --- drawings ---


def test_a_bar_shows_what_is_small_and_ends_where_it_should() -> None:
    parts = charts.bar([("live", 1), ("deleted", 999_998), ("free", 1), ("none", 0)], 1_000_000)
    assert [part.kind for part in parts] == ["live", "deleted", "free"]
    assert all(part.width >= charts.PART_MIN for part in parts)
    assert parts[-1].x + parts[-1].width == pytest.approx(charts.BAR_WIDTH)
    assert charts.bar([("live", 1)], 0) == []


def test_a_line_has_gaps_and_stays_within_its_frame() -> None:
    points: list[samples.Point] = [
        (0, 5.0),
        (10, None),
        (50, 1.0),
        (54, 4.0),
        (58, None),
        (60, 2.0),
    ]
    drawn = charts.line(points, 60, 60)
    assert len(drawn.runs) == len(drawn.areas) == 1
    assert len(drawn.dots) == 2
    for pair in drawn.runs[0].split():
        x, y = map(float, pair.split(","))
        assert 0 <= x <= charts.LINE_WIDTH
        assert 0 <= y <= charts.LINE_HEIGHT
    assert drawn.top == 5.0
    assert charts.line([], 0, 60).runs == []
    assert charts.line([(1, 0.0), (2, 0.0)], 2, 60).top == 0.0
    assert [charts.window(seconds) for seconds in (0, 61, 599, 5000)] == [60, 120, 600, 600]


def block(offset: int, size: int, state: str, **more: Any) -> schemas.Block:
    known = {"objects": 1, "live_bytes": 0, "dying_bytes": 0, "handle": None, "size": None}
    return schemas.Block(offset=offset, bytes=size, state=state, **{**known, **more})


def test_a_map_covers_its_segment_row_by_row() -> None:
    size = 64 * 1024
    blocks = [
        block(0, 10_000, "live"),
        block(10_000, 20_000, "mixed", live_bytes=10_000, dying_bytes=5_000),
        block(30_000, size - 30_000, "free"),
    ]
    drawn = memory.draw(blocks, size)
    rows = memory.rows_of(size)
    area = sum(box.width * box.height for box in drawn.boxes)
    assert area == pytest.approx(rows * memory.MAP_WIDTH * memory.ROW_HEIGHT, rel=0.01)
    for box in drawn.boxes:
        assert box.x >= 0
        assert box.x + box.width <= drawn.width + 0.5
        assert box.y + box.height <= drawn.height + 0.5
    live = sum(box.width * box.height for box in drawn.boxes if box.kind == "live")
    assert live / area == pytest.approx(20_000 / size, rel=0.02)


def test_a_map_of_many_small_blocks_is_bounded() -> None:
    drawn = memory.draw([block(64 * n, 64, "live") for n in range(16_384)], MIB)
    assert len(drawn.boxes) <= 16 * memory.MAP_WIDTH / memory.APART * 2
    assert memory.rows_of(1) == 1
    assert memory.broken(0, 0) == 0
    assert memory.broken(100, 25) == 0.75


# --- alerts ---


def told(**known: Any) -> messages.Metrics:
    gauges = {"capacity_bytes": 100.0 * MIB, "used_bytes": 10.0 * MIB, **known.pop("gauges", {})}
    return messages.Metrics(started=1.0, gauges=gauges, **known)


def quiet() -> samples.Samples:
    return samples.Samples(cast("Link", None), lambda: 100.0)


def titles(measured: messages.Metrics, seen: samples.Samples | None = None) -> list[str]:
    return [f"{alert.level}: {alert.title}" for alert in alerts.alerts(measured, seen or quiet())]


def test_a_store_that_is_well_has_no_alerts() -> None:
    assert titles(told()) == []
    assert titles(messages.Metrics()) == []


def test_alerts_say_what_is_wrong_the_worst_first() -> None:
    found = titles(
        told(
            gauges={"used_bytes": 91.0 * MIB, "descriptors": 95, "descriptors_limit": 100},
            labelled={"object_bytes": {"deleted": 20.0 * MIB}},
            counters={"corruptions": {"": 2}, "spill_failures": {"write": 1}, "errors": {"": 1}},
        )
    )
    assert [title.partition(":")[0] for title in found] == ["bad", "bad", "warn", "warn", "warn"]
    assert f"warn: The store is 91{N}% full" in found
    assert "bad: Damage was found in shared memory 2 times" in found
    assert titles(told(gauges={"used_bytes": 96.0 * MIB})) == [f"bad: The store is 96{N}% full"]
    held = titles(told(labelled={"object_bytes": {"deleted": 20.0 * MIB}}))
    assert held == [f"note: 20{N}MiB is deleted, and held"]
    pieces = {"used_bytes": 60.0 * MIB, "free_bytes": 30.0 * MIB, "largest_free_bytes": 1.0 * MIB}
    assert titles(told(gauges=pieces)) == ["note: Free memory is in small pieces"]


def test_alerts_of_what_happened_lately() -> None:
    seen = quiet()
    for at, fulls, dead in ((90.0, 0.0, 1.0), (95.0, 3.0, 2.0)):
        counters = dict.fromkeys(samples.COUNTED, 0.0) | {"fulls": fulls, "dead": dead}
        seen.ring.append(samples.Sample(at, 1.0, 0.001, {}, counters))
    assert titles(told(), seen) == [
        "bad: 3 puts found no room",
        "warn: 1 process ended without saying goodbye",
    ]


# --- samples ---


class Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class FakeLink:
    """A daemon of whom only numbers are known."""

    def __init__(self) -> None:
        self.puts = 0
        self.started = 1.0
        self.is_away = False

    async def ask(self, request: object, answer: object) -> object:
        if self.is_away:
            raise AwayError("away")
        if isinstance(request, messages.Ping):
            return messages.Done()
        counters = {"puts": {"ok": self.puts, "full": 0}, "gets": {"ok": 3 * self.puts, "gone": 0}}
        return messages.Metrics(started=self.started, gauges={"used_bytes": 5}, counters=counters)


def sampled() -> tuple[samples.Samples, FakeLink, Clock]:
    link, clock = FakeLink(), Clock()
    return samples.Samples(cast("Link", link), clock), link, clock


async def run_once(taken: samples.Samples) -> None:
    await taken.take()


def test_rates_are_those_of_the_counters() -> None:
    taken, link, clock = sampled()

    async def run() -> None:
        for _ in range(1200):
            clock.now += 1
            link.puts += 50
            await taken.take()

    asyncio.run(run())
    assert len(taken.ring) == samples.KEPT
    rates = [value for _, value in taken.rates("puts")]
    assert rates == pytest.approx([50.0] * len(rates))
    assert len(rates) >= samples.KEPT / samples.SPAN_SECONDS - 2
    shares = [value for _, value in taken.shares("gets", "gets", "gone")]
    assert shares == pytest.approx([1.0] * len(shares))
    assert taken.grown("puts") == 50 * (samples.KEPT - 1)
    assert samples.recent(taken.rates("puts"), clock.now, 8) == pytest.approx([50.0] * 2)
    # A counter that jumps just now, since it is told once a second, is no burst.
    clock.now += 0.5
    link.puts += 50
    asyncio.run(run_once(taken))
    assert max(value for _, value in taken.rates("puts") if value is not None) < 70


def test_another_daemon_begins_anew_and_a_pause_is_a_gap() -> None:
    taken, link, clock = sampled()

    async def run() -> None:
        for second in range(100):
            clock.now += 1
            link.puts += 10
            if second == 40:
                link.started, link.puts = 2.0, 0
            if second == 70:
                clock.now += 60
            await taken.take()

    asyncio.run(run())
    rates = [value for _, value in taken.rates("puts")]
    assert rates.count(None) == 2
    assert all(value == pytest.approx(10.0) for value in rates if value is not None)
    values = taken.values(lambda sample: sample.gauges["used_bytes"])
    assert [value for _, value in values].count(None) == 1


def test_sampling_sleeps_when_nobody_looks_and_survives_a_daemon_that_is_away() -> None:
    taken, link, clock = sampled()
    link.is_away = True

    async def run() -> None:
        taken.wanted()
        taken.wanted()
        assert taken.is_awake
        await asyncio.sleep(0)
        clock.now += samples.AWAKE_SECONDS
        while taken.is_awake:
            await asyncio.sleep(0.01)

    asyncio.run(run())
    assert list(taken.ring) == []
    assert taken.seconds() == 0.0


# --- filters ---


def test_forms_are_read_and_what_is_wrong_is_told() -> None:
    form = filtering.read({"q": " name ", "min_size": "1.5KiB", "max_age": "2h", "sort": "-size"})
    assert form.errors == {}
    filters = form.filters
    assert (filters.q, filters.min_size, filters.max_age, filters.sort) == (
        *("name", 1536, 7200.0, "-size"),
    )
    assert form.is_used
    assert form.is_opened
    empty = filtering.read({"state": "<b>", "sort": "x", "type": "no such"})
    assert not empty.is_used
    assert empty.filters == filtering.Filters()
    wrong = filtering.read({"pid": "-1", "min_size": "9" * 18 + "TiB", "min_age": "soon"})
    assert set(wrong.errors) == {"pid", "min_size", "min_age"}


# --- events ---


def event(number: int, kind: str, **known: Any) -> Event:
    return Event(number, kind, json.dumps({"at": "2026-11-27T14:00:00.5+00:00", **known}))


def test_events_are_sentences() -> None:
    handle = "ih1_" + "0" * 26
    told = [
        (event(1, "put", count=3, bytes=4096), f"3 objects of 4{N}KiB were put"),
        (event(2, "delete", handle=handle, why="expired"), "An object was deleted (expired)"),
        (event(3, "bind", name="a", handle=handle, pid=7), "was bound by pid 7 to"),
        (event(4, "bind", name="a", pid=7), "was unbound by pid 7"),
        (event(5, "full", pid=7, bytes=1024), f"Pid 7 found no room for 1{N}KiB"),
        (event(6, "client_died", pid=7), "Pid 7 ended without a goodbye"),
        (event(7, "client_joined", count=40), "40 processes connected"),
        (event(8, "gap", lost=5), "5 events were missed here"),
        (event(9, "away", why="\u202ebad"), "The daemon does not answer: \\u202ebad"),
        (event(10, "back"), "The daemon answers again"),
        (event(11, "evict", handle=handle, why="evicted"), "An object was evicted to make room"),
        (event(12, "spill", count=2), "2 objects were moved to disk"),
    ]
    ring = [happened for happened, _ in told]
    lines = happenings.shown([*ring, event(99, "status")], "")
    assert [line.text for line in reversed(lines)] == [text for _, text in told]
    assert [line.number for line in happenings.shown(ring, "names")] == [4, 3]
    assert {line.kind for line in happenings.shown(ring, "trouble")} == {
        *("full", "client_died", "gap", "away", "back"),
    }


def test_a_flood_is_one_line_a_second() -> None:
    ring = [event(n, "delete", handle=f"ih1_{n:026}") for n in range(30)]
    ring += [event(30, "delete", count=70), event(31, "bind", name="b")]
    ring += [event(40 + n, "delete", at=f"2026-11-27T14:00:0{n}+00:00") for n in range(1, 4)]
    lines = happenings.shown(ring, "")
    assert [line.kind for line in lines] == ["delete"] * 3 + ["bind", "delete"]
    assert lines[-1].text == "100 objects were deleted"
    assert lines[-1].handle == ""
    many = [event(n, "bind", name=str(n)) for n in range(1000)]
    assert len(happenings.shown(many, "")) == happenings.SHOWN_MAX


# --- routes ---


def test_every_page_is_in_the_documentation() -> None:
    text = (Path(__file__).parents[3] / "docs" / "admin.md").read_text()
    pages = text.partition("## Pages")[2].partition("\n## ")[0]
    served = {
        getattr(route, "path", "") for route in (*routes.router.routes, *assets.router.routes)
    }
    assert len(served) > 10
    assert {path for path in served if f"`{path}`" not in pages} == set()
