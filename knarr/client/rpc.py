"""The client that speaks to the API server's ``ResourceService``.

Errors are converted here, once: a ``Status`` in the trailing metadata becomes a ``StatusError``; a
call that never reached a server becomes ``ServiceUnavailable``. Nothing is retried here: callers
know what may be repeated.
"""

from __future__ import annotations

import asyncio
import functools
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar

import grpc
import grpc.aio
import orjson
from google.protobuf import descriptor_pool, message_factory
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import Message

from knarr.api.apiserver.v1 import resource_service_pb2 as rpc
from knarr.api.apiserver.v1.resource_service_pb2_grpc import ResourceServiceStub
from knarr.api.autoscaling.v1 import autoscaling_pb2 as autoscaling
from knarr.api.meta.v1 import meta_pb2 as meta
from knarr.client.channel import Pair, open_channel
from knarr.client.client import ADDED, ALLOWANCE, BOOKMARK, DELETED, MODIFIED, Client, JsonPatch, ObjectList, WatchEvent
from knarr.client.served import ServedResources
from knarr.machinery.errors import StatusError, error_of, status_error
from knarr.machinery.packing import message_name, packed, reader
from knarr.machinery.resources import Resource, Version, served
from knarr.objects.copies import copy_of
from knarr.objects.keys import metadata_of

M = TypeVar("M", bound=Message)

STATUS_METADATA_KEY = "knarr-status-bin"
CALL_TIMEOUT_SECONDS = 30.0
# How often files are looked at for another certificate; how long calls over the connection with the former one may go on.
LOOK_SECONDS, GRACE_SECONDS = 5.0, 3600.0

_EVENT_TYPES = {
    rpc.EVENT_TYPE_ADDED: ADDED,
    rpc.EVENT_TYPE_MODIFIED: MODIFIED,
    rpc.EVENT_TYPE_DELETED: DELETED,
    rpc.EVENT_TYPE_BOOKMARK: BOOKMARK,
}
_PATCH_TYPES = {
    "json": rpc.PATCH_TYPE_JSON,
    "merge": rpc.PATCH_TYPE_MERGE,
    "strategic": rpc.PATCH_TYPE_STRATEGIC_MERGE,
}
# What a failed call means when no Status came with it.
_REASONS = {
    grpc.StatusCode.UNAVAILABLE: "ServiceUnavailable",
    grpc.StatusCode.CANCELLED: "ServiceUnavailable",
    grpc.StatusCode.DEADLINE_EXCEEDED: "Timeout",
    grpc.StatusCode.UNAUTHENTICATED: "Unauthorized",
    grpc.StatusCode.RESOURCE_EXHAUSTED: "TooManyRequests",
}


def connect(endpoint: str, ca_file: Path | None = None, token: str = "") -> RpcClient:
    """A client for ``host:port``: TLS checked against the CA, bearer token. Close it after use.

    Without a CA the channel is plain text and the token is not sent; for tests only.
    """
    return RpcClient(open_channel(endpoint, ca_file.read_bytes() if ca_file else None, token))


class RpcClient(Client):
    """A ``Client`` on a channel, which it owns."""

    def __init__(self, channel: grpc.aio.Channel, *, timeout_seconds: float = CALL_TIMEOUT_SECONDS) -> None:
        self._channel = channel
        self._made = ResourceServiceStub(channel)
        self._timeout_seconds = timeout_seconds
        self._served = ServedResources()

    @property
    def _stub(self) -> Any:
        """What the next call is made by."""
        return self._made

    async def close(self) -> None:
        """Closes the channel; running calls fail."""
        await self._channel.close()

    async def __aenter__(self) -> RpcClient:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def resources(self) -> Sequence[Resource]:
        reply = await self._call(self._stub.ListResources, rpc.ListResourcesRequest())
        return self._served.learn(reply.resources)

    async def get(self, message: type[M], name: str, namespace: str = "") -> M:
        reply = await self._call(self._stub.Get, rpc.GetRequest(ref=await self._ref(message, namespace, name)))
        return _unpack(reply.object, message)

    async def scale(self, message: type[Message], name: str, namespace: str = "") -> autoscaling.Scale:
        reply = await self._call(self._stub.Get, rpc.GetRequest(ref=await self._ref(message, namespace, name, "scale")))
        return _unpack(reply.object, autoscaling.Scale)

    async def rescale(self, message: type[Message], scale: autoscaling.Scale) -> autoscaling.Scale:
        ref = await self._ref(message, scale.metadata.namespace, scale.metadata.name, "scale")
        reply = await self._call(self._stub.Update, rpc.UpdateRequest(ref=ref, object=_pack(scale)))
        return _unpack(reply.object, autoscaling.Scale)

    async def ask_elsewhere(
        self, group: str, plural: str, namespace: str = "", name: str = "", subresource: str = "", *, query: Mapping[str, str]
    ) -> bytes:
        ref = rpc.ResourceRef(group=group, resource=plural, namespace=namespace, name=name, subresource=subresource)
        reply = await self._call(self._stub.AskElsewhere, rpc.AskElsewhereRequest(ref=ref, query=query))
        answer: bytes = reply.answer
        return answer

    async def list(
        self,
        message: type[M],
        namespace: str = "",
        *,
        label_selector: str = "",
        field_selector: str = "",
        limit: int = 0,
        continue_token: str = "",
        resource_version: str = "",
    ) -> ObjectList[M]:
        options = meta.ListOptions(
            label_selector=label_selector,
            field_selector=field_selector,
            limit=limit,
            continue_token=continue_token,
            resource_version=resource_version,
        )
        reply = await self._call(self._stub.List, rpc.ListRequest(ref=await self._ref(message, namespace), options=options))
        read = reader(message)
        items = [read(item.value) for item in reply.items]
        return ObjectList(items, reply.metadata.resource_version, reply.metadata.continue_token)

    async def watch(
        self,
        message: type[M],
        namespace: str = "",
        *,
        resource_version: str,
        label_selector: str = "",
        field_selector: str = "",
    ) -> AsyncIterator[Sequence[WatchEvent[M]]]:
        options = meta.ListOptions(
            label_selector=label_selector,
            field_selector=field_selector,
            resource_version=resource_version,
            allow_watch_bookmarks=True,
        )
        call = self._stub.Watch(rpc.WatchRequest(ref=await self._ref(message, namespace), options=options))
        try:
            async for reply in call:
                yield [*_events(reply.events, message)]
        except grpc.aio.AioRpcError as error:
            raise status_of(error) from error
        finally:
            call.cancel()

    async def create(self, obj: M, *, subresource: str = "", name: str = "") -> M:
        find = functools.partial(self._posted_to, subresource) if subresource else self._of
        version = await self._version(type(obj), find)
        ref = _ref(version, metadata_of(obj).namespace, name, subresource)
        reply = await self._call(self._stub.Create, rpc.CreateRequest(ref=ref, object=_pack(obj)))
        return copy_of(obj) if reply.object.Is(meta.Status.DESCRIPTOR) else _unpack(reply.object, type(obj))

    async def update(self, obj: M, *, subresource: str = "") -> M:
        metadata = metadata_of(obj)
        ref = await self._ref(type(obj), metadata.namespace, metadata.name, subresource)
        reply = await self._call(self._stub.Update, rpc.UpdateRequest(ref=ref, object=_pack(obj)))
        return _unpack(reply.object, type(obj))

    async def patch(
        self,
        message: type[M],
        name: str,
        namespace: str = "",
        *,
        patch: dict[str, Any] | JsonPatch,
        patch_type: str = "merge",
        subresource: str = "",
    ) -> M:
        ref = await self._ref(message, namespace, name, subresource)
        request = rpc.PatchRequest(ref=ref, type=_PATCH_TYPES[patch_type], patch=orjson.dumps(patch))
        reply = await self._call(self._stub.Patch, request)
        return _unpack(reply.object, message)

    async def delete(
        self,
        message: type[M],
        name: str,
        namespace: str = "",
        *,
        grace_period_seconds: int | None = None,
        propagation_policy: str = "",
        uid: str = "",
        resource_version: str = "",
    ) -> None:
        options = meta.DeleteOptions(grace_period_seconds=grace_period_seconds, propagation_policy=propagation_policy or None)
        if uid:
            options.preconditions.uid = uid
        if resource_version:
            options.preconditions.resource_version = resource_version
        await self._call(self._stub.Delete, rpc.DeleteRequest(ref=await self._ref(message, namespace, name), options=options))

    async def _ref(self, message: type[Message], namespace: str, name: str = "", subresource: str = "") -> rpc.ResourceRef:
        return _ref(self._of(message) or await self._version(message, self._of), namespace, name, subresource)

    def _of(self, message: type[Message]) -> Version | None:
        return self._served.registry.of(message)

    def _posted_to(self, subresource: str, message: type[Message]) -> Version | None:
        return self._served.registry.posted_to(subresource, message)

    async def _version(self, message: type[Message], find: Callable[[type[Message]], Version | None]) -> Version:
        """The version found; asks the server what it serves when it is none of those known. Raises NotFound."""
        found = find(message)
        if found is None:
            await self.resources()
            found = find(message)
        return served(found, message)

    async def _call(self, method: Any, request: Message) -> Any:
        try:
            return await method(request, timeout=min(self._timeout_seconds, ALLOWANCE.get()()))
        except grpc.aio.AioRpcError as error:
            raise status_of(error) from error


def status_of(error: grpc.aio.AioRpcError) -> StatusError:
    """The ``StatusError`` that a failed call stands for."""
    for key, value in error.trailing_metadata() or ():
        if key == STATUS_METADATA_KEY:
            return error_of(meta.Status.FromString(value))
    return status_error(_REASONS.get(error.code(), "InternalError"), error.details() or error.code().name)


def _ref(version: Version, namespace: str, name: str, subresource: str) -> rpc.ResourceRef:
    return rpc.ResourceRef(
        group=version.group,
        version=version.version,
        resource=version.resource.plural,
        namespace=namespace,
        name=name,
        subresource=subresource,
    )


class Pairs(Protocol):
    """Certificates and keys that are replaced from time to time."""

    def latest(self) -> Pair:
        """The pair of this moment; the same object for as long as it is the same."""


class CertifiedRpcClient(RpcClient):
    """A client that shows a certificate, and once it is replaced the new one: with the next call, over a new connection. Calls that run
    go on over the former one; made inside the running loop."""

    def __init__(self, endpoint: str, ca_certificate: bytes, pairs: Pairs, token: str = "", *, server_name: str = "") -> None:
        """``server_name``: whom the server's certificate must name, if that is not the endpoint's host."""
        self._pairs, self._shown = pairs, pairs.latest()
        self._open = lambda pair: open_channel(endpoint, ca_certificate, token, pair=pair, server_name=server_name)
        self._looked = time.monotonic()
        self._closing: set[asyncio.Task[None]] = set()
        super().__init__(self._open(self._shown))

    @property
    def _stub(self) -> Any:
        if (now := time.monotonic()) - self._looked >= LOOK_SECONDS:
            self._looked = now
            if (latest := self._pairs.latest()) is not self._shown:
                self._replace(latest)
        return self._made

    def _replace(self, latest: Pair) -> None:
        former, self._shown = self._channel, latest
        self._channel = self._open(latest)
        self._made = ResourceServiceStub(self._channel)
        closing = asyncio.ensure_future(former.close(GRACE_SECONDS))
        self._closing.add(closing)
        closing.add_done_callback(self._closing.discard)

    async def close(self) -> None:
        for closing in self._closing:
            closing.cancel()
        await asyncio.gather(*self._closing, return_exceptions=True)
        await super().close()


def _pack(obj: Message) -> AnyMessage:
    return packed(type(obj), obj.SerializeToString())


def _unpack(found: AnyMessage, expected: type[M]) -> M:
    """The message inside; a sub-resource may answer another type than the one that was asked."""
    name = found.type_url.rpartition("/")[2]
    if not name or name == message_name(expected):
        return reader(expected)(found.value)
    other = message_factory.GetMessageClass(descriptor_pool.Default().FindMessageTypeByName(name))
    return other.FromString(found.value)  # type: ignore[return-value]


def _events(events: Iterable[rpc.WatchEvent], message: type[M]) -> Iterable[WatchEvent[M]]:
    read = reader(message)
    for event in events:
        if event.type == rpc.EVENT_TYPE_ERROR:
            raise error_of(_unpack(event.object, meta.Status))
        yield WatchEvent(_EVENT_TYPES[event.type], read(event.object.value))
