"""Why somebody may do something, and what is missing where he may not."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from knarr.api.apiserver.v1 import authorization_service_pb2 as face
from knarr.api.apiserver.v1 import authorization_service_pb2_grpc as face_grpc
from knarr.api.rbac.v1 import rbac_pb2 as rbac
from knarr.client.channel import open_channel
from services.apiserver.authorizers.chain import Chain
from services.apiserver.in_memory import ApiInMemory
from services.apiserver.rbac.authorizer import RoleAuthorizer
from services.apiserver.rbac.defaults import defaults
from services.apiserver.rbac.grants import REMEMBERED, REMEMBERED_LETTERS, Grants
from services.apiserver.rbac.rules import Wish
from services.apiserver.request import GET, Request
from services.apiserver.results import Ref
from tests.apiserver.tokens.test_roles import binding, role
from tests.support.faces import TOKEN, rpc_server
from tests.support.rights import component

PODS = {"verb": "get", "resource": "pods", "namespace": "shop", "name": "web"}
ANN = rbac.Subject(kind="User", api_group="rbac.authorization.k8s.io", name="ann")
DEV = rbac.Subject(kind="Group", api_group="rbac.authorization.k8s.io", name="dev")


@pytest.fixture
async def api() -> AsyncIterator[ApiInMemory]:
    made = ApiInMemory()
    made.seed(
        *defaults(),
        role({"verbs": ["list"], "api_groups": [""], "resources": ["pods"]}, {"verbs": ["get"], "api_groups": [""], "resources": ["pods"]}),
        binding("Role", "own", subject=ANN),
        binding("ClusterRole", "view", subject=DEV),
        binding("ClusterRole", "none", namespace="", subject=ANN),
    )
    async with made:
        yield made


@pytest.fixture
async def explains(api: ApiInMemory, tmp_path: Path) -> AsyncIterator[Any]:
    async with rpc_server(api, tmp_path) as address, open_channel(address, (tmp_path / "ca.crt").read_bytes(), TOKEN) as channel:
        yield face_grpc.AuthorizationServiceStub(channel).Explain


async def test_which_rule_of_which_binding_allows_it(explains: Any) -> None:
    found = await explains(face.ExplainRequest(user="ann", groups=["dev"], resource=PODS))
    assert found.allowed and not found.HasField("needed") and not found.candidates
    own, view = found.grants
    assert (own.binding_kind, own.binding_namespace, own.binding_name) == ("RoleBinding", "shop", "to-own")
    assert (own.subject_kind, own.subject_name, own.role_kind, own.role_name) == ("User", "ann", "Role", "own")
    assert list(own.rule.verbs) == ["get"] and list(own.rule.resources) == ["pods"]
    assert (view.subject_kind, view.subject_name, view.role_name) == ("Group", "dev", "view")
    assert [(said.authorizer, said.decision) for said in found.decisions] == [("Node", "no opinion"), ("RBAC", "allow")]
    assert [grant.role_name for grant in found.broken] == ["none"]


async def test_what_would_be_needed(explains: Any) -> None:
    found = await explains(
        face.ExplainRequest(user="ann", resource={"verb": "delete", "resource": "deployments", "group": "apps", "namespace": "shop"})
    )
    assert not found.allowed and not found.grants
    assert found.needed == rbac.PolicyRule(verbs=["delete"], api_groups=["apps"], resources=["deployments"])
    assert {"admin", "edit", "cluster-admin"} <= set(found.candidates) and "view" not in found.candidates
    assert [(said.authorizer, said.decision) for said in found.decisions] == [("Node", "no opinion"), ("RBAC", "no opinion")]
    assert "not found" in found.decisions[1].reason


async def test_what_has_no_namespace_is_judged_without_one(explains: Any) -> None:
    pods = await explains(face.ExplainRequest(user="ann", resource={"verb": "get", "resource": "pods", "namespace": "shop"}))
    nodes = await explains(
        face.ExplainRequest(user="ann", groups=["dev"], resource={"verb": "list", "resource": "nodes", "namespace": "shop"})
    )
    assert (pods.namespace, nodes.namespace) == ("shop", "") and [grant.role_name for grant in nodes.broken] == ["none"]


async def test_a_path(explains: Any) -> None:
    assert (
        await explains(face.ExplainRequest(user="ann", groups=["system:authenticated"], path={"verb": "get", "path": "/api/v1"}))
    ).allowed
    found = await explains(face.ExplainRequest(user="ann", path={"verb": "get", "path": "/metrics"}))
    assert not found.allowed and found.needed == rbac.PolicyRule(verbs=["get"], non_resource_urls=["/metrics"])
    assert "system:monitoring" in found.candidates


async def test_about_oneself_anybody_may_ask_and_hears_of_no_roles_of_others(explains: Any) -> None:
    metadata = [("impersonate-user", "ann")]
    found = await explains(face.ExplainRequest(resource=PODS), metadata=metadata)
    assert found.allowed and [grant.binding_name for grant in found.grants] == ["to-own"]
    refused = await explains(face.ExplainRequest(resource={**PODS, "verb": "delete"}), metadata=metadata)
    assert not refused.allowed and refused.HasField("needed") and not refused.candidates
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await explains(face.ExplainRequest(user="bob", resource=PODS), metadata=metadata)
    assert caught.value.code() == grpc.StatusCode.PERMISSION_DENIED


async def test_administrators_are_not_asked_for_roles(explains: Any) -> None:
    found = await explains(face.ExplainRequest(resource=PODS))
    assert found.allowed and [(said.authorizer, said.decision) for said in found.decisions] == [("system:masters", "allow")]


@pytest.mark.parametrize("wanted", [{}, {"resource": {"verb": "get"}}, {"resource": {"resource": "pods"}}, {"path": {"path": "/x"}}])
async def test_nothing_in_particular(wanted: Any, explains: Any) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await explains(face.ExplainRequest(user="ann", **wanted))
    assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT


async def test_the_audit_log_hears_by_which_binding(api: ApiInMemory) -> None:
    class Log:
        is_permitted, reason = False, ""

        def annotate(self, key: str, value: str) -> None:
            """There is nothing but the reason."""

        def about(self, name: str) -> None:
            """Nothing asks for it."""

        def begun(self) -> None: ...

        def concluded(self, code: int, status: Any, found: object = None) -> None: ...

        def failed(self, error: Exception) -> None: ...

    request = Request(component("ann"), GET, Ref(api.server.registry.preferred("", "pods"), "shop", "web"), None)  # type: ignore[arg-type]
    request.audit = log = Log()
    api.server.api.pipeline.authorizer.authorize(request)
    assert log.reason == 'RBAC: allowed by RoleBinding "to-own/shop" of Role "own" to User "ann"'
    # It is remembered, but not longer than it is so.
    assert list(grants_of(api)._reasons) == [(request.user, Wish.of(request))]
    other = binding("Role", "own", subject=ANN)
    other.metadata.name = "earlier"
    await api.client().create(other)
    log.reason = ""
    api.server.api.pipeline.authorizer.authorize(request)
    assert log.reason == 'RBAC: allowed by RoleBinding "earlier/shop" of Role "own" to User "ann"'


async def test_what_is_remembered_for_the_audit_log_is_bounded(api: ApiInMemory) -> None:
    grants, ann = grants_of(api), component("ann")
    for number in range(REMEMBERED + 3):
        assert "to-own" in grants.reason(ann, Wish("get", "", "pods", "", f"p{number}", "shop"))
    assert len(grants._reasons) == 3
    assert "to-own" in grants.reason(ann, Wish("get", "", "pods", "", "x" * REMEMBERED_LETTERS, "shop"))
    assert len(grants._reasons) == 3


def grants_of(api: ApiInMemory) -> Grants:
    authorizer = api.server.api.pipeline.authorizer
    assert isinstance(authorizer, Chain)
    return next(mode.grants for mode in authorizer.modes if isinstance(mode, RoleAuthorizer))
