"""Rates of clients, and answers that are kept: small parts, with a clock of the test's own."""

import asyncio
import time
from typing import Any

import pytest

pytest.importorskip("msgspec")

from icehouse.server.admin import link
from icehouse.server.admin.kept import Kept
from icehouse.server.admin.pace import BURST_SECONDS, DEBT_SECONDS_MAX, SHARE, Pace
from icehouse.server.admin.rates import CLIENTS_MAX, MOST_SECONDS, Rates
from icehouse.store.wire import messages


def client(session: int, puts: int, opens: int) -> messages.Client:
    return messages.Client(
        session, 1, 2, 3, "producer", 4, 5, connected=True, opened=0.0, puts=puts, opens=opens
    )


def test_rates_are_of_the_last_seconds() -> None:
    now = 100.0
    rates = Rates(lambda: now)
    rates.look([client(1, 0, 0)])
    assert rates.of(client(1, 10, 10)) is None
    assert rates.of(client(2, 10, 10)) is None
    now += 4
    assert rates.of(client(1, 40, 8)) == (10.0, 2.0)
    # Who looks often gets no rate of an instant.
    for _ in range(30):
        now += 1
        told = client(1, int(now - 104) * 100, 0)
        rates.look([told])
        found = rates.of(told)
        assert found is not None
    assert found[0] == pytest.approx(100.0, rel=0.2)
    # A counter that begins anew is no negative rate.
    assert rates.of(client(1, 0, 0)) == (0.0, 0.0)
    now += MOST_SECONDS * 3
    assert rates.of(client(1, 10**6, 0)) is None
    rates.tidy()
    assert not rates._looks


def test_rates_are_bounded() -> None:
    rates = Rates()
    rates.look(client(session, 0, 0) for session in range(CLIENTS_MAX + 10))
    rates.look([client(1, 0, 0)])
    assert len(rates._looks) <= CLIENTS_MAX


def test_those_who_ask_the_same_share_an_answer() -> None:
    async def run() -> None:
        kept: Kept[int] = Kept(lambda: 0.2, 2)
        count = 0

        async def find() -> int:
            nonlocal count
            count += 1
            await asyncio.sleep(0.01)
            return count

        assert await asyncio.gather(*(kept.get("a", find) for _ in range(20))) == [1] * 20
        assert await kept.get("b", find) == 2
        assert await kept.get("c", find) == 3
        assert len(kept._answers) == 2
        await asyncio.sleep(0.25)
        assert await kept.get("c", find) == 4
        assert len(kept._answers) == 1

        async def fail() -> int:
            raise ValueError("no")

        with pytest.raises(ValueError, match="no"):
            await kept.get("d", fail)
        assert await kept.get("d", find) == 5

    asyncio.run(run())


def test_who_has_an_old_answer_need_not_wait_for_those_who_look() -> None:
    async def run() -> None:
        kept: Kept[int] = Kept(lambda: 60.0, 4)
        over = asyncio.Event()

        async def find() -> int:
            return 1

        async def take_long() -> int:
            await over.wait()
            return 2

        assert await kept.get("a", find) == 1
        other = asyncio.create_task(kept.get("b", take_long))
        await asyncio.sleep(0)
        assert await kept.get("a", take_long) == 1
        over.set()
        assert await other == 2

    asyncio.run(run())


class TestPace:
    def test_much_at_once_costs_no_wait(self) -> None:
        pace = Pace(lambda: 0.0)
        pace.spend(BURST_SECONDS * 0.4)
        assert not pace.is_short
        pace.spend(BURST_SECONDS * 0.4)
        assert pace.is_short
        assert pace.wait_seconds == 0

    def test_in_the_long_run_little_is_spent(self) -> None:
        now = spent = 0.0
        pace = Pace(lambda: now)
        while now < 1000.0:
            now += pace.wait_seconds
            pace.spend(0.001)
            spent += 0.001
            now += 0.001
        assert spent == pytest.approx(BURST_SECONDS + 1000.0 * SHARE, rel=0.05)

    def test_nobody_waits_for_long_because_of_one_who_took_much(self) -> None:
        pace = Pace(lambda: 0.0)
        pace.spend(3600.0)
        assert pace.wait_seconds == pytest.approx(DEBT_SECONDS_MAX / SHARE)

    def test_those_who_look_wait_for_their_turn(self) -> None:
        async def run() -> None:
            pace = Pace()
            pace.spend(BURST_SECONDS + 0.001)
            began = time.monotonic()
            await pace.turn()
            assert time.monotonic() - began >= 0.01
            assert pace.wait_seconds == 0

        asyncio.run(run())


# --- what is asked at once ---


class Silent(link.Link):
    """A daemon that answers when the test has it answer."""

    def __init__(self) -> None:
        super().__init__("nowhere", lambda _: None)
        self.asked: list[messages.Request] = []
        self.answers = asyncio.Event()

    async def _ask(self, request: Any, answer: Any) -> Any:
        self.asked.append(request)
        await self.answers.wait()
        return answer()


def test_few_look_at_once_and_nobody_else_waits_for_them() -> None:
    async def main() -> None:
        daemon = Silent()
        looks = [
            asyncio.create_task(daemon.ask(messages.AskObjects(), messages.Objects))
            for _ in range(20)
        ]
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert len(daemon.asked) == link.LOOKS_AT_ONCE
        other = asyncio.create_task(daemon.ask(messages.Ping(), messages.Done))
        await asyncio.sleep(0)
        assert isinstance(daemon.asked[-1], messages.Ping)
        # Who goes away leaves its turn to others.
        looks[0].cancel()
        looks[5].cancel()
        daemon.answers.set()
        found = await asyncio.gather(*looks, return_exceptions=True)
        assert sum(isinstance(each, messages.Objects) for each in found) == 18
        assert len(daemon.asked) == 20
        await other

    asyncio.run(main())


def test_who_waits_for_others_too_long_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        daemon = Silent()
        looks = [
            asyncio.create_task(daemon.ask(messages.AskObjects(), messages.Objects))
            for _ in range(link.LOOKS_AT_ONCE)
        ]
        await asyncio.sleep(0)
        monkeypatch.setattr(link, "LOOK_SECONDS", 0.05)
        with pytest.raises(link.AwayError, match=r"the daemon has not answered for 0\.05 s"):
            await daemon.ask(messages.AskNames(), messages.Names)
        daemon.answers.set()
        await asyncio.gather(*looks)

    asyncio.run(main())
