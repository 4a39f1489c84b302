"""How much each client does a second: of two looks at what it has counted."""

import time
from collections.abc import Callable, Iterable

from icehouse.store.wire import messages

# Between the looks that a rate is of.
LEAST_SECONDS = 2.0
MOST_SECONDS = 60.0
CLIENTS_MAX = 65536

Counts = tuple[float, int, int]
"""When, puts, gets."""


class Rates:
    """The last looks at each client, by session; bounded, and forgotten after a while."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        # Of each the look that rates are of, and one that is to take its place.
        self._looks: dict[int, tuple[Counts, Counts]] = {}

    def look(self, clients: Iterable[messages.Client]) -> None:
        """Take note of what clients have counted by now."""
        now = self._clock()
        if len(self._looks) > CLIENTS_MAX:
            self._looks.clear()
        for client in clients:
            counts = (now, client.puts, client.opens)
            before, newer = self._looks.get(client.session, (counts, counts))
            if now - newer[0] >= MOST_SECONDS / 6:
                # The rate is of the last ten seconds or so, and of the last two at least.
                before, newer = newer, counts
            self._looks[client.session] = before, newer

    def of(self, client: messages.Client) -> tuple[float, float] | None:
        """Give puts and gets a second; None: not known yet."""
        looks = self._looks.get(client.session)
        if looks is None:
            return None
        now = self._clock()
        for at, puts, gets in reversed(looks):
            if LEAST_SECONDS <= now - at <= MOST_SECONDS:
                seconds = now - at
                put, got = max(client.puts - puts, 0), max(client.opens - gets, 0)
                return round(put / seconds, 1), round(got / seconds, 1)
        return None

    def tidy(self) -> None:
        """Forget clients that nobody has looked at for long: most have ended."""
        now = self._clock()
        for session, (_, newer) in list(self._looks.items()):
            if now - newer[0] > 2 * MOST_SECONDS:
                del self._looks[session]
