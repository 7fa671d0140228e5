"""Priority and fairness for REST's requests: let in before anything is done for them, one turn of the loop after the other."""

from __future__ import annotations

import asyncio

from knarr.machinery.errors import StatusError
from knarr.machinery.resources import Route
from knarr.service.authentication import User
from services.apiserver.backend import Backend
from services.apiserver.fairness.fairness import Fairness, Ticket, list_seats
from services.apiserver.request import Request as Asked
from services.apiserver.rest.request import Request
from services.apiserver.rest.routing import Target

ONGOING = frozenset((Route.STREAM, Route.PROXY))


class Ordering:
    """What is let in is given back by ``leave``, and its stream by ``close``."""

    def __init__(self, fairness: Fairness, backend: Backend) -> None:
        self._fairness, self._backend = fairness, backend
        self.let_in = fairness.let_in

    def enter(self, request: Request, verb: str, target: Target) -> Ticket | asyncio.Future[Ticket] | None:
        """Of a request about a resource. What only goes on (logs, commands, what is passed on) takes no seat, as in Kubernetes; a watch
        takes one until it has begun. Raises TooManyRequests."""
        version, subresource = target.version, target.subresource
        if verb == "watch" or (subresource is not None and subresource.route in ONGOING):
            self._fairness.open(request.user)
            request.is_open = True
            if verb != "watch":
                return None
        name = subresource.name if subresource is not None else ""
        plural = version.resource.plural
        flow = self._fairness.flows.of_resource(request.user, verb, version.group, plural, name, target.namespace)
        request.marks += flow.marks
        return self._fairness.enter(flow, 1 if verb != "list" or flow.level.is_exempt else self._seats(request, target), request)

    def _seats(self, request: Request, target: Target) -> int:
        """Of a list: by the objects that there are, or that are asked for."""
        resource = target.version.resource
        objects = len(self._backend.cache.collection(resource)) if resource.stored else 0
        if b"limit=" in request.scope["query_string"]:
            try:
                objects = min(objects, request.query.integer("limit") or objects)
            except StatusError:  # it will be refused
                objects = 0
        return list_seats(objects)

    def enter_path(self, request: Request) -> Ticket | asyncio.Future[Ticket] | None:
        """Of a request about anything else."""
        method = request.method.lower()
        flow = self._fairness.flows.of_path(request.user, "get" if method == "head" else method, request.path)
        request.marks += flow.marks
        return self._fairness.enter(flow, 1, request)

    def enter_elsewhere(self, request: Request, asked: Asked | None) -> Ticket | asyncio.Future[Ticket] | None:
        """Of a request that another server answers."""
        if asked is None:
            return self.enter_path(request)
        ref = asked.ref
        flow = self._fairness.flows.of_resource(
            request.user, asked.verb, ref.version.group, ref.resource.plural, ref.subresource, ref.namespace
        )
        return self._fairness.enter(flow, 1, asked)

    def leave(self, request: Request) -> None:
        """Gives back what a request has; a second time nothing happens."""
        ticket, request.ticket = request.ticket, None
        self._fairness.leave(ticket)

    def close(self, request: Request) -> None:
        """The stream of a request has ended."""
        if request.is_open:
            request.is_open = False
            self.end(request.user)

    def end(self, user: User) -> None:
        """A stream of a user has ended that is no request's any more."""
        self._fairness.close(user)
