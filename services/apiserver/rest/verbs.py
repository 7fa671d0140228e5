"""Kubernetes' verb for what a request does to its target."""

from __future__ import annotations

from knarr.machinery.resources import Route
from services.apiserver.rest.errors import method_not_allowed
from services.apiserver.rest.proxying.handler import passed_verb
from services.apiserver.rest.request import Request
from services.apiserver.rest.routing import Target

_OBJECT_VERBS = {"GET": "get", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}
_COLLECTION_VERBS = {"GET": "list", "POST": "create", "DELETE": "deletecollection"}
_SUBRESOURCE_VERBS = {"GET": "get", "PUT": "update", "PATCH": "patch", "POST": "create", "DELETE": "delete"}


def verb_of(request: Request, target: Target) -> str:
    """Raises MethodNotAllowed, or BadRequest for a query that cannot be read."""
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
