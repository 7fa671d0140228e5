"""Two tenants with a namespace each, administrators of their own: neither sees anything of the other, by whatever way he asks."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import grpc
import pytest

from knarr.api.apiserver.v1 import authorization_service_pb2 as authorization_face
from knarr.api.apiserver.v1 import authorization_service_pb2_grpc as authorization_grpc
from knarr.api.apiserver.v1 import resource_service_pb2 as face
from knarr.api.apiserver.v1 import resource_service_pb2_grpc as face_grpc
from knarr.api.core.v1 import core_pb2 as core
from knarr.api.discovery.v1 import discovery_pb2 as discovery
from knarr.api.meta.v1 import meta_pb2 as meta
from knarr.api.rbac.v1 import rbac_pb2 as rbac
from knarr.client.channel import open_channel
from services.apiserver.in_memory import ApiInMemory
from services.apiserver.rbac.defaults import GROUP, defaults
from tests.support.faces import TOKEN, RestClient, rpc_server

OWN, OTHER = "red", "blue"
# In the name of everything that the other one has, and in what is in it: no answer may show it.
SECRET = "hidden"


def objects(tenant: str) -> list[Any]:
    def named(name: str) -> meta.ObjectMeta:
        return meta.ObjectMeta(name=name, namespace=tenant)

    pod = core.Pod(metadata=named(f"{SECRET}-pod"))
    pod.spec.containers.add(name=f"{SECRET}-container", image="app:1")
    pod.spec.node_name = "node-1"
    event = core.Event(metadata=named(f"{SECRET}-event"), reason=SECRET, message=SECRET)
    event.involved_object.namespace, event.involved_object.kind, event.involved_object.name = tenant, "Pod", f"{SECRET}-pod"
    service = core.Service(metadata=named(f"{SECRET}-service"))
    service.spec.ports.add(port=80)
    slices = discovery.EndpointSlice(metadata=named(f"{SECRET}-slice"), address_type="IPv4")
    binding = rbac.RoleBinding(metadata=named("administrators"))
    binding.role_ref.CopyFrom(rbac.RoleRef(api_group=GROUP, kind="ClusterRole", name="admin"))
    binding.subjects.add(kind="User", api_group=GROUP, name=tenant)
    return [
        core.Namespace(metadata=meta.ObjectMeta(name=tenant)),
        core.Secret(metadata=named(f"{SECRET}-secret"), data={"key": SECRET.encode()}),
        core.ConfigMap(metadata=named(f"{SECRET}-settings"), data={"key": SECRET}),
        core.ServiceAccount(metadata=named(f"{SECRET}-account")),
        core.Endpoints(metadata=named(f"{SECRET}-service")),
        pod,
        event,
        service,
        slices,
        binding,
    ]


@pytest.fixture
async def api() -> AsyncIterator[ApiInMemory]:
    made = ApiInMemory()
    made.seed(*defaults(), *objects(OTHER), core.Namespace(metadata=meta.ObjectMeta(name=OWN)), *objects(OWN)[-1:], checked=False)
    async with made:
        yield made


@pytest.fixture
def rest(api: ApiInMemory) -> RestClient:
    return RestClient(api, further=[(b"impersonate-user", OWN.encode())])


CORE, THERE = "/api/v1", f"/api/v1/namespaces/{OTHER}"
KINDS = ["secrets", "configmaps", "pods", "events", "services", "endpoints", "serviceaccounts"]
SLICES = "/apis/discovery.k8s.io/v1"
ROLES = f"/apis/{GROUP}/v1"
READS = [
    *(f"{THERE}/{kind}" for kind in KINDS),
    *(f"{THERE}/{kind}?watch=1" for kind in KINDS),
    *(f"{THERE}/{kind}?fieldSelector=metadata.name={SECRET}-pod" for kind in KINDS),
    *(f"{CORE}/{kind}" for kind in KINDS),
    *(f"{CORE}/{kind}?watch=1" for kind in KINDS),
    *(f"{CORE}/{kind}?fieldSelector=metadata.namespace={OTHER}" for kind in KINDS),
    f"{CORE}/namespaces",
    f"{CORE}/namespaces?watch=1",
    f"{CORE}/namespaces/{OTHER}",
    f"{CORE}/nodes",
    f"{CORE}/componentstatuses",
    f"{THERE}/secrets/{SECRET}-secret",
    f"{THERE}/pods/{SECRET}-pod/log",
    f"{THERE}/pods/{SECRET}-pod/status",
    f"{THERE}/pods/{SECRET}-pod/exec?command=id&stdout=1",
    f"{THERE}/pods/{SECRET}-pod/attach?stdout=1",
    f"{THERE}/pods/{SECRET}-pod/portforward?ports=80",
    f"{THERE}/pods/{SECRET}-pod/proxy/",
    f"{THERE}/services/{SECRET}-service/proxy/",
    f"{SLICES}/namespaces/{OTHER}/endpointslices",
    f"{SLICES}/endpointslices",
    f"{ROLES}/namespaces/{OTHER}/rolebindings",
    f"{ROLES}/clusterrolebindings",
    f"/apis/events.k8s.io/v1/namespaces/{OTHER}/events",
    f"/apis/metrics.k8s.io/v1beta1/namespaces/{OTHER}/pods",
    "/apis/metrics.k8s.io/v1beta1/nodes",
    "/metrics",
    "/",
]


@pytest.mark.parametrize("path", READS)
async def test_reading(path: str, rest: RestClient) -> None:
    answer = await rest.get(path)
    assert answer.status == 403, answer.body
    assert SECRET in path or SECRET not in answer.json["message"]


@pytest.mark.parametrize("kind", ["secrets", "configmaps", "pods", "services"])
async def test_what_is_there_is_refused_in_the_words_of_what_is_not(kind: str, rest: RestClient) -> None:
    name = {"secrets": "secret", "configmaps": "settings", "pods": "pod", "services": "service"}[kind]
    there, nowhere = await rest.get(f"{THERE}/{kind}/{SECRET}-{name}"), await rest.get(f"{THERE}/{kind}/none-{name}")
    assert there.status == nowhere.status == 403
    assert there.json["message"].replace(SECRET, "") == nowhere.json["message"].replace("none", "")
    assert {**there.json, "message": "", "details": ""} == {**nowhere.json, "message": "", "details": ""}
    gone = await rest.get(f"/api/v1/namespaces/nobodys/{kind}/{SECRET}-{name}")
    assert gone.json["message"].replace("nobodys", OTHER) == there.json["message"]


WRITES: list[tuple[str, str, Any]] = [
    ("POST", f"{THERE}/configmaps", {"metadata": {"name": "mine"}}),
    ("POST", f"{THERE}/pods", {"metadata": {"name": "mine"}}),
    ("PUT", f"{THERE}/configmaps/{SECRET}-settings", {"metadata": {"name": f"{SECRET}-settings"}}),
    ("DELETE", f"{THERE}/pods/{SECRET}-pod", None),
    ("DELETE", f"{THERE}/secrets", None),
    ("POST", f"{THERE}/pods/{SECRET}-pod/exec?command=id&stdout=1", {}),
    ("POST", f"{THERE}/pods/{SECRET}-pod/eviction", {"metadata": {"name": f"{SECRET}-pod"}}),
    ("POST", f"{THERE}/serviceaccounts/{SECRET}-account/token", {}),
    ("POST", f"/apis/authorization.k8s.io/v1/namespaces/{OTHER}/localsubjectaccessreviews", {}),
    ("POST", "/apis/authorization.k8s.io/v1/subjectaccessreviews", {}),
    ("POST", "/apis/authentication.k8s.io/v1/tokenreviews", {}),
    ("DELETE", f"{CORE}/namespaces/{OTHER}", None),
    ("POST", f"{ROLES}/clusterrolebindings", {"metadata": {"name": "mine"}}),
    ("POST", f"{ROLES}/namespaces/{OTHER}/rolebindings", {"metadata": {"name": "mine"}}),
]


@pytest.mark.parametrize(("method", "path", "body"), WRITES, ids=lambda value: str(value)[:80])
async def test_writing(method: str, path: str, body: Any, rest: RestClient) -> None:
    answer = await rest.call(method, path, body)
    assert answer.status == 403, answer.body


@pytest.mark.parametrize("role", ["cluster-admin", "system:node", "system:kube-controller-manager"])
async def test_he_binds_nobody_to_more_than_he_has_in_his_own_namespace(role: str, rest: RestClient) -> None:
    body = {
        "metadata": {"name": "more"},
        "roleRef": {"apiGroup": GROUP, "kind": "ClusterRole", "name": role},
        "subjects": [{"kind": "User", "apiGroup": GROUP, "name": OWN}],
    }
    answer = await rest.call("POST", f"{ROLES}/namespaces/{OWN}/rolebindings", body)
    assert answer.status == 403 and "attempting to grant RBAC permissions not currently held" in answer.json["message"]
    rules = [{"verbs": ["get"], "apiGroups": [""], "resources": ["nodes"]}]
    answer = await rest.call("POST", f"{ROLES}/namespaces/{OWN}/roles", {"metadata": {"name": "more"}, "rules": rules})
    assert answer.status == 403


async def test_in_his_own_he_is_at_home(rest: RestClient) -> None:
    own = f"/api/v1/namespaces/{OWN}"
    for kind in KINDS:
        assert (await rest.get(f"{own}/{kind}")).status == 200
    assert (await rest.call("POST", f"{own}/configmaps", {"metadata": {"name": "mine"}})).status == 201
    assert (await rest.get(own)).status == 200
    spec = {"spec": {"user": OTHER, "resourceAttributes": {"verb": "get", "resource": "pods", "namespace": OWN}}}
    answer = await rest.call("POST", f"/apis/authorization.k8s.io/v1/namespaces/{OWN}/localsubjectaccessreviews", spec)
    assert answer.status == 201 and not answer.json["status"].get("allowed")


async def test_what_he_may_says_nothing_of_the_other(rest: RestClient) -> None:
    for namespace, said in ((OWN, True), (OTHER, False)):
        answer = await rest.call("POST", "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews", {"spec": {"namespace": namespace}})
        assert any("pods" in rule["resources"] for rule in answer.json["status"]["resourceRules"]) is said
        assert SECRET not in answer.body.decode()


def _one(message: Any) -> Any:
    async def requests() -> AsyncIterator[Any]:
        yield message

    return requests()


POD: dict[str, Any] = {"namespace": OTHER, "pod": f"{SECRET}-pod"}
CALLS: dict[str, Callable[[Any], Any]] = {
    "list": lambda stub: stub.List(face.ListRequest(ref=face.ResourceRef(version="v1", resource="pods", namespace=OTHER))),
    "list everywhere": lambda stub: stub.List(face.ListRequest(ref=face.ResourceRef(version="v1", resource="pods"))),
    "watch": lambda stub: stub.Watch(face.WatchRequest(ref=face.ResourceRef(version="v1", resource="secrets", namespace=OTHER))).read(),
    "watch everywhere": lambda stub: stub.Watch(face.WatchRequest(ref=face.ResourceRef(version="v1", resource="events"))).read(),
    "get": lambda stub: stub.Get(
        face.GetRequest(ref=face.ResourceRef(version="v1", resource="secrets", namespace=OTHER, name=f"{SECRET}-secret"))
    ),
    "endpoints": lambda stub: stub.List(face.ListRequest(ref=face.ResourceRef(version="v1", resource="endpoints", namespace=OTHER))),
    "logs": lambda stub: stub.Log(face.LogRequest(**POD)).read(),
    "exec": lambda stub: stub.Exec(_one(face.ExecRequest(start=face.ExecStart(command=["id"], **POD)))).read(),
}


async def test_by_grpc(api: ApiInMemory, tmp_path: Path) -> None:
    metadata = [("impersonate-user", OWN)]
    async with rpc_server(api, tmp_path) as address, open_channel(address, (tmp_path / "ca.crt").read_bytes(), TOKEN) as channel:

        class Played:
            def __getattr__(self, call: str) -> Callable[[Any], Any]:
                return lambda request: getattr(face_grpc.ResourceServiceStub(channel), call)(request, metadata=metadata)

        for what, make in CALLS.items():
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await asyncio.wait_for(make(Played()), 10)
            assert caught.value.code() == grpc.StatusCode.PERMISSION_DENIED, what
            assert f"{SECRET}-container" not in str(caught.value.details())
        explain = authorization_grpc.AuthorizationServiceStub(channel).Explain
        with pytest.raises(grpc.aio.AioRpcError):
            await explain(authorization_face.ExplainRequest(user=OTHER, path={"verb": "get", "path": "/"}), metadata=metadata)
        own = await explain(
            authorization_face.ExplainRequest(resource={"verb": "get", "resource": "pods", "namespace": OTHER}), metadata=metadata
        )
        assert not own.allowed and not own.grants and not own.candidates


async def test_a_binding_of_his_is_no_way_into_the_other(rest: RestClient, api: ApiInMemory) -> None:
    """An account of his own namespace, bound in it, does not become one of the other's by its name."""
    name = "robot"
    assert (await rest.call("POST", f"/api/v1/namespaces/{OWN}/serviceaccounts", {"metadata": {"name": name}})).status == 201
    robot = RestClient(api, further=[(b"impersonate-user", f"system:serviceaccount:{OWN}:{name}".encode())])
    body = {
        "metadata": {"name": "robot"},
        "roleRef": {"apiGroup": GROUP, "kind": "ClusterRole", "name": "edit"},
        "subjects": [{"kind": "ServiceAccount", "name": name}],
    }
    assert (await rest.call("POST", f"{ROLES}/namespaces/{OWN}/rolebindings", body)).status == 201
    assert (await robot.get(f"/api/v1/namespaces/{OWN}/secrets")).status == 200
    assert (await robot.get(f"{THERE}/secrets")).status == 403
