"""The page's face in HTTP: what is answered where, to each viewer from his own desk.

/                       the page
/bundle/FILE            what it is made of
/login… and /logout     sessions: see sign_in.py
/live                   an event stream: all objects, then changes
/look                   by POST: ?namespace=NAME, in which is looked from now on for what the viewer may not see everywhere
/parts                  the components and how they are
/traffic                connections a second from Services to their endpoints
/controllers            what each controller wants next
/usage                  what a node or pod has used for the last hour
/what-if                what would become of pods
/terminal               a WebSocket to a command in a container
/why/pod                what the scheduler says of a pod and each node
/why/reach              each step from a pod to a Service
/timeline               the newest changes
/timeline/change        what one changed
/timeline/at            all objects as they were at a revision
/timeline/chain         the steps from an apply to a ready endpoint
/lessons…               lessons and the tutorial: see learning/routes.py
/cluster/PATH           what the API server answers to the viewer
"""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from dataclasses import asdict

from aiohttp import web

from services.web.answers import Answer, answering, json, number, said
from services.web.bundle import Bundle
from services.web.desk import Desk
from services.web.guard import Guard, tell_browsers
from services.web.history import changed, latest
from services.web.learning.routes import LessonRoutes
from services.web.live import Feed
from services.web.packed import ObjectKey
from services.web.parts import Unanswered
from services.web.passing import BELOW, MOST_BODY_BYTES, passed_on
from services.web.placing import placing
from services.web.reach import Question, reached
from services.web.sign_in import SignInRoutes
from services.web.terminal import BEAT_SECONDS, MOST_TYPED_BYTES, Place, show, tell_end
from services.web.viewers import Viewers
from services.web.what_if import Unclear, what_if

STOP_SECONDS = 1.0
STUCK_SECONDS, WRITE_BYTES = 60.0, 64 * 1024
MOST_TERMINALS = 16


class Face:
    """A context manager; it listens at ``host:wanted`` from entry to exit. ``guard`` says whose request is answered, ``viewers`` whose desk
    it is about."""

    def __init__(self, viewers: Viewers, guard: Guard, host: str, wanted: int) -> None:
        self._viewers, self._guard, self._host, self._wanted = viewers, guard, host, wanted
        self._bundle = Bundle()
        self._runner: web.AppRunner | None = None

    async def __aenter__(self) -> Face:
        """Raises OSError where the port cannot be had."""
        application = web.Application(middlewares=[self._guard.middleware()], client_max_size=MOST_BODY_BYTES)
        application.on_response_prepare.append(tell_browsers)
        application.add_routes(self._routes())
        self._runner = web.AppRunner(application, access_log=None, shutdown_timeout=STOP_SECONDS, handler_cancellation=True)
        await self._runner.setup()
        site = web.TCPSite(self._runner, self._host, self._wanted)
        try:
            await site.start()
        except OSError:
            await self.__aexit__()
            raise
        self._guard.port = self._runner.addresses[0][1]
        return self

    async def __aexit__(self, *_: object) -> None:
        runner, self._runner = self._runner, None
        if runner is not None:
            await runner.cleanup()

    def _desk(self, request: web.Request) -> Desk:
        """The viewer's. The guard has let him in, so there is one, unless it has ended meanwhile."""
        desk = self._viewers.desk(self._guard.session(request))
        if desk is None:
            raise web.HTTPUnauthorized(text="the session has ended: sign in again")
        return desk

    def _routes(self) -> list[web.RouteDef]:
        return [
            web.get("/", self._page),
            web.get("/bundle/{name}", self._file),
            *SignInRoutes(self._viewers, self._guard).routes(),
            web.get("/live", self._live),
            web.post("/look", answering(self._look)),
            web.get("/parts", answering(self._healths)),
            web.get("/traffic", answering(self._traffic_now)),
            web.get("/controllers", answering(self._wants)),
            web.get("/usage", answering(self._usage)),
            web.get("/what-if", answering(self._what_if)),
            web.get("/terminal", self._terminal),
            web.get("/why/pod", answering(self._why_pod)),
            web.get("/why/reach", answering(self._why_reach)),
            web.get("/timeline", answering(self._changes)),
            web.get("/timeline/change", answering(self._change)),
            web.get("/timeline/at", answering(self._then)),
            web.get("/timeline/chain", answering(self._chain)),
            *LessonRoutes(lambda request: self._desk(request).room).routes(),
            web.route("*", BELOW + "/{path:.*}", answering(self._pass_on)),
        ]

    async def _page(self, request: web.Request) -> web.Response:
        return self._answer("index.html")

    async def _file(self, request: web.Request) -> web.Response:
        return self._answer(request.match_info["name"])

    def _answer(self, name: str) -> web.Response:
        try:
            text, kind = self._bundle.file(name)
        except KeyError:
            raise web.HTTPNotFound(text=f"there is no {name} in the bundle") from None
        return web.Response(body=text, headers={"Content-Type": kind})

    async def _live(self, request: web.Request) -> web.StreamResponse:
        desk, session = self._desk(request), self._guard.session(request)
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        feed = Feed(desk.recorder, desk.followers)
        desk.feeds.add(feed)
        try:
            async with aclosing(feed.events()) as pieces:
                async for piece in pieces:
                    # Nobody is shown anything by a session that has ended meanwhile.
                    if self._viewers.desk(session) is not desk:
                        break
                    await write_within(response, piece, STUCK_SECONDS)
        except (ConnectionError, TimeoutError):
            # The browser is gone, or takes nothing: what waits for it would grow. One that wakes comes again by itself.
            if request.transport is not None:
                request.transport.abort()
        finally:
            desk.feeds.discard(feed)
        return response

    async def _look(self, request: web.Request) -> web.Response:
        try:
            self._desk(request).look_in(said(request, "namespace"))
        except ValueError as error:
            raise web.HTTPBadRequest(text=str(error)) from error
        return web.Response(status=204)

    async def _healths(self, request: web.Request) -> web.Response:
        return json([asdict(health) for health in await self._desk(request).healths()])

    async def _traffic_now(self, request: web.Request) -> web.Response:
        return json(await self._desk(request).traffic())

    async def _wants(self, request: web.Request) -> web.Response:
        return json(await self._desk(request).wants())

    async def _usage(self, request: web.Request) -> web.Response:
        key = ObjectKey(said(request, "resource"), request.query.get("namespace", ""), said(request, "name"))
        sampler = self._desk(request).sampler
        samples = sampler.memory.of(key)
        if not samples["at"] and (words := sampler.standing(key)):
            raise Unanswered(words)
        return json(samples)

    async def _what_if(self, request: web.Request) -> web.Response:
        try:
            return json(await what_if(self._desk(request).parts, request.query))
        except Unclear as error:
            raise web.HTTPBadRequest(text=str(error)) from error

    async def _terminal(self, request: web.Request) -> web.StreamResponse:
        desk = self._desk(request)
        place = Place(said(request, "namespace"), said(request, "pod"), said(request, "container"), request.query.getall("command", ["sh"]))
        socket = web.WebSocketResponse(heartbeat=BEAT_SECONDS, max_msg_size=MOST_TYPED_BYTES)
        await socket.prepare(request)
        if len(desk.terminals) >= MOST_TERMINALS:
            await tell_end(socket, f"there are {MOST_TERMINALS} terminals, which is all this page opens: close one")
            return socket
        desk.terminals.add(socket)
        try:
            await show(desk.api, place, socket)
        except (ConnectionError, TimeoutError):
            if request.transport is not None:
                request.transport.abort()
        finally:
            desk.terminals.discard(socket)
        return socket

    async def _why_pod(self, request: web.Request) -> web.Response:
        return json(await placing(self._desk(request).parts, said(request, "namespace"), said(request, "name")))

    async def _why_reach(self, request: web.Request) -> web.Response:
        service = ObjectKey("services", said(request, "namespace"), said(request, "service"))
        source, _, pod = request.query.get("from", "").partition("/")
        question = Question(
            service, number(request, "port"), request.query.get("protocol", "TCP"), ObjectKey("pods", source, pod) if pod else None
        )
        desk = self._desk(request)
        return json([asdict(step) for step in await reached(desk.parts, desk.recorder, question)])

    async def _changes(self, request: web.Request) -> web.Response:
        query = request.query
        key = ObjectKey(query["resource"], query.get("namespace", ""), said(request, "name")) if "resource" in query else None
        return json(latest(self._desk(request).recorder, number(request, "limit"), query.get("namespace", ""), key))

    async def _change(self, request: web.Request) -> web.Response:
        return json(changed(self._desk(request).recorder, number(request, "revision")))

    async def _then(self, request: web.Request) -> web.Response:
        then = self._desk(request).recorder.at(number(request, "revision"))
        parts = (b'"%s":[%s]' % (resource.encode(), b",".join(texts)) for resource, texts in then.items())
        return Answer(b"{%s}" % b",".join(parts))

    async def _chain(self, request: web.Request) -> web.Response:
        return json(await self._desk(request).chain(ObjectKey("pods", said(request, "namespace"), said(request, "name"))))

    async def _pass_on(self, request: web.Request) -> web.StreamResponse:
        return await passed_on(self._desk(request).api, request)


async def write_within(response: web.StreamResponse, piece: bytes, seconds: float) -> None:
    """Writes however much to whoever takes WRITE_BYTES within so long; raises TimeoutError else."""
    whole = memoryview(piece)
    for start in range(0, len(whole), WRITE_BYTES):
        async with asyncio.timeout(seconds):
            await response.write(whole[start : start + WRITE_BYTES])
