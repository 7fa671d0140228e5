"""What service accounts may do: what the roles say that are bound to them."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.any_pb2 import Any as AnyMessage

from knarr.api.apiserver.v1 import resource_service_pb2 as face
from knarr.api.apiserver.v1 import resource_service_pb2_grpc as face_grpc
from knarr.api.core.v1 import core_pb2 as core
from knarr.api.meta.v1 import meta_pb2 as meta
from knarr.api.rbac.v1 import rbac_pb2 as rbac
from knarr.client.channel import open_channel
from knarr.machinery.catalog import version_of
from knarr.machinery.errors import Forbidden
from knarr.machinery.resources import Resource, Version
from knarr.service.authentication import User
from services.apiserver.aggregation.front_proxy import caller_headers
from services.apiserver.authorization import imagined, imagined_path
from services.apiserver.in_memory import ApiInMemory
from services.apiserver.rbac.defaults import roles
from services.apiserver.rbac.grants import KINDS
from services.apiserver.rbac.rules import Rule, Wish
from services.apiserver.request import Request
from services.apiserver.results import Ref
from tests.apiserver.tokens.asking import NAME, bound, token
from tests.apiserver.tokens.conftest import pod
from tests.support.faces import Answer, RestClient, rpc_client, rpc_server

GROUP = "rbac.authorization.k8s.io"
ADVICE = "no role that is bound to it allows that; see `kubectl create rolebinding --help`"


@pytest.fixture
async def text(rest: RestClient) -> str:
    return await token(rest, bound("Pod", "web"))


async def ask(rest: RestClient, text: str, method: str, path: str, body: Any = None) -> Answer:
    return await rest.call(method, path, body, authorization=f"Bearer {text}")


def role(*rules: dict[str, list[str]], name: str = "own", namespace: str = "shop") -> rbac.Role:
    found = rbac.Role(metadata=meta.ObjectMeta(name=name, namespace=namespace))
    for rule in rules:
        found.rules.add(**rule)
    return found


def cluster_role(*rules: dict[str, list[str]], name: str = "own") -> rbac.ClusterRole:
    return rbac.ClusterRole(metadata=meta.ObjectMeta(name=name), rules=role(*rules).rules)


def binding(kind: str, name: str, namespace: str = "shop", subject: rbac.Subject | None = None) -> Any:
    """Of the account `robot` unless another subject is given; where there is no namespace, for the whole cluster."""
    made: Any = rbac.RoleBinding() if namespace else rbac.ClusterRoleBinding()
    made.metadata.name, made.metadata.namespace = f"to-{name}", namespace
    made.role_ref.CopyFrom(rbac.RoleRef(api_group=GROUP, kind=kind, name=name))
    made.subjects.append(subject or rbac.Subject(kind="ServiceAccount", name="robot", namespace="shop"))
    return made


READ_PODS = {"verbs": ["get", "list"], "api_groups": [""], "resources": ["pods"]}


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/api/v1/namespaces/shop/pods"),
        ("GET", "/api/v1/namespaces/shop/pods/web"),
        ("GET", "/api/v1/namespaces/shop/secrets/key"),
        ("GET", "/api/v1/namespaces/shop/pods/web/log"),
        ("POST", "/api/v1/namespaces/shop/pods/web/exec?command=id&stdout=1"),
        ("GET", "/api/v1/namespaces/shop/pods/web/proxy/"),
        ("GET", "/api/v1/pods?watch=1"),
        ("POST", "/api/v1/namespaces/shop/configmaps"),
        ("DELETE", "/api/v1/namespaces/shop/pods"),
        ("DELETE", "/api/v1/nodes/node-1"),
        ("POST", "/api/v1/namespaces/shop/serviceaccounts/robot/token"),
        ("POST", "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings"),
        ("POST", "/apis/authentication.k8s.io/v1/tokenreviews"),
        ("GET", "/api/v1/componentstatuses"),
        ("GET", "/metrics"),
        ("GET", "/"),
    ],
)
async def test_an_account_that_nobody_bound_a_role_to_may_do_nothing(method: str, path: str, rest: RestClient, text: str) -> None:
    answer = await ask(rest, text, method, path, {} if method == "POST" else None)
    assert answer.status == 403 and answer.json["message"].endswith(ADVICE), answer.body


async def test_the_words_are_kubernetes_own(rest: RestClient, text: str) -> None:
    listing = (await ask(rest, text, "GET", "/api/v1/namespaces/shop/pods")).json
    cannot = f'User "{NAME}" cannot list resource "pods" in API group "" in the namespace "shop"'
    assert listing["message"] == f"pods is forbidden: {cannot}: {ADVICE}"
    assert (listing["reason"], listing["details"]) == ("Forbidden", {"kind": "pods"})
    assert (await ask(rest, text, "GET", "/metrics")).json["message"] == f'forbidden: User "{NAME}" cannot get path "/metrics": {ADVICE}'


@pytest.mark.parametrize(
    "path", ["/api", "/api/v1", "/apis", "/apis/apps/v1", "/version", "/healthz", "/readyz", "/livez", "/openapi/v3", "/openid/v1/jwks"]
)
async def test_it_may_look_what_is_served(path: str, rest: RestClient, text: str) -> None:
    assert (await ask(rest, text, "GET", path)).status == 200


async def test_it_may_ask_about_itself(rest: RestClient, text: str) -> None:
    attributes = {"resourceAttributes": {"verb": "get", "resource": "pods", "namespace": "shop"}}
    answer = await ask(rest, text, "POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", {"spec": attributes})
    assert answer.status == 201 and not answer.json["status"]["allowed"] and answer.json["status"]["reason"].endswith(ADVICE)
    rules = await ask(rest, text, "POST", "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews", {"spec": {"namespace": "shop"}})
    said = rules.json["status"]
    assert {"verbs": ["create"], "apiGroups": ["authentication.k8s.io"], "resources": ["selfsubjectreviews"]} in said["resourceRules"]
    assert any("/api/*" in rule["nonResourceURLs"] for rule in said["nonResourceRules"]) and not said.get("incomplete")


async def test_a_role_holds_in_its_namespace_from_its_binding_on_until_it_is_gone(rest: RestClient, text: str, api: ApiInMemory) -> None:
    client = api.client()
    await client.create(role(READ_PODS))
    own, other = "/api/v1/namespaces/shop/pods", "/api/v1/namespaces/default/pods"

    async def codes() -> list[int]:
        return [(await ask(rest, text, "GET", path)).status for path in (own, other, "/api/v1/pods", f"{own}/web", f"{own}/web/status")]

    assert await codes() == [403] * 5
    await client.create(binding("Role", "own"))
    assert await codes() == [200, 403, 403, 200, 403]
    await client.patch(rbac.Role, "own", "shop", patch={"rules": [{"verbs": ["get"], "apiGroups": [""], "resources": ["*/status"]}]})
    assert await codes() == [403, 403, 403, 403, 200]
    await client.delete(rbac.Role, "own", "shop")
    assert await codes() == [403] * 5
    missing = (await ask(rest, text, "GET", own)).json["message"]
    assert missing.endswith(': RBAC: role.rbac.authorization.k8s.io "own" not found')
    await client.delete(rbac.RoleBinding, "to-own", "shop")
    assert (await ask(rest, text, "GET", own)).json["message"].endswith(ADVICE)


async def test_a_cluster_role_holds_where_it_is_bound(rest: RestClient, text: str, api: ApiInMemory) -> None:
    client = api.client()
    await client.create(cluster_role(READ_PODS, {"verbs": ["get"], "non_resource_urls": ["/metrics", "/logs/*"]}))
    await client.create(binding("ClusterRole", "own"))
    assert (await ask(rest, text, "GET", "/api/v1/namespaces/shop/pods")).status == 200
    assert (await ask(rest, text, "GET", "/api/v1/pods")).status == 403
    assert (await ask(rest, text, "GET", "/metrics")).status == 403
    await client.create(binding("ClusterRole", "own", namespace=""))
    assert [(await ask(rest, text, "GET", path)).status for path in ("/api/v1/pods", "/metrics", "/logs/x", "/logs")] == [
        200,
        200,
        404,
        403,
    ]


@pytest.mark.parametrize(
    "subject",
    [
        rbac.Subject(kind="Group", api_group=GROUP, name="system:serviceaccounts"),
        rbac.Subject(kind="Group", api_group=GROUP, name="system:serviceaccounts:shop"),
        rbac.Subject(kind="Group", api_group=GROUP, name="system:authenticated"),
        rbac.Subject(kind="User", api_group=GROUP, name=NAME),
        rbac.Subject(kind="ServiceAccount", name="robot"),
    ],
)
async def test_by_whatever_it_is_meant(subject: rbac.Subject, rest: RestClient, text: str, api: ApiInMemory) -> None:
    await api.client().create(binding("ClusterRole", "view", subject=subject))
    assert (await ask(rest, text, "GET", "/api/v1/namespaces/shop/configmaps")).status == 200


@pytest.mark.parametrize(
    "subject",
    [
        rbac.Subject(kind="Group", api_group=GROUP, name="system:serviceaccounts:default"),
        rbac.Subject(kind="Group", api_group=GROUP, name=NAME),
        rbac.Subject(kind="ServiceAccount", name="robot", namespace="default"),
        rbac.Subject(kind="User", api_group=GROUP, name="robot"),
    ],
)
async def test_others_are_others(subject: rbac.Subject, rest: RestClient, text: str, api: ApiInMemory) -> None:
    await api.client().create(binding("ClusterRole", "view", subject=subject))
    assert (await ask(rest, text, "GET", "/api/v1/namespaces/shop/configmaps")).status == 403


async def test_the_roles_for_people_gather_what_is_labelled_for_them(rest: RestClient, text: str, api: ApiInMemory) -> None:
    client = api.client()
    crons = cluster_role({"verbs": ["get", "list"], "api_groups": ["stable.example.com"], "resources": ["crontabs"]}, name="crontabs")
    crons.metadata.labels[f"{GROUP}/aggregate-to-view"] = "true"
    await client.create(crons)
    attributes = {
        "custom": {"verb": "get", "group": "stable.example.com", "resource": "crontabs", "namespace": "shop"},
        "secrets": {"verb": "get", "resource": "secrets", "namespace": "shop"},
        "roles": {"verb": "create", "group": GROUP, "resource": "roles", "namespace": "shop"},
        "namespace": {"verb": "get", "resource": "namespaces", "name": "shop", "namespace": ""},
        "nodes": {"verb": "get", "resource": "nodes"},
        "usage": {"verb": "list", "group": "metrics.k8s.io", "resource": "pods", "namespace": "shop"},
        "usage elsewhere": {"verb": "list", "group": "metrics.k8s.io", "resource": "pods", "namespace": "theirs"},
    }

    async def allowed() -> set[str]:
        found = set()
        for name, wanted in attributes.items():
            spec = {"user": NAME, "groups": ["system:serviceaccounts"], "resourceAttributes": wanted}
            answer = await rest.call("POST", "/apis/authorization.k8s.io/v1/subjectaccessreviews", {"spec": spec})
            if answer.json["status"].get("allowed"):
                found.add(name)
        return found

    assert await allowed() == set()
    for name, expected in (
        ("view", {"custom", "namespace", "usage"}),
        ("edit", {"custom", "namespace", "secrets", "usage"}),
        ("admin", {"custom", "namespace", "secrets", "roles", "usage"}),
    ):
        await client.create(binding("ClusterRole", name))
        assert await allowed() == expected
        await client.delete(rbac.RoleBinding, f"to-{name}", "shop")
    await client.create(binding("ClusterRole", "cluster-admin", namespace=""))
    assert await allowed() == set(attributes)


async def test_roles_that_gather_one_another_end(rest: RestClient, text: str, api: ApiInMemory) -> None:
    for name, other in (("one", "two"), ("two", "one")):
        made = rbac.ClusterRole(metadata=meta.ObjectMeta(name=name, labels={"gathered": name}))
        made.aggregation_rule.cluster_role_selectors.add().match_labels["gathered"] = other
        await api.client().create(made)
    await api.client().create(binding("ClusterRole", "one"))
    assert (await ask(rest, text, "GET", "/api/v1/namespaces/shop/pods")).status == 403


async def test_a_long_chain_of_roles_that_gather_the_next_one(rest: RestClient, text: str, api: ApiInMemory) -> None:
    count = 1000
    for number in range(count):
        made = rbac.ClusterRole(metadata=meta.ObjectMeta(name=f"chain-{number}", labels={"chain": str(number)}))
        made.aggregation_rule.cluster_role_selectors.add().match_labels["chain"] = str(number + 1)
        api.seed(made)
    last = cluster_role(READ_PODS, name="last")
    last.metadata.labels["chain"] = str(count)
    api.seed(last, binding("ClusterRole", "chain-0"))
    await api.settle()
    assert (await ask(rest, text, "GET", "/api/v1/namespaces/shop/pods")).status == 200


async def test_names_of_objects(rest: RestClient, text: str, api: ApiInMemory) -> None:
    await api.client().create(role({**READ_PODS, "verbs": ["*"], "resource_names": ["web"]}))
    await api.client().create(binding("Role", "own"))
    pods = "/api/v1/namespaces/shop/pods"
    assert (await ask(rest, text, "GET", f"{pods}/web")).status == 200
    for method, path in (("GET", f"{pods}/other"), ("GET", pods), ("POST", pods), ("DELETE", pods)):
        assert (await ask(rest, text, method, path, {} if method == "POST" else None)).status == 403


async def test_a_list_of_one_name_is_about_that_object(rest: RestClient, text: str, api: ApiInMemory) -> None:
    """As client-go watches `extension-apiserver-authentication`, at which an extension API server may look, and at nothing else."""
    await api.client().create(role({**READ_PODS, "verbs": ["list"], "resource_names": ["web"]}))
    await api.client().create(binding("Role", "own"))
    await api.client().create(pod("other"))
    pods = "/api/v1/namespaces/shop/pods"
    for selector in ("metadata.name%3Dweb", "metadata.name=web,metadata.name!=a"):
        answer = await ask(rest, text, "GET", f"{pods}?fieldSelector={selector}")
        assert [item["metadata"]["name"] for item in answer.json["items"]] == ["web"]
    for selector in (
        "metadata.name=other",
        "metadata.name!=web",
        "metadata.name=",
        "spec.nodeName=web",
        "metadata.name",
        "metadata.name=\\",
    ):
        assert (await ask(rest, text, "GET", f"{pods}?fieldSelector={selector}")).status == 403, selector
    assert (await ask(rest, text, "GET", "/api/v1/pods?fieldSelector=metadata.name=web")).status == 403
    assert (await ask(rest, text, "DELETE", f"{pods}?fieldSelector=metadata.name=web")).status == 403


async def test_whom_somebody_asks_about_is_not_remembered_at_any_length(rest: RestClient, api: ApiInMemory) -> None:
    authorizer: Any = api.server.api.pipeline.authorizer
    grants = authorizer.modes[-1].grants
    about: Any = {"verb": "get", "resource": "pods"}
    specs: tuple[dict[str, Any], ...] = (
        {"user": "a", "groups": ["system:serviceaccounts", *(f"g{number}" for number in range(2000))]},
        {"user": "a" * 5000, "groups": ["system:serviceaccounts"]},
        {"user": "a", "uid": "a" * 5000, "groups": ["system:serviceaccounts"]},
        {"user": "a", "groups": ["system:serviceaccounts"], "resourceAttributes": {**about, "namespace": "n" * 5000}},
        {"user": "a", "groups": ["system:serviceaccounts"]},
    )
    for number, spec in enumerate(specs):
        body = {"spec": {"resourceAttributes": about, **spec}}
        answer = await rest.call("POST", "/apis/authorization.k8s.io/v1/subjectaccessreviews", body)
        assert answer.status == 201 and not answer.json["status"].get("allowed"), answer.body
        assert (len(grants._known), set(grants._bound)) == (number // 4, {""})


async def test_namespaces_that_somebody_thinks_of_are_not_remembered(rest: RestClient, text: str, api: ApiInMemory) -> None:
    collections = [api.server.backend.cache.collection(kind) for kind in (*KINDS, version_of(core.Pod).resource)]
    before = [len(collection._listings) for collection in collections]
    for number in range(50):
        assert (await ask(rest, text, "GET", f"/api/v1/namespaces/none-{number}/pods")).status == 403
        assert (await rest.get(f"/api/v1/namespaces/none-{number}/pods")).status == 200
    assert all(len(collection._listings) <= number + 2 for collection, number in zip(collections, before, strict=True))


async def test_the_same_by_grpc(api: ApiInMemory, tmp_path: Path, text: str) -> None:
    async with rpc_client(api, tmp_path, text) as client:
        with pytest.raises(Forbidden, match="cannot list resource"):
            await client.list(core.Pod, "shop")
        with pytest.raises(Forbidden, match="cannot create resource"):
            await client.create(pod("more"))
        await api.client().create(binding("ClusterRole", "edit"))
        assert [found.metadata.name for found in (await client.list(core.Pod, "shop")).items] == ["web"]
        with pytest.raises(Forbidden):
            await client.get(core.Node, "node-1")


async def test_who_may_do_all_to_a_part_may_do_nothing_to_the_object(api: ApiInMemory, tmp_path: Path, text: str) -> None:
    """gRPC names the sub-resource beside the verb: no verb of an object is one of its parts' for that."""
    parts = ["*/log", "pods/proxy", "*/scale", "tokenreviews/scale"]
    api.seed(role({"verbs": ["*"], "api_groups": ["*"], "resources": parts}), binding("Role", "own"))
    api.seed(cluster_role({"verbs": ["*"], "api_groups": ["*"], "resources": parts}), binding("ClusterRole", "own", namespace=""))
    await api.settle()
    async with rpc_server(api, tmp_path) as address, open_channel(address, (tmp_path / "ca.crt").read_bytes(), text) as channel:
        calls: Any = face_grpc.ResourceServiceStub(channel)
        for resource, part in (("pods", "log"), ("pods", "proxy"), ("secrets", "scale"), ("pods", "none")):
            ref = face.ResourceRef(version="v1", resource=resource, namespace="shop", subresource=part)
            named = face.ResourceRef(version="v1", resource=resource, namespace="shop", name="web", subresource=part)
            for call in (
                calls.Watch(face.WatchRequest(ref=ref)).read(),
                calls.List(face.ListRequest(ref=ref)),
                calls.DeleteCollection(face.DeleteCollectionRequest(ref=ref)),
                calls.Delete(face.DeleteRequest(ref=named)),
                calls.Get(face.GetRequest(ref=named)),
                calls.Update(face.UpdateRequest(ref=named)),
                calls.Patch(face.PatchRequest(ref=named, type=face.PATCH_TYPE_MERGE, patch=b"{}")),
                calls.Apply(face.ApplyRequest(ref=named, intent=b"{}")),
            ):
                with pytest.raises(grpc.aio.AioRpcError):
                    await asyncio.wait_for(call, 5)
        ref = face.ResourceRef(group="authentication.k8s.io", version="v1", resource="tokenreviews", subresource="scale")
        with pytest.raises(grpc.aio.AioRpcError):
            await calls.Create(face.CreateRequest(ref=ref))
    assert (await api.client().get(core.Pod, "web", "shop")).metadata.name == "web"


async def test_who_may_create_what_has_a_name_may_create_nothing_else(api: ApiInMemory, tmp_path: Path, text: str) -> None:
    api.seed(
        role({"verbs": ["create"], "api_groups": [""], "resources": ["configmaps"], "resource_names": ["own"]}), binding("Role", "own")
    )
    await api.settle()
    async with rpc_server(api, tmp_path) as address, open_channel(address, (tmp_path / "ca.crt").read_bytes(), text) as channel:
        calls: Any = face_grpc.ResourceServiceStub(channel)
        for metadata in (meta.ObjectMeta(generate_name="own-"), meta.ObjectMeta(name="other"), meta.ObjectMeta()):
            body = AnyMessage(value=core.ConfigMap(metadata=metadata).SerializeToString())
            ref = face.ResourceRef(version="v1", resource="configmaps", namespace="shop", name="own")
            with pytest.raises(grpc.aio.AioRpcError):
                await calls.Create(face.CreateRequest(ref=ref, object=body))
    assert not (await api.client().list(core.ConfigMap, "shop")).items


async def test_many_bindings_cost_a_request_little(rest: RestClient, text: str, api: ApiInMemory) -> None:
    api.seed(role(READ_PODS), binding("Role", "own"))
    for number in range(1000):
        other = binding("ClusterRole", "view", subject=rbac.Subject(kind="ServiceAccount", name=f"a{number}", namespace="shop"))
        other.metadata.name = f"other-{number}"
        api.seed(other)
    await api.settle()
    assert (await ask(rest, text, "GET", "/api/v1/namespaces/shop/pods/web")).status == 200
    began = time.process_time()
    for _ in range(100):
        await ask(rest, text, "GET", "/api/v1/namespaces/shop/pods/web")
    assert (time.process_time() - began) / 100 < 0.005


def test_a_resource_is_none_of_the_servers_paths_nor_a_path_a_resource() -> None:
    """Reviews may speak of either by any name."""
    user = User("ann")
    resource, path = (Wish.of(Request(user, "get", Ref(version), None)) for version in (imagined("", "/metrics"), imagined_path("pods")))
    assert (resource.resource, resource.path, path.resource, path.path) == ("/metrics", "", "", "pods")
    assert Wish.of(Request(user, "get", Ref(imagined_path("")), None)).path == "/"


def test_a_resource_of_others_is_no_path_whatever_it_is_called() -> None:
    other = Resource("/metrics", (Version("example.com", "v1", "", meta.PartialObjectMetadata, None),), stored=False).storage
    user = User(NAME, groups=("system:serviceaccounts",))
    wish, path = (Wish.of(Request(user, "get", Ref(version), None)) for version in (other, imagined_path("/metrics")))
    rule = Rule(rbac.PolicyRule(verbs=["get"], non_resource_urls=["/metrics"]))
    assert rule.allows(path) and not rule.allows(wish)


def test_extension_api_servers_hear_what_is_known_of_a_pod() -> None:
    user = User(NAME, extra=(("authentication.kubernetes.io/pod-name", ("web",)),))
    assert (b"x-remote-extra-authentication.kubernetes.io%2fpod-name", b"web") in caller_headers(user)


def test_the_roles_are_those_of_kubernetes_that_are_not_for_its_components() -> None:
    names = {found.metadata.name for found in roles()}
    assert {"cluster-admin", "admin", "edit", "view", "system:discovery", "system:basic-user", "system:auth-delegator"} <= names
    for found in roles():
        assert found.rules or found.HasField("aggregation_rule")
