"""POST, PUT, PATCH and DELETE.

The form of the answer is chosen first: what cannot be answered is not done either.
"""

from __future__ import annotations

from google.protobuf.message import Message

from knarr.api.meta.v1 import meta_pb2 as meta
from knarr.machinery.codec import UnknownFields
from knarr.machinery.type_names import names_of
from services.apiserver.api import Api
from services.apiserver.aside import aside
from services.apiserver.request import CREATE, DELETE, DELETE_COLLECTION, PATCH, UPDATE
from services.apiserver.rest import bodies, negotiation
from services.apiserver.rest import query as queries
from services.apiserver.rest.objects import Representation
from services.apiserver.rest.refs import request_of
from services.apiserver.rest.representations import Representations, written
from services.apiserver.rest.request import Request
from services.apiserver.rest.response import Response, warning_headers
from services.apiserver.rest.routing import Target
from services.apiserver.results import Written

# How an answer is written, and the media type that was asked for.
Form = tuple[Representation, str]


class Writes:
    """Decodes a body, lets the pipeline act, encodes what it answers; stateless."""

    def __init__(self, api: Api, representations: Representations) -> None:
        self._api = api
        self._representations = representations

    async def create(self, request: Request, target: Target) -> Response:
        form = self._form(request, target)
        wanted = request_of(request, target, CREATE, queries.create_options(request.query))
        obj, warnings = await self._object(request, target, wanted.options.field_validation)
        result = await self._api.create(wanted, obj)
        return await _answer(form, result, warnings, 201)

    async def update(self, request: Request, target: Target) -> Response:
        form = self._form(request, target)
        wanted = request_of(request, target, UPDATE, queries.update_options(request.query))
        obj, warnings = await self._object(request, target, wanted.options.field_validation)
        result = await self._api.update(wanted, obj)
        return await _answer(form, result, warnings, 201 if result.created else 200)

    async def patch(self, request: Request, target: Target) -> Response:
        form = self._form(request, target)
        wanted = request_of(request, target, PATCH, queries.patch_options(request.query))
        patch_type = negotiation.patch_type(request.content_type)
        body = await request.body()
        result = await self._api.patch(wanted, patch_type, body)
        return await _answer(form, result, [], 201 if result.created else 200)

    async def delete(self, request: Request, target: Target) -> Response:
        form = self._form(request, target)
        wanted = request_of(request, target, DELETE, await self._delete_options(request))
        result = await self._api.delete(wanted)
        # Kubernetes says so only to whom it said so before there were propagation policies.
        cascades = wanted.options.HasField("orphan_dependents") and not wanted.options.orphan_dependents
        return await _answer(form, result, [], 202 if result.entry is not None and cascades else 200)

    async def delete_collection(self, request: Request, target: Target) -> Response:
        representation = self._representations.choose(target.version, request.wanted, request.query, listed=True)
        wanted = request_of(request, target, DELETE_COLLECTION, await self._delete_options(request))
        page = await self._api.delete_collection(wanted, queries.list_options(request.query))
        return Response(representation.page(page), content_type=representation.content_type, headers=warning_headers(wanted.warnings))

    async def _object(self, request: Request, target: Target, field_validation: str) -> tuple[Message, list[str]]:
        version = target.version
        message_type = version.body_of(target.subresource)
        body = await request.body()
        unknown, own = UnknownFields(field_validation), message_type is version.message
        if own and not version.form.has_message:
            decoded = await aside(len(body), bodies.decode_custom, version, body, request.content_type, unknown)
        else:
            names = _names(target, message_type)
            decoded = await aside(len(body), bodies.decode, message_type, body, request.content_type, unknown, names)
        return target.version.to_storage(decoded.message), decoded.warnings

    async def _delete_options(self, request: Request) -> meta.DeleteOptions:
        body = await request.body()
        if not body:
            return queries.delete_options(request.query, None)
        decoded = await aside(len(body), bodies.decode, meta.DeleteOptions, body, request.content_type, UnknownFields.DROP)
        return queries.delete_options(request.query, decoded.message)

    def _form(self, request: Request, target: Target) -> Form:
        """Raises NotAcceptable, BadRequest."""
        wanted = request.wanted
        return self._representations.choose(target.version, wanted, request.query), wanted.media_type


def _names(target: Target, body: type[Message]) -> bodies.Names:
    """What a body that is written there may be called."""
    if body is target.version.message:
        return bodies.Names.of(target.version.names)
    return bodies.Names.of(names_of(body), target.subresource.formerly if target.subresource is not None else ())


async def _answer(form: Form, result: Written, warnings: list[str], status: int) -> Response:
    size = len(result.entry.raw) if result.entry is not None else 0
    body, content_type = await aside(size, written, form[0], result, form[1])
    return Response(body, status, content_type, warning_headers([*warnings, *result.warnings]))
