"""The request pipeline: what both faces call, and the only code that decides.

Order for a write: authenticate (the face) → authorize → decode (the face, or the pipeline for a patch) → default → mutate → prepare
→ validate → admission's validation → encode → one etcd transaction → reply. Faces translate; they hold no rule. Every method raises
``StatusError``, Timeout at the request's deadline. Objects handed in belong to the pipeline afterwards.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from typing import Any, TypeVar

from google.protobuf.message import Message

from knarr.api.meta.v1 import meta_pb2 as meta
from knarr.machinery.errors import StatusError, status_error
from knarr.machinery.resources import Version
from knarr.service.authentication import User
from knarr.service.streams.conversation import Command
from knarr.service.streams.forwards import Forward
from services.apiserver.aside import in_turn
from services.apiserver.audit.auditor import Auditor
from services.apiserver.authorization import asked, imagined_path, permit
from services.apiserver.fairness.fairness import Fairness
from services.apiserver.identity.impersonation import Impersonation
from services.apiserver.identity.playing import may_as_played, played
from services.apiserver.metrics import request_counter, request_timer
from services.apiserver.pipeline import create, delete, elsewhere, posted, proxy, questions, read, streams, update, watch
from services.apiserver.pipeline.apply import apply
from services.apiserver.pipeline.pipeline import Pipeline
from services.apiserver.pipeline.proxy import Destination
from services.apiserver.pipeline.watch import Watch
from services.apiserver.request import (
    CREATE,
    DELETE,
    DELETE_COLLECTION,
    GET,
    LIST,
    PATCH,
    REQUEST_SECONDS,
    UPDATE,
    WATCH,
    Annotated,
    Request,
)
from services.apiserver.results import Event, Page, Ref, Written
from services.apiserver.strategies import custom_strategy, is_made
from services.apiserver.tokens.accounts import ServiceAccountTokens

__all__ = ["Api", "Command", "Destination", "Event", "Forward", "Page", "Ref", "Request", "Written"]

T = TypeVar("T")

# What is done to objects and collections alone.
WHOLE = frozenset((LIST, WATCH, DELETE, DELETE_COLLECTION))


def _way_of(request: Request) -> Callable[[Pipeline, Request, Message], Awaitable[Written]]:
    """What becomes of that which is created."""
    if not request.resource.stored:
        return questions.ask
    return posted.post if request.ref.subresource else create.create


class Api:
    """Reads, writes, watches and streams for both faces. Each method takes requests of its own verb."""

    def __init__(self, pipeline: Pipeline) -> None:
        self.pipeline = pipeline

    async def get(self, request: Request) -> Written:
        """One object or sub-resource; GetOptions."""
        return await self._measured(GET, request, read.get if request.resource.stored else questions.get)

    async def list(self, request: Request) -> Page:
        """A collection, by selectors, in pages when ``limit`` is set; ListOptions."""
        return await self._measured(LIST, request, read.list_page if request.resource.stored else questions.list_page)

    async def watch(self, request: Request) -> Watch:
        """Batches of changes; ListOptions. Bad options are refused at once; the iterator raises Expired when the revision is no longer
        held, and ends at timeoutSeconds. Close it (``aclose``) when it is left early."""
        check_whole(WATCH, request)
        return await self._do(WATCH, request, watch.watch)

    @asynccontextmanager
    async def watching(self, request: Request) -> AsyncIterator[AsyncIterator[Sequence[Event]]]:
        """As ``watch``, also of what another server serves; closed at the end."""
        if request.resource.stored:
            found = await self.watch(request)
            try:
                yield found
            finally:
                found.close()
        else:
            check_whole(WATCH, request)
            answer = await self._do(WATCH, request, elsewhere.watch)
            try:
                async with aclosing(elsewhere.events(request.ref.version, answer)) as events:
                    yield events
            finally:
                await answer.close()

    async def create(self, request: Request, obj: Message) -> Written:
        """A new object, or what is posted to a sub-resource of one (binding, eviction); CreateOptions."""
        if request.audit is not None:
            request.audit.about(getattr(getattr(obj, "metadata", None), "name", ""))
        return await self._measured(CREATE, request, _way_of(request), obj)

    async def update(self, request: Request, obj: Message) -> Written:
        """Replaces an object or a sub-resource; of some kinds an object that is not there is created, for whoever may create it.
        UpdateOptions."""
        return await self._measured(UPDATE, request, update.update if request.resource.stored else elsewhere.update, obj)

    async def patch(self, request: Request, patch_type: str, patch: bytes) -> Written:
        """``patch_type`` is ``json``, ``merge``, ``strategic`` or ``apply``; ``patch`` is JSON, or what is to be applied. PatchOptions."""
        if patch_type == "apply":
            return await self._measured(PATCH, request, apply, patch)
        return await self._measured(PATCH, request, update.patch, patch_type, patch)

    async def delete(self, request: Request) -> Written:
        """Answers the object while it still exists, and of some kinds when it is gone too, else a Status of success; DeleteOptions."""
        return await self._measured(DELETE, request, delete.delete if request.resource.stored else elsewhere.delete)

    async def delete_collection(self, request: Request, selection: meta.ListOptions) -> Page:
        """Answers what was deleted; DeleteOptions."""
        return await self._measured(DELETE_COLLECTION, request, delete.delete_collection, selection)

    async def logs(self, request: Request) -> AsyncIterator[bytes]:
        """A container's output; the options are a LogRequest. Close the iterator (``aclose``) to end the stream."""
        return await self._do(GET, request, streams.logs)

    async def exec(self, request: Request) -> Command:
        """A command that may be run, once, in a container; the options are an ExecStart. The verb is ``create`` however the request came:
        who may only read must not run anything."""
        return await self._do(CREATE, request, streams.exec)

    async def attach(self, request: Request) -> Command:
        """A container that may be attached to, once; the options are an ExecStart without a command."""
        return await self._do(CREATE, request, streams.attach)

    async def port_forward(self, request: Request) -> Forward:
        """A way to the ports of a pod; the options are PodPortForwardOptions. Each connection is one call of it."""
        return await self._do(CREATE, request, streams.port_forward)

    async def proxy(self, request: Request) -> Destination:
        """Where a request to the ``proxy`` of an object is passed on to; the options are its ProxyOptions, and the verb is that of the
        request's method."""
        return await self._do(request.verb, request, proxy.destination)

    async def permit(self, request: Request) -> None:
        """Returns where the caller may ask this of another server, to which it is passed on; raises Forbidden."""
        if (asking := self._enter(request.verb, request)) is not None:
            await asking

    async def ask_elsewhere(self, request: Request, query: Mapping[str, str]) -> bytes:
        """JSON: what another server answers about what has no objects (``pipeline.elsewhere.ref``)."""
        try:
            await self.permit(request)
            answer = await elsewhere.ask(self.pipeline, request, query)
        except StatusError as error:
            if request.audit is not None:
                request.audit.concluded(error.code, error.status)
            raise
        if request.audit is not None:
            request.audit.concluded(200, None)
        return answer

    @property
    def accounts(self) -> ServiceAccountTokens | None:
        """What issues and judges the tokens of service accounts, where this server does."""
        return self.pipeline.callers.accounts

    @property
    def auditor(self) -> Auditor | None:
        """What keeps the audit log, where one is kept."""
        return self.pipeline.auditor

    @property
    def fairness(self) -> Fairness | None:
        """Who says whose request is next, where somebody does; the faces ask."""
        return self.pipeline.fairness

    async def visit(self, user: User, method: str, path: str, audit: Annotated | None = None) -> None:
        """What every way to that which is no resource begins with (discovery, metrics …); raises Forbidden."""
        deadline = asyncio.get_running_loop().time() + REQUEST_SECONDS
        wanted = Request(user, method.lower(), Ref(imagined_path(path)), None, deadline, audit=audit)
        if (asking := self._permitted(wanted)) is not None:
            await asking

    async def impersonate(self, user: User, wanted: Impersonation) -> User:
        """Whom a caller plays, where he may be all that he wants to be; raises Forbidden for the first that he may not."""
        deadline = asyncio.get_running_loop().time() + REQUEST_SECONDS
        return await played(self.pipeline.authorizer, user, wanted, deadline)

    def _enter(self, verb: str, request: Request) -> Coroutine[Any, Any, None] | None:
        """The one way from a face into the pipeline; answers what is to be waited for, if anything."""
        if request.verb != verb:
            raise ValueError(f"a request to {request.verb} came as one to {verb}")
        if not request.resource.stored and request.resource in self.pipeline.elsewhere and verb not in request.resource.verbs:
            raise status_error("MethodNotAllowed", "the server does not allow this method on the requested resource")
        return self._permitted(request)

    def _permitted(self, request: Request) -> Coroutine[Any, Any, None] | None:
        """Answers what is to be waited for, if anything; raises Forbidden."""
        if request.user.constraint:
            return self._as_played(request)
        return asked(self.pipeline.authorizer, request)

    async def _as_played(self, request: Request) -> None:
        await may_as_played(self.pipeline.authorizer, request)
        await permit(self.pipeline.authorizer, request)

    async def _do(self, verb: str, request: Request, path: Callable[..., Awaitable[T]]) -> T:
        """What goes on behind its answer."""
        audit = request.audit
        if audit is None:
            return await self._done(verb, request, path)
        try:
            found = await self._done(verb, request, path)
        except StatusError as error:
            audit.concluded(error.code, error.status)
            raise
        except Exception as error:
            audit.failed(error)
            raise
        audit.begun()
        return found

    async def _done(self, verb: str, request: Request, path: Callable[..., Awaitable[T]]) -> T:
        if (asking := self._enter(verb, request)) is not None:
            await asking
        if not is_ready(request.ref.version):
            await ready(request.ref.version)
        return await path(self.pipeline, request)

    async def _measured(self, verb: str, request: Request, path: Callable[..., Awaitable[T]], *body: Any) -> T:
        start, resource, code = time.perf_counter(), request.ref.resource.plural, "200"
        try:
            check_whole(verb, request)
            if (asking := self._enter(verb, request)) is not None:
                await asking
            if not is_ready(request.ref.version):
                await ready(request.ref.version)
            found = await path(self.pipeline, request, *body)
            if request.warned and isinstance(found, Written):
                found = found._replace(warnings=(*found.warnings, *request.warned))
            if request.audit is not None:
                request.audit.concluded(200, None, found)
            return found
        except StatusError as error:
            code, error.warnings = str(error.code), request.warnings
            if request.audit is not None:
                request.audit.concluded(error.code, error.status)
            raise
        except Exception as error:
            if request.audit is not None:
                request.audit.failed(error)
            raise
        finally:
            request_timer(verb, resource).observe(time.perf_counter() - start)
            request_counter(verb, resource, code).inc()


def check_whole(verb: str, request: Request) -> None:
    """Raises MethodNotAllowed where a sub-resource is named and the verb has none: who may do something to a part of an object (watch a
    pod's log, say) would else be permitted to do it to the object."""
    if request.subresource and (verb in WHOLE or not request.resource.stored):
        raise status_error("MethodNotAllowed", "the server does not allow this method on the requested resource")


def is_ready(version: Version) -> bool:
    """Whether the rules of a resource are made: those of a custom one are when it is first asked for."""
    return version.form.has_message or not version.resource.stored or is_made(version)


async def ready(version: Version) -> None:
    """Makes the rules of a custom resource; aside, as its definition may be large."""
    await in_turn(custom_strategy, version)
