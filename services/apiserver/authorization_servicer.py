"""The gRPC face of what the authorizer says of itself: ``AuthorizationService``."""

from __future__ import annotations

from typing import Any

from knarr.api.apiserver.v1 import authorization_service_pb2 as face
from knarr.api.apiserver.v1 import authorization_service_pb2_grpc as face_grpc
from knarr.api.authorization.v1 import authorization_pb2 as authorization
from knarr.api.rbac.v1 import rbac_pb2 as rbac
from knarr.machinery.catalog import version_of
from knarr.machinery.errors import Forbidden, bad_request, status_error
from knarr.service.authentication import User, current_user
from services.apiserver.api import Api
from services.apiserver.authorization import imagined, imagined_path, permit
from services.apiserver.authorizers.chain import Chain
from services.apiserver.authorizers.explanation import explanation
from services.apiserver.request import CREATE, LIST, Request
from services.apiserver.results import Ref
from services.apiserver.stream_servicer import deadline_of


class AuthorizationServicer(face_grpc.AuthorizationServiceServicer):
    """Errors are raised as StatusError; the server's interceptor converts them."""

    def __init__(self, api: Api) -> None:
        self._api = api

    async def Explain(self, request: face.ExplainRequest, context: Any) -> face.ExplainResponse:
        chain, caller, deadline = self._api.pipeline.authorizer, current_user(), deadline_of(context)
        if not isinstance(chain, Chain):
            raise status_error("MethodNotAllowed", "the authorizer of this server does not explain itself")
        user = caller
        if request.user or request.groups:
            await self._permit(Request(caller, CREATE, Ref(version_of(authorization.SubjectAccessReview)), None, deadline))
            extra = tuple((key, tuple(value.items)) for key, value in sorted(request.extra.items()))
            user = User(request.user, request.uid, tuple(request.groups), extra)
        wanted = Request(user, *self._wanted(request), None, deadline)
        return await explanation(chain, wanted, tells_roles=await self._may_list_roles(caller, deadline))

    def _wanted(self, request: face.ExplainRequest) -> tuple[str, Ref]:
        """The verb, and what it is about. Raises BadRequest."""
        about = request.resource
        match request.WhichOneof("wanted"):
            case "path" if request.path.path and request.path.verb:
                return request.path.verb, Ref(imagined_path(request.path.path))
            case "resource" if about.verb and about.resource:
                registry = self._api.pipeline.backend.cache.registry
                version = registry.preferred(about.group, about.resource)
                # Whoever asks seldom knows that something has no namespace, and a role of one would say nothing about it.
                namespace = about.namespace if version is None or version.resource.namespaced else ""
                return about.verb, Ref(version or imagined(about.group, about.resource), namespace, about.name, about.subresource)
            case _:
                raise bad_request("say what is wanted: a verb and a resource, or a verb and a path")

    async def _permit(self, wanted: Request) -> None:
        await permit(self._api.pipeline.authorizer, wanted)

    async def _may_list_roles(self, user: User, deadline: float) -> bool:
        try:
            await self._permit(Request(user, LIST, Ref(version_of(rbac.ClusterRole)), None, deadline))
        except Forbidden:
            return False
        return True
