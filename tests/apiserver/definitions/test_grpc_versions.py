"""Custom resources over gRPC as they are over REST: each call, in a version that a webhook converts to."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import grpc
import orjson
import pytest
from google.protobuf.any_pb2 import Any as AnyMessage

from knarr.api.apiserver.v1 import resource_service_pb2 as face
from knarr.api.apiserver.v1 import resource_service_pb2_grpc as face_grpc
from knarr.api.meta.v1 import meta_pb2 as meta
from knarr.api.runtime.v1 import runtime_pb2 as runtime
from tests.apiserver.definitions.asgi import widget
from tests.apiserver.definitions.converted import V1, answer, converting, v2_widget
from tests.support.faces import TOKEN, rpc_server

WHERE = {"group": "example.org", "version": "v2", "resource": "widgets", "namespace": "default"}


def ref(name: str = "", subresource: str = "", **changed: str) -> face.ResourceRef:
    return face.ResourceRef(**{**WHERE, **changed}, name=name, subresource=subresource)


def packed(value: dict[str, Any]) -> AnyMessage:
    unknown = runtime.Unknown(raw=orjson.dumps(value), content_type="application/json")
    return AnyMessage(type_url="type.googleapis.com/knarr.api.runtime.v1.Unknown", value=unknown.SerializeToString())


def read(body: AnyMessage) -> Any:
    return orjson.loads(runtime.Unknown.FromString(body.value).raw)


async def test_every_call_in_every_version(tmp_path: Path) -> None:
    async with converting() as (rest, webhook), rpc_server(rest.api, tmp_path) as address:
        credentials = grpc.composite_channel_credentials(
            grpc.ssl_channel_credentials((tmp_path / "ca.crt").read_bytes()), grpc.access_token_call_credentials(TOKEN)
        )
        async with grpc.aio.secure_channel(address, credentials) as channel:
            calls = face_grpc.ResourceServiceStub(channel)
            watching = calls.Watch(face.WatchRequest(ref=ref(), options=meta.ListOptions(resource_version=str(rest.api.store.revision))))
            await watching.initial_metadata()
            made = read((await calls.Create(face.CreateRequest(ref=ref(), object=packed(v2_widget(host="db", port=1))))).object)
            assert made["spec"] == {"host": "db", "port": 1} and made["apiVersion"] == "example.org/v2"
            assert (await rest("GET", f"{V1}/a")).json["spec"] == {"address": "db:1"}
            assert read((await calls.Get(face.GetRequest(ref=ref("a")))).object) == made
            assert [read(item) for item in (await calls.List(face.ListRequest(ref=ref()))).items] == [made]
            replaced = await calls.Update(face.UpdateRequest(ref=ref("a"), object=packed({**made, "spec": {"host": "x", "replicas": 2}})))
            assert read(replaced.object)["spec"] == {"host": "x", "port": 80, "replicas": 2}
            patch = face.PatchRequest(ref=ref("a"), type=face.PATCH_TYPE_MERGE, patch=b'{"spec":{"port":5}}')
            assert read((await calls.Patch(patch)).object)["spec"]["port"] == 5
            status = face.PatchRequest(ref=ref("a", "status"), type=face.PATCH_TYPE_MERGE, patch=b'{"status":{"replicas":1}}')
            assert read((await calls.Patch(status)).object)["status"] == {"replicas": 1}
            intent = orjson.dumps(v2_widget(port=7))
            options = meta.PatchOptions(field_manager="me")
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await calls.Apply(face.ApplyRequest(ref=ref("a"), intent=intent, options=options))
            assert refused.value.code() is grpc.StatusCode.ABORTED and "conflict with" in (refused.value.details() or "")
            options.force = True
            applied = await calls.Apply(face.ApplyRequest(ref=ref("a"), intent=intent, options=options))
            assert read(applied.object)["spec"] == {"host": "x", "port": 7, "replicas": 2}
            fresh = await calls.Apply(face.ApplyRequest(ref=ref("b"), intent=orjson.dumps(v2_widget("b", host="y")), options=options))
            assert read(fresh.object)["spec"] == {"host": "y", "port": 80}
            gone = await calls.DeleteCollection(face.DeleteCollectionRequest(ref=ref()))
            assert [read(item)["spec"]["host"] for item in gone.items] == ["x", "y"]
            told = [event async for event in _events(watching, 8)]
            assert [face.EventType.Name(event.type).removeprefix("EVENT_TYPE_") for event in told] == [
                "ADDED", "MODIFIED", "MODIFIED", "MODIFIED", "MODIFIED", "ADDED", "DELETED", "DELETED",
            ]  # fmt: skip
            assert {read(event.object)["apiVersion"] for event in told} == {"example.org/v2"}
            watching.cancel()
            await _lied_to(calls, rest, webhook)


async def _events(watching: Any, count: int) -> Any:
    while count:
        response = await watching.read()
        for event in response.events:
            count -= 1
            yield event


async def _lied_to(calls: Any, rest: Any, webhook: Any) -> None:
    """What cannot be converted is an error with the webhook's words here too, also in the middle of a watch."""

    async def refuse(body: Any) -> Any:
        return answer(body, [], result={"status": "Failure", "message": "no way"})

    webhook.answer = refuse
    watching = calls.Watch(face.WatchRequest(ref=ref(), options=meta.ListOptions(resource_version=str(rest.api.store.revision))))
    await watching.initial_metadata()
    await rest("POST", V1, widget("c", spec={"address": "z:1"}))
    for asking in (calls.Get(face.GetRequest(ref=ref("c"))), watching.read()):
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await asking
        assert refused.value.details() == "conversion webhook for example.org/v1, Kind=Widget failed: no way"
    assert read((await calls.Get(face.GetRequest(ref=ref("c", version="v1")))).object)["spec"] == {"address": "z:1"}
