"""The page's server: who may come in, and what is answered where.

/                       the page
/bundle/FILE            what it is made of
/login?code=CODE        makes a session of a link's code
/live                   an event stream: all objects, then changes
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
import logging
from contextlib import aclosing
from dataclasses import asdict

from aiohttp import WSCloseCode, web

from knarr.service.tasks import cancel
from services.web.answers import answering, json, number, said
from services.web.api import Api
from services.web.bundle import Bundle
from services.web.followed import FOLLOWED
from services.web.follower import Follower
from services.web.guard import Guard, tell_browsers
from services.web.history import chain, changed, latest
from services.web.learning.classroom import Classroom
from services.web.learning.routes import LessonRoutes
from services.web.live import Feed
from services.web.parts import NoParts, Parts, Unanswered
from services.web.passing import BELOW, MOST_BODY_BYTES, passed_on
from services.web.placing import placing
from services.web.reach import Question, reached
from services.web.recorder import ObjectKey, Recorder
from services.web.sessions import Sessions
from services.web.shared import Shared
from services.web.terminal import BEAT_SECONDS, MOST_TYPED_BYTES, Place, show, tell_end
from services.web.traffic import LEAST_SECONDS, Traffic
from services.web.usage import Sampler
from services.web.wants import wanted
from services.web.what_if import Unclear, what_if

log = logging.getLogger(__name__)

HOST = "127.0.0.1"
STOP_SECONDS = 1.0
STUCK_SECONDS, WRITE_BYTES = 60.0, 64 * 1024
MOST_CHANGES = 1000
MOST_TERMINALS = 16
HEALTH_SECONDS = 2.0


class PageServer:
    """For one viewer's identity: ``api`` is the API server as the viewer reaches it. A context manager; it listens from entry to exit.
    ``users``: by uid, the users of this machine who may come; None for all of them."""

    def __init__(self, api: Api, parts: Parts | None = None, *, port: int = 0, users: frozenset[int] | None = None) -> None:
        self._api, self._parts, self._wanted = api, parts or NoParts(), port
        self.recorder = Recorder()
        self.sessions = Sessions()
        self._guard = Guard(self.sessions, users)
        self._bundle = Bundle()
        self._feeds: set[Feed] = set()
        self._terminals: set[web.WebSocketResponse] = set()
        self._shared_healths = Shared(self._parts.healths, HEALTH_SECONDS)
        self._shared_traffic = Shared(Traffic(self._parts).now, LEAST_SECONDS)
        self._shared_wants = Shared(lambda: wanted(self._parts), LEAST_SECONDS)
        self.followers = [Follower(api, followed, self.recorder, self._changed) for followed in FOLLOWED]
        self.sampler = Sampler(api)
        self._room = Classroom(api, self.recorder, lambda: self.watching)
        self._tasks: list[asyncio.Task[None]] = []
        self._runner: web.AppRunner | None = None

    @property
    def port(self) -> int:
        return self._guard.port

    @property
    def watching(self) -> int:
        """How many browsers hear what changes."""
        return len(self._feeds)

    @property
    def link(self) -> str:
        """One more way in, good once."""
        return f"http://{HOST}:{self.port}/login?code={self.sessions.new_code()}"

    async def __aenter__(self) -> PageServer:
        """Raises OSError where the port cannot be had."""
        application = web.Application(middlewares=[self._guard.middleware()], client_max_size=MOST_BODY_BYTES)
        application.on_response_prepare.append(tell_browsers)
        application.add_routes(self._routes())
        self._runner = web.AppRunner(application, access_log=None, shutdown_timeout=STOP_SECONDS, handler_cancellation=True)
        await self._runner.setup()
        site = web.TCPSite(self._runner, HOST, self._wanted)
        await site.start()
        self._guard.port = self._runner.addresses[0][1]
        self._tasks = [asyncio.create_task(one.run(), name=f"follow {one.followed.name}") for one in self.followers]
        self._tasks.append(asyncio.create_task(self.sampler.run(), name="sample metrics"))
        self._tasks.append(asyncio.create_task(self._room.keep(), name="keep lessons"))
        return self

    async def __aexit__(self, *_: object) -> None:
        await cancel(self._tasks)
        await self._room.close()
        for terminal in list(self._terminals):
            await terminal.close(code=WSCloseCode.GOING_AWAY, drain=False)
        if self._runner is not None:
            await self._runner.cleanup()

    def _routes(self) -> list[web.RouteDef]:
        return [
            web.get("/", self._page),
            web.get("/bundle/{name}", self._file),
            web.get("/login", self._login),
            web.post("/logout", self._logout),
            web.get("/live", self._live),
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
            *LessonRoutes(self._room).routes(),
            web.route("*", BELOW + "/{path:.*}", answering(self._pass_on)),
        ]

    def _changed(self, follower: Follower) -> None:
        for feed in self._feeds:
            feed.knock()

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

    async def _login(self, request: web.Request) -> web.Response:
        session = self.sessions.open(request.query.get("code", ""))
        response = web.Response(status=303, headers={"Location": "/"})
        # Without one the page itself says what to do.
        if session is not None:
            response.set_cookie(self._guard.cookie, session, httponly=True, samesite="Strict", path="/")
        return response

    async def _logout(self, request: web.Request) -> web.Response:
        self.sessions.close(request.cookies.get(self._guard.cookie, ""))
        return web.Response(status=204)

    async def _live(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        feed = Feed(self.recorder, self.followers)
        self._feeds.add(feed)
        try:
            async with aclosing(feed.events()) as pieces:
                async for piece in pieces:
                    await write_within(response, piece, STUCK_SECONDS)
        except (ConnectionError, TimeoutError):
            # The browser is gone, or takes nothing: what waits for it would grow. One that wakes comes again by itself.
            if request.transport is not None:
                request.transport.abort()
        finally:
            self._feeds.discard(feed)
        return response

    async def _healths(self, request: web.Request) -> web.Response:
        return json([asdict(health) for health in await self._shared_healths()])

    async def _traffic_now(self, request: web.Request) -> web.Response:
        return json(await self._shared_traffic())

    async def _wants(self, request: web.Request) -> web.Response:
        return json(await self._shared_wants())

    async def _usage(self, request: web.Request) -> web.Response:
        key = ObjectKey(said(request, "resource"), request.query.get("namespace", ""), said(request, "name"))
        samples = self.sampler.memory.of(key)
        if not samples["at"] and self.sampler.standing:
            raise Unanswered(self.sampler.standing)
        return json(samples)

    async def _what_if(self, request: web.Request) -> web.Response:
        try:
            return json(await what_if(self._parts, request.query))
        except Unclear as error:
            raise web.HTTPBadRequest(text=str(error)) from error

    async def _terminal(self, request: web.Request) -> web.StreamResponse:
        place = Place(said(request, "namespace"), said(request, "pod"), said(request, "container"), request.query.getall("command", ["sh"]))
        socket = web.WebSocketResponse(heartbeat=BEAT_SECONDS, max_msg_size=MOST_TYPED_BYTES)
        await socket.prepare(request)
        if len(self._terminals) >= MOST_TERMINALS:
            await tell_end(socket, f"there are {MOST_TERMINALS} terminals, which is all this page opens: close one")
            return socket
        self._terminals.add(socket)
        try:
            await show(self._api, place, socket)
        except (ConnectionError, TimeoutError):
            if request.transport is not None:
                request.transport.abort()
        finally:
            self._terminals.discard(socket)
        return socket

    async def _why_pod(self, request: web.Request) -> web.Response:
        return json(await placing(self._parts, said(request, "namespace"), said(request, "name")))

    async def _why_reach(self, request: web.Request) -> web.Response:
        service = ObjectKey("services", said(request, "namespace"), said(request, "service"))
        source, _, pod = request.query.get("from", "").partition("/")
        question = Question(
            service, number(request, "port"), request.query.get("protocol", "TCP"), ObjectKey("pods", source, pod) if pod else None
        )
        return json([asdict(step) for step in await reached(self._parts, self.recorder, question)])

    async def _changes(self, request: web.Request) -> web.Response:
        query = request.query
        key = ObjectKey(query["resource"], query.get("namespace", ""), said(request, "name")) if "resource" in query else None
        namespace = "" if key is not None else query.get("namespace", "")
        return json(latest(self.recorder, min(number(request, "limit"), MOST_CHANGES), namespace, key))

    async def _change(self, request: web.Request) -> web.Response:
        return json(changed(self.recorder, number(request, "revision")))

    async def _then(self, request: web.Request) -> web.Response:
        then = self.recorder.at(number(request, "revision"))
        parts = (b'"%s":[%s]' % (resource.encode(), b",".join(texts)) for resource, texts in then.items())
        return web.Response(body=b"{%s}" % b",".join(parts), content_type="application/json")

    async def _chain(self, request: web.Request) -> web.Response:
        return json(chain(self.recorder, ObjectKey("pods", said(request, "namespace"), said(request, "name"))))

    async def _pass_on(self, request: web.Request) -> web.StreamResponse:
        return await passed_on(self._api, request)


async def write_within(response: web.StreamResponse, piece: bytes, seconds: float) -> None:
    """Writes however much to whoever takes WRITE_BYTES within so long; raises TimeoutError else."""
    whole = memoryview(piece)
    for start in range(0, len(whole), WRITE_BYTES):
        async with asyncio.timeout(seconds):
            await response.write(whole[start : start + WRITE_BYTES])
