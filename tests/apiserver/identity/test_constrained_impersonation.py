"""Playing somebody within limits: who may be played by whom, and for what. By roles, on both faces."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from knarr.api.apiserver.v1 import resource_service_pb2 as face
from knarr.api.apiserver.v1 import resource_service_pb2_grpc as face_grpc
from knarr.api.core.v1 import core_pb2 as core
from knarr.api.meta.v1 import meta_pb2 as meta
from knarr.api.rbac.v1 import rbac_pb2 as rbac
from knarr.service.authentication import AUTHENTICATED, MASTERS, NODES, TokenTable, User, hash_token
from services.apiserver.audit.text import caller_json
from services.apiserver.identity.impersonation import Impersonation
from services.apiserver.identity.playing import played
from services.apiserver.in_memory import ApiInMemory
from services.apiserver.rbac.defaults import defaults
from tests.support.faces import RestClient, rpc_server

TOKEN = "d" * 32
NODE_NAME, POD_NAME = "authentication.kubernetes.io/node-name", "authentication.kubernetes.io/pod-name"
AGENT = User(
    "system:serviceaccount:kube-system:agent",
    groups=("system:serviceaccounts", "system:serviceaccounts:kube-system", AUTHENTICATED),
    extra=((NODE_NAME, ("node-1",)), (POD_NAME, ("agent-x",))),
)
TOKENS = TokenTable({hash_token(TOKEN): AGENT})
IDENTITIES, PODS = "authentication.k8s.io", "/api/v1/namespaces/shop/pods"
# Verb, group, resource, name.
Right = tuple[str, str, str, str]


@pytest.fixture
async def api() -> AsyncIterator[ApiInMemory]:
    made = ApiInMemory(authenticate=TOKENS.authenticate)
    made.seed(*defaults(), core.Node(metadata=meta.ObjectMeta(name="node-1")), checked=False)
    for name in ("carol", "reader"):
        made.seed(*granting("User", name, ("list", "", "pods", ""), ("get", "", "pods", "")))
    async with made:
        yield made


def granting(kind: str, name: str, *rights: Right) -> list[Any]:
    """A role and its binding, for the whole cluster."""
    role = rbac.ClusterRole(metadata=meta.ObjectMeta(name=f"for-{name}"))
    for verb, group, resource, about in rights:
        role.rules.add(verbs=[verb], api_groups=[group], resources=[resource], resource_names=[about] if about else [])
    binding = rbac.ClusterRoleBinding(metadata=meta.ObjectMeta(name=f"for-{name}"))
    binding.role_ref.CopyFrom(rbac.RoleRef(api_group="rbac.authorization.k8s.io", kind="ClusterRole", name=f"for-{name}"))
    if kind == "User":
        binding.subjects.add(kind="User", name=name, api_group="rbac.authorization.k8s.io")
    else:
        binding.subjects.add(kind="ServiceAccount", name=name, namespace="kube-system")
    return [role, binding]


async def grant(api: ApiInMemory, *rights: Right) -> None:
    for made in granting("ServiceAccount", "agent", *rights):
        await api.client().create(made)


async def lists(api: ApiInMemory, *said: tuple[str, str], path: str = PODS) -> tuple[int, str]:
    """The status of a list as somebody else, and the words of its refusal."""
    headers = [(f"impersonate-{key}".encode(), value.encode()) for key, value in said]
    answer = await RestClient(api, headers, TOKENS).call("GET", path, authorization=f"Bearer {TOKEN}")
    return answer.status, answer.json.get("message", "")


CAROL = ("impersonate:user-info", IDENTITIES, "users", "carol")
LISTS = ("impersonate-on:user-info:list", "", "pods", "")


async def test_a_user_for_one_thing_and_nothing_else(api: ApiInMemory) -> None:
    await grant(api, CAROL, LISTS)
    assert await lists(api, ("user", "carol")) == (200, "")
    status, words = await lists(api, ("user", "carol"), path=f"{PODS}/web")
    assert status == 403 and "cannot impersonate-on:user-info:get resource" in words and AGENT.name in words
    assert (await lists(api, ("user", "carol"), path="/api/v1/namespaces/shop/secrets"))[0] == 403
    assert (await lists(api, ("user", "carol"), path="/api"))[0] == 403
    assert (await lists(api, ("user", "reader")))[0] == 403


@pytest.mark.parametrize("missing", [CAROL, LISTS], ids=["whom", "for-what"])
async def test_both_rights_are_needed(missing: Right, api: ApiInMemory) -> None:
    await grant(api, *({CAROL, LISTS} - {missing}))
    assert (await lists(api, ("user", "carol")))[0] == 403


async def test_whom_is_played_must_be_permitted_it_as_well(api: ApiInMemory) -> None:
    await grant(api, ("impersonate:user-info", IDENTITIES, "users", "nobody"), LISTS)
    status, words = await lists(api, ("user", "nobody"))
    assert status == 403 and 'User "nobody" cannot list resource "pods"' in words


async def test_who_may_without_limits_needs_no_more(api: ApiInMemory) -> None:
    await grant(api, ("impersonate", "", "users", "carol"))
    assert await lists(api, ("user", "carol")) == (200, "")


Said = list[tuple[str, str]]
GROUPS = [("group", f"g{number}") for number in range(4)]


@pytest.mark.parametrize(
    ("said", "rights", "allowed"),
    [
        ([("group", "dev")], [("groups", "dev")], True),
        ([("group", "dev")], [("groups", "ops")], False),
        ([("group", "system:masters")], [("groups", "")], False),
        (GROUPS, [("groups", "*")], True),
        (GROUPS[:3], [("groups", "*")], False),
        (GROUPS, [("groups", value) for _, value in GROUPS], True),
        ([("uid", "7")], [("uids", "7")], True),
        ([("uid", "7")], [], False),
        ([("extra-example.com%2fteam", "a")], [("userextras/example.com/team", "a")], True),
        ([("extra-example.com%2fteam", "b")], [("userextras/example.com/team", "a")], False),
        ([("extra-team", "a")], [("userextras/team", "a")], False),
    ],
    ids=["group", "another", "never-masters", "many-at-once", "few", "each", "uid", "no-uid", "extra", "another-extra", "bare-key"],
)
async def test_all_that_is_said_of_a_user(said: Said, rights: Said, allowed: bool, api: ApiInMemory) -> None:
    await grant(api, CAROL, LISTS, *(("impersonate:user-info", IDENTITIES, resource, name) for resource, name in rights))
    assert (await lists(api, ("user", "carol"), *said))[0] == (200 if allowed else 403)


async def test_an_account_is_played_by_a_mode_of_its_own(api: ApiInMemory) -> None:
    api.seed(core.Namespace(metadata=meta.ObjectMeta(name="shop")))
    await grant(
        api,
        ("impersonate:serviceaccount", IDENTITIES, "serviceaccounts", "robot"),
        ("impersonate:user-info", IDENTITIES, "users", ""),
        ("impersonate-on:serviceaccount:create", "authentication.k8s.io", "selfsubjectreviews", ""),
        ("impersonate-on:user-info:list", "", "pods", ""),
    )
    robot = b"system:serviceaccount:shop:robot"
    reviews = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
    answer = await RestClient(api, [(b"impersonate-user", robot)], TOKENS).call("POST", reviews, {}, authorization=f"Bearer {TOKEN}")
    assert answer.json["status"]["userInfo"]["groups"] == ["system:serviceaccounts", "system:serviceaccounts:shop", AUTHENTICATED]
    assert (await lists(api, ("user", robot.decode())))[0] == 403, "that of users is for no account"
    assert (await lists(api, ("user", robot.decode()), ("group", "dev")))[0] == 403


OWN, ANY = ("impersonate:associated-node", IDENTITIES, "nodes", ""), ("impersonate:arbitrary-node", IDENTITIES, "nodes", "node-2")


@pytest.mark.parametrize(
    ("node", "rights", "status"),
    [
        ("node-1", [OWN, ("impersonate-on:associated-node:list", "", "pods", "")], 200),
        ("node-2", [OWN, ("impersonate-on:associated-node:list", "", "pods", "")], 403),
        ("node-1", [OWN], 403),
        ("node-2", [ANY, ("impersonate-on:arbitrary-node:list", "", "pods", "")], 200),
        ("node-1", [ANY, ("impersonate-on:arbitrary-node:list", "", "pods", "")], 403),
        ("node-2", [ANY, ("impersonate-on:associated-node:list", "", "pods", "")], 403),
    ],
    ids=["its-own", "not-another", "not-everything", "the-one-that-is-named", "no-other", "no-other-modes"],
)
async def test_a_node_by_an_agent_on_it_or_by_name(node: str, rights: list[Right], status: int, api: ApiInMemory) -> None:
    """It has a node's group then: the Node authorizer lets it see its pods."""
    await grant(api, *rights)
    path = f"/api/v1/pods?fieldSelector=spec.nodeName%3D{node}"
    assert (await lists(api, ("user", f"system:node:{node}"), path=path))[0] == status
    assert (await lists(api, ("user", f"system:node:{node}"), path="/api/v1/pods"))[0] == 403


async def test_administrators_play_nodes_as_they_are(api: ApiInMemory) -> None:
    authorizer: Any = api.server.api.pipeline.authorizer
    admin = User("root", groups=(MASTERS,))
    found = await played(authorizer, admin, Impersonation("system:node:node-1"), 1e12)
    assert (found.groups, found.constraint, found.impersonator) == ((NODES, AUTHENTICATED), "arbitrary-node", admin)
    found = await played(authorizer, admin, Impersonation("system:node:node-1", groups=("dev",)), 1e12)
    assert (found.groups, found.constraint) == (("dev", AUTHENTICATED), "")


async def test_the_same_holds_by_grpc(api: ApiInMemory, tmp_path: Path) -> None:
    await grant(api, CAROL, LISTS)
    async with rpc_server(api, tmp_path, TOKENS) as address:
        credentials = grpc.ssl_channel_credentials((tmp_path / "ca.crt").read_bytes())
        async with grpc.aio.secure_channel(address, credentials) as channel:
            stub = face_grpc.ResourceServiceStub(channel)
            metadata = (("authorization", f"Bearer {TOKEN}"), ("impersonate-user", "carol"))
            ref = face.ResourceRef(version="v1", resource="pods", namespace="shop")
            await stub.List(face.ListRequest(ref=ref), metadata=metadata)
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                one = face.ResourceRef(version="v1", resource="pods", namespace="shop", name="web")
                await stub.Get(face.GetRequest(ref=one), metadata=metadata)
            assert caught.value.code() == grpc.StatusCode.PERMISSION_DENIED
            assert "impersonate-on:user-info:get" in (caught.value.details() or "")


def test_the_audit_log_says_within_which_limits() -> None:
    carol = User("carol", impersonator=AGENT, constraint="user-info")
    assert '"authenticationMetadata":{"impersonationConstraint":"impersonate:user-info"}' in caller_json(carol, (), "")
    assert "authenticationMetadata" not in caller_json(User("carol", impersonator=AGENT), (), "")
