"""A request that is answered piece by piece: wherever it has waited for something, it goes on when its caller's turn has come."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Generator
from typing import Any, Generic, Protocol, TypeVar

from services.apiserver.fairness.rounds import Rounds

T = TypeVar("T")


class Asking(Protocol):
    """Where a request has come from. ``caller`` is who asks, as far as that is known by now. What ``is_ongoing`` is answered for as long as
    somebody listens, as things happen, and takes no turns."""

    caller: str
    is_ongoing: bool


class Caller:
    """Of a call that has one answer."""

    __slots__ = ("caller",)
    is_ongoing = False

    def __init__(self, caller: str) -> None:
        self.caller = caller


class Paced(Generic[T]):
    """Awaited in place of ``answering``, the coroutine that answers a request; whether its first piece ``is_admitted`` already."""

    __slots__ = ("_answering", "_asking", "_is_admitted", "_rounds")

    def __init__(self, rounds: Rounds, asking: Asking, answering: Coroutine[Any, Any, T], *, is_admitted: bool) -> None:
        self._rounds, self._asking, self._answering, self._is_admitted = rounds, asking, answering, is_admitted

    def __await__(self) -> Generator[Any, Any, T]:
        answering, waited_for = self._answering, None
        has_begun, needs_turn = False, not self._is_admitted
        try:
            while True:
                try:
                    sent = (yield waited_for) if has_begun else None
                    if needs_turn and (turn := self._turn(has_begun)) is not None:
                        yield from turn
                except BaseException as error:
                    waited_for = answering.throw(error)
                else:
                    waited_for = answering.send(sent)
                has_begun = needs_turn = True
        except StopIteration as done:
            answer: T = done.value
            return answer

    def _turn(self, has_begun: bool) -> asyncio.Future[None] | None:
        if self._asking.is_ongoing:
            return None
        return self._rounds.goes_on(self._asking.caller) if has_begun else self._rounds.begins(self._asking.caller)
