"""What browsers ask of lessons and the tutorial.

/lessons                 all of them, in every language
/lessons/now             where the learner stands
/lessons/begin           ?id=LESSON, or none for the tutorial; &image=IMAGE
/lessons/answer          ?id=LESSON whose cause it is said to be
/lessons/mend            does it for the learner, once the cause was found
/lessons/make            what a step of the tutorial says that the page makes
/lessons/go              ?step=NUMBER of the tutorial
/lessons/seen            ?opened=RESOURCE or ?viewed=VIEW: what the browser shows
/lessons/leave           ends it
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from aiohttp import web

from services.web.answers import answering, json, number, said
from services.web.learning.classroom import Classroom
from services.web.learning.course import lessons, steps


def all_told() -> dict[str, Any]:
    """Lessons with the causes that are offered, in an order that tells nothing, and the steps of the tutorial."""
    found = lessons()
    return {
        "lessons": [
            {
                "id": one.id,
                "title": one.title,
                "story": one.story,
                "hint": one.hint,
                "real": one.real,
                "choices": [{"id": id, "words": found[id].cause} for id in sorted((one.id, *one.others))],
            }
            for one in found.values()
        ],
        "steps": [
            {
                "id": one.id,
                "title": one.title,
                "told": one.told,
                "do": one.do,
                "makes": bool(one.objects),
                "opened": one.opened,
                "viewed": one.viewed,
            }
            for one in steps()
        ],
    }


class LessonRoutes:
    """``room`` says in which classroom a request is."""

    def __init__(self, room: Callable[[web.Request], Classroom]) -> None:
        self._room = room

    def routes(self) -> list[web.RouteDef]:
        changing = {
            "begin": self._begin, "answer": self._answer, "mend": self._mend, "make": self._make, "go": self._go, "seen": self._seen,
            "leave": self._leave,
        }  # fmt: skip
        return [
            web.get("/lessons", answering(self._all)),
            web.get("/lessons/now", answering(self._now)),
            *(web.post(f"/lessons/{name}", answering(handler)) for name, handler in changing.items()),
        ]

    async def _all(self, request: web.Request) -> web.Response:
        # Their files are read once, in a thread: some tens of milliseconds.
        return json(await asyncio.to_thread(all_told))

    async def _now(self, request: web.Request) -> web.Response:
        room = self._room(request)
        return json(room.told() | {"explanation": room.explanation()})

    async def _begin(self, request: web.Request) -> web.Response:
        image = request.query.get("image", "")
        if id := request.query.get("id", ""):
            await self._room(request).begin(id, image)
        else:
            await self._room(request).begin_tutorial(image)
        return await self._now(request)

    async def _answer(self, request: web.Request) -> web.Response:
        right = self._room(request).answer(said(request, "id"))
        return json({"right": right})

    async def _mend(self, request: web.Request) -> web.Response:
        await self._room(request).mend()
        return await self._now(request)

    async def _make(self, request: web.Request) -> web.Response:
        await self._room(request).make()
        return await self._now(request)

    async def _go(self, request: web.Request) -> web.Response:
        await self._room(request).go(number(request, "step"))
        return await self._now(request)

    async def _seen(self, request: web.Request) -> web.Response:
        self._room(request).seen(request.query.get("opened", ""), request.query.get("viewed", ""))
        return await self._now(request)

    async def _leave(self, request: web.Request) -> web.Response:
        await self._room(request).leave()
        return await self._now(request)
