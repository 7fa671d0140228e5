"""The ASGI application: finds what a request is about, who asks, and the handler that answers.

It is a bare ASGI callable: at thousands of requests a second a framework's layers cost more than
the work. Handlers return a ``Response`` or a ``Stream``; every error becomes a Status here.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from functools import partial
from time import perf_counter

from knarr.api.meta.v1 import meta_pb2 as meta
from knarr.machinery.errors import StatusError, internal
from knarr.machinery.resources import Registry, Resource, Route
from knarr.service.authentication import TokenAuthenticator, User, bearer_token
from knarr.service.presence import while_there
from services.apiserver.aggregation.extension import Extension
from services.apiserver.aggregation.keeper import Aggregation
from services.apiserver.api import Api
from services.apiserver.audit.event import AuditEvent
from services.apiserver.fairness.fairness import Ticket
from services.apiserver.fairness.rounds import Rounds
from services.apiserver.identity.anonymous import Anonymous
from services.apiserver.rest import metrics, representations
from services.apiserver.rest.auditing import GONE, GONE_STATUS, Auditing, conclude, name
from services.apiserver.rest.authentication import Authenticator
from services.apiserver.rest.delivery import Delivery
from services.apiserver.rest.errors import error_response, method_not_allowed, no_such_resource
from services.apiserver.rest.exec import Commands, attachments, exec_commands
from services.apiserver.rest.extensions import Extensions, asked_of
from services.apiserver.rest.health import Checks
from services.apiserver.rest.logs import Logs
from services.apiserver.rest.metrics import request_counter
from services.apiserver.rest.ordering import Ordering
from services.apiserver.rest.paths import Paths
from services.apiserver.rest.port_forward import PortForwards
from services.apiserver.rest.proxying.handler import Proxy
from services.apiserver.rest.reads import Reads
from services.apiserver.rest.representations import Representations, Strategies
from services.apiserver.rest.request import Disconnected, Receive, Request, Scope, Send
from services.apiserver.rest.response import Answer, Pieces, Relay, Response, Stream, Upgrade, warning_headers
from services.apiserver.rest.routing import Router, Target, proxy_end
from services.apiserver.rest.streams import Streams
from services.apiserver.rest.verbs import verb_of
from services.apiserver.rest.watch_sockets import WatchSockets
from services.apiserver.rest.watches import Watches
from services.apiserver.rest.writes import Writes
from services.apiserver.strategies import strategy_for

logger = logging.getLogger(__name__)

Handler = Callable[[Request, Target], Awaitable[Answer]]
SocketHandler = Callable[[Request, Target, Receive, Send], Awaitable[None]]

# What goes on behind its head.
ONGOING = (Stream, Upgrade, Relay)


class Application:
    """The REST face of one API server."""

    def __init__(
        self,
        api: Api,
        tokens: TokenAuthenticator,
        registry: Registry,
        *,
        strategies: Strategies = strategy_for,
        checks: Checks | None = None,
        aggregation: Aggregation | None = None,
        anonymous: Callable[[], Anonymous | None] = lambda: None,
    ) -> None:
        forms = Representations(strategies)
        writes = Writes(api, forms)
        reads = Reads(api, forms)
        self.streams = Streams()
        ending = self.streams.ending
        self._api, self._registry = api, registry
        self._authenticator = Authenticator(tokens, api, anonymous)
        self._auditing = Auditing(api.auditor) if api.auditor is not None else None
        self._ordering = Ordering(api.fairness, api.pipeline.backend) if api.fairness is not None else None
        self._extensions = None if aggregation is None else Extensions(api, aggregation, ending)
        self._delivery = Delivery(self.streams, self._end_of)
        representations.forget()
        self._router = Router(registry)
        self._paths = Paths(api, registry, checks or {}, aggregation, self._extensions, lambda path: self._router.knows_group_version(path))
        registry.subscribe(self._changed)
        if aggregation is not None:
            aggregation.subscribe(self._paths.derive)
        logs = Logs(api, ending)
        streams: dict[str, Commands | PortForwards]
        streams = {"exec": exec_commands(api, ending), "attach": attachments(api, ending), "portforward": PortForwards(api, ending)}
        self._streaming: dict[str, Handler] = {"log": logs.read, **{name: stream.upgrade for name, stream in streams.items()}}
        self._sockets: dict[str, SocketHandler] = {"log": logs.serve, **{name: stream.serve for name, stream in streams.items()}}
        self._proxy = Proxy(api, ending)
        watches = Watches(api, forms)
        self._watch_sockets = WatchSockets(watches, ending)
        self._handlers: dict[str, Handler] = {
            "get": reads.get,
            "list": reads.list,
            "watch": watches.watch,
            "create": writes.create,
            "update": writes.update,
            "patch": writes.patch,
            "delete": writes.delete,
            "deletecollection": writes.delete_collection,
        }

    def _changed(self, old: Resource | None, new: Resource | None) -> None:
        """Makes anew what follows from the registry; each part works out its answers when they are first asked for."""
        representations.forget()
        self._router = Router(self._registry)
        if self._auditing is not None:
            self._auditing.forget()
        self._paths.derive()
        if new is None and old is not None and all(other.plural != old.plural for other in self._registry):
            metrics.forget(old.plural)

    @property
    def checks(self) -> dict[str, Callable[[], bool]]:
        """What /readyz asks, by name."""
        return self._paths.checks

    @property
    def rounds(self) -> Rounds | None:
        """By which requests are answered in fair order, where they are."""
        return self._api.fairness.rounds if self._api.fairness is not None else None

    def passes_on(self, path: str) -> bool:
        """Whether requests to a path are answered elsewhere, to where they go as they are."""
        return bool(proxy_end(path)) or (self._extensions is not None and self._extensions.at(path) is not None)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        name(request)
        if scope["type"] == "websocket":
            await self._websocket(request, receive, send)
            return
        if self._ordering is None:
            await self._serve(request, send)
            return
        try:
            await self._serve(request, send)
        finally:
            if request.ticket is not None:
                self._ordering.leave(request)
            if request.is_open:
                self._ordering.close(request)

    async def _serve(self, request: Request, send: Send) -> None:
        started = perf_counter()
        try:
            answer = await self._answer(request)
        except Disconnected:
            if request.audit is not None:
                request.audit.complete(GONE, GONE_STATUS)
            return
        if self._ordering is not None and isinstance(answer, ONGOING):
            # What goes on takes no seat, and no turns.
            self._ordering.leave(request)
            request.go_on()
        await self._delivery.send(request, answer, started, send)

    async def _answer(self, request: Request) -> Answer:
        """Raises Disconnected."""
        # Not the error itself: it holds this frame, and the request with it, until the garbage is looked for.
        refusal: meta.Status | None = None
        answer: Answer
        try:
            answer = await self._asked_for(request)
        except Disconnected:
            raise
        except StatusError as error:
            refusal, answer = error.status, self._refused(request, error)
        except Exception as error:
            logger.exception("a request failed", extra={"method": request.method, "path": request.path})
            answer = error_response(internal(str(error) or type(error).__name__), request.headers.get(b"accept", b""))
            if request.audit is not None:
                request.audit.panic(f"{type(error).__name__}: {error}")
        plural = request.target.version.resource.plural if request.verb and request.target is not None else ""
        request_counter(request.verb, plural, answer.status).inc()
        if request.audit is not None:
            conclude(request.audit, answer, refusal, request.target)
        # It leads to this frame, and the frame to it: they would lie about until the collector comes, with all that was sent.
        refusal = None
        return answer

    async def _asked_for(self, request: Request) -> Answer:
        """Raises StatusError, Disconnected."""
        # Nothing is worked out, and nothing remembered, for a caller who is not known.
        user = self._authenticator.user(request)
        request.user = user if isinstance(user, User) else await user
        extension = self._extensions.at(request.path) if self._extensions is not None else None
        target = self._router.target(request.path) if extension is None else None
        if target is not None:
            request.verb = self._asked(request, target)
        elif self._auditing is not None:
            self._visited(self._auditing, request, extension)
        if self._ordering is not None:
            entering = self._entering(self._ordering, request, target, extension)
            if entering is not None:
                request.ticket = entering if isinstance(entering, Ticket) else await self._in_turn(request, entering)
        if extension is not None:
            assert self._extensions is not None
            return await self._extensions.answer(request, extension)
        if target is None:
            return await self._paths.answer(request)
        answer = await self._handler(request.verb, target)(request, target)
        if target.version.deprecation_warning and isinstance(answer, Response | Stream | Pieces):
            answer.headers = [*answer.headers, *warning_headers([target.version.deprecation_warning])]
        return answer

    def _refused(self, request: Request, error: StatusError) -> Response:
        if self._auditing is not None and request.user is User.ANONYMOUS:
            self._auditing.refused(request, error)
        # Who names somebody must be them, whatever they ask for.
        named = bearer_token(request.headers.get(b"authorization", b"").decode("latin-1"))
        opened = self._paths.open(request) if not named and self._authenticator.opens else None
        return opened or error_response(error, request.headers.get(b"accept", b""))

    def _entering(
        self, ordering: Ordering, request: Request, target: Target | None, extension: Extension | None
    ) -> Ticket | asyncio.Future[Ticket] | None:
        """What lets a request in. Raises TooManyRequests, MethodNotAllowed."""
        if target is not None:
            return ordering.enter(request, request.verb, target)
        if extension is not None:
            return ordering.enter_elsewhere(request, asked_of(request, extension))
        return ordering.enter_path(request)

    async def _in_turn(self, request: Request, entering: asyncio.Future[Ticket]) -> Ticket:
        """Raises Disconnected where the client has not waited."""
        assert self._ordering is not None
        ticket = await self._ordering.let_in(entering)
        if request.is_gone:
            request.ticket = ticket
            raise Disconnected
        return ticket

    def _end_of(self, request: Request, status: int) -> Callable[[], object] | None:
        """What is called when a stream is over; it may go on behind its task."""
        if request.audit is None and not request.is_open:
            return None
        user = request.user if request.is_open else None
        request.is_open = False
        return partial(self._ended, user, request.audit, status)

    def _ended(self, user: User | None, audit: AuditEvent | None, status: int) -> None:
        if user is not None and self._ordering is not None:
            self._ordering.end(user)
        if audit is not None:
            audit.complete(status)

    def _asked(self, request: Request, target: Target) -> str:
        """What is done to the target: its verb. Raises MethodNotAllowed, BadRequest, once that may be kept."""
        request.target, verb = target, ""
        try:
            verb = verb_of(request, target)
            return verb
        finally:
            if self._auditing is not None:
                self._auditing.begin(request, verb or request.method.lower(), target.ref, request.user)

    def _visited(self, auditing: Auditing, request: Request, extension: Extension | None) -> None:
        """Begins what is kept of a request about no resource of this server's."""
        method = request.method.lower()
        if extension is None:
            auditing.begin(request, "get" if method == "head" else method, None, request.user)
            return
        try:
            asked = asked_of(request, extension)
        except StatusError:
            asked = None
        auditing.begin(request, asked.verb if asked is not None else method, asked.ref if asked is not None else None, request.user)

    def _handler(self, verb: str, target: Target) -> Handler:
        subresource = target.subresource
        if subresource is None:
            if verb in target.version.resource.verbs and (target.scoped or verb in ("list", "watch")):
                return self._handlers[verb]
        elif verb in subresource.verbs:
            if subresource.route is Route.PROXY:
                return self._proxy.answer
            return self._streaming[subresource.name] if subresource.route is Route.STREAM else self._handlers[verb]
        raise method_not_allowed()

    async def _websocket(self, request: Request, receive: Receive, send: Send) -> None:
        try:
            user = self._authenticator.user(request)
            request.user = user if isinstance(user, User) else await user
            target = self._router.target(request.path)
            if target is None:
                if self._auditing is not None:
                    self._visited(self._auditing, request, None)
                raise no_such_resource()
            verb = self._asked(request, target)
            handler = self._socket(request, target)
            if self._ordering is not None:
                entering = self._ordering.enter(request, verb, target)
                # It waits for its turn; how long the handler takes to begin is not known here.
                request.ticket = entering if entering is None or isinstance(entering, Ticket) else await self._in_turn(request, entering)
                self._ordering.leave(request)
            if request.audit is not None:
                request.audit.started(101)
            await while_there(request, handler(request, target, receive, send))
        except Disconnected:
            await refuse_websocket(no_such_resource(), send)
        except StatusError as error:
            if self._auditing is not None and request.user is User.ANONYMOUS:
                self._auditing.refused(request, error)
            if request.audit is not None:
                request.audit.complete(error.code, error.status)
            await refuse_websocket(error, send)
        finally:
            if self._ordering is not None:
                self._ordering.leave(request)
                self._ordering.close(request)
            if request.audit is not None:
                request.audit.complete(101)

    def _socket(self, request: Request, target: Target) -> SocketHandler:
        """What may be asked for over a WebSocket: the streams among the sub-resources, and watches."""
        if target.subresource is not None:
            if target.subresource.name in self._sockets:
                return self._sockets[target.subresource.name]
        elif verb_of(request, target) == "watch":
            self._handler("watch", target)
            return self._watch_sockets.serve
        raise method_not_allowed()


async def refuse_websocket(error: StatusError, send: Send) -> None:
    """Answers an upgrade that is not granted with an ordinary Status."""
    answer = error_response(error)
    headers = [header for header in answer.start()["headers"] if header[0] != b"content-length"]  # type: ignore[attr-defined]
    await send({"type": "websocket.http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "websocket.http.response.body", "body": answer.body})


def create_app(
    api: Api,
    tokens: TokenAuthenticator,
    registry: Registry,
    *,
    checks: Checks | None = None,
    aggregation: Aggregation | None = None,
    anonymous: Callable[[], Anonymous | None] = lambda: None,
) -> Application:
    """The application for what ``registry`` serves. ``checks`` are what /readyz asks besides ``ping``; with ``aggregation`` other servers
    answer what APIServices give to them; ``anonymous`` says where who names nobody may ask, if not for health and version alone."""
    return Application(api, tokens, registry, checks=checks, aggregation=aggregation, anonymous=anonymous)
