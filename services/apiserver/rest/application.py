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

import orjson

from knarr.api.meta.v1 import meta_pb2 as meta
from knarr.machinery.errors import StatusError, internal, status_error
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
from services.apiserver.rest.auditing import GONE, GONE_STATUS, Auditing, conclude
from services.apiserver.rest.authentication import Authenticator
from services.apiserver.rest.discovery import Discovery
from services.apiserver.rest.dumps import FOLDER as DUMPS
from services.apiserver.rest.dumps import Dumps
from services.apiserver.rest.errors import error_response, method_not_allowed, no_such_resource
from services.apiserver.rest.exec import Commands, attachments, exec_commands
from services.apiserver.rest.extensions import Extensions, asked_of
from services.apiserver.rest.finish import finished, is_finished
from services.apiserver.rest.health import Checks, health
from services.apiserver.rest.issuer import Issuer
from services.apiserver.rest.logs import Logs
from services.apiserver.rest.metrics import metrics_response, request_counter, request_seconds
from services.apiserver.rest.openapi import OpenApi
from services.apiserver.rest.ordering import Ordering
from services.apiserver.rest.pieces import cut, is_long, send_pieces
from services.apiserver.rest.port_forward import PortForwards
from services.apiserver.rest.proxying.handler import Proxy, passed_verb
from services.apiserver.rest.reads import Reads
from services.apiserver.rest.representations import Representations, Strategies
from services.apiserver.rest.request import UNREAD_BYTES, Disconnected, Receive, Request, Scope, Send
from services.apiserver.rest.response import CLOSE, Pieces, Relay, Response, Stream, Upgrade, marked, text, warning_headers
from services.apiserver.rest.routing import Router, Target, proxy_end
from services.apiserver.rest.streams import Streams
from services.apiserver.rest.version import version_response
from services.apiserver.rest.watch_sockets import WatchSockets
from services.apiserver.rest.watches import Watches
from services.apiserver.rest.writes import Writes
from services.apiserver.strategies import strategy_for

logger = logging.getLogger(__name__)

Handler = Callable[[Request, Target], Awaitable[Response | Stream | Pieces | Upgrade | Relay]]
SocketHandler = Callable[[Request, Target, Receive, Send], Awaitable[None]]

# What goes on behind its head, and what is written part by part.
ONGOING, IN_PARTS = (Stream, Upgrade, Relay), (Stream, Pieces)
# The check that says whether all that is stored is known.
LOADED = "cache"
_PROBES = ("healthz", "livez", "readyz")
_PROBE_PATHS = tuple(f"/{probe}" for probe in _PROBES)
_OBJECT_VERBS = {"GET": "get", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}
_COLLECTION_VERBS = {"GET": "list", "POST": "create", "DELETE": "deletecollection"}
_SUBRESOURCE_VERBS = {"GET": "get", "PUT": "update", "PATCH": "patch", "POST": "create", "DELETE": "delete"}


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
        self._api = api
        self._authenticator = Authenticator(tokens, api, anonymous)
        self._auditing = Auditing(api.auditor) if api.auditor is not None else None
        self._ordering = Ordering(api.fairness, api.pipeline.backend) if api.fairness is not None else None
        self._dumps = Dumps(api.fairness, verb_of) if api.fairness is not None else None
        self.checks = {"ping": lambda: True, **(checks or {})}
        self._registry = registry
        self._openapi = OpenApi(registry, aggregation)
        self._aggregation = aggregation
        self._issuer = Issuer(api.accounts)
        self._derive()
        registry.subscribe(self._changed)
        ending = self.streams.ending
        self._extensions = None if aggregation is None else Extensions(api, aggregation, ending)
        if aggregation is not None:
            aggregation.subscribe(self._derive_discovery)
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
        self._derive()
        if new is None and old is not None and all(other.plural != old.plural for other in self._registry):
            metrics.forget(old.plural)

    def _derive(self) -> None:
        """Makes anew what follows from the registry; each part works out its answers when they are first asked for."""
        registry = self._registry
        representations.forget()
        self._router = Router(registry)
        self._derive_discovery()

    def _derive_discovery(self) -> None:
        self._discovery = Discovery(self._registry, self._aggregation.extensions if self._aggregation is not None else ())

    @property
    def rounds(self) -> Rounds | None:
        """By which requests are answered in fair order, where they are."""
        return self._api.fairness.rounds if self._api.fairness is not None else None

    def passes_on(self, path: str) -> bool:
        """Whether requests to a path are answered elsewhere, to where they go as they are."""
        return bool(proxy_end(path)) or (self._extensions is not None and self._extensions.at(path) is not None)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await self._websocket(Request(scope, receive), receive, send)
            return
        request = Request(scope, receive)
        name_task(request.method, request.path)
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
        verb, resource = "", ""
        # Not the error itself: it holds this frame, and the request with it, until the garbage is looked for.
        refusal: meta.Status | None = None
        answer: Response | Stream | Pieces | Upgrade | Relay
        try:
            # Nothing is worked out, and nothing remembered, for a caller who is not known.
            user = self._authenticator.user(request)
            request.user = user if isinstance(user, User) else await user
            extension = self._extensions.at(request.path) if self._extensions is not None else None
            target = self._router.target(request.path) if extension is None else None
            if target is not None:
                verb, resource = self._asked(request, target), target.version.resource.plural
            elif self._auditing is not None:
                self._visited(self._auditing, request, extension)
            if self._ordering is not None:
                entering = self._entering(self._ordering, request, verb, target, extension)
                if entering is not None:
                    request.ticket = entering if isinstance(entering, Ticket) else await self._in_turn(request, entering)
            if extension is not None:
                assert self._extensions is not None
                answer = await self._extensions.answer(request, extension)
            elif target is None:
                answer = await self._other(request)
            else:
                answer = await self._handler(verb, target)(request, target)
                if target.version.deprecation_warning and isinstance(answer, Response | Stream | Pieces):
                    answer.headers = [*answer.headers, *warning_headers([target.version.deprecation_warning])]
        except Disconnected:
            if request.audit is not None:
                request.audit.complete(GONE, GONE_STATUS)
            return
        except StatusError as error:
            refusal = error.status
            if self._auditing is not None and request.user is User.ANONYMOUS:
                self._auditing.refused(request, error)
            # Who names somebody must be them, whatever they ask for.
            named = bearer_token(request.headers.get(b"authorization", b"").decode("latin-1"))
            answer = (not named and self._authenticator.opens and self._open(request)) or error_response(
                error, request.headers.get(b"accept", b"")
            )
        except Exception as error:
            logger.exception("a request failed", extra={"method": request.method, "path": request.path})
            answer = error_response(internal(str(error) or type(error).__name__), request.headers.get(b"accept", b""))
            if request.audit is not None:
                request.audit.panic(f"{type(error).__name__}: {error}")
        request_counter(verb, resource, answer.status).inc()
        audit = request.audit
        if audit is not None:
            conclude(audit, answer, refusal, request.target)
        # It leads to this frame, and the frame to it: they would lie about until the collector comes, with all that was sent.
        refusal = None
        if self._ordering is not None and isinstance(answer, ONGOING):
            # What goes on takes no seat, and no turns.
            self._ordering.leave(request)
            request.go_on()
        if isinstance(answer, Upgrade):
            try:
                await self.streams.serve(request, answer)
                return
            except StatusError as error:
                answer = error_response(error)
            finally:
                if audit is not None:
                    audit.complete(answer.status)
        if isinstance(answer, Relay):
            try:
                await while_there(request, answer.run(send))
            finally:
                if audit is not None:
                    audit.complete(answer.status)
            return
        if request.marks and isinstance(answer, IN_PARTS):
            answer.headers = [*answer.headers, *marked(request.marks)]
        if isinstance(answer, Stream):
            if audit is not None or request.is_open:
                # It may go on behind its task.
                answer.on_end = partial(self._ended, request.user if request.is_open else None, audit, answer.status)
                request.is_open = False
            await self.streams.send(request, answer, send)
            return
        if isinstance(answer, Pieces):
            await send_pieces(request, answer, send)
            request_seconds(verb).observe(perf_counter() - started)
            return
        if not is_finished(request, answer):
            answer = await finished(request, answer)
        request_seconds(verb).observe(perf_counter() - started)
        unread = request.leaves_much_unread
        if unread:
            answer.headers = [*answer.headers, CLOSE]
        if request.method != "HEAD" and is_long(answer):
            if request.marks:
                answer.headers = [*answer.headers, *marked(request.marks)]
            await send_pieces(request, cut(answer), send)
            return
        if answer.before:
            answer.join()
        if answer.headers or request.method == "HEAD" or not request.answer(answer.head(request.marks), answer.body):
            if request.marks:
                answer.headers = [*answer.headers, *marked(request.marks)]
            await send(answer.start())
            await send({"type": "http.response.body", "body": answer.body})
        if unread and len(answer.body) < UNREAD_BYTES:
            request.linger()

    def _entering(
        self, ordering: Ordering, request: Request, verb: str, target: Target | None, extension: Extension | None
    ) -> Ticket | asyncio.Future[Ticket] | None:
        """What lets a request in. Raises TooManyRequests, MethodNotAllowed."""
        if target is not None:
            return ordering.enter(request, verb, target)
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

    def _ended(self, user: User | None, audit: AuditEvent | None, status: int) -> None:
        """A stream is over."""
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

    def _open(self, request: Request) -> Response | None:
        """What is for everybody: probes and the version."""
        if request.path.rstrip("/") == "/version":
            return version_response()
        return self._probe(request) if request.path.startswith(_PROBE_PATHS) and request.path.split("/", 2)[1] in _PROBES else None

    async def _other(self, request: Request) -> Response | Upgrade | Relay:
        """Everything that is no resource, with or without a slash at its end."""
        if (found := self._open(request)) is not None:
            return found
        path = request.path.rstrip("/") or "/"
        await self._api.visit(request.user, "get" if request.method == "HEAD" else request.method, path, request.audit)
        if path == "/metrics":
            return metrics_response()
        if self._dumps is not None and path.startswith(DUMPS) and (found := self._dumps.answer(path, request)) is not None:
            return found
        found = self._paths() if path == "/" else self._issuer.answer(path)
        if path.startswith("/openapi"):
            if self._extensions is not None and (there := self._openapi.elsewhere(path)) is not None:
                return await self._extensions.answer(request, there, path)
            found = await self._openapi.answer(request)
        if found is None:
            found = self._discovery.answer(path, request.headers.get(b"accept", b""), request.headers.get(b"if-none-match", b""))
        if found is None:
            if not self.checks.get(LOADED, lambda: True)():
                # It may be a custom resource, and those are not known yet.
                message = "the API server is still reading etcd; try again in a moment"
                raise status_error("ServiceUnavailable", message, retry_after_seconds=1)
            if self._router.knows_group_version(path):
                raise no_such_resource()
            return text("404 page not found\n", 404)
        if request.method not in ("GET", "HEAD"):
            raise method_not_allowed()
        return found

    def _paths(self) -> Response:
        """Every path that is no resource's."""
        probes = (f"/{probe}{name}" for probe in _PROBES for name in ("", *(f"/{check}" for check in self._checks_of(probe))))
        return Response(
            orjson.dumps(
                {"paths": sorted({*self._discovery.paths, *self._openapi.paths, *self._issuer.paths, *probes, "/metrics", "/version"})}
            )
        )

    def _checks_of(self, probe: str) -> Checks:
        """``/readyz`` asks every check; ``/livez`` and ``/healthz`` only whether requests are answered."""
        return self.checks if probe == "readyz" else {"ping": self.checks["ping"]}

    def _probe(self, request: Request) -> Response:
        probe, _, single = request.path.strip("/").partition("/")
        checks = self._checks_of(probe)
        if single:
            if single not in checks:
                return text("404 page not found\n", 404)
            checks = {single: checks[single]}
        return health(probe, checks, request.query)

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


def name_task(method: str, path: str) -> None:
    """Lets who holds up the loop be known by its request."""
    task = asyncio.current_task()
    if task is not None:
        task.set_name(f"{method} {path}")


async def refuse_websocket(error: StatusError, send: Send) -> None:
    """Answers an upgrade that is not granted with an ordinary Status."""
    answer = error_response(error)
    headers = [header for header in answer.start()["headers"] if header[0] != b"content-length"]  # type: ignore[attr-defined]
    await send({"type": "websocket.http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "websocket.http.response.body", "body": answer.body})


def verb_of(request: Request, target: Target) -> str:
    """Kubernetes' verb for a request; raises MethodNotAllowed, or BadRequest for a query that cannot be read."""
    method = request.method
    if target.watched:
        verb = "watch" if method == "GET" else None
    elif target.subresource is not None:
        if target.subresource.route is Route.PROXY:
            verb = passed_verb(method, target.version.resource.plural, upgraded=bool(request.upgrade_to))
        else:
            verb = _SUBRESOURCE_VERBS.get(method)
    elif target.name:
        verb = _OBJECT_VERBS.get(method)
    else:
        verb = _COLLECTION_VERBS.get(method)
        if verb == "list" and b"watch" in request.scope["query_string"] and request.query.flag("watch"):
            verb = "watch"
    if verb is None:
        raise method_not_allowed()
    return verb


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
