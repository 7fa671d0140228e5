"""What is remembered for a while, and no longer."""

from __future__ import annotations

import asyncio

from knarr.service.answers import Answers
from tests.support.virtual_time import virtual_time


@virtual_time
async def test_an_answer_holds_for_its_time() -> None:
    known: Answers[str, str] = Answers(10)
    known.learn("a", "", 10.0)
    known.learn("b", "no", 20.0)
    await asyncio.sleep(9)
    assert known.get("a") == "" and known.get("c") is None
    await asyncio.sleep(1)
    assert known.get("a") is None and known.get("b") == "no"
    assert list(known) == ["b"], "what is asked for too late is let go"


@virtual_time
async def test_the_oldest_goes_where_there_are_too_many() -> None:
    known: Answers[str, int] = Answers(2)
    for number, question in enumerate("abab"):
        known.learn(question, number, 60.0)
    known.learn("c", 4, 60.0)
    assert list(known) == ["b", "c"] and len(known) == 2 and known.get("b") == 3
