"""Requests that an extension API server answers: passed on as they are, with who asks in their headers.

What cannot be passed on is answered as Kubernetes answers it, in plain words.
"""

from __future__ import annotations

import asyncio
import ssl
from urllib.parse import unquote

from knarr.machinery.errors import StatusError, bad_request, status_error
from services.apiserver.aggregation.extension import Extension
from services.apiserver.aggregation.front_proxy import caller_headers
from services.apiserver.aggregation.keeper import Aggregation
from services.apiserver.api import Api, Destination
from services.apiserver.authorization import imagined
from services.apiserver.exchange.passing import Place
from services.apiserver.request import REQUEST_SECONDS
from services.apiserver.request import Request as Asked
from services.apiserver.rest.proxying.handler import ANSWER_SECONDS, Passed, Redirected
from services.apiserver.rest.refs import deadline_of
from services.apiserver.rest.request import Request
from services.apiserver.rest.response import Relay, Response, Upgrade, text
from services.apiserver.results import Ref

# Clients ask for what is served before they do anything else: one server is not to keep them.
DISCOVERY_SECONDS = 5.0
AWAY = "service unavailable\n"
REDIRECTED = "the backend attempted to redirect this request, which is not permitted"
_OBJECT_VERBS = {"GET": "get", "HEAD": "get", "PUT": "update", "PATCH": "patch", "POST": "create", "DELETE": "delete"}
_UPWARDS = frozenset((".", ".."))
_COLLECTION_VERBS = {**_OBJECT_VERBS, "GET": "list", "HEAD": "list", "DELETE": "deletecollection"}


class Extensions:
    """``ending`` is set when the server stops."""

    def __init__(self, api: Api, aggregation: Aggregation, ending: asyncio.Event) -> None:
        self._api, self._aggregation, self._ending = api, aggregation, ending

    def at(self, path: str) -> Extension | None:
        """Whose a path is; None for this server's own."""
        return self._aggregation.at(path)

    async def answer(self, request: Request, extension: Extension, path: str = "") -> Response | Upgrade | Relay:
        """``path`` is what is asked for there, that of the request unless given: then the caller was permitted it already. Raises
        Forbidden, Disconnected."""
        asked = None if path else asked_of(request, extension)
        if asked is not None:
            await self._api.permit(asked)
        elif not path:
            await self._api.visit(request.user, "get" if request.method == "HEAD" else request.method, extension.path, request.audit)
        if not extension.available:
            return text(AWAY, 503)
        try:
            trust = await extension.trust()
        except (ssl.SSLError, OSError) as error:
            return text(f"spec.caBundle of APIService {extension.name} cannot be used: {error}\n", 500)
        try:
            connect = self._aggregation.way_to(extension)
        except StatusError:
            return text(AWAY, 503)
        caller = caller_headers(request.user) if self._aggregation.front_proxy is not None else ()
        place = Place("", path or request.path, extension.host, whole=True, caller=caller)
        destination = Destination("https", extension.host, connect)
        passed = Passed(request, place, destination, self._ending, trust)
        try:
            return await passed.answer(_seconds(request, asked))
        except Redirected:
            return text(REDIRECTED, 502)
        except StatusError as error:
            return text(f"{error.status.message}\n", error.code)


def _seconds(request: Request, asked: Asked | None) -> float:
    """How long an answer may take to begin."""
    if asked is None:
        return DISCOVERY_SECONDS
    return ANSWER_SECONDS if asked.verb == "watch" or request.upgrade_to else REQUEST_SECONDS


def asked_of(request: Request, extension: Extension) -> Asked | None:
    """What the path is about, for whoever decides whether it may be asked for; None for what is served there. Raises MethodNotAllowed, and
    BadRequest for a path that leads up again: the other side may follow it.

    It is read as Kubernetes' servers read it, which is how the other side will: a slash is one however it is written, and a part may be
    empty, which names no resource that anybody but who may do everything is let at.
    """
    parts = unquote(request.path).strip("/").split("/")[3:]
    if not parts:
        return None
    if not _UPWARDS.isdisjoint(parts):
        raise bad_request("no part of the path may be . or ..")
    watched = len(parts) > 1 and parts[0] == "watch"
    if watched:
        parts = parts[1:]
    namespace = ""
    if parts[0] == "namespaces" and len(parts) > 2:
        namespace, parts = parts[1], parts[2:]
    plural, name, subresource = (*parts, "", "")[:3]
    verb = (_OBJECT_VERBS if name else _COLLECTION_VERBS).get(request.method)
    if verb is None:
        raise status_error("MethodNotAllowed", "the server does not allow this method on the requested resource")
    if watched or (verb == "list" and b"watch" in request.scope["query_string"] and request.query.flag("watch")):
        verb = "watch"
    ref = Ref(imagined(extension.group, plural, extension.version), namespace, name, subresource)
    return Asked(request.user, verb, ref, None, deadline_of(request), request.agent, request.audit)
