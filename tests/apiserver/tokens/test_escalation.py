"""A service account gives nobody more than it has."""

from __future__ import annotations

from typing import Any

import pytest

from knarr.api.rbac.v1 import rbac_pb2 as rbac
from services.apiserver.in_memory import ApiInMemory
from services.apiserver.rbac import escalation
from services.apiserver.rbac.escalation import MAX_COMBINATIONS, MAX_TOLD, is_held, lacking_of, told_of
from services.apiserver.rbac.rules import Rule
from tests.apiserver.tokens.asking import NAME, token
from tests.apiserver.tokens.test_roles import ask, binding, cluster_role, role
from tests.support.faces import Answer, RestClient

ROLES = "/apis/rbac.authorization.k8s.io/v1/namespaces/shop/roles"
BINDINGS = ROLES.replace("roles", "rolebindings")
CLUSTER_ROLES = "/apis/rbac.authorization.k8s.io/v1/clusterroles"
CLUSTER_BINDINGS = "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings"
KEEPER = {"verbs": ["*"], "api_groups": ["rbac.authorization.k8s.io"], "resources": ["*"]}
HELD = {"verbs": ["get", "list"], "api_groups": ["", "apps"], "resources": ["pods", "pods/log"]}


@pytest.fixture
async def text(rest: RestClient, api: ApiInMemory) -> str:
    """Of an account that may write roles and bindings, without more, and look at pods."""
    verbs = ["create", "update", "patch", "get", "list", "delete"]
    api.seed(cluster_role({**KEEPER, "verbs": verbs}, HELD, name="keeper"), binding("ClusterRole", "keeper", namespace=""))
    await api.settle()
    return await token(rest)


def rule(verbs: str, groups: str = "core", resources: str = "pods", names: str = "") -> dict[str, Any]:
    named = ["" if group == "core" else group for group in groups.split()]
    found = {"verbs": verbs.split(), "apiGroups": named, "resources": resources.split()}
    return {**found, "resourceNames": names.split()} if names else found


async def make(rest: RestClient, text: str, path: str, name: str, **body: Any) -> Answer:
    return await ask(rest, text, "POST", path, {"metadata": {"name": name}, **body})


def ref(name: str, kind: str = "ClusterRole") -> dict[str, Any]:
    subject = {"kind": "ServiceAccount", "name": "robot", "namespace": "shop"}
    return {"roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": name}, "subjects": [subject]}


@pytest.mark.parametrize(
    ("rules", "code"),
    [
        ([rule("get")], 201),
        ([rule("get list", "core apps", "pods pods/log")], 201),
        ([rule("get", names="web")], 201),
        ([rule("get"), rule("list", "apps")], 201),
        ([], 201),
        ([rule("watch")], 403),
        ([rule("*")], 403),
        ([rule("get", "*")], 403),
        ([rule("get", "batch")], 403),
        ([rule("get", resources="*")], 403),
        ([rule("get", resources="*/log")], 403),
        ([rule("get", resources="secrets")], 403),
        ([rule("get"), rule("get", resources="secrets")], 403),
    ],
)
async def test_what_it_may_write_into_a_role(rules: list[Any], code: int, rest: RestClient, text: str) -> None:
    answer = await make(rest, text, ROLES, "made", rules=rules)
    assert answer.status == code, answer.body
    if code == 403:
        said = answer.json["message"]
        groups = '["system:serviceaccounts" "system:serviceaccounts:shop" '
        assert said.startswith(f'roles.rbac.authorization.k8s.io "made" is forbidden: user "{NAME}" (groups={groups}')
        assert "is attempting to grant RBAC permissions not currently held:\n{" in said


async def test_a_role_that_was_more_may_be_changed_in_other_ways(rest: RestClient, text: str, api: ApiInMemory) -> None:
    await api.client().create(role({"verbs": ["*"], "api_groups": ["*"], "resources": ["*"]}))
    merge = {"content_type": "application/merge-patch+json", "authorization": f"Bearer {text}"}
    assert (await rest.call("PATCH", f"{ROLES}/own", {"metadata": {"labels": {"a": "b"}}}, **merge)).status == 200
    assert (await rest.call("PATCH", f"{ROLES}/own", {"rules": [rule("*", "*", "secrets")]}, **merge)).status == 403
    assert (await rest.call("PATCH", f"{ROLES}/own", {"rules": [rule("get")]}, **merge)).status == 200


async def test_what_it_may_bind(rest: RestClient, text: str, api: ApiInMemory) -> None:
    await api.client().create(role({**HELD, "verbs": ["get"]}))
    assert (await make(rest, text, BINDINGS, "own", **ref("own", "Role"))).status == 201
    for name in ("cluster-admin", "admin", "view"):
        assert (await make(rest, text, BINDINGS, name, **ref(name))).status == 403
        assert (await make(rest, text, CLUSTER_BINDINGS, name, **ref(name))).status == 403
    assert (await make(rest, text, BINDINGS, "lost", **ref("lost"))).status == 404
    await api.client().create(binding("ClusterRole", "cluster-admin"))
    assert (await make(rest, text, BINDINGS, "admin", **ref("admin"))).status == 201
    assert (await make(rest, text, CLUSTER_BINDINGS, "admin", **ref("admin"))).status == 403


async def test_a_role_that_gathers_others_is_for_administrators(rest: RestClient, text: str) -> None:
    gathering = {"aggregationRule": {"clusterRoleSelectors": [{"matchLabels": {"a": "b"}}]}}
    answer = await make(rest, text, "/apis/rbac.authorization.k8s.io/v1/clusterroles", "all", **gathering)
    assert answer.status == 403 and "must have cluster-admin privileges to use the aggregationRule" in answer.json["message"]


async def test_the_verbs_that_lift_it(rest: RestClient, text: str, api: ApiInMemory) -> None:
    lifted = role({"verbs": ["escalate"], "api_groups": KEEPER["api_groups"], "resources": ["roles"]}, name="lifted")
    lifted.rules.add(verbs=["bind"], api_groups=KEEPER["api_groups"], resources=["clusterroles"], resource_names=["view"])
    await api.client().create(lifted)
    await api.client().create(binding("Role", "lifted"))
    assert (await make(rest, text, ROLES, "made", rules=[rule("*", "*", "*")])).status == 201
    assert (await make(rest, text, BINDINGS, "view", **ref("view"))).status == 201
    assert (await make(rest, text, BINDINGS, "edit", **ref("edit"))).status == 403


async def test_administrators_are_not_asked(rest: RestClient) -> None:
    assert (await rest.call("POST", ROLES, {"metadata": {"name": "all"}, "rules": [rule("*", "*", "*")]})).status == 201


def test_a_rule_that_is_too_large_is_not_held() -> None:
    held = [Rule(rbac.PolicyRule(verbs=["*"], api_groups=["*"], resources=["*"]))]
    many = [str(number) for number in range(100)]
    assert is_held(rbac.PolicyRule(verbs=many, api_groups=[""], resources=many), held) and MAX_COMBINATIONS == 100 * 100
    assert not is_held(rbac.PolicyRule(verbs=many, api_groups=many, resources=many), held)


def test_paths() -> None:
    held = [Rule(rbac.PolicyRule(verbs=["get"], non_resource_urls=["/logs/*", "/metrics"]))]
    for path in ("/metrics", "/logs/a", "/logs/a/*", "/logs/*"):
        assert is_held(rbac.PolicyRule(verbs=["get"], non_resource_urls=[path]), held), path
    for path in ("/*", "*", "/metrics/*"):
        assert not is_held(rbac.PolicyRule(verbs=["get"], non_resource_urls=[path]), held), path
    assert not is_held(rbac.PolicyRule(verbs=["post"], non_resource_urls=["/metrics"]), held)


def test_who_may_do_nothing_but_to_no_name_may_not_give_it_for_all() -> None:
    held = [Rule(rbac.PolicyRule(verbs=["get"], api_groups=[""], resources=["secrets"], resource_names=[""]))]
    assert not is_held(rbac.PolicyRule(verbs=["get"], api_groups=[""], resources=["secrets"]), held)


async def test_nobody_hands_a_role_to_those_who_gather_it_but_who_holds_it(rest: RestClient, text: str, api: ApiInMemory) -> None:
    """`view` gathers all that has a label: to give it to `cluster-admin` would give everything to everybody who may look."""
    secrets = {"verbs": ["get"], "api_groups": [""], "resources": ["secrets"]}
    await api.client().create(cluster_role(secrets, name="strong"))
    await api.client().create(cluster_role({**HELD, "verbs": ["get"]}, name="weak"))
    merge = {"content_type": "application/merge-patch+json", "authorization": f"Bearer {text}"}
    gathered = {"metadata": {"labels": {"rbac.authorization.k8s.io/aggregate-to-view": "true"}}}
    for name, code in (("cluster-admin", 403), ("strong", 403), ("admin", 403), ("weak", 200)):
        assert (await rest.call("PATCH", f"{CLUSTER_ROLES}/{name}", gathered, **merge)).status == code, name
    owned = {"metadata": {"finalizers": ["example.com/kept"], "annotations": {"a": "b"}}}
    assert (await rest.call("PATCH", f"{CLUSTER_ROLES}/strong", owned, **merge)).status == 200


async def test_who_takes_what_a_role_gathers_away_is_an_administrator(rest: RestClient, text: str) -> None:
    merge = {"content_type": "application/merge-patch+json", "authorization": f"Bearer {text}"}
    answer = await rest.call("PATCH", f"{CLUSTER_ROLES}/view", {"aggregationRule": None, "rules": [rule("get")]}, **merge)
    assert answer.status == 403 and "must have cluster-admin privileges" in answer.json["message"]


def test_what_is_compared_is_bounded_whoever_holds_how_much(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(escalation, "MAX_COMPARISONS", 1000)
    held = [Rule(rbac.PolicyRule(verbs=["get"], api_groups=[""], resources=[f"r{number}"])) for number in range(100)]
    rules = [rbac.PolicyRule(verbs=["get"], api_groups=[""], resources=["r99"])] * 12
    assert lacking_of(rules, held) == rules[10:]
    assert (
        lacking_of([rbac.PolicyRule(verbs=["no"], api_groups=[""], resources=["r1"])] * 12, held[:1])
        == [rbac.PolicyRule(verbs=["no"], api_groups=[""], resources=["r1"])] * MAX_TOLD
    )


def policy(verbs: str, resources: str = "", groups: str = "core", names: str = "", paths: str = "") -> rbac.PolicyRule:
    found = ["" if group == "core" else group for group in groups.split()] if resources else []
    return rbac.PolicyRule(
        verbs=verbs.split(), api_groups=found, resources=resources.split(), resource_names=names.split(), non_resource_urls=paths.split()
    )


@pytest.mark.parametrize(
    ("wanted", "told"),
    [
        (
            [policy("get list", "pods secrets")],
            ['{APIGroups:[""], Resources:["pods"], Verbs:["list"]}', '{APIGroups:[""], Resources:["secrets"], Verbs:["get" "list"]}']),
        ([policy("watch", "pods"), policy("list", "pods")], ['{APIGroups:[""], Resources:["pods"], Verbs:["watch" "list"]}']),
        ([policy("get list", "pods", names="web")], ['{APIGroups:[""], Resources:["pods"], ResourceNames:["web"], Verbs:["list"]}']),
        ([policy("*", "*", "*")], ['{APIGroups:["*"], Resources:["*"], Verbs:["*"]}']),
        ([policy("get", paths="/metrics /healthz")], ['{NonResourceURLs:["/metrics"], Verbs:["get"]}']),
        ([policy("no", " ".join(f"r{n}" for n in range(MAX_COMBINATIONS + 1)))][:1], None),
    ],
    ids=["resources", "one-resource", "names", "everything", "paths", "too-much"],
)  # fmt: skip
def test_what_is_lacking_is_told_in_kubernetes_words(wanted: list[rbac.PolicyRule], told: list[str] | None) -> None:
    held = [Rule(policy("get", "pods")), Rule(policy("get", paths="/healthz"))]
    assert lacking_of(wanted, held) == wanted
    found = told_of(wanted, held)
    if told is None:
        assert len(found) == 1 and found[0].endswith(' Verbs:["no"]}')
    else:
        assert found == told


def test_something_is_told_though_there_was_too_much_to_compare() -> None:
    held = [Rule(policy("get", "pods"))]
    assert told_of([policy("get", "pods")], held) == ['{APIGroups:[""], Resources:["pods"], Verbs:["get"]}']
