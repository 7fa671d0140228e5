"""What `knarr auth why` asks and says."""

from __future__ import annotations

import pytest

from knarr.api.apiserver.v1 import authorization_service_pb2 as face
from knarr.api.rbac.v1 import rbac_pb2 as rbac
from knarr.service.errors import CommandError
from services.command.auth import Question, told, why
from services.standalone.files import Files


@pytest.mark.parametrize(
    ("what", "group", "resource", "subresource"),
    [
        ("pods", "", "pods", ""),
        ("pods/log", "", "pods", "log"),
        ("deployments.apps", "apps", "deployments", ""),
        ("deployments.apps/scale", "apps", "deployments", "scale"),
        ("roles.rbac.authorization.k8s.io", "rbac.authorization.k8s.io", "roles", ""),
    ],
)
def test_resources(what: str, group: str, resource: str, subresource: str) -> None:
    about = Question("get", what, "web", "shop", "ann", ("dev",)).request.resource
    assert (about.verb, about.group, about.resource, about.subresource) == ("get", group, resource, subresource)
    assert (about.name, about.namespace) == ("web", "shop")


def test_a_path() -> None:
    asked = Question("get", "/metrics", user="ann", groups=("dev",)).request
    assert (asked.path.verb, asked.path.path, asked.user, list(asked.groups)) == ("get", "/metrics", "ann", ["dev"])


def test_who_may_hears_by_what() -> None:
    answer = face.ExplainResponse(allowed=True)
    answer.decisions.add(authorizer="Node", decision="no opinion")
    answer.decisions.add(authorizer="RBAC", decision="allow")
    answer.grants.add(
        binding_kind="RoleBinding",
        binding_namespace="shop",
        binding_name="readers",
        subject_kind="Group",
        subject_name="dev",
        role_kind="ClusterRole",
        role_name="view",
        rule=rbac.PolicyRule(verbs=["get", "list"], api_groups=["", "apps"], resources=["pods"], resource_names=["web"]),
    )
    assert list(told(Question("get", "pods", "web", "shop", "ann"), answer)) == [
        "yes: ann: get pods web in shop",
        "  RBAC: allow",
        "  RoleBinding shop/readers gives Group dev the ClusterRole view: get, list pods of core, apps called web",
    ]


def test_who_may_not_hears_what_is_missing() -> None:
    answer = face.ExplainResponse(needed=rbac.PolicyRule(verbs=["delete"], api_groups=["apps"], resources=["deployments"]))
    answer.decisions.add(authorizer="RBAC", decision="no opinion", reason="no role")
    answer.broken.add(binding_kind="ClusterRoleBinding", binding_name="old", role_kind="ClusterRole", role_name="gone")
    answer.candidates.extend(["admin", "cluster-admin", "edit"])
    assert list(told(Question("delete", "deployments.apps", namespace="shop", user="system:serviceaccount:shop:robot"), answer)) == [
        "no: system:serviceaccount:shop:robot: delete deployments.apps in shop",
        "  RBAC: no opinion (no role)",
        "  ClusterRoleBinding old names the ClusterRole gone, which is not there",
        "needed: delete deployments of apps",
        "ClusterRoles that say so: admin, cluster-admin, edit",
        "  kubectl create rolebinding NAME --clusterrole=edit --serviceaccount=shop:robot -n shop",
    ]


@pytest.mark.parametrize(
    ("question", "subject"),
    [
        (Question("get", "/metrics", user="ann"), "--user=ann"),
        (
            Question("get", "/metrics", groups=("a b",)),
            "'--group=a b'",
        ),
    ],
)
def test_the_command_that_would_give_it(question: Question, subject: str) -> None:
    answer = face.ExplainResponse(needed=rbac.PolicyRule(verbs=["get"], non_resource_urls=["/metrics"]), candidates=["system:monitoring"])
    command = f"  kubectl create clusterrolebinding NAME --clusterrole=system:monitoring {subject}"
    assert list(told(question, answer))[-3:] == ["needed: get /metrics", "ClusterRoles that say so: system:monitoring", command]


def test_without_a_cluster(tmp_path: object) -> None:
    files = Files(tmp_path)  # type: ignore[arg-type]
    with pytest.raises(CommandError, match="start it first"):
        why(files, Question("get", "pods"), as_json=False)
    files.state.write_text("{")
    with pytest.raises(CommandError, match="damaged"):
        why(files, Question("get", "pods"), as_json=False)
