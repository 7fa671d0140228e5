"""How browsers come and go: for a code or a token they get a session, which a cookie names.

/login?code=CODE        makes a session of a link's code
/login                  by POST: makes one of a token of the cluster's
/login/way              which of the two a stranger needs
/logout                 ends a session
"""

from __future__ import annotations

import orjson
from aiohttp import web

from services.web.answers import answering, json
from services.web.guard import Guard
from services.web.viewers import Viewers

MOST_TOKEN_BYTES = 16 * 1024


class SignInRoutes:
    """``viewers`` have the sessions, ``guard`` knows by which cookie."""

    def __init__(self, viewers: Viewers, guard: Guard) -> None:
        self._viewers, self._guard = viewers, guard

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/login", self._login),
            web.post("/login", answering(self._sign_in)),
            web.get("/login/way", self._way),
            web.post("/logout", self._logout),
        ]

    async def _login(self, request: web.Request) -> web.Response:
        session = self._viewers.enter(request.query.get("code", ""))
        response = web.Response(status=303, headers={"Location": "/"})
        # Without one the page itself says what to do.
        if session is not None:
            self._remember(response, session)
        return response

    async def _sign_in(self, request: web.Request) -> web.Response:
        """By `{"token": …}`. A session that the browser had before ends: who signs in again means to be somebody else."""
        try:
            token = orjson.loads(await _read(request))["token"]
        except (orjson.JSONDecodeError, KeyError, TypeError):
            token = None
        if not isinstance(token, str):
            raise web.HTTPBadRequest(text=f'the body must be {{"token": "…"}} of at most {MOST_TOKEN_BYTES} bytes')
        session = await self._viewers.sign_in(token.strip())
        self._viewers.leave(self._guard.session(request))
        response = web.Response(status=204)
        self._remember(response, session)
        return response

    def _remember(self, response: web.Response, session: str) -> None:
        response.set_cookie(self._guard.cookie, session, httponly=True, samesite="Strict", path="/")

    async def _way(self, request: web.Request) -> web.Response:
        return json({"way": self._viewers.way})

    async def _logout(self, request: web.Request) -> web.Response:
        self._viewers.leave(self._guard.session(request))
        response = web.Response(status=204)
        response.del_cookie(self._guard.cookie, path="/")
        return response


async def _read(request: web.Request) -> bytes:
    """The body; nothing where it is longer than it may be, whether that was told before or not. Who is not signed in may send it."""
    text = b""
    async for piece in request.content.iter_any():
        text += piece
        if len(text) > MOST_TOKEN_BYTES:
            return b""
    return text
