"""Each component's identity, a pod with the default account and a stranger try what they must not: every call of the API server, on both
faces. A call that is new needs a row here."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.any_pb2 import Any as AnyMessage

from knarr.api.apiserver.v1 import authorization_service_pb2 as authorization_face
from knarr.api.apiserver.v1 import authorization_service_pb2_grpc as authorization_grpc
from knarr.api.apiserver.v1 import resource_service_pb2 as face
from knarr.api.apiserver.v1 import resource_service_pb2_grpc as face_grpc
from knarr.api.core.v1 import core_pb2 as core
from knarr.api.meta.v1 import meta_pb2 as meta
from knarr.client.channel import open_channel
from services.apiserver.in_memory import ApiInMemory
from services.apiserver.rbac.defaults import defaults
from tests.support.faces import TOKEN, RestClient, rpc_server

CONTROLLER = "system:kube-controller-manager"
# Whom they are tried as, with the groups that they have besides.
IDENTITIES: dict[str, tuple[str, ...]] = {
    "system:kube-scheduler": (),
    CONTROLLER: (),
    "system:cloud-controller-manager": (),
    "system:kube-proxy": (),
    "system:kube-dns": (),
    "system:knarr-web": (),
    "system:kube-apiserver": (),
    "system:node:node-1": ("system:nodes",),
    "system:serviceaccount:default:default": (),
    "somebody": (),
}
SECRET = face.ResourceRef(version="v1", resource="secrets", namespace="vault", name="key")
SECRETS = face.ResourceRef(version="v1", resource="secrets", namespace="vault")
BODY = AnyMessage(value=core.Secret(metadata=meta.ObjectMeta(name="key", namespace="vault")).SerializeToString())
POD: dict[str, Any] = {"namespace": "vault", "pod": "safe"}

Stub = face_grpc.ResourceServiceStub


def _one(message: Any) -> Any:
    async def requests() -> AsyncIterator[Any]:
        yield message

    return requests()


# Every call of ResourceService, about a Secret or a pod of a namespace that none of them has to do with.
CALLS: dict[str, Callable[[Any], Any]] = {
    "Get": lambda stub: stub.Get(face.GetRequest(ref=SECRET)),
    "List": lambda stub: stub.List(face.ListRequest(ref=SECRETS)),
    "Watch": lambda stub: stub.Watch(face.WatchRequest(ref=SECRETS)).read(),
    "Create": lambda stub: stub.Create(face.CreateRequest(ref=SECRETS, object=BODY)),
    "Update": lambda stub: stub.Update(face.UpdateRequest(ref=SECRET, object=BODY)),
    "Patch": lambda stub: stub.Patch(face.PatchRequest(ref=SECRET, type=face.PATCH_TYPE_MERGE, patch=b"{}")),
    "Apply": lambda stub: stub.Apply(face.ApplyRequest(ref=SECRET, intent=b"{}")),
    "Delete": lambda stub: stub.Delete(face.DeleteRequest(ref=SECRET)),
    "DeleteCollection": lambda stub: stub.DeleteCollection(face.DeleteCollectionRequest(ref=SECRETS)),
    "AskElsewhere": lambda stub: stub.AskElsewhere(face.AskElsewhereRequest(ref=SECRET)),
    "Log": lambda stub: stub.Log(face.LogRequest(**POD)).read(),
    "Exec": lambda stub: stub.Exec(_one(face.ExecRequest(start=face.ExecStart(command=["id"], **POD)))).read(),
    "Attach": lambda stub: stub.Attach(_one(face.AttachRequest(start=face.ExecStart(**POD)))).read(),
    "PortForward": lambda stub: stub.PortForward(_one(face.PortForwardRequest(start=face.PortForwardStart(port=80, **POD)))).read(),
    "Proxy": lambda stub: stub.Proxy(
        _one(
            face.ProxyRequest(
                start=face.ProxyStart(ref=face.ResourceRef(version="v1", resource="pods", namespace="vault", name="safe"), method="POST")
            )
        )
    ).read(),
}
# What everybody may who is known: it says what is served.
FOR_ALL = {"ListResources"}
SECRETS_PATH, POD_PATH = "/api/v1/namespaces/vault/secrets", "/api/v1/namespaces/vault/pods/safe"
REST: dict[str, tuple[str, str]] = {
    "Get": ("GET", f"{SECRETS_PATH}/key"),
    "List": ("GET", SECRETS_PATH),
    "Watch": ("GET", f"{SECRETS_PATH}?watch=1"),
    "Create": ("POST", SECRETS_PATH),
    "Update": ("PUT", f"{SECRETS_PATH}/key"),
    "Patch": ("PATCH", f"{SECRETS_PATH}/key"),
    "Apply": ("PATCH", f"{SECRETS_PATH}/key?fieldManager=a"),
    "Delete": ("DELETE", f"{SECRETS_PATH}/key"),
    "DeleteCollection": ("DELETE", SECRETS_PATH),
    "AskElsewhere": ("GET", f"{SECRETS_PATH}/key"),
    "Log": ("GET", f"{POD_PATH}/log"),
    "Exec": ("POST", f"{POD_PATH}/exec?command=id&stdout=1"),
    "Attach": ("POST", f"{POD_PATH}/attach?stdout=1"),
    "PortForward": ("POST", f"{POD_PATH}/portforward?ports=80"),
    "Proxy": ("POST", f"{POD_PATH}/proxy/"),
}
BODIES: dict[str, tuple[str, Any]] = {
    "Patch": ("application/merge-patch+json", {}),
    "Apply": ("application/apply-patch+yaml", {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "key"}}),
}
# Who collects garbage and empties namespaces reads, changes and deletes whatever there is, as in Kubernetes: and reads logs with it.
MAY = {(CONTROLLER, call) for call in ("Get", "List", "Watch", "Update", "Delete", "Log", "AskElsewhere")}
TRIED = [(name, call) for name in IDENTITIES for call in CALLS if (name, call) not in MAY]


@pytest.fixture
async def api() -> AsyncIterator[ApiInMemory]:
    made = ApiInMemory()
    pod = core.Pod(metadata=meta.ObjectMeta(name="safe", namespace="vault"))
    pod.spec.containers.add(name="main", image="app:1")
    pod.spec.node_name = "node-2"
    made.seed(*defaults(), core.Secret(metadata=meta.ObjectMeta(name="key", namespace="vault")), pod, checked=False)
    async with made:
        yield made


def played(name: str) -> list[tuple[str, str]]:
    return [("impersonate-user", name), *(("impersonate-group", group) for group in IDENTITIES[name])]


def test_every_call_has_a_row() -> None:
    calls = {call.name for call in face.DESCRIPTOR.services_by_name["ResourceService"].methods}
    assert calls == CALLS.keys() | FOR_ALL and CALLS.keys() == REST.keys()
    assert [call.name for call in authorization_face.DESCRIPTOR.services_by_name["AuthorizationService"].methods] == ["Explain"]


@pytest.mark.parametrize("name", IDENTITIES)
async def test_by_grpc(name: str, api: ApiInMemory, tmp_path: Path) -> None:
    async with rpc_server(api, tmp_path) as address, open_channel(address, (tmp_path / "ca.crt").read_bytes(), TOKEN) as channel:

        class Played:
            """Calls as the identity."""

            def __getattr__(self, call: str) -> Callable[[Any], Any]:
                found = getattr(Stub(channel), call)
                return lambda request: found(request, metadata=played(name))

        for call, make in CALLS.items():
            if (name, call) in MAY:
                continue
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await asyncio.wait_for(make(Played()), 10)
            assert caught.value.code() == grpc.StatusCode.PERMISSION_DENIED, (call, caught.value.details())
        answer = await Played().ListResources(face.ListResourcesRequest())
        assert answer.resources
        about_others = authorization_face.ExplainRequest(user="root", path={"path": "/metrics", "verb": "get"})
        explaining = authorization_grpc.AuthorizationServiceStub(channel).Explain(about_others, metadata=played(name))
        if name in REVIEWERS:
            await explaining
        else:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await explaining
            assert caught.value.code() == grpc.StatusCode.PERMISSION_DENIED


# Who serves calls himself may ask what others may do.
REVIEWERS = IDENTITIES.keys() - {"system:kube-apiserver", "system:serviceaccount:default:default", "somebody"}


@pytest.mark.parametrize("name", IDENTITIES)
async def test_by_rest(name: str, api: ApiInMemory) -> None:
    rest = RestClient(api, further=[(key.encode(), value.encode()) for key, value in played(name)])
    for call, (method, path) in REST.items():
        if (name, call) in MAY:
            continue
        content_type, body = BODIES.get(call, ("application/json", {} if method in ("POST", "PUT") else None))
        answer = await rest.call(method, path, body, content_type=content_type)
        assert answer.status == 403, (call, answer.status, answer.body)
    for path in ("/metrics", "/"):
        assert (await rest.get(path)).status == 403
    for path in ("/api", "/apis", "/version", "/healthz"):
        assert (await rest.get(path)).status == 200


@pytest.mark.parametrize(("name", "call"), sorted(MAY))
async def test_what_is_said_to_be_permitted_is(name: str, call: str, api: ApiInMemory) -> None:
    rest = RestClient(api, further=[(key.encode(), value.encode()) for key, value in played(name)])
    method, path = REST[call]
    body = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "key", "namespace": "vault"}} if call == "Update" else None
    if call == "Watch":
        path += "&timeoutSeconds=1"
    answer = await rest.call(method, path, body)
    assert answer.status != 403, answer.body


async def test_nobody_in_particular_may_look_at_health_and_version_alone(api: ApiInMemory) -> None:
    rest = RestClient(api, further=[(b"impersonate-user", b"system:anonymous")])
    for call, (method, path) in REST.items():
        content_type, body = BODIES.get(call, ("application/json", {} if method in ("POST", "PUT") else None))
        assert (await rest.call(method, path, body, content_type=content_type)).status == 403
    assert (await rest.get("/api")).status == 403
    assert (await rest.get("/version")).status == 200
