"""What is costly to find out: one at a time, and kept for a moment."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

Found = TypeVar("Found")


class Kept(Generic[Found]):
    """Answers by what was asked; those who ask the same at once share one."""

    def __init__(self, seconds: float, most: int) -> None:
        """`most`: how many answers are kept."""
        self._seconds = seconds
        self._most = most
        self._turn = asyncio.Lock()
        self._answers: dict[Hashable, tuple[float, Found]] = {}

    async def get(self, what: Hashable, find: Callable[[], Awaitable[Found]]) -> Found:
        """Give the answer, found just now or by `find`."""
        async with self._turn:
            now = time.monotonic()
            for other, (at, _) in list(self._answers.items()):
                if now - at > self._seconds:
                    del self._answers[other]
            known = self._answers.get(what)
            if known is not None:
                return known[1]
            found = await find()
            while len(self._answers) >= self._most:
                del self._answers[next(iter(self._answers))]
            self._answers[what] = (time.monotonic(), found)
            return found
