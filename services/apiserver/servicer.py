"""The gRPC face: ``ResourceService`` over the pipeline. It translates; objects pass through as bytes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any

from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import DecodeError, Message

from knarr.api.apiserver.v1 import resource_service_pb2 as face
from knarr.api.apiserver.v1 import resource_service_pb2_grpc as face_grpc
from knarr.api.meta.v1 import meta_pb2 as meta
from knarr.client.client import ADDED, BOOKMARK, DELETED, MODIFIED
from knarr.machinery import budget, codec
from knarr.machinery.errors import Expired, bad_request, status_error
from knarr.machinery.packing import JSON_NAME, json_of, message_name, packed
from knarr.machinery.resources import Registry, Resource, Version
from services.apiserver.api import Api, Event, Ref, Written
from services.apiserver.aside import LARGE_BYTES, aside
from services.apiserver.call_auditing import note_body, note_patch
from services.apiserver.entry import Entry
from services.apiserver.fairness.fairness import Ticket, list_seats
from services.apiserver.request import CREATE, DELETE, DELETE_COLLECTION, GET, LIST, PATCH, UPDATE, WATCH, Request
from services.apiserver.stream_servicer import StreamServicer

EVENT_TYPES = {
    ADDED: face.EVENT_TYPE_ADDED,
    MODIFIED: face.EVENT_TYPE_MODIFIED,
    DELETED: face.EVENT_TYPE_DELETED,
    BOOKMARK: face.EVENT_TYPE_BOOKMARK,
}
PATCH_TYPES = {face.PATCH_TYPE_JSON: "json", face.PATCH_TYPE_MERGE: "merge", face.PATCH_TYPE_STRATEGIC_MERGE: "strategic"}
NEWEST = meta.GetOptions()
INITIAL_EVENTS_END = "k8s.io/initial-events-end"


def type_url(message: type[Message]) -> str:
    return f"type.googleapis.com/{message.DESCRIPTOR.full_name}"


def pack_entry(entry: Entry, version: Version) -> AnyMessage:
    """An object in a version, without decoding it where that is the stored one."""
    found = entry.served(version)
    return packed(version.message, found.with_revision if version.form.has_message else found.json)


def pack(written: Written, version: Version) -> AnyMessage:
    if written.entry is not None:
        return pack_entry(written.entry, version)
    message = written.message_in(version)
    return packed(type(message), message.SerializeToString())


def warnings(written: Written, version: Version) -> Sequence[str]:
    return [version.deprecation_warning, *written.warnings] if version.deprecation_warning else written.warnings


def unpack(message: type[Message], body: AnyMessage) -> Any:
    """Raises BadRequest for another type, broken bytes or malformed values."""
    if body.type_url and body.type_url.rpartition("/")[2] != message.DESCRIPTOR.full_name:
        raise bad_request(f"the object is a {body.type_url.rpartition('/')[2]}; {message.DESCRIPTOR.full_name} is expected here")
    try:
        found = message.FromString(body.value)
        if len(body.value) > LARGE_BYTES:
            budget.check(codec.to_dict(found))
        return codec.as_from_json(found)
    except DecodeError as error:
        raise bad_request(f"the object is no {message.DESCRIPTOR.full_name}: {error}") from error


def body_of(ref: Ref, body: AnyMessage) -> Any:
    """What is written to that which ``ref`` names, as it is stored. A sub-resource that is not there is the pipeline's to refuse."""
    subresource = ref.version.subresource(ref.subresource) if ref.subresource else None
    message = ref.version.body_of(subresource)
    if message is ref.version.message and not ref.version.form.has_message:
        return ref.version.to_storage(unpack_json(ref.version, body))
    return ref.version.to_storage(unpack(message, body))


async def _body(wanted: Request, body: AnyMessage) -> Any:
    note_body(wanted, body)
    return await aside(len(body.value), body_of, wanted.ref, body)


def unpack_json(version: Version, body: AnyMessage) -> Any:
    """The object of a version that has no message. Raises BadRequest."""
    if body.type_url and body.type_url.rpartition("/")[2] != JSON_NAME:
        raise bad_request(f"the object is a {body.type_url.rpartition('/')[2]}; {JSON_NAME} with JSON is expected here")
    try:
        return version.form.from_json(json_of(body)).message
    except (DecodeError, ValueError) as error:
        raise bad_request(f"the object is no {JSON_NAME} with JSON: {error}") from error


def _list_name(version: Version) -> str:
    """Empty for what has no list, or no messages."""
    return version.list_message.DESCRIPTOR.full_name if version.form.has_message and version.list_message is not None else ""


def pack_resource(resource: Resource, registry: Registry) -> face.ApiResource:
    return face.ApiResource(
        plural=resource.plural,
        singular=resource.singular,
        namespaced=resource.namespaced,
        verbs=resource.verbs,
        short_names=resource.short_names,
        categories=resource.categories,
        versions=[
            face.ApiVersion(
                group=version.group,
                version=version.version,
                kind=version.kind,
                message=message_name(version.message),
                list_message=_list_name(version),
                deprecation_warning=version.deprecation_warning,
            )
            for version in resource.versions
            if registry.serves(version)
        ],
        subresources=[
            face.ApiSubresource(
                name=sub.name, verbs=sub.verbs, message=sub.body.DESCRIPTOR.full_name if sub.body is not None else "", route=sub.route.value
            )
            for sub in resource.subresources
        ],
    )


def pack_event(version: Version, event: Event) -> face.WatchEvent:
    if event.entry is not None:
        return face.WatchEvent(type=EVENT_TYPES[event.type], object=pack_entry(event.entry, version))
    bookmark: Any = version.message()
    bookmark.metadata.resource_version = str(event.revision)
    if event.initial_events_end:
        bookmark.metadata.annotations[INITIAL_EVENTS_END] = "true"
    return face.WatchEvent(type=EVENT_TYPES[event.type], object=packed(version.message, bookmark.SerializeToString()))


def pack_events(version: Version, batch: Sequence[Event]) -> face.WatchResponse:
    return face.WatchResponse(events=[pack_event(version, event) for event in batch])


class ResourceServicer(StreamServicer, face_grpc.ResourceServiceServicer):
    """Errors are raised as StatusError; the server's interceptor converts them."""

    def __init__(self, api: Api, registry: Registry) -> None:
        self._api, self._registry = api, registry

    async def _request(self, verb: str, ref: face.ResourceRef, options: Any, context: Any) -> Request:
        """The request of the caller of this RPC, who waits until the RPC's deadline, once its turn has come. Raises TooManyRequests."""
        return await self._in_turn(self._asked(verb, self._ref(ref), options, context), context)

    async def _in_turn(self, wanted: Request, context: Any) -> Request:
        if (ticket := await self._let_in(wanted)) is not None:
            context.add_done_callback(lambda _: self._give_back(ticket))
        return wanted

    async def _let_in(self, wanted: Request) -> Ticket | None:
        """Waits for a request's turn. Raises TooManyRequests."""
        fairness = self._api.fairness
        if fairness is None:
            return None
        ref, version = wanted.ref, wanted.ref.version
        flow = fairness.flows.of_resource(wanted.user, wanted.verb, version.group, ref.resource.plural, ref.subresource, ref.namespace)
        entering = fairness.enter(flow, self._seats(wanted) if wanted.verb == LIST and not flow.level.is_exempt else 1, wanted)
        return entering if entering is None or isinstance(entering, Ticket) else await fairness.let_in(entering)

    def _give_back(self, ticket: Ticket | None) -> None:
        if self._api.fairness is not None:
            self._api.fairness.leave(ticket)

    def _seats(self, wanted: Request) -> int:
        resource, limit = wanted.resource, wanted.options.limit
        objects = len(self._api.pipeline.backend.cache.collection(resource)) if resource.stored else 0
        return list_seats(min(objects, limit) if limit > 0 else objects)

    def _ref(self, ref: face.ResourceRef) -> Ref:
        version = self._version(ref)
        namespaced = version.resource.namespaced
        if namespaced and ref.name and not ref.namespace:
            raise bad_request(f"{ref.resource} are namespaced: a namespace is needed with a name")
        return Ref(version, ref.namespace if namespaced else "", ref.name, ref.subresource)

    def _version(self, ref: face.ResourceRef) -> Version:
        for registry in (self._registry, self._api.pipeline.elsewhere.registry):
            found = registry.served(ref.group, ref.version, ref.resource) if ref.version else registry.preferred(ref.group, ref.resource)
            if found is not None:
                return found
        raise status_error("NotFound", "the server could not find the requested resource")

    async def ListResources(self, request: face.ListResourcesRequest, context: Any) -> face.ListResourcesResponse:
        found = [*self._registry, *self._api.pipeline.elsewhere.beside(self._registry)]
        return face.ListResourcesResponse(resources=[pack_resource(resource, self._registry) for resource in found])

    async def Get(self, request: face.GetRequest, context: Any) -> face.GetResponse:
        wanted = await self._request(GET, request.ref, NEWEST, context)
        return face.GetResponse(object=pack(await self._api.get(wanted), wanted.ref.version))

    async def List(self, request: face.ListRequest, context: Any) -> face.ListResponse:
        wanted = await self._request(LIST, request.ref, request.options, context)
        page = await self._api.list(wanted)
        response = face.ListResponse(items=[pack_entry(entry, wanted.ref.version) for entry in page.entries])
        response.metadata.resource_version, response.metadata.continue_token = str(page.revision), page.continue_token
        if page.remaining is not None:
            response.metadata.remaining_item_count = page.remaining
        return response

    async def Watch(self, request: face.WatchRequest, context: Any) -> AsyncIterator[face.WatchResponse]:
        wanted = self._stream(WATCH, self._ref(request.ref), request.options, context)
        ticket = await self._let_in(wanted)
        try:
            async with self._api.watching(wanted) as batches:
                # What goes on takes no seat.
                self._give_back(ticket)
                ticket = None
                await context.send_initial_metadata(())
                try:
                    async for batch in batches:
                        yield pack_events(wanted.ref.version, batch)
                except Expired as error:
                    body = AnyMessage(type_url=type_url(type(error.status)), value=error.status.SerializeToString())
                    yield face.WatchResponse(events=[face.WatchEvent(type=face.EVENT_TYPE_ERROR, object=body)])
        finally:
            self._give_back(ticket)

    async def Create(self, request: face.CreateRequest, context: Any) -> face.CreateResponse:
        wanted = await self._request(CREATE, request.ref, request.options, context)
        written = await self._api.create(wanted, await _body(wanted, request.object))
        return face.CreateResponse(object=pack(written, wanted.ref.version), warnings=warnings(written, wanted.ref.version))

    async def Update(self, request: face.UpdateRequest, context: Any) -> face.UpdateResponse:
        wanted = await self._request(UPDATE, request.ref, request.options, context)
        written = await self._api.update(wanted, await _body(wanted, request.object))
        return face.UpdateResponse(object=pack(written, wanted.ref.version), warnings=warnings(written, wanted.ref.version))

    async def Patch(self, request: face.PatchRequest, context: Any) -> face.PatchResponse:
        if request.type not in PATCH_TYPES:
            raise bad_request("the type of the patch is missing")
        wanted = await self._request(PATCH, request.ref, request.options, context)
        note_patch(wanted, request.patch)
        written = await self._api.patch(wanted, PATCH_TYPES[request.type], request.patch)
        return face.PatchResponse(object=pack(written, wanted.ref.version), warnings=warnings(written, wanted.ref.version))

    async def Apply(self, request: face.ApplyRequest, context: Any) -> face.ApplyResponse:
        wanted = await self._request(PATCH, request.ref, request.options, context)
        note_patch(wanted, request.intent)
        written = await self._api.patch(wanted, "apply", request.intent)
        return face.ApplyResponse(object=pack(written, wanted.ref.version), warnings=warnings(written, wanted.ref.version))

    async def AskElsewhere(self, request: face.AskElsewhereRequest, context: Any) -> face.AskElsewhereResponse:
        asked = request.ref
        names = asked.group, asked.version, asked.resource, asked.namespace, asked.name, asked.subresource
        wanted = self._asked(GET if asked.name else LIST, self._api.pipeline.elsewhere.ref(*names), meta.ListOptions(), context)
        return face.AskElsewhereResponse(answer=await self._api.ask_elsewhere(await self._in_turn(wanted, context), dict(request.query)))

    async def Delete(self, request: face.DeleteRequest, context: Any) -> face.DeleteResponse:
        wanted = await self._request(DELETE, request.ref, request.options, context)
        return face.DeleteResponse(object=pack(await self._api.delete(wanted), wanted.ref.version))

    async def DeleteCollection(self, request: face.DeleteCollectionRequest, context: Any) -> face.DeleteCollectionResponse:
        wanted = await self._request(DELETE_COLLECTION, request.ref, request.options, context)
        page = await self._api.delete_collection(wanted, request.list_options)
        return face.DeleteCollectionResponse(items=[pack_entry(entry, wanted.ref.version) for entry in page.entries])
