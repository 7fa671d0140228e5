"""Server-side apply over gRPC and REST: the same, told in their own ways."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import grpc
import orjson
import pytest

from knarr.api.apiserver.v1 import resource_service_pb2 as face
from knarr.api.apiserver.v1 import resource_service_pb2_grpc as face_grpc
from knarr.api.core.v1 import core_pb2 as core
from knarr.api.meta.v1 import meta_pb2 as meta
from knarr.client.channel import open_channel
from services.apiserver.in_memory import ApiInMemory
from tests.apiserver.apply.managed import managers
from tests.support.faces import TOKEN, RestClient, rpc_server

INTENT = b"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\ndata: {a: '1'}\n"
PATH = "/api/v1/namespaces/default/configmaps/c"


async def test_over_grpc(tmp_path: Path) -> None:
    async with ApiInMemory() as api, rpc_server(api, tmp_path) as address:
        channel = open_channel(address, (tmp_path / "ca.crt").read_bytes(), TOKEN)
        stub: Any = face_grpc.ResourceServiceStub(channel)
        try:
            where = face.ResourceRef(version="v1", resource="configmaps", namespace="default", name="c")
            request = face.ApplyRequest(ref=where, intent=INTENT, options=meta.PatchOptions(field_manager="m"))
            made = core.ConfigMap.FromString((await stub.Apply(request)).object.value)
            assert (dict(made.data), managers(made)) == ({"a": "1"}, ["m Apply v1"])
            other = face.ApplyRequest(ref=where, intent=INTENT.replace(b"1", b"2", 2), options=meta.PatchOptions(field_manager="other"))
            other.intent = INTENT.replace(b"'1'", b"'2'")
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await stub.Apply(other)
            assert caught.value.code() is grpc.StatusCode.ABORTED
            other.options.force = True
            forced = core.ConfigMap.FromString((await stub.Apply(other)).object.value)
            assert (dict(forced.data), managers(forced)) == ({"a": "2"}, ["other Apply v1"])
            # Who is not named is called as its user.
            written = core.ConfigMap(metadata=meta.ObjectMeta(name="d"), data={"a": "1"})
            where = face.ResourceRef(version="v1", resource="configmaps", namespace="default")
            create = face.CreateRequest(ref=where)
            create.object.Pack(written)
            found = core.ConfigMap.FromString((await stub.Create(create)).object.value)
            assert managers(found) == ["admin Update v1"]
        finally:
            await channel.close()


async def test_over_rest() -> None:
    async with ApiInMemory() as api:
        rest = RestClient(api)
        answer = await rest.call("PATCH", f"{PATH}?fieldManager=m", INTENT, content_type="application/apply-patch+yaml")
        assert (answer.status, answer.json["metadata"]["managedFields"][0]["fieldsV1"]) == (201, {"f:data": {"f:a": {}}})
        answer = await rest.call("PATCH", f"{PATH}?fieldManager=m", INTENT, content_type="application/apply-patch+yaml")
        assert answer.status == 200
        nobody = await rest.call("PATCH", PATH, INTENT, content_type="application/apply-patch+yaml")
        assert (nobody.status, nobody.json["details"]["causes"][0]["field"]) == (422, "fieldManager")
        reset = {**answer.json, "metadata": {**answer.json["metadata"], "managedFields": []}}
        assert "managedFields" not in (await rest.call("PUT", PATH, orjson.dumps(reset))).json["metadata"]
