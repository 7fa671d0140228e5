"""One question to the store for all who want to know its newest revision at the same time."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence

# Questions under way at once.
MOST_AT_ONCE = 8


class Newest:
    """Readers that come while a question is under way share the next one: an answer must not be older than who asked. But who waits for
    no answer yet need not wait for what others ask all the time: for him the next one leaves at once."""

    def __init__(self, ask: Callable[[], Awaitable[int]]) -> None:
        self._ask = ask
        # Those of the question that is asked next, and how many wait by caller.
        self._gathered: list[asyncio.Future[int]] = []
        self._waiting: Counter[str] = Counter()
        self._under_way: set[asyncio.Task[None]] = set()
        self._leaves = False

    async def revision(self, caller: str = "") -> int:
        """A revision that no write answered before this call exceeds. Raises what asking raises."""
        if not self._under_way or (caller not in self._waiting and len(self._under_way) < MOST_AT_ONCE):
            self._leave_soon()
        answer: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._gathered.append(answer)
        self._waiting[caller] += 1
        try:
            return await answer
        finally:
            self._waiting[caller] -= 1
            if not self._waiting[caller]:
                del self._waiting[caller]

    def _leave_soon(self) -> None:
        """With all who ask in this turn of the loop."""
        if not self._leaves:
            self._leaves = True
            task = asyncio.create_task(self._leave(), name="newest revision")
            self._under_way.add(task)
            task.add_done_callback(self._ended)

    async def _leave(self) -> None:
        self._leaves = False
        gathered, self._gathered = self._gathered, []
        try:
            revision = await self._ask()
        except Exception as error:
            for answer in _waited_for(gathered):
                answer.set_exception(error)
        else:
            for answer in _waited_for(gathered):
                answer.set_result(revision)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._under_way.discard(task)
        if self._gathered and not self._under_way:
            self._leave_soon()


def _waited_for(answers: Sequence[asyncio.Future[int]]) -> list[asyncio.Future[int]]:
    return [answer for answer in answers if not answer.done()]
