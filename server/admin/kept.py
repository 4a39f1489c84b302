"""What is costly to find out: one at a time, and kept for a moment."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

Found = TypeVar("Found")


class Kept(Generic[Found]):
    """Answers by what was asked; those who ask the same at once share one."""

    def __init__(self, seconds: Callable[[], float], most: int) -> None:
        """`seconds` says how old an answer may be now; `most`: how many are kept."""
        self._seconds = seconds
        self._most = most
        self._turn = asyncio.Lock()
        self._answers: dict[Hashable, tuple[float, Found]] = {}

    def _known(self, what: Hashable) -> tuple[float, Found] | None:
        """Give the answer, if there is one that is not too old; forgets all that are."""
        now, most = time.monotonic(), self._seconds()
        for other, (at, _) in list(self._answers.items()):
            if now - at > most:
                del self._answers[other]
        return self._answers.get(what)

    async def get(self, what: Hashable, find: Callable[[], Awaitable[Found]]) -> Found:
        """Give the answer, found just now or by `find`."""
        if known := self._known(what):
            return known[1]
        async with self._turn:
            if known := self._known(what):
                # Somebody else has asked meanwhile.
                return known[1]
            found = await find()
            while len(self._answers) >= self._most:
                del self._answers[next(iter(self._answers))]
            self._answers[what] = (time.monotonic(), found)
            return found
